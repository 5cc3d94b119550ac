use std::sync::Arc;

use bounds::{Ascent, BoundEngine, Device, Optimised, Recipe};

use crate::error::Error;
use crate::search::branch_and_bound::End;
use crate::search::falsify::Falsifier;
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::observer::Observer;
use crate::search::relu_search::ReluSearch;
use crate::search::sharpen::Sharpen;
use crate::search::verdict::{Outcome, StopReason};

/// Decides an objective by optimised bounds and splits of `ReLU`s, in turns: search for a while, and if that does not end it, spend
/// more on the root's intermediate bounds, on which every piece builds, before the next search.
///
/// On networks of several layers a small tree per neuron (see [`Sharpen`]) is worth more than the same time spent on the
/// search: mnist_fc 256x6, property 1 with radius 0.03, starts at −393 and at −2.5 once the neurons are sharpened.
#[derive(Debug)]
pub struct ReluPlan<'a> {
    objective: &'a Objective,
    falsifier: &'a Falsifier<'a>,
}

/// Pieces of a turn's search, rounds of splits and multiply-adds of the sharpening before it.
const TURNS: [(u64, usize, u64); 5] = [
    (2_048, 0, 0),
    (4_096, 6, 100_000_000_000),
    (8_192, 9, 500_000_000_000),
    (32_768, 12, 2_000_000_000_000),
    (u64::MAX, 14, 4_000_000_000_000),
];

/// A search that has decided this share goes on instead of starting over.
const NEARLY: f64 = 0.9;

impl<'a> ReluPlan<'a> {
    /// For one objective.
    pub fn new(objective: &'a Objective, falsifier: &'a Falsifier<'a>) -> Self {
        Self { objective, falsifier }
    }

    /// Decides the disjuncts that the root's plain bounds left `open`.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn run(
        &self,
        mut open: Vec<usize>,
        clock: &Clock,
        observer: &mut dyn Observer,
        outcome: &mut Outcome,
    ) -> Result<End, Error> {
        let Self { objective, falsifier } = *self;
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let engine = BoundEngine::new(&Device::Host, Arc::clone(&objective.network), &objective.region, recipe)?;
        let region = engine.region();
        let Some(mut base) = engine.base((&region.lower, &region.upper), None, &[], Ascent::default())? else {
            return Ok(End::Verified);
        };
        for (turn, &(most_subdomains, rounds, macs)) in TURNS.iter().enumerate() {
            if rounds > 0 {
                let Some(sharper) = Sharpen::new(&engine, rounds, macs).run(&base, clock)? else {
                    return Ok(End::Verified);
                };
                base = sharper;
            }
            let mut search = ReluSearch::new(objective, &engine, falsifier, base, &open)?;
            let before = outcome.subdomains;
            let mut end = search.run(most_subdomains, before, clock, observer)?;
            if end.is_none() && search.decided() >= NEARLY {
                end = search.run(u64::MAX, before, clock, observer)?;
            }
            let (subdomains, rebounded) = search.counts();
            outcome.subdomains += subdomains;
            outcome.rebounded += rebounded;
            let is_last = turn + 1 == TURNS.len();
            match end {
                // Sharper bounds may decide what is stuck.
                None | Some(End::Stopped(StopReason::Precision)) if !is_last => {
                    (open, base) = search.into_open();
                }
                end => {
                    outcome.lower_bound = match (outcome.lower_bound, search.lower_bound()) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    return Ok(end.unwrap_or(End::Stopped(StopReason::Precision)));
                }
            }
        }
        Ok(End::Stopped(StopReason::Precision))
    }
}
