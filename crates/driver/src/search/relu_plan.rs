use bounds::{Ascent, Base, BoundEngine, Optimised, Recipe, Split};
use checker::certificate::Origin;
use network::{LinearMap, Op};

use crate::certificate::{ContextNotes, Draft, Recorder, ReluMap};
use crate::error::Error;
use crate::search::branch_and_bound::End;
use crate::search::falsify::Attack;
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::observer::Observer;
use crate::search::parts::Parts;
use crate::search::relu_search::{ReluSearch, TreeRecord};
use crate::search::sharpen::Sharpen;
use crate::search::verdict::{Outcome, StopReason};

/// Decides an objective by optimised bounds and splits of `ReLU`s, in turns: search for a while, and if that does not end it, spend
/// more on the root's intermediate bounds, on which every piece builds, before the next search.
///
/// On networks of several layers a small tree per neuron (see `Sharpen`) is worth more than the same time spent on the
/// search: `mnist_fc` 256x6, property 1 with radius 0.03, starts at −393 and at −2.5 once the neurons are sharpened.
#[derive(Debug)]
pub struct ReluPlan<'a> {
    objective: &'a Objective,
    falsifier: &'a dyn Attack,
}

/// What turns over one base came to.
enum Turned<'r> {
    /// An end, and the smallest bound.
    Ended(End, f64),
    /// Disjuncts are open: their places, the base as it was left, and where it should be split.
    Left(Vec<usize>, Box<Noted<'r>>, Split),
}

/// A base, and what the checker knows of it where a certificate is written.
type Noted<'r> = (Base, Option<ContextNotes<'r>>);

/// A half that is still to be decided: its disjuncts, and the turns over it.
type Half<'r> = (Noted<'r>, Vec<usize>, &'static [Turn]);

/// Pieces of a turn's search, rounds of splits and multiply-adds of the sharpening before it.
type Turn = (u64, usize, u64);

/// The turns over the whole region.
const TURNS: [Turn; 4] =
    [(2_048, 0, 0), (4_096, 6, 100_000_000_000), (8_192, 9, 500_000_000_000), (16_384, 12, 1_500_000_000_000)];

/// Those of them that come before parts where the network is a chain with convolutions.
const SHARED_TURNS: usize = 2;

/// The turns over half of what the turns before could not decide.
const HALF_TURNS: [Turn; 2] = [(4_096, 6, 100_000_000_000), (16_384, 10, 700_000_000_000)];

/// A search that has decided this share goes on instead of starting over.
const NEARLY: f64 = 0.9;

impl<'a> ReluPlan<'a> {
    /// For one objective.
    pub fn new(objective: &'a Objective, falsifier: &'a dyn Attack) -> Self {
        Self { objective, falsifier }
    }

    /// Decides the disjuncts that the plain bounds of `engine` left `open` over its whole region.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn run(
        &self,
        engine: &BoundEngine,
        open: &[usize],
        clock: &Clock,
        observer: &mut dyn Observer,
        outcome: &mut Outcome,
    ) -> Result<End, Error> {
        self.run_recorded(engine, open, None, (clock, observer, outcome))
    }

    /// As [`Self::run`], writing a certificate where there is a recorder.
    pub(crate) fn run_recorded<'r>(
        &self,
        engine: &BoundEngine,
        open: &[usize],
        mut recorder: Option<&mut Recorder<'r>>,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        let engine = engine.with_recipe(Recipe { optimised: Optimised::Everything, ..Recipe::default() })?;
        let region = engine.region();
        let ends = (region.lower.clone(), region.upper.clone());
        // A root of ten thousands of neurons takes longer than some limits.
        let ascent = Ascent { until: clock.deadline(), ..Ascent::default() };
        let Some(root) = engine.base((&ends.0, &ends.1), None, &[], ascent)? else {
            // A region that holds a point has no empty bounds: whatever happened, it proves nothing.
            return Ok(End::Stopped(StopReason::Precision));
        };
        let notes = match recorder.as_deref_mut() {
            Some(recorder) => Some(self.note_root(recorder, &engine, &root, open)?),
            None => None,
        };
        // Parts are what a certificate cannot express.
        let has_parts = recorder.is_none();
        let early = has_parts && self.has_convolutions();
        let turns = if early { &TURNS[..SHARED_TURNS] } else { &TURNS[..] };
        // Halves that are still to be decided, each with its disjuncts; the last first.
        let mut left: Vec<Half<'r>> = vec![((root, notes), open.to_vec(), turns)];
        let mut least = f64::INFINITY;
        while let Some((base, open, turns)) = left.pop() {
            let recording = recorder.as_deref_mut();
            match self.decide(&engine, base, open, turns, recording, (clock, observer, outcome))? {
                Turned::Ended(End::Verified, bound) => least = least.min(bound),
                Turned::Ended(end, bound) => {
                    outcome.meet(least.min(bound));
                    if matches!(end, End::Stopped(_)) {
                        self.meet_left(&engine, &left, outcome)?;
                    }
                    return Ok(end);
                }
                Turned::Left(open, whole, _) if has_parts && (early || !whole.0.splits().is_empty()) => {
                    let end = self.by_parts(&engine, &whole.0, &open, (clock, observer, outcome))?;
                    if end != End::Verified {
                        outcome.meet(least);
                        if matches!(end, End::Stopped(_)) {
                            self.meet_left(&engine, &left, outcome)?;
                        }
                        return Ok(end);
                    }
                }
                Turned::Left(open, whole, split) => {
                    let (base, notes) = *whole;
                    let n_left = left.len();
                    for is_active in [false, true] {
                        let split = Split { is_active, ..split };
                        let mut splits = base.splits().to_vec();
                        splits.push(split);
                        let mut half = engine.base((&ends.0, &ends.1), Some(&base), &splits, ascent)?;
                        if let Some(found) = half.take_if(|_| has_parts) {
                            half = engine.reversed(found, &[])?;
                        }
                        let mut noted = None;
                        if let (Some(recorder), Some(notes)) = (recorder.as_deref_mut(), &notes) {
                            let origin = Origin::Context(notes.id, Some(notes.map.split(split)));
                            let mut draft = self.draft(recorder, &notes.map, origin, Some(notes));
                            match &half {
                                Some(half) => draft.advance(recorder, &engine, half, None)?,
                                None => draft.advance_plainly(),
                            }
                            let inside = draft.finish();
                            if half.is_none() && !recorder.close_empty(self.objective, &inside, &open) {
                                return Ok(End::Stopped(StopReason::Precision));
                            }
                            noted = Some(inside);
                        }
                        if let Some(half) = half {
                            left.push(((half, noted), open.clone(), &HALF_TURNS));
                        }
                    }
                    if left.len() == n_left && base.splits().is_empty() {
                        // A whole region cannot vanish.
                        return Ok(End::Stopped(StopReason::Precision));
                    }
                }
            }
        }
        outcome.meet(least);
        Ok(End::Verified)
    }

    /// Counts the bounds of halves that nobody came to.
    fn meet_left(&self, engine: &BoundEngine, left: &[Half<'_>], outcome: &mut Outcome) -> Result<(), Error> {
        for ((base, _), open, _) in left {
            for &disjunct in open {
                outcome.meet(Parts::new(self.objective, engine, self.falsifier, disjunct).bound(base)?);
            }
        }
        Ok(())
    }

    /// Whether the network is a chain with convolutions: too many of its neurons see a small part of the inputs to be sharpened in
    /// more turns, which its few dense layers do not need once they are confined.
    fn has_convolutions(&self) -> bool {
        let nodes = self.objective.network.nodes();
        let is_conv = |op: &Op| matches!(op, Op::Affine(affine) if matches!(affine.map, LinearMap::Conv(_)));
        nodes.iter().any(|node| is_conv(&node.op)) && nodes.iter().all(|node| node.inputs.len() < 2)
    }

    /// Decides disjuncts one after another, each by parts of a base.
    fn by_parts(
        &self,
        engine: &BoundEngine,
        base: &Base,
        open: &[usize],
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        for (place, &disjunct) in open.iter().enumerate() {
            let parts = Parts::new(self.objective, engine, self.falsifier, disjunct);
            let end = parts.run(base.clone(), clock, observer, outcome)?;
            if end != End::Verified {
                for &disjunct in &open[place + 1..] {
                    outcome.meet(Parts::new(self.objective, engine, self.falsifier, disjunct).bound(base)?);
                }
                return Ok(end);
            }
        }
        Ok(End::Verified)
    }

    /// Writes the context that is the whole region, for the disjuncts that are open.
    fn note_root<'r>(
        &self,
        recorder: &mut Recorder<'r>,
        engine: &BoundEngine,
        root: &Base,
        open: &[usize],
    ) -> Result<ContextNotes<'r>, Error> {
        let map = ReluMap::new(recorder.question.network, &self.objective.network).ok_or_else(|| {
            Error::Certificate("the certificate cannot name the ReLUs of the network that was bounded".into())
        })?;
        let region = recorder.region(self.objective, open);
        let mut draft = self.draft(recorder, &map, Origin::Box(region), None);
        draft.advance(recorder, engine, root, None)?;
        Ok(draft.finish())
    }

    fn draft<'p, 'r>(
        &self,
        recorder: &mut Recorder<'r>,
        map: &ReluMap,
        origin: Origin,
        parent: Option<&'p ContextNotes<'r>>,
    ) -> Draft<'p, 'r> {
        let region = &self.objective.region;
        Draft::new(recorder, (&region.lower, &region.upper), map, origin, parent)
    }

    /// Takes turns over one base: how it ended, with the smallest bound, or what is left of it and where it should be split.
    fn decide<'r>(
        &self,
        engine: &BoundEngine,
        (mut base, mut notes): Noted<'r>,
        mut open: Vec<usize>,
        turns: &[Turn],
        mut recorder: Option<&mut Recorder<'r>>,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<Turned<'r>, Error> {
        let mut least = f64::INFINITY;
        let is_whole = base.splits().is_empty();
        for (turn, &(most_subdomains, rounds, macs)) in turns.iter().enumerate() {
            if rounds > 0 {
                let rows = open.iter().flat_map(|&disjunct| self.objective.disjuncts[disjunct].1.clone());
                let rows: Vec<u32> = rows.map(|row| row as u32).collect();
                let mut draft = recorder.as_deref_mut().zip(notes.as_ref()).map(|(recorder, notes)| {
                    self.draft(recorder, &notes.map, Origin::Context(notes.id, None), Some(notes))
                });
                let writing = recorder.as_deref_mut().zip(draft.as_mut());
                let sharper = Sharpen::new(engine, rounds, macs).run(base, &rows, clock, writing)?;
                let mut inside = None;
                if let (Some(recorder), Some(mut draft)) = (recorder.as_deref_mut(), draft) {
                    match &sharper {
                        Some(sharper) => draft.advance(recorder, engine, sharper, None)?,
                        None => draft.advance_plainly(),
                    }
                    let noted = draft.finish();
                    if sharper.is_none() && !recorder.close_empty(self.objective, &noted, &open) {
                        return Ok(Turned::Ended(End::Stopped(StopReason::Precision), least));
                    }
                    inside = Some(noted);
                }
                notes = inside;
                let Some(sharper) = sharper else {
                    // Nothing is left of a piece; a whole region cannot vanish.
                    let end = if is_whole { End::Stopped(StopReason::Precision) } else { End::Verified };
                    return Ok(Turned::Ended(end, least));
                };
                base = sharper;
            }
            let record = recorder.as_deref_mut().zip(notes.as_ref());
            let record = record.map(|(recorder, notes)| TreeRecord { recorder, notes });
            let mut search = ReluSearch::new(self.objective, engine, self.falsifier, base, &open, record)?;
            let before = outcome.subdomains;
            let mut end = search.run(most_subdomains, before, clock, observer)?;
            if end.is_none() && search.decided() >= NEARLY {
                end = search.run(most_subdomains.saturating_mul(8), before, clock, observer)?;
            }
            let (subdomains, rebounded) = search.counts();
            outcome.subdomains += subdomains;
            outcome.rebounded += rebounded;
            let bound = search.lower_bound().unwrap_or(f64::INFINITY).min(least);
            let is_last = turn + 1 == turns.len();
            match (end, search.root_splits().first().copied()) {
                // Sharper bounds may decide what is stuck; so may halves.
                (None, Some(split)) if is_last => {
                    let (open, base) = search.into_open();
                    return Ok(Turned::Left(open, Box::new((base, notes)), split));
                }
                (None | Some(End::Stopped(StopReason::Precision)), _) if !is_last => {
                    least = least.min(search.least_decided());
                    (open, base) = search.into_open();
                }
                (end, _) => return Ok(Turned::Ended(end.unwrap_or(End::Stopped(StopReason::Precision)), bound)),
            }
        }
        Ok(Turned::Ended(End::Stopped(StopReason::Precision), least))
    }
}
