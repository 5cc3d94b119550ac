//! Recording: from a network and a region to the [`Program`] that bounds any sub-box of it.

mod backward;
mod shapes;
mod slots;
mod sweep;

use network::{Activation, Affine, LinearMap, Network, NodeId, Op};

use crate::error::{Error, ErrorKind};
use crate::logistic;
use crate::magnitude::{coarse_magnitudes, longest_column, longest_row, node_magnitudes};
use crate::program::{
    ActivationKind, Forward, IntervalAdd, IntervalAffine, IntervalMaxPool, Program, Relax, Select, Step,
};
use crate::scalar::Scalar;
use crate::slack::{Arithmetic, round_up};
use shapes::{conv_shape, pool_shape};

/// How intermediate bounds are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Interval bounds everywhere, outputs too.
    Ibp,
    /// Interval bounds at the intermediate nodes, backward bounds at the outputs.
    CrownIbp,
    /// Backward bounds of every intermediate neuron that its interval leaves undecided, and of the outputs.
    Crown,
}

/// What to record.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, and all combinations make sense")]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// How intermediate bounds are found.
    pub method: Method,
    /// Whether upper ends of the outputs are wanted as well as lower ends.
    pub both_ends: bool,
    /// Whether a backward bound is intersected with the interval bound it refines (tighter; off to compare with peers).
    pub keep_interval: bool,
    /// Whether the lower line of an unstable `ReLU` has the upper line's slope instead of the adaptive 0 or 1.
    pub same_slope: bool,
    /// Whether inputs lie in a set as well as in a box: then intervals are not exact even where they start.
    pub over_set: bool,
    /// Which backward passes can be optimised (α-CROWN) and take splits of `ReLU`s (β-CROWN).
    pub optimised: Optimised,
}

/// Which backward passes can be optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Optimised {
    /// None.
    #[default]
    Nothing,
    /// That of the outputs.
    Outputs,
    /// Those of the intermediate neurons as well.
    Everything,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            method: Method::Crown,
            both_ends: false,
            keep_interval: true,
            same_slope: false,
            over_set: false,
            optimised: Optimised::Nothing,
        }
    }
}

/// Records the bounds of `network` over sub-boxes of `[lower, upper]`.
///
/// # Errors
/// [`ErrorKind::Magnitude`] if the arithmetic could overflow, [`ErrorKind::TooLarge`] past 32-bit offsets.
pub fn record<T: Scalar>(
    network: &Network,
    lower: &[f64],
    upper: &[f64],
    recipe: Recipe,
    arithmetic: Arithmetic,
) -> Result<Program<T>, Error> {
    if let Some(magnitudes) = coarse_magnitudes(network, lower, upper, arithmetic) {
        match record_within(network, recipe, arithmetic, magnitudes) {
            Err(Error { kind: ErrorKind::Magnitude { .. } }) => {}
            recorded => return recorded,
        }
    }
    record_within(network, recipe, arithmetic, node_magnitudes(network, lower, upper, arithmetic))
}

/// Records with these magnitudes of every node's values.
fn record_within<T: Scalar>(
    network: &Network,
    recipe: Recipe,
    arithmetic: Arithmetic,
    magnitudes: Vec<f64>,
) -> Result<Program<T>, Error> {
    let mut recorder = Recorder::new(network, recipe, arithmetic, magnitudes);
    recorder.lay_out();
    for id in 1..network.nodes().len() {
        recorder.forward(NodeId(id))?;
    }
    if recipe.method != Method::Ibp {
        let objective = recorder.backward(network.output(), true)?;
        recorder.program.steps.push(Step::Objective(objective));
    }
    recorder.finish()
}

/// Where the pieces of one node lie.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// State: bounds, lower then upper.
    bounds: usize,
    /// State: error coefficients (affine) or the five arrays (activation).
    extra: usize,
    /// Marks: undecided neurons, or choices.
    marks: usize,
    /// Constants: weight, transposed, bias.
    weight: usize,
    transposed: usize,
    bias: usize,
    /// Tables, sparse only: by rows, by columns.
    rows: usize,
    columns: usize,
}

struct Recorder<'a, T> {
    network: &'a Network,
    recipe: Recipe,
    arithmetic: Arithmetic,
    magnitudes: Vec<f64>,
    places: Vec<Place>,
    is_refined: Vec<bool>,
    is_inexact: Vec<bool>,
    /// `P` of the error analysis: room for what is not a long sum.
    room: usize,
    /// Longest reduction anywhere.
    longest: usize,
    table: Option<usize>,
    program: Program<T>,
}

impl<'a, T: Scalar> Recorder<'a, T> {
    fn new(network: &'a Network, recipe: Recipe, arithmetic: Arithmetic, magnitudes: Vec<f64>) -> Self {
        let n_nodes = network.nodes().len();
        let sums = network.nodes().iter().map(|node| match &node.op {
            Op::Affine(affine) => longest_row(affine).max(longest_column(affine)).max(node.len()),
            _ => node.len(),
        });
        Self {
            network,
            recipe,
            arithmetic,
            magnitudes,
            places: vec![Place::default(); n_nodes],
            is_refined: vec![false; n_nodes],
            is_inexact: vec![false; n_nodes],
            room: 2 * n_nodes + 4,
            longest: sums.max().unwrap_or(1),
            table: None,
            program: Program {
                constants: Vec::new(),
                tables: Vec::new(),
                state_stride: 0,
                mark_stride: 0,
                n_slots: 0,
                slot_len: 0,
                n_inputs: network.n_inputs(),
                n_outputs: network.n_outputs(),
                steps: Vec::new(),
                nodes: Vec::new(),
                operands: network
                    .nodes()
                    .iter()
                    .map(|node| node.inputs.iter().map(|input| input.0).collect())
                    .collect(),
                folds: vec![true; n_nodes],
                activations: vec![None; n_nodes],
                sweeps: vec![None; n_nodes],
                set: None,
            },
        }
    }

    fn lay_out(&mut self) {
        for (id, node) in self.network.nodes().iter().enumerate() {
            let n = node.len();
            self.places[id].bounds = self.program.state_stride;
            self.program.nodes.push((self.program.state_stride, n));
            self.program.state_stride += 2 * n;
            self.program.slot_len = self.program.slot_len.max(n);
            let (n_extra, n_marks) = match &node.op {
                Op::Affine(_) => (n, 1 + n),
                Op::Activation(_) => (5 * n, 1 + n),
                Op::Add => (0, 1 + n),
                Op::MaxPool(_) => (0, 1 + n + n),
                Op::Input => (0, 0),
            };
            if matches!(node.op, Op::Add | Op::MaxPool(_)) {
                node.inputs.iter().for_each(|input| self.program.folds[input.0] = false);
            }
            self.places[id].extra = self.program.state_stride;
            self.program.state_stride += n_extra;
            self.places[id].marks = self.program.mark_stride;
            self.program.mark_stride += n_marks;
        }
        // Rows of four values keep vector loads aligned.
        self.program.state_stride = self.program.state_stride.next_multiple_of(4);
        self.program.mark_stride = self.program.mark_stride.next_multiple_of(4).max(4);
    }

    fn forward(&mut self, id: NodeId) -> Result<(), Error> {
        let network = self.network;
        let node = network.node(id);
        let step = match &node.op {
            Op::Input => return Ok(()),
            Op::Affine(affine) => self.interval_affine(id, affine),
            Op::Add => {
                let operands = self.program.tables.len();
                for input in &node.inputs {
                    self.program.tables.push(self.places[input.0].bounds as u32);
                }
                Forward::Add(IntervalAdd {
                    n: node.len() as u32,
                    n_operands: node.inputs.len() as u32,
                    operands: operands as u32,
                    target: self.places[id.0].bounds as u32,
                    gamma: self.arithmetic.gamma(node.inputs.len() + 4),
                    underflow: round_up(8.0 * self.arithmetic.smallest_normal * node.inputs.len() as f64),
                    padding: [0; 2],
                })
            }
            Op::Activation(activation) => {
                self.refine(node.inputs[0])?;
                self.relax(id, activation)?
            }
            Op::MaxPool(pool) => {
                let windows = pool.kernel[0] * pool.kernel[1];
                Forward::MaxPool(
                    IntervalMaxPool {
                        n_out: pool.n_out() as u32,
                        n_in: pool.n_in() as u32,
                        source: self.places[node.inputs[0].0].bounds as u32,
                        target: self.places[id.0].bounds as u32,
                        choice: (self.places[id.0].marks + 1 + node.len()) as u32,
                        gamma: self.pool_gamma(windows, pool.n_out()),
                        padding: [0; 2],
                    },
                    pool_shape(pool),
                )
            }
        };
        self.program.steps.push(Step::Forward(step));
        Ok(())
    }

    /// Backward bounds of a pre-activation, unless its interval bounds are already exact or were refined before.
    fn refine(&mut self, id: NodeId) -> Result<(), Error> {
        let node = self.network.node(id);
        let is_exact = match &node.op {
            Op::Input => true,
            // Over a set besides the box they are not.
            Op::Affine(_) => node.inputs[0].0 == 0 && !self.recipe.over_set,
            _ => false,
        };
        if self.recipe.method != Method::Crown || is_exact || self.is_refined[id.0] {
            return Ok(());
        }
        self.is_refined[id.0] = true;
        let breakpoints = self.breakpoints(id);
        let mut select = Select {
            n: node.len() as u32,
            source: self.places[id.0].bounds as u32,
            list: self.places[id.0].marks as u32,
            n_breakpoints: breakpoints.len() as u32,
            breakpoints: [0.0; 4],
        };
        select.breakpoints[..breakpoints.len()].copy_from_slice(&breakpoints);
        let backward = self.backward(id, false)?;
        self.program.steps.push(Step::Refine(select, backward));
        Ok(())
    }

    /// Where the activations that read a node change slope; empty if one of them is smooth (or they have too many).
    fn breakpoints(&self, id: NodeId) -> Vec<f32> {
        let mut points: Vec<f32> = Vec::new();
        for node in self.network.nodes().iter().filter(|node| node.inputs.contains(&id)) {
            match &node.op {
                Op::Activation(Activation::Relu | Activation::LeakyRelu(_)) => points.push(0.0),
                // A rounded end of a clip is no breakpoint of its own: then every interval that is not a point is refined.
                Op::Activation(Activation::Clip { lower, upper }) if [lower, upper].iter().all(|end| is_f32(**end)) => {
                    points.extend([lower, upper].into_iter().filter(|end| end.is_finite()).map(|end| *end as f32));
                }
                Op::Activation(_) => return Vec::new(),
                _ => {}
            }
        }
        points.sort_by(f32::total_cmp);
        points.dedup();
        if points.len() > 4 { Vec::new() } else { points }
    }

    fn interval_affine(&mut self, id: NodeId, affine: &Affine) -> Forward {
        let node = self.network.node(id);
        let (n_out, n_in) = (affine.n_out(), affine.n_in());
        let relative = narrowed_relative_error::<T>(affine);
        let absolute = &affine.error.absolute;
        let has_absolute = absolute.iter().any(|&a| a > 0.0);
        let bias: Vec<T> = affine.bias.iter().map(|&b| T::of(b)).collect();
        let bias_error: Vec<T> = affine
            .bias
            .iter()
            .enumerate()
            .map(|(k, &b)| {
                let rounding = (b - T::of(b).to_f64()).abs();
                T::of(f64::from(round_up(affine.error.bias.get(k).copied().unwrap_or(0.0) + rounding)))
            })
            .collect();
        self.is_inexact[id.0] = relative > 0.0 || has_absolute || bias_error.iter().any(|&e| e > T::ZERO);
        self.store_weights(id, affine);
        let place = &mut self.places[id.0];
        place.bias = push(&mut self.program.constants, bias);
        let absolute: Vec<T> = absolute.iter().map(|&a| T::of(f64::from(round_up(a)))).collect();
        let absolute = if has_absolute { push(&mut self.program.constants, absolute) } else { 0 };
        let bias_error = push(&mut self.program.constants, bias_error);
        let high = self.magnitudes[node.inputs[0].0];
        let row_sum = longest_row(affine) as f64 * largest(affine.map.coefficients());
        let eta = self.arithmetic.smallest_normal;
        let underflow = 8.0 * eta * (2.0 * n_in as f64 + row_sum + n_in as f64 * high + 4.0);
        let place = self.places[id.0];
        // The sum that it multiplies has rounded as well.
        let gamma_row = f64::from(self.arithmetic.gamma(self.arithmetic.depth(longest_row(affine)) + 8));
        let params = IntervalAffine {
            n_out: n_out as u32,
            n_in: n_in as u32,
            weight: place.weight as u32,
            transposed: place.transposed as u32,
            bias: place.bias as u32,
            absolute: absolute as u32,
            bias_error: bias_error as u32,
            rows: place.rows as u32,
            source: self.places[node.inputs[0].0].bounds as u32,
            target: place.bounds as u32,
            error: place.extra as u32,
            has_absolute: u32::from(has_absolute),
            gamma_interval: plus(round_up(gamma_row * (1.0 + 2.0 * gamma_row)), relative),
            gamma_column: plus(self.arithmetic.gamma(self.arithmetic.depth(longest_column(affine)) + 1), relative),
            gamma_bias: self.arithmetic.gamma(self.arithmetic.depth(n_out) + self.room),
            underflow: round_up(underflow),
        };
        match &affine.map {
            LinearMap::Dense(_) => Forward::Dense(params),
            LinearMap::Conv(conv) => Forward::Conv(params, conv_shape(conv)),
            LinearMap::Sparse(_) => Forward::Sparse(params),
        }
    }

    /// Stores the coefficients of a node in both orders.
    fn store_weights(&mut self, id: NodeId, affine: &Affine) {
        let constants = &mut self.program.constants;
        let place = &mut self.places[id.0];
        let coefficients = affine.map.coefficients();
        place.weight = push(constants, coefficients.iter().map(|&w| T::of(w)).collect());
        match &affine.map {
            LinearMap::Dense(dense) => {
                let (n_out, n_in) = (dense.n_out, dense.n_in);
                let at = |e: usize| T::of(dense.weight[e % n_out * n_in + e / n_out]);
                place.transposed = push(constants, (0..n_out * n_in).map(at).collect());
            }
            LinearMap::Conv(conv) => {
                let taps = conv.weight.len() / conv.out_channels;
                let at = |e: usize| T::of(conv.weight[e % conv.out_channels * taps + e / conv.out_channels]);
                place.transposed = push(constants, (0..conv.weight.len()).map(at).collect());
            }
            LinearMap::Sparse(sparse) => {
                let tables = &mut self.program.tables;
                place.rows = tables.len();
                tables.extend_from_slice(&sparse.offsets);
                tables.extend_from_slice(&sparse.columns);
                let mut columns: Vec<Vec<(u32, f64)>> = vec![Vec::new(); sparse.n_in];
                for (k, ends) in sparse.offsets.windows(2).enumerate() {
                    for e in ends[0] as usize..ends[1] as usize {
                        columns[sparse.columns[e] as usize].push((k as u32, sparse.values[e]));
                    }
                }
                place.columns = tables.len();
                let mut offset = 0;
                tables.push(0);
                for column in &columns {
                    offset += column.len() as u32;
                    tables.push(offset);
                }
                tables.extend(columns.iter().flatten().map(|(k, _)| *k));
                place.transposed = push(constants, columns.iter().flatten().map(|(_, w)| T::of(*w)).collect());
            }
        }
    }

    fn relax(&mut self, id: NodeId, activation: &Activation) -> Result<Forward, Error> {
        let node = self.network.node(id);
        let n = node.len();
        let mut params = Relax {
            n: n as u32,
            kind: 0,
            source: self.places[node.inputs[0].0].bounds as u32,
            target: self.places[id.0].bounds as u32,
            lines: self.places[id.0].extra as u32,
            slopes: 0,
            clip_lower: 0.0,
            clip_upper: 0.0,
            two_units: self.arithmetic.two_units(),
            gamma_intercept: self.arithmetic.gamma(self.arithmetic.depth(n) + self.room),
            table: 0,
            lower_slope: u32::from(self.recipe.same_slope),
            inexactness: 0.0,
            padding: [0; 3],
        };
        let kind = match activation {
            Activation::Relu => ActivationKind::Relu,
            Activation::LeakyRelu(slopes) => {
                if slopes.iter().any(|&slope| T::of(slope).to_f64() != slope) {
                    params.inexactness = round_up(2.0 * T::UNIT.to_f64() * largest(slopes));
                }
                let slopes = (0..n).map(|i| T::of(if slopes.len() == 1 { slopes[0] } else { slopes[i] })).collect();
                params.slopes = push(&mut self.program.constants, slopes) as u32;
                ActivationKind::Leaky
            }
            Activation::Clip { lower, upper } => {
                // An end that no value of the region reaches is no end at all; 3e38 stands for it, beyond everything that is met.
                let reach = self.magnitudes[node.inputs[0].0];
                params.clip_lower = if *lower <= -reach { -3e38 } else { *lower as f32 };
                params.clip_upper = if *upper >= reach { 3e38 } else { *upper as f32 };
                let distance = |end: f64, is_met: bool, stored: f32| {
                    if is_met { (end - f64::from(stored)).abs() } else { 0.0 }
                };
                let lower_error = distance(*lower, *lower > -reach, params.clip_lower);
                params.inexactness = round_up(lower_error.max(distance(*upper, *upper < reach, params.clip_upper)));
                if reach >= 3e38 || !params.inexactness.is_finite() {
                    return Err(ErrorKind::Magnitude { node: node.name.clone(), magnitude: reach }.into());
                }
                ActivationKind::Clip
            }
            Activation::Sigmoid | Activation::Tanh => {
                let constants = &mut self.program.constants;
                params.table = *self.table.get_or_insert_with(|| push(constants, logistic::table())) as u32;
                if matches!(activation, Activation::Sigmoid) { ActivationKind::Sigmoid } else { ActivationKind::Tanh }
            }
        };
        params.kind = kind as u32;
        self.program.activations[id.0] = Some(params);
        Ok(Forward::Relax(params))
    }

    fn check_magnitude(&self, id: NodeId, coefficient: f64) -> Result<(), Error> {
        let node = self.network.node(id);
        let bias = match &node.op {
            Op::Affine(affine) => largest(&affine.bias),
            _ => 0.0,
        };
        let magnitude =
            coefficient.max(1.0) * self.magnitudes[id.0].max(bias).max(1.0) * (node.len().max(self.longest) as f64);
        if magnitude < self.arithmetic.magnitude_limit {
            Ok(())
        } else {
            Err(ErrorKind::Magnitude { node: node.name.clone(), magnitude }.into())
        }
    }

    fn finish(self) -> Result<Program<T>, Error> {
        for id in 0..self.network.nodes().len() {
            self.check_magnitude(NodeId(id), 1.0)?;
        }
        let program = self.program;
        let sizes = [
            ("weights", program.constants.len()),
            ("tables", program.tables.len()),
            ("state", program.state_stride),
            ("marks", program.mark_stride),
        ];
        for (what, needed) in sizes {
            if needed > i32::MAX as usize {
                return Err(ErrorKind::TooLarge { what, needed }.into());
            }
        }
        if program.constants.iter().any(|value| !value.is_finite()) {
            return Err(ErrorKind::Magnitude { node: "weights".into(), magnitude: f64::INFINITY }.into());
        }
        Ok(program)
    }
}

/// The relative error of a map's coefficients once they are narrowed to the executor's float.
///
/// Narrowing to a subnormal errs absolutely, by less than half the smallest subnormal; the underflow terms pay for it.
fn narrowed_relative_error<T: Scalar>(affine: &Affine) -> f64 {
    if affine.map.coefficients().iter().all(|&w| T::of(w).to_f64() == w) {
        return affine.error.relative;
    }
    let unit = T::UNIT.to_f64();
    (affine.error.relative + unit) * (1.0 + 4.0 * unit)
}

/// Appends values, aligned to vectors of four, and returns where they start.
fn push<T: Scalar>(constants: &mut Vec<T>, values: Vec<T>) -> usize {
    constants.resize(constants.len().next_multiple_of(4), T::ZERO);
    let start = constants.len();
    constants.extend(values);
    start
}

fn is_f32(value: f64) -> bool {
    f64::from(value as f32) == value
}

fn plus(gamma: f32, relative: f64) -> f32 {
    if relative == 0.0 { gamma } else { round_up(f64::from(gamma) + relative) }
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}
