// Interval bounds of `z = W x + b` for a sparse `W`; formulas as in `interval_dense`.
//
// One invocation: one output of one subdomain. Tables: row offsets `[n_out + 1]`, then columns; values by row.

//#import shared/params
//#import shared/frame
//#import shared/constants4
//#import shared/interval

@group(0) @binding(0) var<uniform> params: IntervalAffine;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    if index >= n_subdomains() * params.n_out {
        return;
    }
    let subdomain = index / params.n_out;
    let output = index % params.n_out;
    let lower = subdomain * frame.state_stride + params.source;
    let upper = lower + params.n_in;
    let columns = params.rows + params.n_out + 1u;
    var sums: AffineSums;
    let end = tables[params.rows + output + 1u];
    for (var e = tables[params.rows + output]; e < end; e++) {
        let i = tables[columns + e];
        add_input(&sums, vec4<f32>(constant(params.weight + e)), state[lower + i], state[upper + i]);
    }
    store_output(params, subdomain, output, sums.centre.x, sums.radius.x, sums.magnitude.x, sums.operand);
}
