use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// What an adversary may do to a sample.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Threat {
    /// Move every value by at most this much
    LInf(f64),
    /// Move the sample by at most this Euclidean distance
    L2(f64),
    /// Choose every pixel of a rectangle at a random place: its height and width
    Patch(usize, usize),
    /// Any image whose structural similarity to the sample is at least this: one window over all values, as in repair
    Ssim(f64),
}

/// Constants of structural similarity for values of `[0, 1]`: `(0.01)²` and `(0.03)²`.
const C1: f64 = 1e-4;
const C2: f64 = 9e-4;

/// One sample under attack.
#[derive(Debug, Clone)]
pub(crate) struct Target<'a> {
    pub sample: &'a [f32],
    /// Channels, height and width.
    pub shape: [usize; 3],
    /// Whether values stay in `[0, 1]`.
    pub is_image: bool,
    /// The upper left corner of a patch.
    corner: [usize; 2],
}

impl Threat {
    /// What is wrong with it.
    pub(crate) fn problem(self) -> Option<&'static str> {
        match self {
            Self::LInf(size) | Self::L2(size) if !(size > 0.0 && size.is_finite()) => {
                Some("a distance is a positive number")
            }
            Self::Patch(height, width) if height == 0 || width == 0 => Some("a patch has at least one pixel"),
            Self::Ssim(threshold) if !(threshold > 0.0 && threshold < 1.0) => Some("a similarity is between 0 and 1"),
            _ => None,
        }
    }

    /// A sample with its random place of the patch.
    pub(crate) fn target<'a>(
        self,
        sample: &'a [f32],
        shape: [usize; 3],
        is_image: bool,
        random: &mut Random,
    ) -> Target<'a> {
        let corner = match self {
            Self::Patch(height, width) => [
                random.below((shape[1] + 1).saturating_sub(height).max(1)),
                random.below((shape[2] + 1).saturating_sub(width).max(1)),
            ],
            _ => [0, 0],
        };
        Target { sample, shape, is_image, corner }
    }

    /// A random start.
    pub(crate) fn start(self, target: &Target, random: &mut Random) -> Vec<f32> {
        let mut x = target.sample.to_vec();
        match self {
            Self::LInf(epsilon) => x.iter_mut().for_each(|v| *v += random.between(-epsilon, epsilon) as f32),
            Self::L2(epsilon) => {
                let scale = epsilon / (x.len() as f64).sqrt() * random.unit();
                x.iter_mut().for_each(|v| *v += (scale * random.normal()) as f32);
            }
            Self::Patch(..) => {
                (0..x.len()).filter(|&i| self.covers(target, i)).for_each(|i| x[i] = random.unit() as f32);
            }
            Self::Ssim(_) => x.iter_mut().for_each(|v| *v += (0.02 * random.normal()) as f32),
        }
        self.project(target, &mut x);
        x
    }

    /// Moves `x` up the gradient by this share of the threat's size, and back into the set.
    pub(crate) fn step(self, target: &Target, x: &mut [f32], gradient: &[f32], share: f64) {
        let sign = |g: f32| if g == 0.0 { 0.0 } else { f64::from(g.signum()) };
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt().max(1e-30);
        match self {
            Self::LInf(epsilon) => {
                x.iter_mut().zip(gradient).for_each(|(v, &g)| *v += (share * epsilon * sign(g)) as f32);
            }
            Self::L2(epsilon) => {
                x.iter_mut().zip(gradient).for_each(|(v, &g)| *v += (share * epsilon * f64::from(g) / norm) as f32);
            }
            Self::Patch(..) => (0..x.len())
                .filter(|&i| self.covers(target, i))
                .for_each(|i| x[i] += (share * sign(gradient[i])) as f32),
            Self::Ssim(threshold) => {
                let reach = share * spread(target.sample) * (1.0 / threshold.powi(2) - 1.0).sqrt();
                x.iter_mut().zip(gradient).for_each(|(v, &g)| *v += (reach * f64::from(g) / norm) as f32);
            }
        }
        self.project(target, x);
    }

    /// The nearest point of the set, or (similarity) the farthest one of it on the way from the sample.
    fn project(self, target: &Target, x: &mut [f32]) {
        if target.is_image {
            x.iter_mut().for_each(|v| *v = v.clamp(0.0, 1.0));
        }
        match self {
            Self::LInf(epsilon) => x.iter_mut().zip(target.sample).for_each(|(v, &s)| {
                *v = v.clamp(s - epsilon as f32, s + epsilon as f32);
            }),
            Self::L2(epsilon) => {
                let distance = x.iter().zip(target.sample).map(|(&v, &s)| f64::from(v - s).powi(2)).sum::<f64>().sqrt();
                if distance > epsilon {
                    pull(x, target.sample, epsilon / distance);
                }
            }
            Self::Patch(..) => {}
            Self::Ssim(threshold) => {
                let way = Way::new(target.sample, x);
                if way.similarity(1.0) < threshold {
                    // The set is convex for such thresholds as matter, so that similarity falls along the way.
                    let (mut inside, mut outside) = (0.0, 1.0);
                    for _ in 0..20 {
                        let middle = 0.5 * (inside + outside);
                        if way.similarity(middle) >= threshold { inside = middle } else { outside = middle }
                    }
                    pull(x, target.sample, inside);
                }
            }
        }
    }

    fn covers(self, target: &Target, i: usize) -> bool {
        let Self::Patch(height, width) = self else { return false };
        let [_, rows, columns] = target.shape;
        let (y, x) = (i / columns % rows, i % columns);
        (target.corner[0]..target.corner[0] + height).contains(&y)
            && (target.corner[1]..target.corner[1] + width).contains(&x)
    }
}

/// Takes `x` to `sample + share · (x − sample)`.
fn pull(x: &mut [f32], sample: &[f32], share: f64) {
    x.iter_mut().zip(sample).for_each(|(v, &s)| *v = (f64::from(s) + share * f64::from(*v - s)) as f32);
}

/// The Euclidean distance of a sample from its mean.
fn spread(x: &[f32]) -> f64 {
    let mean = x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
    x.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>().sqrt()
}

/// Structural similarity over one window, moments divided by `n` (Wang et al. 2004).
pub(crate) fn ssim(x: &[f32], y: &[f32]) -> f64 {
    Way::new(y, x).similarity(1.0)
}

/// The moments of everything between a sample and `x`: on the way, means are linear and variances quadratic.
struct Way {
    /// The sample's mean, and that of the difference of both.
    means: [f64; 2],
    /// The sample's variance, its covariance with the difference, and the difference's variance.
    moments: [f64; 3],
}

impl Way {
    fn new(sample: &[f32], x: &[f32]) -> Self {
        let pairs = || sample.iter().zip(x).map(|(&s, &v)| [f64::from(s), f64::from(v) - f64::from(s)]);
        let n = sample.len() as f64;
        let sums = pairs().fold([0.0; 2], |sums, [s, d]| [sums[0] + s, sums[1] + d]);
        let means = sums.map(|sum| sum / n);
        let products = pairs().fold([0.0; 3], |sums, [s, d]| {
            let [s, d] = [s - means[0], d - means[1]];
            [sums[0] + s * s, sums[1] + s * d, sums[2] + d * d]
        });
        Self { means, moments: products.map(|sum| sum / n) }
    }

    /// The similarity to the sample at this share of the way.
    fn similarity(&self, share: f64) -> f64 {
        let [my, vy] = [self.means[0], self.moments[0]];
        let mx = my + share * self.means[1];
        let covariance = vy + share * self.moments[1];
        let vx = vy + share * (2.0 * self.moments[1] + share * self.moments[2]);
        (2.0 * mx * my + C1) * (2.0 * covariance + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: [f32; 16] = [0.0, 0.1, 0.9, 0.2, 0.3, 0.8, 0.7, 0.0, 0.1, 0.2, 0.9, 0.1, 0.0, 0.3, 0.8, 0.2];

    fn attacked(threat: Threat) -> Vec<f32> {
        let mut random = Random::new(5, 0);
        let target = threat.target(&SAMPLE, [1, 4, 4], true, &mut random);
        let mut x = threat.start(&target, &mut random);
        for _ in 0..10 {
            let gradient: Vec<f32> = (0..16).map(|_| random.normal() as f32).collect();
            threat.step(&target, &mut x, &gradient, 0.5);
        }
        assert!(x.iter().all(|v| (0.0..=1.0).contains(v)));
        assert_ne!(x, SAMPLE);
        x
    }

    #[test]
    fn steps_stay_inside_the_set() {
        let x = attacked(Threat::LInf(0.1));
        assert!(x.iter().zip(SAMPLE).all(|(v, s)| (v - s).abs() <= 0.1 + 1e-6));
        let x = attacked(Threat::L2(0.3));
        let distance = x.iter().zip(SAMPLE).map(|(v, s)| (v - s).powi(2)).sum::<f32>().sqrt();
        assert!(distance <= 0.3 + 1e-5, "{distance}");
        let x = attacked(Threat::Patch(2, 2));
        assert!(x.iter().zip(SAMPLE).filter(|(v, s)| **v != *s).count() <= 4);
        let x = attacked(Threat::Ssim(0.95));
        let similarity = ssim(&x, &SAMPLE);
        assert!((0.95 - 1e-4..1.0).contains(&similarity), "{similarity}");
    }

    #[test]
    fn similarity_on_the_way_is_that_of_the_points_there() {
        let mut random = Random::new(6, 0);
        for _ in 0..100 {
            let far: Vec<f32> = SAMPLE.iter().map(|_| random.unit() as f32).collect();
            let way = Way::new(&SAMPLE, &far);
            for share in [0.0, 0.1, 0.5, 0.9, 1.0] {
                let x: Vec<f64> =
                    SAMPLE.iter().zip(&far).map(|(&s, &v)| f64::from(s) + share * f64::from(v - s)).collect();
                // By its definition.
                let mean = |f: &dyn Fn(usize) -> f64| (0..16).map(f).sum::<f64>() / 16.0;
                let y = |i: usize| f64::from(SAMPLE[i]);
                let (mx, my) = (mean(&|i| x[i]), mean(&y));
                let (vx, vy) = (mean(&|i| (x[i] - mx).powi(2)), mean(&|i| (y(i) - my).powi(2)));
                let covariance = mean(&|i| (x[i] - mx) * (y(i) - my));
                let luminance = (2.0 * mx * my + C1) / (mx * mx + my * my + C1);
                let structure = (2.0 * covariance + C2) / (vx + vy + C2);
                let similarity = way.similarity(share);
                assert!((similarity - luminance * structure).abs() < 1e-6, "{similarity} {}", luminance * structure);
            }
        }
    }
}
