//! Two lines around every activation: `low z + low_at ≤ f(z) ≤ up z + up_at` on `[l, u]`, in real arithmetic for the floats stored.

use network::Activation;

use crate::exponential::logistic;
use crate::rounding::UNIT;

/// The lines of one neuron.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lines {
    /// Slope of the lower line.
    pub low: f64,
    /// Its value at zero.
    pub low_at: f64,
    /// Slope of the upper line.
    pub up: f64,
    /// Its value at zero.
    pub up_at: f64,
}

impl Lines {
    /// The function is the identity here.
    pub const IDENTITY: Self = Self { low: 1.0, low_at: 0.0, up: 1.0, up_at: 0.0 };
    /// The function is zero here.
    pub const ZERO: Self = Self { low: 0.0, low_at: 0.0, up: 0.0, up_at: 0.0 };

    /// Lines of an activation's element `i` over `[l, u]`, and the interval of its values.
    pub fn of(activation: &Activation, i: usize, l: f64, u: f64) -> (Self, [f64; 2]) {
        match activation {
            Activation::Relu => relu(l, u),
            Activation::LeakyRelu(slopes) => leaky(l, u, if slopes.len() == 1 { slopes[0] } else { slopes[i] }),
            Activation::Clip { lower, upper } => clip(l, u, [*lower, *upper]),
            Activation::Sigmoid => sigmoid(l, u),
            Activation::Tanh => tanh(l, u),
        }
    }
}

/// Whether a neuron on `[l, u]` is worth a bound better than its interval: some breakpoint lies inside, or it is curved.
pub fn is_undecided(activation: &Activation, l: f64, u: f64) -> bool {
    let inside = |point: f64| l < point && point < u;
    match activation {
        Activation::Relu | Activation::LeakyRelu(_) => inside(0.0),
        Activation::Clip { lower, upper } => inside(*lower) || inside(*upper),
        Activation::Sigmoid | Activation::Tanh => l < u,
    }
}

/// A float at or above `a b + c` (and its mirror below): one rounding each, one step outward each.
fn above(a: f64, b: f64, c: f64) -> f64 {
    ((a * b).next_up() + c).next_up()
}

fn below(a: f64, b: f64, c: f64) -> f64 {
    ((a * b).next_down() + c).next_down()
}

/// `max(z, 0)`. The chord's gap to the function is concave, so that an intercept that covers both ends covers all of `[l, u]`,
/// whatever slope was stored: `t ≥ max(−s l, u − s u)`. The lower line is `z` or zero, whichever leaves the smaller area.
fn relu(l: f64, u: f64) -> (Lines, [f64; 2]) {
    if l >= 0.0 {
        return (Lines::IDENTITY, [l, u]);
    }
    if u <= 0.0 {
        return (Lines::ZERO, [0.0; 2]);
    }
    let up = (u / (u - l)).clamp(0.0, 1.0);
    let up_at = above(-up, l, 0.0).max(above(-up, u, u));
    (Lines { low: if up > 0.5 { 1.0 } else { 0.0 }, low_at: 0.0, up, up_at }, [0.0, u])
}

/// A piecewise linear function's lines of given slopes: their intercepts follow from where the function bends and the ends
/// of the interval, as each gap is linear between two of these points.
fn through(low: f64, up: f64, points: &[[f64; 3]]) -> Lines {
    let mut lines = Lines { low, low_at: f64::INFINITY, up, up_at: f64::NEG_INFINITY };
    for &[z, least, most] in points {
        lines.low_at = lines.low_at.min(below(-low, z, least));
        lines.up_at = lines.up_at.max(above(-up, z, most));
    }
    lines
}

/// `z` above zero, `slope · z` below: convex for slopes up to 1, concave beyond.
fn leaky(l: f64, u: f64, slope: f64) -> (Lines, [f64; 2]) {
    if l >= 0.0 {
        return (Lines::IDENTITY, [l, u]);
    }
    let at = |z: f64| if z >= 0.0 { [z, z] } else { [(slope * z).next_down(), (slope * z).next_up()] };
    let (at_l, at_u) = (at(l), at(u));
    if u <= 0.0 {
        let image = [at_l[0].min(at_u[0]), at_l[1].max(at_u[1])];
        return (Lines { low: slope, low_at: 0.0, up: slope, up_at: 0.0 }, image);
    }
    let chord = (u - slope * l) / (u - l);
    let other = if u > -l { 1.0 } else { slope };
    let (low, up) = if slope <= 1.0 { (other, chord) } else { (chord, other) };
    let lines = through(low, up, &[[l, at_l[0], at_l[1]], [0.0, 0.0, 0.0], [u, u, u]]);
    (lines, [at_l[0].min(0.0), at_l[1].max(u)])
}

/// `min(max(z, ends[0]), ends[1])`; either end may be infinite.
fn clip(l: f64, u: f64, ends: [f64; 2]) -> (Lines, [f64; 2]) {
    let f = |z: f64| z.max(ends[0]).min(ends[1]);
    if l >= ends[0] && u <= ends[1] {
        return (Lines::IDENTITY, [l, u]);
    }
    let image = [f(l), f(u)];
    if u <= ends[0] || l >= ends[1] {
        return (Lines { low: 0.0, low_at: f(l), up: 0.0, up_at: f(l) }, image);
    }
    let slope = |rise: f64, run: f64| if run > 0.0 { (rise / run).clamp(0.0, 1.0) } else { 0.0 };
    let (low, up) = match (l < ends[0], u > ends[1]) {
        (true, true) => (slope(ends[1] - ends[0], u - ends[0]), slope(ends[1] - ends[0], ends[1] - l)),
        (true, false) => (if u - ends[0] > ends[0] - l { 1.0 } else { 0.0 }, slope(f(u) - f(l), u - l)),
        _ => (slope(f(u) - f(l), u - l), if ends[1] - l > u - ends[1] { 1.0 } else { 0.0 }),
    };
    // Where it bends, if that is inside.
    let first = if l < ends[0] { ends[0] } else { l };
    let last = if u > ends[1] { ends[1] } else { u };
    (through(low, up, &[l, first, last, u].map(|z| [z, f(z), f(z)])), image)
}

/// The logistic function. Its lower line is the mirrored upper line: `σ(−z) = 1 − σ(z)`.
fn sigmoid(l: f64, u: f64) -> (Lines, [f64; 2]) {
    let (up, up_at) = logistic_upper(l, u);
    let (low, mirrored_at) = logistic_upper(-u, -l);
    (Lines { low, low_at: (1.0 - mirrored_at).next_down(), up, up_at }, [logistic(l)[0], logistic(u)[1]])
}

/// `tanh z = 2σ(2z) − 1`; doubling is exact.
fn tanh(l: f64, u: f64) -> (Lines, [f64; 2]) {
    let (Lines { low, low_at, up, up_at }, image) = sigmoid(2.0 * l, 2.0 * u);
    let down = |at: f64| (2.0 * at - 1.0).next_down();
    let lines = Lines { low: 4.0 * low, low_at: down(low_at), up: 4.0 * up, up_at: (2.0 * up_at - 1.0).next_up() };
    (lines, [down(image[0]).max(-1.0), (2.0 * image[1] - 1.0).next_up().min(1.0)])
}

/// Slope and intercept of a line above the logistic function.
///
/// For *any* slope `0 ≤ k ≤ ¼` the intercept is found from a theorem, so that how `k` is chosen needs no proof. `g(z) = σ(z) − k z` is
/// convex for `z ≤ 0`: there its largest value is at an end. For `z ≥ 0` it is concave, and lies below each of its tangents: for any
/// `ẑ` in `[max(l, 0), u]`, `g(z) ≤ g(ẑ) + max((σ'(ẑ) − k) (u − ẑ), (k − σ'(ẑ)) (ẑ − max(l, 0)))`.
fn logistic_upper(l: f64, u: f64) -> (f64, f64) {
    let value = |z: f64| logistic(z)[1];
    let derivative = |z: f64| {
        let s = value(z);
        s * (1.0 - s)
    };
    let chord = if u - l > 1e-6 { (value(u) - value(l)) / (u - l) } else { derivative(0.5 * l + 0.5 * u) };
    let slope = if u <= 0.0 || l < 0.0 && chord <= derivative(u) {
        chord
    } else if l >= 0.0 {
        derivative(0.5 * l + 0.5 * u)
    } else {
        // A tangent from the left end touches at `d`; touching further right is valid too, and near the middle leaves less area.
        let (mut low, mut high) = (0.0, u);
        for _ in 0..50 {
            let d = 0.5 * (low + high);
            if derivative(d) * (d - l) > value(d) - value(l) { low = d } else { high = d }
        }
        derivative((0.5 * (low + high)).max(0.5 * l + 0.5 * u))
    };
    // NaN stays, and makes every bound that meets it none.
    let slope = slope.clamp(0.0, 0.25);
    let mut at = above(-slope, l, value(l)).max(above(-slope, u, value(u)));
    if u > 0.0 {
        let first = l.max(0.0);
        let root = (1.0 - 4.0 * slope).sqrt();
        let touch = ((1.0 + root) / (1.0 - root)).ln();
        let touch = if touch.is_finite() { touch.clamp(first, u) } else { u };
        // σ' = σ (1 − σ), whose slope in σ is at most 1; floats around it.
        let [sigma_low, sigma_high] = logistic(touch);
        let tilt = sigma_high * (1.0 - sigma_high) - slope;
        let uncertain = (sigma_high - sigma_low) + 4.0 * UNIT;
        let right = ((tilt + uncertain).next_up() * (u - touch).next_up()).next_up().max(0.0);
        let left = ((uncertain - tilt).next_up() * (touch - first).next_up()).next_up().max(0.0);
        at = at.max((above(-slope, touch, sigma_high) + right.max(left)).next_up());
    }
    (slope, at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn activation() -> impl Strategy<Value = Activation> {
        prop_oneof![
            Just(Activation::Relu),
            (-3.0..3.0f64).prop_map(|slope| Activation::LeakyRelu(vec![slope].into())),
            (-2.0..0.5f64, 0.0..3.0f64).prop_map(|(lower, width)| Activation::Clip { lower, upper: lower + width }),
            (-2.0..2.0f64).prop_map(|lower| Activation::Clip { lower, upper: f64::INFINITY }),
            (-2.0..2.0f64).prop_map(|upper| Activation::Clip { lower: f64::NEG_INFINITY, upper }),
            Just(Activation::Sigmoid),
            Just(Activation::Tanh),
        ]
    }

    #[test]
    fn the_triangle_of_a_relu() {
        let (lines, image) = relu(-1.0, 3.0);
        assert_eq!((lines.low, lines.low_at, lines.up, image), (1.0, 0.0, 0.75, [0.0, 3.0]));
        assert!(lines.up_at >= 0.75 && lines.up_at < 0.75 + 1e-14);
        assert_eq!(relu(-3.0, 1.0).0.low, 0.0);
        assert_eq!((relu(0.0, 2.0).0, relu(-2.0, 0.0).0), (Lines::IDENTITY, Lines::ZERO));
    }

    #[test]
    fn a_chord_over_a_sigmoid_is_no_upper_line_but_a_tangent_is() {
        // On [−4, 4] the chord is off by 0.14.
        let (Lines { up, up_at, .. }, _) = sigmoid(-4.0, 4.0);
        for i in -400..=400 {
            let z = f64::from(i) / 100.0;
            assert!(up * z + up_at >= 1.0 / (1.0 + f64::exp(-z)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]
        #[test]
        fn no_point_lies_outside_the_lines(
            f in activation(), l in -8.0..8.0f64, width in prop_oneof![Just(0.0), 0.0..1e-6f64, 0.0..12.0f64], t in 0.0..=1.0f64
        ) {
            let u = l + width;
            let (lines, image) = Lines::of(&f, 0, l, u);
            for z in [l, u, (l + t * width).clamp(l, u), 0.0f64.clamp(l, u)] {
                // The platform's functions and these products round as well: a few units.
                let value: f64 = f.evaluate(0, z);
                let room = 1e-14 * (1.0 + z.abs() * 4.0);
                prop_assert!(lines.low * z + lines.low_at <= value + room, "{f:?} below at {z}: {lines:?}");
                prop_assert!(lines.up * z + lines.up_at >= value - room, "{f:?} above at {z}: {lines:?}");
                prop_assert!(image[0] <= value + room && value - room <= image[1], "{f:?} at {z}: {image:?}");
            }
        }
    }
}
