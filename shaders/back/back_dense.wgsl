// `main`: `A_to = A_from W`: `[n_rows, n_out] × [n_out, n_in]`, shared by all subdomains.
// `onward`: `z = W h + b` of a relaxed forward pass, the same product with the transposed matrix.
//
// One invocation: four rows (a tile) by four results in registers; workgroup: 8 tiles by 8 quads of results.

//#import shared/params
//#import shared/onward
//#import shared/frame
//#import shared/constants4
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: BackAffine;
@group(0) @binding(0) var<uniform> ahead: OnwardAffine;

// `to = from weight`, weight `[n_terms, n]`.
struct Product {
    from_: u32,
    to: u32,
    n_terms: u32,
    n: u32,
    weight: u32,
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    if id.x >= n_tiles || 4u * id.y >= params.n_in {
        return;
    }
    if id.y == 0u {
        store_reach(params.to, id.x, everything());
    }
    let product = Product(params.from_, params.to, params.n_out, params.n_in, params.weight);
    multiply(product, id, n_tiles, vec4<f32>());
}

@compute @workgroup_size(8, 8)
fn onward(@builtin(global_invocation_id) id: vec3<u32>) {
    let n_tiles = count_tiles();
    let first = 4u * id.y;
    if id.x >= n_tiles || first >= ahead.n_out {
        return;
    }
    let bias = four_constants(ahead.bias + first, ahead.n_out - first);
    let product = Product(ahead.from_, ahead.to, ahead.n_in, ahead.n_out, ahead.weight);
    multiply(product, id, n_tiles, bias);
}

fn multiply(product: Product, id: vec3<u32>, n_tiles: u32, bias: vec4<f32>) {
    let first = 4u * id.y;
    let n_valid = product.n - first;
    var a = product.from_ * frame.slot_size + id.x;
    var w = product.weight + first;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var k = 0u; k < product.n_terms; k++) {
        let four_rows = coefficients[a];
        let weight = four_constants(w, n_valid);
        sum_0 += four_rows * weight.x;
        sum_1 += four_rows * weight.y;
        sum_2 += four_rows * weight.z;
        sum_3 += four_rows * weight.w;
        a += n_tiles;
        w += product.n;
    }
    let to = product.to * frame.slot_size + first * n_tiles + id.x;
    coefficients[to] = sum_0 + bias.x;
    if n_valid > 1u {
        coefficients[to + n_tiles] = sum_1 + bias.y;
    }
    if n_valid > 2u {
        coefficients[to + 2u * n_tiles] = sum_2 + bias.z;
    }
    if n_valid > 3u {
        coefficients[to + 3u * n_tiles] = sum_3 + bias.w;
    }
}
