use network::Network;

use crate::preimage::Interval;
use crate::search::StopReason;

/// What is known of one placement.
#[derive(Debug, Clone, PartialEq)]
pub enum PatchVerdict {
    /// No contents change the class: proved in real arithmetic on the stored weights.
    Verified,
    /// These do.
    Falsified(PatchCounterexample),
    /// Bounds and attacks leave it open; it has not been refined yet.
    Open,
    /// Neither is known, and whatever may be spent is.
    Unknown(StopReason),
}

/// Contents of a patch that change the class, confirmed by running the network in f32 and in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchCounterexample {
    /// The inputs that vary and what they are; all others are the image's own.
    pub inputs: Vec<(usize, f32)>,
    /// The parameters, where inputs vary together.
    pub parameters: Vec<f64>,
    /// The class that it gets.
    pub predicted: usize,
    /// By how much that class's output is larger, at least, in f64 and in f32.
    pub margin: f64,
}

/// Which share of a patch's contents is proved to keep the class, by polytopes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// Volume of the polytopes over that of all contents.
    pub certified: f64,
    /// Where that is, with 95 % confidence (for polytopes; both ends are exact where the verdict says it).
    pub interval: Interval,
    /// Share of the contents that keep the class, and where it is.
    pub kept: f64,
    /// With 95 % confidence.
    pub kept_interval: Interval,
    /// Polytopes.
    pub polytopes: usize,
}

/// What decided, or was tried last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchStage {
    /// Linear bounds of all contents.
    Bounds,
    /// Descents of gradients.
    Attack,
    /// Optimised bounds and splits.
    Refinement,
}

/// What was found of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Its place among the tasks.
    pub task: usize,
    /// The answer.
    pub verdict: PatchVerdict,
    /// The smallest lower bound of the margin, where one was found.
    pub lower_bound: Option<f64>,
    /// Subdomains that were bounded, the whole one included.
    pub subdomains: u64,
    /// Seconds; where placements share a batch, their share of it.
    pub time_s: f64,
    /// What decided, or was tried last.
    pub stage: PatchStage,
    /// Which share of the contents is certified, where that was asked.
    pub coverage: Option<Coverage>,
}

impl PatchVerdict {
    /// A short name, the same in every output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Falsified(_) => "falsified",
            Self::Open => "open",
            Self::Unknown(_) => "unknown",
        }
    }

    /// Whether it is verified or falsified.
    pub fn is_decided(&self) -> bool {
        matches!(self, Self::Verified | Self::Falsified(_))
    }
}

impl PatchStage {
    /// A short name, the same in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bounds => "bounds",
            Self::Attack => "attack",
            Self::Refinement => "refinement",
        }
    }
}

impl PatchCounterexample {
    /// The network's whole input, from the image's own.
    pub fn input(&self, base: &[f32]) -> Vec<f32> {
        let mut input = base.to_vec();
        for &(i, value) in &self.inputs {
            input[i] = value;
        }
        input
    }
}

/// By how much one of `others` is above `class`, and which: at least, in f64 at one point and in f32 at its rounding; `None` if none
/// is above in both.
pub fn changed(
    network: &Network,
    (wide, narrow): (&[f64], &[f32]),
    class: usize,
    others: &[usize],
) -> Option<(usize, f64)> {
    let (y, z) = (network.evaluate(wide).ok()?, network.evaluate(narrow).ok()?);
    let margin = |other: usize| (y[other] - y[class]).min(f64::from(z[other]) - f64::from(z[class]));
    let best = others.iter().map(|&other| (other, margin(other))).max_by(|a, b| a.1.total_cmp(&b.1))?;
    // NaN is above nothing.
    (best.1 > 0.0 && best.1.is_finite()).then_some(best)
}
