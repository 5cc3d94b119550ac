use std::f64::consts::LN_2;

use bounds::{Ascent, Base, BoundEngine, Ended, Keep, Lane, Proof, Split, Target};
use checker::certificate::PieceId;

use crate::certificate::{ContextNotes, Offered, Recorder};
use crate::error::Error;
use crate::search::branch_and_bound::End;
use crate::search::falsify::Attack;
use crate::search::frontier::{Frontier, Subdomain};
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::observer::{Observer, Progress};
use crate::search::piece::{Dual, Piece};
use crate::search::verdict::StopReason;

/// Decides `ReLU`s until every piece excludes its disjunct (β-CROWN).
///
/// Each disjunct is a tree of its own: pieces of a tree hold different sets of `ReLU`s on one side of zero, and the two children of
/// a piece cover it exactly. Bounds of intermediate neurons are those of the root; the multipliers of the splits and the
/// slopes of the relaxation are optimised for every piece.
#[derive(Debug)]
pub struct ReluSearch<'a, 'r> {
    objective: &'a Objective,
    engine: &'a BoundEngine,
    falsifier: &'a dyn Attack,
    base: Base,
    frontier: Frontier<Piece>,
    /// The disjuncts of the trees.
    disjuncts: Vec<usize>,
    /// The disjuncts of leaves that could not be decided.
    stuck: Vec<usize>,
    decided: f64,
    subdomains: u64,
    n_rounds: u64,
    rebounded: u64,
    least_decided: f64,
    /// The smallest bound among leaves that could not be decided.
    least_stuck: f64,
    /// The candidates of the first tree's root, best first.
    root_splits: Vec<Split>,
    /// Where the certificate goes, and what the checker knows.
    record: Option<TreeRecord<'a, 'r>>,
}

/// Where the trees of one context are written.
#[derive(Debug)]
pub struct TreeRecord<'a, 'r> {
    pub recorder: &'a mut Recorder<'r>,
    pub notes: &'a ContextNotes<'r>,
}

/// A piece to bound, its parent's score, and its depth.
type Child = (Piece, f64, u32);

/// An input where a violation is likeliest, and of which of the objective's disjuncts.
pub type Suspect = (Box<[f32]>, usize);

/// Multiply-adds in one round, about.
const ROUND_MACS: u64 = 20_000_000_000;
/// Most lanes of one round, and as many as one round should fill.
const MOST_LANES: usize = 1024;
/// Candidates that are looked ahead at.
const CANDIDATES: usize = 16;
/// Steps of the optimisation of a piece, and of the root's.
const STEPS: usize = 8;
const ROOT_STEPS: usize = 60;
/// First step of slopes that start from a parent's.
const WARM_RATE: f64 = 0.1;
/// The least share of the way that a split is taken to win.
const LEAST_SHARE: f64 = 1e-4;
/// Most levels that one round splits: what is chosen before its siblings are bounded is chosen worse.
const LEVELS: usize = 2;
/// Rounds whose worst pieces are all attacked, and how often that is done afterwards.
const ATTACKED_ROUNDS: u64 = 8;
const ATTACK_EVERY: u64 = 8;
/// Steps where nothing is left to split.
const LEAF_STEPS: usize = 1000;
/// Leaves that are optimised to the end between looks at the clock.
const FINISHED_LEAVES: usize = 128;

impl<'a, 'r> ReluSearch<'a, 'r> {
    /// Starts with one tree for each of these disjuncts. Where a certificate is written, a piece is decided only once the checker's
    /// own bounds, with its multipliers, exclude its disjunct.
    ///
    /// # Errors
    /// As [`BoundEngine::ascend`].
    pub fn new(
        objective: &'a Objective,
        engine: &'a BoundEngine,
        falsifier: &'a dyn Attack,
        base: Base,
        disjuncts: &[usize],
        record: Option<TreeRecord<'a, 'r>>,
    ) -> Result<Self, Error> {
        let mut search = Self {
            objective,
            engine,
            falsifier,
            base,
            frontier: Frontier::new(),
            disjuncts: disjuncts.to_vec(),
            stuck: Vec::new(),
            decided: 0.0,
            subdomains: 0,
            n_rounds: 0,
            rebounded: 0,
            least_decided: f64::INFINITY,
            least_stuck: f64::INFINITY,
            root_splits: Vec::new(),
            record,
        };
        let roots: Vec<Child> = disjuncts
            .iter()
            .map(|&disjunct| {
                let n_rows = search.objective.disjuncts[disjunct].1.len();
                // The base's own splits have multipliers too.
                let splits = search.base.splits().to_vec();
                let beta: Box<[f32]> = vec![0.0; splits.len()].into();
                let place = search.objective.disjuncts[disjunct].0;
                let tree = |record: &mut TreeRecord| record.recorder.writer.tree(record.notes.id, place).0;
                let id = search.record.as_mut().map_or(0, tree);
                let piece = Piece {
                    disjunct,
                    splits,
                    duals: vec![Dual { alpha: Box::new([]), beta }; n_rows],
                    nearest: 0,
                    candidates: Vec::new(),
                    id,
                };
                (piece, f64::NEG_INFINITY, 0)
            })
            .collect();
        search.bound(roots, ROOT_STEPS)?;
        Ok(search)
    }

    /// Pieces bounded, in f32 and again in f64.
    pub fn counts(&self) -> (u64, u64) {
        (self.subdomains, self.rebounded)
    }

    /// The smallest lower bound over all pieces, if any was bounded.
    pub fn lower_bound(&self) -> Option<f64> {
        let least = self.frontier.worst().unwrap_or(f64::INFINITY).min(self.least_decided).min(self.least_stuck);
        least.is_finite().then_some(least)
    }

    /// The splits that the worst tree's root gains most by, best first, if it was split.
    pub fn root_splits(&self) -> &[Split] {
        &self.root_splits
    }

    /// The smallest bound among decided pieces.
    pub fn least_decided(&self) -> f64 {
        self.least_decided
    }

    /// Share of the trees' volumes (by halvings) that is decided, in `[0, 1]`.
    pub fn decided(&self) -> f64 {
        (self.decided / self.disjuncts.len().max(1) as f64).min(1.0)
    }

    /// The disjuncts with open pieces, and the base.
    pub fn into_open(mut self) -> (Vec<usize>, Base) {
        let mut open = self.stuck;
        loop {
            let pieces = self.frontier.pop(MOST_LANES);
            if pieces.is_empty() {
                break;
            }
            open.extend(pieces.iter().map(|Subdomain { piece, .. }| piece.disjunct));
        }
        if !self.frontier.is_empty() {
            // Of pieces that cannot be read back nothing is known.
            open.extend(&self.disjuncts);
        }
        open.sort_unstable();
        open.dedup();
        (open, self.base)
    }

    /// Runs to the end, or until so many pieces have been bounded (`None`).
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn run(
        &mut self,
        most_subdomains: u64,
        before: u64,
        clock: &Clock,
        observer: &mut dyn Observer,
    ) -> Result<Option<End>, Error> {
        self.frontier.limit_memory(clock.memory_bytes());
        loop {
            observer.round(Progress {
                time_s: clock.elapsed().as_secs_f64(),
                subdomains: before + self.subdomains,
                open: self.frontier.len() as u64,
                decided: self.decided(),
                lower_bound: self.lower_bound().unwrap_or(f64::NEG_INFINITY),
            });
            if self.frontier.is_empty() {
                let is_open = !self.stuck.is_empty();
                return Ok(Some(if is_open { End::Stopped(StopReason::Precision) } else { End::Verified }));
            }
            if let Some(reason) = clock.stop(before + self.subdomains, self.frontier.memory_bytes()) {
                return Ok(Some(End::Stopped(reason)));
            }
            if self.subdomains >= most_subdomains {
                return Ok(None);
            }
            let n_lanes = self.round_lanes();
            let pieces = self.frontier.pop(n_lanes / 2);
            if pieces.is_empty() {
                continue;
            }
            let (children, leaves) = self.split(pieces, n_lanes)?;
            if let Some(reason) = clock.stop(before + self.subdomains, 0) {
                // There is no time left for these: they stay as they are.
                children.into_iter().for_each(|(piece, score, depth)| self.frontier.push(piece, score, depth));
                self.put_back(leaves);
                return Ok(Some(End::Stopped(reason)));
            }
            let mut points = self.bound(children, STEPS)?;
            self.n_rounds += 1;
            if self.n_rounds > ATTACKED_ROUNDS && !self.n_rounds.is_multiple_of(ATTACK_EVERY) {
                // Neighbouring rounds have nearly the same minimisers.
                points.clear();
            }
            let mut leaves = leaves.into_iter();
            loop {
                let some: Vec<Subdomain<Piece>> = leaves.by_ref().take(FINISHED_LEAVES).collect();
                if some.is_empty() {
                    break;
                }
                if clock.stop(0, 0).is_some() {
                    self.put_back(some);
                } else {
                    points.extend(self.finish_leaves(some)?);
                }
            }
            if let Some(found) = self.falsifier.attack_points(&points, 4, clock)? {
                return Ok(Some(End::Falsified(Box::new(found))));
            }
        }
    }

    /// Queues pieces again as they were.
    fn put_back(&mut self, pieces: Vec<Subdomain<Piece>>) {
        pieces.into_iter().for_each(|piece| self.frontier.push(piece.piece, piece.score, piece.depth));
    }

    /// One lane for every row of every piece; `splits` are the rows' multipliers, in the same order.
    fn lanes<'l>(&self, pieces: impl Iterator<Item = &'l Piece>, splits: &'l [Vec<(Split, f32)>]) -> Vec<Lane<'l>> {
        let rows = pieces.flat_map(|piece| self.objective.disjuncts[piece.disjunct].1.clone().zip(&piece.duals));
        let lane = |((row, dual), splits): ((usize, &'l Dual), &'l Vec<(Split, f32)>)| Lane {
            neuron: row as u32,
            is_upper: false,
            splits,
            alpha: &dual.alpha,
            weight: 0.0,
        };
        rows.zip(splits).map(lane).collect()
    }

    /// How far a row's bound is raised: where a certificate is written, as far as it goes, so that the checker's bound, which builds
    /// on other intermediate bounds, has room.
    fn margin(&self) -> f64 {
        if self.record.is_some() { f64::INFINITY } else { 0.0 }
    }

    /// Lanes that one round should have.
    fn round_lanes(&self) -> usize {
        let cost = self.engine.macs().max(1) * 2 * STEPS as u64;
        ((ROUND_MACS / cost) as usize).clamp(32, MOST_LANES)
    }

    /// Replaces pieces by children that decide more `ReLU`s: so many levels at once that about `n_lanes` are filled.
    ///
    /// Returns the children, and the pieces with nothing left to split.
    fn split(
        &mut self,
        pieces: Vec<Subdomain<Piece>>,
        n_lanes: usize,
    ) -> Result<(Vec<Child>, Vec<Subdomain<Piece>>), Error> {
        let ranked = self.look_ahead(&pieces)?;
        let levels = ((n_lanes / pieces.len().max(1)).max(2).ilog2() as usize).clamp(1, LEVELS);
        let (mut children, mut leaves) = (Vec::new(), Vec::new());
        for (piece, ranked) in pieces.into_iter().zip(ranked) {
            let chosen = &ranked[..ranked.len().min(levels)];
            if piece.depth == 0 {
                // The worst disjunct comes first.
                if self.root_splits.is_empty() {
                    self.root_splits.clone_from(&ranked);
                }
            }
            if chosen.is_empty() {
                leaves.push(piece);
                continue;
            }
            let ids = self.decisions(piece.piece.id, chosen);
            for sides in 0..1_usize << chosen.len() {
                let mut child = piece.piece.clone();
                child.id = ids.get(sides).copied().unwrap_or(0);
                for (level, split) in chosen.iter().enumerate() {
                    child.splits.push(Split { is_active: sides >> level & 1 == 0, ..*split });
                }
                let n_splits = child.splits.len();
                for dual in &mut child.duals {
                    let mut beta = std::mem::take(&mut dual.beta).into_vec();
                    beta.resize(n_splits, 0.0);
                    dual.beta = beta.into();
                }
                children.push((child, piece.score, piece.depth + chosen.len() as u32));
            }
        }
        Ok((children, leaves))
    }

    /// Orders each piece's candidates by what deciding them gains at once, without optimising (filtered smart branching): by the
    /// [`growth`] of a tree of such splits.
    fn look_ahead(&self, pieces: &[Subdomain<Piece>]) -> Result<Vec<Vec<Split>>, Error> {
        let mut splits: Vec<Vec<(Split, f32)>> = Vec::new();
        let mut of_piece = Vec::new();
        for (p, Subdomain { piece, .. }) in pieces.iter().enumerate() {
            let row = piece.nearest;
            for candidate in &piece.candidates {
                for is_active in [true, false] {
                    let beta = &piece.duals[row].beta;
                    let mut with: Vec<(Split, f32)> = piece.splits.iter().copied().zip(beta.iter().copied()).collect();
                    with.push((Split { is_active, ..*candidate }, 0.0));
                    splits.push(with);
                    of_piece.push(p);
                }
            }
        }
        let lanes: Vec<Lane> = splits
            .iter()
            .zip(&of_piece)
            .map(|(splits, &p)| {
                let piece = &pieces[p].piece;
                let neuron = (self.objective.disjuncts[piece.disjunct].1.start + piece.nearest) as u32;
                Lane { neuron, is_upper: false, splits, alpha: &piece.duals[piece.nearest].alpha, weight: 0.0 }
            })
            .collect();
        let ascent = Ascent { steps: 0, ..Ascent::default() };
        let ended = self.engine.ascend(&self.base, Target::Outputs, &lanes, &ascent, Keep::default())?;
        let mut place = 0;
        Ok(pieces
            .iter()
            .map(|Subdomain { piece, score, .. }| {
                let gain = |end: &Ended<f32>| (f64::from(end.bound).min(0.0) - score).max(0.0);
                let mut ranked: Vec<(f64, Split)> = Vec::new();
                for candidate in &piece.candidates {
                    let (first, second) = (gain(&ended[place]), gain(&ended[place + 1]));
                    place += 2;
                    ranked.push((growth([first / -score, second / -score]), *candidate));
                }
                // Ties stay in the order of the gaps.
                ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
                ranked.into_iter().map(|(_, split)| split).collect()
            })
            .collect())
    }

    /// Bounds pieces and queues those that stay open; returns the minimisers of the worst of them with their disjuncts.
    fn bound(&mut self, pieces: Vec<Child>, steps: usize) -> Result<Vec<Suspect>, Error> {
        let splits: Vec<Vec<(Split, f32)>> = pieces.iter().flat_map(|(piece, ..)| piece.multipliers()).collect();
        let lanes = self.lanes(pieces.iter().map(|(piece, ..)| piece), &splits);
        let alpha_rate = if steps == STEPS { WARM_RATE } else { Ascent::default().alpha_rate };
        let ascent =
            Ascent { steps, alpha_rate, momentum: Ascent::LONG_MEMORY, margin: self.margin(), ..Ascent::default() };
        let keep = Keep { duals: true, gaps: CANDIDATES, minimiser: true, proof: self.record.is_some() };
        let mut ended = self.engine.ascend(&self.base, Target::Outputs, &lanes, &ascent, keep)?;
        self.subdomains += pieces.len() as u64;
        let doubtful: Vec<usize> = (0..lanes.len())
            .filter(|&lane| ended[lane].bound <= 0.0 && ended[lane].bound + ended[lane].slack > 0.0)
            .collect();
        let mut precise = vec![f64::NEG_INFINITY; lanes.len()];
        let keep = Keep { proof: self.record.is_some(), ..Keep::default() };
        if !doubtful.is_empty() {
            let warm: Vec<Vec<(Split, f32)>> = doubtful
                .iter()
                .map(|&lane| {
                    lanes[lane].splits.iter().map(|(split, _)| *split).zip(ended[lane].beta.iter().copied()).collect()
                })
                .collect();
            let again: Vec<Lane> = doubtful
                .iter()
                .zip(&warm)
                .map(|(&lane, splits)| Lane { splits, alpha: &ended[lane].alpha, ..lanes[lane] })
                .collect();
            let (rate, margin) = (0.02, self.margin());
            let ascent = Ascent {
                steps: 4,
                alpha_rate: rate,
                beta_rate: rate,
                momentum: Ascent::LONG_MEMORY,
                margin,
                ..Ascent::default()
            };
            for (&lane, end) in doubtful.iter().zip(self.engine.ascend_precisely(&self.base, &again, &ascent, keep)?) {
                precise[lane] = end.bound;
                if end.bound > 0.0 {
                    ended[lane].proof = end.proof;
                }
            }
            self.rebounded += doubtful.len() as u64;
        }
        drop(lanes);
        let bounds: Vec<f64> =
            ended.iter().zip(&precise).map(|(end, precise)| f64::from(end.bound).max(*precise)).collect();
        let of_pieces: Vec<&Piece> = pieces.iter().map(|(piece, ..)| piece).collect();
        let mut proofs: Vec<Option<Proof>> = ended.iter_mut().map(|end| end.proof.take()).collect();
        let is_accepted = self.certified(&of_pieces, &bounds, &mut proofs);
        let mut ended = ended.into_iter();
        let mut place = 0;
        let mut open = Vec::new();
        for ((mut piece, parent, depth), is_accepted) in pieces.into_iter().zip(is_accepted) {
            let n_rows = piece.duals.len();
            let mut best = parent;
            let mut found: Vec<Ended<f32>> = ended.by_ref().take(n_rows).collect();
            for (row, end) in found.iter_mut().enumerate() {
                let bound = bounds[place + row];
                if bound > best {
                    best = bound;
                }
                // Of equals, what is known is not known to be positive.
                if !is_accepted && end.bound > 0.0 {
                    end.bound = 0.0;
                }
            }
            place += n_rows;
            if !is_accepted {
                best = best.min(0.0);
            }
            if best > 0.0 {
                self.decided += 0.5_f64.powi(depth as i32);
                self.least_decided = self.least_decided.min(best);
                continue;
            }
            // The row that came nearest says where to split, unless nothing is left to split for it.
            let nearness = |&row: &usize| (!found[row].gaps.is_empty(), found[row].bound);
            let nearest = (0..n_rows).max_by(|a, b| {
                let (a, b) = (nearness(a), nearness(b));
                a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
            });
            if let Some(nearest) = nearest {
                piece.nearest = nearest;
                piece.candidates = found[nearest].gaps.iter().map(|(split, _)| *split).collect();
                open.push((std::mem::take(&mut found[nearest].minimiser), piece.disjunct, best));
            }
            for (dual, end) in piece.duals.iter_mut().zip(found) {
                *dual = Dual { alpha: end.alpha, beta: end.beta };
            }
            self.frontier.push(piece, best, depth);
        }
        open.sort_by(|a, b| a.2.total_cmp(&b.2));
        open.truncate(16);
        Ok(open.into_iter().map(|(point, disjunct, _)| (point, disjunct)).collect())
    }

    /// Writes the decisions that lead to the children of a piece; their numbers, in the order of their sides.
    fn decisions(&mut self, id: u32, chosen: &[Split]) -> Vec<u32> {
        let Some(TreeRecord { recorder, notes }) = &mut self.record else { return Vec::new() };
        let mut ids = vec![id];
        for split in chosen {
            let split = notes.map.split(*split);
            // A set bit is the inactive side, and the first decision is the lowest bit.
            let sides: Vec<[PieceId; 2]> = ids.iter().map(|&id| recorder.decide(PieceId(id), split)).collect();
            ids = [0, 1].iter().flat_map(|&side| sides.iter().map(move |sides| sides[side].0)).collect();
        }
        ids
    }

    /// Which of these pieces, whose rows have these bounds, are certified; all, where no certificate is written.
    fn certified(&mut self, pieces: &[&Piece], bounds: &[f64], proofs: &mut [Option<Proof>]) -> Vec<bool> {
        let Some(TreeRecord { recorder, notes }) = &mut self.record else { return vec![true; pieces.len()] };
        let n_shared = self.base.splits().len();
        let mut offered = Vec::new();
        let mut place = 0;
        let mut of = Vec::new();
        for (p, piece) in pieces.iter().enumerate() {
            let rows = place..place + piece.duals.len();
            place = rows.end;
            let best = rows.clone().filter(|&row| bounds[row] > 0.0).max_by(|&a, &b| bounds[a].total_cmp(&bounds[b]));
            let Some(best) = best else { continue };
            // An empty piece has no proof: the checker sees that it is empty.
            let Proof { alpha, beta } = proofs[best].take().unwrap_or_default();
            let beta = piece.splits.iter().copied().zip(beta.iter().copied().chain(std::iter::repeat(0.0))).collect();
            let path = piece.splits[n_shared..].to_vec();
            let row = best - rows.start;
            offered.push(Offered { piece: PieceId(piece.id), disjunct: piece.disjunct, row, path, beta, alpha });
            of.push(p);
        }
        let mut is_accepted = vec![false; pieces.len()];
        for (p, accepted) in of.into_iter().zip(recorder.leaves(self.objective, notes, &offered)) {
            is_accepted[p] = accepted;
        }
        is_accepted
    }

    /// Pieces with nothing left to split are linear programs: optimised to the end, they are decided or they are not.
    ///
    /// Returns the minimisers of those that are not, with their disjuncts: that is where a violation would be.
    fn finish_leaves(&mut self, leaves: Vec<Subdomain<Piece>>) -> Result<Vec<Suspect>, Error> {
        if leaves.is_empty() {
            return Ok(Vec::new());
        }
        let splits: Vec<Vec<(Split, f32)>> = leaves.iter().flat_map(|leaf| leaf.piece.multipliers()).collect();
        let lanes = self.lanes(leaves.iter().map(|leaf| &leaf.piece), &splits);
        let ascent = Ascent { steps: LEAF_STEPS, decay: 0.995, momentum: Ascent::LONG_MEMORY, ..Ascent::default() };
        let keep = Keep { minimiser: true, proof: self.record.is_some(), ..Keep::default() };
        let mut all = self.engine.ascend_precisely(&self.base, &lanes, &ascent, keep)?;
        drop(lanes);
        let bounds: Vec<f64> = all.iter().map(|end| end.bound).collect();
        let mut proofs: Vec<Option<Proof>> = all.iter_mut().map(|end| end.proof.take()).collect();
        let of_pieces: Vec<&Piece> = leaves.iter().map(|leaf| &leaf.piece).collect();
        let is_accepted = self.certified(&of_pieces, &bounds, &mut proofs);
        let mut ended = all.into_iter();
        let mut points = Vec::new();
        self.rebounded += leaves.len() as u64;
        for (Subdomain { piece, score, depth, .. }, is_accepted) in leaves.into_iter().zip(is_accepted) {
            let found: Vec<Ended<f64>> = ended.by_ref().take(piece.duals.len()).collect();
            let best = found.iter().map(|end| end.bound).fold(score, f64::max);
            if best > 0.0 && is_accepted {
                self.decided += 0.5_f64.powi(depth as i32);
                self.least_decided = self.least_decided.min(best);
            } else {
                self.least_stuck = self.least_stuck.min(best);
                self.stuck.push(piece.disjunct);
                points.extend(found.into_iter().map(|end| (end.minimiser, piece.disjunct)));
            }
        }
        points.retain(|(point, _)| !point.is_empty());
        Ok(points)
    }
}

/// The rate `x` at which trees grow that win these shares of the way at every split: one that has the way `d` to go has about `e^{x d}`
/// leaves, where `e^{−x a} + e^{−x b} = 1`. The smaller, the better the split.
///
/// It weighs a small gain on one side against a large one on the other: 3 % and 90 % are as good as 25 % on both sides, which a product
/// of the gains takes for 16 %.
///
/// Source: Le Bodic and Nemhauser 2017 (an abstract model for branching); that trees are ordered by it here is ours.
fn growth(shares: [f64; 2]) -> f64 {
    // No share that is no number is larger.
    let [a, b] = shares.map(|share| if share > LEAST_SHARE { share.min(1.0) } else { LEAST_SHARE });
    let (mut low, mut high) = (LN_2 / a.max(b), LN_2 / a.min(b));
    for _ in 0..24 {
        let middle = (low * high).sqrt();
        if (-middle * a).exp() + (-middle * b).exp() > 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_gains_double_a_tree_at_every_split() {
        assert!((growth([0.25, 0.25]) - 4.0 * LN_2).abs() < 1e-6);
        // With `y = e^{−x / 2}`, half the way and all of it: `y + y² = 1`.
        assert!((growth([0.5, 1.0]) + 2.0 * ((5.0_f64.sqrt() - 1.0) / 2.0).ln()).abs() < 1e-5);
    }

    #[test]
    fn more_gain_is_never_worse() {
        let shares = [f64::NAN, f64::NEG_INFINITY, 0.0, 1e-5, 1e-3, 0.01, 0.2, 0.7, 1.0, f64::INFINITY];
        for a in shares {
            for pair in shares.windows(2) {
                let (less, more) = (growth([a, pair[0]]), growth([a, pair[1]]));
                assert!(less.is_finite() && more <= less * (1.0 + 1e-9), "{a} and {pair:?}: {less}, {more}");
                assert!((growth([pair[0], a]) - less).abs() <= 1e-9 * less, "the sides are alike");
            }
        }
        assert!(growth([0.3, 0.3]) < growth([0.05, 0.9]) && growth([0.05, 0.9]) < growth([0.05, 0.05]));
    }
}
