use crate::kernels::rows::{Block, LANES, lanes};
use crate::scalar::Scalar;

/// The operand neurons that a backward step must compute: those whose value is not constant zero.
pub type Wanted<'a> = &'a [u32];

/// One contributing output of a backward step: its neuron, and where its weights start.
pub type Tap = (u32, u32);

/// Computes the coefficients of `I` operand neurons for `V` vectors of rows: `A_i = Σ A_k w[base_k + offset_i]` over `taps`.
#[inline(always)]
pub fn tile<T: Scalar, const FMA: bool, const I: usize, const V: usize>(
    slots: (&[T], &mut [T]),
    (width, vector): (usize, usize),
    weight: &[T],
    taps: impl Iterator<Item = Tap>,
    offsets: &[u32; I],
    neurons: &[u32; I],
) {
    let (from, to) = slots;
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
            let at = neurons[i] as usize * width + vector + v * LANES;
            to[at..at + LANES].copy_from_slice(&sums[i][v]);
        }
    }
}

/// [`tile`] over any number of operand neurons; `offsets[i]` belongs to `neurons[i]`.
#[inline(always)]
pub fn tiles<T: Scalar, const FMA: bool, const I: usize, const V: usize>(
    from: &[T],
    to: &mut [T],
    place: (usize, usize),
    weight: &[T],
    taps: impl Iterator<Item = Tap> + Clone,
    offsets: &[u32],
    neurons: &[u32],
) {
    let n = neurons.len();
    let mut start = 0;
    while start + I <= n {
        let (offsets, neurons) = (array(offsets, start), array(neurons, start));
        tile::<T, FMA, I, V>((from, to), place, weight, taps.clone(), offsets, neurons);
        start += I;
    }
    if start < n && n >= I {
        // The last tile overlaps the one before: the same sums once more are cheaper than single neurons.
        let (offsets, neurons) = (array(offsets, n - I), array(neurons, n - I));
        tile::<T, FMA, I, V>((from, to), place, weight, taps, offsets, neurons);
    } else {
        for at in start..n {
            let (offsets, neurons) = (array(offsets, at), array(neurons, at));
            tile::<T, FMA, 1, V>((from, to), place, weight, taps.clone(), offsets, neurons);
        }
    }
}

/// [`tiles`] over all vectors of rows, as many at once as the registers hold.
#[inline(always)]
pub fn all_rows<T: Scalar, const FMA: bool>(
    from: &[T],
    to: &mut [T],
    width: usize,
    weight: &[T],
    taps: impl Iterator<Item = Tap> + Clone,
    offsets: &[u32],
    neurons: &[u32],
) {
    let mut vector = 0;
    while vector < width {
        let (place, left) = ((width, vector), (width - vector) / LANES);
        match left {
            1 => tiles::<T, FMA, 12, 1>(from, to, place, weight, taps.clone(), offsets, neurons),
            2 => tiles::<T, FMA, 12, 2>(from, to, place, weight, taps.clone(), offsets, neurons),
            3 => tiles::<T, FMA, 8, 3>(from, to, place, weight, taps.clone(), offsets, neurons),
            _ => tiles::<T, FMA, 6, 4>(from, to, place, weight, taps.clone(), offsets, neurons),
        }
        vector += LANES * left.min(4);
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
