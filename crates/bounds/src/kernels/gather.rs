use crate::kernels::back_affine::{Tap, back_step};
use crate::scalar::Scalar;

/// The sums of a convolution in gather form: which neurons share which terms. Finding them takes longer than adding a few rows up,
/// so that they are kept for as long as the same neurons are live.
#[derive(Debug, Clone, Default)]
pub struct Gather {
    /// Which convolution: where its weights start.
    weight: u32,
    /// What was live and what was wanted when it was made.
    live: Vec<u32>,
    wanted: Vec<u32>,
    /// Ends of every group's taps and neurons.
    groups: Vec<(u32, u32)>,
    /// One after another: the contributing neurons, and where their weights start.
    taps: Vec<Tap>,
    /// The neurons of the groups, and where each one's weights lie after a tap's.
    neurons: Vec<u32>,
    offsets: Vec<u32>,
}

impl Gather {
    /// Starts over, for other lists.
    pub fn clear(&mut self, weight: u32, live: &[u32], wanted: &[u32]) {
        self.weight = weight;
        self.live.clear();
        self.live.extend_from_slice(live);
        self.wanted.clear();
        self.wanted.extend_from_slice(wanted);
        self.groups.clear();
        self.taps.clear();
        self.neurons.clear();
        self.offsets.clear();
    }

    /// Whether it was made for these lists.
    pub fn is_for(&self, live: &[u32], wanted: &[u32]) -> bool {
        self.live == live && self.wanted == wanted
    }

    /// Adds a neuron to the group that is being made.
    #[inline(always)]
    pub fn push_neuron(&mut self, neuron: u32, offset: u32) {
        self.neurons.push(neuron);
        self.offsets.push(offset);
    }

    /// Adds a term to the group that is being made.
    #[inline(always)]
    pub fn push_tap(&mut self, tap: Tap) {
        self.taps.push(tap);
    }

    /// Whether the group that is being made has neurons.
    pub fn has_neurons(&self) -> bool {
        self.neurons.len() > self.groups.last().map_or(0, |group| group.1 as usize)
    }

    /// Ends a group; one without terms is kept only if `keeps_empty`.
    pub fn end_group(&mut self, keeps_empty: bool) {
        let (taps, neurons) = self.groups.last().copied().unwrap_or((0, 0));
        if self.taps.len() as u32 == taps && !keeps_empty {
            self.neurons.truncate(neurons as usize);
            self.offsets.truncate(neurons as usize);
        } else {
            self.groups.push((self.taps.len() as u32, self.neurons.len() as u32));
        }
    }

    /// The neurons of all groups.
    pub fn neurons(&self) -> &[u32] {
        &self.neurons
    }

    /// Computes every group's sums: `done` is told each group's neurons and whether it had terms.
    #[inline(always)]
    pub fn run<T: Scalar, const LEVEL: u8>(
        &self,
        (from, to): (&[T], &mut [T]),
        width: usize,
        weight: &[T],
        mut done: impl FnMut(&mut [T], &[u32], bool),
    ) {
        let (mut tap, mut neuron) = (0, 0);
        for &(taps_end, neurons_end) in &self.groups {
            let taps = &self.taps[tap..taps_end as usize];
            let range = neuron..neurons_end as usize;
            let operands = (&self.offsets[range.clone()], &self.neurons[range.clone()]);
            back_step::<T, LEVEL, Tap>((from, to), width, weight, taps, |&tap| tap, operands);
            done(to, operands.1, !taps.is_empty());
            (tap, neuron) = (taps_end as usize, neurons_end as usize);
        }
    }
}

/// Takes the kept sums of one convolution out of a list, or new ones; put them back afterwards.
pub fn take(kept: &mut Vec<Gather>, weight: u32) -> Gather {
    kept.iter().position(|gather| gather.weight == weight).map_or_else(Gather::default, |at| kept.swap_remove(at))
}
