use bounds::{Ascent, Base, BoundEngine, Ended, Keep, Lane, Split, Target};

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
    /// The neuron to split next.
    candidate: Option<Split>,
    bound: f32,
}

/// A neuron, its lower and its upper bound.
type Ends = (u32, f32, f32);

/// Steps of the optimisation of a leaf.
const STEPS: usize = 10;

impl<'a> Sharpen<'a> {
    /// For one engine.
    pub fn new(engine: &'a BoundEngine, rounds: usize, macs: u64) -> Self {
        Self { engine, rounds, macs }
    }

    /// The tighter base; `None` if no point is in it. Stops early, with what it has, when the clock says so.
    ///
    /// # Errors
    /// As [`BoundEngine::ascend`].
    pub fn run(&self, base: &Base, clock: &Clock) -> Result<Option<Base>, Error> {
        let ascent = Ascent::default();
        let mut spent = 0;
        let mut best: Option<Base> = None;
        let mut after = 0;
        loop {
            let now = best.as_ref().unwrap_or(base);
            let layers = self.engine.undecided(now)?;
            let Some((activation, neurons)) = layers.iter().find(|(activation, _)| *activation > after) else { break };
            // What is left is spread over the layers that are left.
            let n_left = layers.iter().filter(|layer| layer.0 >= *activation).count() as u64;
            let budget = (self.macs.saturating_sub(spent)) / n_left;
            if clock.stop(0, 0).is_some() || budget == 0 {
                break;
            }
            let (bounds, cost) = self.layer(now, *activation, neurons, budget, clock)?;
            spent += cost;
            after = *activation;
            match self.engine.tightened(now, *activation, &bounds, ascent)? {
                Some(tighter) => best = Some(tighter),
                None => return Ok(None),
            }
        }
        match best {
            Some(best) => Ok(Some(best)),
            None => self.engine.tightened(base, 0, &[], Ascent { steps: 0, ..ascent }).map_err(Error::from),
        }
    }

    /// Bounds of one layer's undecided neurons, and the multiply-adds that they took.
    fn layer(
        &self,
        base: &Base,
        activation: u32,
        neurons: &[u32],
        budget: u64,
        clock: &Clock,
    ) -> Result<(Vec<Ends>, u64), Error> {
        let per_lane = 2 * (STEPS as u64 + 1) * self.engine.macs().max(1);
        let ends = |neuron: &u32| [false, true].map(|is_upper| Tree { neuron: *neuron, is_upper, leaves: Vec::new() });
        let mut trees: Vec<Tree> = neurons.iter().flat_map(ends).collect();
        for tree in &mut trees {
            let splits = base.splits().iter().map(|split| (*split, 0.0)).collect();
            tree.leaves.push(Leaf { splits, alpha: Box::new([]), candidate: None, bound: f32::NEG_INFINITY });
        }
        let mut cost = 0;
        let all: Vec<(usize, usize)> = (0..trees.len()).map(|tree| (tree, 0)).collect();
        self.bound(base, activation, &mut trees, &all)?;
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
            self.bound(base, activation, &mut trees, &changed)?;
            cost += per_lane * changed.len() as u64;
        }
        let bounds = trees.chunks(2).map(|ends| (ends[0].neuron, ends[0].bound(), -ends[1].bound())).collect();
        Ok((bounds, cost))
    }

    /// Bounds leaves, given as (tree, leaf).
    fn bound(&self, base: &Base, activation: u32, trees: &mut [Tree], which: &[(usize, usize)]) -> Result<(), Error> {
        let lanes: Vec<Lane> = which
            .iter()
            .map(|&(tree, leaf)| {
                let Tree { neuron, is_upper, leaves } = &trees[tree];
                Lane { neuron: *neuron, is_upper: *is_upper, splits: &leaves[leaf].splits, alpha: &leaves[leaf].alpha }
            })
            .collect();
        let ascent = Ascent { steps: STEPS, ..Ascent::default() };
        let keep = Keep { duals: true, gaps: 1, minimiser: false };
        let ended = self.engine.ascend(base, Target::Operand(activation), &lanes, &ascent, keep)?;
        for (&(tree, leaf), Ended { bound, alpha, beta, gaps, .. }) in which.iter().zip(ended) {
            let leaf = &mut trees[tree].leaves[leaf];
            // A parent's bound holds for its children too.
            leaf.bound = if bound > leaf.bound { bound } else { leaf.bound };
            leaf.alpha = alpha;
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

    /// Splits the worse half of the leaves; returns the places of the new ones.
    fn split_worst(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.leaves.len()).filter(|&leaf| self.leaves[leaf].candidate.is_some()).collect();
        order.sort_by(|&a, &b| self.leaves[a].bound.total_cmp(&self.leaves[b].bound));
        order.truncate(self.leaves.len().div_ceil(2));
        let mut changed = Vec::new();
        for leaf in order {
            let Some(candidate) = self.leaves[leaf].candidate else { continue };
            let parent = &mut self.leaves[leaf];
            let (mut splits, alpha, bound) = (parent.splits.clone(), parent.alpha.clone(), parent.bound);
            splits.push((Split { is_active: false, ..candidate }, 0.0));
            parent.splits.push((Split { is_active: true, ..candidate }, 0.0));
            parent.candidate = None;
            changed.push(leaf);
            changed.push(self.leaves.len());
            self.leaves.push(Leaf { splits, alpha, candidate: None, bound });
        }
        changed
    }
}
