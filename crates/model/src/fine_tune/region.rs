use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};

use crate::classifier::{Interval, Weights, batch_of};
use crate::robust::ssim;
use crate::{Classifier, Error};

/// Inputs of which something is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Region {
    /// A box.
    Box {
        /// Smallest values.
        lower: Vec<f32>,
        /// Largest values.
        upper: Vec<f32>,
    },
    /// Images (values of `[0, 1]`) whose structural similarity to a reference, by one window over all values, is at least `threshold`.
    Similar {
        /// The reference's values.
        reference: Vec<f32>,
        /// In `(0, 1)`.
        threshold: f64,
    },
}

/// Constants of structural similarity for values of `[0, 1]`.
const C1: f64 = 1e-4;
const C2: f64 = 9e-4;

impl Region {
    /// Whether an input lies in it, up to rounding.
    pub(super) fn contains(&self, x: &[f32]) -> bool {
        match self {
            Self::Box { lower, upper } => x.iter().zip(lower.iter().zip(upper)).all(|(x, (l, u))| (l..=u).contains(&x)),
            Self::Similar { reference, threshold } => ssim(x, reference) >= *threshold,
        }
    }

    pub(super) fn check(&self, n: usize) -> Result<(), Error> {
        let is_right = match self {
            Self::Box { lower, upper } => {
                lower.len() == n
                    && upper.len() == n
                    && lower.iter().zip(upper).all(|(lower, upper)| lower <= upper)
                    && lower.iter().chain(upper).all(|v| v.is_finite())
            }
            Self::Similar { reference, threshold } => {
                reference.len() == n
                    && reference.iter().all(|v| (0.0..=1.0).contains(v))
                    && *threshold > 0.0
                    && *threshold <= 1.0
            }
        };
        if is_right {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "expected {n} finite lower and upper values in order, or {n} pixels of [0, 1] and a threshold of (0, 1]"
        )))
    }
}

/// Regions of one kind, as tensors.
#[derive(Debug, Clone)]
pub(super) enum RegionBatch {
    Boxes(Box<Interval>),
    Similar(Box<SimilarBatch>),
}

/// Images `m + v`, `v` without a mean: `m` of an interval and `v` of a ball hold all that are similar enough.
#[derive(Debug, Clone)]
pub(super) struct SimilarBatch {
    /// The references less their means, `[batch, 1, n]`.
    centred: Tensor<3>,
    /// Where references are black, and where white: `[batch, 1, n]` of zeros and ones.
    black: Tensor<3>,
    white: Tensor<3>,
    /// `[batch, 1, 1]`: the ends of the means, the ball's centre as a multiple of `centred`, its radius.
    means: [Tensor<3>; 2],
    stretch: Tensor<3>,
    radius: Tensor<3>,
    enclosure: Interval,
}

impl RegionBatch {
    /// The boxes among these regions, and the others, each with their places.
    pub(super) fn of(regions: &[&Region], device: &Device) -> Vec<(Vec<usize>, Self)> {
        let mut boxes = (Vec::new(), Vec::new(), Vec::new());
        let mut similar = (Vec::new(), Vec::new());
        for (place, region) in regions.iter().enumerate() {
            match region {
                Region::Box { lower, upper } => {
                    boxes.0.push(place);
                    boxes.1.push(lower.as_slice());
                    boxes.2.push(upper.as_slice());
                }
                Region::Similar { reference, threshold } => {
                    similar.0.push(place);
                    similar.1.push((reference.as_slice(), *threshold));
                }
            }
        }
        let mut batches = Vec::new();
        if !boxes.0.is_empty() {
            let interval = Interval { lower: batch_of(&boxes.1, device), upper: batch_of(&boxes.2, device) };
            batches.push((boxes.0, Self::Boxes(Box::new(interval))));
        }
        if !similar.0.is_empty() {
            batches.push((similar.0, Self::Similar(Box::new(SimilarBatch::new(&similar.1, device)))));
        }
        batches
    }

    fn enclosure(&self) -> &Interval {
        match self {
            Self::Boxes(interval) => interval,
            Self::Similar(similar) => &similar.enclosure,
        }
    }

    /// Lower bounds, `[batch, rows]`, of `a` (`[batch, rows, n]`) times the inputs.
    fn least(&self, a: Tensor<3>) -> Tensor<2> {
        match self {
            Self::Boxes(interval) => interval.least(a),
            Self::Similar(similar) => similar.least(&a),
        }
    }
}

impl SimilarBatch {
    fn new(references: &[(&[f32], f64)], device: &Device) -> Self {
        let n = references[0].0.len();
        let mut values: [Vec<f32>; 3] = Default::default();
        let mut scalars: [Vec<f32>; 4] = Default::default();
        let mut ends: [Vec<f32>; 2] = Default::default();
        for &(reference, threshold) in references {
            let mean = reference.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
            let energy = reference.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
            let root = (mean * mean - threshold * (threshold * (mean * mean + C1) - C1)).max(0.0).sqrt();
            let means = [-root, root].map(|root| ((mean + root) / threshold).clamp(0.0, 1.0));
            // The ball is largest where the means agree.
            let stretch = 1.0 / threshold;
            let radius = (energy * (stretch * stretch - 1.0) + n as f64 * C2 * (stretch - 1.0)).max(0.0).sqrt();
            let reach = radius * (1.0 - 1.0 / n as f64).sqrt();
            for &v in reference {
                let centred = f64::from(v) - mean;
                values[0].push(centred as f32);
                values[1].push(f32::from(v < 1e-6));
                values[2].push(f32::from(v > 1.0 - 1e-6));
                ends[0].push((means[0] + stretch * centred - reach).clamp(0.0, 1.0) as f32);
                ends[1].push((means[1] + stretch * centred + reach).clamp(0.0, 1.0) as f32);
            }
            [means[0], means[1], stretch, radius].iter().zip(&mut scalars).for_each(|(v, list)| list.push(*v as f32));
        }
        let batch = references.len();
        let cube = |values: Vec<f32>, n| Tensor::<3>::from_data(TensorData::new(values, [batch, 1, n]), device);
        let flat = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, [batch, n]), device);
        let [centred, black, white] = values.map(|values| cube(values, n));
        let [low, high, stretch, radius] = scalars.map(|values| cube(values, 1));
        let [lower, upper] = ends.map(flat);
        Self { centred, black, white, means: [low, high], stretch, radius, enclosure: Interval { lower, upper } }
    }

    /// The better of two bounds: over means and ball, and with what pushes pixels out of `[0, 1]` left to the box.
    fn least(&self, a: &Tensor<3>) -> Tensor<2> {
        let up = relu(a.clone()) * self.black.clone();
        let down = relu(a.clone().neg()) * self.white.clone();
        let inner = self.least_in_ball(&(a.clone() - up + down.clone())) - down.sum_dim(2);
        let [n, m, _] = a.dims();
        self.least_in_ball(a).max_pair(inner).reshape([n, m])
    }

    /// `[batch, rows, 1]`.
    fn least_in_ball(&self, a: &Tensor<3>) -> Tensor<3> {
        let [.., n] = a.dims();
        let mean = a.clone().mean_dim(2);
        let rest = a.clone() - mean.clone();
        let total = mean.mul_scalar(n as f32);
        let [low, high] = self.means.clone().map(|end| total.clone() * end);
        let along = (rest.clone() * self.centred.clone()).sum_dim(2) * self.stretch.clone();
        // The root's slope is infinite at zero.
        let norm = (rest.clone() * rest).sum_dim(2).add_scalar(1e-12).sqrt();
        low.min_pair(high) + along - norm * self.radius.clone()
    }
}

impl Classifier {
    /// Lower bounds, `[batch, rows]`, of rows (`[batch, rows, outputs]`) times the outputs over regions, in real arithmetic:
    /// linear bounds everywhere but in layers too wide for it.
    pub(super) fn bounds_over(&self, weights: &Weights, regions: &RegionBatch, rows: Tensor<3>) -> Tensor<2> {
        let least = |a: Tensor<3>| regions.least(a);
        let intervals = self.tight_intervals(weights, regions.enclosure().clone(), &least);
        self.lower_bounds_over(weights, &intervals, rows, &least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::floats;
    use crate::random::Random;
    use crate::robust::Threat;
    use crate::{Architecture, ConvSpec, LayerSpec};

    #[test]
    fn members_of_a_set_are_above_its_bounds_and_near_them() {
        let mut random = Random::new(4, 0);
        let reference: Vec<f32> = (0..36).map(|i| if i % 4 == 0 { 0.0 } else { random.unit() as f32 }).collect();
        let conv = LayerSpec::Conv(ConvSpec { channels: 3, kernel: 3, stride: 1, padding: 1 });
        let layers = vec![conv, LayerSpec::Relu, LayerSpec::Dense(8), LayerSpec::Relu, LayerSpec::Dense(3)];
        let classifier = Classifier::new(&Architecture { layers }, [1, 6, 6], 2).unwrap();
        let device = Device::flex();
        let weights = burn::module::Module::valid(&classifier.weights);
        let mut gaps = Vec::new();
        for threshold in [0.99, 0.9] {
            let region = Region::Similar { reference: reference.clone(), threshold };
            let batch = RegionBatch::of(&[&region], &device).remove(0).1;
            let identity = Tensor::<2>::eye(3, &device).unsqueeze::<3>();
            let bounds = floats(classifier.bounds_over(&weights, &batch, identity));
            let threat = Threat::Ssim(threshold);
            let target = threat.target(&reference, [1, 6, 6], true, &mut random);
            let mut least = [f32::INFINITY; 3];
            for _ in 0..200 {
                let mut x = threat.start(&target, &mut random);
                let direction: Vec<f32> = (0..36).map(|_| random.normal() as f32).collect();
                (0..6).for_each(|_| threat.step(&target, &mut x, &direction, 1.0));
                let scores = &classifier.scores(&[&x]).unwrap()[0];
                (0..3).for_each(|k| least[k] = least[k].min(scores[k]));
            }
            assert!((0..3).all(|k| bounds[k] <= least[k] + 1e-4), "{threshold}: {bounds:?} {least:?}");
            gaps.push((0..3).map(|k| least[k] - bounds[k]).sum::<f32>());
        }
        assert!(gaps[0] < gaps[1] && gaps[0] < 1.0, "{gaps:?}");
    }
}
