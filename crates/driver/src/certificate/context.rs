use bounds::{Ascent, Base, BoundEngine, ErrorKind, Keep, Lane, Proof, Split, Target};
use checker::certificate::{ContextId, Origin, PieceId, Writer};
use checker::{Method, Row, Scope};

use super::{Recorder, ReluMap, starts};
use crate::error::Error;

/// A context that was written, and what the checker knows in it.
#[derive(Debug)]
pub struct ContextNotes<'a> {
    /// Its number.
    pub id: ContextId,
    /// The checker's bounds of every node.
    pub scope: Scope<'a>,
    /// How `ReLU`s are named.
    pub map: ReluMap,
}

/// A context that is being written, node by node.
#[derive(Debug)]
pub struct Draft<'p, 'a> {
    id: ContextId,
    scope: Scope<'a>,
    parent: Option<&'p ContextNotes<'a>>,
    map: ReluMap,
    /// How lemmas are optimised.
    ascent: Ascent,
    /// The engine's bounds with what lemmas say, where they were found by multipliers of what the question holds: without them, the engine
    /// would optimise what follows over far more than the checker does.
    narrowed: Option<Base>,
}

/// The proof of one end of one neuron: leaves that cover the context.
#[derive(Debug)]
pub struct LemmaTree {
    /// The neuron.
    pub neuron: u32,
    /// Which end.
    pub is_upper: bool,
    /// Splits of each leaf beyond those of the context, in the order in which they were made, and what bounds it; no proof where
    /// the leaf is empty.
    pub leaves: Vec<(Vec<Split>, Option<LeafProof>)>,
}

/// What bounds a leaf of a lemma: all of its splits with their multipliers, and `α`.
pub type LeafProof = (Vec<(Split, f32)>, Box<[f32]>);

/// A leaf that the engine has decided, for the checker to look at.
#[derive(Debug)]
pub struct Offered {
    /// Where it is in its tree.
    pub piece: PieceId,
    /// Which of the objective's disjuncts.
    pub disjunct: usize,
    /// Which of its rows.
    pub row: usize,
    /// Splits beyond those of the context, in the order in which they were made.
    pub path: Vec<Split>,
    /// The multipliers of all splits.
    pub beta: Vec<(Split, f32)>,
    /// `α` of every entry.
    pub alpha: Box<[f32]>,
}

/// Splits with multipliers, and slopes, of a leaf of a proof.
type ProofLeaf<'l> = (&'l [(checker::Split, f32)], &'l [u16]);

/// A slope as certificates hold it.
fn quantised(alpha: &[f32]) -> Vec<u16> {
    // A cast from NaN is zero, others are clamped.
    alpha.iter().map(|&alpha| (f64::from(alpha) * 65535.0 + 0.5) as u16).collect()
}

/// The splits of the context and of the path, in the certificate's order, with their multipliers.
fn multipliers(scope: &Scope, map: &ReluMap, path: &[Split], beta: &[(Split, f32)]) -> Vec<(checker::Split, f32)> {
    let named: Vec<(checker::Split, f32)> = beta.iter().map(|(split, beta)| (map.split(*split), *beta)).collect();
    let of = |split: checker::Split| {
        let found = named.iter().find(|(other, _)| *other == split).map_or(0.0, |(_, beta)| *beta);
        (split, if found.is_finite() { found.max(0.0) } else { 0.0 })
    };
    scope.splits().iter().copied().chain(path.iter().map(|split| map.split(*split))).map(of).collect()
}

impl Offered {
    /// As the checker takes it.
    pub(super) fn prepare(&self, notes: &ContextNotes, n_slopes: usize) -> (Vec<u16>, Vec<(checker::Split, f32)>) {
        // An empty piece has none. Others would be slopes of other neurons than those declared.
        debug_assert!(
            self.alpha.is_empty() || self.alpha.len() == n_slopes,
            "{} slopes of {n_slopes}",
            self.alpha.len()
        );
        let alpha = if self.alpha.len() == n_slopes { quantised(&self.alpha) } else { Vec::new() };
        (alpha, multipliers(&notes.scope, &notes.map, &self.path, &self.beta))
    }
}

impl<'p, 'a> Draft<'p, 'a> {
    /// Starts a context of a region (`origin` is its box) or one inside `parent`.
    pub fn new(
        recorder: &mut Recorder<'a>,
        (lower, upper): (&[f64], &[f64]),
        map: &ReluMap,
        origin: Origin,
        parent: Option<&'p ContextNotes<'a>>,
    ) -> Self {
        let question = recorder.question;
        let mut splits = parent.map_or_else(|| question.held.to_vec(), |parent| parent.scope.splits().to_vec());
        if let Origin::Context(_, Some(side)) = origin {
            splits.push(side);
        }
        let scope = Scope::start(question.network, lower, upper, &splits, question.rounding()).within(question.set);
        Self {
            id: recorder.writer.context(origin),
            scope,
            parent,
            map: map.clone(),
            ascent: Ascent::default(),
            narrowed: None,
        }
    }

    /// Optimises lemmas in this way.
    #[must_use]
    pub fn with_ascent(mut self, ascent: Ascent) -> Self {
        self.ascent = ascent;
        self
    }

    /// Writes lemmas up to the operand of an engine's activation, which stays to be bounded; to the end without one.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn advance(
        &mut self,
        recorder: &mut Recorder<'a>,
        engine: &BoundEngine,
        base: &Base,
        until: Option<u32>,
    ) -> Result<(), Error> {
        while let Some(node) = self.scope.next() {
            if self.scope.is_empty() {
                return Ok(());
            }
            let relu = recorder.relus.iter().position(|&of| of == node);
            if let Some(relu) = relu {
                if until == Some(self.map.node(relu)) {
                    return Ok(());
                }
                self.relu(recorder, engine, [base, base], (relu, node), &[])?;
            } else {
                self.settle(node, &[]);
            }
        }
        Ok(())
    }

    /// Writes the lemmas of the `ReLU` at which [`Self::advance`] stopped: these trees, and optimised bounds of other neurons.
    ///
    /// Of the two bases, the lemmas were found over the first; slopes of what follows are those of the second, in which they hold.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn layer(
        &mut self,
        recorder: &mut Recorder<'a>,
        engine: &BoundEngine,
        bases: [&Base; 2],
        trees: &[LemmaTree],
    ) -> Result<(), Error> {
        let Some(node) = self.scope.next().filter(|_| !self.scope.is_empty()) else { return Ok(()) };
        let Some(relu) = recorder.relus.iter().position(|&of| of == node) else { return Ok(()) };
        self.relu(recorder, engine, bases, (relu, node), trees)
    }

    /// Bounds every node without lemmas.
    pub fn advance_plainly(&mut self) {
        while let Some(node) = self.scope.next().filter(|_| !self.scope.is_empty()) {
            self.settle(node, &[]);
        }
    }

    /// The engine's bounds, where they are tighter than those that it was given.
    pub fn take_narrowed(&mut self) -> Option<Base> {
        self.narrowed.take()
    }

    /// Ends the context.
    pub fn finish(self) -> ContextNotes<'a> {
        ContextNotes { id: self.id, scope: self.scope, map: self.map }
    }

    fn settle(&mut self, node: usize, with_lemmas: &[u32]) {
        if self.parent.is_none() {
            self.scope.bound_operand(node, Method::Tightest, with_lemmas);
        }
        let parent = self.parent.map(|parent| &parent.scope).filter(|parent| parent.has(node));
        self.scope.settle(node, parent);
    }

    fn relu(
        &mut self,
        recorder: &mut Recorder<'a>,
        engine: &BoundEngine,
        [base, after]: [&Base; 2],
        (relu, node): (usize, usize),
        trees: &[LemmaTree],
    ) -> Result<(), Error> {
        let operand = recorder.question.network.nodes()[node].inputs[0].0;
        let activation = self.map.node(relu);
        let own = self.narrowed.take();
        let (base, after) = own.as_ref().map_or((base, after), |own| (own, own));
        let mut lemmas: Vec<LemmaTree> = Vec::new();
        let undecided = self.scope.undecided(node);
        let has_tree = |neuron: u32| trees.iter().any(|tree| tree.neuron == neuron);
        let held = recorder.question.held;
        let is_held = |neuron: u32| held.iter().any(|split| split.relu as usize == relu && split.neuron == neuron);
        let plain: Vec<u32> =
            undecided.iter().copied().filter(|&neuron| !has_tree(neuron) && !is_held(neuron)).collect();
        if !plain.is_empty() {
            lemmas = optimised((engine, base), activation, &plain, (&self.ascent, &self.map.held(&recorder.question)))?;
        }
        let all: Vec<&LemmaTree> = lemmas.iter().chain(trees).collect();
        let n_slopes = self.scope.n_slopes();
        // The lanes of all leaves, tree by tree.
        let mut lanes = Vec::new();
        for tree in &all {
            for (path, proof) in &tree.leaves {
                let (beta, alpha) = proof.as_ref().map_or((&[][..], &[][..]), |(beta, alpha)| (&beta[..], &alpha[..]));
                let alpha = alpha.get(..n_slopes).map_or(Vec::new(), quantised);
                let row = tree.neuron as usize;
                let row = if tree.is_upper { Row::Upper(row) } else { Row::Lower(row) };
                lanes.push((row, alpha, multipliers(&self.scope, &self.map, path, beta)));
            }
        }
        let borrowed: Vec<checker::Lane> =
            lanes.iter().map(|(row, alpha, splits)| checker::Lane { row: *row, alpha, splits }).collect();
        let bounds = checker::bound(&self.scope, operand, &borrowed);
        let mut first = 0;
        let mut learnt = Vec::new();
        let n_splits = self.scope.splits().len();
        for tree in all {
            let of = first..first + tree.leaves.len();
            first = of.end;
            let claim = checker::claim(bounds[of.clone()].iter().copied().fold(f64::INFINITY, f64::min));
            let (lower, upper) = self.scope.bounds(operand);
            let known = if tree.is_upper { -upper[tree.neuron as usize] } else { lower[tree.neuron as usize] };
            // What is no better than an interval needs no proof.
            if f64::from(claim) <= known {
                continue;
            }
            let mut proof = Vec::new();
            let leaves: Vec<ProofLeaf> = lanes[of].iter().map(|(_, alpha, splits)| (&splits[..], &alpha[..])).collect();
            if !prefix(&mut proof, &leaves, n_splits) {
                continue;
            }
            recorder.writer.lemma(relu as u32, tree.neuron, tree.is_upper, claim, &proof);
            learnt.push((tree.neuron, tree.is_upper, claim));
        }
        for &(neuron, is_upper, claim) in &learnt {
            self.scope.learn(operand, neuron as usize, is_upper, claim);
        }
        if !learnt.is_empty() {
            self.scope.relook(operand);
        }
        let mut narrowed = None;
        if !held.is_empty() {
            let ends = |&(neuron, is_upper, claim): &(u32, bool, f32)| {
                if is_upper { (neuron, f32::NEG_INFINITY, -claim) } else { (neuron, claim, f32::INFINITY) }
            };
            let bounds: Vec<(u32, f32, f32)> = learnt.iter().map(ends).collect();
            narrowed = engine.tightened(base, activation, &bounds, Ascent { steps: 0, ..self.ascent })?;
        }
        let entries = engine.relu_entries(narrowed.as_ref().unwrap_or(after))?;
        let entries = entries.get(relu).map_or(&[][..], |(_, entries)| *entries);
        recorder.writer.slopes(relu as u32, entries);
        let n = recorder.question.network.nodes()[node].len();
        self.scope.declare_slopes(relu, entries, n);
        let mut neurons: Vec<u32> = learnt.iter().map(|(neuron, ..)| *neuron).collect();
        neurons.sort_unstable();
        neurons.dedup();
        self.settle(node, &neurons);
        self.narrowed = narrowed.or(own);
        Ok(())
    }
}

/// Optimised bounds of both ends of these neurons of an activation's operand, as far as the engine optimises them.
fn optimised(
    (engine, base): (&BoundEngine, &Base),
    activation: u32,
    neurons: &[u32],
    (ascent, held): (&Ascent, &[Split]),
) -> Result<Vec<LemmaTree>, Error> {
    let splits: Vec<(Split, f32)> = base.splits().iter().map(|split| (*split, 0.0)).collect();
    let ends: Vec<(u32, bool)> =
        neurons.iter().flat_map(|&neuron| [false, true].map(|is_upper| (neuron, is_upper))).collect();
    let target = Target::Operand(activation);
    let starts = match held {
        [] => Ok(vec![splits.clone(); ends.len()]),
        // All splits of the base are held.
        held => starts(engine, base, target, &ends, held),
    };
    let starts = match starts {
        Err(Error::Bounds(bounds::Error { kind: ErrorKind::NotOptimised })) => return Ok(Vec::new()),
        starts => starts?,
    };
    let lanes: Vec<Lane> = ends
        .iter()
        .zip(&starts)
        .map(|(&(neuron, is_upper), splits)| Lane { neuron, is_upper, splits, alpha: &[], weight: 0.0 })
        .collect();
    let keep = Keep { proof: true, ..Keep::default() };
    let ended = match engine.ascend(base, target, &lanes, ascent, keep) {
        Err(bounds::Error { kind: ErrorKind::NotOptimised }) => return Ok(Vec::new()),
        ended => ended?,
    };
    let tree = |(lane, proof): (&Lane, Option<Proof>)| {
        let proof = proof.map(|Proof { alpha, beta }| {
            let beta = splits.iter().zip(&beta).map(|((split, _), &beta)| (*split, beta)).collect();
            (beta, alpha)
        });
        LemmaTree { neuron: lane.neuron, is_upper: lane.is_upper, leaves: vec![(Vec::new(), proof)] }
    };
    Ok(lanes.iter().zip(ended.into_iter().map(|end| end.proof)).map(tree).collect())
}

/// Writes leaves (splits with multipliers, slopes), whose splits agree up to `depth`, as a proof in prefix order; false if they are
/// not the leaves of a tree.
fn prefix(proof: &mut Vec<u8>, leaves: &[ProofLeaf], depth: usize) -> bool {
    if let &[(splits, alpha)] = leaves
        && splits.len() == depth
    {
        let beta: Vec<f32> = splits.iter().map(|(_, beta)| *beta).collect();
        Writer::lemma_leaf(proof, alpha, &beta);
        return true;
    }
    let Some(&(split, _)) = leaves.first().and_then(|(splits, _)| splits.get(depth)) else { return false };
    let side = |is_active: bool| -> Vec<_> {
        let there = checker::Split { is_active, ..split };
        leaves.iter().copied().filter(|(splits, _)| splits.get(depth).is_some_and(|(at, _)| *at == there)).collect()
    };
    let sides = [side(true), side(false)];
    if sides[0].len() + sides[1].len() != leaves.len() {
        return false;
    }
    Writer::lemma_decision(proof, split.relu, split.neuron);
    sides.iter().all(|side| prefix(proof, side, depth + 1))
}
