//! Certificates of verification, and the checker that accepts or rejects them.

mod backward;
mod error;
mod exponential;
mod lines;
mod product;
mod question;
mod rounding;
mod scope;

pub use backward::{Lane, Row, bound};
pub use error::Error;
pub use question::Question;
pub use scope::{Method, Rounding, Scope, Split};
