use super::super::operator::{Operator, Value};
use super::super::shape::n_elements;
use super::Lowering;
use super::rows::weight_error;
use super::window::{Window, channels};
use crate::{Affine, Conv, Error, LinearMap};

impl Lowering {
    /// `Conv` of an image or a signal.
    pub(super) fn conv(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=3)?;
        let (x, weight) = (op.computed(0)?, op.floats(1)?);
        let (in_channels, spatial) = channels(op, &x.shape)?;
        let [out_channels, per_group, kernel @ ..] = weight.shape else {
            return Err(op.mismatch("a weight of three or four dimensions", format!("{:?}", weight.shape)));
        };
        let groups = groups(op)?;
        let fits = kernel.len() == spatial.len()
            && per_group.checked_mul(groups) == Some(in_channels)
            && out_channels.is_multiple_of(groups);
        if !fits {
            let got = format!("input {:?}, weight {:?}, {groups} groups", x.shape, weight.shape);
            return Err(op.mismatch("an input whose channels the weight reads, in groups", got));
        }
        let window = Window::new(op, spatial, kernel, false)?;
        let shape = window.result_shape(*out_channels);
        self.charge(op, n_elements(weight.shape))?;
        let n_out = self.charge_shape(op, &shape)?;
        let area = window.output[0] * window.output[1];
        let (bias, bias_error) = channel_bias(op, *out_channels, area)?;
        let per_channel = weight.values.len() / (*out_channels).max(1);
        let absolute = |o: usize| {
            let first = o / area * per_channel;
            (first..first + per_channel).map(|i| weight.error_of(i)).fold(0.0, f64::max)
        };
        let absolute = if weight.error.is_empty() { Vec::new() } else { (0..n_out).map(absolute).collect() };
        let conv = Conv {
            in_channels,
            in_height: window.input[0],
            in_width: window.input[1],
            out_channels: *out_channels,
            out_height: window.output[0],
            out_width: window.output[1],
            kernel: window.kernel,
            stride: window.stride,
            dilation: window.dilation,
            pad: window.begin,
            groups,
            weight: weight.values.to_vec(),
        };
        let error = weight_error(0.0, absolute, bias_error);
        self.affine(op, x, Affine { map: LinearMap::Conv(conv), bias, error }, shape)
    }
}

/// The attribute `group`.
pub(super) fn groups(op: &Operator) -> Result<usize, Error> {
    let groups = op.int("group", 1)?;
    usize::try_from(groups)
        .ok()
        .filter(|&groups| groups > 0)
        .ok_or_else(|| op.mismatch("a positive number of groups", groups.to_string()))
}

/// The operand 2, one value per channel, and its error, repeated for every pixel; zeros when it is left out.
pub(super) fn channel_bias(op: &Operator, channels: usize, area: usize) -> Result<(Vec<f64>, Vec<f64>), Error> {
    if op.optional(2).is_none() {
        return Ok((vec![0.0; channels * area], Vec::new()));
    }
    let bias = op.floats(2)?;
    if bias.shape != [channels] {
        return Err(op.mismatch(format!("a bias of {channels} values"), format!("shape {:?}", bias.shape)));
    }
    let spread = |values: &[f64]| values.iter().flat_map(|&value| std::iter::repeat_n(value, area)).collect();
    Ok((spread(bias.values), spread(bias.error)))
}
