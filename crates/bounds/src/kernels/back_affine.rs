use crate::kernels::rows::{Block, LANES, lanes, lanes_mut};
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// The operand neurons that a backward step must compute: those whose value is not constant zero.
pub type Wanted<'a> = &'a [u32];

/// One contributing output of a backward step: its neuron, and where its weights start.
pub type Tap = (u32, u32);

/// Computes the coefficients of `I` operand neurons for `V` vectors of rows: `A_i = Σ A_k w[base_k + offset_i]` over `taps`, which
/// are at most [`SUM_BLOCK`]; the third of `slots` says whether the sums are added to what is there.
#[inline(always)]
fn tile<T: Scalar, const FMA: bool, const I: usize, const V: usize>(
    slots: (&[T], &mut [T], bool),
    (width, vector): (usize, usize),
    weight: &[T],
    taps: impl Iterator<Item = Tap>,
    offsets: &[u32; I],
    neurons: &[u32; I],
) {
    let (from, to, adds) = slots;
    let mut sums = [[[T::ZERO; LANES]; V]; I];
    for (k, base) in taps {
        let a: [&[T; LANES]; V] = std::array::from_fn(|v| lanes(from, k as usize * width + vector + v * LANES));
        for i in 0..I {
            let w = weight[base as usize + offsets[i] as usize];
            for v in 0..V {
                for r in 0..LANES {
                    sums[i][v][r] = a[v][r].mul_add_if::<FMA>(w, sums[i][v][r]);
                }
            }
        }
    }
    for i in 0..I {
        for v in 0..V {
            let target = lanes_mut(to, neurons[i] as usize * width + vector + v * LANES);
            for r in 0..LANES {
                target[r] = if adds { target[r] + sums[i][v][r] } else { sums[i][v][r] };
            }
        }
    }
}

/// [`tile`] over any number of operand neurons; `offsets[i]` belongs to `neurons[i]`.
#[inline(always)]
fn tiles<T: Scalar, const FMA: bool, const I: usize, const V: usize>(
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
        tile::<T, FMA, I, V>((from, to, adds), place, weight, taps.clone(), offsets, neurons);
        start += I;
    }
    if start < n && n >= I && !adds {
        // The last tile overlaps the one before: the same sums once more are cheaper than single neurons.
        let (offsets, neurons) = (array(offsets, n - I), array(neurons, n - I));
        tile::<T, FMA, I, V>((from, to, adds), place, weight, taps, offsets, neurons);
    } else {
        for at in start..n {
            let (offsets, neurons) = (array(offsets, at), array(neurons, at));
            tile::<T, FMA, 1, V>((from, to, adds), place, weight, taps.clone(), offsets, neurons);
        }
    }
}

/// [`tiles`] over all vectors of rows, as many at once as the registers hold.
#[inline(always)]
#[allow(clippy::needless_pass_by_value, reason = "an iterator over a slice: every tile runs through a copy")]
fn all_rows<T: Scalar, const FMA: bool>(
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
        match left {
            1 => tiles::<T, FMA, 12, 1>((from, to, adds), place, weight, taps.clone(), operands),
            2 => tiles::<T, FMA, 12, 2>((from, to, adds), place, weight, taps.clone(), operands),
            3 => tiles::<T, FMA, 8, 3>((from, to, adds), place, weight, taps.clone(), operands),
            _ => tiles::<T, FMA, 6, 4>((from, to, adds), place, weight, taps.clone(), operands),
        }
        vector += LANES * left.min(4);
    }
}

/// The whole step: sums over `taps`, which `tap` makes of `outputs`, in blocks of [`SUM_BLOCK`], for every operand neuron.
///
/// `operands` are the weight offsets and the neurons. With no outputs nothing is written.
#[inline(always)]
pub fn back_step<T: Scalar, const FMA: bool, O>(
    (from, to): (&[T], &mut [T]),
    width: usize,
    weight: &[T],
    outputs: &[O],
    tap: impl Fn(&O) -> Tap + Copy,
    operands: (&[u32], &[u32]),
) {
    for (place, chunk) in outputs.chunks(SUM_BLOCK).enumerate() {
        all_rows::<T, FMA>((from, to, place > 0), width, weight, chunk.iter().map(tap), operands);
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
