//! Sound linear bounds of batches of subdomains, on a GPU through wgpu or on the host.

mod branch;
pub mod device;
mod dual;
mod engine;
mod error;
mod flop;
mod kernels;
#[cfg(feature = "gpu")]
mod lane_device;
mod logistic;
mod magnitude;
mod planes;
pub mod program;
mod record;
mod reverse;
mod scalar;
mod set;
mod simd;
mod slack;
pub mod sweep;

pub use branch::{Branched, Budget, Piece, Rule};
pub use device::host::{Ascent, Cloud, Ended, Keep, Proof, Split, Tangents, least_values, plane_values};
pub use device::{Device, DeviceChoice, DeviceDescription, DeviceWork, host_peak_flop_per_s};
pub use dual::{Base, Lane, NeuronBounds, Target};
pub use engine::{Batch, BoundEngine, Bounds, Wanted};
pub use error::{Error, ErrorKind};
pub use flop::flop_per_box;
pub use planes::{Plane, PlaneBounds, PlaneTask};
pub use program::Program;
pub use record::{Method, Optimised, Recipe, record};
pub use reverse::cut_back;
pub use set::{Effort, InputSet, Room, SsimSet, WindowedSet};
pub use slack::Arithmetic;
