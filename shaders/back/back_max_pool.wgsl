// Through maxima, by the choices of the forward step. Per output `o` with chosen input `i`:
//   `A_o >= 0`, or `i` dominates: `A_i += A_o`;  else `bias += A_o upper_o`
//   `slack += γ |A_o| max(|l_i|, |u_i|, |upper_o|)`
// Lower line: the chosen input; upper line: that input if it dominates, else the constant largest upper bound.
//
// Workgroup: 8 tiles by 32 lanes along the inputs (gathered from the windows that contain them), then along the outputs.
// Source: Singh et al. 2019 (DeepPoly), section 4.3.

//#import shared/params
//#import shared/frame
//#import shared/tiles
//#import shared/lanes
//#import shared/reach

struct Params {
    pool: BackMaxPool,
    shape: PoolShape,
}

@group(0) @binding(0) var<uniform> params: Params;

const DOMINATES: u32 = 0x80000000u;

fn operand_reach(reach: Reach) -> Reach {
    if reach.width == 0u {
        return reach;
    }
    let shape = params.shape;
    return Reach(
        reach.channels,
        window_range(reach.ys, shape.stride_y, shape.dilation_y, shape.kernel_height, shape.pad_y, shape.in_height),
        window_range(reach.xs, shape.stride_x, shape.dilation_x, shape.kernel_width, shape.pad_x, shape.in_width),
        shape.in_height,
        shape.in_width,
    );
}

@compute @workgroup_size(8, 32)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
    let index = workgroup.x * TILES + local.x;
    let n_tiles = count_tiles();
    let is_inside = index < n_tiles;
    let pool = params.pool;
    let shape = params.shape;
    var bias = vec4<f32>();
    var slack = vec4<f32>();
    if is_inside {
        let subdomain = book[frame.owners + frame.first_tile + index];
        let choices = subdomain * frame.mark_stride + pool.choice;
        let from_ = pool.from_ * frame.slot_size + index;
        let to = pool.to * frame.slot_size + index;
        let n_positions = shape.in_height * shape.in_width;
        let reach = load_reach(pool.from_, index);
        let to_reach = operand_reach(reach);
        if local.y == 0u {
            store_reach(pool.to, index, to_reach);
        }
        let n_inputs = count_reached(to_reach, pool.n_in);
        for (var e = local.y; e < n_inputs; e += LANES) {
            let i = reached(to_reach, e);
            let channel = i / n_positions;
            let y = (i % n_positions) / shape.in_width;
            let x = i % shape.in_width;
            var sum = vec4<f32>();
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
                    let o = (channel * shape.out_height + out_y) * shape.out_width + out_x;
                    let choice = marks[choices + o];
                    if (choice & ~DOMINATES) == i && is_reached(reach, o) {
                        let a = coefficients[from_ + o * n_tiles];
                        sum += select(max(a, vec4<f32>()), a, (choice & DOMINATES) != 0u);
                    }
                }
            }
            coefficients[to + i * n_tiles] = sum;
        }
        let base = subdomain * frame.state_stride;
        let n_outputs = count_reached(reach, pool.n_out);
        for (var e = local.y; e < n_outputs; e += LANES) {
            let o = reached(reach, e);
            let a = coefficients[from_ + o * n_tiles];
            let choice = marks[choices + o];
            let i = choice & ~DOMINATES;
            let upper = state[base + pool.bounds + pool.n_out + o];
            let lower_i = state[base + pool.source + i];
            let upper_i = state[base + pool.source + pool.n_in + i];
            if (choice & DOMINATES) == 0u {
                bias += min(a, vec4<f32>()) * upper;
            }
            slack += abs(a) * (pool.gamma * max(max(abs(lower_i), abs(upper_i)), abs(upper)));
        }
    }
    sum_lanes(local, bias, slack);
    if is_inside && local.y == 0u {
        rows[index] += first_partial[local.x];
        rows[frame.tile_capacity + index] += second_partial[local.x];
    }
}
