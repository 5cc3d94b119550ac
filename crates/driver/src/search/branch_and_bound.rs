use std::cell::OnceCell;

use bounds::{Ascent, Batch, BoundEngine, Bounds, Branched, Optimised, Recipe, Wanted};
use checker::certificate::BoxId;

use crate::certificate::Recorder;
use crate::error::Error;
use crate::search::area::Area;
use crate::search::cut::cut;
use crate::search::falsify::Attack;
use crate::search::frontier::{Frontier, Subdomain};
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::observer::{Observer, Progress};
use crate::search::resident::{Resident, Submission};
use crate::search::verdict::{Counterexample, StopReason};

/// Splits the region along inputs until every piece excludes every disjunct.
///
/// Every subdomain that is split is replaced by two that cover it exactly, so that the pieces are always a partition.
#[derive(Debug)]
pub struct BranchAndBound<'a, 'r> {
    objective: &'a Objective,
    engine: &'a BoundEngine,
    falsifier: &'a dyn Attack,
    frontier: Frontier<Area>,
    /// Pieces too small to be split, still undecided.
    n_stuck: u64,
    /// Decided share of the volume.
    share: f64,
    /// Subdomains bounded, and of those in f64 as well.
    subdomains: u64,
    rebounded: u64,
    /// Backward rows per subdomain in the last round: the measure of its cost.
    rows_per_subdomain: u64,
    /// Smallest lower bound among decided pieces.
    least_decided: f64,
    /// For optimised bounds, on the host: made when first needed; `None` where f32 could overflow.
    optimiser: OnceCell<Option<BoundEngine>>,
    /// Rounds until optimised bounds are tried again.
    rests: u32,
    resident: Resident,
    /// Where the certificate goes.
    recorder: Option<&'a mut Recorder<'r>>,
}

/// A piece that its bounds left open.
#[derive(Debug)]
struct Open {
    piece: Subdomain<Area>,
    /// The input to split.
    dimension: usize,
    /// Slopes of the linear bound of the row that came nearest to excluding its disjunct, or nothing.
    slopes: Vec<f64>,
}

/// What a round left open.
#[derive(Debug)]
struct Left {
    /// Pieces to be split, worst first.
    open: Vec<Open>,
    /// The worst of the boxes that are split already, and queued: where attacks may start.
    starts: Vec<Box<[f32]>>,
}

/// How the pieces ended.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// All of them exclude every disjunct.
    Verified,
    /// One held a counterexample.
    Falsified(Box<Counterexample>),
    /// Some are open.
    Stopped(StopReason),
}

/// Multiply-adds in one round, about: long enough to fill the machine, short enough to look at the clock.
const ROUND_MACS: u64 = 2_000_000_000;
/// Most slopes per subdomain that are read back for the attack.
const MOST_SLOPES: usize = 256;
/// Subdomains before optimised bounds are tried, and their steps.
const PLAIN_SUBDOMAINS: u64 = 16_384;
const OPTIMISED_STEPS: usize = 8;
/// Pieces of a round that are tried first; the share of them that must be decided; rounds without if they are not.
const SAMPLE: usize = 64;
const WORTHWHILE: f64 = 0.25;
const RESTS: u32 = 8;
/// Most boxes that are attacked after a round.
const MOST_ATTACKED: usize = 512;
/// Most subdomains in one round.
const ROUND_SUBDOMAINS: usize = 8192;

impl<'a, 'r> BranchAndBound<'a, 'r> {
    /// Starts with the whole region open.
    pub fn new(objective: &'a Objective, engine: &'a BoundEngine, falsifier: &'a dyn Attack) -> Self {
        let mut frontier = Frontier::new();
        let region = engine.region();
        let ends = [region.lower.as_slice(), &region.upper].concat().into();
        frontier.push(Area { ends, id: 0 }, f64::NEG_INFINITY, 0);
        Self {
            objective,
            engine,
            falsifier,
            frontier,
            n_stuck: 0,
            share: 0.0,
            subdomains: 0,
            rebounded: 0,
            rows_per_subdomain: 0,
            least_decided: f64::INFINITY,
            optimiser: OnceCell::new(),
            rests: 0,
            resident: Resident::new(objective),
            recorder: None,
        }
    }

    /// Writes a certificate while it searches: then a piece is decided only once the checker's own plain bounds exclude it, and
    /// rounds on the device, whose boxes nobody sees, are not used. To be called before [`Self::run`].
    #[must_use]
    pub fn recording(mut self, recorder: &'a mut Recorder<'r>) -> Self {
        let disjuncts: Vec<usize> = (0..self.objective.disjuncts.len()).collect();
        let root = recorder.region(self.objective, &disjuncts);
        let areas = self.frontier.pop(1);
        areas.into_iter().for_each(|area| self.frontier.push(Area { id: root.0, ..area.piece }, area.score, 0));
        self.recorder = Some(recorder);
        self
    }

    /// Subdomains bounded, in f32 and again in f64.
    pub fn counts(&self) -> (u64, u64) {
        (self.subdomains, self.rebounded)
    }

    /// Of the subdomains bounded, how many never left the device between rounds.
    pub fn resident_subdomains(&self) -> u64 {
        self.resident.subdomains()
    }

    /// The smallest lower bound over all pieces, if any was bounded.
    pub fn lower_bound(&self) -> Option<f64> {
        let least = self.frontier.worst().unwrap_or(f64::INFINITY).min(self.least_decided);
        least.is_finite().then_some(least)
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// When the device fails.
    pub fn run(&mut self, clock: &Clock, observer: &mut dyn Observer) -> Result<End, Error> {
        self.frontier.limit_memory(clock.memory_bytes());
        loop {
            if self.frontier.is_empty() {
                return Ok(if self.n_stuck == 0 { End::Verified } else { End::Stopped(StopReason::Precision) });
            }
            if let Some(reason) = clock.stop(self.subdomains, self.frontier.memory_bytes()) {
                return Ok(End::Stopped(reason));
            }
            let Left { open, starts } = self.round(clock)?;
            observer.round(Progress {
                time_s: clock.elapsed().as_secs_f64(),
                subdomains: self.subdomains,
                open: (self.frontier.len() + open.len()) as u64,
                decided: self.share.min(1.0),
                lower_bound: self.lower_bound().unwrap_or(f64::NEG_INFINITY),
            });
            let of_open =
                open.iter().take(n_attacked(open.len())).map(|piece| (&*piece.piece.piece.ends, &*piece.slopes));
            let attacked: Vec<(&[f32], &[f64])> =
                of_open.chain(starts.iter().map(|start| (&**start, &[][..]))).collect();
            if !attacked.is_empty()
                && let Some(found) = self.falsifier.attack_boxes(&attacked, 4, clock)?
            {
                return Ok(End::Falsified(Box::new(found)));
            }
            for Open { piece, dimension, .. } in open {
                self.split(&piece, dimension);
            }
        }
    }

    /// Bounds the worst subdomains, for many rounds on the device where it can, else once.
    fn round(&mut self, clock: &Clock) -> Result<Left, Error> {
        let cost = (self.rows_per_subdomain * self.engine.macs()).max(1);
        let left = clock.subdomains_left(self.subdomains);
        let submission = self.resident.next(self.subdomains, left, cost).filter(|_| self.recorder.is_none());
        let Some(Submission { n_pieces, budget }) = submission else {
            let size = (ROUND_MACS / cost).clamp(1, ROUND_SUBDOMAINS as u64) as usize;
            let pieces = self.frontier.pop(size);
            return Ok(Left { open: self.bound(pieces)?, starts: Vec::new() });
        };
        let pieces = self.frontier.pop(n_pieces);
        if pieces.is_empty() {
            return Ok(Left { open: Vec::new(), starts: Vec::new() });
        }
        match self.resident.run(self.engine, &pieces, budget)? {
            Some(branched) => self.take_back(branched, clock),
            None => Ok(Left { open: self.bound(pieces)?, starts: Vec::new() }),
        }
    }

    /// Queues what the device left open, and bounds again in f64 what it doubts.
    fn take_back(&mut self, branched: Branched, clock: &Clock) -> Result<Left, Error> {
        self.subdomains += branched.bounded;
        self.rows_per_subdomain = branched.n_rows.div_ceil(branched.bounded.max(1));
        self.share += branched.decided;
        self.least_decided = self.least_decided.min(branched.least_decided);
        let mut halves = branched.open;
        // Worst first; both halves of a box have its score, so that ends settle the order.
        halves.sort_by(|a, b| a.score.total_cmp(&b.score).then_with(|| a.by_ends(b)));
        let starts = halves.iter().take(n_attacked(halves.len())).map(|half| half.ends.clone()).collect();
        for half in halves {
            self.frontier.push(Area { ends: half.ends, id: 0 }, f64::from(half.score), half.depth);
        }
        let mut open = Vec::new();
        let mut doubtful = branched.doubtful.into_iter().map(|(piece, dimension)| {
            let area = Area { ends: piece.ends, id: 0 };
            let piece = Subdomain { piece: area, score: f64::from(piece.score), depth: piece.depth, serial: 0 };
            Open { piece, dimension, slopes: Vec::new() }
        });
        loop {
            let some: Vec<Open> = doubtful.by_ref().take(ROUND_SUBDOMAINS).collect();
            if some.is_empty() {
                break;
            }
            if clock.stop(0, 0).is_some() {
                // There is no time left for these: they stay as they are.
                some.into_iter()
                    .for_each(|Open { piece, .. }| self.frontier.push(piece.piece, piece.score, piece.depth));
            } else {
                self.rebound(some, &mut open)?;
            }
        }
        sort(&mut open);
        Ok(Left { open, starts })
    }

    /// Bounds subdomains; returns those that stay open, worst first.
    fn bound(&mut self, pieces: Vec<Subdomain<Area>>) -> Result<Vec<Open>, Error> {
        if pieces.is_empty() {
            return Ok(Vec::new());
        }
        let n = self.engine.network().n_inputs();
        let mut batch = Batch::default();
        for piece in &pieces {
            batch.lower.extend_from_slice(&piece.piece[..n]);
            batch.upper.extend_from_slice(&piece.piece[n..]);
        }
        // Slopes of all rows come back only where they are few.
        let slopes = n * self.engine.network().n_outputs() <= MOST_SLOPES;
        let bounds = self.engine.bound(&batch, Wanted { split: true, slopes })?;
        self.subdomains += pieces.len() as u64;
        self.rows_per_subdomain = bounds.n_rows.div_ceil(pieces.len() as u64);
        let mut open = Vec::new();
        let mut doubtful = Vec::new();
        // A certificate knows halves of boxes only.
        let cuts = self.recorder.is_none() && !self.engine.has_set();
        let is_decided = self.decided(pieces.iter().map(|piece| &piece.piece), &bounds);
        for (b, mut piece) in pieces.into_iter().enumerate() {
            let lower = rows(&bounds.lower, bounds.n_outputs, b);
            piece.score = self.objective.score(lower);
            if is_decided[b] {
                self.decide(&piece);
                continue;
            }
            let slack = rows(&bounds.lower_slack, bounds.n_outputs, b);
            let without: Vec<f64> = lower.iter().zip(slack).map(|(lower, slack)| lower + slack).collect();
            let row = b * bounds.n_outputs + self.objective.decisive_row(lower);
            let slopes = bounds.slopes.get(row * n..(row + 1) * n).unwrap_or_default().to_vec();
            if cuts {
                let of_rows = bounds.slopes.chunks_exact((bounds.n_outputs * n).max(1)).nth(b).unwrap_or_default();
                if cut(&mut piece.piece.ends, self.objective, lower, of_rows) {
                    // Of what was cut off, no more is known than that nothing there violates.
                    self.least_decided = self.least_decided.min(0.0);
                }
            }
            let kept = Open { dimension: bounds.split[b] as usize, slopes, piece };
            let is_excluded = self.objective.is_excluded(lower);
            if !is_excluded && self.objective.is_excluded(&without) || splittable(&kept.piece, kept.dimension).is_none()
            {
                doubtful.push(kept);
            } else {
                open.push(kept);
            }
        }
        self.rebound(doubtful, &mut open)?;
        let mut open = self.optimise(open)?;
        sort(&mut open);
        Ok(open)
    }

    /// Bounds open pieces again with optimised slopes once the search has grown: each costs as much as tens of plain ones, and pays
    /// where it ends a subtree of more. A sample says whether it does.
    fn optimise(&mut self, mut open: Vec<Open>) -> Result<Vec<Open>, Error> {
        if self.subdomains < PLAIN_SUBDOMAINS || open.is_empty() || self.optimiser().is_none() {
            return Ok(open);
        }
        if self.rests > 0 {
            self.rests -= 1;
            return Ok(open);
        }
        let rest = open.split_off(open.len().min(SAMPLE));
        let n_sampled = open.len();
        let mut left = self.optimised(open)?;
        if (n_sampled - left.len()) as f64 >= WORTHWHILE * n_sampled as f64 {
            left.extend(self.optimised(rest)?);
        } else {
            self.rests = RESTS;
            left.extend(rest);
        }
        Ok(left)
    }

    fn optimiser(&self) -> Option<&BoundEngine> {
        let make = || {
            let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
            self.engine.with_recipe(recipe).ok()
        };
        self.optimiser.get_or_init(make).as_ref()
    }

    /// What optimised bounds leave open.
    fn optimised(&mut self, pieces: Vec<Open>) -> Result<Vec<Open>, Error> {
        let n = self.engine.network().n_inputs();
        let mut batch = Batch::default();
        for Open { piece, .. } in &pieces {
            batch.lower.extend_from_slice(&piece.piece[..n]);
            batch.upper.extend_from_slice(&piece.piece[n..]);
        }
        let Some(engine) = self.optimiser() else { return Ok(pieces) };
        let ascent = Ascent { steps: OPTIMISED_STEPS, ..Ascent::default() };
        let bounds = engine.bound_optimised(&batch, ascent)?;
        let mut open = Vec::new();
        let mut is_decided: Vec<bool> =
            (0..pieces.len()).map(|b| self.objective.is_excluded(rows(&bounds.lower, bounds.n_outputs, b))).collect();
        if let Some(recorder) = &mut self.recorder {
            // Borrowed anew: the recorder is another part of this search.
            let Some(engine) = self.optimiser.get().and_then(Option::as_ref) else { return Ok(pieces) };
            for (is_decided, Open { piece, .. }) in is_decided.iter_mut().zip(&pieces).filter(|(is, _)| **is) {
                let area = &piece.piece;
                *is_decided = recorder.optimised(self.objective, engine, (BoxId(area.id), &area.ends), ascent)?;
            }
        }
        for (b, mut kept) in pieces.into_iter().enumerate() {
            let lower = rows(&bounds.lower, bounds.n_outputs, b);
            // Each bound is sound, so that the better one counts.
            kept.piece.score = kept.piece.score.max(self.objective.score(lower));
            if is_decided[b] {
                self.decide(&kept.piece);
            } else {
                open.push(kept);
            }
        }
        Ok(open)
    }

    /// Bounds again in f64 what f32 left open by its slack alone, or cannot split.
    fn rebound(&mut self, doubtful: Vec<Open>, open: &mut Vec<Open>) -> Result<(), Error> {
        if doubtful.is_empty() {
            return Ok(());
        }
        let n = self.engine.network().n_inputs();
        let ends = |half: usize| -> Vec<f64> {
            doubtful.iter().flat_map(|kept| &kept.piece.piece[half * n..][..n]).map(|&end| f64::from(end)).collect()
        };
        let bounds: Bounds = self.engine.bound_precisely(&ends(0), &ends(1), Wanted::default())?;
        self.rebounded += doubtful.len() as u64;
        let is_decided = self.decided(doubtful.iter().map(|kept| &kept.piece.piece), &bounds);
        for (b, mut kept) in doubtful.into_iter().enumerate() {
            let lower = rows(&bounds.lower, bounds.n_outputs, b);
            kept.piece.score = self.objective.score(lower);
            if is_decided[b] {
                self.decide(&kept.piece);
            } else {
                open.push(kept);
            }
        }
        Ok(())
    }

    /// Which of these areas are decided: excluded by their bounds and, where a certificate is written, by the checker, too.
    fn decided<'s>(&mut self, areas: impl Iterator<Item = &'s Area>, bounds: &Bounds) -> Vec<bool> {
        let areas: Vec<&Area> = areas.collect();
        let mut is_decided: Vec<bool> =
            (0..areas.len()).map(|b| self.objective.is_excluded(rows(&bounds.lower, bounds.n_outputs, b))).collect();
        if let Some(recorder) = &mut self.recorder {
            let excluded: Vec<usize> = (0..areas.len()).filter(|&b| is_decided[b]).collect();
            let boxes: Vec<&[f32]> = excluded.iter().map(|&b| &*areas[b].ends).collect();
            let is_accepted = recorder.excludes(self.objective, &boxes);
            for (&b, is_accepted) in excluded.iter().zip(is_accepted) {
                is_decided[b] = is_accepted;
                if is_accepted {
                    recorder.writer.plain(BoxId(areas[b].id));
                }
            }
        }
        is_decided
    }

    fn decide(&mut self, piece: &Subdomain<Area>) {
        self.share += 0.5_f64.powi(piece.depth as i32);
        self.least_decided = self.least_decided.min(piece.score);
    }

    /// Replaces a piece by its two halves.
    fn split(&mut self, piece: &Subdomain<Area>, dimension: usize) {
        let Some(dimension) = splittable(piece, dimension) else {
            self.n_stuck += 1;
            self.least_decided = self.least_decided.min(piece.score);
            return;
        };
        let n = piece.piece.len() / 2;
        let middle = middle(piece.piece[dimension], piece.piece[n + dimension]).expect("the dimension can be split");
        let (mut left, mut right) = (piece.piece.clone(), piece.piece.clone());
        left.ends[n + dimension] = middle;
        right.ends[dimension] = middle;
        if let Some(recorder) = &mut self.recorder {
            let halves = recorder.writer.halve(BoxId(piece.piece.id), dimension, f64::from(middle));
            [left.id, right.id] = halves.map(|half| half.0);
        }
        self.frontier.push(left, piece.score, piece.depth + 1);
        self.frontier.push(right, piece.score, piece.depth + 1);
    }
}

/// The input to split: the asked one, or the widest, if any has a float strictly inside.
fn splittable(piece: &Subdomain<Area>, asked: usize) -> Option<usize> {
    let n = piece.piece.len() / 2;
    let width = |i: usize| piece.piece[n + i] - piece.piece[i];
    let can_split = |i: &usize| middle(piece.piece[*i], piece.piece[n + *i]).is_some();
    Some(asked)
        .filter(can_split)
        .or_else(|| (0..n).filter(can_split).max_by(|&a, &b| width(a).total_cmp(&width(b)).then(b.cmp(&a))))
}

/// Worst first; equals in order of arrival.
fn sort(open: &mut [Open]) {
    open.sort_by(|Open { piece: a, .. }, Open { piece: b, .. }| {
        a.score.total_cmp(&b.score).then(a.serial.cmp(&b.serial))
    });
}

/// How many of so many open boxes are attacked.
fn n_attacked(n_open: usize) -> usize {
    (n_open / 16).clamp(4, MOST_ATTACKED)
}

/// A float strictly between two, about half way.
pub fn middle(low: f32, high: f32) -> Option<f32> {
    let middle = 0.5 * low + 0.5 * high;
    (low < middle && middle < high).then_some(middle)
}

fn rows(values: &[f64], n: usize, b: usize) -> &[f64] {
    &values[b * n..][..n]
}
