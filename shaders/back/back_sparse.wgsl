// `main`: `A_to = A_from W` for a sparse `W`, column by column. `onward`: `z = W h + b` of a relaxed forward pass, row by row.
//
// One invocation: four rows (a tile) by one input; workgroup: 8 tiles by 8 inputs.
// Tables: column offsets `[n_in + 1]`, then rows; values by column. Onward: row offsets `[n_out + 1]`, then columns; values by row.

//#import shared/params
//#import shared/onward
//#import shared/frame
//#import shared/constants
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: BackAffine;
@group(0) @binding(0) var<uniform> ahead: OnwardAffine;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    if id.x >= n_tiles || id.y >= params.n_in {
        return;
    }
    let from_ = params.from_ * frame.slot_size + id.x;
    let row = params.columns + params.n_in + 1u;
    let end = tables[params.columns + id.y + 1u];
    let reach = load_reach(params.from_, id.x);
    if id.y == 0u {
        store_reach(params.to, id.x, everything());
    }
    var sum = vec4<f32>();
    for (var e = tables[params.columns + id.y]; e < end; e++) {
        let k = tables[row + e];
        if is_reached(reach, k) {
            sum += coefficients[from_ + k * n_tiles] * constants[params.weight + e];
        }
    }
    coefficients[params.to * frame.slot_size + id.y * n_tiles + id.x] = sum;
}

@compute @workgroup_size(8, 8)
fn onward(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    if id.x >= n_tiles || id.y >= ahead.n_out {
        return;
    }
    let from_ = ahead.from_ * frame.slot_size + id.x;
    let column = ahead.rows + ahead.n_out + 1u;
    let end = tables[ahead.rows + id.y + 1u];
    var sum = vec4<f32>(constants[ahead.bias + id.y]);
    for (var e = tables[ahead.rows + id.y]; e < end; e++) {
        sum += coefficients[from_ + tables[column + e] * n_tiles] * constants[ahead.weight + e];
    }
    coefficients[ahead.to * frame.slot_size + id.y * n_tiles + id.x] = sum;
}
