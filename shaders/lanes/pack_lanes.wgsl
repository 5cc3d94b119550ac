// What the host wants of the lanes, in few bytes: `slopes` of one activation in 255ths, four lanes to a word; `ends` of the minimiser,
// for four lanes eight inputs to a word, a bit each (set: the upper end).
//
// One invocation: a word; workgroup: 8 tiles by 8 neurons or eights of inputs.

//#import shared/params
//#import shared/lane_params
//#import shared/frame
//#import shared/tiles
//#import shared/reach
//#import shared/steps
//#import shared/own_lines

@group(0) @binding(0) var<uniform> params: LaneNode;
@group(0) @binding(0) var<uniform> end: Concretize;

@compute @workgroup_size(8, 8)
fn slopes(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= frame.n_tiles || id.y >= params.n {
        return;
    }
    let place = dual_place(params.first + id.y, id.x);
    let bytes = vec4<u32>(clamp(duals[frame.low + place], vec4<f32>(), vec4<f32>(1.0)) * 255.0 + 0.5);
    book[frame.bytes + place] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

@compute @workgroup_size(8, 8)
fn ends(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    let first = 8u * id.y;
    if id.x >= n_tiles || first >= end.n {
        return;
    }
    let slot = end.slot * frame.slot_size + id.x;
    let reach = load_reach(end.slot, id.x);
    var word = 0u;
    for (var i = first; i < min(first + 8u, end.n); i++) {
        let a = select(vec4<f32>(), coefficients[slot + i * n_tiles], is_reached(reach, i));
        let bits = select(vec4<u32>(), vec4<u32>(1u, 2u, 4u, 8u), a < vec4<f32>());
        word |= (bits.x | bits.y | bits.z | bits.w) << (4u * (i - first));
    }
    book[frame.ends + dual_place(id.y, book[frame.places + id.x])] = word;
}
