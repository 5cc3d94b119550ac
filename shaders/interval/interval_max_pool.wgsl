// Interval bounds of maxima over windows: `[max l, max u]`, and the input with the largest lower bound (the first of equals).
// That input dominates if its lower bound is at least every other input's upper bound.
//
// One invocation: one output of one subdomain. Padding never wins. Nothing rounds.

//#import shared/params
//#import shared/frame

struct Params {
    pool: IntervalMaxPool,
    shape: PoolShape,
}

@group(0) @binding(0) var<uniform> params: Params;

const DOMINATES: u32 = 0x80000000u;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    let pool = params.pool;
    let shape = params.shape;
    if index >= n_subdomains() * pool.n_out {
        return;
    }
    let subdomain = index / pool.n_out;
    let output = index % pool.n_out;
    let n_positions = shape.out_height * shape.out_width;
    let channel = output / n_positions;
    let out_y = (output % n_positions) / shape.out_width;
    let out_x = output % shape.out_width;
    let lower = subdomain * frame.state_stride + pool.source;
    let upper = lower + pool.n_in;

    var is_first = true;
    var chosen = 0u;
    var largest_lower = 0.0;
    var largest_upper = 0.0;
    // The largest upper bound of the inputs that are not chosen.
    var has_other = false;
    var other_upper = 0.0;
    for (var ky = 0u; ky < shape.kernel_height; ky++) {
        let y = out_y * shape.stride_y + ky * shape.dilation_y - shape.pad_y;
        if y >= shape.in_height {
            continue;
        }
        for (var kx = 0u; kx < shape.kernel_width; kx++) {
            let x = out_x * shape.stride_x + kx * shape.dilation_x - shape.pad_x;
            if x >= shape.in_width {
                continue;
            }
            let i = (channel * shape.in_height + y) * shape.in_width + x;
            let l = state[lower + i];
            let u = state[upper + i];
            if is_first {
                chosen = i;
                largest_lower = l;
                largest_upper = u;
                is_first = false;
                continue;
            }
            var rival = u;
            if l > largest_lower {
                rival = state[upper + chosen];
                chosen = i;
                largest_lower = l;
            }
            other_upper = select(rival, max(other_upper, rival), has_other);
            has_other = true;
            largest_upper = max(largest_upper, u);
        }
    }
    let dominates = !has_other || largest_lower >= other_upper;
    let base = subdomain * frame.state_stride + pool.target_;
    state[base + output] = largest_lower;
    state[base + pool.n_out + output] = largest_upper;
    marks[subdomain * frame.mark_stride + pool.choice + output] = chosen | select(0u, DOMINATES, dominates);
}
