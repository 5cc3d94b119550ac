//! Networks whose weights can be trained.

mod affine;
mod build;
mod convert;
mod forward;
mod interval;
mod record;
mod state;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use network::{Activation, Conv, MaxPool};

pub use forward::Score;
pub(crate) use forward::{Training, argmax, batch_of, cross_entropy, floats, right, samples, smoothed_cross_entropy};
pub(crate) use interval::Interval;

use crate::{Backend, Error};

/// A network with trainable weights, on burn's CPU backend until it is moved.
///
/// It is made from an [`Architecture`](crate::Architecture) with random weights, or from a [`Network`](network::Network), and becomes a
/// network again; batch normalisations are folded then.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// The shape of an input.
    input: Vec<usize>,
    /// Layer `k` computes value `k + 1`; value 0 is the input, the last one the scores.
    layers: Vec<Layer>,
    pub(crate) weights: Weights,
    /// Running statistics of batch normalisations.
    statistics: Vec<Statistics>,
    /// Matrices that are not trained.
    fixed: Vec<Fixed>,
    /// Values that are dropped while training, each with its probability.
    dropouts: Vec<(usize, f64)>,
    /// Moments of a batch that batch normalisations go by instead of running statistics.
    moments: Vec<Moments>,
    device: Device,
}

/// One operation.
#[derive(Debug, Clone)]
struct Layer {
    /// Its name in state dictionaries.
    name: String,
    step: Step,
    /// The values that it reads.
    inputs: Vec<usize>,
    /// The shape of its value.
    shape: Vec<usize>,
}

/// What a layer computes; numbers are places in the lists of [`Weights`] and [`Classifier`].
#[derive(Debug, Clone)]
enum Step {
    Dense {
        weight: usize,
        bias: usize,
    },
    /// The convolution holds sizes only.
    Conv {
        weight: usize,
        bias: usize,
        sizes: Conv,
    },
    /// A matrix that is not trained.
    Fixed(usize),
    BatchNorm {
        scale: usize,
        shift: usize,
        statistics: usize,
    },
    Activation(Activation),
    MaxPool(MaxPool),
    /// Windows as those of a max-pool; padding counts as zeros.
    AveragePool(MaxPool),
    Add,
}

/// Everything that is trained.
#[derive(Module, Debug)]
pub(crate) struct Weights {
    /// Biases, and scales and shifts of batch normalisations.
    vectors: Vec<Param<Tensor<1>>>,
    /// `[n_in, n_out]`.
    matrices: Vec<Param<Tensor<2>>>,
    /// `[out_channels, in_channels / groups, height, width]`.
    pub(crate) kernels: Vec<Param<Tensor<4>>>,
}

impl Weights {
    /// The sum of the squares of all differences.
    pub(crate) fn squared_distance(&self, other: &Self) -> Tensor<1> {
        fn of<const D: usize>(a: &[Param<Tensor<D>>], b: &[Param<Tensor<D>>]) -> Vec<Tensor<1>> {
            let pairs = a.iter().zip(b).map(|(a, b)| a.val() - b.val());
            pairs.map(|difference| (difference.clone() * difference).sum()).collect()
        }
        let parts =
            [of(&self.vectors, &other.vectors), of(&self.matrices, &other.matrices), of(&self.kernels, &other.kernels)];
        parts.into_iter().flatten().reduce(|sum, part| sum + part).expect("a classifier has weights")
    }
}

/// What a batch normalisation subtracts and divides by outside of training; one value per channel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Statistics {
    /// The mean of every channel.
    #[cfg(test)]
    pub(crate) fn means(&self) -> &[f32] {
        &self.mean
    }

    /// Both together, the other with this share of the samples.
    pub(crate) fn mixed(&self, other: &Self, share: f32) -> Self {
        let mix = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a + share * (b - a)).collect();
        Self { mean: mix(&self.mean, &other.mean), variance: mix(&self.variance, &other.variance) }
    }
}

/// What a batch normalisation makes of a batch, `[channels]` each, with the gradients of both.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    mean: Tensor<1>,
    variance: Tensor<1>,
}

/// An affine map that is not trained.
#[derive(Debug, Clone)]
enum Fixed {
    /// A factor and an offset for every value.
    Scale { factor: Vec<f32>, offset: Vec<f32> },
    /// `[n_in, n_out]` and an offset.
    Matrix { matrix: Vec<f32>, offset: Vec<f32> },
}

/// Added to variances.
const BATCH_NORM_EPSILON: f64 = 1e-5;
/// The share of a batch's statistics in the new running ones.
const BATCH_NORM_MOMENTUM: f32 = 0.1;

impl Classifier {
    /// The shape of an input.
    pub fn input_shape(&self) -> &[usize] {
        &self.input
    }

    /// Number of input values.
    pub fn n_inputs(&self) -> usize {
        self.input.iter().product()
    }

    /// Number of classes.
    pub fn n_classes(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.shape.iter().product())
    }

    /// Number of trainable values.
    pub fn n_weights(&self) -> usize {
        self.weights.num_params()
    }

    /// Multiply-adds of a forward pass.
    pub fn multiply_adds(&self) -> usize {
        let of = |layer: &Layer| {
            let n_in = self.value_len(layer.inputs[0]);
            let n_out: usize = layer.shape.iter().product();
            match &layer.step {
                Step::Dense { .. } => n_in * n_out,
                Step::Conv { sizes, .. } => {
                    n_out * sizes.in_channels / sizes.groups * sizes.kernel.iter().product::<usize>()
                }
                Step::Fixed(at) => match &self.fixed[*at] {
                    Fixed::Scale { .. } => n_out,
                    Fixed::Matrix { matrix, .. } => matrix.len(),
                },
                Step::AveragePool(pool) => n_out * pool.kernel.iter().product::<usize>(),
                Step::BatchNorm { .. } => n_out,
                Step::Activation(_) | Step::MaxPool(_) | Step::Add => 0,
            }
        };
        self.layers.iter().map(of).sum()
    }

    /// The same classifier with weights of its own: gradients do not reach those it was made from, but bear their names.
    pub(crate) fn forked(&self) -> Self {
        Self { weights: self.weights.clone().fork(&self.training_device()), ..self.clone() }
    }

    /// The same classifier, normalised by what a batch's forward pass has found.
    ///
    /// Bounds that are trained go by it: by running statistics, which lag behind, smaller weights would look like smaller outputs, and
    /// all weights would shrink.
    pub(crate) fn of_batch(&self, training: &Training) -> Self {
        Self { moments: training.moments.clone(), ..self.clone() }
    }

    /// Where weights are and what is computed with them, without gradients.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// The same with gradients.
    pub(crate) fn training_device(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// The same classifier on another backend.
    ///
    /// # Errors
    /// When this build has no such backend.
    pub fn moved_to(&self, backend: Backend) -> Result<Self, Error> {
        let device = backend.device()?;
        Ok(Self { weights: self.weights.clone().fork(&device.clone().autodiff()), device, ..self.clone() })
    }

    /// The size of a value.
    fn value_len(&self, value: usize) -> usize {
        self.value_shape(value).iter().product()
    }

    fn value_shape(&self, value: usize) -> &[usize] {
        if value == 0 { &self.input } else { &self.layers[value - 1].shape }
    }
}
