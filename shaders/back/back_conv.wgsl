// `A_to = A_from W` for a convolution: the transposed convolution, gathered. Input `(c, y, x)` collects from every output
// whose window covers it: `y = out_y · stride + ky · dilation - pad`.
//
// One invocation: four rows (a tile) by four input channels of one group at one position; workgroup: 8 tiles by 8 of those.
// Weights `[in_channels / groups, kernel_height, kernel_width, out_channels]`.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/tiles

struct Params {
    affine: BackAffine,
    shape: ConvShape,
}

@group(0) @binding(0) var<uniform> params: Params;

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let shape = params.shape;
    let group_in = shape.in_channels / shape.groups;
    let group_out = shape.out_channels / shape.groups;
    let quads_per_group = (group_in + 3u) / 4u;
    let n_positions = shape.in_height * shape.in_width;
    let n_tiles = count_tiles();
    if id.x >= n_tiles || id.y >= shape.groups * quads_per_group * n_positions {
        return;
    }
    let position = id.y % n_positions;
    let quad = id.y / n_positions;
    let group = quad / quads_per_group;
    let first = 4u * (quad % quads_per_group);
    let n_valid = group_in - first;
    let y = position / shape.in_width;
    let x = position % shape.in_width;

    let from_ = params.affine.from_ * frame.slot_size + id.x;
    let channel_stride = shape.out_height * shape.out_width * n_tiles;
    // From one input channel of the kernel to the next; a channel past the end re-reads the last one and is not stored.
    let kernel_stride = shape.kernel_height * shape.kernel_width * shape.out_channels;
    let last = min(n_valid, 4u) - 1u;
    let step = kernel_stride * vec4<u32>(0u, min(1u, last), min(2u, last), last);
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var ky = 0u; ky < shape.kernel_height; ky++) {
        // Unsigned: above the output wraps to something large.
        let from_y = y + shape.pad_y - ky * shape.dilation_y;
        let out_y = from_y / shape.stride_y;
        if from_y % shape.stride_y != 0u || out_y >= shape.out_height || from_y > y + shape.pad_y {
            continue;
        }
        for (var kx = 0u; kx < shape.kernel_width; kx++) {
            let from_x = x + shape.pad_x - kx * shape.dilation_x;
            let out_x = from_x / shape.stride_x;
            if from_x % shape.stride_x != 0u || out_x >= shape.out_width || from_x > x + shape.pad_x {
                continue;
            }
            var a = from_ + ((group * group_out * shape.out_height + out_y) * shape.out_width + out_x) * n_tiles;
            var w = params.affine.transposed + first * kernel_stride
                + (ky * shape.kernel_width + kx) * shape.out_channels + group * group_out;
            for (var c = 0u; c < group_out; c++) {
                let four_rows = coefficients[a];
                sum_0 += four_rows * constants[w];
                sum_1 += four_rows * constants[w + step.y];
                sum_2 += four_rows * constants[w + step.z];
                sum_3 += four_rows * constants[w + step.w];
                a += channel_stride;
                w += 1u;
            }
        }
    }
    let plane = n_positions * n_tiles;
    let to = params.affine.to * frame.slot_size + (group * group_in + first) * plane + position * n_tiles + id.x;
    coefficients[to] = sum_0;
    if n_valid > 1u {
        coefficients[to + plane] = sum_1;
    }
    if n_valid > 2u {
        coefficients[to + 2u * plane] = sum_2;
    }
    if n_valid > 3u {
        coefficients[to + 3u * plane] = sum_3;
    }
}
