//! What optimising the lines of a backward pass takes besides the pass itself: the way back through the relaxed network.
//!
//! A *lane* is one row that has lines of its own: the slope `α` of the lower line of every undecided `ReLU`, and a multiplier `β ≥ 0`
//! for every `ReLU` that a split has decided for it. Lanes of one block share everything else (node bounds, error coefficients).
//!
//! By Danskin's theorem the gradient of a concretised bound needs no tape: with the minimiser `x*` run forward through the relaxed
//! network — each activation replaced by the line that the backward pass chose — `∂/∂α_j = max(A_j, 0) ẑ_j` and
//! `∂/∂β_j = −s_j ẑ_j`, where `A_j` is the coefficient at the neuron's output and `s_j ẑ_j ≥ 0` is the side of the split.

use bytemuck::{Pod, Zeroable};

use crate::program::{ConvShape, PoolShape};

/// The relaxed forward pass that belongs to the backward pass of one target.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sweep {
    /// From the input to the last activation below the target.
    pub onward: Vec<Onward>,
    /// Value matrices that are alive at once; the input's is the first.
    pub n_slots: usize,
    /// Per node, the largest `β` that the magnitude check has allowed for (zero where the node is no `ReLU` on the way).
    pub caps: Vec<f32>,
}

/// One kernel of a relaxed forward pass and its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Onward {
    /// Through a full matrix.
    Dense(OnwardAffine),
    /// Through a convolution.
    Conv(OnwardAffine, ConvShape),
    /// Through a sparse matrix.
    Sparse(OnwardAffine),
    /// Through the lines that the backward pass chose, whose `α` and `β` are updated on the way.
    Lines(OnwardLines),
    /// Adds one value matrix to another, or copies it.
    Merge(OnwardMerge),
    /// Through maxima: the chosen input, or the constant, whichever the backward pass took.
    MaxPool(OnwardMaxPool, PoolShape),
}

macro_rules! params {
    ($($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident),* $(,)? })*) => { $(
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Pod, Zeroable)]
        pub struct $name { $($(#[$field_meta])* pub $field: u32),* }
    )* };
}

params! {
    /// `z = W h + b` for every lane.
    OnwardAffine {
        /// The slot that is read, `[n_in, n_lanes]`.
        from,
        /// The slot that is written, `[n_out, n_lanes]`.
        to,
        /// Number of outputs.
        n_out,
        /// Number of inputs.
        n_in,
        /// Constants: dense `[n_in, n_out]`; conv `[in_channels / groups, kh, kw, out_channels]`; sparse values by row.
        weight,
        /// Constants: `[n_out]`.
        bias,
        /// Tables, sparse only: row offsets `[n_out + 1]`, then columns.
        rows,
        /// The node whose live neurons are wanted: this node, or the activation that alone reads it.
        wanted,
    }
    /// `h = slope · z + intercept` of the line that the sign of the kept coefficient chooses.
    OnwardLines {
        /// The slot that is read.
        from,
        /// The slot that is written; may be the one that is read.
        to,
        /// Length of the node.
        n,
        /// The activation's node.
        node,
    }
    /// `h_to ← h_from`, or `h_to ← h_to + h_from`.
    OnwardMerge {
        /// The slot that is read.
        from,
        /// The slot that is written.
        to,
        /// Length of the node.
        n,
        /// 0: copy, 1: add.
        adds,
    }
    /// The chosen input of each maximum, or its upper bound.
    OnwardMaxPool {
        /// The slot that is read.
        from,
        /// The slot that is written.
        to,
        /// Number of outputs.
        n_out,
        /// State: the pool's own bounds.
        bounds,
        /// Marks: the choices.
        choice,
        /// The pool's node.
        node,
        /// Fills the struct to a multiple of 16 bytes.
        padding,
        /// The same.
        more_padding,
    }
}
