//! How much arithmetic bounds need at least: the model that measured rates are judged by.

use network::{Affine, Conv, LinearMap, Network, NodeId, Op};

use crate::device::host;
use crate::engine::{Batch, BoundEngine};
use crate::error::{Error, ErrorKind};
use crate::logistic::Logistic;
use crate::program::{Program, Step};
use crate::record::{Method, Recipe, record};
use crate::slack::Arithmetic;

/// Counts the useful operations that one box of `batch` takes on average: two for each multiply-add with a weight.
///
/// Counted are real widths, no padding, whatever an executor does:
/// - the interval pass: two multiply-adds for each weight (centre and radius);
/// - for each backward row (both ends of every undecided neuron, and the objective's rows) one multiply-add for each weight on
///   the way from its target to the input; the target's own weights are its first coefficients and cost nothing; below a
///   convolution only the receptive field counts (edges of the image as if they were its middle);
/// - neurons whose value is constant zero cost nothing anywhere.
///
/// Not counted: relaxation lines, biases, concretisation, and all that keeps track of rounding. The undecided neurons are
/// those of up to `MOST_BOXES` boxes, spread evenly over the batch.
///
/// # Errors
/// As [`BoundEngine::bound`].
pub fn flop_per_box(engine: &BoundEngine, batch: &Batch) -> Result<f64, Error> {
    let (network, recipe) = (engine.network(), engine.recipe());
    let (lower, upper) = engine.region().to_f64();
    match record::<f32>(network, &lower, &upper, recipe, Arithmetic::HOST_F32) {
        Ok(program) => Ok(mean_flop(network, recipe, &program, (&batch.lower, &batch.upper))),
        Err(Error { kind: ErrorKind::Magnitude { .. } }) => {
            let program = record::<f64>(network, &lower, &upper, recipe, Arithmetic::HOST_F64)?;
            let (lower, upper) = batch.to_f64();
            Ok(mean_flop(network, recipe, &program, (&lower, &upper)))
        }
        Err(error) => Err(error),
    }
}

/// Boxes that are looked at.
const MOST_BOXES: usize = 32;

fn mean_flop<T: Logistic>(network: &Network, recipe: Recipe, program: &Program<T>, ends: (&[T], &[T])) -> f64 {
    let n = network.n_inputs();
    let n_boxes = ends.0.len() / n;
    let step = n_boxes.div_ceil(MOST_BOXES).max(1);
    let multiply_adds: Vec<f64> = (0..n_boxes)
        .step_by(step)
        .map(|b| {
            let (state, marks) = host::state(program, &ends.0[b * n..][..n], &ends.1[b * n..][..n]);
            Usage::of(network, program, &state, &marks).multiply_adds(recipe)
        })
        .collect();
    2.0 * multiply_adds.iter().sum::<f64>() / multiply_adds.len().max(1) as f64
}

/// What one box needs of a network.
struct Usage<'a> {
    network: &'a Network,
    /// Per node, the share of its neurons that are not constant zero.
    alive: Vec<f64>,
    /// Targets of refinements and their undecided neurons.
    undecided: Vec<(NodeId, f64)>,
}

/// Which coefficients of a node a row reaches: a window of an image in all channels, or everything.
#[derive(Clone, Copy)]
enum Reach {
    Window([usize; 2]),
    All,
}

impl<'a> Usage<'a> {
    fn of<T: Logistic>(network: &'a Network, program: &Program<T>, state: &[T], marks: &[u32]) -> Self {
        let alive = |&(at, n): &(usize, usize)| {
            let n_alive = (0..n).filter(|i| state[at + i] != T::ZERO || state[at + n + i] != T::ZERO).count();
            n_alive as f64 / n as f64
        };
        let undecided = program.steps.iter().filter_map(|step| match step {
            Step::Refine(select, _) => {
                let target = program.nodes.iter().position(|&(at, _)| at == select.source as usize)?;
                Some((NodeId(target), f64::from(marks[select.list as usize])))
            }
            _ => None,
        });
        Self { network, alive: program.nodes.iter().map(alive).collect(), undecided: undecided.collect() }
    }

    fn multiply_adds(&self, recipe: Recipe) -> f64 {
        let intervals: f64 = (0..self.network.nodes().len())
            .filter_map(|id| self.affine(id).map(|(affine, operand)| 2.0 * n_weights(affine) * self.alive[operand]))
            .sum();
        let refinements: f64 = self.undecided.iter().map(|&(target, count)| 2.0 * count * self.per_row(target)).sum();
        let n_ends = if recipe.both_ends { 2.0 } else { 1.0 };
        let objective = match recipe.method {
            Method::Ibp => 0.0,
            Method::CrownIbp | Method::Crown => {
                n_ends * self.network.n_outputs() as f64 * self.per_row(self.network.output())
            }
        };
        intervals + refinements + objective
    }

    /// Multiply-adds of one row, from its target to the input.
    fn per_row(&self, target: NodeId) -> f64 {
        let nodes = self.network.nodes();
        let mut reached: Vec<Option<Reach>> = vec![None; target.0 + 1];
        // The share of a reached node's coefficients that can differ from zero.
        let mut live = vec![1.0; target.0 + 1];
        reached[target.0] = Some(Reach::Window([1, 1]));
        let mut multiply_adds = 0.0;
        for id in (1..=target.0).rev() {
            let Some(reach) = reached[id] else { continue };
            let mut arrive = |node: NodeId, with: Reach, share: f64| {
                reached[node.0] = Some(reached[node.0].map_or(with, |before| before.join(with)));
                live[node.0] = share;
            };
            let node = &nodes[id];
            match &node.op {
                Op::Input => {}
                Op::Affine(affine) => {
                    let operand = node.inputs[0];
                    arrive(operand, reach.through(affine), self.alive[operand.0]);
                    if id != target.0 {
                        multiply_adds += n_weights(affine) * reach.share(affine) * live[id] * self.alive[operand.0];
                    }
                }
                Op::Activation(_) => arrive(node.inputs[0], reach, self.alive[id]),
                Op::Add => node.inputs.iter().for_each(|&input| arrive(input, reach, 1.0)),
                Op::MaxPool(_) => {
                    let operand = node.inputs[0];
                    arrive(operand, Reach::All, node.len() as f64 / nodes[operand.0].len() as f64);
                }
            }
        }
        multiply_adds
    }

    fn affine(&self, id: usize) -> Option<(&Affine, usize)> {
        match &self.network.nodes()[id].op {
            Op::Affine(affine) => Some((affine, self.network.nodes()[id].inputs[0].0)),
            _ => None,
        }
    }
}

impl Reach {
    /// The share of a map's outputs that is reached.
    fn share(self, affine: &Affine) -> f64 {
        match (self, &affine.map) {
            (Self::Window([height, width]), LinearMap::Conv(conv)) => {
                (height.min(conv.out_height) * width.min(conv.out_width)) as f64
                    / (conv.out_height * conv.out_width) as f64
            }
            _ => 1.0,
        }
    }

    /// What is reached of a map's inputs.
    fn through(self, affine: &Affine) -> Self {
        match (self, &affine.map) {
            (Self::Window(window), LinearMap::Conv(conv)) => Self::Window(receptive_field(conv, window)),
            _ => Self::All,
        }
    }

    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Window([a, b]), Self::Window([c, d])) => Self::Window([a.max(c), b.max(d)]),
            _ => Self::All,
        }
    }
}

/// The inputs that a window of outputs reads.
fn receptive_field(conv: &Conv, [height, width]: [usize; 2]) -> [usize; 2] {
    let extent =
        |n: usize, axis: usize| (n - 1) * conv.stride[axis] + (conv.kernel[axis] - 1) * conv.dilation[axis] + 1;
    [extent(height, 0).min(conv.in_height), extent(width, 1).min(conv.in_width)]
}

fn n_weights(affine: &Affine) -> f64 {
    let n = match &affine.map {
        LinearMap::Dense(dense) => dense.weight.len(),
        LinearMap::Conv(conv) => conv.weight.len() * conv.out_height * conv.out_width,
        LinearMap::Sparse(sparse) => sparse.values.len(),
    };
    n as f64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use network::{Activation, BoxRegion, Dense};

    use super::*;
    use crate::device::Device;

    /// 2 → 3 → 1, with a `ReLU` between whose neurons are undecided, dead and alive over `[0, 1]²`.
    fn engine(method: Method) -> BoundEngine {
        let dense = |n_out, n_in, weight: &[f64], bias: &[f64]| {
            let map = LinearMap::Dense(Dense { n_out, n_in, weight: weight.to_vec() });
            Op::Affine(Arc::new(Affine::exact(map, bias.to_vec())))
        };
        let mut builder = Network::builder(&[2]).unwrap();
        let hidden = dense(3, 2, &[1.0, -1.0, -1.0, -1.0, 1.0, 1.0], &[0.0, -1.0, 1.0]);
        let mut last = builder.push("hidden", hidden, &[NodeId(0)], &[3]).unwrap();
        last = builder.push("relu", Op::Activation(Activation::Relu), &[last], &[3]).unwrap();
        last = builder.push("out", dense(1, 3, &[1.0; 3], &[0.0]), &[last], &[1]).unwrap();
        let region = BoxRegion::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
        let recipe = Recipe { method, ..Recipe::default() };
        BoundEngine::new(&Device::Host, Arc::new(builder.build(last).unwrap()), &region, recipe).unwrap()
    }

    #[test]
    fn a_small_network_is_counted_by_hand() {
        let batch = Batch { lower: vec![0.0; 2], upper: vec![1.0; 2] };
        // Intervals: 2 · 6 into the hidden layer, 2 · 2 out of it, for one neuron is dead.
        let intervals = 16.0;
        // One row from the output: 2 live neurons times 2 inputs. The rows of the undecided neuron start at the input.
        let objective = 4.0;
        for (method, expected) in [
            (Method::Ibp, intervals),
            (Method::CrownIbp, intervals + objective),
            (Method::Crown, intervals + objective),
        ] {
            let flop = flop_per_box(&engine(method), &batch).unwrap();
            assert!((flop - 2.0 * expected).abs() < 1e-9, "{method:?}: {flop}");
        }
    }
}
