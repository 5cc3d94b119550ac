// The end of a walk, at the input box:
//   bound = bias + Σ (max(A, 0) l + min(A, 0) u) - inflation (slack + γ Σ |A| max(|l|, |u|))
// A refinement stores it as a lower bound, or negated as an upper bound, of the row's neuron; the objective returns it.
// A bound that is not finite improves nothing.
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
    var value = vec4<f32>();
    var magnitude = vec4<f32>();
    if is_inside {
        // The input box starts the state.
        let lower = book[frame.owners + frame.first_tile + index] * frame.state_stride;
        let slot = params.slot * frame.slot_size + index;
        let reach = load_reach(params.slot, index);
        let n_reached = count_reached(reach, params.n);
        for (var e = local.y; e < n_reached; e += LANES) {
            let i = reached(reach, e);
            let a = coefficients[slot + i * n_tiles];
            let end = end_at_input(a, state[lower + i], state[lower + params.n + i]);
            value += end.bias;
            magnitude += end.slack;
        }
    }
    sum_lanes(local, value, magnitude);
    if !is_inside || local.y != 0u {
        return;
    }
    let tile = tile_at(index);
    let slack = params.inflation * (rows[frame.tile_capacity + index] + params.gamma * second_partial[local.x]);
    let bound = rows[index] + first_partial[local.x] - slack;
    for (var r = 0u; r < 4u; r++) {
        if is_row(tile, r) {
            store_row(tile, r, bound[r], slack[r]);
        }
    }
}

fn store_row(tile: Tile, r: u32, bound: f32, slack: f32) {
    let is_used = is_usable(bound, slack);
    if frame.is_objective != 0u {
        let row = tile.subdomain * tile.n_rows + tile.first_row + r;
        exchange[frame.lower + row] = bitcast<u32>(select(-HUGE, bound, is_used));
        exchange[frame.slack + row] = bitcast<u32>(select(HUGE, slack, is_used));
        return;
    }
    if !is_used {
        return;
    }
    let lower = tile.subdomain * frame.state_stride + params.target_ + row_neuron(tile, r);
    let upper = lower + params.target_len;
    if row_sign(tile, r) > 0.0 {
        state[lower] = select(bound, max(state[lower], bound), params.keep_interval != 0u);
    } else {
        state[upper] = select(-bound, min(state[upper], -bound), params.keep_interval != 0u);
    }
}
