use std::ops::Range;

use bounds::{Ascent, Base, BoundEngine, Keep, Lane, Split, Target};

use crate::error::Error;
use crate::search::limits::Clock;
use crate::search::sharpen::{Limit, Sharpen};

/// Tightens the bounds of a base's undecided neurons to where a disjunct could be violated: all of its rows are at most zero there.
///
/// Neurons that read all inputs are bounded together with the row that comes nearest to excluding the disjunct (see
/// [`Target::Constrained`]). The closer that row is to excluding it, the less is left: what is nearly proved collapses.
#[derive(Debug)]
pub struct Confine<'a> {
    engine: &'a BoundEngine,
    /// The rows of the disjunct.
    rows: Range<usize>,
    /// Values of all rows somewhere in the region: a scale.
    typical: &'a [f64],
}

/// How hard a base is confined.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Passes over all layers, at most.
    pub passes: usize,
    /// Rounds of splits for every end of every neuron.
    pub rounds: usize,
    /// Multiply-adds of a pass, about.
    pub macs: u64,
}

/// What is left of a base.
#[derive(Debug)]
pub enum Confined {
    /// Nothing, and the bound that excludes the disjunct: infinite where no point is left.
    Excluded(f64),
    /// A part of it.
    Left(Box<Base>),
}

/// Steps of the rows' optimisation.
const ROW_STEPS: usize = 40;
/// The share of the nearest row's distance that a pass must win to be followed by another.
const WORTHWHILE: f64 = 0.05;

impl<'a> Confine<'a> {
    /// For the rows of one disjunct.
    pub fn new(engine: &'a BoundEngine, rows: Range<usize>, typical: &'a [f64]) -> Self {
        Self { engine, rows, typical }
    }

    /// What is left. Stops early, with what it has, when the clock says so.
    ///
    /// # Errors
    /// As [`BoundEngine::ascend`].
    pub fn run(&self, mut base: Base, effort: Effort, clock: &Clock) -> Result<Confined, Error> {
        let mut before = f64::NEG_INFINITY;
        for pass in 0..=effort.passes {
            let Some((output, now)) = self.bound(&base)? else { break };
            if now > 0.0 {
                return Ok(Confined::Excluded(now));
            }
            // Written so that a bound that is no number ends the passes.
            let has_won = now > before * (1.0 - WORTHWHILE);
            if pass == effort.passes || !has_won || clock.stop(0, 0).is_some() {
                break;
            }
            before = now;
            let range = (self.typical[output as usize] - now).max(f64::from(f32::MIN_POSITIVE)) as f32;
            let sharpen = Sharpen::new(self.engine, effort.rounds, effort.macs).limited(Limit { output, range });
            let rows: Vec<u32> = self.rows.clone().map(|row| row as u32).collect();
            let part = match sharpen.run(base, &[output], clock, None)? {
                Some(part) => self.engine.reversed(part, &rows)?,
                None => None,
            };
            match part {
                Some(part) => base = part,
                None => return Ok(Confined::Excluded(f64::INFINITY)),
            }
        }
        Ok(Confined::Left(Box::new(base)))
    }

    /// The row that comes nearest to excluding the disjunct over a base, with its bound; none if there is no row.
    ///
    /// # Errors
    /// As [`BoundEngine::ascend`].
    pub fn bound(&self, base: &Base) -> Result<Option<(u32, f64)>, Error> {
        let splits: Vec<(Split, f32)> = base.splits().iter().map(|split| (*split, 0.0)).collect();
        let lane = |row| Lane { neuron: row as u32, is_upper: false, splits: &splits, alpha: &[], weight: 0.0 };
        let lanes: Vec<Lane> = self.rows.clone().map(lane).collect();
        let ascent = Ascent { steps: ROW_STEPS, momentum: Ascent::LONG_MEMORY, ..Ascent::default() };
        let ended = self.engine.ascend(base, Target::Outputs, &lanes, &ascent, Keep::default())?;
        let bounds = self.rows.clone().zip(&ended).map(|(row, end)| (row as u32, f64::from(end.bound)));
        Ok(bounds.max_by(|a, b| a.1.total_cmp(&b.1)))
    }
}
