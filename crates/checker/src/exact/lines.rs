use network::Activation;

use super::Dyadic;

/// Two lines around an activation: floats as slopes, and the intercepts that follow from them exactly.
#[derive(Debug, Clone)]
pub struct Lines {
    /// Slope of the lower line.
    pub low: f64,
    /// Its value at zero.
    pub low_at: Dyadic,
    /// Slope of the upper line.
    pub up: f64,
    /// Its value at zero.
    pub up_at: Dyadic,
}

/// A function without rounding.
type Value<'f> = Box<dyn Fn(&Dyadic) -> Dyadic + 'f>;

impl Lines {
    /// Lines of an activation's element `i` over `[l, u]`, and the interval of its values; none for one that is not piecewise linear.
    ///
    /// Which slopes are taken needs no proof: of a piecewise linear function, both gaps are linear between its bends and the ends, so
    /// that intercepts that cover those cover all of `[l, u]`. They are chosen as the floats around would be.
    pub fn of(activation: &Activation, i: usize, l: &Dyadic, u: &Dyadic) -> Option<(Self, [Dyadic; 2])> {
        let (bends, value): (Vec<f64>, Value) = match activation {
            Activation::Relu => (vec![0.0], Box::new(|z| z.clone().max(Dyadic::default()))),
            Activation::LeakyRelu(slopes) => {
                let slope = if slopes.len() == 1 { slopes[0] } else { slopes[i] };
                (vec![0.0], Box::new(move |z| if z.is_negative() { z.times(slope) } else { z.clone() }))
            }
            Activation::Clip { lower, upper } => {
                let clipped = |z: &Dyadic| {
                    let mut value = z.clone();
                    if lower.is_finite() {
                        value = value.max(Dyadic::from(*lower));
                    }
                    if upper.is_finite() {
                        value = value.min(Dyadic::from(*upper));
                    }
                    value
                };
                ([*lower, *upper].into_iter().filter(|end| end.is_finite()).collect(), Box::new(clipped))
            }
            Activation::Sigmoid | Activation::Tanh => return None,
        };
        let mut points = vec![l.clone(), u.clone()];
        let inside = bends.into_iter().map(Dyadic::from).filter(|bend| l < bend && bend < u);
        points.extend(inside);
        let values: Vec<Dyadic> = points.iter().map(&value).collect();
        let (low, up) = slopes(activation, i, [l, u].map(Dyadic::float_below));
        let gap = |slope: f64| points.iter().zip(&values).map(move |(z, f)| f.clone() - z.times(slope));
        let lines =
            Self { low, low_at: gap(low).min().unwrap_or_default(), up, up_at: gap(up).max().unwrap_or_default() };
        let image =
            [values.iter().min().cloned().unwrap_or_default(), values.iter().max().cloned().unwrap_or_default()];
        Some((lines, image))
    }

    /// Whether the two are one: the function is affine here.
    pub fn is_one(&self) -> bool {
        self.low == self.up && self.low_at == self.up_at
    }
}

/// Whether a neuron on `[l, u]` is worth a bound better than its interval: some bend lies inside.
pub fn is_undecided(activation: &Activation, l: &Dyadic, u: &Dyadic) -> bool {
    let inside = |bend: f64| bend.is_finite() && *l < Dyadic::from(bend) && Dyadic::from(bend) < *u;
    match activation {
        Activation::Relu | Activation::LeakyRelu(_) => inside(0.0),
        Activation::Clip { lower, upper } => inside(*lower) || inside(*upper),
        Activation::Sigmoid | Activation::Tanh => false,
    }
}

/// Slopes of the lower and the upper line.
fn slopes(activation: &Activation, i: usize, [l, u]: [f64; 2]) -> (f64, f64) {
    let finite = |slope: f64| if slope.is_finite() { slope } else { 0.0 };
    let chord = |rise: f64, run: f64| if run > 0.0 { finite(rise / run).clamp(0.0, 1.0) } else { 0.0 };
    match activation {
        Activation::Relu if l >= 0.0 => (1.0, 1.0),
        Activation::Relu if u <= 0.0 => (0.0, 0.0),
        Activation::Relu => {
            let up = chord(u, u - l);
            (if up > 0.5 { 1.0 } else { 0.0 }, up)
        }
        Activation::LeakyRelu(slopes) => {
            let slope = if slopes.len() == 1 { slopes[0] } else { slopes[i] };
            if l >= 0.0 {
                return (1.0, 1.0);
            }
            if u <= 0.0 {
                return (slope, slope);
            }
            let chord = finite((u - slope * l) / (u - l));
            let other = if u > -l { 1.0 } else { slope };
            if slope <= 1.0 { (other, chord) } else { (chord, other) }
        }
        Activation::Clip { lower, upper } => {
            let f = |z: f64| z.max(*lower).min(*upper);
            match (l < *lower, u > *upper) {
                (false, false) => (1.0, 1.0),
                _ if u <= *lower || l >= *upper => (0.0, 0.0),
                (true, true) => (chord(upper - lower, u - lower), chord(upper - lower, upper - l)),
                (true, false) => (if u - lower > lower - l { 1.0 } else { 0.0 }, chord(f(u) - f(l), u - l)),
                (false, true) => (chord(f(u) - f(l), u - l), if upper - l > u - upper { 1.0 } else { 0.0 }),
            }
        }
        Activation::Sigmoid | Activation::Tanh => (0.0, 0.0),
    }
}
