// Moves the input boxes to the start of each subdomain's state, and clears the inputs' scores.
//
// Shapes: exchange, both `[n_subdomains, 2, n_inputs]`.

//#import shared/frame

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) n_workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = linear_index(workgroup, n_workgroups, 64u, local);
    let n = 2u * frame.n_inputs;
    if index >= n_subdomains() * n {
        return;
    }
    state[(index / n) * frame.state_stride + index % n] = bitcast<f32>(exchange[frame.inputs + index]);
    exchange[frame.scores + index] = bitcast<u32>(0.0);
}
