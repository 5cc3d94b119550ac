use crate::repair::Tuned;
use crate::search::StopReason;

/// How a repair ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairOutcome {
    /// The answer.
    pub verdict: RepairVerdict,
    /// Why it ended, where not everything is verified.
    pub stop: Option<RepairStop>,
    /// Every round; the last one holds the answers of the network as it is.
    pub rounds: Vec<RepairRound>,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairVerdict {
    /// All requirements are proved on the network as it was: there was nothing to repair.
    Verified,
    /// All requirements are proved on the changed network.
    Repaired,
    /// Some requirement is violated, and a limit was reached.
    Falsified,
    /// Some requirement is open, none is violated as far as known, and a limit was reached.
    Unknown,
}

/// Why a repair ended before everything was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairStop {
    /// As many rounds as allowed are done.
    RoundLimit,
    /// The time was up.
    TimeLimit,
    /// Somebody asked it to stop.
    Interrupted,
    /// Changing the weights no longer gains anything: accuracy would fall below its floor, or training diverges.
    Stuck,
}

/// One round: every requirement was looked at, and then, perhaps, weights were changed.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairRound {
    /// What was found of the requirements that were looked at, in order.
    pub checked: Vec<Checked>,
    /// Violations found.
    pub n_violations: usize,
    /// How the weights were changed; `None` in the last round.
    pub tuned: Option<Tuned>,
    /// Seconds.
    pub time_s: f64,
}

/// What was found of one requirement.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// Which.
    pub requirement: usize,
    /// `verified`, `falsified` or `unknown`.
    pub answer: &'static str,
    /// Why it is unknown.
    pub reason: Option<StopReason>,
    /// The smallest lower bound, where one was found.
    pub lower_bound: Option<f64>,
    /// Subdomains that were bounded.
    pub subdomains: u64,
    /// Seconds.
    pub time_s: f64,
}

impl RepairVerdict {
    /// A short name, the same in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Repaired => "repaired",
            Self::Falsified => "falsified",
            Self::Unknown => "unknown",
        }
    }

    /// Whether everything is proved.
    pub fn is_proved(self) -> bool {
        matches!(self, Self::Verified | Self::Repaired)
    }
}

impl RepairStop {
    /// A short name, the same in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::RoundLimit => "round limit",
            Self::TimeLimit => "time limit",
            Self::Interrupted => "interrupted",
            Self::Stuck => "stuck",
        }
    }
}
