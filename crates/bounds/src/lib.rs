//! Sound linear bounds of batches of subdomains, on a GPU through wgpu or on the host.

pub mod device;
mod engine;
mod error;
mod kernels;
mod logistic;
mod magnitude;
pub mod program;
mod record;
mod scalar;
mod slack;

pub use device::{Device, DeviceChoice, DeviceDescription};
pub use engine::{Batch, BoundEngine, Bounds, Wanted};
pub use error::{Error, ErrorKind};
pub use program::Program;
pub use record::{Method, Recipe, record};
pub use slack::Arithmetic;
