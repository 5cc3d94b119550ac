// After the end of a walk, what one unit of a row's movement counts: `1 / Σ_i |A_i| (u_i - l_i)`, 0 for a row that does not move.
// It takes the place of the row's bias, which is no longer needed.
//
// Workgroup: 8 tiles by 32 lanes along the inputs.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/steps

@group(0) @binding(0) var<uniform> params: Concretize;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    var total = vec4<f32>();
    if is_inside {
        let lower = book[frame.owners + frame.first_tile + index] * frame.state_stride;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, params.n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let i = reached(reach, e);
            total += abs(coefficients[slot + i * n_tiles]) * (state[lower + params.n + i] - state[lower + i]);
        }
    }
    sum_lanes(local, total, vec4<f32>());
    if !is_inside || local.y != 0u {
        return;
    }
    var inverse = vec4<f32>();
    for (var r = 0u; r < 4u; r++) {
        inverse[r] = inverse_total(first_partial[local.x][r]);
    }
    rows[index] = inverse;
}
