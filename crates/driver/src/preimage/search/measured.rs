use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::interval::clopper_pearson;
use crate::preimage::outcome::PreimageOutcome;
use crate::preimage::problem::Mode;
use crate::preimage::stream::Purpose;

use super::{DELTA, PreimageOptions, PreimageSearch};

impl PreimageSearch<'_> {
    /// The outcome with other polytopes instead, and the figures of those, from samples that nothing has seen before.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn measured(
        &self,
        outcome: PreimageOutcome,
        elements: Vec<Element>,
        options: &PreimageOptions,
    ) -> Result<PreimageOutcome, Error> {
        let mode = self.problem.mode;
        let mut elements = elements;
        let (counts, hits) = self.measure(&elements, options, (Purpose::Report, 1), 2)?;
        for (element, hits) in elements.iter_mut().zip(hits) {
            element.volume = hits as f64 / counts.n as f64;
        }
        let (coverage, coverage_interval) = counts.coverage(mode, DELTA);
        let n_approximation = match mode {
            Mode::Under => counts.n_hit,
            Mode::Over => counts.n_inside + counts.n_hit,
        };
        let is_reached = match mode {
            Mode::Under => coverage_interval.lower >= options.coverage,
            Mode::Over => coverage_interval.upper <= options.coverage,
        };
        Ok(PreimageOutcome {
            elements,
            coverage,
            coverage_interval,
            preimage_volume: counts.n_inside as f64 / counts.n as f64,
            preimage_interval: clopper_pearson(counts.n_inside, counts.n, DELTA),
            approximation_volume: n_approximation as f64 / counts.n as f64,
            approximation_interval: clopper_pearson(n_approximation, counts.n, DELTA),
            n_samples: counts.n,
            is_reached,
            ..outcome
        })
    }
}
