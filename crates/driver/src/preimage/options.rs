use crate::preimage::cells::Cells;
use crate::preimage::element::Element;
use crate::search::{Interrupt, Limits};

/// How to approximate.
#[derive(Debug, Clone)]
pub struct PreimageOptions {
    /// Where the search may stop: at least this coverage of an under-approximation, at most of an over-approximation.
    pub coverage: f64,
    /// What may be spent.
    pub limits: Limits,
    /// Where randomness starts.
    pub seed: u64,
    /// Stops the search from outside.
    pub interrupt: Interrupt,
    /// Samples that the search starts from; none: as many as the number of inputs asks for.
    pub n_samples: Option<usize>,
    /// Share of a piece's samples that each layer may lose where an under-approximation cuts corners off, in `[0, 1)`; none: 0 where
    /// few inputs vary, else 0.02.
    pub trim: Option<f64>,
    /// Whether the cells of a small network are enumerated.
    pub cells: Cells,
    /// Fresh samples behind the reported figures.
    pub n_report: usize,
    /// Polytopes of an earlier run of the same problem, to go on from.
    pub known: Vec<Element>,
}

impl Default for PreimageOptions {
    fn default() -> Self {
        Self {
            coverage: 0.9,
            limits: Limits::default(),
            seed: 0,
            interrupt: Interrupt::default(),
            n_samples: None,
            trim: None,
            cells: Cells::Auto,
            n_report: 1 << 17,
            known: Vec::new(),
        }
    }
}
