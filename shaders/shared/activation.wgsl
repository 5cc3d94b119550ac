// Lines and interval of an activation `h = f(z)` for `z` in `[l, u]`: `low z + low_at <= f(z) <= up z + up_at`.
//
// Every intercept is rounded outward, so that the stored lines are valid for the stored slopes.
// Needs `constant(index)`.
// Source: Zhang et al. 2018 (arXiv 1811.00866), section 3, for the ReLU; the rounding and the sigmoid's lines are ours.

// Which activation: whoever asks for lines sets it first.
var<private> activation: Relax;

// Slopes below 2^-100 are zero: their products could be flushed.
const LEAST_SLOPE: f32 = 7.888609e-31;

struct Relaxed {
    low: f32,
    low_at: f32,
    up: f32,
    up_at: f32,
    lower: f32,
    upper: f32,
}

fn identity(l: f32, u: f32) -> Relaxed {
    return Relaxed(1.0, 0.0, 1.0, 0.0, l, u);
}

fn magnitude_of(l: f32, u: f32) -> f32 {
    return max(abs(l), abs(u));
}

fn at_least(slope: f32) -> f32 {
    return select(slope, 0.0, slope < LEAST_SLOPE);
}

// Lines of given slopes through the extreme gaps of a piecewise linear function; x: its ends and breakpoints, y: its values.
fn through(low: f32, up: f32, x: vec4<f32>, y: vec4<f32>, inexactness: f32) -> vec2<f32> {
    let below = y - low * x;
    let above = y - up * x;
    let high = abs(y) + (abs(low) + abs(up)) * abs(x);
    let largest = max(max(high.x, high.y), max(high.z, high.w));
    let error = activation.two_units * 4.0 * largest + inexactness + LEAST_SLOPE;
    return vec2<f32>(
        min(min(below.x, below.y), min(below.z, below.w)) - error,
        max(max(above.x, above.y), max(above.z, above.w)) + error,
    );
}

// `max(z, 0)`. Any upper slope in [0, 1] is valid with `t >= max(-s l, u (1 - s))`, since the gap is concave.
fn relu(l: f32, u: f32) -> Relaxed {
    if l >= 0.0 {
        return identity(l, u);
    }
    if u <= 0.0 {
        return Relaxed(0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    }
    let slope = at_least(clamp(u / (u - l), 0.0, 1.0));
    let at = max(-(slope * l), u * (1.0 - slope)) + activation.two_units * 2.0 * max(u, -l);
    let low = select(select(0.0, 1.0, slope > 0.5), slope, activation.lower_slope != 0u);
    return Relaxed(low, 0.0, slope, max(at, LEAST_SLOPE), 0.0, u);
}

// `z` above zero, `slope z` below; `inexactness` bounds the relative error of the stored slope.
fn leaky(l: f32, u: f32, slope: f32) -> Relaxed {
    if l >= 0.0 {
        return identity(l, u);
    }
    let high = magnitude_of(l, u);
    let error = (activation.two_units * abs(slope) + activation.inexactness) * high;
    let at_l = slope * l;
    let at_u = select(slope * u, u, u >= 0.0);
    let turn = select(at_u, 0.0, u > 0.0);
    let lower = min(min(at_l, at_u), turn) - error;
    let upper = max(max(at_l, at_u), turn) + error;
    if u <= 0.0 {
        return Relaxed(slope, -error, slope, error, lower, upper);
    }
    let chord = (u - at_l) / (u - l);
    let other = select(slope, 1.0, u > -l);
    let is_convex = slope <= 1.0;
    let low = select(chord, other, is_convex);
    let up = select(other, chord, is_convex);
    let at = through(low, up, vec4<f32>(l, 0.0, u, u), vec4<f32>(at_l, 0.0, u, u), activation.inexactness * high);
    return Relaxed(low, at.x, up, at.y, lower, upper);
}

fn clipped(z: f32) -> f32 {
    return min(max(z, activation.clip_lower), activation.clip_upper);
}

// The real function differs from the stored one by at most `inexactness`; the sums that say so round too.
fn clip_margin(at: f32) -> f32 {
    return select(2.0 * activation.inexactness + activation.two_units * abs(at), 0.0, activation.inexactness == 0.0);
}

// The slope of a chord; a point or a sliver of an interval has none.
fn chord_slope(rise: f32, run: f32) -> f32 {
    if run > 0.0 {
        return at_least(clamp(rise / run, 0.0, 1.0));
    }
    return 0.0;
}

// `min(max(z, clip_lower), clip_upper)`; `inexactness` bounds the error of the stored ends.
fn clip(l: f32, u: f32) -> Relaxed {
    let first_end = activation.clip_lower;
    let last_end = activation.clip_upper;
    let at_l = clipped(l);
    let at_u = clipped(u);
    let lower = at_l - clip_margin(at_l);
    let upper = at_u + clip_margin(at_u);
    if activation.inexactness == 0.0 && l >= first_end && u <= last_end {
        return identity(l, u);
    }
    if u <= first_end || l >= last_end {
        return Relaxed(0.0, at_l - clip_margin(at_l), 0.0, at_l + clip_margin(at_l), lower, upper);
    }
    let is_below = l < first_end;
    let is_above = u > last_end;
    var low = 1.0;
    var up = 1.0;
    if is_below && is_above {
        low = chord_slope(last_end - first_end, u - first_end);
        up = chord_slope(last_end - first_end, last_end - l);
    } else if is_below {
        low = select(0.0, 1.0, u - first_end > first_end - l);
        up = chord_slope(at_u - at_l, u - l);
    } else if is_above {
        low = chord_slope(at_u - at_l, u - l);
        up = select(0.0, 1.0, last_end - l > u - last_end);
    }
    // The breakpoints inside, or an end again where there is none.
    let first = select(l, first_end, is_below);
    let last = select(u, last_end, is_above);
    let at = through(
        low,
        up,
        vec4<f32>(l, first, last, u),
        vec4<f32>(at_l, clipped(first), clipped(last), at_u),
        activation.inexactness,
    );
    return Relaxed(low, at.x, up, at.y, lower, upper);
}

// Bounds `|logistic(z) - σ(z)|`: table, interpolation, and three roundings in either direction.
const LOGISTIC_ERROR: f32 = 6e-7;

// `σ(z) = 1 / (1 + exp(-z))` by a table of 512 entries per unit up to 24: `exp` has no usable error on any device.
fn logistic(z: f32) -> f32 {
    let position = min(abs(z), 24.0) * 512.0;
    let index = u32(position);
    let fraction = position - f32(index);
    let start = constant(activation.table + index);
    let value = start + fraction * (constant(activation.table + index + 1u) - start);
    return select(value, 1.0 - value, z < 0.0);
}

fn logistic_slope(z: f32) -> f32 {
    let s = logistic(z);
    return s * (1.0 - s);
}

// Slope k and intercept t of a line above the logistic function on [l, u]. For any k in [0, 1/4]:
//   `t >= max(σ(l) - k l, σ(u) - k u)`, and if `u > 0`, for any z in [max(l, 0), u],
//   `t >= σ(z) - k z + |σ'(z) - k| (u - max(l, 0))`,
// because `σ(z) - k z` is convex below zero and concave above. Where `σ'(u) >= k` it rises all the way to u: the ends decide.
fn logistic_upper(l: f32, u: f32) -> vec2<f32> {
    let at_l = logistic(l);
    let at_u = logistic(u);
    let middle = 0.5 * l + 0.5 * u;
    let width = u - l;
    var chord = logistic_slope(middle);
    if width > 1e-3 {
        chord = (at_u - at_l) / width;
    }
    let first = max(l, 0.0);
    var slope = chord;
    if u > 0.0 && l >= 0.0 {
        slope = logistic_slope(middle);
    } else if u > 0.0 && chord > logistic_slope(u) {
        // Valid tangents touch at or beyond the one from the left end, `σ'(d) (d - l) = σ(d) - σ(l)` (by bisection); of these
        // the least area lies below the one that touches nearest to the middle.
        var low = 0.0;
        var high = u;
        for (var i = 0u; i < 24u; i++) {
            let d = 0.5 * (low + high);
            if logistic_slope(d) * (d - l) > logistic(d) - at_l {
                low = d;
            } else {
                high = d;
            }
        }
        slope = logistic_slope(max(0.5 * (low + high), middle));
    }
    slope = at_least(clamp(slope, 0.0, 0.25));
    var at = max(at_l - slope * l, at_u - slope * u);
    let uncertainty = 2.0 * (LOGISTIC_ERROR + activation.two_units);
    if u > 0.0 && logistic_slope(u) < slope + uncertainty {
        // Where the tangent has this slope: `σ'` falls from 1/4 at zero.
        var low = first;
        var high = u;
        for (var i = 0u; i < 24u; i++) {
            let z = 0.5 * (low + high);
            if logistic_slope(z) > slope {
                low = z;
            } else {
                high = z;
            }
        }
        let z = clamp(0.5 * (low + high), first, u);
        let mismatch = abs(logistic_slope(z) - slope) + uncertainty;
        at = max(at, logistic(z) - slope * z + mismatch * (u - first) * (1.0 + activation.two_units * 4.0));
    }
    let rounding = activation.two_units * 4.0 * (1.0 + slope * magnitude_of(l, u));
    return vec2<f32>(slope, at + 2.0 * LOGISTIC_ERROR + rounding);
}

fn sigmoid(l: f32, u: f32) -> Relaxed {
    let above = logistic_upper(l, u);
    // `σ(-z) = 1 - σ(z)`: the upper line of the mirrored interval, mirrored back.
    let mirrored = logistic_upper(-u, -l);
    let low_at = 1.0 - mirrored.y - activation.two_units * 2.0 * (1.0 + abs(mirrored.y));
    let lower = max(logistic(l) - LOGISTIC_ERROR, 0.0);
    let upper = min(logistic(u) + LOGISTIC_ERROR, 1.0);
    return Relaxed(mirrored.x, low_at, above.x, above.y, lower, upper);
}

// `tanh z = 2 σ(2 z) - 1`.
fn tanh_lines(l: f32, u: f32) -> Relaxed {
    let s = sigmoid(l + l, u + u);
    let low_rounding = activation.two_units * 2.0 * (1.0 + 2.0 * abs(s.low_at));
    let up_rounding = activation.two_units * 2.0 * (1.0 + 2.0 * abs(s.up_at));
    let error = activation.two_units * 4.0;
    return Relaxed(
        4.0 * s.low,
        2.0 * s.low_at - 1.0 - low_rounding,
        4.0 * s.up,
        2.0 * s.up_at - 1.0 + up_rounding,
        max(2.0 * s.lower - 1.0 - error, -1.0),
        min(2.0 * s.upper - 1.0 + error, 1.0),
    );
}

fn relaxed(l: f32, u: f32, j: u32) -> Relaxed {
    switch activation.kind {
        case 0u: {
            return relu(l, u);
        }
        case 1u: {
            return leaky(l, u, constant(activation.slopes + j));
        }
        case 2u: {
            return clip(l, u);
        }
        case 3u: {
            return sigmoid(l, u);
        }
        default: {
            return tanh_lines(l, u);
        }
    }
}

// What one backward step through the lines may lose per unit of `|A_j|`: `2 unit max(|l|, |u|) steepest + γ max |intercept|`.
fn line_error(r: Relaxed, l: f32, u: f32) -> f32 {
    let is_exact = r.low == r.up && (r.low == 0.0 || r.low == 1.0) && r.low_at == 0.0 && r.up_at == 0.0;
    let steepest = max(max(abs(r.low), abs(r.up)), 1.0);
    let error = activation.two_units * magnitude_of(l, u) * steepest + activation.gamma_intercept * magnitude_of(r.low_at, r.up_at);
    return select(error, 0.0, is_exact);
}
