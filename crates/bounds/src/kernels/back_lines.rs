use crate::kernels::rows::{Block, LANES, add, lanes_mut};
use crate::program::BackLines;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Replaces an activation's outputs by its lines: `A_j ← A_j · slope`, `bias += Σ A_j · intercept`, `slack += Σ |A_j| error_j`,
/// with the lower line where `A_j ≥ 0` and the upper line where `A_j < 0`. Neurons that are constant zero leave the live list.
#[inline(always)]
pub fn back_lines<T: Scalar, const LEVEL: u8>(params: &BackLines, state: &[T], block: &mut Block<T>) {
    let (n, width) = (params.n as usize, block.width);
    let lines = &state[params.lines as usize..][..5 * n];
    let slot = &mut block.slots[params.slot as usize][..n * width];
    let live = &mut block.live[params.slot as usize];
    // Stable neurons first: they change nothing but the list; what is left needs its lines.
    block.scratch.clear();
    let undecided = &mut block.scratch;
    live.retain(|&j| {
        let j = j as usize;
        let (low, low_at, up, up_at, error) =
            (lines[j], lines[n + j], lines[2 * n + j], lines[3 * n + j], lines[4 * n + j]);
        if low == T::ZERO && up == T::ZERO && low_at == T::ZERO && up_at == T::ZERO {
            return false;
        }
        if !(low == T::ONE && up == T::ONE && low_at == T::ZERO && up_at == T::ZERO && error == T::ZERO) {
            undecided.push(j as u32);
        }
        true
    });
    for vector in (0..width).step_by(LANES) {
        let mut totals = [[T::ZERO; LANES]; 2];
        for chunk in undecided.chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; LANES]; 2];
            for &j in chunk {
                let j = j as usize;
                let (low, low_at, up, up_at, error) =
                    (lines[j], lines[n + j], lines[2 * n + j], lines[3 * n + j], lines[4 * n + j]);
                let a = lanes_mut(slot, j * width + vector);
                for r in 0..LANES {
                    let (positive, negative) = (a[r].larger(T::ZERO), a[r].smaller(T::ZERO));
                    sums[0][r] = positive.mul_add_if::<LEVEL>(low_at, negative.mul_add_if::<LEVEL>(up_at, sums[0][r]));
                    sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                    a[r] = positive * low + negative * up;
                }
            }
            add(&mut totals, &sums);
        }
        let kept = (lanes_mut(&mut block.bias, vector), lanes_mut(&mut block.slack, vector));
        for r in 0..LANES {
            kept.0[r] += totals[0][r];
            kept.1[r] += totals[1][r];
        }
    }
}
