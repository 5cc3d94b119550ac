//! Structural similarity: is every image that is similar to a reference classified alike?

mod attack;
mod reference;
mod threshold;
mod verify;

use bounds::Device;
use network::ssim::Similarity;
use network::{Image, Network};

use crate::search::{Counterexample, Interrupt, Limits, Stage, StopReason};

pub use attack::SsimAttack;
pub use reference::Reference;
pub use threshold::{ThresholdOutcome, ThresholdStep};

/// The question whether every image `x` in `[0, 1]` with `similarity(x, reference) ≥ threshold` gets one class.
#[derive(Debug, Clone, Copy)]
pub struct Ssim<'a> {
    /// A classifier: the largest output is the class.
    pub network: &'a Network,
    /// The image that others are compared with.
    pub reference: &'a Image,
    /// The class that is wanted, from zero.
    pub class: usize,
    /// Which similarity is meant.
    pub similarity: Similarity,
}

/// How to decide.
#[derive(Debug, Clone, Default)]
pub struct SsimOptions {
    /// What may be spent.
    pub limits: Limits,
    /// Chooses where attacks start.
    pub seed: u64,
    /// Stops the search from outside.
    pub interrupt: Interrupt,
    /// What an image is whose best classes are exactly equal.
    pub ties: Ties,
    /// Whether counterexamples must survive being saved with eight bits per value.
    pub png_safe: bool,
    /// Where boxes are bounded: none for the host. Optimised bounds run on the host in any case, and so does everything where a device
    /// has no kernel for the similarity.
    pub device: Option<Device>,
}

/// What an image is whose wanted class and another have exactly equal outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ties {
    /// Neither: it prevents a proof, and is reported as a tie.
    #[default]
    AreTies,
    /// A counterexample.
    AreViolations,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum SsimVerdict {
    /// Every similar image gets the class, with a positive margin: proved in real arithmetic on the stored weights.
    Verified,
    /// This one does not.
    Falsified(SsimCounterexample),
    /// For this one two classes are exactly equal, and no image was found that is plainly misclassified.
    Tie(SsimCounterexample),
    /// The reference itself gets another class.
    Misclassified {
        /// Which.
        predicted: usize,
    },
    /// Neither is known.
    Unknown(StopReason),
}

/// A similar image of another class.
#[derive(Debug, Clone, PartialEq)]
pub struct SsimCounterexample {
    /// Its pixels, each an f32 in `[0, 1]`.
    pub image: Vec<f64>,
    /// Its similarity to the reference, at least the threshold.
    pub ssim: f64,
    /// The network's output, in f64.
    pub output: Vec<f64>,
    /// The class it gets (with a tie: the other class).
    pub predicted: usize,
    /// By how much that class's output is larger, at least, in f64 and in f32.
    pub margin: f64,
}

/// What a search found, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct SsimOutcome {
    /// The answer.
    pub verdict: SsimVerdict,
    /// Subdomains that were bounded.
    pub subdomains: u64,
    /// Of those, how many again in f64.
    pub rebounded: u64,
    /// The smallest lower bound of the margin over all pieces, where one was found.
    pub lower_bound: Option<f64>,
    /// What was tried, in order.
    pub plan: Vec<Stage>,
    /// Why the device that was asked for was not used.
    pub fallback: Option<String>,
}

impl SsimVerdict {
    /// A short name, the same in every output.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Falsified(_) | Self::Misclassified { .. } => "falsified",
            Self::Tie(_) => "tie",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl SsimCounterexample {
    /// What a search has found, as an image.
    fn of(found: Counterexample, reference: &Reference, class: usize) -> Self {
        let ssim = reference.similarity_of(&found.input);
        let others = (0..found.output.len()).filter(|&other| other != class);
        let predicted = others.max_by(|&a, &b| found.output[a].total_cmp(&found.output[b])).unwrap_or(class);
        Self { image: found.input, ssim, output: found.output, predicted, margin: found.margin }
    }
}
