//! The set `{x : SSIM(x, r) ≥ τ}` of one window over all values, as balls over its mean.

#[cfg(any(feature = "gpu", test))]
mod balls;

/// Stabilises the luminance of SSIM (`(0.01 L)²`, `L = 1`).
pub const C1: f64 = 1e-4;
/// Stabilises its contrast (`(0.03 L)²`).
pub const C2: f64 = 9e-4;

/// Above this threshold the set is convex: the luminance is a concave function of the mean wherever it is at least `√3/2`.
pub const CONVEX_FROM: f64 = 0.866_1;

/// What the quotient `l(m)/τ` is enlarged by: it pays for its own rounding and for that of the reference's mean. A larger
/// quotient is a larger ball, never a smaller one.
const ENLARGED: f64 = 1.0 + 8e-12;

/// Cells of the mean where the set is not convex.
const CELLS: usize = 512;

/// A reference as its mean and what is left without it.
#[derive(Debug, Clone, PartialEq)]
pub struct Centred {
    /// The values without their mean, rounded.
    pub values: Vec<f64>,
    /// The mean, to within one rounding.
    pub mean: f64,
    /// `Σ values²`, rounded up.
    pub energy: f64,
    /// How far every one of `values` may be from the real one.
    pub error: f64,
}

/// The balls of one threshold: for every mean `m` in `[lower, upper]` the set is `m·1 + Ball(q r0, ρ(q))`, `q = l(m)/τ`.
///
/// Source: `SSIM = l(m) · cs(v)` for `x = m·1 + v`; `SSIM ≥ τ` and `l > 0` say that
/// `‖v − q r0‖² ≤ ρ(q)² = ‖r0‖²(q² − 1) + n C2 (q − 1)`. Balls are nested: a larger `q` is a larger ball.
#[derive(Debug, Clone, PartialEq)]
pub struct Slices {
    threshold: f64,
    n: f64,
    mean: f64,
    energy: f64,
    /// The means that occur, rounded outward.
    lower: f64,
    upper: f64,
    /// All means of the threshold: `middle ± half`.
    middle: f64,
    half: f64,
    /// Where the set is not convex: mean from, to, and the largest ball between.
    cells: Vec<(f64, f64, Ball)>,
}

/// One ball.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ball {
    /// The quotient: its centre is `quotient · r0`.
    pub quotient: f64,
    /// Its radius, rounded up.
    pub radius: f64,
}

/// What a linear function has to do with a set: its coefficients' sum, their product with `r0`, and the norm without their mean.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// `Σ s_i`.
    pub sum: f64,
    /// `⟨s, r0⟩`.
    pub product: f64,
    /// `‖s − mean(s)‖`, rounded up.
    pub norm: f64,
}

/// The least value of a linear function over a set, and where it is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Least {
    /// A lower bound of the least value, for the moments as they are given.
    pub value: f64,
    /// The mean of the minimiser, about.
    pub mean: f64,
    /// The ball that it lies on.
    pub ball: Ball,
}

impl Centred {
    /// Takes the mean out of a reference whose values lie in `[0, 1]`.
    pub fn new(reference: &[f64]) -> Self {
        let n = reference.len() as f64;
        // Compensated: the error of the sum is about one rounding.
        let (mut sum, mut lost) = (0.0, 0.0);
        for &value in reference {
            let next: f64 = sum + value;
            lost += if sum >= value { (sum - next) + value } else { (value - next) + sum };
            sum = next;
        }
        let mean = (sum + lost) / n;
        let values: Vec<f64> = reference.iter().map(|value| value - mean).collect();
        let energy: f64 = values.iter().map(|value| value * value).sum();
        // γ of the sum, and what the mean's error moves the square by (twice, with room).
        let energy = energy * (1.0 + 4e-16 * (n + 8.0)) + n * 1e-30;
        Self { values, mean, energy, error: 8.0 * f64::EPSILON }
    }

    /// The balls whose means lie in `range`; `None` if there is none: then the set is empty.
    pub fn slices(&self, threshold: f64, range: [f64; 2]) -> Option<Slices> {
        let n = self.values.len() as f64;
        let short = 1.0 - threshold;
        let reach =
            self.mean * self.mean * short * (1.0 + threshold) / (threshold * threshold) + C1 * short / threshold;
        let middle = self.mean / threshold;
        let half = reach.max(0.0).sqrt() * (1.0 + 1e-12);
        let room = 1e-15 * (middle + half);
        let (lower, upper) = ((middle - half - room).max(range[0]), (middle + half + room).min(range[1]));
        if lower > upper {
            return None;
        }
        let mut slices = Slices {
            threshold,
            n,
            mean: self.mean,
            energy: self.energy,
            lower,
            upper,
            middle,
            half,
            cells: Vec::new(),
        };
        if threshold < CONVEX_FROM {
            let end = |k: usize| if k == CELLS { upper } else { lower + (upper - lower) * (k as f64 / CELLS as f64) };
            slices.cells = (0..CELLS).map(|k| (end(k), end(k + 1), slices.largest(end(k), end(k + 1)))).collect();
        }
        Some(slices)
    }
}

impl Slices {
    /// The means that occur.
    pub fn means(&self) -> [f64; 2] {
        [self.lower, self.upper]
    }

    /// The largest quotient that any ball has.
    pub fn largest_quotient(&self) -> f64 {
        1.0 / self.threshold * ENLARGED
    }

    /// The luminance and its derivative.
    fn luminance(&self, mean: f64) -> (f64, f64) {
        let below = mean * mean + self.mean * self.mean + C1;
        let above = 2.0 * mean * self.mean + C1;
        (above / below, (2.0 * self.mean * below - above * 2.0 * mean) / (below * below))
    }

    /// The ball of a mean, no smaller than the real one.
    pub fn ball(&self, mean: f64) -> Ball {
        self.ball_of(self.luminance(mean).0 / self.threshold * ENLARGED)
    }

    fn ball_of(&self, quotient: f64) -> Ball {
        let more = (quotient - 1.0).max(0.0);
        let square = more * (self.energy * (quotient + 1.0) + self.n * C2);
        Ball { quotient, radius: square.sqrt() * (1.0 + 1e-15) }
    }

    /// The ball that contains those of all means between.
    fn largest(&self, from: f64, to: f64) -> Ball {
        if from <= self.mean && self.mean <= to {
            return self.ball_of(self.largest_quotient());
        }
        // The luminance rises up to the reference's mean and falls from there.
        self.ball(if to < self.mean { to } else { from })
    }

    /// A lower bound of `Σ s x` over the set.
    ///
    /// Where the set is convex, `F(m) = m Σs + q(m)⟨s, r0⟩ − ρ(q(m))‖s0‖` is a convex function of the mean, so that its tangent
    /// anywhere is a bound; it is taken where the derivative nearly vanishes. Elsewhere means are handled in cells.
    pub fn least(&self, moments: &Moments) -> Least {
        let value_in = |from: f64, to: f64, ball: Ball| {
            let line = (moments.sum * from).min(moments.sum * to);
            let terms = [line, ball.quotient * moments.product, -(ball.radius * moments.norm)];
            terms.iter().sum::<f64>() - 1e-14 * terms.iter().map(|term| term.abs()).sum::<f64>()
        };
        if !self.cells.is_empty() {
            let mut least = Least { value: f64::INFINITY, mean: self.lower, ball: Ball::default() };
            for &(from, to, ball) in &self.cells {
                // Balls of tiny thresholds overflow: what is not a number may be anything.
                let value = value_in(from, to, ball);
                let value = if value.is_nan() { f64::NEG_INFINITY } else { value };
                if value < least.value {
                    least = Least { value, mean: 0.5 * (from + to), ball };
                }
            }
            return least;
        }
        let mean = self.stationary(moments);
        let (luminance, slope) = self.luminance(mean);
        let ball = self.ball_of(luminance / self.threshold * ENLARGED);
        let whole = value_in(self.lower, self.upper, self.largest(self.lower, self.upper));
        let mut value = value_in(mean, mean, ball);
        if ball.radius > 0.0 {
            let slope = slope / self.threshold * ENLARGED;
            let growth = self.growth(ball);
            let derivative = moments.sum + slope * (moments.product - growth * moments.norm);
            // The derivative of the luminance is a difference of terms of about this size.
            let lost = 1e-15 * 4.0 * (mean + self.mean) / (mean * mean + self.mean * self.mean + C1);
            let doubt = 1e-12 * moments.sum.abs()
                + (1e-12 * slope.abs() + lost) * (moments.product.abs() + growth * moments.norm);
            let tilt = (derivative * (self.lower - mean)).min(derivative * (self.upper - mean));
            value += tilt - doubt * (self.upper - self.lower) - 1e-15 * tilt.abs();
        } else {
            value = f64::NEG_INFINITY;
        }
        // NaN loses.
        let value = if value > whole { value } else { whole };
        Least { value, mean, ball }
    }

    /// `dρ/dq`.
    fn growth(&self, ball: Ball) -> f64 {
        (2.0 * self.energy * ball.quotient + self.n * C2) / (2.0 * ball.radius)
    }

    /// Where the derivative of the slice function vanishes, about: a safeguarded secant over the angle `m = middle − half cos θ`, in
    /// which the radius is smooth up to the ends.
    fn stationary(&self, moments: &Moments) -> f64 {
        let at = |angle: f64| (self.middle - self.half * angle.cos()).clamp(self.lower, self.upper);
        let angle_of = |mean: f64| ((self.middle - mean) / self.half).clamp(-1.0, 1.0).acos();
        let derivative = |angle: f64| {
            let mean = at(angle);
            let (luminance, slope) = self.luminance(mean);
            let ball = self.ball_of(luminance / self.threshold * ENLARGED);
            let slope = slope / self.threshold;
            let growth = self.growth(Ball { radius: ball.radius.max(1e-150), ..ball });
            (moments.sum + slope * (moments.product - growth * moments.norm)) * angle.sin().max(1e-9)
        };
        if self.half <= 0.0 || self.lower >= self.upper {
            return self.lower;
        }
        let (mut low, mut high) =
            (angle_of(self.lower).max(1e-4), angle_of(self.upper).min(std::f64::consts::PI - 1e-4));
        if low >= high {
            return at(low);
        }
        let (mut of_low, mut of_high) = (derivative(low), derivative(high));
        if of_low >= 0.0 {
            return at(low);
        }
        if of_high <= 0.0 {
            return at(high);
        }
        let enough = 1e-10 * (of_high - of_low);
        let mut angle = 0.5 * (low + high);
        for _ in 0..40 {
            let value = derivative(angle);
            if value.abs() <= enough {
                break;
            }
            // Illinois: the end that stays counts half, so that both ends move.
            if value < 0.0 {
                (low, of_low) = (angle, value);
                of_high *= 0.5;
            } else {
                (high, of_high) = (angle, value);
                of_low *= 0.5;
            }
            angle = (low * of_high - high * of_low) / (of_high - of_low);
            if !(low < angle && angle < high) {
                angle = 0.5 * (low + high);
            }
        }
        at(angle)
    }
}
