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

/// The channels of one group of an image, and its size.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    pub per_group: u32,
    pub height: u32,
    pub width: u32,
}

/// One way through a convolution: every pixel of one image sums over pixels of the other, given by axis as (coordinate there, row or
/// column of the kernel).
#[derive(Debug)]
pub struct Way<Axis> {
    pub groups: u32,
    /// The image whose pixels are sums, and the one that they sum over.
    pub images: [Image; 2],
    /// What a row and a column sum over.
    pub axes: Axis,
    pub kernel_width: u32,
}

impl Gather {
    /// Finds the sums again if other neurons are live or wanted than the last time.
    ///
    /// The weight of a term lies at `base(group, channel, tap of the kernel)` plus `offset(group, channel)` of the sum, channels being
    /// counted within their group. A pixel that sums over nothing is kept only if `keeps_empty`.
    #[inline(always)]
    pub fn list<Rows: Iterator<Item = (u32, u32)>, Columns: Iterator<Item = (u32, u32)> + Clone>(
        &mut self,
        weight: u32,
        (live, wanted, marks): (&[u32], &[u32], &mut Vec<u32>),
        way: &Way<(impl Fn(u32) -> Rows, impl Fn(u32) -> Columns)>,
        (offset, base): (impl Fn(u32, u32) -> u32, impl Fn(u32, u32, u32) -> u32),
        keeps_empty: bool,
    ) {
        if self.live == live && self.wanted == wanted {
            return;
        }
        self.clear(weight, live, wanted);
        let Way { groups, images: [sums, terms], axes: (rows, columns), kernel_width } = way;
        let (plane, term_plane) = (sums.height * sums.width, terms.height * terms.width);
        let first_wanted = groups * terms.per_group * term_plane;
        marks.clear();
        marks.resize((first_wanted + groups * sums.per_group * plane) as usize, 0);
        live.iter().for_each(|&term| marks[term as usize] = 1);
        wanted.iter().for_each(|&neuron| marks[(first_wanted + neuron) as usize] = 1);
        for group in 0..*groups {
            for pixel in 0..plane {
                for channel in 0..sums.per_group {
                    let neuron = (group * sums.per_group + channel) * plane + pixel;
                    if marks[(first_wanted + neuron) as usize] != 0 {
                        self.neurons.push(neuron);
                        self.offsets.push(offset(group, channel));
                    }
                }
                if !self.has_neurons() {
                    continue;
                }
                let columns = columns(pixel % sums.width);
                for (y, ky) in rows(pixel / sums.width) {
                    for (x, kx) in columns.clone() {
                        for channel in 0..terms.per_group {
                            let term = (group * terms.per_group + channel) * term_plane + y * terms.width + x;
                            if marks[term as usize] != 0 {
                                self.taps.push((term, base(group, channel, ky * kernel_width + kx)));
                            }
                        }
                    }
                }
                self.end_group(keeps_empty);
            }
        }
    }

    /// Starts over, for other lists.
    fn clear(&mut self, weight: u32, live: &[u32], wanted: &[u32]) {
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

    /// Whether the group that is being made has neurons.
    fn has_neurons(&self) -> bool {
        self.neurons.len() > self.groups.last().map_or(0, |group| group.1 as usize)
    }

    /// Ends a group; one without terms is kept only if `keeps_empty`.
    fn end_group(&mut self, keeps_empty: bool) {
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
