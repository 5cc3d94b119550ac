use crate::kernels::back_max_pool::DOMINATES;
use crate::program::{IntervalMaxPool, PoolShape};
use crate::scalar::Scalar;

/// Interval bounds of maxima, and per output the input with the largest lower bound (the first on ties), marked if it
/// dominates: its lower bound is no less than every other input's upper bound.
#[inline(always)]
pub fn interval_max_pool<T: Scalar>(params: &IntervalMaxPool, shape: &PoolShape, state: &mut [T], marks: &mut [u32]) {
    let (n_out, n_in) = (params.n_out as usize, params.n_in as usize);
    let source = params.source as usize;
    for o in 0..n_out {
        let mut best: Option<(T, u32)> = None;
        let (mut upper, mut second) = (None::<T>, None::<T>);
        for_window(shape, o as u32, |i| {
            let (l, u) = (state[source + i as usize], state[source + n_in + i as usize]);
            if best.is_none_or(|(lower, _)| l > lower) {
                best = Some((l, i));
            }
            // The two largest upper bounds: whichever input is chosen, the largest of the others is one of them.
            if upper.is_none_or(|upper| u > upper) {
                second = upper;
                upper = Some(u);
            } else if second.is_none_or(|second| u > second) {
                second = Some(u);
            }
        });
        let ((lower, choice), upper) = best.zip(upper).expect("windows are not empty");
        let own = state[source + n_in + choice as usize];
        let others = if own == upper { second } else { Some(upper) };
        let dominates = others.is_none_or(|others| lower >= others);
        state[params.target as usize + o] = lower;
        state[params.target as usize + n_out + o] = upper;
        marks[params.choice as usize + o] = if dominates { choice | DOMINATES } else { choice };
    }
}

/// Calls `visit` with each input in the window of output `o`, in row-major order.
#[inline(always)]
fn for_window(shape: &PoolShape, o: u32, mut visit: impl FnMut(u32)) {
    let plane = shape.out_height * shape.out_width;
    let (channel, y, x) = (o / plane, o % plane / shape.out_width, o % shape.out_width);
    for ky in 0..shape.kernel_height {
        let row = (y * shape.stride_y + ky * shape.dilation_y).wrapping_sub(shape.pad_y);
        if row >= shape.in_height {
            continue;
        }
        for kx in 0..shape.kernel_width {
            let column = (x * shape.stride_x + kx * shape.dilation_x).wrapping_sub(shape.pad_x);
            if column < shape.in_width {
                visit((channel * shape.in_height + row) * shape.in_width + column);
            }
        }
    }
}
