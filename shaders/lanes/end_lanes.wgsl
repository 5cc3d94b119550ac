// The end of a walk, at the input box, as in `concretize`:
//   bound = bias + Σ (max(A, 0) l + min(A, 0) u) - inflation (slack + γ Σ |A| max(|l|, |u|))
// Every lane keeps its best bound with the slack inside it, and rests once that is good enough. Leaves the minimiser behind: the lower
// end of an input where its coefficient is not negative, else the upper end. A bound that is not finite improves nothing.
//
// Workgroup: 8 tiles by 32 lanes along the inputs.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/steps

struct Params {
    end: Concretize,
    lane: LaneEnd,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    let end = params.end;
    var value = vec4<f32>();
    var magnitude = vec4<f32>();
    if is_inside {
        // The input box starts the state.
        let lower = book[frame.owners + index] * frame.state_stride;
        let slot = end.slot * frame.slot_size + index;
        let to = params.lane.to * frame.slot_size + index;
        let reach = load_reach(end.slot, index);
        for (var i = local.y; i < end.n; i += LANES) {
            let a = select(vec4<f32>(), coefficients[slot + i * n_tiles], is_reached(reach, i));
            let l = state[lower + i];
            let u = state[lower + end.n + i];
            let at_input = end_at_input(a, l, u);
            value += at_input.bias;
            magnitude += at_input.slack;
            coefficients[to + i * n_tiles] = select(vec4<f32>(u), vec4<f32>(l), a >= vec4<f32>());
        }
    }
    sum_lanes(local, value, magnitude);
    if !is_inside || local.y != 0u {
        return;
    }
    let tile = book[frame.places + index];
    let slack = end.inflation * (rows[frame.tile_capacity + index] + end.gamma * second_partial[local.x]);
    let bound = rows[index] + first_partial[local.x] - slack;
    var best = rows[2u * frame.tile_capacity + tile];
    var best_slack = rows[3u * frame.tile_capacity + tile];
    var rests = book[frame.deeds + tile] & 15u;
    var improves = 0u;
    for (var r = 0u; r < 4u; r++) {
        if (rests & (1u << r)) != 0u {
            continue;
        }
        if is_usable(bound[r], slack[r]) && bound[r] > best[r] {
            best[r] = bound[r];
            best_slack[r] = slack[r];
            improves |= 16u << r;
        }
        let is_enough = (frame.goal == 0u && best[r] > frame.margin) || (frame.goal == 1u && best[r] >= 0.0);
        rests |= select(0u, 1u << r, is_enough);
    }
    rows[2u * frame.tile_capacity + tile] = best;
    rows[3u * frame.tile_capacity + tile] = best_slack;
    book[frame.deeds + tile] = rests | improves;
}
