use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::outcome::PreimageOutcome;

use super::{PreimageOptions, PreimageSearch, Report};

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
        let PreimageOutcome { is_disjoint, stop, subdomains, rounds, n_cells, .. } = outcome;
        self.reported(options, Report { elements, is_disjoint, stop, subdomains, rounds, n_cells }, 1)
    }
}
