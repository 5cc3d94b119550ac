// Keeps the slopes and multipliers of one activation that gave a lane's best bound.
//
// One invocation: a tile by a neuron; workgroup: 8 tiles by 8 neurons.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= count_tiles() || id.y >= params.n {
        return;
    }
    let tile = book[frame.places + id.x];
    let deeds = vec4<u32>(book[frame.deeds + tile]);
    let improves = (deeds & vec4<u32>(16u, 32u, 64u, 128u)) != vec4<u32>();
    if !any(improves) {
        return;
    }
    let place = dual_place(params.first + id.y, tile);
    duals[frame.best_low + place] = select(duals[frame.best_low + place], duals[frame.low + place], improves);
    if frame.n_splits != 0u {
        duals[frame.best_beta + place] = select(duals[frame.best_beta + place], duals[frame.beta + place], improves);
    }
}
