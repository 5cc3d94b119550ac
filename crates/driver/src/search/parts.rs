use bounds::{Ascent, Base, BoundEngine, Split};

use crate::error::Error;
use crate::search::branch_and_bound::{End, middle};
use crate::search::confine::{Confine, Confined, Effort};
use crate::search::falsify::Attack;
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::observer::{Observer, Progress};
use crate::search::relu_search::ReluSearch;
use crate::search::verdict::{Outcome, StopReason};

/// Decides one disjunct over a base by parts of it, each with bounds of its own: a part is confined to where the disjunct could be
/// violated, searched for a while, and split where that does not end it.
///
/// A part is split at a `ReLU` or, where few inputs vary, along an input, whichever gains most on both sides once the halves'
/// own bounds are found.
#[derive(Debug)]
pub struct Parts<'a> {
    objective: &'a Objective,
    engine: &'a BoundEngine,
    falsifier: &'a dyn Attack,
    disjunct: usize,
    /// Pieces of the search of a part, if not as usual.
    pieces: Option<u64>,
}

/// A part that is still to be decided.
struct Part {
    base: Base,
    depth: u32,
}

/// Where a part may be split.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Relu(Split),
    Input(usize),
}

/// What is spent on the whole base, in turns, and on every part: pieces of a search after confining.
type Spending = (u64, Effort);

const WHOLE: [Spending; 2] = [
    (4_096, Effort { passes: 4, rounds: 6, macs: 200_000_000_000 }),
    (8_192, Effort { passes: 4, rounds: 9, macs: 800_000_000_000 }),
];
const PART: Spending = (4_096, Effort { passes: 2, rounds: 5, macs: 40_000_000_000 });

/// A search that has decided this share goes on instead of starting over, for so many times as many pieces.
const NEARLY: f64 = 0.75;
const ON: u64 = 4;
/// `ReLU`s and inputs at which a split is looked ahead at.
const RELUS: usize = 8;
const INPUTS: usize = 8;
/// Most inputs that vary where they are split.
const FEW_INPUTS: usize = 64;
/// Steps of the optimisation of the bounds of half of a box.
const HALF_STEPS: usize = 8;
/// Keeps a split that helps one side only ahead of one that helps neither.
const LEAST_GAIN: f64 = 1e-6;

impl<'a> Parts<'a> {
    /// For one disjunct of an objective.
    pub fn new(objective: &'a Objective, engine: &'a BoundEngine, falsifier: &'a dyn Attack, disjunct: usize) -> Self {
        Self { objective, engine, falsifier, disjunct, pieces: None }
    }

    /// With this many pieces for the search of each part.
    #[must_use]
    pub fn with_pieces(self, pieces: u64) -> Self {
        Self { pieces: Some(pieces), ..self }
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn run(
        &self,
        base: Base,
        clock: &Clock,
        observer: &mut dyn Observer,
        outcome: &mut Outcome,
    ) -> Result<End, Error> {
        let region = &self.objective.region;
        let ends = region.inner_lower.iter().zip(&region.inner_upper);
        let centre: Vec<f64> = ends.map(|(l, u)| 0.5 * l + 0.5 * u).collect();
        let typical: Vec<f64> = self.objective.network.evaluate(&centre)?;
        let confine = Confine::new(self.engine, self.objective.disjuncts[self.disjunct].1.clone(), &typical);
        // Depth first: what is left stays small.
        let mut left = vec![Part { base, depth: 0 }];
        let mut decided = 0.0;
        while let Some(Part { base, depth }) = left.pop() {
            let mut base = Some(base);
            let mut splits = Vec::new();
            let turns = if depth == 0 { &WHOLE[..] } else { &[PART][..] };
            for &(pieces, effort) in turns {
                let Some(whole) = base.take() else { break };
                if let Some(reason) = clock.stop(outcome.subdomains, 0) {
                    return Ok(End::Stopped(reason));
                }
                outcome.subdomains += 1;
                let part = match confine.run(whole, effort, clock)? {
                    Confined::Excluded(bound) => {
                        outcome.meet(bound);
                        break;
                    }
                    Confined::Left(part) => *part,
                };
                let mut search =
                    ReluSearch::new(self.objective, self.engine, self.falsifier, part, &[self.disjunct], None)?;
                let mut within = Within {
                    observer: &mut *observer,
                    decided,
                    weight: 0.5_f64.powi(depth as i32),
                    open: left.len() as u64,
                };
                let before = outcome.subdomains;
                let pieces = self.pieces.unwrap_or(pieces);
                let mut end = search.run(pieces, before, clock, &mut within)?;
                if end.is_none() && search.decided() >= NEARLY {
                    end = search.run(pieces.saturating_mul(ON), before, clock, &mut within)?;
                }
                let (subdomains, rebounded) = search.counts();
                outcome.subdomains += subdomains;
                outcome.rebounded += rebounded;
                match end {
                    Some(End::Verified) => outcome.meet(search.lower_bound().unwrap_or(f64::INFINITY)),
                    Some(end) => {
                        outcome.meet(search.lower_bound().unwrap_or(f64::INFINITY));
                        return Ok(end);
                    }
                    None => {
                        splits = search.root_splits().to_vec();
                        base = Some(search.into_open().1);
                    }
                }
            }
            let Some(base) = base else {
                decided += 0.5_f64.powi(depth as i32);
                continue;
            };
            let Some(halves) = self.halves(&confine, &base, &splits)? else {
                return Ok(End::Stopped(StopReason::Precision));
            };
            decided += 0.5_f64.powi(depth as i32 + 1) * (2 - halves.len()) as f64;
            left.extend(halves.into_iter().map(|base| Part { base, depth: depth + 1 }));
        }
        Ok(End::Verified)
    }

    /// What is left of the halves of a part, split where that gains most; `None` if it cannot be split.
    fn halves(&self, confine: &Confine, base: &Base, splits: &[Split]) -> Result<Option<Vec<Base>>, Error> {
        let parent = confine.bound(base)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound);
        let relus = splits.iter().take(RELUS).map(|split| Choice::Relu(*split));
        let mut best: Option<(f64, Vec<Base>)> = None;
        for choice in relus.chain(self.inputs(base).into_iter().map(Choice::Input)) {
            let mut score = 1.0;
            let mut kept = Vec::new();
            for half in self.split(base, choice)? {
                let bound = match &half {
                    None => f64::INFINITY,
                    Some(half) => confine.bound(half)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound),
                };
                score *= (bound.min(0.0) - parent).max(0.0) + LEAST_GAIN;
                kept.extend(half.filter(|_| !(bound > 0.0)));
            }
            if best.as_ref().is_none_or(|best| score > best.0) {
                best = Some((score, kept));
            }
        }
        Ok(best.map(|(_, halves)| halves))
    }

    /// The two halves of a part, where they hold a point.
    fn split(&self, base: &Base, choice: Choice) -> Result<[Option<Base>; 2], Error> {
        match choice {
            Choice::Relu(split) => {
                let half = |is_active| self.engine.constrained(base, &[], &[Split { is_active, ..split }]);
                Ok([half(false)?, half(true)?])
            }
            Choice::Input(i) => {
                let (lower, upper) = base.ends(self.engine.network().n_inputs());
                let middle = middle(lower[i], upper[i]).expect("inputs that are listed can be split");
                let (mut high, mut low) = (lower.to_vec(), upper.to_vec());
                (high[i], low[i]) = (middle, middle);
                let ascent = Ascent { steps: HALF_STEPS, ..Ascent::default() };
                let half = |ends: (&[f32], &[f32])| self.engine.base(ends, Some(base), base.splits(), ascent);
                Ok([half((lower, &low))?, half((&high, upper))?])
            }
        }
    }

    /// The inputs to look ahead at: the widest, where few vary.
    fn inputs(&self, base: &Base) -> Vec<usize> {
        let (lower, upper) = base.ends(self.engine.network().n_inputs());
        let mut varying: Vec<usize> = (0..lower.len()).filter(|&i| middle(lower[i], upper[i]).is_some()).collect();
        if varying.len() > FEW_INPUTS || self.engine.has_set() {
            return Vec::new();
        }
        varying.sort_by(|&a, &b| (upper[b] - lower[b]).total_cmp(&(upper[a] - lower[a])).then(a.cmp(&b)));
        varying.truncate(INPUTS);
        varying
    }
}

/// What is seen of the search of one part.
struct Within<'o> {
    observer: &'o mut dyn Observer,
    /// Share of the whole that was decided before.
    decided: f64,
    /// The part's own share.
    weight: f64,
    /// Parts that wait.
    open: u64,
}

impl Observer for Within<'_> {
    fn round(&mut self, progress: Progress) {
        let Progress { open, decided, .. } = progress;
        let decided = (self.decided + self.weight * decided).min(1.0);
        self.observer.round(Progress { open: open + self.open, decided, ..progress });
    }
}
