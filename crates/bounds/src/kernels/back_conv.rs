use crate::kernels::back_affine::{Tap, Wanted, back_step, put_slots, take_slots};
use crate::kernels::rows::Block;
use crate::program::{BackAffine, ConvShape};
use crate::scalar::Scalar;

/// `A ← A W` through a convolution, in gather form: each operand pixel sums over the outputs whose windows contain it.
///
/// Only live outputs are read and only wanted operand neurons are written, so that rows that start at one pixel stay local.
#[inline(always)]
pub fn back_conv<T: Scalar, const LEVEL: u8>(
    params: &BackAffine,
    shape: &ConvShape,
    constants: &[T],
    wanted: Wanted,
    block: &mut Block<T>,
) {
    let area = shape.kernel_height * shape.kernel_width;
    let (in_group, out_group) = (shape.in_channels / shape.groups, shape.out_channels / shape.groups);
    let weight = &constants[params.weight as usize..][..(shape.out_channels * in_group * area) as usize];
    let (in_plane, out_plane) = (shape.in_height * shape.in_width, shape.out_height * shape.out_width);
    let width = block.width;
    let mut reached = std::mem::take(&mut block.live[params.to as usize]);
    let mut is_live = std::mem::take(&mut block.scratch);
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    is_live.clear();
    is_live.resize(params.n_out as usize, 0);
    live.iter().for_each(|&k| is_live[k as usize] = 1);
    let mut is_wanted = vec![false; params.n_in as usize];
    wanted.iter().for_each(|&i| is_wanted[i as usize] = true);
    reached.clear();
    let mut taps: Vec<Tap> = Vec::new();
    let (mut neurons, mut offsets): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for group in 0..shape.groups {
        for pixel in 0..in_plane {
            neurons.clear();
            offsets.clear();
            for c in 0..in_group {
                let neuron = (group * in_group + c) * in_plane + pixel;
                if is_wanted[neuron as usize] {
                    neurons.push(neuron);
                    offsets.push(c * area);
                }
            }
            if neurons.is_empty() {
                continue;
            }
            taps.clear();
            let (y, x) = (pixel / shape.in_width, pixel % shape.in_width);
            for (out_y, ky) in
                windows(y, shape.pad_y, shape.kernel_height, shape.stride_y, shape.dilation_y, shape.out_height)
            {
                for (out_x, kx) in
                    windows(x, shape.pad_x, shape.kernel_width, shape.stride_x, shape.dilation_x, shape.out_width)
                {
                    for o in group * out_group..(group + 1) * out_group {
                        let k = o * out_plane + out_y * shape.out_width + out_x;
                        if is_live[k as usize] != 0 {
                            taps.push((k, o * in_group * area + ky * shape.kernel_width + kx));
                        }
                    }
                }
            }
            if !taps.is_empty() {
                back_step::<T, LEVEL, Tap>((from, to), width, weight, &taps, |&tap| tap, (&offsets, &neurons));
                reached.extend_from_slice(&neurons);
            }
        }
    }
    reached.sort_unstable();
    put_slots(block, (params.from, params.to), slots);
    block.scratch = is_live;
    block.live[params.to as usize] = reached;
}

/// The windows along one axis that contain input coordinate `at`, as (output coordinate, kernel coordinate).
#[inline(always)]
pub fn windows(
    at: u32,
    pad: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    n_out: u32,
) -> impl Iterator<Item = (u32, u32)> {
    (0..kernel).filter_map(move |k| {
        let start = (at + pad).checked_sub(k * dilation)?;
        (start % stride == 0 && start / stride < n_out).then_some((start / stride, k))
    })
}
