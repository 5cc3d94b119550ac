//! Windowed SSIM: the mean over Gaussian windows of 11 × 11 values.

use network::ssim::GAUSSIAN;

use crate::set::slices::{C1, C2};
use crate::set::{Effort, Room, pixels};

/// Images whose similarity to a reference, averaged over all windows and channels, is at least a threshold: enclosed by one ellipsoid.
///
/// In a window `1 − SSIM = a + b − ab` with `a = (m − μ)²/(m² + μ² + C1)`, `b = ‖v − r0‖²/(‖v‖² + ‖r0‖² + C2)` in the window's weights. With the
/// denominators bounded from above over the box (and by the balls of the window, where one window may not lack everything) that is at
/// least `A m(d)² + B ‖d − m(d)‖²`, `d = x − r`: a quadratic form. The sum of the forms over all windows is at most what they may lack
/// together, `P (1 − τ)`. The smaller the box, the smaller the denominators and the ellipsoid.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowedSet {
    shape: [usize; 3],
    reference: Vec<f64>,
    /// Mean and squared norm without it, of the reference in every window.
    moments: Vec<[f64; 2]>,
    /// `P (1 − τ)`, rounded up.
    lack: f64,
}

/// The quadratic form over a box.
#[derive(Debug, Clone, Default)]
pub struct Forms {
    /// The set and the box.
    shape: [usize; 3],
    lack: f64,
    reference: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// Per window, what is multiplied with the square of the mean and with that of the rest.
    of_windows: Vec<[f64; 2]>,
    /// `Σ B w`, the diagonal part.
    diagonal: Vec<f64>,
    /// A bound of the form's rows' absolute sums.
    steepness: Vec<f64>,
    /// Vectors: `d`, the one before, the form's image, `s`.
    values: [Vec<f64>; 4],
    means: Vec<f64>,
    across: Vec<f64>,
}

/// Values along one side of a window.
const SIDE: usize = GAUSSIAN.len();
/// Steps between two looks at what they gained.
const WAIT: usize = 8;
/// Enlarges what is lacking: it pays for the rounding of the forms' coefficients.
const ENLARGED: f64 = 1.0 + 1e-11;
/// Rounds of bounding values by what their windows may lack.
const ROUNDS: usize = 2;
/// Steps for every step that a ball would take.
const STEPS: usize = 8;

impl WindowedSet {
    /// Images of values in `[0, 1]`, `[channels, height, width]`.
    ///
    /// # Panics
    /// If the image is smaller than a window or the threshold not in `(0, 1]`: whoever asks has checked.
    pub fn new(shape: [usize; 3], reference: &[f64], threshold: f64) -> Self {
        let [n_channels, height, width] = shape;
        assert!(height >= SIDE && width >= SIDE && threshold > 0.0 && threshold <= 1.0, "the question was checked");
        let mut set = Self { shape, reference: reference.to_vec(), moments: Vec::new(), lack: 0.0 };
        let (mut means, mut squares, mut across) = (Vec::new(), Vec::new(), Vec::new());
        set.gather(reference, &mut means, &mut across);
        let square: Vec<f64> = reference.iter().map(|value| value * value).collect();
        set.gather(&square, &mut squares, &mut across);
        // `Σ w r² − m²` cancels: rounded up by more than that can lose.
        set.moments = means.iter().zip(&squares).map(|(m, s)| [*m, (s - m * m).max(0.0) + 1e-14]).collect();
        let n_windows = n_channels * (height - SIDE + 1) * (width - SIDE + 1);
        // The weights' own rounding, magnified by `B ≤ 1/C2`, costs less than the second term.
        set.lack = n_windows as f64 * ((1.0 - threshold) * ENLARGED + 5e-12);
        set
    }

    /// Number of values.
    pub fn n_inputs(&self) -> usize {
        self.reference.len()
    }

    /// A box that contains the set: what one value may be at most, whatever the others are, then again with the means that leaves.
    pub fn enclosure(&self) -> (Vec<f64>, Vec<f64>) {
        let mut shifts = vec![1.0; self.moments.len()];
        let (mut reaches, mut across) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            reaches = pixels::reaches(self.shape, &self.moments, self.lack, &shifts);
            self.gather(&reaches, &mut shifts, &mut across);
            shifts.iter_mut().for_each(|shift| *shift *= ENLARGED);
        }
        let values = || self.reference.iter().zip(&reaches);
        let lower = values().map(|(r, reach)| (r - reach * ENLARGED).max(0.0)).collect();
        (lower, values().map(|(r, reach)| (r + reach * ENLARGED).min(1.0)).collect())
    }

    /// Weighted sums of every window: `[channels, height − 10, width − 10]`.
    fn gather(&self, values: &[f64], windows: &mut Vec<f64>, across: &mut Vec<f64>) {
        let [n_channels, height, width] = self.shape;
        let (rows, columns) = (height - SIDE + 1, width - SIDE + 1);
        across.clear();
        across.resize(n_channels * height * columns, 0.0);
        for (row, sums) in values.chunks_exact(width).zip(across.chunks_exact_mut(columns)) {
            for (k, weight) in GAUSSIAN.iter().enumerate() {
                sums.iter_mut().zip(&row[k..]).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        windows.clear();
        windows.resize(n_channels * rows * columns, 0.0);
        for channel in 0..n_channels {
            for row in 0..rows {
                let sums = &mut windows[(channel * rows + row) * columns..][..columns];
                for (k, weight) in GAUSSIAN.iter().enumerate() {
                    let values = &across[(channel * height + row + k) * columns..][..columns];
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    }

    /// Adds `Σ_p w_p values_p` to every value.
    fn spread(&self, windows: &[f64], values: &mut [f64], across: &mut Vec<f64>) {
        let [n_channels, height, width] = self.shape;
        let (rows, columns) = (height - SIDE + 1, width - SIDE + 1);
        across.clear();
        across.resize(n_channels * height * columns, 0.0);
        for channel in 0..n_channels {
            for row in 0..rows {
                let of_windows = &windows[(channel * rows + row) * columns..][..columns];
                for (k, weight) in GAUSSIAN.iter().enumerate() {
                    let sums = &mut across[(channel * height + row + k) * columns..][..columns];
                    sums.iter_mut().zip(of_windows).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
        for (row, sums) in values.chunks_exact_mut(width).zip(across.chunks_exact(columns)) {
            for (k, weight) in GAUSSIAN.iter().enumerate() {
                row[k..].iter_mut().zip(sums).for_each(|(value, sum)| *value += weight * sum);
            }
        }
    }

    /// The form over a box, kept while box and set stay the same.
    fn prepare(&self, forms: &mut Forms, lower: &[f64], upper: &[f64]) {
        let is_own = forms.shape == self.shape && forms.lack == self.lack && forms.reference == self.reference;
        if is_own && forms.lower == lower && forms.upper == upper {
            return;
        }
        forms.shape = self.shape;
        forms.lack = self.lack;
        forms.reference.clone_from(&self.reference);
        forms.lower = lower.to_vec();
        forms.upper = upper.to_vec();
        let n = self.n_inputs();
        let mut across = std::mem::take(&mut forms.across);
        let (mut high, mut high_square, mut away) = (Vec::new(), Vec::new(), Vec::new());
        let of = |f: &dyn Fn(usize) -> f64| (0..n).map(f).collect::<Vec<f64>>();
        self.gather(upper, &mut high, &mut across);
        // About any centre the square is at least the variance; the window's own middle would be tighter than the value's.
        let middle = of(&|i| 0.5 * (lower[i] + upper[i]));
        let mut middles = Vec::new();
        self.gather(&middle, &mut middles, &mut across);
        self.gather(&of(&|i| (0.5 * (upper[i] - lower[i])).powi(2)), &mut high_square, &mut across);
        let spread_of_middles = {
            let mut squares = Vec::new();
            self.gather(&of(&|i| middle[i] * middle[i]), &mut squares, &mut across);
            squares
        };
        // ‖x − c‖ ≤ ‖middles − c‖ + ‖radii‖ in the window's weights (triangle).
        let deviation = of(&|i| (upper[i] - self.reference[i]).abs().max((lower[i] - self.reference[i]).abs()).powi(2));
        self.gather(&deviation, &mut away, &mut across);
        let share = self.lack.min(1.0);
        let is_bounded = self.lack < 0.98;
        forms.of_windows.clear();
        for p in 0..self.moments.len() {
            let [mean, square] = self.moments[p];
            let mut largest_mean = high[p];
            let centred = (spread_of_middles[p] - middles[p] * middles[p]).max(0.0) + 1e-14;
            let mut norm = centred.sqrt() + high_square[p].sqrt();
            if is_bounded {
                // One window lacks at most everything: its luminance and its structure are at least `1 − lack`.
                let least = 1.0 - self.lack;
                let reach = mean * mean * self.lack * (1.0 + least) / (least * least) + C1 * self.lack / least;
                largest_mean = largest_mean.min(mean / least + reach.sqrt());
                let quotient = 1.0 / least;
                let radius = (square * (quotient * quotient - 1.0) + C2 * (quotient - 1.0)).sqrt();
                norm = norm.min(quotient * square.sqrt() + radius);
            }
            let of_mean = (largest_mean * largest_mean + mean * mean + C1) * ENLARGED;
            let mut of_rest = (norm * norm + square + C2) * ENLARGED;
            let caps = if is_bounded {
                1.0 - 0.5 * share
            } else {
                // Where the structure may be negative, the form must stay below one.
                of_rest = of_rest.max(away[p] * ENLARGED);
                0.5
            };
            forms.of_windows.push([caps / of_mean, caps / of_rest]);
        }
        let rests: Vec<f64> = forms.of_windows.iter().map(|[_, rest]| *rest).collect();
        forms.diagonal.clear();
        forms.diagonal.resize(n, 0.0);
        self.spread(&rests, &mut forms.diagonal, &mut across);
        let apart: Vec<f64> = forms.of_windows.iter().map(|[mean, rest]| (mean - rest).abs()).collect();
        forms.steepness.clear();
        forms.steepness.extend_from_slice(&forms.diagonal);
        self.spread(&apart, &mut forms.steepness, &mut across);
        forms.across = across;
    }

    /// More than sums of at most 22 terms and of `n` lose, as a share of all magnitudes.
    fn rounding(&self) -> f64 {
        1e-12 + 2.0 * f64::EPSILON * self.n_inputs() as f64
    }

    /// `image = M d`; returns `dᵀ M d`, rounded up.
    fn apply(&self, forms: &mut Forms, d: usize, image: usize) -> f64 {
        let mut across = std::mem::take(&mut forms.across);
        let mut means = std::mem::take(&mut forms.means);
        let mut target = std::mem::take(&mut forms.values[image]);
        let values = &forms.values[d];
        self.gather(values, &mut means, &mut across);
        let mut square = 0.0;
        for (mean, [of_mean, of_rest]) in means.iter_mut().zip(&forms.of_windows) {
            square += (of_mean - of_rest) * *mean * *mean;
            *mean *= of_mean - of_rest;
        }
        target.clear();
        target.extend(values.iter().zip(&forms.diagonal).map(|(value, weight)| value * weight));
        let plain: f64 = values.iter().zip(&target).map(|(value, weighted)| value * weighted).sum();
        self.spread(&means, &mut target, &mut across);
        // Both parts are bounded by the diagonal's.
        let magnitude: f64 = values.iter().zip(&forms.steepness).map(|(value, weight)| value * value * weight).sum();
        forms.values[image] = target;
        forms.means = means;
        forms.across = across;
        (plain + square).max(0.0) + self.rounding() * magnitude
    }

    /// A lower bound of `Σ a x` over the set and the box in `room`, as [`crate::set::InputSet::least`].
    #[inline(never)]
    pub fn least(&self, room: &mut Room, enough: f64, effort: Effort) -> f64 {
        let n = self.n_inputs();
        let Room { a, lower, upper, point, trial, forms, .. } = room;
        let forms = forms.get_or_insert_with(Forms::default);
        self.prepare(forms, lower, upper);
        point.resize(n, 0.0);
        trial.resize(n, 0.0);
        let reference = &self.reference;
        // The ellipsoid's size says where to begin: as if the form were its diagonal.
        let pulls = a.iter().zip(&forms.diagonal).map(|(a, weight)| a * a / weight.max(1e-12)).sum::<f64>();
        let mut multiplier = (pulls / self.lack.max(1e-300)).sqrt();
        for i in 0..n {
            point[i] = reference[i].clamp(lower[i], upper[i]);
        }
        if !(multiplier.is_finite() && multiplier > 0.0) {
            return f64::NEG_INFINITY;
        }
        for values in &mut forms.values {
            values.clear();
            values.resize(n, 0.0);
        }
        let (mut best, mut last_best) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let at_reference: f64 = a.iter().zip(reference).map(|(a, r)| a * r).sum();
        let mut momentum = 1.0_f64;
        for step in 0..effort.steps * STEPS {
            // d: values[0] extrapolated, values[1] as it was; the image in values[2].
            let size = self.apply(forms, 0, 2);
            let bound = self.bound(forms, (a, lower, upper), multiplier, size);
            if bound > best {
                best = bound;
                for i in 0..n {
                    point[i] = (reference[i] + forms.values[0][i]).clamp(lower[i], upper[i]);
                }
            }
            if best > enough {
                break;
            }
            if step % WAIT == WAIT - 1 {
                // Nothing is gained any more, measured by how far below the reference's value the bound is.
                if best - last_best <= effort.gap * (at_reference - best) {
                    break;
                }
                last_best = best;
            }
            // The multiplier that puts `d` onto the ellipsoid, carefully.
            if step % 4 == 3 && size > 0.0 {
                multiplier *= (size / self.lack).sqrt().clamp(0.5, 2.0);
            }
            // A projected step, scaled by the rows' sums, with momentum.
            let next_momentum = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let share = (momentum - 1.0) / next_momentum;
            momentum = next_momentum;
            for i in 0..n {
                let slope = a[i] + multiplier * forms.values[2][i];
                let moved = forms.values[0][i] - slope / (multiplier * forms.steepness[i].max(1e-12));
                let moved = moved.clamp(lower[i] - reference[i], upper[i] - reference[i]);
                trial[i] = moved;
            }
            for i in 0..n {
                let last = forms.values[1][i];
                forms.values[0][i] = trial[i] + share * (trial[i] - last);
                forms.values[1][i] = trial[i];
            }
        }
        best
    }

    /// The bound that `s = −multiplier · M d` gives: `min_box (a − s) x + s r − √(lack · yᵀ M y)`, `y = −multiplier · d`.
    fn bound(&self, forms: &Forms, (a, lower, upper): (&[f64], &[f64], &[f64]), multiplier: f64, size: f64) -> f64 {
        let (mut sum, mut magnitude) = (0.0, 0.0);
        for i in 0..a.len() {
            let s = -multiplier * forms.values[2][i];
            let rest = a[i] - s;
            sum += (rest * lower[i]).min(rest * upper[i]) + s * self.reference[i];
            // |x|, |r| and |d| are at most one. What `s` is not exactly `M y` is bounded by its terms.
            magnitude += rest.abs() + s.abs() + multiplier * forms.values[0][i].abs() * forms.steepness[i];
        }
        // Terms that the spreads of others leave in `s` are bounded by their largest value.
        let reach = forms.values[0].iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        magnitude += multiplier * reach * forms.steepness.iter().sum::<f64>();
        sum - multiplier * (self.lack * size).sqrt() * (1.0 + 1e-14) - self.rounding() * magnitude
    }
}
