//! Deciding one property: attack it, then bound it, splitting the region until every piece is decided.

mod area;
pub(crate) mod bisection;
mod branch_and_bound;
mod confine;
mod cut;
mod falsify;
mod frontier;
mod limits;
mod objective;
mod observer;
mod parts;
mod piece;
pub(crate) mod random;
mod relu_plan;
mod relu_search;
mod resident;
mod sharpen;
mod spill;
mod stored;
mod verdict;
mod verify;

pub use branch_and_bound::{BranchAndBound, End};
pub use falsify::{Attack, Falsifier, confirm};
pub use frontier::{Frontier, Subdomain};
pub use limits::{Clock, Interrupt, Limits};
pub use objective::Objective;
pub use observer::{Observer, Progress, Silent};
pub use parts::Parts;
pub use relu_plan::ReluPlan;
pub use relu_search::{ReluSearch, Suspect};
pub use verdict::{Counterexample, Outcome, Stage, StopReason, Verdict};
pub use verify::{SplitChoice, Verify, VerifyOptions};
