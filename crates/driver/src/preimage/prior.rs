use crate::error::Error;
use crate::preimage::special::{normal_cdf, normal_quantile};

/// How inputs are distributed over a region: independent, each by itself; uniform where nothing else is said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prior {
    /// Inputs that are not uniform.
    marginals: Vec<(usize, Marginal)>,
}

/// The distribution of one input, cut off at the region's ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Marginal {
    /// Normal.
    Gaussian {
        /// Mean.
        mean: f64,
        /// Standard deviation, positive.
        deviation: f64,
    },
    /// Constant between edges.
    Histogram {
        /// Increasing; one more than there are masses.
        edges: Vec<f64>,
        /// Not negative; need not sum to one.
        masses: Vec<f64>,
    },
}

impl Prior {
    /// All inputs uniform.
    pub fn uniform() -> Self {
        Self::default()
    }

    /// Gives one input a distribution of its own.
    #[must_use]
    pub fn with(mut self, input: usize, marginal: Marginal) -> Self {
        self.marginals.retain(|(other, _)| *other != input);
        self.marginals.push((input, marginal));
        self
    }

    /// Whether all inputs are uniform.
    pub fn is_uniform(&self) -> bool {
        self.marginals.is_empty()
    }

    /// Checks it for a network with so many inputs.
    ///
    /// # Errors
    /// When an input does not exist, or a distribution has no sense.
    pub fn check(&self, n_inputs: usize) -> Result<(), Error> {
        for (input, marginal) in &self.marginals {
            if *input >= n_inputs {
                return Err(Error::question(format!("the prior speaks of input {input} of {n_inputs}")));
            }
            let is_sane = match marginal {
                Marginal::Gaussian { mean, deviation } => mean.is_finite() && deviation.is_finite() && *deviation > 0.0,
                Marginal::Histogram { edges, masses } => {
                    edges.len() == masses.len() + 1
                        && edges.windows(2).all(|pair| pair[0] < pair[1])
                        && masses.iter().all(|mass| *mass >= 0.0 && mass.is_finite())
                        && masses.iter().any(|mass| *mass > 0.0)
                }
            };
            if !is_sane {
                return Err(Error::question(format!(
                    "the prior of input {input}: expected a positive deviation, or rising edges with one mass between each two"
                )));
            }
        }
        Ok(())
    }

    /// The value of input `i` within `[low, high]` below which the share `u` of its mass there lies; uniform where there is no mass.
    pub fn quantile(&self, i: usize, (low, high): (f64, f64), u: f64) -> f64 {
        let marginal = self.marginals.iter().find(|(input, _)| *input == i).map(|(_, marginal)| marginal);
        let value = match marginal {
            Some(marginal) if marginal.mass(low, high) > 0.0 => marginal.quantile((low, high), u),
            _ => low + u * (high - low),
        };
        value.clamp(low, high)
    }

    /// The mass of `[low, high]` for input `i`, relative to that of `[from, to]`.
    pub fn share(&self, i: usize, (low, high): (f64, f64), (from, to): (f64, f64)) -> f64 {
        let marginal = self.marginals.iter().find(|(input, _)| *input == i).map(|(_, marginal)| marginal);
        match marginal {
            Some(marginal) if marginal.mass(from, to) > 0.0 => marginal.mass(low, high) / marginal.mass(from, to),
            _ if to > from => (high - low) / (to - from),
            _ => 1.0,
        }
    }
}

impl Marginal {
    fn mass(&self, low: f64, high: f64) -> f64 {
        match self {
            Self::Gaussian { mean, deviation } => {
                let (from, to) = ((low - mean) / deviation, (high - mean) / deviation);
                // In the right tail the left one's figures are more exact.
                if from > 0.0 { normal_cdf(-from) - normal_cdf(-to) } else { normal_cdf(to) - normal_cdf(from) }
            }
            Self::Histogram { edges, masses } => {
                let part = |(edge, mass): (&[f64], &f64)| {
                    let overlap = (high.min(edge[1]) - low.max(edge[0])).max(0.0);
                    mass * overlap / (edge[1] - edge[0])
                };
                edges.windows(2).zip(masses).map(part).sum()
            }
        }
    }

    fn quantile(&self, (low, high): (f64, f64), u: f64) -> f64 {
        match self {
            Self::Gaussian { mean, deviation } => {
                let (from, to) = ((low - mean) / deviation, (high - mean) / deviation);
                let z = if from > 0.0 {
                    let (p, q) = (normal_cdf(-from), normal_cdf(-to));
                    -normal_quantile(p + u * (q - p))
                } else {
                    let (p, q) = (normal_cdf(from), normal_cdf(to));
                    normal_quantile(p + u * (q - p))
                };
                mean + deviation * z
            }
            Self::Histogram { edges, masses } => {
                let mut left = u * self.mass(low, high);
                for (edge, mass) in edges.windows(2).zip(masses) {
                    let (from, to) = (low.max(edge[0]), high.min(edge[1]));
                    let here = mass * (to - from).max(0.0) / (edge[1] - edge[0]);
                    if here > 0.0 && left <= here {
                        return from + (to - from) * left / here;
                    }
                    left -= here;
                }
                high
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_invert_masses() {
        let histogram = Marginal::Histogram { edges: vec![0.0, 1.0, 3.0], masses: vec![1.0, 3.0] };
        let gaussian = Marginal::Gaussian { mean: 0.5, deviation: 0.4 };
        let prior = Prior::uniform().with(0, histogram).with(1, gaussian);
        for i in 0..3 {
            for u in [0.1, 0.25, 0.6, 0.95] {
                let x = prior.quantile(i, (0.2, 2.5), u);
                let share = prior.share(i, (0.2, x), (0.2, 2.5));
                assert!((share - u).abs() < 1e-9, "input {i}: {u} became {share}");
            }
        }
        // A quarter of the histogram's mass is below one.
        assert!((prior.quantile(0, (0.0, 3.0), 0.25) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nonsense_is_refused() {
        for marginal in [
            Marginal::Gaussian { mean: 0.0, deviation: 0.0 },
            Marginal::Histogram { edges: vec![0.0, 0.0], masses: vec![1.0] },
            Marginal::Histogram { edges: vec![0.0, 1.0], masses: vec![0.0] },
        ] {
            assert!(Prior::uniform().with(0, marginal).check(1).is_err());
        }
        assert!(Prior::uniform().with(3, Marginal::Gaussian { mean: 0.0, deviation: 1.0 }).check(3).is_err());
    }
}
