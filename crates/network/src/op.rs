use std::sync::Arc;

/// What a node computes. Tensors are flat, row-major (channels first for images), batch dimension removed.
///
/// The set is closed on purpose: importers lower every operator of their format to these five, and every consumer matches them all.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The network's input; the first node and no other.
    Input,
    /// `y = W x + b` of its one operand.
    Affine(Arc<Affine>),
    /// The elementwise sum of two or more operands of one length.
    Add,
    /// An elementwise non-linear function of its one operand.
    Activation(Activation),
    /// The maximum over windows of its one operand.
    MaxPool(Arc<MaxPool>),
}

/// An affine map `y = W x + b` with what is known of its coefficients' errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// The linear part.
    pub map: LinearMap,
    /// `b`, one value per output (never empty).
    pub bias: Vec<f64>,
    /// How far the stored coefficients may be from the real ones.
    pub error: WeightError,
}

/// How far stored coefficients may be from the real ones: `|W* − W|_ki ≤ relative·|W_ki| + absolute_k`, `|b* − b|_k ≤ bias_k`.
///
/// Weights read from a file are exact. Folding, merging and averaging round, and say so here. `absolute` speaks of every entry
/// of row `k`, also of one that is stored as zero or (in a sparse map) not stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WeightError {
    /// Relative error of every coefficient.
    pub relative: f64,
    /// Absolute error of each output's coefficients; empty when zero.
    pub absolute: Vec<f64>,
    /// Absolute error of each output's bias; empty when zero.
    pub bias: Vec<f64>,
}

/// The linear part of an affine map.
#[derive(Debug, Clone, PartialEq)]
pub enum LinearMap {
    /// A full matrix.
    Dense(Dense),
    /// A two-dimensional convolution.
    Conv(Conv),
    /// A matrix of few entries: permutations, selections, pads, averages, scales, transposed convolutions.
    Sparse(Sparse),
}

/// A full matrix, row-major `[n_out, n_in]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// Number of outputs (rows).
    pub n_out: usize,
    /// Number of inputs (columns).
    pub n_in: usize,
    /// `n_out * n_in` entries.
    pub weight: Vec<f64>,
}

/// A two-dimensional convolution (cross-correlation, as in ONNX) of `[in_channels, in_height, in_width]`.
///
/// A one-dimensional convolution has height 1. Output `(o, y, x)` reads inputs `(c, y·stride − pad_top + ky·dilation, …)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Input channels, all groups together.
    pub in_channels: usize,
    /// Input height.
    pub in_height: usize,
    /// Input width.
    pub in_width: usize,
    /// Output channels, all groups together.
    pub out_channels: usize,
    /// Output height.
    pub out_height: usize,
    /// Output width.
    pub out_width: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Zero padding above and to the left (below and to the right follow from the output's size).
    pub pad: [usize; 2],
    /// Number of groups; divides both channel counts.
    pub groups: usize,
    /// `[out_channels, in_channels / groups, kernel height, kernel width]`, row-major.
    pub weight: Vec<f64>,
}

/// A matrix in compressed sparse rows: row `k` holds entries `offsets[k] .. offsets[k + 1]`, columns strictly increasing.
#[derive(Debug, Clone, PartialEq)]
pub struct Sparse {
    /// Number of inputs (columns).
    pub n_in: usize,
    /// Where each row starts; one more than there are rows.
    pub offsets: Vec<u32>,
    /// The column of each entry.
    pub columns: Vec<u32>,
    /// The value of each entry.
    pub values: Vec<f64>,
}

/// An elementwise non-linear function.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// `max(z, 0)`.
    Relu,
    /// `z` where `z ≥ 0`, `slope_i · z` elsewhere; one finite slope for all elements or one each (`LeakyRelu`, `PRelu`).
    LeakyRelu(Arc<[f64]>),
    /// `min(max(z, lower), upper)` with `lower ≤ upper`; the ends may be infinite.
    Clip {
        /// Smallest value.
        lower: f64,
        /// Largest value.
        upper: f64,
    },
    /// `1 / (1 + exp(−z))`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

/// Maxima over rectangular windows of `[channels, in_height, in_width]`; padding never wins.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxPool {
    /// Channels of input and output.
    pub channels: usize,
    /// Input height.
    pub in_height: usize,
    /// Input width.
    pub in_width: usize,
    /// Output height.
    pub out_height: usize,
    /// Output width.
    pub out_width: usize,
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Vertical and horizontal stride.
    pub stride: [usize; 2],
    /// Vertical and horizontal dilation.
    pub dilation: [usize; 2],
    /// Padding above and to the left.
    pub pad: [usize; 2],
}

impl Affine {
    /// Number of inputs.
    pub fn n_in(&self) -> usize {
        match &self.map {
            LinearMap::Dense(dense) => dense.n_in,
            LinearMap::Conv(conv) => conv.in_channels * conv.in_height * conv.in_width,
            LinearMap::Sparse(sparse) => sparse.n_in,
        }
    }

    /// Number of outputs.
    pub fn n_out(&self) -> usize {
        self.bias.len()
    }

    /// An affine map whose stored coefficients are the real ones.
    pub fn exact(map: LinearMap, bias: Vec<f64>) -> Self {
        Self { map, bias, error: WeightError::default() }
    }
}

impl MaxPool {
    /// Number of inputs.
    pub fn n_in(&self) -> usize {
        self.channels * self.in_height * self.in_width
    }

    /// Number of outputs.
    pub fn n_out(&self) -> usize {
        self.channels * self.out_height * self.out_width
    }

    /// The flat indices of the inputs in the window of output `o`, in row-major order; never empty in a valid network.
    pub fn window(&self, o: usize) -> impl Iterator<Item = usize> + '_ {
        let (plane, pixel) = (o / (self.out_height * self.out_width), o % (self.out_height * self.out_width));
        let (y, x) = (pixel / self.out_width, pixel % self.out_width);
        (0..self.kernel[0]).flat_map(move |ky| (0..self.kernel[1]).map(move |kx| (ky, kx))).filter_map(
            move |(ky, kx)| {
                let row = (y * self.stride[0] + ky * self.dilation[0]).checked_sub(self.pad[0])?;
                let column = (x * self.stride[1] + kx * self.dilation[1]).checked_sub(self.pad[1])?;
                (row < self.in_height && column < self.in_width)
                    .then_some((plane * self.in_height + row) * self.in_width + column)
            },
        )
    }
}
