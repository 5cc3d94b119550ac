// Replaces an activation's outputs by its lines, in place:
//   bias += Σ max(A, 0) lower intercept + min(A, 0) upper intercept
//   slack += Σ |A| error
//   A ← max(A, 0) lower slope + min(A, 0) upper slope
//
// Workgroup: 8 tiles by 32 lanes along the neurons.
// Source: Zhang et al. 2018 (arXiv 1811.00866), theorem 3.2.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/steps

@group(0) @binding(0) var<uniform> params: BackLines;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    var sums: Sums;
    if is_inside {
        let n = params.n;
        let lines = book[frame.owners + frame.first_tile + index] * frame.state_stride + params.lines;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let j = reached(reach, e);
            let a = coefficients[slot + j * n_tiles];
            let place = lines + j;
            let line =
                Line(state[place], state[place + n], state[place + 2u * n], state[place + 3u * n], state[place + 4u * n]);
            coefficients[slot + j * n_tiles] = cross_line(a, line, &sums);
        }
    }
    sum_lanes(local, sums.bias, sums.slack);
    if is_inside && local.y == 0u {
        rows[index] += first_partial[local.x];
        rows[frame.tile_capacity + index] += second_partial[local.x];
    }
}
