//! What is computed, as data: recorded once from a network, replayed by either executor over any batch.
//!
//! Memory, in elements of the executor's float unless stated:
//! - **constants**: the weights, shared by all subdomains ([`Program::constants`], and `u32` in [`Program::tables`]);
//! - **state**: [`Program::state_stride`] per subdomain, holding node bounds, relaxation lines and error coefficients;
//! - **marks**: [`Program::mark_stride`] `u32` per subdomain, holding lists of unstable neurons and max-pool choices;
//! - **coefficients**: `n_slots` matrices `[slot_len, n_rows]` (neuron-major, row innermost), the rows' linear functions;
//! - **rows**: a bias and a slack each.
//!
//! A *row* is a lower bound that is being propagated backwards: `sign · z_j ≥ A h + bias − slack` for a neuron `j` of one
//! subdomain. An upper bound of `z_j` is the row with sign −1. Rows of a subdomain are contiguous.

use std::sync::Arc;

use bytemuck::{Pod, Zeroable};

use crate::set::InputSet;
use crate::sweep::Sweep;

/// A recorded computation.
#[derive(Debug, Clone)]
pub struct Program<T> {
    /// Weights, biases and their errors.
    pub constants: Vec<T>,
    /// Sparse structure and operand lists.
    pub tables: Vec<u32>,
    /// State elements per subdomain.
    pub state_stride: usize,
    /// Marks per subdomain.
    pub mark_stride: usize,
    /// Coefficient matrices that are alive at once.
    pub n_slots: usize,
    /// Longest node that a coefficient matrix spans.
    pub slot_len: usize,
    /// Number of inputs; the input's lower bounds start the state, its upper bounds follow.
    pub n_inputs: usize,
    /// Number of outputs.
    pub n_outputs: usize,
    /// In order.
    pub steps: Vec<Step>,
    /// Bounds of every node in the state, in node order: (offset of the lower bounds, length); the upper bounds follow them.
    pub nodes: Vec<(usize, usize)>,
    /// Per node, the nodes that it reads.
    pub operands: Vec<Vec<usize>>,
    /// Per node, whether all that read it are affine or activations, so that what is fixed of it can become part of a bias.
    pub folds: Vec<bool>,
    /// Per node, how it is relaxed if it is an activation.
    pub activations: Vec<Option<Relax>>,
    /// Per node, what optimising its backward bounds takes; `None` where they are not optimised.
    pub sweeps: Vec<Option<Sweep>>,
    /// What the inputs lie in besides their box; rows are concretised over both.
    pub set: Option<Arc<InputSet>>,
}

impl<T> Program<T> {
    /// The node whose bounds start at this offset of the state.
    ///
    /// # Panics
    /// If no node's do: offsets come from the program itself.
    pub fn node_at(&self, offset: u32) -> usize {
        self.nodes.binary_search_by_key(&(offset as usize), |node| node.0).expect("an offset of a node")
    }
}

/// One step of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Interval bounds of a node from its operands' bounds, for every subdomain.
    Forward(Forward),
    /// Backward bounds of a node for the neurons whose interval leaves them undecided, stored into the node's bounds.
    Refine(Select, Backward),
    /// Backward bounds of every output: the result.
    Objective(Backward),
}

/// A forward kernel and its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Forward {
    /// Through a full matrix.
    Dense(IntervalAffine),
    /// Through a convolution.
    Conv(IntervalAffine, ConvShape),
    /// Through a sparse matrix.
    Sparse(IntervalAffine),
    /// Through a sum.
    Add(IntervalAdd),
    /// Through an activation: its lines as well as its interval.
    Relax(Relax),
    /// Through maxima: the chosen inputs as well as the interval.
    MaxPool(IntervalMaxPool, PoolShape),
}

/// A backward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Backward {
    /// The first coefficients.
    pub seed: Seed,
    /// From the target to the input.
    pub walk: Vec<Walk>,
    /// The end at the input.
    pub concretize: Concretize,
}

/// One backward kernel and its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Walk {
    /// Replaces activations by their lines, in place.
    Lines(BackLines),
    /// Collects an affine node's bias and error terms; the coefficients stay.
    Terms(AffineTerms),
    /// Through a full matrix.
    Dense(BackAffine),
    /// Through a convolution.
    Conv(BackAffine, ConvShape),
    /// Through a sparse matrix.
    Sparse(BackAffine),
    /// Through maxima.
    MaxPool(BackMaxPool, PoolShape),
    /// Where paths meet: adds one coefficient matrix to another, or copies it.
    Merge(BackMerge),
}

macro_rules! params {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $ty:ty),* $(,)? })*) => { $(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),* }
    )* };
}

params! {
    /// Interval bounds of `W x + b`, and `error_k`, what one backward step through the node may lose per unit of `|A_k|`.
    IntervalAffine {
        /// Number of outputs.
        n_out: u32,
        /// Number of inputs.
        n_in: u32,
        /// Constants: dense `[n_out, n_in]`; conv as in ONNX; sparse values by row.
        weight: u32,
        /// Constants: dense `[n_in, n_out]`; conv `[in_channels / groups, kh, kw, out_channels]`; sparse values by column.
        transposed: u32,
        /// Constants: `[n_out]`.
        bias: u32,
        /// Constants: `[n_out]`, absolute error of each row's coefficients; read only if `has_absolute`.
        absolute: u32,
        /// Constants: `[n_out]`, absolute error of each bias.
        bias_error: u32,
        /// Tables, sparse only: row offsets `[n_out + 1]`, then columns.
        rows: u32,
        /// State: operand bounds, lower then upper.
        source: u32,
        /// State: this node's bounds.
        target: u32,
        /// State: `error`, `[n_out]`.
        error: u32,
        /// Whether some row has an absolute error.
        has_absolute: u32,
        /// `γ_{n+8} + relative`, `n` the longest row: rounding of the interval itself.
        gamma_interval: f32,
        /// `γ_{m+1} + relative`, `m` the longest column: rounding of `A W`.
        gamma_column: f32,
        /// `γ_{m+P}`: rounding of `A b`.
        gamma_bias: f32,
        /// What flushed subnormals may cost an interval.
        underflow: f32,
    }
    /// Sizes of a convolution, as in `network::Conv`.
    ConvShape {
        /// Input channels.
        in_channels: u32,
        /// Input height.
        in_height: u32,
        /// Input width.
        in_width: u32,
        /// Output channels.
        out_channels: u32,
        /// Output height.
        out_height: u32,
        /// Output width.
        out_width: u32,
        /// Kernel height.
        kernel_height: u32,
        /// Kernel width.
        kernel_width: u32,
        /// Vertical stride.
        stride_y: u32,
        /// Horizontal stride.
        stride_x: u32,
        /// Vertical dilation.
        dilation_y: u32,
        /// Horizontal dilation.
        dilation_x: u32,
        /// Padding above.
        pad_y: u32,
        /// Padding to the left.
        pad_x: u32,
        /// Groups.
        groups: u32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: u32,
    }
    /// Interval bounds of a sum of operands.
    IntervalAdd {
        /// Length of the node.
        n: u32,
        /// Number of operands.
        n_operands: u32,
        /// Tables: state offsets of the operands' bounds, `[n_operands]`.
        operands: u32,
        /// State: this node's bounds.
        target: u32,
        /// `γ_{n_operands + 2}`.
        gamma: f32,
        /// What flushed subnormals may cost.
        underflow: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 2],
    }
    /// Lines and interval of an activation. Lines are five arrays of `n`: lower slope, lower intercept, upper slope, upper
    /// intercept, error (what one backward step may lose per unit of `|A_j|`).
    Relax {
        /// Length of the node.
        n: u32,
        /// Which activation: see [`ActivationKind`].
        kind: u32,
        /// State: operand bounds.
        source: u32,
        /// State: this node's bounds.
        target: u32,
        /// State: the five arrays.
        lines: u32,
        /// Constants, leaky only: `[n]` slopes.
        slopes: u32,
        /// Clip only: lower end (finite).
        clip_lower: f32,
        /// Clip only: upper end (finite).
        clip_upper: f32,
        /// `2 u`.
        two_units: f32,
        /// `γ_{n+P}`.
        gamma_intercept: f32,
        /// Constants, sigmoid and tanh: the table of the logistic function.
        table: u32,
        /// Slope of the lower line of an unstable `ReLU`: 0 adaptive, 1 same as the upper line.
        lower_slope: u32,
        /// Leaky: error of a slope; clip: error of an end; both widen the lines and the interval.
        inexactness: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 3],
    }
    /// Interval and choices of a max-pool. Marks: per output the chosen input `i`, or `i | 0x8000_0000` if it dominates.
    IntervalMaxPool {
        /// Number of outputs.
        n_out: u32,
        /// Number of inputs.
        n_in: u32,
        /// State: operand bounds.
        source: u32,
        /// State: this node's bounds.
        target: u32,
        /// Marks: the choices, `[n_out]`.
        choice: u32,
        /// `γ_{w+P}` with `w` the most windows that share an input, or the depth of a sum over the outputs: the larger.
        gamma: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 2],
    }
    /// Sizes of a max-pool, as in `network::MaxPool`.
    PoolShape {
        /// Channels.
        channels: u32,
        /// Input height.
        in_height: u32,
        /// Input width.
        in_width: u32,
        /// Output height.
        out_height: u32,
        /// Output width.
        out_width: u32,
        /// Window height.
        kernel_height: u32,
        /// Window width.
        kernel_width: u32,
        /// Vertical stride.
        stride_y: u32,
        /// Horizontal stride.
        stride_x: u32,
        /// Vertical dilation.
        dilation_y: u32,
        /// Horizontal dilation.
        dilation_x: u32,
        /// Padding above.
        pad_y: u32,
        /// Padding to the left.
        pad_x: u32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 3],
    }
    /// The list of neurons that a node's interval leaves undecided.
    Select {
        /// Length of the node.
        n: u32,
        /// State: the node's bounds.
        source: u32,
        /// Marks: the count, then the neurons in increasing order, `[1 + n]`.
        list: u32,
        /// Number of breakpoints: a neuron is undecided if one lies strictly inside its interval; 0: if `lower < upper`.
        n_breakpoints: u32,
        /// Breakpoints.
        breakpoints: [f32; 4],
    }
    /// First coefficients of a pass.
    Seed {
        /// 0: a unit vector on the target (`[target_len]`), 1: a row of the dense target, already on its operand (`[n_in]`).
        kind: u32,
        /// Which slot.
        slot: u32,
        /// Length of the coefficients in the slot.
        n: u32,
        /// Number of neurons of the target.
        target_len: u32,
        /// Constants, kind 1: weight `[target_len, n]`.
        weight: u32,
        /// Constants, kind 1: bias.
        bias: u32,
        /// State, kind 1: the target's `error`, added to the slack if `is_inexact`.
        error: u32,
        /// Whether the target's own coefficients have errors.
        is_inexact: u32,
        /// `γ_P`: rounding of the bias.
        gamma_bias: f32,
        /// First slack of every row: what flushed subnormals may cost on the whole walk, at least 1e-37.
        underflow: f32,
        /// Objective only: 0 lower bounds, 1 both ends (rows: all lower ends, then all upper ends).
        both_ends: u32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: u32,
    }
    /// Replaces an activation's outputs by its lines: `A_j ≥ 0` takes the lower line, `A_j < 0` the upper one.
    BackLines {
        /// Which slot.
        slot: u32,
        /// Length of the node.
        n: u32,
        /// State: the five arrays.
        lines: u32,
        /// The activation's node (for the host's lists of live neurons).
        node: u32,
    }
    /// `bias += Σ A_k b_k`, `slack += Σ |A_k| error_k`.
    AffineTerms {
        /// Which slot.
        slot: u32,
        /// Number of outputs of the node.
        n: u32,
        /// Constants: bias.
        bias: u32,
        /// State: error.
        error: u32,
    }
    /// `A ← A W` from one slot to another.
    BackAffine {
        /// The slot that is read, `[n_out, n_rows]`.
        from: u32,
        /// The slot that is written, `[n_in, n_rows]`.
        to: u32,
        /// Number of outputs.
        n_out: u32,
        /// Number of inputs.
        n_in: u32,
        /// Constants: dense `[n_out, n_in]`; conv as in ONNX; sparse values by column.
        weight: u32,
        /// Constants: dense `[n_in, n_out]`; conv `[in_channels / groups, kh, kw, out_channels]`; sparse unused.
        transposed: u32,
        /// Tables, sparse only: column offsets `[n_in + 1]`, then rows.
        columns: u32,
        /// The operand's node (for the host's lists of live neurons).
        operand: u32,
    }
    /// Through maxima, by the choices of the forward step.
    BackMaxPool {
        /// The slot that is read.
        from: u32,
        /// The slot that is written.
        to: u32,
        /// Number of outputs.
        n_out: u32,
        /// Number of inputs.
        n_in: u32,
        /// State: the pool's own bounds.
        bounds: u32,
        /// State: the operand's bounds.
        source: u32,
        /// Marks: the choices.
        choice: u32,
        /// As in [`IntervalMaxPool`].
        gamma: f32,
    }
    /// `A_to ← A_from`, or `A_to ← A_to + A_from` with `slack += 2u Σ |A_to| max(|l|, |u|)`.
    BackMerge {
        /// The slot that is read.
        from: u32,
        /// The slot that is written.
        to: u32,
        /// Length of the node.
        n: u32,
        /// 0: copy, 1: add.
        adds: u32,
        /// State: bounds of the node where the paths meet.
        bounds: u32,
        /// `2 u`.
        two_units: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 2],
    }
    /// `lower = Σ min(A_i l_i, A_i u_i) + bias − inflation · (slack + γ Σ |A_i| max(|l_i|, |u_i|))`.
    Concretize {
        /// Which slot.
        slot: u32,
        /// Number of inputs.
        n: u32,
        /// State: the target's bounds (a refinement writes there).
        target: u32,
        /// Number of neurons of the target.
        target_len: u32,
        /// Whether a refinement keeps the better of interval and backward bound (1) or the backward bound (0).
        keep_interval: u32,
        /// `γ_{N+P}`.
        gamma: f32,
        /// `1 + 2 γ_{2N+4L+8}`.
        inflation: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: u32,
    }
    /// A set of similar images as finitely many balls, for [`Concretize`] on a device: see `BallTable`.
    SsimBalls {
        /// Constants: the reference without its mean, `[n_inputs]`.
        centred: u32,
        /// Constants: mean, quotient and radius of every ball, `[n_balls, 3]`.
        balls: u32,
        /// Number of balls.
        n_balls: u32,
        /// Steps of the dual after the set by itself.
        n_steps: u32,
        /// `γ_{n+32}`, enlarged by 2 %: rounding of the sums.
        gamma: f32,
        /// The largest magnitude of a mean.
        most_mean: f32,
        /// The largest magnitude of a quotient.
        most_quotient: f32,
        /// What flushed subnormals may cost.
        underflow: f32,
        /// Least mean (about: this and what follows only leads the search).
        from: f32,
        /// Largest mean.
        to: f32,
        /// The reference's mean.
        mean: f32,
        /// One over the threshold.
        inverse_threshold: f32,
        /// `‖r0‖²`.
        energy: f32,
        /// `n C2`.
        contrast: f32,
        /// Fills the struct to a multiple of 16 bytes.
        padding: [u32; 2],
    }
}

/// The activations that [`Relax`] knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ActivationKind {
    /// `max(z, 0)`.
    Relu = 0,
    /// A slope per element below zero.
    Leaky = 1,
    /// Between two finite ends.
    Clip = 2,
    /// Logistic function.
    Sigmoid = 3,
    /// Hyperbolic tangent.
    Tanh = 4,
}
