// The input to split a subdomain at: the largest `Σ_rows |A_i| (u_i - l_i)`, the first of equals.
//
// One workgroup: one subdomain, all of whose rows lie in this chunk. Exchange: the input's index.
// Source: Bunel et al. 2018 (arXiv 1711.00455), smart branching.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: Concretize;

const SIZE: u32 = 64u;
var<workgroup> scores: array<f32, 64>;
var<workgroup> inputs: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n_tiles = count_tiles();
    // The objective has equally many tiles in every subdomain; a subdomain with more than a chunk is judged by its first chunk.
    let tiles_each = (frame.n_fixed * frame.n_ends + 3u) / 4u;
    let begin = workgroup.x * tiles_each;
    let end = min(begin + tiles_each, n_tiles);
    let is_inside = begin < n_tiles;
    var best = 0.0;
    var best_input = 0u;
    var subdomain = 0u;
    if is_inside {
        subdomain = book[frame.owners + frame.first_tile + begin];
        let box_ = subdomain * frame.state_stride;
        let slot = params.slot * frame.slot_size;
        for (var i = local; i < params.n; i += SIZE) {
            var sum = vec4<f32>();
            for (var t = begin; t < end; t++) {
                if is_reached(load_reach(params.slot, t), i) {
                    sum += abs(coefficients[slot + i * n_tiles + t]);
                }
            }
            let score = (sum.x + sum.y + sum.z + sum.w) * (state[box_ + params.n + i] - state[box_ + i]);
            if is_finite(score) && score > best {
                best = score;
                best_input = i;
            }
        }
    }
    scores[local] = best;
    inputs[local] = best_input;
    for (var step = SIZE / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            let other = scores[local + step];
            let other_input = inputs[local + step];
            // A score of 0 chooses nothing.
            if other > scores[local] || (other == scores[local] && other > 0.0 && other_input < inputs[local]) {
                scores[local] = other;
                inputs[local] = other_input;
            }
        }
    }
    if is_inside && local == 0u {
        exchange[frame.split + subdomain] = inputs[0];
    }
}
