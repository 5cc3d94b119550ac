// Interval bounds of a sum of operands: `[Σ l, Σ u]`, widened by `γ Σ max(|l|, |u|)` and what underflow may cost.
//
// One invocation: one element of one subdomain. Tables: the operands' places in the state.

//#import shared/params
//#import shared/frame

@group(0) @binding(0) var<uniform> params: IntervalAdd;

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
    var lower = 0.0;
    var upper = 0.0;
    var magnitude = 0.0;
    for (var o = 0u; o < params.n_operands; o++) {
        let operand = base + tables[params.operands + o] + j;
        let l = state[operand];
        let u = state[operand + params.n];
        lower += l;
        upper += u;
        magnitude += max(abs(l), abs(u));
    }
    let radius = params.gamma * magnitude + params.underflow;
    state[base + params.target_ + j] = lower - radius;
    state[base + params.target_ + params.n + j] = upper + radius;
}
