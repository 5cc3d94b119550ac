use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use network::{Activation, Conv, MaxPool};

use super::{Classifier, Layer, Statistics, Step, Weights};
use crate::Error;
use crate::architecture::{Architecture, ConvSpec, LayerSpec, PoolSpec, misfit, out_size};
use crate::random::Random;

/// Layers as they are added.
struct Builder {
    classifier: Classifier,
    random: Random,
}

impl Classifier {
    /// A classifier of inputs of this shape (channels, height, width) with random weights.
    ///
    /// Weights and biases are uniform in `±1/√n` for a neuron of `n` inputs, as in `PyTorch`.
    ///
    /// # Errors
    /// When sizes do not fit; the message names the layer.
    pub fn new(architecture: &Architecture, input: [usize; 3], seed: u64) -> Result<Self, Error> {
        if input.contains(&0) {
            return Err(Error::invalid(format!("an input of shape {input:?} holds no values")));
        }
        let mut builder = Builder { classifier: Self::empty(input.to_vec()), random: Random::new(seed, 0x1417) };
        let value = builder.stack(&architecture.layers, 0, "sequential")?;
        let mut classifier = builder.classifier;
        if !matches!(architecture.layers.last(), Some(LayerSpec::Dense(_))) || value != classifier.layers.len() {
            return Err(Error::invalid("the last layer must be dense: its outputs are the classes' scores"));
        }
        classifier.input = input.to_vec();
        Ok(classifier)
    }

    pub(super) fn empty(input: Vec<usize>) -> Self {
        let weights = Weights { vectors: Vec::new(), matrices: Vec::new(), kernels: Vec::new() };
        Self {
            input,
            layers: Vec::new(),
            weights,
            statistics: Vec::new(),
            fixed: Vec::new(),
            dropouts: Vec::new(),
            moments: Vec::new(),
            device: Device::flex(),
        }
    }

    pub(super) fn push(&mut self, name: String, step: Step, inputs: Vec<usize>, shape: Vec<usize>) -> usize {
        self.layers.push(Layer { name, step, inputs, shape });
        self.layers.len()
    }

    pub(super) fn push_vector(&mut self, values: Vec<f32>) -> usize {
        let shape = [values.len()];
        self.weights.vectors.push(parameter(values, shape, &self.training_device()));
        self.weights.vectors.len() - 1
    }

    pub(super) fn push_matrix(&mut self, values: Vec<f32>, shape: [usize; 2]) -> usize {
        self.weights.matrices.push(parameter(values, shape, &self.training_device()));
        self.weights.matrices.len() - 1
    }

    pub(super) fn push_kernel(&mut self, values: Vec<f32>, shape: [usize; 4]) -> usize {
        self.weights.kernels.push(parameter(values, shape, &self.training_device()));
        self.weights.kernels.len() - 1
    }
}

/// A trainable tensor.
pub(super) fn parameter<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Param::from_data(TensorData::new(values, shape), device)
}

impl Builder {
    /// Adds layers one after another; returns the last value.
    fn stack(&mut self, layers: &[LayerSpec], mut value: usize, prefix: &str) -> Result<usize, Error> {
        for (i, layer) in layers.iter().enumerate() {
            value = self.layer(layer, value, format!("{prefix}.{i}"))?;
        }
        Ok(value)
    }

    fn layer(&mut self, layer: &LayerSpec, value: usize, name: String) -> Result<usize, Error> {
        let shape = self.classifier.value_shape(value).to_vec();
        let len: usize = shape.iter().product();
        match layer {
            LayerSpec::Dense(n_out) => {
                if *n_out == 0 {
                    return Err(Error::invalid(format!("layer {name}: a dense layer has at least one output")));
                }
                let bound = 1.0 / (len as f64).sqrt();
                let weight = self.uniform(len * n_out, bound);
                let weight = self.classifier.push_matrix(weight, [len, *n_out]);
                let bias = self.uniform(*n_out, bound);
                let bias = self.classifier.push_vector(bias);
                Ok(self.classifier.push(name, Step::Dense { weight, bias }, vec![value], vec![*n_out]))
            }
            LayerSpec::Conv(spec) => self.conv(spec, value, name, &shape),
            LayerSpec::BatchNorm => {
                let scale = self.classifier.push_vector(vec![1.0; shape[0]]);
                let shift = self.classifier.push_vector(vec![0.0; shape[0]]);
                let statistics = Statistics { mean: vec![0.0; shape[0]], variance: vec![1.0; shape[0]] };
                self.classifier.statistics.push(statistics);
                let statistics = self.classifier.statistics.len() - 1;
                Ok(self.classifier.push(name, Step::BatchNorm { scale, shift, statistics }, vec![value], shape))
            }
            LayerSpec::Relu => Ok(self.classifier.push(name, Step::Activation(Activation::Relu), vec![value], shape)),
            LayerSpec::Clip([lower, upper]) => {
                if lower.partial_cmp(upper) != Some(std::cmp::Ordering::Less) {
                    return Err(Error::invalid(format!("layer {name}: the ends of a clip go up")));
                }
                let clip = Activation::Clip { lower: *lower, upper: *upper };
                Ok(self.classifier.push(name, Step::Activation(clip), vec![value], shape))
            }
            LayerSpec::Dropout(share) => self.dropout(*share, value, &name),
            LayerSpec::MaxPool(spec) => {
                let pool = windows(spec, &name, &shape)?;
                let out = vec![pool.channels, pool.out_height, pool.out_width];
                Ok(self.classifier.push(name, Step::MaxPool(pool), vec![value], out))
            }
            LayerSpec::AveragePool(spec) => {
                let pool = windows(spec, &name, &shape)?;
                let out = vec![pool.channels, pool.out_height, pool.out_width];
                Ok(self.classifier.push(name, Step::AveragePool(pool), vec![value], out))
            }
            LayerSpec::Residual { body, shortcut } => {
                let first = self.stack(body, value, &format!("{name}.body"))?;
                let second = self.stack(shortcut, value, &format!("{name}.shortcut"))?;
                let (a, b) = (self.classifier.value_shape(first), self.classifier.value_shape(second));
                if a != b {
                    return Err(Error::invalid(format!(
                        "layer {name}: the body has shape {a:?} but the shortcut {b:?}; they are added"
                    )));
                }
                let shape = a.to_vec();
                Ok(self.classifier.push(name, Step::Add, vec![first, second], shape))
            }
            LayerSpec::Flatten => Ok(value),
        }
    }

    fn dropout(&mut self, share: f64, value: usize, name: &str) -> Result<usize, Error> {
        if !(0.0..1.0).contains(&share) {
            return Err(Error::invalid(format!("layer {name}: the probability of dropout is at least 0 and below 1")));
        }
        // What is dropped is a value, not what one of its readers sees.
        if name.ends_with("body.0") || name.ends_with("shortcut.0") {
            return Err(Error::invalid(format!("layer {name}: dropout comes after another layer of its branch")));
        }
        self.classifier.dropouts.push((value, share));
        Ok(value)
    }

    fn conv(&mut self, spec: &ConvSpec, value: usize, name: String, shape: &[usize]) -> Result<usize, Error> {
        let &[in_channels, in_height, in_width] = shape else {
            return Err(misfit(&name, "channels, rows and columns before a convolution", shape));
        };
        let size = |size| out_size(size, spec.kernel, spec.stride, spec.padding);
        let (Some(out_height), Some(out_width), true) = (size(in_height), size(in_width), spec.channels > 0) else {
            return Err(misfit(&name, &format!("a convolution that fits ({spec:?})"), shape));
        };
        let fan_in = in_channels * spec.kernel * spec.kernel;
        let bound = 1.0 / (fan_in as f64).sqrt();
        let weight = self.uniform(spec.channels * fan_in, bound);
        let weight = self.classifier.push_kernel(weight, [spec.channels, in_channels, spec.kernel, spec.kernel]);
        let bias = self.uniform(spec.channels, bound);
        let bias = self.classifier.push_vector(bias);
        let sizes = Conv {
            in_channels,
            in_height,
            in_width,
            out_channels: spec.channels,
            out_height,
            out_width,
            kernel: [spec.kernel; 2],
            stride: [spec.stride; 2],
            dilation: [1; 2],
            pad: [spec.padding; 2],
            groups: 1,
            weight: Vec::new(),
        };
        let out = vec![spec.channels, out_height, out_width];
        Ok(self.classifier.push(name, Step::Conv { weight, bias, sizes }, vec![value], out))
    }

    fn uniform(&mut self, n: usize, bound: f64) -> Vec<f32> {
        (0..n).map(|_| self.random.between(-bound, bound) as f32).collect()
    }
}

fn windows(spec: &PoolSpec, name: &str, shape: &[usize]) -> Result<MaxPool, Error> {
    let &[channels, in_height, in_width] = shape else {
        return Err(misfit(name, "channels, rows and columns before a pool", shape));
    };
    let stride = spec.stride.unwrap_or(spec.size);
    let size = |size| out_size(size, spec.size, stride, spec.padding).filter(|_| 2 * spec.padding <= spec.size);
    let (Some(out_height), Some(out_width)) = (size(in_height), size(in_width)) else {
        let expected = format!("windows that fit, padded by at most half their size ({spec:?})");
        return Err(misfit(name, &expected, shape));
    };
    Ok(MaxPool {
        channels,
        in_height,
        in_width,
        out_height,
        out_width,
        kernel: [spec.size; 2],
        stride: [stride; 2],
        dilation: [1; 2],
        pad: [spec.padding; 2],
    })
}
