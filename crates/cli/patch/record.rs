use driver::StopReason;
use driver::patch::{Coverage, Finding, PatchCounterexample, PatchStage, PatchVerdict};
use driver::preimage::Interval;
use serde::{Deserialize, Serialize};

/// What a store knows of one question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `verified`, `falsified`, `open` or `unknown`.
    pub verdict: String,
    /// What decided: `bounds`, `attack` or `refinement`.
    pub stage: String,
    /// Why it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The smallest lower bound of the margin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_bound: Option<f64>,
    /// Subdomains that were bounded.
    pub subdomains: u64,
    /// Seconds.
    pub time_s: f64,
    /// What changes the class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterexample: Option<Contents>,
    /// Which share of the contents is certified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Share>,
    /// What might be spent.
    #[serde(default)]
    pub effort: String,
}

/// Contents that change the class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    /// The network's inputs that vary, and their values.
    pub inputs: Vec<(usize, f32)>,
    /// The colour, or the amounts, where inputs vary together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<f64>,
    /// The class that it gets.
    pub predicted: usize,
    /// By how much that class is above the image's own.
    pub margin: f64,
}

/// Which share of the contents is certified, by polytopes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The share.
    pub certified: f64,
    /// Where it is, with 95 % confidence.
    pub interval: [f64; 2],
    /// Share of the contents that keep the class.
    pub kept: f64,
    /// Where that is, with 95 % confidence.
    pub kept_interval: [f64; 2],
    /// Polytopes.
    pub polytopes: usize,
}

/// Why a search may end without an answer.
const REASONS: [StopReason; 6] = [
    StopReason::TimeLimit,
    StopReason::SubdomainLimit,
    StopReason::MemoryLimit,
    StopReason::Interrupted,
    StopReason::Precision,
    StopReason::Magnitude,
];

impl Record {
    /// What a sweep found.
    pub fn of(finding: &Finding, effort: &str) -> Self {
        let Finding { verdict, lower_bound, subdomains, time_s, stage, coverage, .. } = finding;
        let (reason, counterexample) = match verdict {
            PatchVerdict::Unknown(reason) => (Some(reason.name().to_owned()), None),
            PatchVerdict::Falsified(found) => {
                let PatchCounterexample { inputs, parameters, predicted, margin } = found.clone();
                (None, Some(Contents { inputs, parameters, predicted, margin }))
            }
            _ => (None, None),
        };
        Self {
            verdict: verdict.name().into(),
            stage: stage.name().into(),
            reason,
            lower_bound: *lower_bound,
            subdomains: *subdomains,
            time_s: *time_s,
            counterexample,
            coverage: coverage.map(|coverage| Share {
                certified: coverage.certified,
                interval: [coverage.interval.lower, coverage.interval.upper],
                kept: coverage.kept,
                kept_interval: [coverage.kept_interval.lower, coverage.kept_interval.upper],
                polytopes: coverage.polytopes,
            }),
            effort: effort.into(),
        }
    }

    /// The verdict; `None` if the record makes no sense.
    pub fn as_verdict(&self) -> Option<PatchVerdict> {
        Some(match (self.verdict.as_str(), &self.counterexample) {
            ("verified", _) => PatchVerdict::Verified,
            ("falsified", Some(Contents { inputs, parameters, predicted, margin })) => {
                PatchVerdict::Falsified(PatchCounterexample {
                    inputs: inputs.clone(),
                    parameters: parameters.clone(),
                    predicted: *predicted,
                    margin: *margin,
                })
            }
            ("open", _) => PatchVerdict::Open,
            ("unknown", _) => {
                let named = |reason: &&StopReason| Some(reason.name()) == self.reason.as_deref();
                PatchVerdict::Unknown(*REASONS.iter().find(named)?)
            }
            _ => return None,
        })
    }

    /// The certified share, as summaries count it.
    pub fn as_coverage(&self) -> Option<Coverage> {
        let interval = |[lower, upper]: [f64; 2]| Interval { lower, upper };
        self.coverage.map(|share| Coverage {
            certified: share.certified,
            interval: interval(share.interval),
            kept: share.kept,
            kept_interval: interval(share.kept_interval),
            polytopes: share.polytopes,
        })
    }

    /// Whether it is verified or falsified.
    pub fn is_decided(&self) -> bool {
        matches!(self.verdict.as_str(), "verified" | "falsified")
    }

    /// Whether bounds and attacks have left it to refinement.
    pub fn is_open(&self) -> bool {
        self.verdict == "open"
    }

    /// Whether it was refined.
    pub fn is_refined(&self) -> bool {
        self.stage == PatchStage::Refinement.name()
    }

    /// Which of two records of one question says more; of equals, the first (the second, where it was made with another effort).
    pub fn better(self, other: Self) -> Self {
        let rank = |record: &Self| (record.is_decided(), !record.is_open(), record.coverage.is_some());
        let (own, new) = (rank(&self), rank(&other));
        let is_again = own == new && !self.is_decided() && self.effort != other.effort;
        if new > own || is_again { other } else { self }
    }
}
