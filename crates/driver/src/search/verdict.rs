use bounds::DeviceWork;

/// The answer to a question about a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// No input of the region violates the property: proved in real arithmetic on the stored weights.
    Verified,
    /// This input does.
    Falsified(Counterexample),
    /// Neither is known.
    Unknown(StopReason),
}

/// An input that violates the property, confirmed by running the network in f32 and f64 (and see `is_proved`).
#[derive(Debug, Clone, PartialEq)]
pub struct Counterexample {
    /// The input, inside the property's decimal box; every value is an f32 where that box has one.
    pub input: Vec<f64>,
    /// The network's output at the input, evaluated in f64.
    pub output: Vec<f64>,
    /// The same in f32.
    pub output_f32: Vec<f64>,
    /// How far inside the violation both outputs are: the smallest distance to a half-space's boundary, in its own scale.
    pub margin: f64,
    /// Which disjunct of the property it violates.
    pub disjunct: usize,
    /// Whether f64 bounds at the input prove the violation in real arithmetic too. They never contradict a counterexample; they may
    /// leave open one that only touches, or whose network cancels huge numbers.
    pub is_proved: bool,
}

/// Why a search ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The time was up.
    TimeLimit,
    /// As many subdomains as allowed were bounded.
    SubdomainLimit,
    /// The open subdomains need more memory than allowed, and a temporary file cannot hold the others.
    MemoryLimit,
    /// Somebody asked it to stop.
    Interrupted,
    /// Some piece is too small to be split further in floats, and still undecided.
    Precision,
    /// Values may become too large for any float that we bound in.
    Magnitude,
}

/// What a search found, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The answer.
    pub verdict: Verdict,
    /// Subdomains that were bounded.
    pub subdomains: u64,
    /// Of those, how many were bounded again in f64, because f32 left them undecided by its slack alone.
    pub rebounded: u64,
    /// The smallest lower bound over the pieces: how far the worst one is from verified (positive: verified); `None` where
    /// nothing was bounded. Zero where it is verified but a part was only shown to hold no violation.
    pub lower_bound: Option<f64>,
    /// How it was decided: what was tried, in order, the last one last.
    pub plan: Vec<Stage>,
    /// Why the host computed (some of it) instead of the device that was asked for.
    pub fallback: Option<String>,
    /// What a device that is not the host did while the search ran: for other searches on it too, if there were any.
    pub on_device: DeviceWork,
}

/// A stage of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Falsification by gradients.
    Attack,
    /// Bounds of the whole region.
    Bounds,
    /// Splits of inputs, bounded by CROWN and, where that pays, by α-CROWN.
    InputSplits,
    /// Splits of `ReLU`s, bounded by α,β-CROWN.
    ReluSplits,
}

impl Stage {
    /// A short name, the same in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attack => "attack",
            Self::Bounds => "bounds",
            Self::InputSplits => "input splits",
            Self::ReluSplits => "relu splits",
        }
    }
}

impl Outcome {
    /// Takes in the smallest bound of some pieces; one that is infinite says nothing.
    pub fn meet(&mut self, bound: f64) {
        if bound.is_finite() {
            self.lower_bound = Some(self.lower_bound.map_or(bound, |least| least.min(bound)));
        }
    }

    /// Notes that a stage has begun.
    pub fn begin(&mut self, stage: Stage) {
        if self.plan.last() != Some(&stage) {
            self.plan.push(stage);
        }
    }
}

impl StopReason {
    /// A short name, the same in every output.
    pub fn name(self) -> &'static str {
        match self {
            Self::TimeLimit => "time limit",
            Self::SubdomainLimit => "subdomain limit",
            Self::MemoryLimit => "memory limit",
            Self::Interrupted => "interrupted",
            Self::Precision => "precision limit",
            Self::Magnitude => "magnitudes too large to bound",
        }
    }
}

impl Verdict {
    /// `verified`, `falsified` or `unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Falsified(_) => "falsified",
            Self::Unknown(_) => "unknown",
        }
    }
}
