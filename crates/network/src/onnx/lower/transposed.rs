use super::super::operator::{Floats, Operator, Value};
use super::super::shape::n_elements;
use super::Lowering;
use super::convolution::{channel_bias, groups};
use super::rows::{Rows, weight_error};
use super::window::{AutoPad, WindowAttributes, channels};
use crate::{Affine, Error, LinearMap, Sparse};

/// The geometry of a transposed convolution.
#[derive(Debug)]
struct Transposed {
    attributes: WindowAttributes,
    /// Channels per group of the input and of the output.
    per_group: [usize; 2],
    n_groups: usize,
    input: [usize; 2],
    output: [usize; 2],
}

impl Lowering {
    /// `ConvTranspose` of an image or a signal, as a sparse matrix.
    pub(super) fn conv_transpose(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=3)?;
        let (x, weight) = (op.computed(0)?, op.floats(1)?);
        let (in_channels, spatial) = channels(op, &x.shape)?;
        let n_groups = groups(op)?;
        let [weight_channels, out_per_group, kernel @ ..] = weight.shape else {
            return Err(op.mismatch("a weight of three or four dimensions", format!("{:?}", weight.shape)));
        };
        if kernel.len() != spatial.len() || *weight_channels != in_channels || !in_channels.is_multiple_of(n_groups) {
            let got = format!("input {:?}, weight {:?}, {n_groups} groups", x.shape, weight.shape);
            return Err(op.mismatch("an input whose channels the weight reads, in groups", got));
        }
        let attributes = WindowAttributes::read(op, kernel)?;
        if matches!(attributes.auto_pad, AutoPad::SameUpper | AutoPad::SameLower) || op.ints("output_shape")?.is_some()
        {
            return Err(op.unsupported("with auto_pad SAME or output_shape; export it with explicit pads"));
        }
        let extra = op.ints("output_padding")?.map_or_else(|| vec![0; spatial.len()], <[i64]>::to_vec);
        let n_skipped = 2 - spatial.len();
        let (mut input, mut output) = ([1; 2], [1; 2]);
        for axis in n_skipped..2 {
            input[axis] = spatial[axis - n_skipped];
            let extra = extra.get(axis - n_skipped).and_then(|&n| usize::try_from(n).ok());
            let full = extra
                .and_then(|extra| (input[axis] - 1).checked_mul(attributes.stride[axis])?.checked_add(extra))
                .and_then(|n| n.checked_add(attributes.extent(axis)));
            output[axis] = full
                .and_then(|n| n.checked_sub(attributes.begin[axis] + attributes.end[axis]))
                .filter(|&n| n > 0 && extra.is_some_and(|e| e < attributes.stride[axis].max(attributes.dilation[axis])))
                .ok_or_else(|| op.mismatch("pads and output_padding that leave an image", format!("{spatial:?}")))?;
        }
        let geometry =
            Transposed { attributes, per_group: [in_channels / n_groups, *out_per_group], n_groups, input, output };
        let out_channels = out_per_group.checked_mul(n_groups);
        let mut shape = vec![1, out_channels.unwrap_or(usize::MAX)];
        shape.extend(&output[n_skipped..]);
        let n_out = self.charge_shape(op, &shape)?;
        // Every input pixel meets every weight of its channel at most once.
        self.charge(op, n_elements(weight.shape).and_then(|n| n.checked_mul(input[0])?.checked_mul(input[1])))?;
        let area = output[0] * output[1];
        let (bias, bias_error) = channel_bias(op, shape[1], area)?;
        let (map, absolute) = geometry.matrix(&weight, n_out);
        let error = weight_error(0.0, absolute, bias_error);
        self.affine(op, x, Affine { map: LinearMap::Sparse(map), bias, error }, shape)
    }
}

impl Transposed {
    /// The matrix and the largest coefficient error of each row.
    fn matrix(&self, weight: &Floats, n_out: usize) -> (Sparse, Vec<f64>) {
        let [in_per_group, out_per_group] = self.per_group;
        let [kernel_height, kernel_width] = self.attributes.kernel;
        let mut rows = Rows::new(self.n_groups * in_per_group * self.input[0] * self.input[1]);
        let mut absolute = Vec::with_capacity(n_out);
        for channel in 0..self.n_groups * out_per_group {
            let (group, in_group) = (channel / out_per_group, channel % out_per_group);
            for y in 0..self.output[0] {
                let vertical = self.sources(0, y);
                for x in 0..self.output[1] {
                    let horizontal = self.sources(1, x);
                    let mut row_error = 0f64;
                    for c in group * in_per_group..(group + 1) * in_per_group {
                        for &(row, ky) in &vertical {
                            for &(column, kx) in &horizontal {
                                let w = ((c * out_per_group + in_group) * kernel_height + ky) * kernel_width + kx;
                                rows.entry((c * self.input[0] + row) * self.input[1] + column, weight.values[w]);
                                row_error = row_error.max(weight.error_of(w));
                            }
                        }
                    }
                    rows.end();
                    absolute.push(row_error);
                }
            }
        }
        (rows.finish(), absolute)
    }

    /// The (input, kernel) places along an axis that meet in output `place`: `place = input · stride + kernel · dilation − begin`.
    fn sources(&self, axis: usize, place: usize) -> Vec<(usize, usize)> {
        let attributes = &self.attributes;
        let shifted = place + attributes.begin[axis];
        // Falling kernel places are rising input places.
        (0..attributes.kernel[axis])
            .rev()
            .filter_map(|k| {
                let left = shifted.checked_sub(k * attributes.dilation[axis])?;
                let source = left / attributes.stride[axis];
                (left.is_multiple_of(attributes.stride[axis]) && source < self.input[axis]).then_some((source, k))
            })
            .collect()
    }
}
