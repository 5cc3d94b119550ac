//! One step of bounding a linear function over a box and a ball together.

use crate::set::slices::{Ball, Moments};

/// Values that are handled together.
const WIDTH: usize = 8;
/// More than a square loses where it underflows.
const UNDERFLOW: f64 = 2.0 * f64::MIN_POSITIVE;

/// What the minimiser over ball and box is thought to be: `x = clamp(c − (a − offset) · reach)` with `c = mean + quotient · r0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    /// The mean of the slice.
    pub mean: f64,
    /// Its ball.
    pub ball: Ball,
    /// The multiplier of the mean.
    pub offset: f64,
    /// One over the multiplier of the ball.
    pub reach: f64,
}

/// Where a row lives: its coefficients, the reference without its mean, and the box.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// Coefficients.
    pub a: &'a [f64],
    /// The reference without its mean.
    pub centred: &'a [f64],
    /// Lower ends.
    pub lower: &'a [f64],
    /// Upper ends.
    pub upper: &'a [f64],
}

/// What one step finds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// A lower bound of `Σ min((a_i − s_i) l_i, (a_i − s_i) u_i)`, rounding inside.
    pub over_box: f64,
    /// A lower bound of `Σ min(s_i l_i, s_i u_i)`, where the box lies in `[−1, 1]`.
    pub moved_over_box: f64,
    /// The moments of `s`.
    pub moments: Moments,
    /// What the rounding of the moments may cost: the bound over the set is lowered by `rounding · (1 + quotient)`, about.
    pub rounding: f64,
    /// `Σ x`.
    pub sum: f64,
    /// `‖x − c‖²` of the clamped and of the free values.
    pub clamped_square: f64,
    /// `‖a − offset‖²` over the free values.
    pub free_square: f64,
    /// How many are free.
    pub n_free: f64,
    /// `Σ a x`.
    pub value: f64,
}

/// Sums of one vector's lanes.
type Lanes = [f64; WIDTH];

/// Splits `a` into `s`, which the set bounds, and the rest, which the box bounds, as the guess says, and leaves its `x` in `point`.
///
/// Any `s` gives a bound: `min a x ≥ min_box (a − s) x + min_set s x`. The best is `a` itself where `x` is free, and
/// `(c − x)/reach + offset` where the box holds it.
#[inline(always)]
pub fn step(row: Row, guess: &Guess, point: &mut [f64]) -> Found {
    let n = row.a.len();
    let (lower, upper, centred) = (&row.lower[..n], &row.upper[..n], &row.centred[..n]);
    let point = &mut point[..n];
    let Guess { mean, ball: Ball { quotient, .. }, offset, reach } = *guess;
    let steepness = 1.0 / reach;
    // over_box, |over_box|, Σ(s − offset), Σ(s − offset)², ⟨s, r0⟩, Σ|s|, Σx, clamped, free, n_free, value, min(s l, s u).
    let mut sums = [[0.0; WIDTH]; 12];
    let mut handle = |i: usize, lane: usize, sums: &mut [Lanes; 12]| {
        let (a, centred, low, high) = (row.a[i], centred[i], lower[i], upper[i]);
        let centre = mean + quotient * centred;
        let wanted = centre - (a - offset) * reach;
        let below = if wanted < low { low } else { wanted };
        let x = if below > high { high } else { below };
        let is_free = x == wanted;
        let pull = (centre - x) * steepness;
        let s = if is_free { a } else { pull + offset };
        let rest = a - s;
        let (at_low, at_high) = (rest * low, rest * high);
        let least = if at_low < at_high { at_low } else { at_high };
        let high_end = if low.abs() > high.abs() { low.abs() } else { high.abs() };
        sums[0][lane] += least;
        sums[1][lane] += rest.abs() * high_end;
        let centred_s = s - offset;
        sums[2][lane] += centred_s;
        sums[3][lane] += centred_s * centred_s;
        sums[4][lane] += s * centred;
        sums[5][lane] += s.abs();
        sums[6][lane] += x;
        let away = x - centre;
        let flat = a - offset;
        sums[7][lane] += if is_free { 0.0 } else { away * away };
        sums[8][lane] += if is_free { flat * flat } else { 0.0 };
        sums[9][lane] += if is_free { 1.0 } else { 0.0 };
        sums[10][lane] += a * x;
        let (at_low, at_high) = (s * low, s * high);
        sums[11][lane] += if at_low < at_high { at_low } else { at_high };
        point[i] = x;
    };
    let whole = n / WIDTH * WIDTH;
    for start in (0..whole).step_by(WIDTH) {
        for lane in 0..WIDTH {
            handle(start + lane, lane, &mut sums);
        }
    }
    for i in whole..n {
        handle(i, i - whole, &mut sums);
    }
    let total = |k: usize| sums[k].iter().sum::<f64>();
    // Every sum has at most n/8 + 8 additions in a chain; the index is generous.
    let gamma = (n as f64 + 16.0) * f64::EPSILON;
    let (deviation, square) = (total(2), total(3));
    // ‖s − mean(s)‖² = Σ(s − offset)² − n (mean(s) − offset)²; both terms are rounded, and each s − offset.
    // Squares may underflow, and overflow: then nothing is known of the norm.
    let norm_square = square - deviation * deviation / n as f64 + 6.0 * gamma * square + n as f64 * UNDERFLOW;
    let norm_square = if norm_square.is_nan() { f64::INFINITY } else { norm_square };
    let magnitude = total(5);
    Found {
        over_box: total(0) - 2.0 * gamma * total(1),
        moved_over_box: total(11) - 2.0 * gamma * magnitude,
        moments: Moments {
            // Not the plain sum: that of the deviations is more accurate near the mean, and any error is in `rounding`.
            sum: deviation + offset * n as f64,
            product: total(4),
            norm: norm_square.max(0.0).sqrt() * (1.0 + 1e-15),
        },
        rounding: 4.0 * gamma * (magnitude + n as f64 * offset.abs()),
        sum: total(6),
        clamped_square: total(7),
        free_square: total(8),
        n_free: total(9),
        value: total(10),
    }
}

/// The moments of a row by itself, what their rounding may cost, and a lower bound over its box in `[−1, 1]`.
#[inline(always)]
pub fn alone(row: &Row, mean: f64) -> (Moments, f64, f64) {
    let n = row.a.len() as f64;
    let mut sums = [[0.0; WIDTH]; 5];
    for (k, (&a, &centred)) in row.a.iter().zip(row.centred).enumerate() {
        let lane = k % WIDTH;
        let away = a - mean;
        sums[0][lane] += away;
        sums[1][lane] += away * away;
        sums[2][lane] += a * centred;
        sums[3][lane] += a.abs();
        sums[4][lane] += (a * row.lower[k]).min(a * row.upper[k]);
    }
    let total = |k: usize| sums[k].iter().sum::<f64>();
    let gamma = (n + 16.0) * f64::EPSILON;
    let norm = (total(1) * (1.0 + 6.0 * gamma) + n * UNDERFLOW).sqrt() * (1.0 + 1e-15);
    let moments = Moments { sum: total(0) + mean * n, product: total(2), norm };
    (moments, 4.0 * gamma * (total(3) + n * mean.abs()), total(4) - 2.0 * gamma * total(3))
}
