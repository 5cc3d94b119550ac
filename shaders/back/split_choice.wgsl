// The input to split a subdomain at: the largest `4 inner_i / Σ inner + outer_i / Σ outer`, the first of equals, where `inner` are
// the scores by undecided neurons and `outer` those by outputs. 0 if no score is positive.
//
// One workgroup: one subdomain. Exchange: the input's index.

//#import shared/params
//#import shared/frame

@group(0) @binding(0) var<uniform> params: Concretize;

const SIZE: u32 = 64u;
// Where bounds are loose, the outputs' own coefficients say little: as on the host (`INNER_WEIGHT`).
const INNER_WEIGHT: f32 = 4.0;
// 2^-100.
const LEAST_TOTAL: f32 = 7.888609e-31;
var<workgroup> sums: array<vec2<f32>, 64>;
var<workgroup> inputs: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let inner = frame.scores + 2u * workgroup.x * params.n;
    let outer = inner + params.n;
    var total = vec2<f32>();
    for (var i = local; i < params.n; i += SIZE) {
        total += vec2<f32>(bitcast<f32>(exchange[inner + i]), bitcast<f32>(exchange[outer + i]));
    }
    sums[local] = total;
    for (var step = SIZE / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            sums[local] += sums[local + step];
        }
    }
    workgroupBarrier();
    let weight = vec2<f32>(INNER_WEIGHT, 1.0) / (sums[0] + LEAST_TOTAL);
    workgroupBarrier();
    var best = 0.0;
    var best_input = 0u;
    for (var i = local; i < params.n; i += SIZE) {
        let score = bitcast<f32>(exchange[inner + i]) * weight.x + bitcast<f32>(exchange[outer + i]) * weight.y;
        if is_finite(score) && score > best {
            best = score;
            best_input = i;
        }
    }
    sums[local].x = best;
    inputs[local] = best_input;
    for (var step = SIZE / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            let other = sums[local + step].x;
            let other_input = inputs[local + step];
            // A score of 0 chooses nothing.
            if other > sums[local].x || (other == sums[local].x && other > 0.0 && other_input < inputs[local]) {
                sums[local].x = other;
                inputs[local] = other_input;
            }
        }
    }
    if local == 0u {
        exchange[frame.split + workgroup.x] = inputs[0];
    }
}
