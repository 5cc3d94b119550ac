//! Optimised bounds (α-CROWN, β-CROWN): what [`BoundEngine`] does besides plain batches.

use std::sync::OnceLock;

use rayon::prelude::*;

use crate::device::host::{self, Ascent, Ended, Given, Goal, Keep, LaneBlock, Proof, Scope, Shared, Split, Start};
use crate::engine::{Batch, BoundEngine, Bounds};
use crate::error::{Error, ErrorKind};
use crate::kernels::Row;
#[cfg(feature = "gpu")]
use crate::lane_device::LaneRequest;
use crate::logistic::Logistic;
use crate::program::{ActivationKind, Backward, Program, Relax, Step};
use crate::scalar::Scalar;
use crate::sweep::Sweep;

/// Bounds of every node over one subdomain, from which any number of its pieces are bounded.
#[derive(Debug)]
pub struct Base {
    pub(crate) narrow: Scope<f32>,
    precise: OnceLock<Option<Scope<f64>>>,
    /// In a device's arithmetic.
    #[cfg(feature = "gpu")]
    on_device: OnceLock<Scope<f32>>,
    splits: Vec<Split>,
    /// Whether its bounds hold only where some output is not positive.
    is_constrained: bool,
}

impl Clone for Base {
    fn clone(&self) -> Self {
        // What is only a cache is found again.
        Self::new(self.narrow.clone(), self.splits.clone(), self.is_constrained)
    }
}

/// What rows bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The network's outputs.
    Outputs,
    /// The operand of this activation (by its own node), where [`BoundEngine::undecided`] lists it.
    Operand(u32),
    /// The operand of a `ReLU` (by its own node) over those points of a subdomain at which this output is not positive: where a
    /// violation is looked for, points without one are of no concern.
    Constrained {
        /// The `ReLU`.
        activation: u32,
        /// The output.
        output: u32,
    },
}

/// Neurons with their lower and upper bounds.
pub type NeuronBounds = Vec<(u32, f32, f32)>;

/// A row to bound over a piece of a [`Base`].
#[derive(Debug, Clone, Copy)]
pub struct Lane<'a> {
    /// The neuron of the target.
    pub neuron: u32,
    /// Whether the negative of the neuron is bounded from below, which gives its upper end.
    pub is_upper: bool,
    /// The splits whose multipliers are optimised, with what these start from.
    pub splits: &'a [(Split, f32)],
    /// What `α` starts from, as an earlier result of the same base gave it; empty: the adaptive slopes.
    pub alpha: &'a [u8],
    /// What the weight of a constrained neuron, beside the output's weight of one, starts from; of no meaning elsewhere.
    pub weight: f32,
}

/// Most lanes that are propagated together, and how many blocks there should at least be.
const BLOCK_LANES: usize = 64;
const BLOCKS: usize = 4;

impl Base {
    pub(crate) const fn new(narrow: Scope<f32>, splits: Vec<Split>, is_constrained: bool) -> Self {
        Self {
            narrow,
            precise: OnceLock::new(),
            #[cfg(feature = "gpu")]
            on_device: OnceLock::new(),
            splits,
            is_constrained,
        }
    }

    /// The splits that its bounds already contain.
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// Whether its bounds hold only where some output is not positive.
    pub fn is_constrained(&self) -> bool {
        self.is_constrained
    }

    /// The box.
    pub fn ends(&self, n_inputs: usize) -> (&[f32], &[f32]) {
        let (lower, rest) = self.narrow.state.split_at(n_inputs);
        (lower, &rest[..n_inputs])
    }
}

impl BoundEngine {
    /// Bounds every node over a box in which `splits` hold; `None` if no point does. Bounds of a `parent` that contains it, and
    /// whose splits hold too, are kept where they are tighter.
    ///
    /// Intermediate bounds are optimised with `ascent` where the recipe says so and it has steps.
    ///
    /// # Errors
    /// As [`Self::bound`]; [`ErrorKind::Magnitude`] also where f32 could overflow.
    pub fn base(
        &self,
        (lower, upper): (&[f32], &[f32]),
        parent: Option<&Base>,
        splits: &[Split],
        ascent: Ascent,
    ) -> Result<Option<Base>, Error> {
        let program = self.narrow()?;
        self.check(&Batch { lower: lower.to_vec(), upper: upper.to_vec() })?;
        let mut splits = splits.to_vec();
        splits.sort_unstable();
        splits.dedup();
        let known = parent.map(|parent| parent.narrow.state.as_slice());
        let narrow = self.scope(program, (lower, upper), &Given { known, splits: &splits, ascent, settled: 0 });
        let is_constrained = parent.is_some_and(|parent| parent.is_constrained);
        Ok((!narrow.is_empty).then(|| Base::new(narrow, splits, is_constrained)))
    }

    /// The `ReLU`s that a base leaves undecided and whose operands' bounds are found backwards: activation and neurons, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn undecided(&self, base: &Base) -> Result<Vec<(u32, Vec<u32>)>, Error> {
        let program = self.narrow()?;
        let mut layers = Vec::new();
        for (node, relax) in program.activations.iter().enumerate() {
            let Some(relax) = relax.filter(|relax| relax.kind == ActivationKind::Relu as u32) else { continue };
            if program.sweeps[program.node_at(relax.source)].is_none() {
                continue;
            }
            let (at, n) = (relax.source as usize, relax.n as usize);
            let is_undecided =
                |j: &u32| base.narrow.state[at + *j as usize] < 0.0 && base.narrow.state[at + n + *j as usize] > 0.0;
            let neurons: Vec<u32> = base.narrow.entries[node].iter().copied().filter(is_undecided).collect();
            if !neurons.is_empty() {
                layers.push((node as u32, neurons));
            }
        }
        Ok(layers)
    }

    /// Every `ReLU`, in node order, with the neurons whose `α` a [`Proof`] over this base holds.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn relu_entries<'b>(&self, base: &'b Base) -> Result<Vec<(u32, &'b [u32])>, Error> {
        let program = self.narrow()?;
        let is_relu = |relax: &Option<Relax>| relax.is_some_and(|relax| relax.kind == ActivationKind::Relu as u32);
        let relus = program.activations.iter().enumerate().filter(|(_, relax)| is_relu(relax));
        Ok(relus.map(|(node, _)| (node as u32, base.narrow.entries[node].as_slice())).collect())
    }

    /// The same subdomain with tighter bounds of an activation's operand — `(neuron, lower, upper)` — and with what follows from
    /// them; `None` if no point is left.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn tightened(
        &self,
        base: &Base,
        activation: u32,
        bounds: &[(u32, f32, f32)],
        ascent: Ascent,
    ) -> Result<Option<Base>, Error> {
        self.tightened_with(base, activation, bounds, (base.splits.clone(), ascent))
    }

    pub(crate) fn tightened_with(
        &self,
        base: &Base,
        activation: u32,
        bounds: &[(u32, f32, f32)],
        (splits, ascent): (Vec<Split>, Ascent),
    ) -> Result<Option<Base>, Error> {
        let program = self.narrow()?;
        let Some(relax) = &program.activations[activation as usize] else { return Err(ErrorKind::NotOptimised.into()) };
        let mut known = base.narrow.state.clone();
        for &(neuron, lower, upper) in bounds {
            let (l, u) = (relax.source as usize + neuron as usize, (relax.source + relax.n + neuron) as usize);
            known[l] = known[l].larger(lower);
            known[u] = known[u].smaller(upper);
        }
        let given = Given { known: Some(&known), splits: &splits, ascent, settled: activation as usize };
        let narrow = self.scope(program, base.ends(program.n_inputs), &given);
        Ok((!narrow.is_empty).then(|| Base::new(narrow, splits, base.is_constrained)))
    }

    /// Bounds of every node over one box, those that are optimised on the device if there is one.
    #[cfg_attr(not(feature = "gpu"), expect(clippy::unused_self, reason = "asked for its device only"))]
    fn scope(&self, program: &Program<f32>, ends: (&[f32], &[f32]), given: &Given<f32>) -> Scope<f32> {
        #[cfg(feature = "gpu")]
        if let Some(scope) = self.scopes_on_device(program, &[ends], given).and_then(|mut scopes| scopes.pop()) {
            return scope;
        }
        host::scope(program, ends, given)
    }

    /// Bounds of every node over some boxes; none if no device optimises any.
    #[cfg(feature = "gpu")]
    fn scopes_on_device(
        &self,
        program: &Program<f32>,
        boxes: &[(&[f32], &[f32])],
        given: &Given<f32>,
    ) -> Option<Vec<Scope<f32>>> {
        // Nothing is done if there is no such device.
        if given.ascent.steps == 0 || self.on_lanes(|_| Ok(Some(()))).is_none() {
            return None;
        }
        let refiner = |step: usize, scopes: &[&Scope<f32>], rows: &[(usize, Row)]| {
            let how = (&given.ascent, Goal::Decided);
            let ended = self.on_lanes(|device| device.refine(step, (scopes, given.splits), rows, how))?;
            Some(ended.into_iter().map(|end| end.bound).collect())
        };
        Some(host::scopes(program, boxes, given, &refiner))
    }

    /// The part of a base where `splits` hold and some output is not positive, given bounds that hold there of operands of `ReLU`s —
    /// `(activation, neuron, lower, upper)` — and what intervals make of them; `None` if no point is left.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn constrained(
        &self,
        base: &Base,
        bounds: &[(u32, u32, f32, f32)],
        splits: &[Split],
    ) -> Result<Option<Base>, Error> {
        let program = self.narrow()?;
        let mut known = base.narrow.state.clone();
        for &(activation, neuron, lower, upper) in bounds {
            let Some(relax) = &program.activations[activation as usize] else {
                return Err(ErrorKind::NotOptimised.into());
            };
            let (l, u) = (relax.source as usize + neuron as usize, (relax.source + relax.n + neuron) as usize);
            known[l] = known[l].larger(lower);
            known[u] = known[u].smaller(upper);
        }
        let mut splits = [&base.splits, splits].concat();
        splits.sort_unstable();
        splits.dedup();
        let ascent = Ascent { steps: 0, ..Ascent::default() };
        let given = Given { known: Some(&known), splits: &splits, ascent, settled: 0 };
        let narrow = host::forward_scope(program, base.ends(program.n_inputs), &given);
        Ok((!narrow.is_empty).then(|| Base::new(narrow, splits, true)))
    }

    /// The `ReLU`s that a base leaves undecided and whose operands can be bounded where an output is not positive: activation and
    /// neurons with their bounds, in order.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow.
    pub fn constrainable(&self, base: &Base) -> Result<Vec<(u32, NeuronBounds)>, Error> {
        let program = self.narrow()?;
        let Some((_, sweep)) = pass(program, Target::Outputs) else { return Ok(Vec::new()) };
        let mut layers = Vec::new();
        for (node, relax) in program.activations.iter().enumerate() {
            let Some(relax) = relax.filter(|_| sweep.caps[node] > 0.0) else { continue };
            let (at, n) = (relax.source as usize, relax.n as usize);
            let bounds = |j: u32| (j, base.narrow.state[at + j as usize], base.narrow.state[at + n + j as usize]);
            let entries = base.narrow.entries[node].iter().map(|&j| bounds(j));
            let neurons: Vec<_> = entries.filter(|&(_, lower, upper)| lower < 0.0 && upper > 0.0).collect();
            if !neurons.is_empty() {
                layers.push((node as u32, neurons));
            }
        }
        Ok(layers)
    }

    /// Bounds rows over pieces of a base, each with `α` and `β` of its own; a lane stops once its output is positive, or its neuron
    /// decided.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] where f32 could overflow, [`ErrorKind::NotOptimised`] where the target's bounds are not optimised.
    pub fn ascend(
        &self,
        base: &Base,
        target: Target,
        lanes: &[Lane],
        ascent: &Ascent,
        keep: Keep,
    ) -> Result<Vec<Ended<f32>>, Error> {
        let goal = if target == Target::Outputs { Goal::Positive } else { Goal::Decided };
        #[cfg(feature = "gpu")]
        {
            let found = self.on_lanes(|device| {
                let scope = base.on_device.get_or_init(|| device.whole(&base.narrow, &base.splits));
                let entries = base.narrow.entries.as_slice();
                device.ascend(scope, LaneRequest { target, lanes, entries, how: (ascent, goal, keep) })
            });
            if let Some(ended) = found {
                return Ok(ended);
            }
        }
        ascend(self.narrow()?, (&base.narrow, target), lanes, ascent, goal, keep)
    }

    /// As [`Self::ascend`], in f64: for what f32 leaves open only because of its slack.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] if even f64 could overflow.
    pub fn ascend_precisely(
        &self,
        base: &Base,
        lanes: &[Lane],
        ascent: &Ascent,
        keep: Keep,
    ) -> Result<Vec<Ended<f64>>, Error> {
        let (program, narrow) = (self.precise()?, self.narrow()?);
        let scope = base.precise.get_or_init(|| {
            let known = base.narrow.widened(narrow, program);
            let (lower, upper) = base.ends(program.n_inputs);
            let widen = |ends: &[f32]| -> Vec<f64> { ends.iter().map(|&end| f64::from(end)).collect() };
            let ascent = Ascent { steps: 0, ..Ascent::default() };
            let given = Given { known: Some(&known), splits: &base.splits, ascent, settled: 0 };
            // Bounds are taken over, so that only lines and error coefficients are new.
            let scope = host::forward_scope(program, (&widen(lower), &widen(upper)), &given);
            (!scope.is_empty).then_some(scope)
        });
        let Some(scope) = scope else {
            // A piece may hold no point; a whole box cannot: then nothing is known.
            let nothing = if base.splits.is_empty() && !base.is_constrained {
                Ended::unknown()
            } else {
                Ended { bound: f64::INFINITY, is_empty: true, ..Ended::unknown() }
            };
            return Ok(vec![nothing; lanes.len()]);
        };
        // `α` belongs to the entries of the narrow scope; the precise one may have fewer.
        let translated: Vec<Vec<u8>> = lanes.iter().map(|lane| translate(&base.narrow, scope, lane.alpha)).collect();
        let lanes: Vec<Lane> = lanes.iter().zip(&translated).map(|(lane, alpha)| Lane { alpha, ..*lane }).collect();
        let mut ended = ascend(program, (scope, Target::Outputs), &lanes, ascent, Goal::Positive, keep)?;
        for proof in ended.iter_mut().filter_map(|end| end.proof.as_mut()) {
            narrow_proof(program, (scope, &base.narrow), proof);
        }
        Ok(ended)
    }

    /// Bounds every output over every box with intermediate bounds and outputs optimised, in f32. Where the recipe has lower ends
    /// only, an output's optimisation stops once it is positive.
    ///
    /// # Errors
    /// As [`Self::bound`].
    pub fn bound_optimised(&self, batch: &Batch, ascent: Ascent) -> Result<Bounds, Error> {
        self.check(batch)?;
        match self.narrow() {
            Ok(program) => {
                #[cfg(feature = "gpu")]
                if let Some(bounds) = self.optimise_on_device(program, batch, ascent) {
                    return bounds;
                }
                optimise(self, program, (&batch.lower, &batch.upper), ascent)
            }
            Err(Error { kind: ErrorKind::Magnitude { .. } }) => {
                let (lower, upper) = batch.to_f64();
                self.bound_optimised_precisely(&lower, &upper, ascent)
            }
            Err(error) => Err(error),
        }
    }

    /// As [`Self::bound_optimised`], in f64.
    ///
    /// # Errors
    /// As [`Self::bound_precisely`].
    pub fn bound_optimised_precisely(&self, lower: &[f64], upper: &[f64], ascent: Ascent) -> Result<Bounds, Error> {
        let program = self.precise()?;
        self.check_precisely(lower, upper)?;
        optimise(self, program, (lower, upper), ascent)
    }
}

#[cfg(feature = "gpu")]
impl BoundEngine {
    /// As [`optimise`], all boxes together on the device; none if there is no such device.
    fn optimise_on_device(
        &self,
        program: &Program<f32>,
        batch: &Batch,
        ascent: Ascent,
    ) -> Option<Result<Bounds, Error>> {
        let n = program.n_inputs;
        let ends = batch.lower.chunks_exact(n).zip(batch.upper.chunks_exact(n));
        let given = Given { ascent, ..Given::nothing() };
        let scopes = self.scopes_on_device(program, &ends.collect::<Vec<_>>(), &given)?;
        let (rows, goal) = output_rows(self);
        let objective = program.steps.len() - 1;
        let all: Vec<&Scope<f32>> = scopes.iter().collect();
        let placed: Vec<(usize, Row)> = (0..scopes.len()).flat_map(|b| rows.iter().map(move |&row| (b, row))).collect();
        let ended = self.on_lanes(|device| device.refine(objective, (&all, &[]), &placed, (&ascent, goal)));
        let found: Result<Vec<_>, Error> = match ended {
            Some(ended) => Ok(ended.chunks(rows.len().max(1)).map(<[_]>::to_vec).collect()),
            None => scopes.par_iter().map(|scope| over_scope(program, scope, (&rows, goal), &ascent)).collect(),
        };
        Some(found.map(|found| collected(program.n_outputs, found.into_iter().zip(scopes.iter().map(n_undecided)))))
    }
}

/// Rows of the outputs over one box.
fn over_scope<T: Logistic>(
    program: &Program<T>,
    scope: &Scope<T>,
    (rows, goal): (&[Row], Goal),
    ascent: &Ascent,
) -> Result<Vec<Ended<T>>, Error> {
    let lane = |row: &Row| Lane { neuron: row.neuron, is_upper: row.is_upper, splits: &[], alpha: &[], weight: 0.0 };
    let lanes: Vec<Lane> = rows.iter().map(lane).collect();
    ascend(program, (scope, Target::Outputs), &lanes, ascent, goal, Keep::default())
}

/// Lower ends of every output, and upper ends where the recipe has both; when their optimisation ends.
fn output_rows(engine: &BoundEngine) -> (Vec<Row>, Goal) {
    let has_both = engine.recipe().both_ends;
    let ends = |is_upper| (0..engine.network().n_outputs() as u32).map(move |neuron| Row { neuron, is_upper });
    let rows = ends(false).chain(ends(true).filter(|_| has_both)).collect();
    (rows, if has_both { Goal::Tightest } else { Goal::Positive })
}

/// What the rows of every box ended with, as bounds.
fn collected<T: Logistic>(n_outputs: usize, found: impl Iterator<Item = (Vec<Ended<T>>, u64)>) -> Bounds {
    let mut bounds = Bounds { n_outputs, ..Bounds::default() };
    for (ended, n_undecided) in found {
        let (below, above) = ended.split_at(n_outputs);
        // A bound that is not finite says nothing.
        let sound = |end: &Ended<T>| if end.bound.is_finite() { end.bound.to_f64() } else { f64::NEG_INFINITY };
        bounds.lower.extend(below.iter().map(sound));
        bounds.lower_slack.extend(below.iter().map(|end| end.slack.to_f64()));
        bounds.upper.extend(above.iter().map(|end| -sound(end)));
        bounds.upper_slack.extend(above.iter().map(|end| end.slack.to_f64()));
        bounds.n_unstable += n_undecided;
    }
    bounds
}

fn n_undecided<T>(scope: &Scope<T>) -> u64 {
    scope.entries.iter().map(|entries| entries.len() as u64).sum()
}

/// Lower ends of every output over every box, and upper ends where the recipe has both.
fn optimise<T: Logistic>(
    engine: &BoundEngine,
    program: &Program<T>,
    (lower, upper): (&[T], &[T]),
    ascent: Ascent,
) -> Result<Bounds, Error> {
    let n = program.n_inputs;
    let (rows, goal) = output_rows(engine);
    let one = |b: usize| {
        let given = Given { ascent, ..Given::nothing() };
        let scope = host::scope(program, (&lower[b * n..][..n], &upper[b * n..][..n]), &given);
        Ok((over_scope(program, &scope, (&rows, goal), &ascent)?, n_undecided(&scope)))
    };
    let found: Result<Vec<_>, Error> = (0..lower.len() / n).into_par_iter().with_min_len(1).map(one).collect();
    Ok(collected(program.n_outputs, found?.into_iter()))
}

/// The optimised pass of a target.
pub(crate) fn pass<T>(program: &Program<T>, target: Target) -> Option<(&Backward, &Sweep)> {
    let node = match target {
        Target::Outputs | Target::Constrained { .. } => program.nodes.len() - 1,
        Target::Operand(activation) => program.node_at(program.activations.get(activation as usize)?.as_ref()?.source),
    };
    let backward = program.steps.iter().find_map(|step| match (step, target) {
        (Step::Objective(backward), Target::Outputs | Target::Constrained { .. }) => Some(backward),
        (Step::Refine(_, backward), Target::Operand(_)) => {
            (program.node_at(backward.concretize.target) == node).then_some(backward)
        }
        _ => None,
    });
    Some((backward?, program.sweeps[node].as_ref()?))
}

/// Blocks of lanes over all cores.
fn ascend<T: Logistic>(
    program: &Program<T>,
    (scope, target): (&Scope<T>, Target),
    lanes: &[Lane],
    ascent: &Ascent,
    goal: Goal,
    keep: Keep,
) -> Result<Vec<Ended<T>>, Error> {
    let (backward, sweep) = pass(program, target).ok_or(ErrorKind::NotOptimised)?;
    let shared = Shared { program, backward, sweep, scope };
    // Which lanes share a block decides how sums are rounded: never the number of cores.
    let per_block = lanes.len().div_ceil(BLOCKS).next_multiple_of(host::LANES).clamp(host::LANES, BLOCK_LANES);
    let run = |block: &mut LaneBlock<T>, chunk: &[Lane]| {
        let row = |lane: &Lane| match target {
            Target::Constrained { output, .. } => Row { neuron: output, is_upper: false },
            _ => Row { neuron: lane.neuron, is_upper: lane.is_upper },
        };
        let probe = |lane: &Lane| match target {
            Target::Constrained { activation: node, .. } => {
                Some((Split { node, neuron: lane.neuron, is_active: !lane.is_upper }, lane.weight))
            }
            _ => None,
        };
        let rows: Vec<Row> = chunk.iter().map(row).collect();
        let starts: Vec<Start> =
            chunk.iter().map(|lane| Start { splits: lane.splits, alpha: lane.alpha, probe: probe(lane) }).collect();
        block.keeps_proofs = keep.proof;
        block.ascend(&shared, &rows, &starts, ascent, goal);
        block.ended(&shared, &starts, keep)
    };
    let blocks: Vec<Vec<Ended<T>>> = lanes.par_chunks(per_block).map_init(|| LaneBlock::new(program), run).collect();
    Ok(blocks.into_iter().flatten().collect())
}

/// `α` of one scope's entries as that of another's over the same subdomain.
pub(crate) fn translate<T: Scalar, U: Scalar>(from: &Scope<T>, to: &Scope<U>, alpha: &[u8]) -> Vec<u8> {
    let mut translated = Vec::new();
    if alpha.is_empty() {
        return translated;
    }
    let mut first = 0;
    for (old, new) in from.entries.iter().zip(&to.entries) {
        translated.extend(new.iter().map(|neuron| {
            // A neuron that was decided has no slope to choose.
            old.binary_search(neuron).map_or(0, |place| alpha.get(first + place).copied().unwrap_or(0))
        }));
        first += old.len();
    }
    translated
}

/// A proof over the precise scope as one over the narrow scope's entries.
fn narrow_proof(program: &Program<f64>, (from, to): (&Scope<f64>, &Scope<f32>), proof: &mut Proof) {
    let mut alpha = Vec::new();
    let mut first = 0;
    for (node, relax) in program.activations.iter().enumerate() {
        if relax.is_some_and(|relax| relax.kind == ActivationKind::Relu as u32) {
            let (old, new) = (&from.entries[node], &to.entries[node]);
            alpha.extend(new.iter().map(|neuron| {
                old.binary_search(neuron).map_or(0.0, |place| proof.alpha.get(first + place).copied().unwrap_or(0.0))
            }));
            first += old.len();
        }
    }
    proof.alpha = alpha.into();
}
