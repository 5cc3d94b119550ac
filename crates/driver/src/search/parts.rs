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
    /// What is known of it.
    bound: f64,
    depth: u32,
}

/// What came of a part.
enum Attempt {
    /// The disjunct is excluded.
    Decided,
    /// The search is over.
    Ended(End),
    /// It is still open; the best `ReLU`s to split it at.
    Left(Box<Base>, Vec<Split>),
}

/// Where a part may be split.
#[derive(Debug, Clone, Copy)]
enum Choice {
    Relu(Split),
    Input(usize),
}

/// What is left of a part that was split, with bounds.
type Halves = Vec<(Base, f64)>;

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
        let typical = self.typical()?;
        let confine = Confine::new(self.engine, self.objective.disjuncts[self.disjunct].1.clone(), &typical);
        let bound = confine.bound(&base)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound);
        // Depth first: what is left stays small.
        let mut left = vec![Part { base, bound, depth: 0 }];
        let mut decided = 0.0;
        while let Some(Part { base, bound, depth }) = left.pop() {
            let weight = 0.5_f64.powi(depth as i32);
            let mut state = Attempt::Left(Box::new(base), Vec::new());
            for &spending in if depth == 0 { &WHOLE[..] } else { &[PART][..] } {
                let Attempt::Left(base, _) = state else { break };
                let mut within = Within { observer: &mut *observer, decided, weight, open: left.len() as u64 };
                state = self.attempt(&confine, *base, spending, (clock, &mut within, outcome))?;
            }
            let (halves, end) = match state {
                Attempt::Decided => {
                    decided += weight;
                    continue;
                }
                Attempt::Ended(end) => (None, end),
                Attempt::Left(base, splits) => match self.halves(&confine, &base, &splits, clock)? {
                    Ok(halves) => (halves, End::Stopped(StopReason::Precision)),
                    Err(reason) => (None, End::Stopped(reason)),
                },
            };
            let Some(halves) = halves else {
                outcome.meet(left.iter().map(|part| part.bound).fold(bound, f64::min));
                return Ok(end);
            };
            decided += 0.5 * weight * (2 - halves.len()) as f64;
            left.extend(halves.into_iter().map(|(base, bound)| Part { base, bound, depth: depth + 1 }));
        }
        // Where a part was confined, no more is known of the rest than that nothing there violates.
        outcome.meet(0.0);
        Ok(End::Verified)
    }

    /// The bound of the whole base, before anything is confined or split.
    ///
    /// # Errors
    /// When it fails.
    pub fn bound(&self, base: &Base) -> Result<f64, Error> {
        let typical = self.typical()?;
        let confine = Confine::new(self.engine, self.objective.disjuncts[self.disjunct].1.clone(), &typical);
        Ok(confine.bound(base)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound))
    }

    /// Values of all rows in the middle of the region.
    fn typical(&self) -> Result<Vec<f64>, Error> {
        let region = &self.objective.region;
        let ends = region.inner_lower.iter().zip(&region.inner_upper);
        let centre: Vec<f64> = ends.map(|(l, u)| 0.5 * l + 0.5 * u).collect();
        Ok(self.objective.network.evaluate(&centre)?)
    }

    /// Confines a part and searches it for a while.
    fn attempt(
        &self,
        confine: &Confine,
        base: Base,
        (pieces, effort): Spending,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<Attempt, Error> {
        if let Some(reason) = clock.stop(outcome.subdomains, 0) {
            return Ok(Attempt::Ended(End::Stopped(reason)));
        }
        outcome.subdomains += 1;
        let part = match confine.run(base, effort, clock)? {
            Confined::Excluded(bound) => {
                outcome.meet(bound);
                return Ok(Attempt::Decided);
            }
            Confined::Left(part) => *part,
        };
        let disjuncts = [self.disjunct];
        let mut search = ReluSearch::new(self.objective, self.engine, self.falsifier, part, &disjuncts, None)?;
        let before = outcome.subdomains;
        let pieces = self.pieces.unwrap_or(pieces);
        let mut end = search.run(pieces, before, clock, observer)?;
        if end.is_none() && search.decided() >= NEARLY {
            end = search.run(pieces.saturating_mul(ON), before, clock, observer)?;
        }
        let (subdomains, rebounded) = search.counts();
        outcome.subdomains += subdomains;
        outcome.rebounded += rebounded;
        let least = search.lower_bound().unwrap_or(f64::INFINITY);
        Ok(match end {
            Some(End::Verified) => {
                outcome.meet(least);
                Attempt::Decided
            }
            Some(end) => {
                outcome.meet(least);
                Attempt::Ended(end)
            }
            None => {
                let splits = search.root_splits().to_vec();
                outcome.meet(search.least_decided());
                Attempt::Left(Box::new(search.into_open().1), splits)
            }
        })
    }

    /// What is left of the halves of a part, split where that gains most; `None` if it cannot be split, a reason if there is no time to.
    fn halves(
        &self,
        confine: &Confine,
        base: &Base,
        splits: &[Split],
        clock: &Clock,
    ) -> Result<Result<Option<Halves>, StopReason>, Error> {
        let parent = confine.bound(base)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound);
        let relus = splits.iter().take(RELUS).map(|split| Choice::Relu(*split));
        let mut best: Option<(f64, Halves)> = None;
        for choice in relus.chain(self.inputs(base).into_iter().map(Choice::Input)) {
            if let Some(reason) = clock.stop(0, 0) {
                return Ok(Err(reason));
            }
            let mut score = 1.0;
            let mut kept = Vec::new();
            for half in self.split(base, choice)? {
                let bound = match &half {
                    None => f64::INFINITY,
                    Some(half) => confine.bound(half)?.map_or(f64::NEG_INFINITY, |(_, bound)| bound),
                };
                score *= (bound.min(0.0) - parent).max(0.0) + LEAST_GAIN;
                // A bound that is no number excludes nothing.
                let is_excluded = bound > 0.0;
                kept.extend(half.filter(|_| !is_excluded).map(|half| (half, bound)));
            }
            if best.as_ref().is_none_or(|best| score > best.0) {
                best = Some((score, kept));
            }
        }
        Ok(Ok(best.map(|(_, halves)| halves)))
    }

    /// The two halves of a part, where they hold a point.
    fn split(&self, base: &Base, choice: Choice) -> Result<[Option<Base>; 2], Error> {
        match choice {
            Choice::Relu(split) => {
                let half =
                    |is_active| self.reversed(self.engine.constrained(base, &[], &[Split { is_active, ..split }])?);
                Ok([half(false)?, half(true)?])
            }
            Choice::Input(i) => {
                let (lower, upper) = base.ends(self.engine.network().n_inputs());
                let middle = middle(lower[i], upper[i]).expect("inputs that are listed can be split");
                let (mut high, mut low) = (lower.to_vec(), upper.to_vec());
                (high[i], low[i]) = (middle, middle);
                let ascent = Ascent { steps: HALF_STEPS, ..Ascent::default() };
                let half = |ends: (&[f32], &[f32])| {
                    self.reversed(self.engine.base(ends, Some(base), base.splits(), ascent)?)
                };
                Ok([half((lower, &low))?, half((&high, upper))?])
            }
        }
    }

    /// What is left of a half where the disjunct could be violated.
    fn reversed(&self, half: Option<Base>) -> Result<Option<Base>, Error> {
        let rows: Vec<u32> = self.objective.disjuncts[self.disjunct].1.clone().map(|row| row as u32).collect();
        Ok(match half {
            Some(half) => self.engine.reversed(half, &rows)?,
            None => None,
        })
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
