use crate::kernels::interval_dense::{Operand, accumulate, store};
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
) {
    let n_in = params.n_in as usize;
    operand.read(state, params.source as usize, n_in);
    operand.places.clear();
    operand.places.resize(n_in, u32::MAX);
    for (place, &i) in operand.neurons.iter().enumerate() {
        operand.places[i as usize] = place as u32;
    }
    let out_group = (shape.out_channels / shape.groups) as usize;
    let mut taps: Vec<([T; 3], usize)> = Vec::new();
    for group in 0..shape.groups as usize {
        for y in 0..shape.out_height {
            for x in 0..shape.out_width {
                read_taps(shape, operand, group as u32, (y, x), &mut taps);
                let pixel = (y * shape.out_width + x) as usize;
                let first = group * out_group;
                let mut o = 0;
                while o + 16 <= out_group {
                    outputs::<T, LEVEL, 16>(params, shape, constants, state, &taps, first + o, pixel, operand.norm);
                    o += 16;
                }
                while o + 4 <= out_group {
                    outputs::<T, LEVEL, 4>(params, shape, constants, state, &taps, first + o, pixel, operand.norm);
                    o += 4;
                }
                for o in o..out_group {
                    outputs::<T, LEVEL, 1>(params, shape, constants, state, &taps, first + o, pixel, operand.norm);
                }
            }
        }
    }
}

/// The operand values in a window, with the row of the transposed weight that each meets.
#[inline(always)]
fn read_taps<T: Scalar>(
    shape: &ConvShape,
    operand: &Operand<T>,
    group: u32,
    (y, x): (u32, u32),
    taps: &mut Vec<([T; 3], usize)>,
) {
    taps.clear();
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
                    taps.push((operand.values[place as usize], tap as usize * shape.out_channels as usize));
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
    state: &mut [T],
    taps: &[([T; 3], usize)],
    first: usize,
    pixel: usize,
    norm: T,
) {
    let weight = &constants[params.transposed as usize..];
    let mut totals = [[T::ZERO; K]; 3];
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
    let plane = (shape.out_height * shape.out_width) as usize;
    for k in 0..K {
        let output = (first + k) * plane + pixel;
        store(params, constants, state, output, [totals[0][k], totals[1][k], totals[2][k]], norm);
    }
}
