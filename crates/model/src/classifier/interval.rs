use burn::tensor::Tensor;

use super::affine::Sign;
use super::{Classifier, Step, Weights};
use crate::robust::{Depth, relax};

/// Lower and upper ends of rows of values, `[batch, n]`.
#[derive(Debug, Clone)]
pub(crate) struct Interval {
    pub lower: Tensor<2>,
    pub upper: Tensor<2>,
}

impl Interval {
    /// The box of this half side around rows of values, cut to `[0, 1]` for images.
    pub(crate) fn around(x: Tensor<2>, epsilon: f64, is_image: bool) -> Self {
        let (lower, upper) = (x.clone().sub_scalar(epsilon), x.add_scalar(epsilon));
        if is_image { Self { lower: lower.clamp_min(0.0), upper: upper.clamp_max(1.0) } } else { Self { lower, upper } }
    }

    fn centre(&self) -> Tensor<2> {
        (self.lower.clone() + self.upper.clone()).mul_scalar(0.5)
    }

    fn radius(&self) -> Tensor<2> {
        (self.upper.clone() - self.lower.clone()).mul_scalar(0.5)
    }
}

impl Classifier {
    /// Intervals of every value over a box, in real arithmetic; batch normalisations use their running statistics.
    pub(crate) fn intervals(&self, weights: &Weights, region: Interval) -> Vec<Interval> {
        let mut values = vec![region];
        // The scores themselves are bounded from their operand, with their differences.
        for layer in &self.layers[..self.layers.len() - 1] {
            let operand = &values[layer.inputs[0]];
            let value = match &layer.step {
                Step::Add => layer.inputs[1..].iter().fold(operand.clone(), |sum, &input| Interval {
                    lower: sum.lower + values[input].lower.clone(),
                    upper: sum.upper + values[input].upper.clone(),
                }),
                // Pools of maxima and all activations that there are do not fall where their operands rise.
                Step::Activation(_) | Step::MaxPool(_) => Interval {
                    lower: self.apply(layer, weights, &operand.lower),
                    upper: self.apply(layer, weights, &operand.upper),
                },
                _ => {
                    let apply = |x: &Tensor<2>, sign| {
                        self.apply_affine(layer, weights, x, sign).expect("what is left is affine")
                    };
                    let centre = apply(&operand.centre(), Sign::Signed);
                    let radius = apply(&operand.radius(), Sign::Absolute);
                    Interval { lower: centre.clone() - radius.clone(), upper: centre + radius }
                }
            };
            values.push(value);
        }
        values
    }

    /// Lower bounds, `[batch, rows]`, of `coefficients` (`[batch, rows, outputs]`) times the outputs, given the intervals of all values.
    pub(crate) fn lower_bounds(
        &self,
        weights: &Weights,
        intervals: &[Interval],
        coefficients: Tensor<3>,
        depth: Depth,
    ) -> Tensor<2> {
        let [n, m, _] = coefficients.dims();
        let mut constant = Tensor::<2>::zeros([n, m], &coefficients.device());
        let mut pending: Vec<Option<Tensor<3>>> = vec![None; self.layers.len() + 1];
        pending[self.layers.len()] = Some(coefficients);
        let add = |slot: &mut Option<Tensor<3>>, a: Tensor<3>| {
            *slot = Some(match slot.take() {
                Some(sum) => sum + a,
                None => a,
            });
        };
        for value in (0..=self.layers.len()).rev() {
            let Some(a) = pending[value].take() else { continue };
            if value > 0 {
                let layer = &self.layers[value - 1];
                let back = match &layer.step {
                    Step::Add => {
                        layer.inputs.iter().for_each(|&input| add(&mut pending[input], a.clone()));
                        continue;
                    }
                    Step::Activation(activation) if depth == Depth::Input => {
                        relax(&a, &intervals[layer.inputs[0]], activation).map(|(back, share)| {
                            constant = constant.clone() + share;
                            back
                        })
                    }
                    _ => self.pull_back(layer, weights, &a, &mut constant),
                };
                if let Some(back) = back {
                    add(&mut pending[layer.inputs[0]], back);
                    continue;
                }
            }
            let interval = &intervals[value];
            let share = a.clone() * interval.centre().unsqueeze_dim(1) - a.abs() * interval.radius().unsqueeze_dim(1);
            constant = constant + share.sum_dim(2).reshape([n, m]);
        }
        constant
    }
}
