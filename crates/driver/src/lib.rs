//! Everything that decides: falsification, branch and bound, verdicts, repair; and how fast that is.

pub mod ball;
mod bench;
mod certificate;
mod error;
pub mod patch;
pub mod preimage;
pub mod repair;
pub mod search;
pub mod ssim;

pub use bench::{BoundsBench, BoundsRate};
pub use certificate::{CertifiedPreimage, PreimageCertificate, Recorder};
pub use error::Error;
pub use search::{
    Counterexample, Interrupt, Limits, Observer, Outcome, Progress, Silent, SplitChoice, Stage, StopReason, Verdict,
    Verify, VerifyOptions,
};
