// Duals of one activation at the start: slopes as given in 255ths where the neuron is undecided, else those of the shared lines; no
// moments, no coefficients, no multipliers. Of a max-pool: no coefficients.
//
// One invocation: a tile by a neuron; workgroup: 8 tiles by 8 neurons.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = id.x;
    let j = id.y;
    if tile >= frame.n_tiles || j >= params.n {
        return;
    }
    let place = dual_place(params.first + j, tile);
    duals[frame.kept + place] = vec4<f32>();
    if params.is_relu == 0u {
        return;
    }
    let base = book[frame.subdomains + tile] * frame.state_stride;
    var slope = vec4<f32>(state[base + params.lines + j]);
    let is_undecided = state[base + params.source + j] < 0.0 && state[base + params.source + params.n + j] > 0.0;
    if frame.has_bytes != 0u && is_undecided {
        let word = book[frame.bytes + place];
        let bytes = vec4<u32>(word & 255u, (word >> 8u) & 255u, (word >> 16u) & 255u, word >> 24u);
        slope = clamp(vec4<f32>(bytes) / 255.0, vec4<f32>(), vec4<f32>(1.0));
    }
    duals[frame.low + place] = slope;
    duals[frame.first_moment + place] = vec4<f32>();
    duals[frame.second_moment + place] = vec4<f32>();
    if frame.n_splits != 0u {
        duals[frame.beta + place] = vec4<f32>();
        duals[frame.unit + place] = vec4<f32>();
    }
}
