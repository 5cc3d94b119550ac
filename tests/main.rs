//! The command line as its users see it: one file per job, what all commands share, past mistakes, and the house's rules.

mod ball;
mod bench;
mod bounds;
mod certificate;
mod cli;
mod configs;
mod faults;
mod fuzz;
mod hostile;
mod house;
mod instances;
mod preimage;
mod readme;
mod reference;
mod regression;
#[cfg(feature = "train")]
mod repair;
mod ssim;
mod support;
mod sweep;
#[cfg(feature = "train")]
mod train;
mod untrusted;
mod verify;
#[cfg(unix)]
mod vnncomp;
