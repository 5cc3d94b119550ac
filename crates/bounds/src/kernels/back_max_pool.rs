use crate::kernels::back_affine::{put_slots, take_slots};
use crate::kernels::rows::{Block, LANES, add, lanes, lanes_mut};
use crate::program::BackMaxPool;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Set in a choice whose input is at least as large as every other input of its window.
pub const DOMINATES: u32 = 0x8000_0000;

/// Through maxima: where `A_o ≥ 0` (or the chosen input dominates) the chosen input takes the coefficient, else
/// `bias += A_o · upper_o`; `slack += γ Σ |A_o| max(|l|, |u|)` over the chosen input's bounds and `upper_o`.
#[inline(always)]
pub fn back_max_pool<T: Scalar, const LEVEL: u8>(
    params: &BackMaxPool,
    state: &[T],
    marks: &[u32],
    block: &mut Block<T>,
) {
    let (n_out, n_in, width) = (params.n_out as usize, params.n_in as usize, block.width);
    let upper = &state[params.bounds as usize + n_out..][..n_out];
    let source = &state[params.source as usize..][..2 * n_in];
    let choices = &marks[params.choice as usize..][..n_out];
    let gamma = T::of(f64::from(params.gamma));
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    let reached = &mut block.live[params.to as usize];
    reached.clear();
    reached.extend(live.iter().map(|&o| choices[o as usize] & !DOMINATES));
    reached.sort_unstable();
    reached.dedup();
    for &i in reached.iter() {
        to[i as usize * width..][..width].fill(T::ZERO);
    }
    for vector in (0..width).step_by(LANES) {
        let mut totals = [[T::ZERO; LANES]; 2];
        for chunk in live.chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; LANES]; 2];
            for &o in chunk {
                let o = o as usize;
                let (choice, dominates) = ((choices[o] & !DOMINATES) as usize, choices[o] & DOMINATES != 0);
                let chosen = source[choice].magnitude().larger(source[n_in + choice].magnitude());
                let error = gamma * chosen.larger(upper[o].magnitude());
                let a = lanes(from, o * width + vector);
                let target = lanes_mut(to, choice * width + vector);
                for r in 0..LANES {
                    sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                    if dominates || a[r] >= T::ZERO {
                        target[r] += a[r];
                    } else {
                        sums[0][r] = a[r].mul_add_if::<LEVEL>(upper[o], sums[0][r]);
                    }
                }
            }
            add(&mut totals, &sums);
        }
        block.collect(vector, &totals);
    }
    put_slots(block, (params.from, params.to), slots);
}
