// Lines and interval of an activation: see `shared/activation`.
//
// One invocation: one neuron of one subdomain. Lines: five arrays of `n`: low, low_at, up, up_at, error.

//#import shared/params
//#import shared/frame
//#import shared/constants
//#import shared/activation

@group(0) @binding(0) var<uniform> params: Relax;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    if index >= n_subdomains() * params.n {
        return;
    }
    let base = (index / params.n) * frame.state_stride;
    let j = index % params.n;
    let l = state[base + params.source + j];
    let u = state[base + params.source + params.n + j];
    activation = params;
    let r = relaxed(l, u, j);
    let lines = base + params.lines + j;
    state[lines] = r.low;
    state[lines + params.n] = r.low_at;
    state[lines + 2u * params.n] = r.up;
    state[lines + 3u * params.n] = r.up_at;
    state[lines + 4u * params.n] = line_error(r, l, u);
    state[base + params.target_ + j] = r.lower;
    state[base + params.target_ + params.n + j] = r.upper;
}
