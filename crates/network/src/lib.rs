//! The network, the region and the question as plain values, and the formats that carry them.
//!
//! A [`Network`] is an immutable graph of affine maps, additions, activations and max-pools. Every importer lowers to that
//! closed set ([`Op`]), so that whoever bounds, attacks or certifies a network has five cases to think about.

mod decimal;
mod error;
mod evaluate;
mod foreign;
mod graph;
mod image;
pub mod instances;
mod natural;
pub mod nnet;
pub mod onnx;
mod op;
mod property;
mod region;
mod rounding;
mod simplify;
pub mod ssim;
mod text;
pub mod vnnlib;

pub use error::{Error, ErrorKind};
pub use evaluate::Real;
pub use foreign::contained;
pub use graph::{Network, NetworkBuilder, Node, NodeId};
pub use image::Image;
pub use op::{Activation, Affine, Conv, Dense, LinearMap, MaxPool, Op, Sparse, WeightError};
pub use property::{Disjunct, HalfSpace, Property};
pub use region::BoxRegion;
