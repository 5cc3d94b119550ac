use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use network::Activation;

use crate::classifier::{Interval, Weights, floats, samples};
use crate::{Classifier, Dataset, Error};

/// How far back linear bounds go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// To the last operation that is not affine: intervals, but for the last affine layers.
    Last,
    /// To the input, as far as `ReLU`s allow.
    Input,
}

impl Classifier {
    /// Lower bounds, `[batch, classes]`, of the label's score minus every score (0 for the label itself) over a box.
    ///
    /// Real arithmetic is assumed: rounding is not accounted for.
    pub(crate) fn margins(&self, weights: &Weights, region: Interval, labels: &[usize], depth: Depth) -> Tensor<2> {
        let intervals = self.intervals(weights, region);
        let difference = differences(labels, self.n_classes(), &intervals[0].lower.device());
        self.lower_bounds(weights, &intervals, difference, depth)
    }

    /// How many `ReLU`s have the same sign for all inputs whose values lie between these, by intervals: an estimate, no proof.
    pub fn stable_relus(&self, lower: f32, upper: f32) -> usize {
        let end = |value: f32| Tensor::<2>::full([1, self.n_inputs()], value, self.device());
        let intervals = self.intervals(&self.weights.valid(), Interval { lower: end(lower), upper: end(upper) });
        let stable = self.rectified().map(|operand| {
            let [lower, upper] = [&intervals[operand].lower, &intervals[operand].upper].map(|end| floats(end.clone()));
            lower.iter().zip(&upper).filter(|(lower, upper)| **lower >= 0.0 || **upper <= 0.0).count()
        });
        stable.sum()
    }

    /// The share of samples whose label is proved, but for rounding, over the box of this half side by CROWN over intervals.
    ///
    /// An estimate of certified accuracy while training; the engine proves.
    ///
    /// # Errors
    /// When the data do not fit the classifier.
    pub fn bounded_accuracy(&self, data: &Dataset, epsilon: f64) -> Result<f64, Error> {
        self.check_data(data)?;
        let weights = self.weights.valid();
        let indices: Vec<usize> = (0..data.len()).collect();
        let mut n_proved = 0;
        for batch in indices.chunks(32) {
            let (x, labels) = samples(data, batch, self.device());
            let region = Interval::around(x, epsilon, data.is_image());
            let margins = floats(self.margins(&weights, region, &labels, Depth::Input));
            n_proved += margins
                .chunks(self.n_classes())
                .zip(&labels)
                .filter(|(margins, label)| (0..margins.len()).all(|k| k == **label || margins[k] > 0.0))
                .count();
        }
        Ok(n_proved as f64 / data.len() as f64)
    }
}

/// For every label `y`, the rows `e_y − e_j`: `[batch, classes, classes]`.
fn differences(labels: &[usize], n_classes: usize, device: &Device) -> Tensor<3> {
    let mut values = vec![0.0_f32; labels.len() * n_classes * n_classes];
    for (i, &label) in labels.iter().enumerate() {
        for j in (0..n_classes).filter(|&j| j != label) {
            let row = (i * n_classes + j) * n_classes;
            values[row + label] = 1.0;
            values[row + j] = -1.0;
        }
    }
    Tensor::from_data(TensorData::new(values, [labels.len(), n_classes, n_classes]), device)
}

/// Coefficients of a rectifier's operand from below, and what they add to the constant, given those of its value.
///
/// Upper lines join the interval's ends; lower lines have slope 1 where the interval is mostly positive, else 0.
pub(crate) fn relax(a: &Tensor<3>, interval: &Interval, activation: &Activation) -> Option<(Tensor<3>, Tensor<2>)> {
    let Activation::Relu = activation else { return None };
    let below = relu(interval.lower.clone().neg());
    let above = relu(interval.upper.clone());
    let upper_slope = above.clone() / (above + below.clone()).clamp_min(1e-12);
    let lower_slope = (interval.lower.clone() + interval.upper.clone()).greater_elem(0.0).float();
    let intercept = upper_slope.clone() * below;
    let (positive, negative) = (relu(a.clone()), a.clone().clamp_max(0.0));
    let [n, m, _] = a.dims();
    let constant = (negative.clone() * intercept.unsqueeze_dim(1)).sum_dim(2).reshape([n, m]);
    let back = positive * lower_slope.unsqueeze_dim::<3>(1) + negative * upper_slope.unsqueeze_dim::<3>(1);
    Some((back, constant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::batch_of;
    use crate::random::Random;
    use crate::{Architecture, ConvSpec, LayerSpec, PoolSpec};

    /// Every kind of layer, with random weights.
    fn classifier(seed: u64) -> Classifier {
        let conv = |channels, kernel, stride, padding| LayerSpec::Conv(ConvSpec { channels, kernel, stride, padding });
        let pool = |size, stride, padding| PoolSpec { size, stride: Some(stride), padding };
        let layers = vec![
            conv(4, 3, 2, 1),
            LayerSpec::BatchNorm,
            LayerSpec::Relu,
            LayerSpec::Residual { body: vec![conv(4, 3, 1, 1), LayerSpec::Relu], shortcut: vec![conv(4, 1, 1, 0)] },
            LayerSpec::AveragePool(pool(2, 1, 1)),
            LayerSpec::Relu,
            LayerSpec::MaxPool(pool(2, 2, 0)),
            LayerSpec::Dense(10),
            LayerSpec::Relu,
            LayerSpec::Dense(5),
        ];
        Classifier::new(&Architecture { layers }, [2, 7, 6], seed).unwrap()
    }

    #[test]
    fn differences_of_scores_are_above_their_bounds() {
        let mut random = Random::new(3, 0);
        let mut gap = [0.0_f64; 2];
        for seed in 0..6 {
            let classifier = classifier(seed);
            let x: Vec<f32> = (0..84).map(|_| random.unit() as f32).collect();
            let epsilon = 0.03;
            for (d, depth) in [Depth::Last, Depth::Input].into_iter().enumerate() {
                let region = Interval::around(batch_of(&[&x], &Device::flex()), epsilon, true);
                let label = seed as usize % 5;
                let bounds = floats(classifier.margins(&classifier.weights.valid(), region, &[label], depth));
                let mut least = [f32::INFINITY; 5];
                for _ in 0..200 {
                    let point: Vec<f32> = x
                        .iter()
                        .map(|v| (v + (epsilon * [-1.0, 0.0, 1.0][random.below(3)]) as f32).clamp(0.0, 1.0))
                        .collect();
                    let scores = &classifier.scores(&[&point]).unwrap()[0];
                    (0..5).for_each(|k| least[k] = least[k].min(scores[label] - scores[k]));
                }
                assert!((0..5).all(|k| bounds[k] <= least[k] + 1e-5), "{depth:?}: {bounds:?} {least:?}");
                assert_eq!(bounds[label], 0.0);
                gap[d] += (0..5).map(|k| f64::from(least[k] - bounds[k])).sum::<f64>();
            }
        }
        // Linear bounds are closer here than intervals, and neither is far off.
        assert!(gap[1] < gap[0] && gap[0] < 30.0, "{gap:?}");
    }

    #[test]
    fn boxes_of_no_width_are_bounded_by_the_scores_themselves() {
        let classifier = classifier(9);
        let x: Vec<f32> = (0..84).map(|i| (i % 7) as f32 / 7.0).collect();
        let scores = &classifier.scores(&[&x]).unwrap()[0];
        for depth in [Depth::Last, Depth::Input] {
            let region = Interval::around(batch_of(&[&x], &Device::flex()), 0.0, true);
            let bounds = floats(classifier.margins(&classifier.weights.valid(), region, &[2], depth));
            assert!((0..5).all(|k| (bounds[k] - (scores[2] - scores[k])).abs() < 1e-5), "{bounds:?} {scores:?}");
        }
    }
}
