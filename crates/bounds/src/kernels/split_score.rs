use crate::kernels::rows::{Block, LANES, lanes};
use crate::program::Concretize;
use crate::scalar::Scalar;

/// Adds to `scores` how much each input contributes to the rows that have just reached the input: input `i`'s share of row `r` is
/// `|A_ri| (u_i − l_i) / Σ_k |A_rk| (u_k − l_k)`. A heuristic: rounding does not matter here.
#[inline(always)]
pub fn split_score<T: Scalar, const LEVEL: u8>(
    params: &Concretize,
    state: &[T],
    block: &Block<T>,
    n_rows: usize,
    scores: &mut [T],
) {
    let (n, width) = (params.n as usize, block.width);
    let slot = &block.slots[params.slot as usize][..n * width];
    let live = &block.live[params.slot as usize];
    for vector in (0..n_rows).step_by(LANES) {
        let mut totals = [T::ZERO; LANES];
        for &i in live {
            let side = state[n + i as usize] - state[i as usize];
            let a = lanes(slot, i as usize * width + vector);
            for r in 0..LANES {
                totals[r] = a[r].magnitude().mul_add_if::<LEVEL>(side, totals[r]);
            }
        }
        // Padding rows and rows that do not move have no shares.
        let mut inverse = [T::ZERO; LANES];
        for r in 0..LANES {
            if vector + r < n_rows && totals[r] > T::LEAST_SLOPE {
                inverse[r] = T::ONE / totals[r];
            }
        }
        for &i in live {
            let side = state[n + i as usize] - state[i as usize];
            let a = lanes(slot, i as usize * width + vector);
            let mut share = T::ZERO;
            for r in 0..LANES {
                share = a[r].magnitude().mul_add_if::<LEVEL>(inverse[r], share);
            }
            scores[i as usize] += share * side;
        }
    }
}
