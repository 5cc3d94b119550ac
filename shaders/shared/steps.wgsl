// The steps of a backward pass for one tile (four rows) at one neuron.

struct Sums {
    bias: vec4<f32>,
    slack: vec4<f32>,
}

// A line pair of an activation, and what a step through it may lose.
struct Line {
    low: f32,
    low_at: f32,
    up: f32,
    up_at: f32,
    error: f32,
}

// Replaces an activation's output: `A >= 0` takes the lower line, `A < 0` the upper one.
// Source: Zhang et al. 2018 (arXiv 1811.00866), theorem 3.2.
fn cross_line(a: vec4<f32>, line: Line, sums: ptr<function, Sums>) -> vec4<f32> {
    let positive = max(a, vec4<f32>());
    let negative = min(a, vec4<f32>());
    (*sums).bias += positive * line.low_at + negative * line.up_at;
    (*sums).slack += abs(a) * line.error;
    return positive * line.low + negative * line.up;
}

// An affine output's bias and error.
fn add_terms(a: vec4<f32>, bias: f32, error: f32, sums: ptr<function, Sums>) {
    (*sums).bias += a * bias;
    (*sums).slack += abs(a) * error;
}

// The least value over an input's interval, and `|A|` times its magnitude.
fn end_at_input(a: vec4<f32>, lower: f32, upper: f32) -> Sums {
    let value = max(a, vec4<f32>()) * lower + min(a, vec4<f32>()) * upper;
    return Sums(value, abs(a) * max(abs(lower), abs(upper)));
}

// Bounds that cannot be used stand for "unbounded".
fn is_usable(bound: f32, slack: f32) -> bool {
    return is_finite(bound) && is_finite(slack);
}

// What one unit of a row's movement counts when an input is chosen to split: nothing for a row that does not move.
fn inverse_total(total: f32) -> f32 {
    // 2^-100.
    if total > 7.888609e-31 && is_finite(total) {
        return 1.0 / total;
    }
    return 0.0;
}
