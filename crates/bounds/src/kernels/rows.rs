use crate::kernels::concretize_set::SetRoom;
use crate::kernels::gather::Gather;
use crate::scalar::Scalar;

/// Rows are handled in vectors of this many.
pub const LANES: usize = 16;

/// One lower bound under propagation: of neuron `neuron`, or of its negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The neuron (or output) that is bounded.
    pub neuron: u32,
    /// Whether the row bounds the negative, which gives the upper end.
    pub is_upper: bool,
}

/// The coefficients of up to a few vectors of rows of one subdomain, and what they have collected.
#[derive(Debug, Clone)]
pub struct Block<T> {
    /// Row count rounded up to whole vectors; padding rows are all zero.
    pub width: usize,
    /// Coefficients, `[slot][neuron · width + row]`.
    pub slots: Vec<Vec<T>>,
    /// The neurons of each slot whose coefficients may differ from zero, increasing; others hold stale values.
    pub live: Vec<Vec<u32>>,
    /// Constant terms.
    pub bias: Vec<T>,
    /// What rounding may have cost so far.
    pub slack: Vec<T>,
    /// Room for lists.
    pub scratch: Vec<u32>,
    /// Where a set of inputs is concretised over: each row's minimiser, `[n_inputs, width]`.
    pub points: Vec<T>,
    /// Room for that.
    pub set_room: SetRoom,
    /// The sums of each convolution, as last found.
    pub gathers: Vec<Gather>,
}

impl<T: Scalar> Block<T> {
    /// An empty block with room for `n_slots` matrices.
    pub fn new(n_slots: usize) -> Self {
        Self {
            width: 0,
            slots: vec![Vec::new(); n_slots],
            live: vec![Vec::new(); n_slots],
            bias: Vec::new(),
            slack: Vec::new(),
            scratch: Vec::new(),
            points: Vec::new(),
            set_room: SetRoom::default(),
            gathers: Vec::new(),
        }
    }

    /// Prepares for `n_rows` rows over matrices of up to `slot_len` neurons.
    pub fn reset(&mut self, n_rows: usize, slot_len: usize) {
        self.width = n_rows.next_multiple_of(LANES);
        let needed = slot_len * self.width;
        for slot in &mut self.slots {
            if slot.len() < needed {
                slot.resize(needed, T::ZERO);
            }
        }
        for live in &mut self.live {
            live.clear();
        }
        self.bias.clear();
        self.bias.resize(self.width, T::ZERO);
        self.slack.clear();
        self.slack.resize(self.width, T::ZERO);
    }
}

impl<T: Scalar> Block<T> {
    /// Adds what a step has summed up to the bias and the slack of one vector of rows.
    #[inline(always)]
    pub fn collect(&mut self, vector: usize, [bias, slack]: &[[T; LANES]; 2]) {
        let totals = (lanes_mut(&mut self.bias, vector), lanes_mut(&mut self.slack, vector));
        for r in 0..LANES {
            totals.0[r] += bias[r];
            totals.1[r] += slack[r];
        }
    }
}

/// Adds partial sums to totals.
#[inline(always)]
pub fn add<T: Scalar>(totals: &mut [[T; LANES]; 2], sums: &[[T; LANES]; 2]) {
    for (totals, sums) in totals.iter_mut().zip(sums) {
        for r in 0..LANES {
            totals[r] += sums[r];
        }
    }
}

/// The vector of `LANES` values that starts at `at`.
#[inline(always)]
pub fn lanes<T: Scalar>(values: &[T], at: usize) -> &[T; LANES] {
    values[at..at + LANES].try_into().expect("the range is LANES long")
}

/// The mutable vector of `LANES` values that starts at `at`.
#[inline(always)]
pub fn lanes_mut<T: Scalar>(values: &mut [T], at: usize) -> &mut [T; LANES] {
    (&mut values[at..at + LANES]).try_into().expect("the range is LANES long")
}
