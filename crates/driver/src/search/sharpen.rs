use std::collections::HashMap;

use bounds::{Ascent, Base, BoundEngine, Ended, Keep, Lane, NeuronBounds, Proof, Split, Target};
use network::{Affine, LinearMap, Node, NodeId, Op};

use crate::certificate::{Draft, LemmaTree, Recorder};
use crate::error::Error;
use crate::search::limits::Clock;

/// Tightens the bounds of a base's undecided neurons, layer by layer, by a small tree of splits for each end of each.
///
/// A neuron's bound is the worst over the leaves of its tree, each bounded with multipliers of its own; what later layers
/// gain is found before their own turn comes.
#[derive(Debug)]
pub struct Sharpen<'a> {
    engine: &'a BoundEngine,
    /// Rounds of splits: `2^rounds` leaves at most.
    rounds: usize,
    /// Multiply-adds that may be spent, about.
    macs: u64,
    /// The output that is not positive where bounds are to hold, if not everywhere.
    limit: Option<Limit>,
}

/// An output that is not positive where a violation is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Which.
    pub output: u32,
    /// How far its values reach, about.
    pub range: f32,
}

/// One end of one neuron.
#[derive(Debug)]
struct Tree {
    neuron: u32,
    is_upper: bool,
    leaves: Vec<Leaf>,
}

#[derive(Debug)]
struct Leaf {
    splits: Vec<(Split, f32)>,
    alpha: Box<[u8]>,
    /// Of the neuron beside a limit.
    weight: f32,
    /// The neuron to split next.
    candidate: Option<Split>,
    bound: f32,
    /// What gave the bound, if a certificate is written: the leaf may have been split since.
    proof: Option<Proof>,
}

/// A context that is being written.
pub type Writing<'w, 'p, 'r> = (&'w mut Recorder<'r>, &'w mut Draft<'p, 'r>);

/// Steps of the optimisation of a leaf.
const STEPS: usize = 10;

impl<'a> Sharpen<'a> {
    /// For one engine.
    pub fn new(engine: &'a BoundEngine, rounds: usize, macs: u64) -> Self {
        Self { engine, rounds, macs, limit: None }
    }

    /// Bounds need to hold only where an output is not positive. What is found is no longer true of other points.
    pub fn limited(self, limit: Limit) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// The layers to tighten: activation and neurons.
    fn layers(&self, base: &Base) -> Result<Vec<(u32, Vec<u32>)>, Error> {
        let plain = self.engine.undecided(base)?;
        if self.limit.is_none() {
            return Ok(plain);
        }
        let all = self.engine.constrainable(base)?.into_iter();
        let layers = all.map(|(activation, neurons)| (activation, neurons.iter().map(|neuron| neuron.0).collect()));
        // What the first layer of a convolution reads is too little for a limit to matter, and its bounds are exact.
        let is_there = |activation: u32| plain.iter().any(|layer| layer.0 == activation);
        Ok(layers.filter(|(activation, _)| is_there(*activation) || self.is_limited(*activation)).collect())
    }

    /// Whether the limit is used for a layer: one output says little of neurons that read a small part of the inputs.
    fn is_limited(&self, activation: u32) -> bool {
        let network = self.engine.network();
        let operand = network.node(network.node(NodeId(activation as usize)).inputs[0]);
        let is_dense = |affine: &Affine| matches!(affine.map, LinearMap::Dense(_));
        self.limit.is_some() && matches!(&operand.op, Op::Affine(affine) if is_dense(affine))
    }

    /// How much every undecided neuron's relaxation costs the rows of `outputs` at their minimisers.
    fn costs(&self, base: &Base, outputs: &[u32]) -> Result<HashMap<(u32, u32), f64>, Error> {
        let splits: Vec<(Split, f32)> = base.splits().iter().map(|split| (*split, 0.0)).collect();
        let lanes: Vec<Lane> = outputs
            .iter()
            .map(|&neuron| Lane { neuron, is_upper: false, splits: &splits, alpha: &[], weight: 0.0 })
            .collect();
        let keep = Keep { gaps: usize::MAX, ..Keep::default() };
        let mut costs = HashMap::new();
        for ended in self.engine.ascend(base, Target::Outputs, &lanes, &Ascent::default(), keep)? {
            for (split, gap) in ended.gaps {
                *costs.entry((split.node, split.neuron)).or_insert(0.0) += f64::from(gap);
            }
        }
        Ok(costs)
    }

    /// The tighter base for the rows of `outputs`; `None` if no point is in it. Stops early, with what it has, when the clock says so.
    ///
    /// What it finds is written as lemmas of a context.
    ///
    /// # Errors
    /// As [`BoundEngine::ascend`].
    pub fn run(
        &self,
        mut base: Base,
        outputs: &[u32],
        clock: &Clock,
        mut writing: Option<Writing<'_, '_, '_>>,
    ) -> Result<Option<Base>, Error> {
        let costs = self.costs(&base, outputs)?;
        let ascent = Ascent { until: clock.deadline(), ..Ascent::default() };
        let mut spent = 0;
        let mut after = 0;
        loop {
            let layers = self.layers(&base)?;
            let Some((activation, neurons)) = layers.iter().find(|(activation, _)| *activation > after) else { break };
            // What is left is spread over the layers that are left.
            let n_left = layers.iter().filter(|layer| layer.0 >= *activation).count() as u64;
            let budget = (self.macs.saturating_sub(spent)) / n_left;
            if clock.stop(0, 0).is_some() || budget == 0 {
                break;
            }
            let neurons = self.costliest(*activation, neurons, &costs, budget);
            let (trees, cost) = self.layer(&base, *activation, &neurons, budget, (clock, writing.is_some()))?;
            let bounds: NeuronBounds =
                trees.chunks(2).map(|ends| (ends[0].neuron, ends[0].bound(), -ends[1].bound())).collect();
            spent += cost;
            after = *activation;
            let tighter = if self.limit.is_some() {
                let of_layer = |&(neuron, lower, upper): &(u32, f32, f32)| (after, neuron, lower, upper);
                let bounds: Vec<(u32, u32, f32, f32)> = bounds.iter().map(of_layer).collect();
                self.engine.constrained(&base, &bounds, &[])?
            } else {
                self.engine.tightened(&base, after, &bounds, ascent)?
            };
            if let Some((recorder, draft)) = &mut writing {
                draft.advance(recorder, self.engine, &base, Some(after))?;
                let n_shared = base.splits().len();
                let lemmas: Vec<LemmaTree> = trees.iter().map(|tree| tree.lemma(n_shared)).collect();
                draft.layer(recorder, self.engine, [&base, tighter.as_ref().unwrap_or(&base)], &lemmas)?;
            }
            match tighter {
                Some(tighter) => base = tighter,
                None => return Ok(None),
            }
        }
        Ok(Some(base))
    }

    /// The neurons of a layer that cost most, as many as the budget has trees for, in their own order: lanes of neighbours share
    /// what they read.
    fn costliest(&self, activation: u32, neurons: &[u32], costs: &HashMap<(u32, u32), f64>, budget: u64) -> Vec<u32> {
        // Half of the leaves are split in every round, and each neuron has two ends.
        let lanes = 4.0 * 1.5_f64.powi(self.rounds as i32);
        let most = (budget as f64 / (lanes * self.lane_macs(activation) as f64)).ceil() as usize;
        let cost = |neuron: &u32| costs.get(&(activation, *neuron)).copied().unwrap_or(0.0);
        let mut chosen = neurons.to_vec();
        chosen.sort_by(|a, b| cost(b).total_cmp(&cost(a)).then(a.cmp(b)));
        chosen.truncate(most.max(1));
        // All channels of a pixel see the same part of the input.
        let shape = &self.engine.network().node(NodeId(activation as usize)).shape;
        let plane = shape.iter().skip(1).product::<usize>().max(1) as u32;
        chosen.sort_unstable_by_key(|neuron| (neuron % plane, *neuron));
        chosen
    }

    /// Multiply-adds of one optimised lane, about.
    fn lane_macs(&self, activation: u32) -> u64 {
        let network = self.engine.network();
        let macs = if self.is_limited(activation) {
            network.macs()
        } else {
            network.nodes()[..activation as usize].iter().map(Node::macs).sum()
        };
        2 * (STEPS as u64 + 1) * macs.max(1)
    }

    /// Bounds of one layer's undecided neurons, and the multiply-adds that they took.
    fn layer(
        &self,
        base: &Base,
        activation: u32,
        neurons: &[u32],
        budget: u64,
        (clock, wants_proofs): (&Clock, bool),
    ) -> Result<(Vec<Tree>, u64), Error> {
        let per_lane = self.lane_macs(activation);
        let ends = |neuron: &u32| [false, true].map(|is_upper| Tree { neuron: *neuron, is_upper, leaves: Vec::new() });
        let mut trees: Vec<Tree> = neurons.iter().flat_map(ends).collect();
        for tree in &mut trees {
            let splits = base.splits().iter().map(|split| (*split, 0.0)).collect();
            let (alpha, bound) = (Box::new([]), f32::NEG_INFINITY);
            tree.leaves.push(Leaf { splits, alpha, weight: 0.0, candidate: None, bound, proof: None });
        }
        if let Some(Limit { range, .. }) = self.limit {
            let known = self.engine.constrainable(base)?;
            let known = known.iter().find(|layer| layer.0 == activation).map_or(&[][..], |layer| &layer.1);
            for tree in &mut trees {
                if let Some(&(_, lower, upper)) = known.iter().find(|neuron| neuron.0 == tree.neuron) {
                    // Both parts of the sum have about the same range.
                    tree.leaves[0].weight = 2.0 * range / (upper - lower);
                }
            }
        }
        let mut cost = 0;
        let all: Vec<(usize, usize)> = (0..trees.len()).map(|tree| (tree, 0)).collect();
        self.bound(base, activation, &mut trees, &all, wants_proofs)?;
        cost += per_lane * all.len() as u64;
        for _ in 0..self.rounds {
            if clock.stop(0, 0).is_some() {
                break;
            }
            let mut changed = Vec::new();
            for place in 0..trees.len() {
                // Either end at zero decides the neuron: the other end needs no more.
                let partner = place ^ 1;
                if trees[place].bound() >= 0.0 || trees[partner].bound() >= 0.0 {
                    continue;
                }
                if cost + per_lane * (changed.len() as u64 + 2) > budget {
                    break;
                }
                let first = trees[place].split_worst();
                changed.extend(first.into_iter().map(|leaf| (place, leaf)));
            }
            if changed.is_empty() {
                break;
            }
            self.bound(base, activation, &mut trees, &changed, wants_proofs)?;
            cost += per_lane * changed.len() as u64;
        }
        Ok((trees, cost))
    }

    /// Bounds leaves, given as (tree, leaf).
    fn bound(
        &self,
        base: &Base,
        activation: u32,
        trees: &mut [Tree],
        which: &[(usize, usize)],
        wants_proofs: bool,
    ) -> Result<(), Error> {
        let lanes: Vec<Lane> = which
            .iter()
            .map(|&(tree, leaf)| {
                let Tree { neuron, is_upper, leaves } = &trees[tree];
                let Leaf { splits, alpha, weight, .. } = &leaves[leaf];
                Lane { neuron: *neuron, is_upper: *is_upper, splits, alpha, weight: *weight }
            })
            .collect();
        let target = match self.limit.filter(|_| self.is_limited(activation)) {
            Some(Limit { output, .. }) => Target::Constrained { activation, output },
            None => Target::Operand(activation),
        };
        let ascent = Ascent { steps: STEPS, momentum: Ascent::LONG_MEMORY, ..Ascent::default() };
        let keep = Keep { duals: true, gaps: 1, minimiser: false, proof: wants_proofs };
        let ended = self.engine.ascend(base, target, &lanes, &ascent, keep)?;
        for (&(tree, leaf), Ended { bound, alpha, beta, weight, gaps, proof, .. }) in which.iter().zip(ended) {
            let leaf = &mut trees[tree].leaves[leaf];
            // A parent's bound holds for its children too.
            if bound > leaf.bound {
                leaf.bound = bound;
                leaf.proof = proof;
            }
            leaf.alpha = alpha;
            leaf.weight = weight;
            leaf.splits.iter_mut().zip(beta.iter()).for_each(|((_, old), &new)| *old = new);
            leaf.candidate = gaps.first().map(|(split, _)| *split);
        }
        Ok(())
    }
}

impl Tree {
    /// The worst bound over the leaves.
    fn bound(&self) -> f32 {
        self.leaves.iter().map(|leaf| leaf.bound).fold(f32::INFINITY, f32::min)
    }

    /// As a certificate takes it; `n_shared` splits are those of the base.
    fn lemma(&self, n_shared: usize) -> LemmaTree {
        let leaf = |leaf: &Leaf| {
            let splits = leaf.splits.iter().map(|(split, _)| *split);
            let path = splits.clone().skip(n_shared).collect();
            // A proof of a leaf before it was split has fewer multipliers.
            let proof = leaf.proof.as_ref().map(|Proof { alpha, beta }| {
                (splits.zip(beta.iter().copied().chain(std::iter::repeat(0.0))).collect(), alpha.clone())
            });
            (path, proof)
        };
        LemmaTree { neuron: self.neuron, is_upper: self.is_upper, leaves: self.leaves.iter().map(leaf).collect() }
    }

    /// Splits the worse half of the leaves; returns the places of the new ones.
    fn split_worst(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> =
            (0..self.leaves.len()).filter(|&leaf| self.leaves[leaf].candidate.is_some()).collect();
        order.sort_by(|&a, &b| self.leaves[a].bound.total_cmp(&self.leaves[b].bound));
        order.truncate(self.leaves.len().div_ceil(2));
        let mut changed = Vec::new();
        for leaf in order {
            let Some(candidate) = self.leaves[leaf].candidate else { continue };
            let parent = &mut self.leaves[leaf];
            let (mut splits, alpha, bound) = (parent.splits.clone(), parent.alpha.clone(), parent.bound);
            let weight = parent.weight;
            let proof = parent.proof.clone();
            splits.push((Split { is_active: false, ..candidate }, 0.0));
            parent.splits.push((Split { is_active: true, ..candidate }, 0.0));
            parent.candidate = None;
            changed.push(leaf);
            changed.push(self.leaves.len());
            self.leaves.push(Leaf { splits, alpha, weight, candidate: None, bound, proof });
        }
        changed
    }
}
