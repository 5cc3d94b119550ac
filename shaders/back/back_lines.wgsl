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

@group(0) @binding(0) var<uniform> params: BackLines;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    var bias = vec4<f32>();
    var slack = vec4<f32>();
    if is_inside {
        let n = params.n;
        let lines = book[frame.owners + frame.first_tile + index] * frame.state_stride + params.lines;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let j = reached(reach, e);
            let a = coefficients[slot + j * n_tiles];
            let positive = max(a, vec4<f32>());
            let negative = min(a, vec4<f32>());
            let line = lines + j;
            coefficients[slot + j * n_tiles] = positive * state[line] + negative * state[line + 2u * n];
            bias += positive * state[line + n] + negative * state[line + 3u * n];
            slack += abs(a) * state[line + 4u * n];
        }
    }
    sum_lanes(local, bias, slack);
    if is_inside && local.y == 0u {
        rows[index] += first_partial[local.x];
        rows[frame.tile_capacity + index] += second_partial[local.x];
    }
}
