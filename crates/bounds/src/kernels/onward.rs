//! The linear steps of a relaxed forward pass: one point per lane, pushed through the network. Nothing here is part of a bound, so
//! that rounding is of no concern.

use crate::kernels::back_affine::{back_step, put_slots, take_slots};
use crate::kernels::back_max_pool::DOMINATES;
use crate::kernels::gather::{self, Image, Way};
use crate::kernels::rows::{Block, LANES, lanes, lanes_mut};
use crate::program::ConvShape;
use crate::scalar::Scalar;
use crate::sweep::{OnwardAffine, OnwardMaxPool, OnwardMerge};

/// Writes the minimiser of each lane: the lower end of an input where its coefficient is not negative, else the upper end.
#[inline(always)]
pub fn minimiser<T: Scalar>(state: &[T], n: usize, from: (&[T], &[u32]), alive: &[u32], values: &mut Block<T>) {
    let width = values.width;
    let slot = &mut values.slots[0];
    let (lower, upper) = (&state[..n], &state[n..2 * n]);
    let mut live = from.1.iter().copied().peekable();
    for i in 0..n {
        let (l, u) = (lower[i], upper[i]);
        let target = &mut slot[i * width..][..width];
        if live.next_if_eq(&(i as u32)).is_some() {
            let a = &from.0[i * width..][..width];
            target.iter_mut().zip(a).for_each(|(x, &a)| *x = if a >= T::ZERO { l } else { u });
        } else {
            target.fill(l);
        }
    }
    values.live[0].clear();
    values.live[0].extend_from_slice(alive);
}

/// Takes over the minimisers that a set has found.
#[inline(always)]
pub fn minimiser_in_set<T: Scalar>(n: usize, points: &[T], alive: &[u32], values: &mut Block<T>) {
    let len = n * values.width;
    values.slots[0][..len].copy_from_slice(&points[..len]);
    values.live[0].clear();
    values.live[0].extend_from_slice(alive);
}

/// `z = W h + b` through a full matrix, for the outputs in `wanted`.
#[inline(always)]
pub fn onward_dense<T: Scalar, const LEVEL: u8>(
    params: &OnwardAffine,
    (constants, bias): (&[T], &[T]),
    wanted: &[u32],
    values: &mut Block<T>,
) {
    let n_out = params.n_out;
    let weight = &constants[params.weight as usize..][..(n_out * params.n_in) as usize];
    let width = values.width;
    let mut slots = take_slots(values, params.from, params.to);
    let (from, live, to) = &mut slots;
    back_step::<T, LEVEL, u32>((from, to), width, weight, live, |&i| (i, i * n_out), (wanted, wanted));
    finish(bias, wanted, !live.is_empty(), width, to);
    put_slots(values, (params.from, params.to), slots);
    values.live[params.to as usize].clear();
    values.live[params.to as usize].extend_from_slice(wanted);
}

/// Adds the biases, or writes them where nothing was summed.
#[inline(always)]
fn finish<T: Scalar>(bias: &[T], neurons: &[u32], has_sums: bool, width: usize, to: &mut [T]) {
    for &k in neurons {
        let b = bias[k as usize];
        let target = &mut to[k as usize * width..][..width];
        if has_sums {
            target.iter_mut().for_each(|z| *z += b);
        } else {
            target.fill(b);
        }
    }
}

/// `z = W h + b` through a convolution: each output pixel sums over its window.
#[inline(always)]
pub fn onward_conv<T: Scalar, const LEVEL: u8>(
    params: &OnwardAffine,
    shape: &ConvShape,
    (constants, bias): (&[T], &[T]),
    wanted: &[u32],
    values: &mut Block<T>,
) {
    let area = shape.kernel_height * shape.kernel_width;
    let (in_group, out_group) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let weight = &constants[params.weight as usize..][..(in_group * area * shape.out_channels) as usize];
    let width = values.width;
    let mut gather = gather::take(&mut values.gathers, params.weight);
    let mut slots = take_slots(values, params.from, params.to);
    let (from, live, to) = &mut slots;
    let way = Way {
        groups: shape.groups,
        images: [
            Image { per_group: out_group, height: shape.out_height, width: shape.out_width },
            Image { per_group: in_group, height: shape.in_height, width: shape.in_width },
        ],
        axes: (
            |y| window(y, shape.pad_y, shape.kernel_height, shape.stride_y, shape.dilation_y, shape.in_height),
            |x| window(x, shape.pad_x, shape.kernel_width, shape.stride_x, shape.dilation_x, shape.in_width),
        ),
        kernel_width: shape.kernel_width,
    };
    let offset = |group, channel| group * out_group + channel;
    let base = |_, channel, tap| (channel * area + tap) * shape.out_channels;
    gather.list(params.weight, (live, wanted, &mut values.scratch), &way, (offset, base), true);
    gather
        .run::<T, LEVEL>((from, to), width, weight, |to, neurons, has_sums| finish(bias, neurons, has_sums, width, to));
    put_slots(values, (params.from, params.to), slots);
    values.gathers.push(gather);
    values.live[params.to as usize].clear();
    values.live[params.to as usize].extend_from_slice(wanted);
}

/// The window of output coordinate `at` along one axis, as (input coordinate, kernel coordinate).
#[inline(always)]
fn window(
    at: u32,
    pad: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    n_in: u32,
) -> impl Iterator<Item = (u32, u32)> + Clone {
    (0..kernel).filter_map(move |k| {
        let place = (at * stride + k * dilation).checked_sub(pad)?;
        (place < n_in).then_some((place, k))
    })
}

/// `z = W h + b` through a sparse matrix, by the entries of row `k`.
#[inline(always)]
pub fn onward_sparse<T: Scalar, const LEVEL: u8>(
    params: &OnwardAffine,
    (constants, bias): (&[T], &[T]),
    tables: &[u32],
    wanted: &[u32],
    values: &mut Block<T>,
) {
    let offsets = &tables[params.rows as usize..][..=params.n_out as usize];
    let columns = &tables[params.rows as usize + 1 + params.n_out as usize..];
    let weight = &constants[params.weight as usize..];
    let width = values.width;
    let mut marks = std::mem::take(&mut values.scratch);
    let mut slots = take_slots(values, params.from, params.to);
    let (from, live, to) = &mut slots;
    marks.clear();
    marks.resize(params.n_in as usize, 0);
    live.iter().for_each(|&i| marks[i as usize] = 1);
    for &k in wanted {
        let entries = offsets[k as usize] as usize..offsets[k as usize + 1] as usize;
        for vector in (0..width).step_by(LANES) {
            let mut sum = [bias[k as usize]; LANES];
            for e in entries.clone() {
                let i = columns[e] as usize;
                if marks[i] != 0 {
                    let h = lanes(from, i * width + vector);
                    for r in 0..LANES {
                        sum[r] = h[r].mul_add_if::<LEVEL>(weight[e], sum[r]);
                    }
                }
            }
            *lanes_mut(to, k as usize * width + vector) = sum;
        }
    }
    put_slots(values, (params.from, params.to), slots);
    values.scratch = marks;
    values.live[params.to as usize].clear();
    values.live[params.to as usize].extend_from_slice(wanted);
}

/// Copies a value matrix, or adds it.
#[inline(always)]
pub fn onward_merge<T: Scalar>(params: &OnwardMerge, values: &mut Block<T>) {
    let (width, n) = (values.width, params.n as usize);
    let mut slots = take_slots(values, params.from, params.to);
    let (from, live, to) = &mut slots;
    if params.adds == 0 {
        // Neurons that are not live are constant zero.
        to[..n * width].fill(T::ZERO);
    }
    for &j in live.iter() {
        let range = j as usize * width..(j as usize + 1) * width;
        to[range.clone()].iter_mut().zip(&from[range]).for_each(|(sum, &value)| *sum += value);
    }
    put_slots(values, (params.from, params.to), slots);
    values.live[params.to as usize].clear();
    values.live[params.to as usize].extend(0..params.n);
}

/// Through maxima: the chosen input, or the constant upper bound where the backward pass took that.
#[inline(always)]
pub fn onward_max_pool<T: Scalar>(
    params: &OnwardMaxPool,
    state: &[T],
    marks: &[u32],
    is_negative: &[bool],
    values: &mut Block<T>,
) {
    let (n_out, width) = (params.n_out as usize, values.width);
    let upper = &state[params.bounds as usize + n_out..][..n_out];
    let choices = &marks[params.choice as usize..][..n_out];
    let mut slots = take_slots(values, params.from, params.to);
    let (from, live, to) = &mut slots;
    for o in 0..n_out {
        let (choice, dominates) = (choices[o] & !DOMINATES, choices[o] & DOMINATES != 0);
        let is_live = live.binary_search(&choice).is_ok();
        for r in 0..width {
            let takes_constant = !dominates && is_negative.get(o * width + r).copied().unwrap_or(false);
            to[o * width + r] = if takes_constant {
                upper[o]
            } else if is_live {
                from[choice as usize * width + r]
            } else {
                T::ZERO
            };
        }
    }
    put_slots(values, (params.from, params.to), slots);
    values.live[params.to as usize].clear();
    values.live[params.to as usize].extend(0..params.n_out);
}

/// Notes the signs of a max-pool's coefficients before its backward step, for [`onward_max_pool`].
#[inline(always)]
pub fn note_signs<T: Scalar>(slot: &[T], live: &[u32], n_out: usize, width: usize, is_negative: &mut Vec<bool>) {
    is_negative.clear();
    is_negative.resize(n_out * width, false);
    for &o in live {
        let at = o as usize * width;
        is_negative[at..at + width].iter_mut().zip(&slot[at..at + width]).for_each(|(sign, &a)| *sign = a < T::ZERO);
    }
}
