//! Reverse propagation: what is known of later nodes tightens earlier ones, down to the box.
//!
//! Source: MATH section 10; feasibility-based bound tightening of mixed-integer programming. Planes over the box come from a pass back to the input, what
//! earlier nodes gain from the rows of the affine node that reads them. In f64 over f32 ends, with the rounding of all sums and the errors
//! of all weights inside.

use network::{Activation, Affine, Conv, LinearMap, Network, NodeId, Op};

use crate::device::host::{self, Ascent, Given};
use crate::dual::{Base, Target};
use crate::engine::BoundEngine;
use crate::error::{Error, ErrorKind};
use crate::planes::Plane;

/// Sweeps over all nodes, and the share of an end's distance that one must take off somewhere for another to be worth it.
const MOST_SWEEPS: usize = 4;
const LEAST_SHARE: f64 = 0.01;
/// Steps of the optimisation of a plane.
const PLANE_STEPS: usize = 8;
/// The least coefficient by which anything is divided.
const LEAST_COEFFICIENT: f64 = 1e-30;

/// Cuts a box, its lower and upper ends, back to where a linear function can be non-negative: every coordinate to where the others, at
/// their best, still reach it; rounded outward. None if that is nowhere.
///
/// The function is `Σ a_i x_i + b`, of `terms` `(i, a_i)` with every coordinate once, and may be off by `error` anywhere in the box. With
/// `S ≥ max_box g`, `a_i > 0` and `g(x) ≥ 0` imply `x_i ≥ u_i − S / a_i`: the others add at most `S − a_i u_i`. A box with an end that is
/// no number, or infinite, stays as it is.
pub fn cut_back(
    [lower, upper]: [&mut [f32]; 2],
    terms: impl Iterator<Item = (usize, f64)> + Clone,
    b: f64,
    error: f64,
) -> Option<()> {
    let (mut most, mut size, mut widest, mut n) = (b, b.abs(), 0.0_f64, 0_usize);
    for (i, a) in terms.clone() {
        let (l, u) = (f64::from(lower[i]), f64::from(upper[i]));
        if l.is_nan() || u.is_nan() {
            return Some(());
        }
        most += (a * l).max(a * u);
        size += a.abs() * l.abs().max(u.abs());
        widest = widest.max(a.abs() * (u - l));
        n += 1;
    }
    let most = most + error + 4.0 * (n as f64 + 8.0) * f64::EPSILON * (size + error) + 1e-300;
    if !most.is_finite() {
        return Some(());
    }
    if most < 0.0 {
        return None;
    }
    let is_reached = |way: f64| way <= most * (1.0 + 16.0 * f64::EPSILON);
    if is_reached(widest) {
        return Some(());
    }
    // The sum is over the box as it was: every coordinate may use it, since a narrower box only makes it smaller.
    for (i, a) in terms {
        let (l, u) = (f64::from(lower[i]), f64::from(upper[i]));
        if a.abs() < LEAST_COEFFICIENT || is_reached(a.abs() * (u - l)) {
            continue;
        }
        let reach = most / a.abs() * (1.0 + 16.0 * f64::EPSILON);
        // Subtracting rounds in f64, and so does the step to f32: its neighbour outward is past both.
        if a > 0.0 {
            lower[i] = lower[i].max(((u - reach) as f32).next_down()).min(upper[i]);
        } else {
            upper[i] = upper[i].min(((l + reach) as f32).next_up()).max(lower[i]);
        }
    }
    Some(())
}

impl BoundEngine {
    /// The part of a base where its splits hold and these outputs are not positive, as far as planes over its box and intervals find it:
    /// its box and the bounds of all its nodes, each tightened by what is known of those that read it, and again forward; `None` if no
    /// point is left.
    ///
    /// Where there is neither a split nor an output, every point of the box stays, and nothing can be gained.
    ///
    /// # Errors
    /// As [`Self::constrained`].
    pub fn reversed(&self, base: Base, outputs: &[u32]) -> Result<Option<Base>, Error> {
        if base.splits().is_empty() && outputs.is_empty() && !base.is_constrained() {
            return Ok(Some(base));
        }
        let program = self.narrow()?;
        let (last, n_outputs) = program.nodes[program.nodes.len() - 1];
        let is_constrained = base.is_constrained() || !outputs.is_empty();
        let splits = base.splits().to_vec();
        let planes = self.outer_planes(&base, outputs)?;
        let mut found = base;
        for _ in 0..MOST_SWEEPS {
            let before = &found.narrow.state;
            let mut state = before.clone();
            for &output in outputs {
                let upper = &mut state[last + n_outputs + output as usize];
                *upper = upper.min(0.0);
            }
            for plane in &planes {
                let (lower, rest) = state.split_at_mut(program.n_inputs);
                let upper = &mut rest[..program.n_inputs];
                let terms = plane.a.iter().map(|a| -a).enumerate();
                if cut_back([lower, upper], terms, -plane.b, 0.0).is_none() {
                    return Ok(None);
                }
            }
            if sweep(self.network(), &program.nodes, &mut state).is_none() {
                return Ok(None);
            }
            if !program.nodes.iter().any(|&(at, n)| is_narrower([before, &state].map(|all| &all[at..at + 2 * n]))) {
                break;
            }
            let (lower, upper) = state[..2 * program.n_inputs].split_at(program.n_inputs);
            let ascent = Ascent { steps: 0, ..Ascent::default() };
            let given = Given { known: Some(&state), splits: &splits, ascent, settled: 0 };
            let narrow = host::forward_scope(program, (lower, upper), &given);
            if narrow.is_empty {
                return Ok(None);
            }
            found = Base::new(narrow, splits.clone(), is_constrained);
        }
        Ok(Some(found))
    }

    /// Planes over a base's box that are not positive where its splits hold and these outputs are not positive.
    fn outer_planes(&self, base: &Base, outputs: &[u32]) -> Result<Vec<Plane>, Error> {
        let n = self.network().n_inputs();
        if self.has_set() {
            return Ok(Vec::new());
        }
        let (lower, upper) = base.ends(n);
        let mean: Vec<f32> = lower.iter().zip(upper).map(|(l, u)| 0.5 * l + 0.5 * u).collect();
        let ascent = Ascent { steps: PLANE_STEPS, ..Ascent::default() };
        let mut planes = Vec::new();
        // A plane below what is not positive is not positive there: of a neuron held `≥ 0`, the negative.
        for of_node in base.splits().chunk_by(|a, b| a.node == b.node) {
            let rows: Vec<(u32, bool)> = of_node.iter().map(|split| (split.neuron, split.is_active)).collect();
            match self.mean_planes(base, Target::Operand(of_node[0].node), &rows, ascent, &mean) {
                Ok(found) => planes.extend(found),
                // The first layer's neurons are affine in the inputs, and no plane of theirs says more than their rows.
                Err(Error { kind: ErrorKind::NotOptimised }) => {}
                Err(error) => return Err(error),
            }
        }
        let rows: Vec<(u32, bool)> = outputs.iter().map(|&output| (output, false)).collect();
        planes.extend(self.mean_planes(base, Target::Outputs, &rows, ascent, &mean)?);
        // One that is no number says nothing.
        Ok(planes.into_iter().map(|(plane, _)| plane).filter(|plane| plane.b.is_finite()).collect())
    }
}

/// Whether some interval has lost a noticeable share: lower ends, then upper ends.
fn is_narrower([before, after]: [&[f32]; 2]) -> bool {
    let n = before.len() / 2;
    (0..n).any(|i| {
        let [old, new] = [before, after].map(|ends| f64::from(ends[n + i]) - f64::from(ends[i]));
        new < (1.0 - LEAST_SHARE) * old
    })
}

/// Tightens every node by those that read it, the last first; `None` if no point is left. `nodes` are where the bounds of each start in
/// the state, and how many there are.
fn sweep(network: &Network, nodes: &[(usize, usize)], state: &mut [f32]) -> Option<()> {
    for place in (1..nodes.len()).rev() {
        let node = network.node(NodeId(place));
        let (at, n) = nodes[place];
        // Operands come first, in the network and in the state.
        let (earlier, own) = state.split_at_mut(at);
        let (lower, upper) = own[..2 * n].split_at(n);
        let operand = |which: usize| nodes[node.inputs[which].0];
        match &node.op {
            Op::Affine(affine) => {
                let (at, n) = operand(0);
                let (l, u) = earlier[at..at + 2 * n].split_at_mut(n);
                through_affine(affine, (lower, upper), (l, u))?;
            }
            Op::Activation(Activation::Relu) => {
                let (at, n) = operand(0);
                let (l, u) = earlier[at..at + 2 * n].split_at_mut(n);
                for i in 0..n {
                    if upper[i] < 0.0 {
                        return None;
                    }
                    u[i] = u[i].min(upper[i]);
                    if lower[i] > 0.0 {
                        l[i] = l[i].max(lower[i]);
                    }
                    if l[i] > u[i] {
                        return None;
                    }
                }
            }
            Op::MaxPool(pool) => {
                let (at, n) = operand(0);
                let u = &mut earlier[at + n..at + 2 * n];
                for (o, &most) in upper.iter().enumerate() {
                    for i in pool.window(o) {
                        u[i] = u[i].min(most);
                    }
                }
            }
            Op::Add => {
                for which in 0..node.inputs.len() {
                    through_sum(earlier, nodes, &node.inputs, which, (lower, upper))?;
                }
            }
            // What other functions say of their operands is little: their curves are flat where they are certain.
            Op::Activation(_) | Op::Input => {}
        }
    }
    Some(())
}

/// Tightens one operand of a sum by the others.
fn through_sum(
    earlier: &mut [f32],
    nodes: &[(usize, usize)],
    operands: &[NodeId],
    which: usize,
    (lower, upper): (&[f32], &[f32]),
) -> Option<()> {
    let (at, n) = nodes[operands[which].0];
    for i in 0..n {
        let others = operands.iter().enumerate().filter(|&(other, _)| other != which).map(|(_, operand)| operand.0);
        let (mut least, mut most, mut size) = (0.0_f64, 0.0_f64, 0.0_f64);
        for other in others {
            let (at, n) = nodes[other];
            let (l, u) = (f64::from(earlier[at + i]), f64::from(earlier[at + n + i]));
            (least, most, size) = (least + l, most + u, size + l.abs().max(u.abs()));
        }
        let rounding = 4.0 * operands.len() as f64 * f64::EPSILON * size;
        let low = ((f64::from(lower[i]) - (most + rounding)) as f32).next_down();
        let high = ((f64::from(upper[i]) - (least - rounding)) as f32).next_up();
        // `max` and `min` pass over what is no number.
        let (l, u) = (earlier[at + i].max(low), earlier[at + n + i].min(high));
        if l > u {
            return None;
        }
        (earlier[at + i], earlier[at + n + i]) = (l, u);
    }
    Some(())
}

/// Tightens an affine node's operand by what is known of the node's values.
fn through_affine(affine: &Affine, (lower, upper): (&[f32], &[f32]), (l, u): (&mut [f32], &mut [f32])) -> Option<()> {
    let error = &affine.error;
    // Errors of whole rows count every operand, stored or not.
    let total: f64 = if error.absolute.is_empty() {
        0.0
    } else {
        l.iter().zip(u.iter()).map(|(l, u)| f64::from(l.abs().max(u.abs()))).sum()
    };
    let mut row = Vec::new();
    for k in 0..affine.n_out() {
        let (least, most) = (f64::from(lower[k]), f64::from(upper[k]));
        if !(least.is_finite() && most.is_finite()) {
            continue;
        }
        row.clear();
        fill_row(&affine.map, k, &mut row);
        let magnitude = |&(i, a): &(usize, f64)| a.abs() * f64::from(l[i].abs().max(u[i].abs()));
        let relative = error.relative * row.iter().map(magnitude).sum::<f64>();
        let of_row = |errors: &[f64]| errors.get(k).copied().unwrap_or(0.0);
        let off = (relative + of_row(&error.absolute) * total + of_row(&error.bias)) * (1.0 + 1e-9);
        // The constants' own rounding.
        let off = off + 4.0 * f64::EPSILON * (affine.bias[k].abs() + least.abs().max(most.abs()));
        cut_back([&mut *l, &mut *u], row.iter().copied(), affine.bias[k] - least, off)?;
        cut_back([&mut *l, &mut *u], row.iter().map(|&(i, a)| (i, -a)), most - affine.bias[k], off)?;
    }
    Some(())
}

/// The entries of a row of a linear map.
fn fill_row(map: &LinearMap, k: usize, row: &mut Vec<(usize, f64)>) {
    match map {
        LinearMap::Dense(dense) => {
            let of_row = &dense.weight[k * dense.n_in..][..dense.n_in];
            row.extend(of_row.iter().copied().enumerate().filter(|(_, a)| *a != 0.0));
        }
        LinearMap::Conv(conv) => fill_window(conv, k, row),
        LinearMap::Sparse(sparse) => {
            let of_row = sparse.offsets[k] as usize..sparse.offsets[k + 1] as usize;
            let columns = sparse.columns[of_row.clone()].iter().map(|&i| i as usize);
            row.extend(columns.zip(sparse.values[of_row].iter().copied()));
        }
    }
}

/// The entries of a convolution's output.
fn fill_window(conv: &Conv, k: usize, row: &mut Vec<(usize, f64)>) {
    let plane = conv.out_height * conv.out_width;
    let (channel, y, x) = (k / plane, k % plane / conv.out_width, k % conv.out_width);
    let per_group = conv.in_channels / conv.groups;
    let first = channel / (conv.out_channels / conv.groups) * per_group;
    let [height, width] = conv.kernel;
    for c in 0..per_group {
        for ky in 0..height {
            let Some(row_in) = (y * conv.stride[0] + ky * conv.dilation[0]).checked_sub(conv.pad[0]) else { continue };
            for kx in 0..width {
                let Some(column) = (x * conv.stride[1] + kx * conv.dilation[1]).checked_sub(conv.pad[1]) else {
                    continue;
                };
                if row_in < conv.in_height && column < conv.in_width {
                    let i = ((first + c) * conv.in_height + row_in) * conv.in_width + column;
                    row.push((i, conv.weight[((channel * per_group + c) * height + ky) * width + kx]));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::cut_back;

    #[test]
    fn a_row_cuts_what_it_excludes_and_unknown_ends_cut_nothing() {
        // x₀ − 2 x₁ − 1 over [0, 4] × [0, 1] is not negative: x₀ ≥ 1.
        let (mut lower, mut upper) = ([0.0_f32, 0.0], [4.0_f32, 1.0]);
        let row = [(0, 1.0), (1, -2.0)];
        assert_eq!(cut_back([&mut lower, &mut upper], row.into_iter(), -1.0, 0.0), Some(()));
        assert!(lower[0] <= 1.0 && lower[0] > 0.999 && lower[1] == 0.0 && upper == [4.0, 1.0], "{lower:?} {upper:?}");
        // It holds nowhere, but for an error.
        assert_eq!(cut_back([&mut lower, &mut upper], row.into_iter(), -4.1, 0.0), None);
        assert_eq!(cut_back([&mut lower, &mut upper], row.into_iter(), -4.1, 0.2), Some(()));
        for end in [f32::NAN, f32::NEG_INFINITY] {
            let (mut lower, mut upper) = ([end, 0.0], [1.0_f32, 1.0]);
            assert_eq!(cut_back([&mut lower, &mut upper], [(0, -1.0), (1, 1.0)].into_iter(), -0.5, 0.0), Some(()));
            assert!(lower[0].to_bits() == end.to_bits() && upper == [1.0, 1.0]);
        }
    }
}
