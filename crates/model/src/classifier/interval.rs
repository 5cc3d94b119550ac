use burn::tensor::Tensor;
use network::Activation;

use super::affine::Sign;
use super::{Classifier, Layer, Step, Weights};
use crate::robust::{Depth, relax};

/// Most neurons of a layer whose intervals are tightened by linear bounds.
const NARROW: usize = 256;

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

    /// Lower bounds, `[batch, rows]`, of `a` (`[batch, rows, n]`) times the values.
    pub(crate) fn least(&self, a: Tensor<3>) -> Tensor<2> {
        let [n, m, _] = a.dims();
        let least = a.clone() * self.centre().unsqueeze_dim(1) - a.abs() * self.radius().unsqueeze_dim(1);
        least.sum_dim(2).reshape([n, m])
    }

    /// What both hold.
    fn cut(&self, other: &Self) -> Self {
        let lower = self.lower.clone().max_pair(other.lower.clone());
        Self { upper: self.upper.clone().min_pair(other.upper.clone()).max_pair(lower.clone()), lower }
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
            values.push(self.next_interval(weights, layer, &values));
        }
        values
    }

    /// The values that `ReLU`s read.
    pub(crate) fn rectified(&self) -> impl Iterator<Item = usize> {
        let is_relu = |layer: &&Layer| matches!(layer.step, Step::Activation(Activation::Relu));
        self.layers.iter().filter(is_relu).map(|layer| layer.inputs[0])
    }

    /// The same over inputs of a box that `least` bounds (`[batch, rows, n]` to `[batch, rows]`): what activations of up to
    /// [`NARROW`] neurons read is bounded by linear bounds back to the input.
    pub(crate) fn tight_intervals(
        &self,
        weights: &Weights,
        enclosure: Interval,
        least: &dyn Fn(Tensor<3>) -> Tensor<2>,
    ) -> Vec<Interval> {
        let mut values = vec![enclosure];
        for layer in &self.layers[..self.layers.len() - 1] {
            let operand = layer.inputs[0];
            let k = self.value_len(operand);
            if matches!(layer.step, Step::Activation(_)) && operand > 0 && k <= NARROW {
                let [n, _] = values[0].lower.dims();
                let rows = Tensor::<2>::eye(k, &values[0].lower.device()).unsqueeze::<3>().repeat_dim(0, n);
                let lower = self.pulled_back(weights, &values, (operand, rows.clone()), Depth::Input, Some(least));
                let upper = self.pulled_back(weights, &values, (operand, rows.neg()), Depth::Input, Some(least)).neg();
                values[operand] = values[operand].cut(&Interval { lower, upper });
            }
            values.push(self.next_interval(weights, layer, &values));
        }
        values
    }

    fn next_interval(&self, weights: &Weights, layer: &Layer, values: &[Interval]) -> Interval {
        let operand = &values[layer.inputs[0]];
        match &layer.step {
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
                let apply =
                    |x: &Tensor<2>, sign| self.apply_affine(layer, weights, x, sign).expect("what is left is affine");
                let centre = apply(&operand.centre(), Sign::Signed);
                let radius = apply(&operand.radius(), Sign::Absolute);
                Interval { lower: centre.clone() - radius.clone(), upper: centre + radius }
            }
        }
    }

    /// Lower bounds, `[batch, rows]`, of `coefficients` (`[batch, rows, outputs]`) times the outputs, given the intervals of all values.
    pub(crate) fn lower_bounds(
        &self,
        weights: &Weights,
        intervals: &[Interval],
        coefficients: Tensor<3>,
        depth: Depth,
    ) -> Tensor<2> {
        self.pulled_back(weights, intervals, (self.layers.len(), coefficients), depth, None)
    }

    /// The same over inputs that `least` bounds.
    pub(crate) fn lower_bounds_over(
        &self,
        weights: &Weights,
        intervals: &[Interval],
        coefficients: Tensor<3>,
        least: &dyn Fn(Tensor<3>) -> Tensor<2>,
    ) -> Tensor<2> {
        self.pulled_back(weights, intervals, (self.layers.len(), coefficients), Depth::Input, Some(least))
    }

    /// Lower bounds of coefficients times a value.
    fn pulled_back(
        &self,
        weights: &Weights,
        intervals: &[Interval],
        (from, coefficients): (usize, Tensor<3>),
        depth: Depth,
        least: Option<&dyn Fn(Tensor<3>) -> Tensor<2>>,
    ) -> Tensor<2> {
        let [n, m, _] = coefficients.dims();
        let mut constant = Tensor::<2>::zeros([n, m], &coefficients.device());
        let mut pending: Vec<Option<Tensor<3>>> = vec![None; self.layers.len() + 1];
        pending[from] = Some(coefficients);
        let add = |slot: &mut Option<Tensor<3>>, a: Tensor<3>| {
            *slot = Some(match slot.take() {
                Some(sum) => sum + a,
                None => a,
            });
        };
        for value in (0..=from).rev() {
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
            constant = constant
                + match least {
                    Some(least) if value == 0 => least(a),
                    _ => intervals[value].least(a),
                };
        }
        constant
    }
}
