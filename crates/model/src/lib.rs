//! Data sets, classifiers, and training them with burn.
//!
//! A [`Dataset`] comes from files or is generated. A [`Classifier`] is built from an [`Architecture`] or from a
//! [`Network`](network::Network), is trained by a [`Trainer`] and becomes a network again, which is what gets verified: nothing here
//! proves anything.

mod architecture;
mod augment;
mod backend;
mod classifier;
mod dataset;
mod error;
mod fine_tune;
mod plot;
mod random;
mod recipe;
mod robust;
mod state;
mod step;
mod trainer;

pub use architecture::{Architecture, ConvSpec, LayerSpec, PoolSpec};
pub use augment::Augment;
pub use backend::Backend;
pub use classifier::{Classifier, Score};
pub use dataset::{Dataset, Selection, Source, Split};
pub use error::Error;
pub use fine_tune::{Example, FineTune, FineTuneSettings, OutputRow, Region, Target, TuneEnding, TuneRecord, Wanted};
pub use recipe::{EarlyStop, OptimizerSpec, Recipe, Schedule};
pub use robust::{Attack, BoundMethod, Certified, Robust, Threat};
pub use state::{PeerName, StateDict, StateTensor};
pub use trainer::{Course, Ending, EpochRecord, Event, Trainer};
