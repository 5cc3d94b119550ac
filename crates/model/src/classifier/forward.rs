use burn::module::Module;
use burn::tensor::activation::{log_softmax, relu, sigmoid, tanh};
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{Device, Int, Tensor, TensorData};
use network::{Activation, MaxPool};
use serde::Serialize;

use super::affine::{Sign, end_padding, images, rows};
use super::{BATCH_NORM_EPSILON, BATCH_NORM_MOMENTUM, Classifier, Layer, Moments, Statistics, Step, Weights};
use crate::random::Random;
use crate::{Dataset, Error};

/// How well a classifier does on a data set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of samples whose label has the highest score (the first one, where several have it).
    pub accuracy: f64,
}

/// What distinguishes a forward pass while training.
#[derive(Debug)]
pub(crate) struct Training {
    /// The batch's statistics for every batch normalisation so far.
    pub statistics: Vec<Statistics>,
    /// The same with gradients.
    pub(super) moments: Vec<Moments>,
    /// Chooses what is dropped.
    random: Random,
}

impl Training {
    pub(crate) fn new(random: Random) -> Self {
        Self { statistics: Vec::new(), moments: Vec::new(), random }
    }
}

/// Samples that are scored at once.
const BATCH: usize = 256;

impl Classifier {
    /// Scores, `[batch, classes]`, of rows of values.
    ///
    /// While training, batch normalisations use the batch's own statistics and append them, and dropout drops.
    pub(crate) fn forward(&self, weights: &Weights, x: Tensor<2>, mut training: Option<&mut Training>) -> Tensor<2> {
        let mut values: Vec<Tensor<2>> = Vec::with_capacity(self.layers.len() + 1);
        values.push(self.dropped(x, 0, training.as_deref_mut()));
        for layer in &self.layers {
            let operand = &values[layer.inputs[0]];
            let value = match (&layer.step, training.as_deref_mut()) {
                (Step::BatchNorm { .. }, Some(training)) => normalised(layer, weights, operand, training),
                (Step::Add, _) => {
                    let others = layer.inputs[1..].iter();
                    others.fold(operand.clone(), |sum, &input| sum + values[input].clone())
                }
                _ => self.apply(layer, weights, operand),
            };
            values.push(self.dropped(value, values.len(), training.as_deref_mut()));
        }
        values.pop().expect("a classifier has layers")
    }

    /// A value, some of it dropped if it is to be.
    fn dropped(&self, x: Tensor<2>, value: usize, training: Option<&mut Training>) -> Tensor<2> {
        let Some(training) = training else { return x };
        self.dropouts.iter().filter(|dropout| dropout.0 == value).fold(x, |x, (_, share)| {
            let [n, len] = x.dims();
            let kept = (1.0 / (1.0 - share)) as f32;
            let mask = (0..n * len).map(|_| if training.random.unit() < *share { 0.0 } else { kept }).collect();
            let mask = Tensor::<2>::from_data(TensorData::new::<f32, _>(mask, [n, len]), &x.device());
            x * mask
        })
    }

    /// Applies a layer of one operand.
    pub(super) fn apply(&self, layer: &Layer, weights: &Weights, x: &Tensor<2>) -> Tensor<2> {
        match &layer.step {
            Step::Activation(activation) => activate(activation, x.clone()),
            Step::MaxPool(pool) => {
                let image = images(x.clone(), [pool.channels, pool.in_height, pool.in_width]);
                rows(max_pool2d(image, max_options(pool)))
            }
            _ => self.apply_affine(layer, weights, x, Sign::Signed).expect("what is left is affine"),
        }
    }

    /// Mixes a batch's statistics into the running ones.
    pub(crate) fn update_statistics(&mut self, batch: &[Statistics]) {
        for (running, new) in self.statistics.iter_mut().zip(batch) {
            let mix = |old: &mut [f32], new: &[f32]| {
                old.iter_mut().zip(new).for_each(|(old, new)| *old += BATCH_NORM_MOMENTUM * (new - *old));
            };
            mix(&mut running.mean, &new.mean);
            mix(&mut running.variance, &new.variance);
        }
    }

    /// Scores of inputs, one row of [`Self::n_classes`] each.
    ///
    /// # Errors
    /// When an input does not have the right length.
    pub fn scores(&self, inputs: &[&[f32]]) -> Result<Vec<Vec<f32>>, Error> {
        if let Some(input) = inputs.iter().find(|input| input.len() != self.n_inputs()) {
            return Err(Error::invalid(format!(
                "the classifier takes {} values, got {}",
                self.n_inputs(),
                input.len()
            )));
        }
        let weights = self.weights.valid();
        let mut scores = Vec::with_capacity(inputs.len());
        for batch in inputs.chunks(BATCH) {
            let values = floats(self.forward(&weights, batch_of(batch, self.device()), None));
            scores.extend(values.chunks(self.n_classes()).map(<[f32]>::to_vec));
        }
        Ok(scores)
    }

    /// Loss and accuracy on a data set.
    ///
    /// # Errors
    /// When the data set's shape or classes are not those of the classifier, or it is empty.
    pub fn score(&self, data: &Dataset) -> Result<Score, Error> {
        self.check_data(data)?;
        let weights = self.weights.valid();
        let indices: Vec<usize> = (0..data.len()).collect();
        let (mut loss, mut n_right) = (0.0, 0);
        for batch in indices.chunks(BATCH) {
            let (x, labels) = samples(data, batch, self.device());
            let scores = self.forward(&weights, x, None);
            loss += f64::from(cross_entropy(scores.clone(), &labels).into_scalar::<f32>()) * batch.len() as f64;
            n_right += right(&floats(scores), &labels);
        }
        let n = data.len() as f64;
        Ok(Score { loss: loss / n, accuracy: n_right as f64 / n })
    }

    /// Whether a data set fits.
    pub(crate) fn check_data(&self, data: &Dataset) -> Result<(), Error> {
        if data.is_empty() {
            return Err(Error::invalid("the data set is empty"));
        }
        if data.size() != self.n_inputs() {
            return Err(Error::invalid(format!(
                "the data have samples of shape {:?} but the network takes {:?}",
                data.shape(),
                self.input
            )));
        }
        if data.n_classes() > self.n_classes() {
            return Err(Error::invalid(format!(
                "the data have {} classes but the network has {} outputs",
                data.n_classes(),
                self.n_classes()
            )));
        }
        Ok(())
    }
}

/// The values of a tensor of floats.
pub(crate) fn floats<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec::<f32>().expect("the CPU backend holds 32-bit floats")
}

/// Inputs as rows.
pub(crate) fn batch_of(inputs: &[&[f32]], device: &Device) -> Tensor<2> {
    let n = inputs.first().map_or(0, |input| input.len());
    Tensor::from_data(TensorData::new(inputs.concat(), [inputs.len(), n]), device)
}

/// The samples with these indices as rows, and their labels.
pub(crate) fn samples(data: &Dataset, indices: &[usize], device: &Device) -> (Tensor<2>, Vec<usize>) {
    let inputs: Vec<&[f32]> = indices.iter().map(|&i| data.sample(i)).collect();
    (batch_of(&inputs, device), indices.iter().map(|&i| data.labels()[i]).collect())
}

/// Mean cross-entropy of scores, `[batch, classes]`.
pub(crate) fn cross_entropy(scores: Tensor<2>, labels: &[usize]) -> Tensor<1> {
    let indices = label_tensor(labels, &scores.device());
    log_softmax(scores, 1).gather(1, indices).mean().neg()
}

/// The same towards labels of which all classes have this share alike.
pub(crate) fn smoothed_cross_entropy(scores: Tensor<2>, labels: &[usize], smoothing: f64) -> Tensor<1> {
    if smoothing == 0.0 {
        return cross_entropy(scores, labels);
    }
    let alike = log_softmax(scores.clone(), 1).mean().neg();
    cross_entropy(scores, labels).mul_scalar(1.0 - smoothing) + alike.mul_scalar(smoothing)
}

/// Labels as a column.
pub(crate) fn label_tensor(labels: &[usize], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
    Tensor::from_data(TensorData::new(values, [labels.len(), 1]), device)
}

/// How many rows of scores have their highest at the label.
pub(crate) fn right(scores: &[f32], labels: &[usize]) -> usize {
    let n_classes = scores.len() / labels.len();
    scores.chunks(n_classes).zip(labels).filter(|(scores, label)| argmax(scores) == **label).count()
}

/// The place of the first highest score.
pub(crate) fn argmax(scores: &[f32]) -> usize {
    (0..scores.len()).fold(0, |best, k| if scores[k] > scores[best] { k } else { best })
}

fn activate(activation: &Activation, x: Tensor<2>) -> Tensor<2> {
    match activation {
        Activation::Relu => relu(x),
        Activation::LeakyRelu(slopes) => {
            let slopes: Vec<f32> = slopes.iter().map(|&slope| slope as f32).collect();
            let slope = Tensor::from_data(TensorData::new(slopes.clone(), [1, slopes.len()]), &x.device());
            x.clone().clamp_min(0.0) + x.clamp_max(0.0) * slope
        }
        Activation::Clip { lower, upper } => {
            let x = if lower.is_finite() { x.clamp_min(*lower) } else { x };
            if upper.is_finite() { x.clamp_max(*upper) } else { x }
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => tanh(x),
    }
}

fn max_options(pool: &MaxPool) -> MaxPoolOptions<2> {
    let end = |axis: usize, out: usize, size: usize| {
        let MaxPool { kernel, stride, dilation, pad, .. } = pool;
        (pad[axis], end_padding(out, kernel[axis], stride[axis], dilation[axis], pad[axis], size))
    };
    let mut options = MaxPoolOptions::new(pool.kernel).with_stride(pool.stride);
    options.padding = [end(0, pool.out_height, pool.in_height), end(1, pool.out_width, pool.in_width)];
    options.dilation = pool.dilation;
    options
}

/// Batch normalisation by the batch's own statistics, which are kept.
fn normalised(layer: &Layer, weights: &Weights, x: &Tensor<2>, training: &mut Training) -> Tensor<2> {
    let Step::BatchNorm { scale, shift, .. } = &layer.step else {
        unreachable!("asked for batch normalisations alone")
    };
    let channels = layer.shape[0];
    let [n, len] = x.dims();
    let area = len / channels;
    let by_channel = x.clone().reshape([n, channels, area]).swap_dims(0, 1).reshape([channels, n * area]);
    let mean = by_channel.clone().mean_dim(1);
    let centred = by_channel - mean.clone();
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    let count = (n * area) as f32;
    let unbiased = variance.clone().inner().mul_scalar(count / (count - 1.0).max(1.0));
    training.statistics.push(Statistics { mean: floats(mean.clone().inner()), variance: floats(unbiased) });
    let moments = Moments { mean: mean.reshape([channels]), variance: variance.clone().reshape([channels]) };
    training.moments.push(moments);
    let vector = |at: usize| weights.vectors[at].val().reshape([channels, 1]);
    let value = centred / variance.add_scalar(BATCH_NORM_EPSILON).sqrt() * vector(*scale) + vector(*shift);
    value.reshape([channels, n, area]).swap_dims(0, 1).reshape([n, len])
}
