/// How far a search has come; one record per round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds since the start.
    pub time_s: f64,
    /// Subdomains bounded so far.
    pub subdomains: u64,
    /// Open subdomains.
    pub open: u64,
    /// Share of the region's volume that is decided (by halvings), in `[0, 1]`.
    pub decided: f64,
    /// Smallest lower bound among the open subdomains.
    pub lower_bound: f64,
}

/// Watches a search.
pub trait Observer {
    /// Called after every round.
    fn round(&mut self, progress: Progress);
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {
    fn round(&mut self, _progress: Progress) {}
}
