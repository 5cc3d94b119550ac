// The first coefficients, bias and slack of every lane's row `± z_j`, as in `seed`: lanes of a tile may be rows of any neurons.
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

const NONE: u32 = 0xffffffffu;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    if index >= n_tiles {
        return;
    }
    let seed = params.seed;
    let tile = book[frame.places + index];
    // A lane that only fills its tile has sign 0, and so has its whole row of coefficients. The first lane is none of these.
    var sign_ = vec4<f32>();
    var neuron = vec4<u32>();
    for (var r = 0u; r < 4u; r++) {
        let word = book[frame.words + 4u * tile + r];
        if word == NONE {
            neuron[r] = neuron[0];
        } else {
            sign_[r] = select(1.0, -1.0, (word >> 31u) != 0u);
            neuron[r] = word & 0x7fffffffu;
        }
    }
    let slot = seed.slot * frame.slot_size + index;
    var reach = everything();
    if seed.kind == 0u {
        // A multiplier may start outside of what the row reaches.
        if params.width != 0u && frame.n_splits == 0u {
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
    let error = book[frame.owners + index] * frame.state_stride + seed.error;
    let terms = seed_terms(seed, neuron, sign_, error);
    rows[index] = terms.bias;
    rows[frame.tile_capacity + index] = terms.slack;
}
