// `z = W h + b` through a convolution, for one value per lane: output `(o, y, x)` sums over its window.
//
// One invocation: four lanes (a tile) by four output channels of one group at one position; workgroup: 8 tiles by 8 of those.
// Weights `[in_channels / groups, kernel_height, kernel_width, out_channels]`.

//#import shared/params
//#import shared/onward
//#import shared/frame
//#import shared/constants4
//#import shared/tiles

struct Params {
    affine: OnwardAffine,
    shape: ConvShape,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let shape = params.shape;
    let group_in = shape.in_channels / shape.groups;
    let group_out = shape.out_channels / shape.groups;
    let quads_per_group = (group_out + 3u) / 4u;
    let n_positions = shape.out_height * shape.out_width;
    let n_tiles = count_tiles();
    if id.x >= n_tiles || id.y >= shape.groups * quads_per_group * n_positions {
        return;
    }
    let position = id.y % n_positions;
    let quad = id.y / n_positions;
    let group = quad / quads_per_group;
    let first = group * group_out + 4u * (quad % quads_per_group);
    let n_valid = (group + 1u) * group_out - first;
    let y = (position / shape.out_width) * shape.stride_y;
    let x = (position % shape.out_width) * shape.stride_x;
    let channel_stride = shape.in_height * shape.in_width * n_tiles;
    let from_ = params.affine.from_ * frame.slot_size + id.x + group * group_in * channel_stride;
    let area = shape.kernel_height * shape.kernel_width;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var ky = 0u; ky < shape.kernel_height; ky++) {
        // Unsigned: above the image wraps to something large.
        let in_y = y + ky * shape.dilation_y - shape.pad_y;
        if in_y >= shape.in_height {
            continue;
        }
        for (var kx = 0u; kx < shape.kernel_width; kx++) {
            let in_x = x + kx * shape.dilation_x - shape.pad_x;
            if in_x >= shape.in_width {
                continue;
            }
            var h = from_ + (in_y * shape.in_width + in_x) * n_tiles;
            var tap = params.affine.weight + (ky * shape.kernel_width + kx) * shape.out_channels + first;
            for (var c = 0u; c < group_in; c++) {
                let w = four_constants(tap, n_valid);
                let value = coefficients[h];
                sum_0 += value * w.x;
                sum_1 += value * w.y;
                sum_2 += value * w.z;
                sum_3 += value * w.w;
                h += channel_stride;
                tap += area * shape.out_channels;
            }
        }
    }
    let neuron = first * n_positions + position;
    let bias = params.affine.bias + neuron;
    let plane = n_positions * n_tiles;
    let to = params.affine.to * frame.slot_size + neuron * n_tiles + id.x;
    coefficients[to] = sum_0 + constant(bias);
    if n_valid > 1u {
        coefficients[to + plane] = sum_1 + constant(bias + n_positions);
    }
    if n_valid > 2u {
        coefficients[to + 2u * plane] = sum_2 + constant(bias + 2u * n_positions);
    }
    if n_valid > 3u {
        coefficients[to + 3u * plane] = sum_3 + constant(bias + 3u * n_positions);
    }
}
