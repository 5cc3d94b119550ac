//! What every bound must satisfy, whoever computes it.

#[cfg(feature = "gpu")]
mod adapter;
mod golden;
mod lanes;
mod random;
mod reverse;
mod soundness;
