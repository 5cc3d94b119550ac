use crate::kernels::back_affine::{Wanted, put_slots, take_slots};
use crate::kernels::gather::{self, Image, Way};
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
    let width = block.width;
    let mut gather = gather::take(&mut block.gathers, params.weight);
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    let way = Way {
        groups: shape.groups,
        images: [
            Image { per_group: in_group, height: shape.in_height, width: shape.in_width },
            Image { per_group: out_group, height: shape.out_height, width: shape.out_width },
        ],
        axes: (
            |y| windows(y, shape.pad_y, shape.kernel_height, shape.stride_y, shape.dilation_y, shape.out_height),
            |x| windows(x, shape.pad_x, shape.kernel_width, shape.stride_x, shape.dilation_x, shape.out_width),
        ),
        kernel_width: shape.kernel_width,
    };
    let offset = |_, channel| channel * area;
    let base = |group, channel, tap| (group * out_group + channel) * in_group * area + tap;
    gather.list(params.weight, (live, wanted, &mut block.scratch), &way, (offset, base), false);
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
fn windows(
    at: u32,
    pad: u32,
    kernel: u32,
    stride: u32,
    dilation: u32,
    n_out: u32,
) -> impl Iterator<Item = (u32, u32)> + Clone {
    (0..kernel).filter_map(move |k| {
        let start = (at + pad).checked_sub(k * dilation)?;
        (start % stride == 0 && start / stride < n_out).then_some((start / stride, k))
    })
}
