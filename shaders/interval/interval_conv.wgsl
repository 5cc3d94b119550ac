// Interval bounds of a convolution; formulas as in `interval_dense`.
//
// One invocation: four output channels of one group at one position of one subdomain.
// Weights `[in_channels / groups, kernel_height, kernel_width, out_channels]`; padding contributes nothing.

//#import shared/params
//#import shared/frame
//#import shared/constants4
//#import shared/interval

struct Params {
    affine: IntervalAffine,
    shape: ConvShape,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let shape = params.shape;
    let group_out = shape.out_channels / shape.groups;
    let group_in = shape.in_channels / shape.groups;
    let quads_per_group = (group_out + 3u) / 4u;
    let n_positions = shape.out_height * shape.out_width;
    let per_subdomain = shape.groups * quads_per_group * n_positions;
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    if index >= n_subdomains() * per_subdomain {
        return;
    }
    let subdomain = index / per_subdomain;
    let rest = index % per_subdomain;
    let position = rest % n_positions;
    let quad = rest / n_positions;
    let group = quad / quads_per_group;
    let first = 4u * (quad % quads_per_group);
    let n_valid = group_out - first;
    let channel = group * group_out + first;
    let out_y = position / shape.out_width;
    let out_x = position % shape.out_width;

    let lower = subdomain * frame.state_stride + params.affine.source;
    let upper = lower + params.affine.n_in;
    var sums: AffineSums;
    for (var ky = 0u; ky < shape.kernel_height; ky++) {
        // Unsigned: above the input wraps to something large.
        let y = out_y * shape.stride_y + ky * shape.dilation_y - shape.pad_y;
        if y >= shape.in_height {
            continue;
        }
        for (var kx = 0u; kx < shape.kernel_width; kx++) {
            let x = out_x * shape.stride_x + kx * shape.dilation_x - shape.pad_x;
            if x >= shape.in_width {
                continue;
            }
            for (var c = 0u; c < group_in; c++) {
                let kernel = ((c * shape.kernel_height + ky) * shape.kernel_width + kx) * shape.out_channels + channel;
                let i = ((group * group_in + c) * shape.in_height + y) * shape.in_width + x;
                add_input(&sums, four_constants(params.affine.transposed + kernel, n_valid), state[lower + i], state[upper + i]);
            }
        }
    }
    for (var c = 0u; c < min(n_valid, 4u); c++) {
        let output = (channel + c) * n_positions + position;
        store_output(params.affine, subdomain, output, sums.centre[c], sums.radius[c], sums.magnitude[c], sums.operand);
    }
}
