// An interval through one row of an affine node. Needs `constant(index)`.

// Centre, radius and magnitude of an interval: it lies in `x ± y`, and in `[-z, z]`.
fn ball_of(lower: f32, upper: f32) -> vec3<f32> {
    let magnitude = max(abs(lower), abs(upper));
    if lower == upper {
        return vec3<f32>(lower, 0.0, magnitude);
    }
    let centre = 0.5 * lower + 0.5 * upper;
    let radius = max(upper - centre, centre - lower) * (1.0 + 4.0 * UNIT) + 1e-37;
    return vec3<f32>(centre, radius, magnitude);
}

// The interval of one output, and what one backward step through it may lose per unit of `|A_k|`, from the sums over the row:
// the centre, `Σ |W| r`, `Σ |W| H`, and `Σ H`.
fn affine_end(affine: IntervalAffine, output: u32, centre: f32, radius: f32, magnitude: f32, operand: f32) -> vec3<f32> {
    let bias = constant(affine.bias + output);
    let bias_error = constant(affine.bias_error + output);
    var absolute = 0.0;
    if affine.has_absolute != 0u {
        absolute = constant(affine.absolute + output) * operand;
    }
    let inflation = 1.0 + 8.0 * UNIT;
    let c = centre + bias;
    let r = (radius + affine.gamma_interval * (magnitude + abs(bias)) + bias_error + affine.underflow + absolute) * inflation;
    let error = (affine.gamma_column * magnitude + affine.gamma_bias * abs(bias) + bias_error + absolute) * inflation;
    return vec3<f32>(c - r, c + r, error);
}
