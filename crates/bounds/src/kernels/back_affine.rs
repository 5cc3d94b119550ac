use crate::kernels::rows::{Block, LANES, lanes, lanes_mut};
use crate::scalar::Scalar;
use crate::simd::{Plain, Vector, level};
use crate::slack::SUM_BLOCK;

/// The operand neurons that a backward step must compute: those whose value is not constant zero.
pub type Wanted<'a> = &'a [u32];

/// One contributing output of a backward step: its neuron, and where its weights start.
pub type Tap = (u32, u32);

/// Computes the coefficients of `I` operand neurons for `N` vectors of rows: `A_i = Σ A_k w[base_k + offset_i]` over `taps`, which
/// are at most [`SUM_BLOCK`]; the third of `slots` says whether the sums are added to what is there.
#[inline(always)]
fn tile<T: Scalar, V: Vector<T>, const I: usize, const N: usize>(
    slots: (&[T], &mut [T], bool),
    (width, vector): (usize, usize),
    weight: &[T],
    taps: impl Iterator<Item = Tap>,
    offsets: &[u32; I],
    neurons: &[u32; I],
) {
    let (from, to, adds) = slots;
    let span = offsets.iter().fold(0, |span, &offset| span.max(offset as usize + 1));
    let mut sums = [[V::zero(); N]; I];
    for (k, base) in taps {
        let weights = &weight[base as usize..][..span];
        let at = k as usize * width + vector;
        let rows = &from[at..at + N * LANES];
        let mut a = [V::zero(); N];
        for v in 0..N {
            a[v] = V::load(lanes(rows, v * LANES));
        }
        for i in 0..I {
            // SAFETY: `weights` is longer than every offset.
            let w = unsafe { *weights.get_unchecked(offsets[i] as usize) };
            for v in 0..N {
                sums[i][v] = sums[i][v].add_product(a[v], w);
            }
        }
    }
    for i in 0..I {
        for v in 0..N {
            let target = lanes_mut(to, neurons[i] as usize * width + vector + v * LANES);
            let sum = if adds { V::load(target).plus(sums[i][v]) } else { sums[i][v] };
            sum.store(target);
        }
    }
}

/// [`tile`] over any number of operand neurons; `offsets[i]` belongs to `neurons[i]`.
#[inline(always)]
fn tiles<T: Scalar, V: Vector<T>, const I: usize, const N: usize>(
    (from, to, adds): (&[T], &mut [T], bool),
    place: (usize, usize),
    weight: &[T],
    taps: impl Iterator<Item = Tap> + Clone,
    (offsets, neurons): (&[u32], &[u32]),
) {
    let n = neurons.len();
    let mut start = 0;
    while start + I <= n {
        let (offsets, neurons) = (array(offsets, start), array(neurons, start));
        tile::<T, V, I, N>((from, to, adds), place, weight, taps.clone(), offsets, neurons);
        start += I;
    }
    if start < n && n >= I && !adds {
        // The last tile overlaps the one before: the same sums once more are cheaper than single neurons.
        let (offsets, neurons) = (array(offsets, n - I), array(neurons, n - I));
        tile::<T, V, I, N>((from, to, adds), place, weight, taps, offsets, neurons);
        return;
    }
    // Three at a time, as the channels of an image.
    while start + 3 <= n {
        let (offsets, neurons) = (array(offsets, start), array(neurons, start));
        tile::<T, V, 3, N>((from, to, adds), place, weight, taps.clone(), offsets, neurons);
        start += 3;
    }
    for at in start..n {
        let (offsets, neurons) = (array(offsets, at), array(neurons, at));
        tile::<T, V, 1, N>((from, to, adds), place, weight, taps.clone(), offsets, neurons);
    }
}

/// [`tiles`] over all vectors of rows, as many at once as the registers hold: `A` neurons by four vectors, or fewer vectors and
/// more neurons.
#[inline(always)]
#[allow(clippy::needless_pass_by_value, reason = "an iterator over a slice: every tile runs through a copy")]
fn all_rows<T: Scalar, const LEVEL: u8>(
    slots: (&[T], &mut [T], bool),
    width: usize,
    weight: &[T],
    taps: impl Iterator<Item = Tap> + Clone,
    operands: (&[u32], &[u32]),
) {
    let (from, to, adds) = slots;
    let mut vector = 0;
    while vector < width {
        let (place, left) = ((width, vector), (width - vector) / LANES);
        let taps = taps.clone();
        // Accumulators, one row of `A`, and a weight fill 32 registers of AVX-512, or 16 of AVX2.
        let used = match (LEVEL, T::REGISTERS, left) {
            (level::AVX512, 1, 1) => {
                tiles::<T, T::Avx512, 12, 1>((from, to, adds), place, weight, taps, operands);
                1
            }
            (level::AVX512, 1, 2) => {
                tiles::<T, T::Avx512, 12, 2>((from, to, adds), place, weight, taps, operands);
                2
            }
            (level::AVX512, 1, 3) => {
                tiles::<T, T::Avx512, 8, 3>((from, to, adds), place, weight, taps, operands);
                3
            }
            (level::AVX512, 1, _) => {
                tiles::<T, T::Avx512, 6, 4>((from, to, adds), place, weight, taps, operands);
                4
            }
            (level::AVX512, _, 1) => {
                tiles::<T, T::Avx512, 12, 1>((from, to, adds), place, weight, taps, operands);
                1
            }
            (level::AVX512, ..) => {
                tiles::<T, T::Avx512, 6, 2>((from, to, adds), place, weight, taps, operands);
                2
            }
            (level::AVX2, 1, _) => {
                tiles::<T, T::Avx2, 6, 1>((from, to, adds), place, weight, taps, operands);
                1
            }
            (level::AVX2, ..) => {
                tiles::<T, T::Avx2, 2, 1>((from, to, adds), place, weight, taps, operands);
                1
            }
            _ => {
                tiles::<T, Plain<T, LEVEL>, 2, 1>((from, to, adds), place, weight, taps, operands);
                1
            }
        };
        vector += LANES * used;
    }
}

/// The whole step: sums over `taps`, which `tap` makes of `outputs`, in blocks of [`SUM_BLOCK`], for every operand neuron.
///
/// `operands` are the weight offsets and the neurons. With no outputs nothing is written.
#[inline(always)]
pub fn back_step<T: Scalar, const LEVEL: u8, O>(
    (from, to): (&[T], &mut [T]),
    width: usize,
    weight: &[T],
    outputs: &[O],
    tap: impl Fn(&O) -> Tap + Copy,
    operands: (&[u32], &[u32]),
) {
    for (place, chunk) in outputs.chunks(SUM_BLOCK).enumerate() {
        all_rows::<T, LEVEL>((from, to, place > 0), width, weight, chunk.iter().map(tap), operands);
    }
}

#[inline(always)]
fn array<const I: usize>(values: &[u32], at: usize) -> &[u32; I] {
    values[at..at + I].try_into().expect("the range is I long")
}

/// Takes both slots of a step out of a block: the one read, with its live list, and the one written.
pub fn take_slots<T: Scalar>(block: &mut Block<T>, from: u32, to: u32) -> (Vec<T>, Vec<u32>, Vec<T>) {
    let (from, to) = (from as usize, to as usize);
    (
        std::mem::take(&mut block.slots[from]),
        std::mem::take(&mut block.live[from]),
        std::mem::take(&mut block.slots[to]),
    )
}

/// Puts back what [`take_slots`] took.
pub fn put_slots<T: Scalar>(block: &mut Block<T>, ids: (u32, u32), slots: (Vec<T>, Vec<u32>, Vec<T>)) {
    let (from, to) = (ids.0 as usize, ids.1 as usize);
    (block.slots[from], block.live[from], block.slots[to]) = slots;
}
