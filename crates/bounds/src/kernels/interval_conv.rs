use crate::kernels::interval_dense::{Operand, accumulate, store};
use crate::kernels::terms::Fold;
use crate::program::{ConvShape, IntervalAffine};
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Interval bounds through a convolution, vectorised over output channels.
#[inline(always)]
pub fn interval_conv<T: Scalar, const LEVEL: u8>(
    params: &IntervalAffine,
    shape: &ConvShape,
    constants: &[T],
    state: &mut [T],
    operand: &mut Operand<T>,
    fold: &mut Fold<T>,
) {
    let n_in = params.n_in as usize;
    operand.read(state, params.source as usize, n_in, fold.operands);
    fold.reset(params.n_out as usize, true);
    operand.places.clear();
    operand.places.resize(n_in, u32::MAX);
    for (place, &i) in operand.neurons.iter().enumerate() {
        operand.places[i as usize] = place as u32;
    }
    let out_group = (shape.out_channels / shape.groups) as usize;
    let plane = (shape.out_height * shape.out_width) as usize;
    let mut taps: [Vec<Tap<T>>; 2] = [Vec::new(), Vec::new()];
    for group in 0..shape.groups as usize {
        for y in 0..shape.out_height {
            for x in 0..shape.out_width {
                read_taps(shape, operand, group as u32, (y, x), &mut taps);
                let pixel = (y * shape.out_width + x) as usize;
                let first = group * out_group;
                if !taps[1].is_empty() {
                    (first..first + out_group).for_each(|o| fold.neurons[o * plane + pixel] = false);
                }
                let mut o = 0;
                while o + 16 <= out_group {
                    outputs::<T, LEVEL, 16>(
                        params,
                        shape,
                        constants,
                        (state, fold),
                        &taps,
                        first + o,
                        pixel,
                        operand.norm,
                    );
                    o += 16;
                }
                while o + 4 <= out_group {
                    outputs::<T, LEVEL, 4>(
                        params,
                        shape,
                        constants,
                        (state, fold),
                        &taps,
                        first + o,
                        pixel,
                        operand.norm,
                    );
                    o += 4;
                }
                for o in o..out_group {
                    outputs::<T, LEVEL, 1>(
                        params,
                        shape,
                        constants,
                        (state, fold),
                        &taps,
                        first + o,
                        pixel,
                        operand.norm,
                    );
                }
            }
        }
    }
}

/// An operand's values, and the row of the transposed weight that they meet.
type Tap<T> = ([T; 3], usize);

/// The operand values in a window: the fixed ones, then the others.
#[inline(always)]
fn read_taps<T: Scalar>(
    shape: &ConvShape,
    operand: &Operand<T>,
    group: u32,
    (y, x): (u32, u32),
    taps: &mut [Vec<Tap<T>>; 2],
) {
    taps.iter_mut().for_each(Vec::clear);
    let in_group = shape.in_channels / shape.groups;
    for c in 0..in_group {
        for ky in 0..shape.kernel_height {
            let row = (y * shape.stride_y + ky * shape.dilation_y).wrapping_sub(shape.pad_y);
            if row >= shape.in_height {
                continue;
            }
            for kx in 0..shape.kernel_width {
                let column = (x * shape.stride_x + kx * shape.dilation_x).wrapping_sub(shape.pad_x);
                if column >= shape.in_width {
                    continue;
                }
                let neuron = ((group * in_group + c) * shape.in_height + row) * shape.in_width + column;
                let place = operand.places[neuron as usize];
                if place != u32::MAX {
                    let tap = (c * shape.kernel_height + ky) * shape.kernel_width + kx;
                    let which = usize::from(place as usize >= operand.n_fixed);
                    taps[which].push((operand.values[place as usize], tap as usize * shape.out_channels as usize));
                }
            }
        }
    }
}

/// `K` output channels from `first` on, at one pixel.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "inlined: a struct of borrows would only rename them")]
fn outputs<T: Scalar, const LEVEL: u8, const K: usize>(
    params: &IntervalAffine,
    shape: &ConvShape,
    constants: &[T],
    (state, fold): (&mut [T], &mut Fold<T>),
    taps: &[Vec<Tap<T>>; 2],
    first: usize,
    pixel: usize,
    norm: T,
) {
    let weight = &constants[params.transposed as usize..];
    let mut totals = [[T::ZERO; K]; 3];
    let mut fixed = totals;
    for (which, taps) in taps.iter().enumerate() {
        for chunk in taps.chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; K]; 3];
            for (value, row) in chunk {
                let w: &[T; K] = weight[row + first..][..K].try_into().expect("K values");
                accumulate::<T, LEVEL, K>(&mut sums, w, value);
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals.iter_mut().zip(sums).for_each(|(total, &sum)| *total += sum);
            }
        }
        if which == 0 {
            fixed = totals;
        }
    }
    let of = |totals: &[[T; K]; 3], k: usize| [totals[0][k], totals[1][k], totals[2][k]];
    let plane = (shape.out_height * shape.out_width) as usize;
    for k in 0..K {
        let output = (first + k) * plane + pixel;
        store(
            params,
            constants,
            (state, fold),
            output,
            (of(&totals, k), (!taps[0].is_empty()).then(|| of(&fixed, k))),
            norm,
        );
    }
}
