//! What every bound must satisfy, whoever computes it.

mod golden;
mod random;
mod soundness;
