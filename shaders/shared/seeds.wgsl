// What the first coefficients of four rows share, whoever lays the rows out.

struct SeedTerms {
    bias: vec4<f32>,
    slack: vec4<f32>,
}

// Bias and slack of four rows; `error` is where the target's own errors lie in the state.
fn seed_terms(seed: Seed, neuron: vec4<u32>, sign_: vec4<f32>, error: u32) -> SeedTerms {
    var terms = SeedTerms(vec4<f32>(), vec4<f32>(seed.underflow));
    if seed.kind == 1u {
        for (var r = 0u; r < 4u; r++) {
            let b = constants[seed.bias + neuron[r]];
            terms.bias[r] = sign_[r] * b;
            terms.slack[r] += seed.gamma_bias * abs(b);
            if seed.is_inexact != 0u {
                terms.slack[r] += state[error + neuron[r]];
            }
        }
    }
    return terms;
}

// The block around four neurons.
fn reach_of(neuron: vec4<u32>, height: u32, width: u32) -> Reach {
    let line = neuron / width;
    return Reach(span(line / height), span(line % height), span(neuron % width), height, width);
}

fn span(values: vec4<u32>) -> vec2<u32> {
    let low = min(values.xy, values.zw);
    let high = max(values.xy, values.zw);
    return vec2<u32>(min(low.x, low.y), max(high.x, high.y) + 1u);
}
