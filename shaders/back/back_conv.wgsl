// `A_to = A_from W` for a convolution: the transposed convolution, gathered. Input `(c, y, x)` collects from every output
// whose window covers it: `y = out_y · stride + ky · dilation - pad`.
//
// One invocation: four rows (a tile) by four input channels of one group at one position, four output channels at a time;
// workgroup: 8 tiles by 8 of those. Weights `[in_channels / groups, kernel_height, kernel_width, out_channels]`.

//#import shared/params
//#import shared/frame
//#import shared/constants4
//#import shared/tiles
//#import shared/reach

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
    let stored = load_reach(params.affine.from_, id.x);
    let to_reach = operand_reach(stored, group_in, group_out);
    if id.y == 0u {
        store_reach(params.affine.to, id.x, to_reach);
    }
    let position = id.y % n_positions;
    let quad = id.y / n_positions;
    let group = quad / quads_per_group;
    let first = 4u * (quad % quads_per_group);
    let y = position / shape.in_width;
    let x = position % shape.in_width;
    if to_reach.width != 0u
        && !(contains(to_reach.ys, y) && contains(to_reach.xs, x) && contains(to_reach.channels, group * group_in + first)) {
        return;
    }
    var reach = stored;
    if stored.width == 0u {
        reach.channels = vec2<u32>(0u, shape.out_channels);
        reach.ys = vec2<u32>(0u, shape.out_height);
        reach.xs = vec2<u32>(0u, shape.out_width);
    }
    // The output channels of this group that are reached.
    let begin = max(reach.channels.x, group * group_out);
    let end = min(reach.channels.y, (group + 1u) * group_out);

    let n_valid = group_in - first;
    let from_ = params.affine.from_ * frame.slot_size + id.x;
    let channel_stride = shape.out_height * shape.out_width * n_tiles;
    // From one input channel of the kernel to the next; a channel past the end re-reads the last one and is not stored.
    let kernel_stride = shape.kernel_height * shape.kernel_width * shape.out_channels;
    let last = min(n_valid, 4u) - 1u;
    let step_1 = kernel_stride * min(1u, last);
    let step_2 = kernel_stride * min(2u, last);
    let step_3 = kernel_stride * last;
    var sum_0 = vec4<f32>();
    var sum_1 = vec4<f32>();
    var sum_2 = vec4<f32>();
    var sum_3 = vec4<f32>();
    for (var ky = 0u; ky < shape.kernel_height; ky++) {
        // Unsigned: above the output wraps to something large.
        let from_y = y + shape.pad_y - ky * shape.dilation_y;
        let out_y = from_y / shape.stride_y;
        if from_y % shape.stride_y != 0u || !contains(reach.ys, out_y) || from_y > y + shape.pad_y {
            continue;
        }
        for (var kx = 0u; kx < shape.kernel_width; kx++) {
            let from_x = x + shape.pad_x - kx * shape.dilation_x;
            let out_x = from_x / shape.stride_x;
            if from_x % shape.stride_x != 0u || !contains(reach.xs, out_x) || from_x > x + shape.pad_x {
                continue;
            }
            let pixel = from_ + (out_y * shape.out_width + out_x) * n_tiles;
            let tap = params.affine.transposed + first * kernel_stride + (ky * shape.kernel_width + kx) * shape.out_channels;
            for (var c = begin; c < end; c += 4u) {
                let n_left = end - c;
                let w_0 = four_constants(tap + c, n_left);
                let w_1 = four_constants(tap + c + step_1, n_left);
                let w_2 = four_constants(tap + c + step_2, n_left);
                let w_3 = four_constants(tap + c + step_3, n_left);
                // Past the last channel the weights are zero.
                let a_0 = coefficients[pixel + c * channel_stride];
                let a_1 = coefficients[pixel + min(c + 1u, end - 1u) * channel_stride];
                let a_2 = coefficients[pixel + min(c + 2u, end - 1u) * channel_stride];
                let a_3 = coefficients[pixel + min(c + 3u, end - 1u) * channel_stride];
                sum_0 += a_0 * w_0.x + a_1 * w_0.y + a_2 * w_0.z + a_3 * w_0.w;
                sum_1 += a_0 * w_1.x + a_1 * w_1.y + a_2 * w_1.z + a_3 * w_1.w;
                sum_2 += a_0 * w_2.x + a_1 * w_2.y + a_2 * w_2.z + a_3 * w_2.w;
                sum_3 += a_0 * w_3.x + a_1 * w_3.y + a_2 * w_3.z + a_3 * w_3.w;
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

fn operand_reach(reach: Reach, group_in: u32, group_out: u32) -> Reach {
    if reach.width == 0u {
        return reach;
    }
    let shape = params.shape;
    // All input channels of every group that has a reached output channel.
    let first = reach.channels.x / group_out;
    let end = (reach.channels.y + group_out - 1u) / group_out;
    return Reach(
        vec2<u32>(first * group_in, end * group_in),
        window_range(reach.ys, shape.stride_y, shape.dilation_y, shape.kernel_height, shape.pad_y, shape.in_height),
        window_range(reach.xs, shape.stride_x, shape.dilation_x, shape.kernel_width, shape.pad_x, shape.in_width),
        shape.in_height,
        shape.in_width,
    );
}
