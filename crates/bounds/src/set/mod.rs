//! Sets of inputs that are smaller than their boxes: what a backward pass may be concretised over instead.

mod boxed;
mod slices;

use boxed::{Found, Guess, Row};
use slices::{Ball, Centred, Least, Moments, Slices};

/// What inputs lie in besides a box.
#[derive(Debug, Clone, PartialEq)]
pub enum InputSet {
    /// Images similar to one.
    Ssim(SsimSet),
}

impl InputSet {
    /// Number of inputs.
    pub fn n_inputs(&self) -> usize {
        match self {
            Self::Ssim(set) => set.n_inputs(),
        }
    }

    /// A box that contains the set and lies in `[0, 1]`; `None` if the set is empty.
    pub fn enclosure(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        match self {
            Self::Ssim(set) => set.enclosure(),
        }
    }

    /// The means that occur, where the set is made of slices of one mean each.
    pub fn means(&self) -> Option<[f64; 2]> {
        match self {
            Self::Ssim(set) => set.means(),
        }
    }

    /// As [`SsimSet::least`].
    #[inline(always)]
    pub fn least(&self, room: &mut Room, enough: f64, effort: Effort) -> f64 {
        match self {
            Self::Ssim(set) => set.least(room, enough, effort),
        }
    }
}

/// Images that are similar to a reference, by the structural similarity of everything at once (one window, channels flattened).
#[derive(Debug, Clone, PartialEq)]
pub struct SsimSet {
    centred: Centred,
    slices: Option<Slices>,
}

/// Room for bounding a row, kept from row to row.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// The coefficients.
    pub a: Vec<f64>,
    /// The box.
    pub lower: Vec<f64>,
    /// Its upper ends.
    pub upper: Vec<f64>,
    /// A point that nearly minimises the last row.
    pub point: Vec<f64>,
    trial: Vec<f64>,
}

impl Room {
    /// Room for rows over a box.
    pub fn within(lower: Vec<f64>, upper: Vec<f64>) -> Self {
        Self { lower, upper, ..Self::default() }
    }
}

/// How accurately a row is bounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effort {
    /// Steps at most.
    pub steps: usize,
    /// The share of what the set allows that may be left open.
    pub gap: f64,
    /// Trials at most where the steps do not settle.
    pub trials: usize,
}

impl Effort {
    /// As far as f64 goes.
    pub const PRECISE: Self = Self { steps: 40, gap: 1e-7, trials: 300 };
}

impl Default for Effort {
    fn default() -> Self {
        Self { steps: 8, gap: 1e-3, trials: 0 }
    }
}

/// Shortest step of the mean, as a share of what is wanted.
const LEAST_STEP: f64 = 0.05;
/// How much steeper the residual may be than the free values alone make it.
const STEEPEST: f64 = 30.0;

impl SsimSet {
    /// Images of values in `[0, 1]` whose similarity to `reference` is at least `threshold`, and whose mean lies in `means`.
    ///
    /// # Panics
    /// If the threshold is not in `(0, 1]` or the reference is empty: whoever asks has checked.
    pub fn new(reference: &[f64], threshold: f64, means: [f64; 2]) -> Self {
        assert!(threshold > 0.0 && threshold <= 1.0 && !reference.is_empty(), "the threshold was checked");
        let centred = Centred::new(reference);
        let slices = centred.slices(threshold, [means[0].max(0.0), means[1].min(1.0)]);
        Self { centred, slices }
    }

    /// Number of values.
    pub fn n_inputs(&self) -> usize {
        self.centred.values.len()
    }

    /// Whether the set is known to be empty.
    pub fn is_empty(&self) -> bool {
        self.slices.is_none()
    }

    /// The means that occur.
    pub fn means(&self) -> Option<[f64; 2]> {
        self.slices.as_ref().map(Slices::means)
    }

    /// A box that contains the set and lies in `[0, 1]`; `None` if the set is empty.
    pub fn enclosure(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let slices = self.slices.as_ref()?;
        let n = self.n_inputs() as f64;
        let norm = (1.0 - 1.0 / n).max(0.0).sqrt() * (1.0 + 1e-15);
        let end = |value: f64, sign: f64| {
            let moments = Moments { sum: sign, product: sign * value, norm };
            let least = slices.least(&moments);
            sign * (least.value - self.centred.error * (1.0 + least.ball.quotient))
        };
        let values = &self.centred.values;
        let lower = values.iter().map(|&value| end(value, 1.0).clamp(0.0, 1.0)).collect();
        Some((lower, values.iter().map(|&value| end(value, -1.0).clamp(0.0, 1.0)).collect()))
    }

    /// A lower bound of `Σ a x` over the set and the box in `room`, sound in real arithmetic; the point that nearly takes it is left
    /// in `room`. Stops early once the bound is more than `enough`.
    #[inline(always)]
    pub fn least(&self, room: &mut Room, enough: f64, effort: Effort) -> f64 {
        let Some(slices) = &self.slices else { return f64::INFINITY };
        let n = self.n_inputs();
        room.point.resize(n, 0.0);
        room.trial.resize(n, 0.0);
        let Room { a, lower, upper, point, trial } = room;
        let row = Row { a, centred: &self.centred.values, lower, upper };
        let mean_of_a = a.iter().sum::<f64>() / n as f64;
        let means = slices.means();
        // The set alone.
        let first = Guess { mean: 0.5 * (means[0] + means[1]), ball: Ball::default(), offset: mean_of_a, reach: 1.0 };
        let (moments, rounding) = alone(&row, mean_of_a);
        let free = slices.least(&moments);
        let mut best = self.lowered(&free, rounding);
        let mut guess = Guess { mean: free.mean, ball: free.ball, ..first };
        guess.reach = guess.ball.radius / moments.norm;
        if !(guess.reach.is_finite() && guess.reach > 0.0) {
            for i in 0..n {
                point[i] = (guess.mean + guess.ball.quotient * row.centred[i]).clamp(lower[i], upper[i]);
            }
            return best;
        }
        let mut last: Option<(f64, f64)> = None;
        let (mut pace, mut last_move) = (1.0, 0.0);
        let mut scale = 0.0;
        let (mut is_settled, mut best_guess) = (false, guess);
        for k in 0..effort.steps {
            let found = boxed::step(row, &guess, trial);
            let least = slices.least(&found.moments);
            let bound = self.lowered(&least, found.rounding) + found.over_box;
            let bound = bound - 4e-16 * (bound.abs() + found.over_box.abs());
            if bound > best || k == 0 {
                // The first point is at least inside the box.
                std::mem::swap(point, trial);
                best = if bound > best { bound } else { best };
                best_guess = guess;
            }
            if k == 0 {
                // What the set allows at all: from the value at the reference down to the bound.
                let at_reference: f64 = (0..n).map(|i| a[i] * (row.centred[i] + self.centred.mean)).sum();
                scale = (at_reference - best).abs();
            }
            is_settled = best > enough || (found.value - best).abs() <= effort.gap * scale;
            if is_settled {
                break;
            }
            self.improve(&mut guess, &found, &least, (&mut last, &mut pace, &mut last_move));
            if !(guess.reach.is_finite() && guess.reach > 0.0 && guess.offset.is_finite()) {
                break;
            }
        }
        if effort.trials > 0 && !is_settled {
            self.search(&row, best_guess, (&mut best, point, trial), (enough, effort));
        }
        best
    }

    /// Looks for a better guess around one by trial: for rows on which the steps swing, as they do where the box holds all but a
    /// few values.
    #[inline(never)]
    fn search(
        &self,
        row: &Row,
        mut guess: Guess,
        (best, point, trial): (&mut f64, &mut Vec<f64>, &mut Vec<f64>),
        (enough, effort): (f64, Effort),
    ) {
        let Some(slices) = &self.slices else { return };
        let means = slices.means();
        let largest = row.a.iter().fold(0.0_f64, |largest, a| largest.max(a.abs()));
        let mut strides = [0.2 * (means[1] - means[0]), 0.2 * largest, 0.5];
        let mut trials = 0;
        while trials < effort.trials && strides[2] > 1e-6 && *best <= enough {
            let mut has_gained = false;
            for (which, side) in [(0, 1.0), (0, -1.0), (1, 1.0), (1, -1.0), (2, 1.0), (2, -1.0)] {
                let mut next = guess;
                match which {
                    0 => next.mean = (guess.mean + side * strides[0]).clamp(means[0], means[1]),
                    1 => next.offset += side * strides[1],
                    _ => next.reach *= (side * strides[2]).exp(),
                }
                next.ball = slices.ball(next.mean);
                let found = boxed::step(*row, &next, trial);
                let least = slices.least(&found.moments);
                let bound = self.lowered(&least, found.rounding) + found.over_box;
                let bound = bound - 4e-16 * (bound.abs() + found.over_box.abs());
                trials += 1;
                if bound > *best {
                    (*best, guess, has_gained) = (bound, next, true);
                    std::mem::swap(point, trial);
                }
            }
            if !has_gained {
                strides.iter_mut().for_each(|stride| *stride *= 0.5);
            }
        }
    }

    /// A bound over the set with the rounding of its moments and of the reference inside.
    fn lowered(&self, least: &Least, rounding: f64) -> f64 {
        least.value - rounding * (2.0 + least.ball.quotient) * 2.0
    }

    /// Moves the guess towards what the last step found: the mean that the set's own minimiser has, the offset that makes the sum
    /// of `x` agree with it, the reach that puts `x` on the ball.
    fn improve(
        &self,
        guess: &mut Guess,
        found: &Found,
        least: &Least,
        (last, pace, last_move): (&mut Option<(f64, f64)>, &mut f64, &mut f64),
    ) {
        let n = self.n_inputs() as f64;
        let Some(slices) = &self.slices else { return };
        let wanted = least.mean - guess.mean;
        // The mean and the offset pull at each other: shorter steps where they swing.
        *pace = if wanted * *last_move < 0.0 { (0.5 * *pace).max(LEAST_STEP) } else { (1.2 * *pace).min(1.0) };
        *last_move = wanted;
        let mean = guess.mean + *pace * wanted;
        let ball = slices.ball(mean);
        let residual = n * mean - found.sum;
        let plain = guess.reach * found.n_free.max(1.0);
        let mut slope = plain;
        if let Some((offset, before)) = *last
            && (guess.offset - offset).abs() > 1e-300
        {
            let secant = -(residual - before) / (guess.offset - offset);
            slope = if secant > plain { secant.min(STEEPEST * plain) } else { plain };
        }
        *last = Some((guess.offset, residual));
        let moved = residual / slope;
        guess.offset += moved;
        let room = ball.radius * ball.radius - found.clamped_square;
        // The free values' norm about the new offset.
        guess.reach =
            if room > 0.0 && found.free_square > 0.0 { (room / found.free_square).sqrt() } else { 0.7 * guess.reach };
        (guess.mean, guess.ball) = (mean, ball);
    }
}

/// The moments of a row by itself, and what their rounding may cost.
#[inline(always)]
fn alone(row: &Row, mean: f64) -> (Moments, f64) {
    let n = row.a.len() as f64;
    let mut sums = [[0.0; 8]; 4];
    for (k, (&a, &centred)) in row.a.iter().zip(row.centred).enumerate() {
        let lane = k % 8;
        let away = a - mean;
        sums[0][lane] += away;
        sums[1][lane] += away * away;
        sums[2][lane] += a * centred;
        sums[3][lane] += a.abs();
    }
    let total = |k: usize| sums[k].iter().sum::<f64>();
    let gamma = (n + 16.0) * f64::EPSILON;
    let norm = (total(1) * (1.0 + 6.0 * gamma)).sqrt() * (1.0 + 1e-15);
    let moments = Moments { sum: total(0) + mean * n, product: total(2), norm };
    (moments, 4.0 * gamma * (total(3) + n * mean.abs()))
}

#[cfg(test)]
mod tests;
