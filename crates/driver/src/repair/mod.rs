//! Repair: a network is changed until what is required of it is proved, or a limit is reached.
//!
//! The schedule is here; how weights are changed is a [`Tuner`]'s matter. Only verdicts of [`Verify`](crate::Verify) and
//! [`Ssim`](crate::ssim::Ssim) on the network that the tuner hands out count as proofs.

mod certified;
mod outcome;
mod requirement;
mod schedule;

pub use certified::{CertifiedAccuracy, CertifiedCount};
pub use outcome::{Checked, RepairOutcome, RepairRound, RepairStop, RepairVerdict};
pub use requirement::{Answer, Effort, Question, Requirement, Violation};
pub use schedule::{Repair, RepairEvent, RepairLimits, RepairObserver, Tuned, Tuner};
