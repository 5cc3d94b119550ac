// Runs the values of an activation through the lines that the backward pass chose, and moves `α` and `β` up the gradient (Adam, projected):
//   `∂/∂α_j = max(A_j, 0) z_j`, `∂/∂β_j = -s_j z_j`; `α` in [0, 1], `0 <= β <= cap`.
// A heuristic: whatever `α` in [0, 1] and `β >= 0` come out, the next bound is sound. What is not finite moves nothing.
//
// One invocation: a tile by a neuron; workgroup: 8 tiles by 8 neurons.
// Source: Kingma and Ba 2015 (arXiv 1412.6980) for the step; the gradient is Danskin's (see `sweep.rs`).

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;

// 2^-100.
const TINY: f32 = 7.888609e-31;
const SECOND_DECAY: f32 = 0.999;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    let j = id.y;
    if id.x >= n_tiles || j >= params.n {
        return;
    }
    let base = book[frame.owners + id.x] * frame.state_stride;
    let element = j * n_tiles + id.x;
    let z = coefficients[params.from_ * frame.slot_size + element];
    let to = params.to * frame.slot_size + element;
    let line = line_at(base + params.lines + j, params.n);
    let is_relu = params.is_relu != 0u;
    let has_splits = frame.n_splits != 0u && is_relu;
    if is_settled(line) && !has_splits {
        coefficients[to] = z * line.low;
        return;
    }
    let tile = book[frame.places + id.x];
    let place = dual_place(params.first + j, tile);
    let a = duals[frame.kept + place];
    var slope = vec4<f32>();
    var own = shared_lines(line);
    if is_relu {
        slope = duals[frame.low + place];
        own = own_lines(line, slope);
    }
    let is_positive = a >= vec4<f32>();
    let h = select(own.up * z + own.up_at, own.low * z + own.low_at, is_positive);
    coefficients[to] = h;
    if !is_relu {
        return;
    }
    let is_split = own.is_active | own.is_inactive;
    let is_undecided = state[base + params.source + j] < 0.0 && state[base + params.source + params.n + j] > 0.0;
    if frame.wants_gaps != 0u {
        // Where the relaxation happens to be exact, what it might cost elsewhere decides.
        let width = abs(a) * (own.up_at + TINY) + TINY;
        let gap = abs(a) * abs(h - max(z, vec4<f32>())) + 1e-3 * width;
        duals[frame.first_moment + place] = select(gap, vec4<f32>(), is_split | vec4<bool>(!is_undecided));
        return;
    }
    if !is_undecided && !any(is_split) {
        return;
    }
    let moves = (vec4<u32>(book[frame.deeds + tile]) & vec4<u32>(1u, 2u, 4u, 8u)) == vec4<u32>();
    let gradient = select(max(a, vec4<f32>()) * z, select(z, -z, own.is_active), is_split);
    let first = frame.momentum * duals[frame.first_moment + place] + (1.0 - frame.momentum) * gradient;
    let second = SECOND_DECAY * duals[frame.second_moment + place] + (1.0 - SECOND_DECAY) * gradient * gradient;
    duals[frame.first_moment + place] = first;
    duals[frame.second_moment + place] = second;
    let step = first / (sqrt(max(second, vec4<f32>())) + TINY);
    let can_move = moves & are_finite(step);
    let moved = clamp(slope + frame.alpha_rate * step, vec4<f32>(), vec4<f32>(1.0));
    let raised = select(moved, vec4<f32>(), moved < vec4<f32>(TINY));
    let is_free = can_move & !is_split & vec4<bool>(is_undecided && frame.alpha_rate > 0.0) & are_finite(moved);
    duals[frame.low + place] = select(slope, raised, is_free);
    if any(is_split) && frame.beta_rate > 0.0 {
        var unit = duals[frame.unit + place];
        let mean = duals[frame.means + dual_place(params.node, tile)];
        unit = select(unit, max(mean, abs(a)), unit == vec4<f32>());
        duals[frame.unit + place] = unit;
        let beta = duals[frame.beta + place];
        let next = beta + frame.beta_rate * unit * step;
        let is_sound = can_move & is_split & are_finite(next);
        duals[frame.beta + place] = select(beta, clamp(next, vec4<f32>(), vec4<f32>(params.cap)), is_sound);
    }
}
