// A workgroup of 8 tiles by 32 lanes; the lanes share the neurons, so that few rows of a long node still fill a device.

const TILES: u32 = 8u;
const LANES: u32 = 32u;

var<workgroup> first_partial: array<vec4<f32>, 256>;
var<workgroup> second_partial: array<vec4<f32>, 256>;

// Sums over the lanes; lane 0 finds them in `first_partial[local.x]` and `second_partial[local.x]`.
// All invocations of the workgroup must call it.
fn sum_lanes(local: vec3<u32>, first: vec4<f32>, second: vec4<f32>) {
    let index = local.y * TILES + local.x;
    first_partial[index] = first;
    second_partial[index] = second;
    for (var step = LANES / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local.y < step {
            first_partial[index] += first_partial[index + step * TILES];
            second_partial[index] += second_partial[index + step * TILES];
        }
    }
}
