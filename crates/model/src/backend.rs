use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// What computes while a network is trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// burn's CPU backend: a seed gives the same weights to the bit
    #[default]
    Cpu,
    /// A GPU through wgpu (a build with the feature `train-gpu`): the order of its sums is its own, so that weights differ a little from run to run
    Gpu,
}

impl Backend {
    /// The device, without gradients. A GPU's is not opened before the first tensor is on it.
    pub(crate) fn device(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "gpu")]
            Self::Gpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(not(feature = "gpu"))]
            Self::Gpu => Err(Error::invalid(
                "this build trains on the CPU alone: build with '--features train-gpu', or leave 'backend' out",
            )),
        }
    }
}
