// Interval bounds of `z = W x + b` for `x` in `[l, u]`, and what one backward step through the node may lose per unit of `|A_k|`:
//   m ± r ⊇ [l, u],  H = max(|l|, |u|)
//   z ∈ W m + b ± (|W| r + γ (|W| H + |b|) + Δb + ΔW Σ H + underflow)
//   error = γ_column |W| H + γ_bias |b| + Δb + ΔW Σ H
// One invocation: four outputs of one subdomain. Weights `[n_in, n_out]`, so that neighbours read neighbours.
// Source: Gowal et al. 2018 (arXiv 1810.12715) for the interval; Higham 2002, chapter 3, for the rounding.

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
    let n_quads = (params.n_out + 3u) / 4u;
    if index >= n_subdomains() * n_quads {
        return;
    }
    let subdomain = index / n_quads;
    let output = 4u * (index % n_quads);
    let n_valid = params.n_out - output;
    let lower = subdomain * frame.state_stride + params.source;
    let upper = lower + params.n_in;
    var sums: AffineSums;
    for (var i = 0u; i < params.n_in; i++) {
        let weight = four_constants(params.transposed + i * params.n_out + output, n_valid);
        add_input(&sums, weight, state[lower + i], state[upper + i]);
    }
    for (var c = 0u; c < min(n_valid, 4u); c++) {
        store_output(params, subdomain, output + c, sums.centre[c], sums.radius[c], sums.magnitude[c], sums.operand);
    }
}
