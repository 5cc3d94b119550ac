// `A_to = A_from W`: `[n_rows, n_out] × [n_out, n_in]`, shared by all subdomains.
//
// One invocation: four rows (a tile) by four inputs in registers; workgroup: 8 tiles by 8 quads of inputs.

//#import shared/params
//#import shared/frame
//#import shared/constants4
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: BackAffine;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    let input = 4u * id.y;
    if id.x >= n_tiles || input >= params.n_in {
        return;
    }
    if id.y == 0u {
        store_reach(params.to, id.x, everything());
    }
    let n_valid = params.n_in - input;
    var a = params.from_ * frame.slot_size + id.x;
    var w = params.weight + input;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var k = 0u; k < params.n_out; k++) {
        let four_rows = coefficients[a];
        let weight = four_constants(w, n_valid);
        sum_0 += four_rows * weight.x;
        sum_1 += four_rows * weight.y;
        sum_2 += four_rows * weight.z;
        sum_3 += four_rows * weight.w;
        a += n_tiles;
        w += params.n_in;
    }
    let to = params.to * frame.slot_size + input * n_tiles + id.x;
    coefficients[to] = sum_0;
    if n_valid > 1u {
        coefficients[to + n_tiles] = sum_1;
    }
    if n_valid > 2u {
        coefficients[to + 2u * n_tiles] = sum_2;
    }
    if n_valid > 3u {
        coefficients[to + 3u * n_tiles] = sum_3;
    }
}
