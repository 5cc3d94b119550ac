// Collects an affine node's terms: `bias += Σ A_k b_k`, `slack += Σ |A_k| error_k`. The coefficients stay.
//
// Workgroup: 8 tiles by 32 lanes along the outputs.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/steps

@group(0) @binding(0) var<uniform> params: AffineTerms;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    var sums: Sums;
    if is_inside {
        let error = book[frame.owners + frame.first_tile + index] * frame.state_stride + params.error;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, params.n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let k = reached(reach, e);
            let a = coefficients[slot + k * n_tiles];
            add_terms(a, constants[params.bias + k], state[error + k], &sums);
        }
    }
    sum_lanes(local, sums.bias, sums.slack);
    if is_inside && local.y == 0u {
        rows[index] += first_partial[local.x];
        rows[frame.tile_capacity + index] += second_partial[local.x];
    }
}
