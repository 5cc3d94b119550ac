use super::super::operator::{Operator, Value};
use super::Lowering;
use super::rows::{Rows, weight_error};
use crate::rounding::{TINY, add_up, mul_up, two_product, two_sum};
use crate::{Affine, Error, ErrorKind, LinearMap};

/// A bound on the relative error of `scale / sqrt(variance + epsilon)`.
///
/// The sum errs by one unit roundoff u = 2⁻⁵³, of which the root keeps half; root and quotient err by one each: 2.5 u and
/// terms of second order, less than 4 u.
const FOLDED_SCALE: f64 = 2.0 * f64::EPSILON;

impl Lowering {
    /// `BatchNormalization` as it is used for inference: one scale and one shift per channel.
    pub(super) fn batch_normalization(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(5..=5)?;
        let is_training = if op.opset < 7 { !op.flag("is_test", false)? } else { op.flag("training_mode", false)? };
        if is_training || op.n_outputs() > 1 {
            return Err(op.unsupported("in training mode; export the model for inference"));
        }
        if op.opset < 9 && !op.flag("spatial", true)? {
            return Err(op.unsupported("with spatial = 0"));
        }
        op.float("momentum", 0.9)?;
        let epsilon = op.float("epsilon", f64::from(1e-5f32))?;
        let x = op.computed(0)?;
        let [_, n_channels, spatial @ ..] = x.shape.as_slice() else {
            return Err(op.mismatch("a batch of channels", format!("shape {:?}", x.shape)));
        };
        for i in 1..5 {
            let shape = op.exact_floats(i)?.shape;
            if shape != [*n_channels] {
                return Err(op.mismatch(format!("{n_channels} values in each operand"), format!("shape {shape:?}")));
            }
        }
        let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|i| op.exact_floats(i).expect("just read").values);
        let channels: Vec<Channel> = (0..*n_channels)
            .map(|c| Channel::fold(scale[c], shift[c], mean[c], variance[c], epsilon))
            .collect::<Option<_>>()
            .ok_or_else(|| ErrorKind::NotFinite { node: op.name().into(), what: "the folded scale".into() })?;

        let n = self.charge_shape(op, &x.shape)?;
        let n_pixels: usize = spatial.iter().product();
        let channel = |i: usize| &channels[i / n_pixels % n_channels];
        let map = LinearMap::Sparse(Rows::single(n, (0..n).map(|i| (i, channel(i).scale))));
        let bias = (0..n).map(|i| channel(i).shift).collect();
        let relative = if channels.iter().any(|channel| channel.scale != 0.0) { FOLDED_SCALE } else { 0.0 };
        let error = weight_error(
            relative,
            (0..n).map(|i| channel(i).underflow).collect(),
            (0..n).map(|i| channel(i).shift_error).collect(),
        );
        self.affine(op, x, Affine { map, bias, error }, x.shape.clone())
    }
}

/// What one channel's normalisation folds to.
struct Channel {
    scale: f64,
    shift: f64,
    /// How far an underflowing `scale` may be from the real one, beyond [`FOLDED_SCALE`].
    underflow: f64,
    shift_error: f64,
}

impl Channel {
    /// `scale/√(variance + ε) · x + (shift − mean · scale/√(variance + ε))`; `None` when that is not a finite function.
    fn fold(scale: f64, shift: f64, mean: f64, variance: f64, epsilon: f64) -> Option<Self> {
        let folded = scale / (variance + epsilon).sqrt();
        if variance + epsilon <= 0.0 || !folded.is_finite() {
            return None;
        }
        let underflow = if scale == 0.0 || folded.is_normal() { 0.0 } else { TINY };
        let (product, product_error) = two_product(mean, folded);
        let (difference, difference_error) = two_sum(shift, -product);
        let scale_error = add_up(mul_up(folded.abs(), FOLDED_SCALE), underflow);
        let shift_error = add_up(add_up(product_error, difference_error), mul_up(mean.abs(), scale_error));
        difference.is_finite().then_some(Self { scale: folded, shift: difference, underflow, shift_error })
    }
}
