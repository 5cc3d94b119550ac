//! When to enumerate a network's cells instead of searching, and what is made of them.

use std::collections::HashSet;

use bounds::Ascent;
use network::NodeId;

use crate::error::Error;
use crate::preimage::cells::{Cells, Enumeration, MOST_UNDECIDED};
use crate::preimage::options::PreimageOptions;
use crate::preimage::outcome::{PreimageOutcome, PreimageStop, Round};
use crate::preimage::piece::Samples;
use crate::preimage::problem::Mode;
use crate::preimage::search::{PreimageSearch, Report};
use crate::search::Clock;

/// Samples whose cells are told apart.
const SAMPLES: usize = 4096;
/// Cells that samples see, up to which an enumeration is cheaper than a search: for any target, and for one this near to one.
const FEW_CELLS: usize = 48;
const MORE_CELLS: usize = 1024;
const NEAR: f64 = 0.011;
/// Cells at which an enumeration that was expected to be cheap is given up.
const MOST_CELLS: u64 = 1 << 15;

impl PreimageSearch<'_> {
    /// Enumerates the cells where that is wanted and possible.
    ///
    /// # Errors
    /// When it is wanted and impossible, or the bounds fail.
    pub(super) fn enumerated(
        &self,
        options: &PreimageOptions,
        samples: &Samples,
        clock: &Clock,
        watch: &mut dyn FnMut(Round),
    ) -> Result<Option<PreimageOutcome>, Error> {
        if options.cells == Cells::Never {
            return Ok(None);
        }
        let is_wanted = options.cells == Cells::Always;
        if let Some(obstacle) = Enumeration::obstacle(&self.reduced) {
            if is_wanted {
                return Err(Error::question(format!("the cells cannot be enumerated: {obstacle}")));
            }
            return Ok(None);
        }
        let mut most = u64::MAX;
        if !is_wanted {
            if self.n_undecided()? > MOST_UNDECIDED {
                return Ok(None);
            }
            let is_near = (options.coverage - 1.0).abs() < NEAR || options.cells == Cells::Preferred;
            let n_seen = self.n_seen(samples)?;
            if !options.known.is_empty() || n_seen > if is_near { MORE_CELLS } else { FEW_CELLS } {
                return Ok(None);
            }
            most = MOST_CELLS;
        }
        most = most.min(clock.subdomains_left(0));
        let mode = self.problem.mode;
        // What was given up proves nothing: the search takes over.
        let Ok(found) = Enumeration::run(&self.reduced, mode, most, clock) else { return Ok(None) };
        let round = Round { time_s: clock.elapsed().as_secs_f64(), coverage: 1.0, polytopes: found.elements.len() };
        watch(round);
        let is_single = self.reduced.targets.iter().all(|target| target.len() == 1);
        let report = Report {
            elements: found.elements,
            is_disjoint: mode == Mode::Under && (is_single || self.reduced.targets.len() == 1),
            stop: PreimageStop::Enumerated,
            subdomains: found.n_cells,
            rounds: vec![round],
            n_cells: Some(found.n_cells),
        };
        Ok(Some(self.report(options, report)?))
    }

    /// How many `ReLU`s bounds over the region leave undecided.
    fn n_undecided(&self) -> Result<usize, Error> {
        let region = self.engine.region();
        let ascent = Ascent { steps: 0, ..Ascent::default() };
        let Some(base) = self.engine.base((&region.lower, &region.upper), None, &[], ascent)? else { return Ok(0) };
        let mut count = 0;
        for activation in self.engine.activations() {
            let (lower, upper) = self.engine.operand_bounds(&base, activation)?;
            count += lower.iter().zip(upper).filter(|(l, u)| **l < 0.0 && **u > 0.0).count();
        }
        Ok(count)
    }

    /// How many cells some samples lie in.
    fn n_seen(&self, samples: &Samples) -> Result<usize, Error> {
        let n = self.reduced.n_free();
        let samples = samples.thinned(n, SAMPLES);
        let operands: Vec<usize> = self
            .engine
            .activations()
            .map(|activation| self.engine.network().node(NodeId(activation as usize)).inputs[0].0)
            .collect();
        let values = self.engine.evaluate(&samples.points, &operands)?;
        let mut seen: HashSet<Vec<bool>> = HashSet::new();
        for s in 0..samples.len() {
            let signs = values.iter().flat_map(|values| {
                let length = values.len() / samples.len();
                values[s * length..][..length].iter().map(|value| *value >= 0.0)
            });
            seen.insert(signs.collect());
        }
        Ok(seen.len())
    }
}
