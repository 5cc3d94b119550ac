use crate::kernels::back_affine::{Wanted, put_slots, take_slots};
use crate::kernels::gather;
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
    let mut gather = gather::take(&mut block.gathers, params.weight);
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    if !gather.is_for(live, wanted) {
        gather.clear(params.weight, live, wanted);
        let marks = &mut block.scratch;
        marks.clear();
        marks.resize((params.n_out + params.n_in) as usize, 0);
        live.iter().for_each(|&k| marks[k as usize] = 1);
        wanted.iter().for_each(|&i| marks[(params.n_out + i) as usize] = 1);
        for group in 0..shape.groups {
            for pixel in 0..in_plane {
                for c in 0..in_group {
                    let neuron = (group * in_group + c) * in_plane + pixel;
                    if marks[(params.n_out + neuron) as usize] != 0 {
                        gather.push_neuron(neuron, c * area);
                    }
                }
                if !gather.has_neurons() {
                    continue;
                }
                let (y, x) = (pixel / shape.in_width, pixel % shape.in_width);
                for (out_y, ky) in
                    windows(y, shape.pad_y, shape.kernel_height, shape.stride_y, shape.dilation_y, shape.out_height)
                {
                    for (out_x, kx) in
                        windows(x, shape.pad_x, shape.kernel_width, shape.stride_x, shape.dilation_x, shape.out_width)
                    {
                        for o in group * out_group..(group + 1) * out_group {
                            let k = o * out_plane + out_y * shape.out_width + out_x;
                            if marks[k as usize] != 0 {
                                gather.push_tap((k, o * in_group * area + ky * shape.kernel_width + kx));
                            }
                        }
                    }
                }
                gather.end_group(false);
            }
        }
    }
    gather.run::<T, LEVEL>((from, to), width, weight, |_, _, _| ());
    put_slots(block, (params.from, params.to), slots);
    let reached = &mut block.live[params.to as usize];
    reached.clear();
    reached.extend_from_slice(gather.neurons());
    reached.sort_unstable();
    block.gathers.push(gather);
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
