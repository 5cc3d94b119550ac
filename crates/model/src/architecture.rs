use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// A classifier's layers, as JSON has them; the last layer's outputs are the classes' scores.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The layers, first to last
    pub layers: Vec<LayerSpec>,
}

/// One layer. What comes before a dense layer is flattened.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LayerSpec {
    /// A full matrix with a bias, of so many outputs
    Dense(usize),
    /// A convolution with a bias
    Conv(ConvSpec),
    /// Batch normalisation of channels (or of features); folded into the layer before it when the network is exported
    BatchNorm,
    /// `max(z, 0)`
    Relu,
    /// `min(max(z, lower), upper)`: what one place of an image says has a limit
    Clip([f64; 2]),
    /// While training, every value is zero with this probability and scaled up by as much otherwise (Srivastava et al. 2014)
    Dropout(f64),
    /// Maxima over windows
    MaxPool(PoolSpec),
    /// Averages over windows; padding counts as zeros
    AveragePool(PoolSpec),
    /// The sum of two branches of one shape
    Residual {
        /// The layers of the first branch
        body: Vec<LayerSpec>,
        /// The layers of the second branch; none: what comes in
        #[serde(default)]
        shortcut: Vec<LayerSpec>,
    },
    /// One row of values out of channels, rows and columns
    Flatten,
}

/// A convolution with square kernels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConvSpec {
    /// Output channels
    pub channels: usize,
    /// Height and width of the kernel
    pub kernel: usize,
    /// Stride
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros on each side
    #[serde(default)]
    pub padding: usize,
}

/// Square windows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Height and width of the window
    pub size: usize,
    /// Stride; the size unless told
    #[serde(default)]
    pub stride: Option<usize>,
    /// Padding on each side
    #[serde(default)]
    pub padding: usize,
}

impl Architecture {
    /// Dense layers with these hidden widths and `ReLU`s between them.
    pub fn dense(hidden: &[usize], n_classes: usize) -> Self {
        let layers = hidden.iter().flat_map(|&width| [LayerSpec::Dense(width), LayerSpec::Relu]);
        Self { layers: layers.chain([LayerSpec::Dense(n_classes)]).collect() }
    }

    /// The hidden widths, if these are dense layers with `ReLU`s between them.
    pub fn hidden(&self) -> Option<Vec<usize>> {
        let (last, front) = self.layers.split_last()?;
        let is_dense = matches!(last, LayerSpec::Dense(_)) && front.len().is_multiple_of(2);
        let width = |pair: &[LayerSpec]| match pair {
            [LayerSpec::Dense(width), LayerSpec::Relu] => Some(*width),
            _ => None,
        };
        if is_dense { front.chunks(2).map(width).collect() } else { None }
    }
}

/// The size of an output along an axis, if there is one.
pub(crate) fn out_size(size: usize, kernel: usize, stride: usize, padding: usize) -> Option<usize> {
    (kernel > 0 && stride > 0).then_some(())?;
    Some((size + 2 * padding).checked_sub(kernel)? / stride + 1)
}

/// A layer whose sizes do not fit.
pub(crate) fn misfit(name: &str, expected: &str, shape: &[usize]) -> Error {
    Error::invalid(format!("layer {name}: expected {expected}, got an input of shape {shape:?}"))
}

fn one() -> usize {
    1
}
