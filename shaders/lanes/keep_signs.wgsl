// Keeps a max-pool's coefficients before its backward step: their signs say which line the relaxed forward pass takes.
//
// One invocation: a tile by an output; workgroup: 8 tiles by 8 outputs.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/reach
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    if id.x >= n_tiles || id.y >= params.n {
        return;
    }
    let tile = book[frame.places + id.x];
    let a = coefficients[params.slot * frame.slot_size + id.y * n_tiles + id.x];
    // What is not reached is zero, whatever the slot holds.
    let is_stored = is_reached(load_reach(params.slot, id.x), id.y);
    duals[frame.kept + dual_place(params.first + id.y, tile)] = select(vec4<f32>(), a, is_stored);
}
