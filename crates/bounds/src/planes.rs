//! Linear lower bounds as functions: what [`BoundEngine`] does for preimages.

use network::{NodeId, Op};
use rayon::prelude::*;

use crate::device::host::{self, Ascent, Cloud, LANES, LaneBlock, Planes, Shared, Split, Start};
use crate::dual::{Base, Target, pass, translate};
use crate::engine::BoundEngine;
use crate::error::{Error, ErrorKind};
use crate::kernels::Row;
use crate::slack::Arithmetic;

/// A linear function `a x + b` that lies below a row on every point of a subdomain, in real arithmetic.
///
/// What rounding cost its derivation is inside `b`, and so is what an evaluation of `a x + b` in f64, in any order, may lose on the
/// subdomain: where the rounded value is not negative, neither is the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// One coefficient per input.
    pub a: Vec<f64>,
    /// The constant.
    pub b: f64,
}

/// Rows to bound by planes over one subdomain, and what the planes are optimised for.
#[derive(Debug, Clone, Copy)]
pub struct PlaneTask<'a> {
    /// What is bounded.
    pub target: Target,
    /// Neurons of the target; with `true`, the neuron's negative is bounded from below.
    pub rows: &'a [(u32, bool)],
    /// Splits that hold besides the base's own, and those of the base that want multipliers.
    pub splits: &'a [Split],
    /// What each row's `α` starts from (empty: the adaptive slopes), and its multipliers (empty: zero).
    pub starts: &'a [(&'a [u8], &'a [f32])],
    /// How to optimise.
    pub ascent: Ascent,
    /// How many times the rows are bounded side by side, from different slopes.
    pub n_copies: usize,
    /// The samples.
    pub cloud: Cloud<'a, f32>,
}

/// Planes, and what their derivation says besides.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaneBounds {
    /// One for each row, or for each copy of each row where some row suffices; none if nothing finite was found.
    pub planes: Vec<Plane>,
    /// Lower bounds of the same rows over the whole box.
    pub bound: Vec<f32>,
    /// The weight of the samples that are won.
    pub won: f32,
    /// Whether the subdomain holds no point.
    pub is_empty: bool,
    /// The last `α` of each row.
    pub alpha: Vec<Box<[u8]>>,
    /// The last multipliers of each row, in the order of the splits.
    pub beta: Vec<Box<[f32]>>,
    /// Undecided `ReLU`s — activation, neuron — and what the relaxation of each costs at the weighted mean of the samples.
    pub gaps: Vec<(u32, u32, f32)>,
}

impl BoundEngine {
    /// Bounds rows from below by linear functions over a piece of a base: the box, the base's splits and these.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow, [`ErrorKind::NotOptimised`] where the target's bounds are not optimised.
    pub fn planes(&self, base: &Base, task: &PlaneTask) -> Result<PlaneBounds, Error> {
        let program = self.narrow()?;
        let (backward, sweep) = pass(program, task.target).ok_or(ErrorKind::NotOptimised)?;
        let shared = Shared { program, backward, sweep, scope: &base.narrow };
        let rows: Vec<Row> = task.rows.iter().map(|&(neuron, is_upper)| Row { neuron, is_upper }).collect();
        let splits: Vec<Vec<(Split, f32)>> = (0..rows.len())
            .map(|row| {
                let beta = task.starts.get(row).map_or(&[][..], |start| start.1);
                let with = |(place, split): (usize, &Split)| (*split, beta.get(place).copied().unwrap_or(0.0));
                task.splits.iter().enumerate().map(with).collect()
            })
            .collect();
        let starts: Vec<Start> = splits
            .iter()
            .enumerate()
            .map(|(row, splits)| Start {
                splits,
                alpha: task.starts.get(row).map_or(&[][..], |start| start.0),
                probe: None,
            })
            .collect();
        let mut block = LaneBlock::new(program);
        let found = block.ascend_planes(&shared, &rows, &starts, (&task.ascent, task.n_copies.max(1)), &task.cloud);
        let planes = emitted(base, program.n_inputs, &found);
        let (bound, is_empty) = (found.bound, found.is_empty);
        Ok(PlaneBounds {
            planes,
            bound,
            won: found.won,
            is_empty,
            alpha: found.alpha,
            beta: found.beta,
            gaps: found.gaps,
        })
    }

    /// Bounds neurons of an activation's operand by planes that are as high as possible at `mean`, each by itself; with `true` a neuron's
    /// negative. Besides each plane, the row's lower bound over the whole box.
    ///
    /// # Errors
    /// As [`Self::planes`].
    pub fn operand_planes(
        &self,
        base: &Base,
        activation: u32,
        rows: &[(u32, bool)],
        ascent: Ascent,
        mean: &[f32],
    ) -> Result<Vec<(Plane, f32)>, Error> {
        self.mean_planes(base, Target::Operand(activation), rows, ascent, mean)
    }

    /// As [`Self::operand_planes`], of any target.
    pub(crate) fn mean_planes(
        &self,
        base: &Base,
        target: Target,
        rows: &[(u32, bool)],
        ascent: Ascent,
        mean: &[f32],
    ) -> Result<Vec<(Plane, f32)>, Error> {
        let program = self.narrow()?;
        let (backward, sweep) = pass(program, target).ok_or(ErrorKind::NotOptimised)?;
        let shared = Shared { program, backward, sweep, scope: &base.narrow };
        let splits: Vec<(Split, f32)> = base.splits().iter().map(|split| (*split, 0.0)).collect();
        let run = |block: &mut LaneBlock<f32>, rows: &[(u32, bool)]| {
            let rows: Vec<Row> = rows.iter().map(|&(neuron, is_upper)| Row { neuron, is_upper }).collect();
            let found = block.ascend_mean(&shared, &rows, &splits, &ascent, mean);
            emitted(base, program.n_inputs, &found).into_iter().zip(found.bound).collect::<Vec<_>>()
        };
        let blocks: Vec<Vec<(Plane, f32)>> =
            rows.par_chunks(BLOCK_ROWS).map_init(|| LaneBlock::new(program), run).collect();
        Ok(blocks.into_iter().flatten().collect())
    }

    /// The operand of an activation as a function of the input, from below, where it is affine in the input: exact but for rounding. With
    /// `is_upper`, its negative.
    pub fn affine_plane(&self, activation: u32, neuron: u32, is_upper: bool) -> Option<Plane> {
        let operand = self.network().node(NodeId(activation as usize)).inputs.first()?;
        let node = self.network().node(*operand);
        let Op::Affine(affine) = &node.op else { return None };
        if node.inputs[0] != NodeId(0) {
            return None;
        }
        let (n, k) = (self.network().n_inputs(), neuron as usize);
        let sign = if is_upper { -1.0 } else { 1.0 };
        let region = self.region();
        let high: Vec<f64> =
            region.lower.iter().zip(&region.upper).map(|(l, u)| f64::from(l.abs().max(u.abs()))).collect();
        let mut a = vec![0.0; n];
        affine.map.for_each_in_row(k, |i, w| a[i] = sign * w);
        let of = |list: &[f64]| list.get(k).copied().unwrap_or(0.0);
        let absolute = of(&affine.error.absolute);
        let error: f64 =
            a.iter().zip(&high).map(|(a, high)| (affine.error.relative * a.abs() + absolute) * high).sum::<f64>()
                + of(&affine.error.bias);
        // The sum of errors rounds too; all its terms are positive.
        let b = (sign * affine.bias[k] - error * (1.0 + 1e-9)).next_down();
        Some(Plane { a, b }.after_rounding(&high))
    }

    /// The `ReLU`s of the network whose operands can be bounded by planes, in order.
    pub fn activations(&self) -> impl Iterator<Item = u32> + '_ {
        let has_planes = |(id, node): (usize, &network::Node)| {
            let is_relu = matches!(node.op, Op::Activation(network::Activation::Relu));
            let is_bounded = || {
                let program = self.narrow().ok()?;
                pass(program, Target::Operand(id as u32)).map(|_| ())
            };
            (is_relu && (self.affine_plane(id as u32, 0, false).is_some() || is_bounded().is_some()))
                .then_some(id as u32)
        };
        self.network().nodes().iter().enumerate().filter_map(has_planes)
    }

    /// The lower and the upper bounds of an activation's operand.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow, [`ErrorKind::NotOptimised`] where the node is no activation.
    pub fn operand_bounds<'b>(&self, base: &'b Base, activation: u32) -> Result<(&'b [f32], &'b [f32]), Error> {
        let relax = self.narrow()?.activations.get(activation as usize).and_then(Option::as_ref);
        let relax = relax.ok_or(ErrorKind::NotOptimised)?;
        let (n, source) = (relax.n as usize, &base.narrow.state[relax.source as usize..]);
        Ok((&source[..n], &source[n..2 * n]))
    }

    /// As [`Self::tightened`], with more splits that hold from this activation on.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn narrowed(
        &self,
        base: &Base,
        activation: u32,
        bounds: &[(u32, f32, f32)],
        splits: &[Split],
    ) -> Result<Option<Base>, Error> {
        let mut all: Vec<Split> = base.splits().iter().chain(splits).copied().collect();
        all.sort_unstable();
        all.dedup();
        self.tightened_with(base, activation, bounds, (all, Ascent { steps: 0, ..Ascent::default() }))
    }

    /// `α` of one base's undecided neurons as that of another's, over a part of it.
    pub fn carried(&self, from: &Base, to: &Base, alpha: &[u8]) -> Vec<u8> {
        translate(&from.narrow, &to.narrow, alpha)
    }

    /// The values of some nodes at points `[n_points, n_inputs]`, in f32: for each node `[n_points, length]`. For samples, not for bounds.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn evaluate(&self, points: &[f32], nodes: &[usize]) -> Result<Vec<Vec<f32>>, Error> {
        Ok(host::evaluate(self.narrow()?, self.network(), points, nodes))
    }

    /// As [`Self::evaluate`], in f64.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] if even f64 could overflow.
    pub fn evaluate_precisely(&self, points: &[f64], nodes: &[usize]) -> Result<Vec<Vec<f64>>, Error> {
        Ok(host::evaluate(self.precise()?, self.network(), points, nodes))
    }

    /// How many rows are propagated at the cost of one.
    pub const ROWS_AT_ONCE: usize = LANES;
}

/// Rows that are bounded side by side.
const BLOCK_ROWS: usize = 64;

/// Planes with what rounding may cost inside.
fn emitted(base: &Base, n: usize, found: &Planes<f32>) -> Vec<Plane> {
    let (lower, upper) = base.ends(n);
    let high: Vec<f64> = lower.iter().zip(upper).map(|(l, u)| f64::from(l.abs().max(u.abs()))).collect();
    let planes = found.a.chunks_exact(n).zip(found.constant.iter().zip(&found.slack));
    planes
        .map(|(a, (&constant, &slack))| {
            let a: Vec<f64> = a.iter().map(|&a| f64::from(a)).collect();
            let b = (f64::from(constant) - f64::from(slack)).next_down();
            Plane { a, b }.after_rounding(&high)
        })
        .collect()
}

impl Plane {
    /// The plane lowered by `by`, rounded so that whatever evaluates it keeps what it promises.
    #[must_use]
    pub fn lowered(&self, by: f64) -> Self {
        let b = self.b - by - 4.0 * f64::EPSILON * (self.b.abs() + by.abs());
        Self { a: self.a.clone(), b: b.next_down() }
    }

    /// The plane lowered by what any f64 evaluation may lose where `|x_i| ≤ high_i`; nothing finite is lost to a NaN.
    #[must_use]
    pub fn after_rounding(mut self, high: &[f64]) -> Self {
        let gamma = f64::from(Arithmetic::HOST_F64.gamma(self.a.len() + 4));
        let size: f64 = self.a.iter().zip(high).map(|(a, high)| a.abs() * high).sum::<f64>() + self.b.abs();
        self.b = (self.b - 2.0 * gamma * size - 1e-300).next_down();
        self
    }

    /// `a x + b`, in f64.
    pub fn value(&self, x: &[f64]) -> f64 {
        self.a.iter().zip(x).fold(self.b, |sum, (a, x)| sum + a * x)
    }
}
