use crate::preimage::element::Element;
use crate::preimage::interval::Interval;

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct PreimageOutcome {
    /// The union of these is the approximation, in the inputs that vary.
    pub elements: Vec<Element>,
    /// Which inputs vary, rising; all others have one value.
    pub free: Vec<usize>,
    /// Approximation volume over preimage volume.
    pub coverage: f64,
    /// Where that ratio is, with 95 % confidence.
    pub coverage_interval: Interval,
    /// Share of the region (of the prior's mass) that the preimage takes.
    pub preimage_volume: f64,
    /// Where that is, with 95 % confidence.
    pub preimage_interval: Interval,
    /// Share of the region that the approximation takes.
    pub approximation_volume: f64,
    /// Where that is, with 95 % confidence.
    pub approximation_interval: Interval,
    /// Fresh samples behind these figures.
    pub n_samples: u64,
    /// Whether elements share no volume: so it is where only inputs were split, or one output polytope was asked for and every
    /// `ReLU`'s sides are apart.
    pub is_disjoint: bool,
    /// Whether the safe end of the coverage's interval is past the target.
    pub is_reached: bool,
    /// Why it ended.
    pub stop: PreimageStop,
    /// Pieces that were bounded.
    pub subdomains: u64,
    /// How it went.
    pub rounds: Vec<Round>,
    /// How many cells there are, if these were enumerated.
    pub n_cells: Option<u64>,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreimageStop {
    /// The target was reached.
    Target,
    /// Nothing is left to split.
    Exhausted,
    /// Every cell of the network was looked at.
    Enumerated,
    /// Time is up.
    TimeLimit,
    /// So many pieces were bounded.
    SubdomainLimit,
    /// Somebody said so.
    Interrupted,
    /// No sample lies in the preimage.
    NoPreimage,
}

/// A record of one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Round {
    /// Seconds since the start.
    pub time_s: f64,
    /// Estimated coverage.
    pub coverage: f64,
    /// Polytopes.
    pub polytopes: usize,
}

impl PreimageStop {
    /// Its name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Target => "target",
            Self::Exhausted => "exhausted",
            Self::Enumerated => "all cells",
            Self::TimeLimit => "time limit",
            Self::SubdomainLimit => "subdomain limit",
            Self::Interrupted => "interrupted",
            Self::NoPreimage => "no preimage found",
        }
    }
}
