// The first coefficients, bias and slack of every row `± z_j`:
//   kind 0: the unit vector on the target;
//   kind 1: row `j` of the target's dense weight, already on its operand, with `bias = ± b_j` and what rounding it may cost.
//
// Workgroup: 8 tiles by 32 lanes along the coefficients.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/tiles
//#import shared/lanes

@group(0) @binding(0) var<uniform> params: Seed;

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    if index >= n_tiles {
        return;
    }
    let tile = tile_at(index);
    // A row that only fills its tile has sign 0, and so has its whole row of coefficients.
    var sign_ = vec4<f32>();
    var neuron = vec4<u32>();
    for (var r = 0u; r < 4u; r++) {
        if is_row(tile, r) {
            sign_[r] = row_sign(tile, r);
            neuron[r] = row_neuron(tile, r);
        }
    }
    let slot = params.slot * frame.slot_size + index;
    if params.kind == 0u {
        for (var j = local.y; j < params.n; j += LANES) {
            coefficients[slot + j * n_tiles] = select(vec4<f32>(), sign_, neuron == vec4<u32>(j));
        }
    } else {
        let row = params.weight + neuron * params.n;
        for (var i = local.y; i < params.n; i += LANES) {
            coefficients[slot + i * n_tiles] = sign_
                * vec4<f32>(constants[row.x + i], constants[row.y + i], constants[row.z + i], constants[row.w + i]);
        }
    }
    if local.y != 0u {
        return;
    }
    var bias = vec4<f32>();
    var slack = vec4<f32>(params.underflow);
    if params.kind == 1u {
        for (var r = 0u; r < 4u; r++) {
            let b = constants[params.bias + neuron[r]];
            bias[r] = sign_[r] * b;
            slack[r] += params.gamma_bias * abs(b);
            if params.is_inexact != 0u {
                slack[r] += state[tile.subdomain * frame.state_stride + params.error + neuron[r]];
            }
        }
    }
    rows[index] = bias;
    rows[frame.tile_capacity + index] = slack;
}
