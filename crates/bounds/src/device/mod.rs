//! Where a [`crate::Program`] runs: on a GPU through wgpu, or on the host.

#[cfg(feature = "gpu")]
pub mod gpu;
pub mod host;
pub mod isa;
mod peak;

use std::str::FromStr;

pub use peak::host_peak_flop_per_s;

use crate::error::Error;
#[cfg(not(feature = "gpu"))]
use crate::error::ErrorKind;
#[cfg(feature = "gpu")]
use gpu::{AdapterChoice, Gpu};

/// An executor.
#[derive(Debug, Clone)]
pub enum Device {
    /// All cores of this machine.
    Host,
    /// A GPU that passed the numeric self-test.
    #[cfg(feature = "gpu")]
    Gpu(Gpu),
}

/// Which device to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The best GPU, or the host where there is none.
    #[default]
    Auto,
    /// The host.
    Host,
    /// The best GPU, or an error.
    Gpu,
    /// The adapter whose name contains this; the only way to a software adapter.
    Named(String),
}

/// What a device has done for the host: since it was opened, or between two looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeviceWork {
    /// Rounds of branch and bound between which no box came to the host.
    pub rounds: u64,
    /// Boxes bounded in them.
    pub boxes: u64,
    /// Rows optimised, all of their steps there.
    pub lanes: u64,
    /// Times that the host waited for results, of these or of plain bounds.
    pub round_trips: u64,
}

/// A device as reports name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceDescription {
    /// `host` or `gpu`.
    pub kind: &'static str,
    /// The product's name; for the host its instruction set.
    pub name: String,
    /// How it is reached: `native`, `vulkan`, `metal`, `dx12`.
    pub backend: String,
    /// The driver and its version; empty for the host.
    pub driver: String,
    /// Threads of the host; 0 for a GPU.
    pub threads: usize,
}

impl Device {
    /// Opens a device. `Auto` never fails: where no GPU can be used it takes the host.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NoDevice`] if the device asked for is not there, [`crate::ErrorKind::Device`] if it fails its test.
    pub fn open(choice: &DeviceChoice) -> Result<Self, Error> {
        match choice {
            DeviceChoice::Host => Ok(Self::Host),
            DeviceChoice::Auto => Ok(Self::gpu(None).unwrap_or(Self::Host)),
            DeviceChoice::Gpu => Self::gpu(None),
            DeviceChoice::Named(name) => Self::gpu(Some(name)),
        }
    }

    #[cfg(feature = "gpu")]
    fn gpu(name: Option<&str>) -> Result<Self, Error> {
        let choice = name.map_or(AdapterChoice::Best, |name| AdapterChoice::Named(name.into()));
        Ok(Self::Gpu(Gpu::open(&choice)?))
    }

    #[cfg(not(feature = "gpu"))]
    fn gpu(_name: Option<&str>) -> Result<Self, Error> {
        Err(ErrorKind::NoDevice("this build has no GPU support: build it with the feature 'gpu'".into()).into())
    }

    /// What it has done since it was opened, for everybody who uses it; nothing where it is the host.
    pub fn work(&self) -> DeviceWork {
        match self {
            Self::Host => DeviceWork::default(),
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => gpu.work(),
        }
    }

    /// How reports name it.
    pub fn describe(&self) -> DeviceDescription {
        match self {
            Self::Host => DeviceDescription {
                kind: "host",
                name: format!("{:?}", isa::Isa::detect()).to_lowercase(),
                backend: "native".into(),
                driver: String::new(),
                threads: rayon::current_num_threads(),
            },
            #[cfg(feature = "gpu")]
            Self::Gpu(gpu) => DeviceDescription {
                kind: "gpu",
                name: gpu.adapter().name.clone(),
                backend: gpu.adapter().backend.clone(),
                driver: gpu.adapter().driver.clone(),
                threads: 0,
            },
        }
    }
}

impl DeviceWork {
    /// What was done after an earlier look.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            rounds: self.rounds - earlier.rounds,
            boxes: self.boxes - earlier.boxes,
            lanes: self.lanes - earlier.lanes,
            round_trips: self.round_trips - earlier.round_trips,
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "auto" => Self::Auto,
            "host" => Self::Host,
            "gpu" => Self::Gpu,
            name => Self::Named(name.into()),
        })
    }
}
