// How much each input contributes to the rows that have just reached it: `score_i += Σ_r |A_ri| (u_i - l_i) / total_r`, with the
// totals from `split_share`. A heuristic: rounding does not matter here, but the order of the sum is fixed.
//
// One workgroup: one input of one subdomain, its lanes along the subdomain's tiles in this chunk.
// Exchange: scores `[n_subdomains, 2, n_inputs]`, by undecided neurons and by outputs.
// Source: Bunel et al. 2018 (arXiv 1711.00455), smart branching, for the outputs; the rest is ours.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: Concretize;

const SIZE: u32 = 32u;
var<workgroup> partial: array<f32, 32>;

@compute @workgroup_size(32)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 1u, 0u);
    let subdomain = index / params.n;
    let i = index % params.n;
    let n_tiles = count_tiles();
    var sum = 0.0;
    if subdomain < n_subdomains() {
        let begin = max(book[frame.firsts + subdomain], frame.first_tile) - frame.first_tile;
        let end = min(max(book[frame.firsts + subdomain + 1u], frame.first_tile) - frame.first_tile, n_tiles);
        let slot = params.slot * frame.slot_size + i * n_tiles;
        for (var t = begin + local; t < end; t += SIZE) {
            if is_reached(load_reach(params.slot, t), i) {
                sum += dot(abs(coefficients[slot + t]), rows[t]);
            }
        }
    }
    partial[local] = sum;
    for (var step = SIZE / 2u; step > 0u; step /= 2u) {
        workgroupBarrier();
        if local < step {
            partial[local] += partial[local + step];
        }
    }
    if subdomain >= n_subdomains() || local != 0u {
        return;
    }
    let box_ = subdomain * frame.state_stride;
    let score = partial[0] * (state[box_ + params.n + i] - state[box_ + i]);
    let place = frame.scores + (2u * subdomain + frame.is_objective) * params.n + i;
    if is_finite(score) {
        exchange[place] = bitcast<u32>(bitcast<f32>(exchange[place]) + score);
    }
}
