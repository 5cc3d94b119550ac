// Sums, differences, products and quotients of pairs, for the start-up test of a device's arithmetic.
//
// Shapes: `pairs` `[n_pairs, 2]`, `results` `[n_pairs, 4]`.

@group(0) @binding(0) var<storage, read> pairs: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> results: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= arrayLength(&pairs) {
        return;
    }
    let a = pairs[id.x].x;
    let b = pairs[id.x].y;
    results[id.x] = vec4<f32>(a + b, a - b, a * b, a / b);
}
