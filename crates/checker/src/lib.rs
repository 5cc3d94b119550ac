//! Certificates of verification, and the checker that accepts or rejects them.

mod backward;
pub mod certificate;
mod check;
pub mod deployed;
mod error;
pub mod exact;
mod exponential;
mod files;
mod lines;
pub mod preimage;
mod product;
mod question;
mod rounding;
mod scope;
mod similar;

pub use backward::{Lane, Row, bound, claim};
pub use check::{Arithmetic, Census, Digests, Judgement, Progress, Rejection, check, check_records, exclude, header};
pub use error::Error;
pub use files::{Files, digest};
pub use question::Question;
pub use scope::{Method, Rounding, Scope, Split};
pub use similar::SimilarImages;
