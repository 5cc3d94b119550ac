//! The two executors of a [`crate::Program`].

pub mod host;
pub mod isa;
