//! Bounds in f64 on every magnitude that a program can meet, before anything is dispatched: overflow and the cost of underflow
//! are settled here, because no device promises to report either afterwards.

use network::{Activation, Affine, LinearMap, Network, Op};

use crate::slack::Arithmetic;

/// As [`node_magnitudes`], by one number per node instead of intervals of all its neurons: for a convolutional network that takes a
/// hundredth of the time. `None` where the numbers get so large that closer ones are worth it.
pub fn coarse_magnitudes(network: &Network, lower: &[f64], upper: &[f64], arithmetic: Arithmetic) -> Option<Vec<f64>> {
    let input = lower.iter().chain(upper).fold(0.0, |m: f64, v| m.max(v.abs()));
    let mut largest: Vec<f64> = Vec::with_capacity(network.nodes().len());
    let most = |values: &[f64]| values.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    for node in network.nodes() {
        let operand = |i: usize| largest[node.inputs[i].0];
        let next = match &node.op {
            Op::Input => input,
            Op::Affine(affine) => {
                let gamma = f64::from(arithmetic.gamma(longest_row(affine) + 16)) + 2.0 * affine.error.relative + 1e-12;
                let inexact = most(&affine.error.absolute) * affine.n_in() as f64 * operand(0).max(1.0);
                let sum = largest_row_sum(affine) * operand(0) + most(&affine.bias);
                sum * (1.0 + 4.0 * gamma) * (1.0 + 1e-6) + inexact + most(&affine.error.bias) + 1e-30
            }
            Op::Add => (0..node.inputs.len()).map(operand).sum::<f64>(),
            Op::Activation(Activation::LeakyRelu(slopes)) => operand(0) * most(slopes).max(1.0),
            Op::Activation(Activation::Clip { lower, upper }) => {
                [lower, upper].into_iter().filter(|end| end.is_finite()).fold(operand(0), |m, end| m.max(end.abs()))
            }
            Op::Activation(Activation::Sigmoid | Activation::Tanh) => 1.0,
            Op::Activation(Activation::Relu) | Op::MaxPool(_) => operand(0),
        };
        let roundings = 16.0 * node.inputs.len().max(1) as f64;
        largest.push(next * (1.0 + roundings * arithmetic.unit) + 1e-30);
    }
    largest.iter().all(|&magnitude| magnitude < COARSE).then_some(largest)
}

/// Below this a magnitude, however loose, costs no accuracy: what flushed subnormals may lose grows with it, from 1e-38.
const COARSE: f64 = 1e12;

/// Largest magnitude of each node's values over a region, as the executor's own interval bounds could have it.
///
/// The recursion is interval arithmetic inflated by the executor's rounding, so that it encloses whatever the executor computes
/// on any sub-box of the region.
pub fn node_magnitudes(network: &Network, lower: &[f64], upper: &[f64], arithmetic: Arithmetic) -> Vec<f64> {
    let mut bounds: Vec<(Vec<f64>, Vec<f64>)> = Vec::with_capacity(network.nodes().len());
    for node in network.nodes() {
        let operand = |i: usize| &bounds[node.inputs[i].0];
        let next = match &node.op {
            Op::Input => (lower.to_vec(), upper.to_vec()),
            Op::Affine(affine) => affine_interval(affine, operand(0), arithmetic),
            Op::Add => {
                let mut sum = operand(0).clone();
                for i in 1..node.inputs.len() {
                    for (s, v) in sum.0.iter_mut().zip(&operand(i).0) {
                        *s += v;
                    }
                    for (s, v) in sum.1.iter_mut().zip(&operand(i).1) {
                        *s += v;
                    }
                }
                widen(sum, 4.0 * node.inputs.len() as f64 * arithmetic.unit)
            }
            Op::Activation(activation) => {
                let (l, u) = operand(0);
                let image = |i: usize| activation_image(activation, i, l[i], u[i]);
                widen((0..l.len()).map(image).unzip(), 16.0 * arithmetic.unit)
            }
            Op::MaxPool(pool) => {
                let (l, u) = operand(0);
                let max = |values: &[f64], o: usize| pool.window(o).map(|i| values[i]).fold(f64::MIN, f64::max);
                (0..pool.n_out()).map(|o| (max(l, o), max(u, o))).unzip()
            }
        };
        bounds.push(next);
    }
    let largest = |(l, u): (Vec<f64>, Vec<f64>)| l.iter().chain(&u).fold(0.0, |m: f64, v| m.max(v.abs()));
    bounds.into_iter().map(largest).collect()
}

fn affine_interval(affine: &Affine, (l, u): &(Vec<f64>, Vec<f64>), arithmetic: Arithmetic) -> (Vec<f64>, Vec<f64>) {
    let n_out = affine.n_out();
    let centre: Vec<f64> = l.iter().zip(u).map(|(l, u)| 0.5 * l + 0.5 * u).collect();
    let radius: Vec<f64> = l.iter().zip(u).map(|(l, u)| 0.5 * (u - l)).collect();
    let high: Vec<f64> = l.iter().zip(u).map(|(l, u)| l.abs().max(u.abs())).collect();
    let centre = affine.evaluate(&centre);
    let radius = affine.map.apply(&radius, n_out, f64::abs);
    let high = affine.map.apply(&high, n_out, f64::abs);
    let gamma = f64::from(arithmetic.gamma(longest_row(affine) + 16)) + 2.0 * affine.error.relative + 1e-12;
    let absolute = affine.error.absolute.iter().fold(0.0, |m: f64, v| m.max(*v)) * l.len() as f64;
    let absolute = absolute + affine.error.bias.iter().fold(0.0, |m: f64, v| m.max(*v)) + 1e-30;
    let ends = |k: usize| {
        let radius = (radius[k] + 2.0 * gamma * (high[k] + affine.bias[k].abs()) + absolute) * (1.0 + 1e-6);
        (centre[k] - radius, centre[k] + radius)
    };
    (0..n_out).map(ends).unzip()
}

/// The interval image of an activation, loosely.
fn activation_image(activation: &Activation, i: usize, l: f64, u: f64) -> (f64, f64) {
    match activation {
        Activation::Relu => (l.max(0.0), u.max(0.0)),
        Activation::LeakyRelu(slopes) => {
            let slope = if slopes.len() == 1 { slopes[0] } else { slopes[i] };
            let ends =
                [if l < 0.0 { slope * l } else { l }, if u < 0.0 { slope * u } else { u }, l.max(0.0).min(u.max(0.0))];
            (ends.iter().copied().fold(f64::MAX, f64::min), ends.iter().copied().fold(f64::MIN, f64::max))
        }
        Activation::Clip { lower, upper } => (l.clamp(*lower, *upper), u.clamp(*lower, *upper)),
        Activation::Sigmoid => (0.0, 1.0),
        Activation::Tanh => (-1.0, 1.0),
    }
}

fn widen((mut l, mut u): (Vec<f64>, Vec<f64>), relative: f64) -> (Vec<f64>, Vec<f64>) {
    for (l, u) in l.iter_mut().zip(&mut u) {
        let extra = relative * l.abs().max(u.abs()) + 1e-30;
        *l -= extra;
        *u += extra;
    }
    (l, u)
}

/// Most coefficients in a row of the map: the length of the sums of a forward step.
pub fn longest_row(affine: &Affine) -> usize {
    match &affine.map {
        LinearMap::Dense(dense) => dense.n_in,
        LinearMap::Conv(conv) => conv.in_channels / conv.groups * conv.kernel[0] * conv.kernel[1],
        LinearMap::Sparse(sparse) => sparse.offsets.windows(2).map(|e| (e[1] - e[0]) as usize).max().unwrap_or(0),
    }
}

/// Most coefficients in a column of the map: the length of the sums of a backward step.
pub fn longest_column(affine: &Affine) -> usize {
    match &affine.map {
        LinearMap::Dense(dense) => dense.n_out,
        LinearMap::Conv(conv) => conv.out_channels / conv.groups * conv.kernel[0] * conv.kernel[1],
        LinearMap::Sparse(sparse) => {
            let mut counts = vec![0_usize; sparse.n_in];
            sparse.columns.iter().for_each(|&column| counts[column as usize] += 1);
            counts.into_iter().max().unwrap_or(0)
        }
    }
}

/// `max_k Σ_i |W_ki|`: how much one forward step can enlarge values.
fn largest_row_sum(affine: &Affine) -> f64 {
    let sum = |row: &[f64]| row.iter().map(|w| w.abs()).sum::<f64>();
    let coefficients = affine.map.coefficients();
    match &affine.map {
        LinearMap::Dense(dense) => coefficients.chunks_exact(dense.n_in.max(1)).map(sum).fold(0.0, f64::max),
        LinearMap::Conv(conv) => coefficients
            .chunks_exact((coefficients.len() / conv.out_channels.max(1)).max(1))
            .map(sum)
            .fold(0.0, f64::max),
        LinearMap::Sparse(sparse) => {
            let rows = sparse.offsets.windows(2).map(|ends| sum(&coefficients[ends[0] as usize..ends[1] as usize]));
            rows.fold(0.0, f64::max)
        }
    }
}

/// A bound on `max_i Σ_k |W_ki|`: how much one backward step can enlarge a coefficient.
pub fn largest_column_sum(affine: &Affine) -> f64 {
    let mut sums;
    match &affine.map {
        LinearMap::Dense(dense) => {
            sums = vec![0.0; dense.n_in];
            for row in dense.weight.chunks_exact(dense.n_in.max(1)) {
                sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += w.abs());
            }
        }
        LinearMap::Conv(conv) => {
            let per_group = conv.in_channels / conv.groups;
            let area = conv.kernel[0] * conv.kernel[1];
            sums = vec![0.0; conv.in_channels];
            for (w, value) in conv.weight.iter().enumerate() {
                let (o, c) = (w / (per_group * area), w / area % per_group);
                sums[o / (conv.out_channels / conv.groups) * per_group + c] += value.abs();
            }
        }
        LinearMap::Sparse(sparse) => {
            sums = vec![0.0; sparse.n_in];
            sparse.columns.iter().zip(&sparse.values).for_each(|(&c, v)| sums[c as usize] += v.abs());
        }
    }
    sums.into_iter().fold(0.0, f64::max)
}
