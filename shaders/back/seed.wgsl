// The first coefficients, bias and slack of every row `± z_j`:
//   kind 0: the unit vector on the target (a block of one coefficient per row, where the target is an image);
//   kind 1: row `j` of the target's dense weight, already on its operand, with `bias = ± b_j` and what rounding it may cost.
//
// Workgroup: 8 tiles by 32 lanes along the coefficients.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/tiles
//#import shared/lanes
//#import shared/reach
//#import shared/seeds

struct Params {
    seed: Seed,
    // The target's plane, if it is an image.
    height: u32,
    width: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    if index >= n_tiles {
        return;
    }
    let seed = params.seed;
    let tile = tile_at(index);
    // A row that only fills its tile has sign 0, and so has its whole row of coefficients.
    var sign_ = vec4<f32>();
    var neuron = vec4<u32>();
    for (var r = 0u; r < 4u; r++) {
        if is_row(tile, r) {
            sign_[r] = row_sign(tile, r);
            neuron[r] = row_neuron(tile, r);
        } else {
            neuron[r] = neuron[0];
        }
    }
    let slot = seed.slot * frame.slot_size + index;
    var reach = everything();
    if seed.kind == 0u {
        if params.width != 0u {
            reach = reach_of(neuron, params.height, params.width);
        }
        let n = count_reached(reach, seed.n);
        for (var e = local.y; e < n; e += LANES) {
            let j = reached(reach, e);
            coefficients[slot + j * n_tiles] = select(vec4<f32>(), sign_, neuron == vec4<u32>(j));
        }
    } else {
        let row = seed.weight + neuron * seed.n;
        for (var i = local.y; i < seed.n; i += LANES) {
            coefficients[slot + i * n_tiles] = sign_
                * vec4<f32>(constants[row.x + i], constants[row.y + i], constants[row.z + i], constants[row.w + i]);
        }
    }
    if local.y != 0u {
        return;
    }
    store_reach(seed.slot, index, reach);
    let terms = seed_terms(seed, neuron, sign_, tile.subdomain * frame.state_stride + seed.error);
    rows[index] = terms.bias;
    rows[frame.tile_capacity + index] = terms.slack;
}
