use burn::tensor::module::{avg_pool2d, conv_transpose2d, conv2d};
use burn::tensor::ops::{AvgPoolOptions, ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, TensorData};
use network::{Conv, MaxPool};

use super::{BATCH_NORM_EPSILON, Classifier, Fixed, Layer, Moments, Statistics, Step, Weights};

/// Which linear part an affine layer applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The weights, and the bias.
    Signed,
    /// The absolute values of the weights, and no bias: what a radius goes through.
    Absolute,
}

/// Rows of values as images.
pub(super) fn images(x: Tensor<2>, [channels, height, width]: [usize; 3]) -> Tensor<4> {
    let [n, _] = x.dims();
    x.reshape([n, channels, height, width])
}

/// Images as rows of values.
pub(super) fn rows(x: Tensor<4>) -> Tensor<2> {
    let [n, channels, height, width] = x.dims();
    x.reshape([n, channels * height * width])
}

/// Padding after the last row or column, from the output's size.
pub(super) fn end_padding(out: usize, kernel: usize, stride: usize, dilation: usize, pad: usize, size: usize) -> usize {
    ((out - 1) * stride + dilation * (kernel - 1) + 1).saturating_sub(size + pad)
}

fn conv_options(sizes: &Conv) -> ConvOptions<2> {
    let end = |axis: usize, out: usize, size: usize| {
        let Conv { kernel, stride, dilation, pad, .. } = sizes;
        (pad[axis], end_padding(out, kernel[axis], stride[axis], dilation[axis], pad[axis], size))
    };
    let padding = [end(0, sizes.out_height, sizes.in_height), end(1, sizes.out_width, sizes.in_width)];
    ConvOptions::new_with_padding(sizes.stride, padding, sizes.dilation, sizes.groups)
}

fn average_options(pool: &MaxPool) -> AvgPoolOptions<2> {
    AvgPoolOptions::new(pool.kernel).with_stride(pool.stride).with_padding(pool.pad)
}

impl Classifier {
    /// Applies an affine layer of one operand to rows of values; `None` for a layer that is not affine.
    ///
    /// Batch normalisation uses its running statistics.
    pub(super) fn apply_affine(
        &self,
        layer: &Layer,
        weights: &Weights,
        x: &Tensor<2>,
        sign: Sign,
    ) -> Option<Tensor<2>> {
        let device = x.device();
        let x = x.clone();
        let is_absolute = sign == Sign::Absolute;
        let value = match &layer.step {
            Step::Dense { weight, bias } => {
                let matrix = weights.matrices[*weight].val();
                if is_absolute {
                    x.matmul(matrix.abs())
                } else {
                    x.matmul(matrix) + weights.vectors[*bias].val().unsqueeze()
                }
            }
            Step::Conv { weight, bias, sizes } => {
                let kernel = weights.kernels[*weight].val();
                let kernel = if is_absolute { kernel.abs() } else { kernel };
                let bias = (!is_absolute).then(|| weights.vectors[*bias].val());
                let image = images(x, [sizes.in_channels, sizes.in_height, sizes.in_width]);
                rows(conv2d(image, kernel, bias, conv_options(sizes)))
            }
            Step::AveragePool(pool) => {
                rows(avg_pool2d(images(x, [pool.channels, pool.in_height, pool.in_width]), average_options(pool)))
            }
            Step::Fixed(at) => match &self.fixed[*at] {
                Fixed::Scale { factor, offset } => {
                    let factor = row(factor, &device);
                    if is_absolute { x * factor.abs() } else { x * factor + row(offset, &device) }
                }
                Fixed::Matrix { matrix, offset } => {
                    let matrix = full(matrix, offset.len(), &device);
                    if is_absolute { x.matmul(matrix.abs()) } else { x.matmul(matrix) + row(offset, &device) }
                }
            },
            Step::BatchNorm { .. } => {
                let (factor, offset) = self.normalisation(layer, weights, &device)?;
                if is_absolute { x * factor.abs() } else { x * factor + offset }
            }
            _ => return None,
        };
        Some(value)
    }

    /// The factor and the offset, `[1, n]`, of a batch normalisation by its running statistics, or the moments of a batch.
    fn normalisation(&self, layer: &Layer, weights: &Weights, device: &Device) -> Option<(Tensor<2>, Tensor<2>)> {
        let Step::BatchNorm { scale, shift, statistics } = &layer.step else { return None };
        let channels = layer.shape[0];
        let area: usize = layer.shape[1..].iter().product();
        let vector = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [channels]), device);
        let Moments { mean, variance } = self.moments.get(*statistics).cloned().unwrap_or_else(|| {
            let Statistics { mean, variance } = &self.statistics[*statistics];
            Moments { mean: vector(mean), variance: vector(variance) }
        });
        let factor = weights.vectors[*scale].val() / variance.add_scalar(BATCH_NORM_EPSILON).sqrt();
        let offset = weights.vectors[*shift].val() - factor.clone() * mean;
        let spread = |x: Tensor<1>| x.reshape([channels, 1]).expand([channels, area]).reshape([1, channels * area]);
        Some((spread(factor), spread(offset)))
    }

    /// Takes coefficients of a layer's value, `[batch, rows, n_out]`, to coefficients of its operand and adds the bias's share to `constant`.
    ///
    /// `None` for a layer that is not affine.
    pub(super) fn pull_back(
        &self,
        layer: &Layer,
        weights: &Weights,
        a: &Tensor<3>,
        constant: &mut Tensor<2>,
    ) -> Option<Tensor<3>> {
        let device = a.device();
        let [n, m, n_out] = a.dims();
        let n_in = self.value_len(layer.inputs[0]);
        let flat = a.clone().reshape([n * m, n_out]);
        // A channel's coefficients summed: what multiplies its bias.
        let per_channel = |channels: usize| {
            flat.clone().reshape([n * m, channels, n_out / channels]).sum_dim(2).reshape([n * m, channels])
        };
        let add = |share: Tensor<2>, constant: &mut Tensor<2>| {
            *constant = constant.clone() + share.sum_dim(1).reshape([n, m]);
        };
        let back: Tensor<2> = match &layer.step {
            Step::Dense { weight, bias } => {
                add(flat.clone() * weights.vectors[*bias].val().unsqueeze(), constant);
                flat.matmul(weights.matrices[*weight].val().transpose())
            }
            Step::Conv { weight, bias, sizes } => {
                add(per_channel(sizes.out_channels) * weights.vectors[*bias].val().unsqueeze(), constant);
                transposed(flat, weights.kernels[*weight].val(), sizes)
            }
            Step::AveragePool(pool) => {
                let area = (pool.kernel[0] * pool.kernel[1]) as f32;
                let kernel = Tensor::<4>::full([pool.channels, 1, pool.kernel[0], pool.kernel[1]], 1.0 / area, &device);
                transposed(flat, kernel, &average_as_conv(pool))
            }
            Step::Fixed(at) => match &self.fixed[*at] {
                Fixed::Scale { factor, offset } => {
                    add(flat.clone() * row(offset, &device), constant);
                    flat * row(factor, &device)
                }
                Fixed::Matrix { matrix, offset } => {
                    add(flat.clone() * row(offset, &device), constant);
                    flat.matmul(full(matrix, offset.len(), &device).transpose())
                }
            },
            Step::BatchNorm { .. } => {
                let (factor, offset) = self.normalisation(layer, weights, &device)?;
                add(flat.clone() * offset, constant);
                flat * factor
            }
            _ => return None,
        };
        Some(back.reshape([n, m, n_in]))
    }
}

/// An average pool as the convolution that it is; its weights are left out.
pub(super) fn average_as_conv(pool: &MaxPool) -> Conv {
    Conv {
        in_channels: pool.channels,
        in_height: pool.in_height,
        in_width: pool.in_width,
        out_channels: pool.channels,
        out_height: pool.out_height,
        out_width: pool.out_width,
        kernel: pool.kernel,
        stride: pool.stride,
        dilation: [1; 2],
        pad: pool.pad,
        groups: pool.channels,
        weight: Vec::new(),
    }
}

/// The transpose of a convolution, applied to rows of values.
fn transposed(x: Tensor<2>, kernel: Tensor<4>, sizes: &Conv) -> Tensor<2> {
    let image = images(x, [sizes.out_channels, sizes.out_height, sizes.out_width]);
    // What the transposed windows do not reach has to be padded to the operand's size.
    let missing = |axis: usize, out: usize, size: usize| {
        let reach = (out - 1) * sizes.stride[axis] + sizes.dilation[axis] * (sizes.kernel[axis] - 1) + 1;
        (size + 2 * sizes.pad[axis]).saturating_sub(reach)
    };
    let rest = [missing(0, sizes.out_height, sizes.in_height), missing(1, sizes.out_width, sizes.in_width)];
    let options = ConvTransposeOptions::new(sizes.stride, sizes.pad, rest, sizes.dilation, sizes.groups);
    let image = conv_transpose2d(image, kernel, None, options);
    // Windows may reach further below and to the right than they are padded above and to the left.
    let [n, channels, ..] = image.dims();
    rows(image.slice([0..n, 0..channels, 0..sizes.in_height, 0..sizes.in_width]))
}

fn row(values: &[f32], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), device)
}

fn full(values: &[f32], n_out: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / n_out, n_out]), device)
}
