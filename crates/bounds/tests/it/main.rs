//! What every bound must satisfy, whoever computes it.

#[cfg(feature = "gpu")]
mod adapter;
mod golden;
mod random;
mod soundness;
