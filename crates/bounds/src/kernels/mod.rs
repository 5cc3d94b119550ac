//! The native twin of every kernel: one file per stem, named as the shader is.
//!
//! A twin works on one subdomain (its `state` and `marks`) or on one block of its rows, so that everything it touches stays in
//! cache; the executor spreads subdomains and blocks over the cores. Twins are generic over the float and over whether the
//! processor fuses multiplications and additions, and are compiled once per instruction set (see [`crate::device::isa`]).

mod affine_terms;
mod back_affine;
mod back_conv;
mod back_dense;
mod back_lines;
mod back_max_pool;
mod back_merge;
mod back_sparse;
mod concretize;
mod concretize_set;
#[cfg(all(test, feature = "gpu"))]
mod concretize_ssim;
mod gather;
mod interval_add;
mod interval_conv;
mod interval_dense;
mod interval_max_pool;
mod interval_sparse;
mod lanes;
mod onward;
mod relax;
mod rows;
mod seed;
mod select;
mod split_score;
mod terms;

pub use affine_terms::affine_terms;
pub use back_conv::back_conv;
pub use back_dense::back_dense;
pub use back_lines::back_lines;
pub use back_max_pool::back_max_pool;
pub use back_merge::back_merge;
pub use back_sparse::back_sparse;
pub use concretize_set::conclude;
#[cfg(all(test, feature = "gpu"))]
pub use concretize_ssim::concretize_ssim;
pub use interval_add::interval_add;
pub use interval_conv::interval_conv;
pub use interval_dense::{Operand, interval_dense};
pub use interval_max_pool::interval_max_pool;
pub use interval_sparse::interval_sparse;
pub use lanes::{LaneLines, LaneSplit, Smooth, Update, back_lanes, narrow, onward_lines};
pub use onward::{
    minimiser, minimiser_in_set, note_signs, onward_conv, onward_dense, onward_max_pool, onward_merge, onward_sparse,
};
pub use relax::relax;
pub use rows::{Block, LANES, Row};
pub use seed::seed;
pub use select::select;
pub use split_score::split_score;
pub use terms::{Fold, Terms};
