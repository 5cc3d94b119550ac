// The weights, one by one.
@group(0) @binding(2) var<storage, read> constants: array<f32>;

fn constant(index: u32) -> f32 {
    return constants[index];
}
