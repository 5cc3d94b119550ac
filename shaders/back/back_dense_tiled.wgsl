// The products of `back_dense`, for layers large enough to share loads through workgroup memory.
//
// Workgroup: 16 tiles (64 rows) by 64 results, 8 terms at a time; one invocation: 2 tiles by 8 results in registers.

//#import shared/params
//#import shared/onward
//#import shared/frame
//#import shared/constants4
//#import shared/tiles
//#import shared/reach

@group(0) @binding(0) var<uniform> params: BackAffine;
@group(0) @binding(0) var<uniform> ahead: OnwardAffine;

// `to = from weight`, weight `[n_terms, n]`; onwards with a bias.
struct Product {
    from_: u32,
    to: u32,
    n_terms: u32,
    n: u32,
    weight: u32,
    bias: u32,
    is_onward: bool,
}

const DEPTH: u32 = 8u;
const WIDTH: u32 = 16u;

// `[DEPTH, 16 tiles]` and `[DEPTH, 16 quads of results]`.
var<workgroup> four_rows: array<vec4<f32>, 128>;
var<workgroup> weights: array<vec4<f32>, 128>;

@compute @workgroup_size(8, 8)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) local_index: u32,
) {
    let product = Product(params.from_, params.to, params.n_out, params.n_in, params.weight, 0u, false);
    multiply(product, workgroup, local, local_index);
}

@compute @workgroup_size(8, 8)
fn onward(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) local_index: u32,
) {
    let product = Product(ahead.from_, ahead.to, ahead.n_in, ahead.n_out, ahead.weight, ahead.bias, true);
    multiply(product, workgroup, local, local_index);
}

fn multiply(product: Product, workgroup: vec3<u32>, local: vec3<u32>, local_index: u32) {
    let n_tiles = count_tiles();
    let first_tile = WIDTH * workgroup.x;
    let first = 4u * WIDTH * workgroup.y;
    let from_ = product.from_ * frame.slot_size;
    var sum_00 = vec4<f32>();
    var sum_01 = vec4<f32>();
    var sum_02 = vec4<f32>();
    var sum_03 = vec4<f32>();
    var sum_04 = vec4<f32>();
    var sum_05 = vec4<f32>();
    var sum_06 = vec4<f32>();
    var sum_07 = vec4<f32>();
    var sum_10 = vec4<f32>();
    var sum_11 = vec4<f32>();
    var sum_12 = vec4<f32>();
    var sum_13 = vec4<f32>();
    var sum_14 = vec4<f32>();
    var sum_15 = vec4<f32>();
    var sum_16 = vec4<f32>();
    var sum_17 = vec4<f32>();
    for (var start = 0u; start < product.n_terms; start += DEPTH) {
        for (var e = local_index; e < DEPTH * WIDTH; e += 64u) {
            let k = start + e / WIDTH;
            let tile = first_tile + e % WIDTH;
            let result = first + 4u * (e % WIDTH);
            var a = vec4<f32>();
            var w = vec4<f32>();
            if k < product.n_terms {
                if tile < n_tiles {
                    a = coefficients[from_ + k * n_tiles + tile];
                }
                if result < product.n {
                    w = four_constants(product.weight + k * product.n + result, product.n - result);
                }
            }
            four_rows[e] = a;
            weights[e] = w;
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let a_0 = four_rows[WIDTH * k + local.x];
            let a_1 = four_rows[WIDTH * k + 8u + local.x];
            let w_0 = weights[WIDTH * k + local.y];
            let w_1 = weights[WIDTH * k + 8u + local.y];
            sum_00 += a_0 * w_0.x;
            sum_01 += a_0 * w_0.y;
            sum_02 += a_0 * w_0.z;
            sum_03 += a_0 * w_0.w;
            sum_04 += a_0 * w_1.x;
            sum_05 += a_0 * w_1.y;
            sum_06 += a_0 * w_1.z;
            sum_07 += a_0 * w_1.w;
            sum_10 += a_1 * w_0.x;
            sum_11 += a_1 * w_0.y;
            sum_12 += a_1 * w_0.z;
            sum_13 += a_1 * w_0.w;
            sum_14 += a_1 * w_1.x;
            sum_15 += a_1 * w_1.y;
            sum_16 += a_1 * w_1.z;
            sum_17 += a_1 * w_1.w;
        }
        workgroupBarrier();
    }
    let result = first + 4u * local.y;
    store(product, first_tile + local.x, n_tiles, result, sum_00, sum_01, sum_02, sum_03);
    store(product, first_tile + local.x, n_tiles, result + 32u, sum_04, sum_05, sum_06, sum_07);
    store(product, first_tile + local.x + 8u, n_tiles, result, sum_10, sum_11, sum_12, sum_13);
    store(product, first_tile + local.x + 8u, n_tiles, result + 32u, sum_14, sum_15, sum_16, sum_17);
}

// Four results of one tile; going backwards, the first invocation of a tile notes what it reaches.
fn store(
    product: Product,
    tile: u32,
    n_tiles: u32,
    result: u32,
    sum_0: vec4<f32>,
    sum_1: vec4<f32>,
    sum_2: vec4<f32>,
    sum_3: vec4<f32>,
) {
    if tile >= n_tiles || result >= product.n {
        return;
    }
    let n_valid = product.n - result;
    var bias = vec4<f32>();
    if product.is_onward {
        bias = four_constants(product.bias + result, n_valid);
    } else if result == 0u {
        store_reach(product.to, tile, everything());
    }
    let to = product.to * frame.slot_size + result * n_tiles + tile;
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
