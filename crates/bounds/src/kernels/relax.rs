use crate::logistic::Logistic;
use crate::program::{ActivationKind, Relax};
use crate::scalar::Scalar;

/// An activation's lines over one interval: `low · z + low_at ≤ f(z) ≤ up · z + up_at`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lines<T> {
    /// Slope of the lower line.
    pub low: T,
    /// Intercept of the lower line.
    pub low_at: T,
    /// Slope of the upper line.
    pub up: T,
    /// Intercept of the upper line.
    pub up_at: T,
}

/// Lines, error coefficients and interval of an activation, from the bounds of its operand.
///
/// Every intercept is rounded outward, so that the stored lines are valid for the stored slopes. `error_j` is
/// `2u max(|l|, |u|) · steepest + γ max |intercept|`: what the rounded products of one backward step may lose per unit of `|A_j|`.
#[inline(always)]
pub fn relax<T: Logistic>(params: &Relax, constants: &[T], state: &mut [T]) {
    let n = params.n as usize;
    let (source, target, lines) = (params.source as usize, params.target as usize, params.lines as usize);
    let two_units = T::of(f64::from(params.two_units));
    let gamma = T::of(f64::from(params.gamma_intercept));
    for j in 0..n {
        let (l, u) = (state[source + j], state[source + n + j]);
        let (relaxed, image) = if params.kind == ActivationKind::Relu as u32 {
            relu(l, u, two_units, params.lower_slope != 0)
        } else if params.kind == ActivationKind::Leaky as u32 {
            leaky(l, u, constants[params.slopes as usize + j], two_units, T::of(f64::from(params.inexactness)))
        } else if params.kind == ActivationKind::Clip as u32 {
            let ends = (T::of(f64::from(params.clip_lower)), T::of(f64::from(params.clip_upper)));
            clip(l, u, ends, two_units, T::of(f64::from(params.inexactness)))
        } else {
            let table = &constants[params.table as usize..];
            if params.kind == ActivationKind::Sigmoid as u32 {
                sigmoid(l, u, table, two_units)
            } else {
                tanh(l, u, table, two_units)
            }
        };
        let Lines { low, low_at, up, up_at } = relaxed;
        let is_exact = |slope: T| slope == T::ZERO || slope == T::ONE;
        let error = if low == up && is_exact(low) && low_at == T::ZERO && up_at == T::ZERO {
            T::ZERO
        } else {
            let high = l.magnitude().larger(u.magnitude());
            let steepest = low.magnitude().larger(up.magnitude()).larger(T::ONE);
            two_units * high * steepest + gamma * low_at.magnitude().larger(up_at.magnitude())
        };
        for (i, value) in [low, low_at, up, up_at, error].into_iter().enumerate() {
            state[lines + i * n + j] = value;
        }
        state[target + j] = image[0];
        state[target + n + j] = image[1];
    }
}

/// `max(z, 0)`. Any upper slope in `[0, 1]` is valid with `t ≥ max(−s l, u (1 − s))`, since the gap is concave.
#[inline(always)]
fn relu<T: Scalar>(l: T, u: T, two_units: T, same_slope: bool) -> (Lines<T>, [T; 2]) {
    if l >= T::ZERO {
        return (identity(), [l, u]);
    }
    if u <= T::ZERO {
        return (constant(T::ZERO), [T::ZERO; 2]);
    }
    let slope = at_least(unit_range(u / (u - l)));
    let high = u.larger(-l);
    let at = (-(slope * l)).larger(u * (T::ONE - slope)) + two_units * T::of(2.0) * high;
    let low = if same_slope {
        slope
    } else if slope > T::of(0.5) {
        T::ONE
    } else {
        T::ZERO
    };
    (Lines { low, low_at: T::ZERO, up: slope, up_at: at.larger(T::LEAST_SLOPE) }, [T::ZERO, u])
}

/// `z` above zero, `slope · z` below; `inexactness` bounds the error of the stored slope.
#[inline(always)]
fn leaky<T: Scalar>(l: T, u: T, slope: T, two_units: T, inexactness: T) -> (Lines<T>, [T; 2]) {
    if l >= T::ZERO {
        return (identity(), [l, u]);
    }
    let high = l.magnitude().larger(u.magnitude());
    let f = |z: T| if z >= T::ZERO { z } else { slope * z };
    let image = widened(
        f(l).smaller(f(u)).smaller(if u > T::ZERO { T::ZERO } else { f(u) }),
        f(l).larger(f(u)).larger(if u > T::ZERO { T::ZERO } else { f(u) }),
        (two_units * slope.magnitude() + inexactness) * high,
    );
    if u <= T::ZERO {
        let error = (two_units * slope.magnitude() + inexactness) * high;
        return (Lines { low: slope, low_at: -error, up: slope, up_at: error }, image);
    }
    let chord = (u - f(l)) / (u - l);
    let other = if u > -l { T::ONE } else { slope };
    let (low, up) = if slope <= T::ONE { (other, chord) } else { (chord, other) };
    let candidates = [(l, f(l)), (T::ZERO, T::ZERO), (u, u)];
    (through(low, up, &candidates, two_units, inexactness * high), image)
}

/// `min(max(z, ends.0), ends.1)`; `inexactness` bounds the error of the stored ends.
#[inline(always)]
fn clip<T: Scalar>(l: T, u: T, ends: (T, T), two_units: T, inexactness: T) -> (Lines<T>, [T; 2]) {
    let f = |z: T| z.larger(ends.0).smaller(ends.1);
    // The real function differs from the stored one by at most `inexactness`; the sums that say so round too.
    let margin = |at: T| {
        if inexactness == T::ZERO { T::ZERO } else { inexactness + inexactness + two_units * at.magnitude() }
    };
    let image = [f(l) - margin(f(l)), f(u) + margin(f(u))];
    if inexactness == T::ZERO && l >= ends.0 && u <= ends.1 {
        return (identity(), [l, u]);
    }
    if u <= ends.0 || l >= ends.1 {
        let at = f(l);
        return (Lines { low: T::ZERO, low_at: at - margin(at), up: T::ZERO, up_at: at + margin(at) }, image);
    }
    let (below, above) = (l < ends.0, u > ends.1);
    // A point or a sliver of an interval has no chord.
    let slope = |rise: T, run: T| if run > T::ZERO { at_least(unit_range(rise / run)) } else { T::ZERO };
    let (low, up) = match (below, above) {
        (true, true) => (slope(ends.1 - ends.0, u - ends.0), slope(ends.1 - ends.0, ends.1 - l)),
        (true, false) => (if u - ends.0 > ends.0 - l { T::ONE } else { T::ZERO }, slope(f(u) - f(l), u - l)),
        (false, true) => (slope(f(u) - f(l), u - l), if ends.1 - l > u - ends.1 { T::ONE } else { T::ZERO }),
        (false, false) => (T::ONE, T::ONE),
    };
    // The breakpoints inside, or an end again where there is none.
    let first = if below { ends.0 } else { l };
    let last = if above { ends.1 } else { u };
    let candidates = [(l, f(l)), (first, f(first)), (last, f(last)), (u, f(u))];
    (through(low, up, &candidates, two_units, inexactness), image)
}

/// The logistic function: neither convex nor concave, so that checking the ends alone would be unsound.
#[inline(always)]
fn sigmoid<T: Logistic>(l: T, u: T, table: &[T], two_units: T) -> (Lines<T>, [T; 2]) {
    let (up, up_at) = logistic_upper(l, u, table, two_units);
    // `σ(−z) = 1 − σ(z)`: the upper line of the mirrored interval, mirrored back.
    let (low, mirrored_at) = logistic_upper(-u, -l, table, two_units);
    let low_at = T::ONE - mirrored_at - two_units * T::of(2.0) * (T::ONE + mirrored_at.magnitude());
    let error = T::LOGISTIC_ERROR;
    let image = [(l.logistic(table) - error).larger(T::ZERO), (u.logistic(table) + error).smaller(T::ONE)];
    (Lines { low, low_at, up, up_at }, image)
}

/// `tanh z = 2σ(2z) − 1`.
#[inline(always)]
fn tanh<T: Logistic>(l: T, u: T, table: &[T], two_units: T) -> (Lines<T>, [T; 2]) {
    let (lines, image) = sigmoid(l + l, u + u, table, two_units);
    let four = T::of(4.0);
    let rounding = |at: T| two_units * T::of(2.0) * (T::ONE + at.magnitude() + at.magnitude());
    let lines = Lines {
        low: four * lines.low,
        low_at: (lines.low_at + lines.low_at) - T::ONE - rounding(lines.low_at),
        up: four * lines.up,
        up_at: (lines.up_at + lines.up_at) - T::ONE + rounding(lines.up_at),
    };
    let error = two_units * T::of(4.0);
    let low = ((image[0] + image[0]) - T::ONE - error).larger(-T::ONE);
    (lines, [low, ((image[1] + image[1]) - T::ONE + error).smaller(T::ONE)])
}

/// Slope and intercept of a line above the logistic function on `[l, u]`.
///
/// For any slope `0 ≤ k ≤ ¼`, `t ≥ max(σ(l) − k l, σ(u) − k u)`, and if `u > 0` also, for any `ẑ` in `[max(l, 0), u]`,
/// `t ≥ σ(ẑ) − k ẑ + |σ'(ẑ) − k| (u − max(l, 0))`: `σ(z) − k z` is convex below zero and concave above it. Where `σ'(u) ≥ k`
/// it rises all the way to `u`, and the ends alone decide.
#[inline(always)]
fn logistic_upper<T: Logistic>(l: T, u: T, table: &[T], two_units: T) -> (T, T) {
    let half = T::of(0.5);
    let sigma = |z: T| z.logistic(table);
    let derivative = |z: T| {
        let s = sigma(z);
        s * (T::ONE - s)
    };
    let (at_l, at_u) = (sigma(l), sigma(u));
    let middle = half * l + half * u;
    let width = u - l;
    let chord = if width > T::of(1e-3) { (at_u - at_l) / width } else { derivative(middle) };
    let slope = if u <= T::ZERO {
        chord
    } else if l >= T::ZERO {
        derivative(middle)
    } else if chord <= derivative(u) {
        chord
    } else {
        // Valid tangents touch at or beyond the one from the left end, `σ'(d) (d − l) = σ(d) − σ(l)` (by bisection); of these the
        // least area lies below the one that touches nearest to the middle.
        let (mut low, mut high) = (T::ZERO, u);
        for _ in 0..24 {
            let d = half * (low + high);
            if derivative(d) * (d - l) > sigma(d) - at_l {
                low = d;
            } else {
                high = d;
            }
        }
        derivative((half * (low + high)).larger(middle))
    };
    let slope = at_least(slope.larger(T::ZERO).smaller(T::of(0.25)));
    (slope, logistic_upper_at::<T, false>(l, u, slope, table, two_units).0)
}

/// The intercept of a line of slope `0 ≤ slope ≤ ¼` above the logistic function on `[l, u]`, and about where it touches.
///
/// The tangent point is searched as a device does, or taken from its closed form: any point will do.
#[inline(always)]
fn logistic_upper_at<T: Logistic, const CLOSED: bool>(l: T, u: T, slope: T, table: &[T], two_units: T) -> (T, T) {
    let half = T::of(0.5);
    let sigma = |z: T| z.logistic(table);
    let derivative = |z: T| {
        let s = sigma(z);
        s * (T::ONE - s)
    };
    let first = l.larger(T::ZERO);
    let (from_l, from_u) = (sigma(l) - slope * l, sigma(u) - slope * u);
    let mut at = from_l.larger(from_u);
    let mut touch = if from_l > from_u { l } else { u };
    let uncertainty = T::of(2.0) * (T::LOGISTIC_ERROR + two_units);
    if u > T::ZERO && derivative(u) < slope + uncertainty {
        // Where the tangent has this slope: `σ'` falls from ¼ at zero.
        let (mut low, mut high) = (first, u);
        if CLOSED {
            let root = (1.0 - 4.0 * slope.to_f64()).max(0.0).sqrt();
            low = T::of(((1.0 + root) / (1.0 - root)).ln());
            high = low;
        }
        for _ in 0..if CLOSED { 0 } else { 24 } {
            let z = half * (low + high);
            if derivative(z) > slope {
                low = z;
            } else {
                high = z;
            }
        }
        let z = (half * (low + high)).larger(first).smaller(u);
        let mismatch = (derivative(z) - slope).magnitude() + uncertainty;
        let tangent = sigma(z) - slope * z + mismatch * (u - first) * (T::ONE + two_units * T::of(4.0));
        if tangent > at {
            (at, touch) = (tangent, z);
        }
    }
    let high = l.magnitude().larger(u.magnitude());
    let rounding = two_units * T::of(4.0) * (T::ONE + slope * high);
    (at + T::of(2.0) * T::LOGISTIC_ERROR + rounding, touch)
}

/// A line of a sigmoid or a hyperbolic tangent, and about where it touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Touching<T> {
    /// The slope: the one asked for, clamped to what the function has.
    pub slope: T,
    /// The intercept, rounded outward.
    pub at: T,
    /// Where the function meets the line, about.
    pub touch: T,
}

/// The least and the largest slope of a smooth activation on `[l, u]`, about.
#[inline(always)]
pub fn smooth_slopes<T: Logistic>(is_tanh: bool, (l, u): (T, T), table: &[T]) -> (T, T) {
    let (l, u, scale) = if is_tanh { (l + l, u + u, T::of(4.0)) } else { (l, u, T::ONE) };
    let derivative = |z: T| {
        let s = z.logistic(table);
        scale * s * (T::ONE - s)
    };
    let (at_l, at_u) = (derivative(l), derivative(u));
    let largest = if l < T::ZERO && u > T::ZERO { scale * T::of(0.25) } else { at_l.larger(at_u) };
    (at_l.smaller(at_u), largest)
}

/// The line of a slope above (or below) a smooth activation on `[l, u]`: any slope is valid with its own intercept.
#[inline(always)]
pub fn smooth_line<T: Logistic>(
    (is_tanh, is_upper): (bool, bool),
    (l, u): (T, T),
    slope: T,
    table: &[T],
    two_units: T,
) -> Touching<T> {
    // `tanh z = 2σ(2z) − 1`: the logistic function on twice the interval, of a quarter of the slope.
    let four = T::of(4.0);
    let (l, u, slope) = if is_tanh { (l + l, u + u, slope / four) } else { (l, u, slope) };
    let slope = at_least(slope.larger(T::ZERO).smaller(T::of(0.25)));
    let (at, touch) = if is_upper {
        logistic_upper_at::<T, true>(l, u, slope, table, two_units)
    } else {
        // `σ(−z) = 1 − σ(z)`.
        let (at, touch) = logistic_upper_at::<T, true>(-u, -l, slope, table, two_units);
        (T::ONE - at - two_units * T::of(2.0) * (T::ONE + at.magnitude()), -touch)
    };
    if !is_tanh {
        return Touching { slope, at, touch };
    }
    let rounding = two_units * T::of(2.0) * (T::ONE + at.magnitude() + at.magnitude());
    let at = (at + at) - T::ONE + if is_upper { rounding } else { -rounding };
    Touching { slope: four * slope, at, touch: T::of(0.5) * touch }
}

/// Lines of given slopes through the extreme gaps of a piecewise linear function, whose `candidates` are its ends and
/// breakpoints with their values; outward by the rounding of those values and `inexactness`.
#[inline(always)]
fn through<T: Scalar>(low: T, up: T, candidates: &[(T, T)], two_units: T, inexactness: T) -> Lines<T> {
    let (z, f) = candidates[0];
    let (mut low_at, mut up_at, mut high) = (f - low * z, f - up * z, T::ZERO);
    for &(z, f) in candidates {
        low_at = low_at.smaller(f - low * z);
        up_at = up_at.larger(f - up * z);
        high = high.larger(f.magnitude() + (low.magnitude() + up.magnitude()) * z.magnitude());
    }
    let error = two_units * T::of(4.0) * high + inexactness + T::LEAST_SLOPE;
    Lines { low, low_at: low_at - error, up, up_at: up_at + error }
}

#[inline(always)]
fn identity<T: Scalar>() -> Lines<T> {
    Lines { low: T::ONE, low_at: T::ZERO, up: T::ONE, up_at: T::ZERO }
}

#[inline(always)]
fn constant<T: Scalar>(at: T) -> Lines<T> {
    Lines { low: T::ZERO, low_at: at, up: T::ZERO, up_at: at }
}

#[inline(always)]
fn unit_range<T: Scalar>(slope: T) -> T {
    slope.larger(T::ZERO).smaller(T::ONE)
}

/// A slope too small to be multiplied safely becomes zero.
#[inline(always)]
fn at_least<T: Scalar>(slope: T) -> T {
    if slope < T::LEAST_SLOPE { T::ZERO } else { slope }
}

#[inline(always)]
fn widened<T: Scalar>(l: T, u: T, by: T) -> [T; 2] {
    [l - by, u + by]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logistic::table;

    /// Least distance of the lines from the function over many points of an interval (negative: they cut it).
    fn least_gaps<T: Logistic>(lines: &Lines<T>, f: impl Fn(f64) -> f64, l: T, u: T) -> (f64, f64) {
        let (l, u) = (l.to_f64(), u.to_f64());
        let line = |slope: T, at: T, z: f64| slope.to_f64() * z + at.to_f64();
        (0..=2000).map(|i| (l + (u - l) * f64::from(i) / 2000.0).clamp(l, u)).fold((f64::MAX, f64::MAX), |gaps, z| {
            (gaps.0.min(f(z) - line(lines.low, lines.low_at, z)), gaps.1.min(line(lines.up, lines.up_at, z) - f(z)))
        })
    }

    fn check<T: Logistic>(two_units: f64, closeness: f64) {
        let (table, two_units) = (table::<T>(), T::of(two_units));
        let ends = [-30.0, -8.0, -3.0, -1.0, -0.4, -1e-3, 0.0, 1e-4, 0.3, 2.0, 5.0, 9.0, 40.0];
        for (a, &l) in ends.iter().enumerate() {
            for &u in &ends[a..] {
                let (l, u) = (T::of(l), T::of(u));
                let smooth = [
                    (
                        "sigmoid",
                        sigmoid(l, u, &table, two_units).0,
                        (|z: f64| 1.0 / (1.0 + (-z).exp())) as fn(f64) -> f64,
                    ),
                    ("tanh", tanh(l, u, &table, two_units).0, f64::tanh),
                    ("relu", relu(l, u, two_units, false).0, |z| z.max(0.0)),
                    ("leaky", leaky(l, u, T::of(-0.25), two_units, T::ZERO).0, |z| if z < 0.0 { -0.25 * z } else { z }),
                    ("steep", leaky(l, u, T::of(1.5), two_units, T::ZERO).0, |z| if z < 0.0 { 1.5 * z } else { z }),
                    ("clip", clip(l, u, (T::of(-0.5), T::of(2.0)), two_units, T::ZERO).0, |z| z.clamp(-0.5, 2.0)),
                ];
                for (name, lines, f) in smooth {
                    let (below, above) = least_gaps(&lines, f, l, u);
                    // f64 evaluation of the function itself errs by 1e-16 of values up to 60.
                    assert!(
                        below > -2e-14 && above > -2e-14,
                        "{name} on [{l:?}, {u:?}]: {lines:?} cut by {below:e}, {above:e}"
                    );
                    assert!(below < closeness && above < closeness, "{name} on [{l:?}, {u:?}]: {lines:?} do not touch");
                }
            }
        }
    }

    #[test]
    fn lines_enclose_every_activation_and_touch_it_in_f32() {
        check::<f32>(2.4e-7, 1e-3);
    }

    #[test]
    fn lines_enclose_every_activation_and_touch_it_in_f64() {
        check::<f64>(2.3e-16, 1e-4);
    }
}
