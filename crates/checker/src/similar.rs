//! Images structurally similar to a reference: `{x in [0, 1]^n : SSIM(x, r) ≥ τ}`, one window over all values.

use network::ssim::{C1, C2};
use network::{BoxRegion, Disjunct, HalfSpace, Property};

use crate::certificate::Digest;
use crate::error::Error;
use crate::rounding::{TINY, gamma};

/// A set of similar images.
///
/// With `x = m 1 + v`, `r = μ 1 + r0` (both rests without mean) and `E = ‖r0‖²`, `SSIM = l(m) · c(v)` where
/// `l = (2 m μ + C1) / (m² + μ² + C1)` and `c = (2⟨v, r0⟩ + n C2) / (‖v‖² + E + n C2)`. For a mean `m`, `SSIM ≥ τ` says with
/// `q = l(m) / τ` that `‖v − q r0‖² ≤ E (q² − 1) + n C2 (q − 1) = ρ(q)²`: a ball. A larger `q` only relaxes `c ≥ 1 / q`, so that the ball
/// of the largest `q` of an interval of means contains those of all of its means. As a function of `m`, `l` rises up to `μ` and falls from there.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarImages {
    threshold: f64,
    reference: Vec<f64>,
    /// `r0` up to `doubt` each.
    centred: Vec<f64>,
    /// `μ` up to `doubt`.
    mean: f64,
    /// At least `E`.
    energy: f64,
    doubt: f64,
    /// Intervals of means, outside of which no member's mean lies.
    cells: Vec<[f64; 2]>,
}

/// The ball that contains those of all means of an interval.
#[derive(Debug, Clone, Copy)]
struct Ball {
    quotient: f64,
    radius: f64,
}

/// What a row `s` has to do with the set, up to [`SimilarImages::least`]'s rounding: `Σ s`, `⟨s, r0⟩`, at least `‖s − mean(s)‖`.
#[derive(Debug, Clone, Copy)]
struct Moments {
    sum: f64,
    product: f64,
    norm: f64,
}

/// Intervals of means at first.
const CELLS: usize = 64;
/// Intervals that are halved at most for one row.
const HALVINGS: usize = 40;
/// Rows `s` that are tried at most for one bound.
const TRIALS: usize = 16;
/// More than the norm of numbers whose squares underflow.
const LOST: f64 = 1e-140;
/// No derivative of `l` by either mean is larger: `2 (m + μ) / (m² + μ² + C1) ≤ √2 / √C1`.
const STEEPEST: f64 = 150.0;

impl SimilarImages {
    /// The images similar to a reference.
    ///
    /// # Errors
    /// When the reference is empty or not in `[0, 1]`, or the threshold not in `(0, 1]`.
    pub fn new(reference: &[f64], threshold: f64) -> Result<Self, Error> {
        if reference.is_empty() || !reference.iter().all(|x| (0.0..=1.0).contains(x)) {
            return Err(Error::Mismatch("the reference must have pixels, all of them in [0, 1]".into()));
        }
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(Error::Mismatch(format!(
                "the threshold is {threshold}: expected a number above 0 and at most 1"
            )));
        }
        let n = reference.len();
        let mean = reference.iter().sum::<f64>() / n as f64;
        // The sum's error is at most γ_n Σ r ≤ γ_n n, the division's and each difference's one unit more.
        let doubt = 2.0 * gamma(n + 4);
        let centred: Vec<f64> = reference.iter().map(|r| r - mean).collect();
        let square: f64 = centred.iter().map(|c| c * c).sum();
        let energy =
            square * (1.0 + 2.0 * gamma(n + 4)) + 2.0 * doubt * (n as f64 * square).sqrt() + n as f64 * doubt * doubt;
        let energy = energy * (1.0 + 1e-12) + TINY;
        let mut set =
            Self { threshold, reference: reference.to_vec(), centred, mean, energy, doubt, cells: Vec::new() };
        // Means outside give empty balls; halving finds where they end.
        let [mut low, mut high] = [[0.0, mean], [mean, 1.0]];
        for _ in 0..60 {
            let [a, b] = [0.5 * (low[0] + low[1]), 0.5 * (high[0] + high[1])];
            if set.quotient(0.0, a) < 1.0 {
                low[0] = a;
            } else {
                low[1] = a;
            }
            if set.quotient(b, 1.0) < 1.0 { high[1] = b } else { high[0] = b }
        }
        let (from, to) = (low[0], high[1]);
        let at = |k: usize| if k == CELLS { to } else { from + (to - from) * (k as f64 / CELLS as f64) };
        set.cells = (0..CELLS).map(|k| [at(k), at(k + 1)]).filter(|[a, b]| a <= b).collect();
        Ok(set)
    }

    /// Number of pixels.
    pub fn n_inputs(&self) -> usize {
        self.reference.len()
    }

    /// A digest of reference and threshold.
    pub fn digest(&self, class: usize) -> Digest {
        let numbers = [self.threshold].into_iter().chain(self.reference.iter().copied());
        let bytes = b"ssim".iter().copied().chain((class as u64).to_le_bytes());
        Digest::of(&bytes.chain(numbers.flat_map(f64::to_le_bytes)).collect::<Vec<u8>>())
    }

    /// That some other class is at least as large as this one, on a box that contains the set.
    ///
    /// # Errors
    /// When there is no such class, or no other.
    pub fn misclassified(&self, class: usize, n_outputs: usize) -> Result<Property, Error> {
        if n_outputs < 2 || class >= n_outputs {
            return Err(Error::Mismatch(format!("class {class} of a network with {n_outputs} outputs")));
        }
        let (lower, upper) = self.enclosure();
        let region = BoxRegion::new(lower, upper).map_err(|error| Error::Mismatch(error.to_string()))?;
        let against = |other: usize| {
            let mut output = vec![(class, [1.0; 2]), (other, [-1.0; 2])];
            output.sort_by_key(|term| term.0);
            Disjunct { region: region.clone(), half_spaces: vec![HalfSpace { output, ..HalfSpace::default() }] }
        };
        let disjuncts = (0..n_outputs).filter(|&other| other != class).map(against).collect();
        Ok(Property { n_inputs: self.n_inputs(), n_outputs, disjuncts })
    }

    /// At least `l / τ` of all means of an interval.
    fn quotient(&self, from: f64, to: f64) -> f64 {
        let of = |m: f64| (2.0 * m * self.mean + C1) / (m * m + self.mean * self.mean + C1);
        let largest = if to < self.mean {
            of(to)
        } else if from > self.mean {
            of(from)
        } else {
            1.0
        };
        // The mean's doubt, also where it decides between the three cases, and some thirty roundings.
        (largest + 2.0 * STEEPEST * self.doubt + 1e-14) / self.threshold * (1.0 + 1e-14)
    }

    /// The ball of an interval of means; none where it is empty.
    fn ball(&self, [from, to]: [f64; 2]) -> Option<Ball> {
        let quotient = self.quotient(from, to);
        let more = quotient - 1.0;
        if more < 0.0 {
            return None;
        }
        let square = more * (self.energy * (quotient + 1.0) + self.n_inputs() as f64 * C2);
        // `quotient − 1` is exact to a rounding of the quotient, which is within its own margin.
        Some(Ball { quotient, radius: square.sqrt() * (1.0 + 1e-12) + TINY })
    }

    /// A box in `[0, 1]^n` that contains the set.
    pub fn enclosure(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.n_inputs();
        // `v − q r0` has no mean, so that one value of it is at most this share of its norm.
        let share = (1.0 - 1.0 / n as f64).max(0.0).sqrt() * (1.0 + 1e-14);
        let (mut lower, mut upper) = (vec![1.0_f64; n], vec![0.0_f64; n]);
        for &[from, to] in &self.cells {
            let Some(ball) = self.ball([from, to]) else { continue };
            // Balls of tiny thresholds overflow: then nothing is known.
            if !(ball.quotient.is_finite() && ball.radius.is_finite()) {
                return (vec![0.0; n], vec![1.0; n]);
            }
            for i in 0..n {
                let centre = ball.quotient * self.centred[i];
                let reach =
                    ball.radius * share + ball.quotient * self.doubt + 1e-14 * (1.0 + centre.abs() + ball.radius);
                lower[i] = lower[i].min(from + centre - reach);
                upper[i] = upper[i].max(to + centre + reach);
            }
        }
        let clip = |ends: Vec<f64>| ends.into_iter().map(|end| end.clamp(0.0, 1.0)).collect();
        (clip(lower), clip(upper))
    }

    /// A lower bound of `Σ a x` over the members that lie in a box within `[0, 1]^n`; rounding inside, `−∞` where nothing is known.
    ///
    /// For every `s`, `Σ a x ≥ min_box (a − s) x + min_set s x`. The first part is a sum; the second, `m Σs + ⟨v, s⟩` over balls. The rows `s`
    /// that are tried come from a guess `x_i = clamp(m + q r0_i − (a_i − ν) t)` of the minimiser over both: `s_i = a_i` where the box
    /// does not hold `x_i`, else what would put it there. No trial has to be any good.
    pub fn least(&self, a: &[f64], lower: &[f64], upper: &[f64]) -> f64 {
        let n = a.len();
        let inputs = n as f64;
        let mut offset = a.iter().sum::<f64>() / inputs;
        let mut s = a.to_vec();
        let (mut best, _) = self.bound(a, &vec![0.0; n], lower, upper, 0.0);
        let (mut mean, mut pull) = (self.mean, 0.0);
        for trial in 0..TRIALS {
            let (bound, cell) = self.bound(a, &s, lower, upper, offset);
            let gain = bound - best;
            if bound > best {
                best = bound;
            }
            if trial > 3 && gain < 1e-6 * best.abs() {
                break;
            }
            // Towards the mean that was worst.
            let worst = 0.5 * (cell[0] + cell[1]);
            mean += if trial == 0 { worst - mean } else { 0.7 * (worst - mean) };
            let Some(guess) = self.ball([mean, mean]) else { break };
            if trial == 0 {
                let norm = a.iter().map(|a| (a - offset) * (a - offset)).sum::<f64>().sqrt();
                pull = guess.radius / norm.max(1e-300);
            }
            let (mut sum, mut free, mut n_free, mut held) = (0.0, 0.0, 0.0, 0.0);
            for i in 0..n {
                let centre = mean + guess.quotient * self.centred[i];
                let wanted = centre - (a[i] - offset) * pull;
                let x = wanted.clamp(lower[i], upper[i].max(lower[i]));
                sum += x;
                if x == wanted {
                    s[i] = a[i];
                    free += (a[i] - offset) * (a[i] - offset);
                    n_free += 1.0;
                } else {
                    s[i] = (centre - x) / pull + offset;
                    held += (x - centre) * (x - centre);
                }
            }
            // The next guess puts the mean and the distance from the centre nearer to what they must be.
            if trial > 0 {
                offset += (inputs * mean - sum) / (pull * f64::max(n_free, 1.0));
                let left = guess.radius * guess.radius - held;
                pull = if left > 0.0 && free > 0.0 { (left / free).sqrt() } else { 0.7 * pull };
            }
            if !(pull > 0.0 && pull.is_finite() && offset.is_finite() && s.iter().all(|s| s.is_finite())) {
                break;
            }
        }
        best
    }

    /// The bound that a row `s` gives, and the interval of means where it is worst. `shift` is any number; near the mean of `s` is best.
    fn bound(&self, a: &[f64], s: &[f64], lower: &[f64], upper: &[f64], shift: f64) -> (f64, [f64; 2]) {
        let n = a.len();
        let (mut over_box, mut of_box) = (0.0, 0.0);
        let (mut sum, mut of_sum, mut product, mut of_product, mut square) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for i in 0..n {
            let rest = a[i] - s[i];
            over_box += (rest * lower[i]).min(rest * upper[i]);
            of_box += rest.abs() * lower[i].abs().max(upper[i].abs());
            sum += s[i];
            of_sum += s[i].abs();
            product += s[i] * self.centred[i];
            of_product += (s[i] * self.centred[i]).abs();
            square += (s[i] - shift) * (s[i] - shift);
        }
        let gamma = gamma(n + 16);
        // About any number the square is at least the one about the mean; squares that underflow are paid by `LOST`.
        let norm = square.sqrt() * (1.0 + 2.0 * gamma) + LOST;
        let (value, cell) = self.support(Moments { sum, product, norm });
        // Means are at most one, quotients at most this.
        let quotient = self.quotient(self.mean, self.mean);
        let pay = gamma * (of_box + of_sum + quotient * of_product) + quotient * self.doubt * of_sum + TINY;
        let bound = (over_box + value - 1e-14 * (over_box.abs() + value.abs()) - 2.0 * pay).next_down();
        (if bound.is_finite() { bound } else { f64::NEG_INFINITY }, cell)
    }

    /// A lower bound of `m Σs + ⟨s, v⟩` over the balls, and the interval of means where it is taken. The worst interval is halved until
    /// its bound is nearly reached at its middle.
    fn support(&self, moments: Moments) -> (f64, [f64; 2]) {
        let value = |cell: [f64; 2]| {
            let Some(ball) = self.ball(cell) else { return f64::INFINITY };
            let line = (moments.sum * cell[0]).min(moments.sum * cell[1]);
            let terms = [line, ball.quotient * moments.product, -ball.radius * moments.norm];
            let value = terms.iter().sum::<f64>() - 1e-14 * terms.iter().map(|term| term.abs()).sum::<f64>();
            if value.is_nan() { f64::NEG_INFINITY } else { value }
        };
        let mut cells: Vec<(f64, [f64; 2])> = self.cells.iter().map(|&cell| (value(cell), cell)).collect();
        let worst_of = |cells: &[(f64, [f64; 2])]| {
            (0..cells.len()).min_by(|&a, &b| cells[a].0.total_cmp(&cells[b].0)).unwrap_or(0)
        };
        if cells.is_empty() {
            return (f64::NEG_INFINITY, [self.mean; 2]);
        }
        for _ in 0..HALVINGS {
            let place = worst_of(&cells);
            let (worst, [from, to]) = cells[place];
            let middle = 0.5 * (from + to);
            let there = value([middle, middle]);
            if there - worst <= 1e-7 * worst.abs() || !(from < middle && middle < to) {
                break;
            }
            cells[place] = (value([from, middle]), [from, middle]);
            cells.push((value([middle, to]), [middle, to]));
        }
        let (value, cell) = cells[worst_of(&cells)];
        // All intervals empty: no image is similar, which cannot be, as the reference is.
        (if value == f64::INFINITY { f64::NEG_INFINITY } else { value }, cell)
    }
}
