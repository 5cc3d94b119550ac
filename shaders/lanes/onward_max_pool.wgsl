// Through maxima: the chosen input, or the constant upper bound where the backward pass took that.
//
// One invocation: a tile by an output; workgroup: 8 tiles by 8 outputs.

//#import shared/params
//#import shared/lane_params
//#import shared/onward
//#import shared/frame
//#import shared/tiles
//#import shared/steps
//#import shared/own_lines

struct Params {
    pool: OnwardMaxPool,
    lane: LaneNode,
}

@group(0) @binding(0) var<uniform> params: Params;

const DOMINATES: u32 = 0x80000000u;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    let pool = params.pool;
    let o = id.y;
    if id.x >= n_tiles || o >= pool.n_out {
        return;
    }
    let subdomain = book[frame.owners + id.x];
    let tile = book[frame.places + id.x];
    let choice = marks[subdomain * frame.mark_stride + pool.choice + o];
    let value = coefficients[pool.from_ * frame.slot_size + (choice & ~DOMINATES) * n_tiles + id.x];
    let a = duals[frame.kept + dual_place(params.lane.first + o, tile)];
    let upper = state[subdomain * frame.state_stride + pool.bounds + pool.n_out + o];
    let takes_constant = vec4<bool>((choice & DOMINATES) == 0u) & (a < vec4<f32>());
    coefficients[pool.to * frame.slot_size + o * n_tiles + id.x] = select(value, vec4<f32>(upper), takes_constant);
}
