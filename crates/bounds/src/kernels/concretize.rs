use crate::kernels::rows::{Block, LANES, add, lanes, lanes_mut};
use crate::program::Concretize;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Ends a pass at the input box: leaves in `block.bias` the sound lower bounds and in `block.slack` the slack inside them.
///
/// `lower = Σ min(A_i l_i, A_i u_i) + bias − inflation · (slack + γ Σ |A_i| max(|l_i|, |u_i|))`. Rows may come out infinite or
/// NaN only if the program's magnitudes were not checked; whoever reads them compares so that NaN proves nothing.
#[inline(always)]
pub fn concretize<T: Scalar, const LEVEL: u8>(params: &Concretize, state: &[T], block: &mut Block<T>) {
    let (n, width) = (params.n as usize, block.width);
    let (lower, upper) = (&state[..n], &state[n..2 * n]);
    let slot = &block.slots[params.slot as usize][..n * width];
    let gamma = T::of(f64::from(params.gamma));
    let inflation = T::of(f64::from(params.inflation));
    for vector in (0..width).step_by(LANES) {
        let mut totals = [[T::ZERO; LANES]; 2];
        for chunk in block.live[params.slot as usize].chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; LANES]; 2];
            for &i in chunk {
                let i = i as usize;
                let (l, u) = (lower[i], upper[i]);
                let high = l.magnitude().larger(u.magnitude());
                let a = lanes(slot, i * width + vector);
                for r in 0..LANES {
                    let (positive, negative) = (a[r].larger(T::ZERO), a[r].smaller(T::ZERO));
                    sums[0][r] = positive.mul_add_if::<LEVEL>(l, negative.mul_add_if::<LEVEL>(u, sums[0][r]));
                    sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(high, sums[1][r]);
                }
            }
            add(&mut totals, &sums);
        }
        let [value, norm] = totals;
        let bias = lanes_mut(&mut block.bias, vector);
        let slack = lanes_mut(&mut block.slack, vector);
        for r in 0..LANES {
            slack[r] = inflation * (slack[r] + gamma * norm[r]);
            bias[r] = (value[r] + bias[r]) - slack[r];
        }
    }
}
