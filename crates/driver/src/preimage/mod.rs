//! Preimages: which inputs of a region does a network map into a polytope? As a union of polytopes inside, or around.
//!
//! Source of the idea: PREMAP and PREMAP2 (Zhang et al. 2024, arXiv 2408.09262). What is ours: elements that are polytopes whatever was
//! split, rounding inside every constraint, volumes from samples that the search never saw.

mod element;
mod interval;
mod outcome;
mod piece;
mod prior;
mod problem;
mod reduced;
mod search;
mod special;
mod splitting;
mod stream;
mod tree;
mod trim;

pub use element::Element;
pub use interval::{Interval, clopper_pearson};
pub use outcome::{PreimageOutcome, PreimageStop, Round};
pub use prior::{Marginal, Prior};
pub use problem::{Mode, OutputPolytope, PreimageProblem};
pub use search::{PreimageOptions, PreimageSearch};
