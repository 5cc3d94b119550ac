//! Everything that decides: falsification, branch and bound, verdicts.

mod error;
pub mod search;

pub use error::Error;
pub use search::{
    Counterexample, Interrupt, Limits, Observer, Outcome, Progress, Silent, StopReason, Verdict, Verify, VerifyOptions,
};
