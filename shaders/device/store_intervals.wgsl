// The result of a program without an objective: the last node's interval, lower ends, then negated upper ends.
//
// Frame: `list` is the node's place in the state, `n_fixed` its length.

//#import shared/frame

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    let n_rows = 2u * frame.n_fixed;
    if index >= n_subdomains() * n_rows {
        return;
    }
    let row = index % n_rows;
    let bound = state[(index / n_rows) * frame.state_stride + frame.list + row];
    exchange[frame.lower + index] = bitcast<u32>(select(-bound, bound, row < frame.n_fixed));
    exchange[frame.slack + index] = bitcast<u32>(0.0);
}
