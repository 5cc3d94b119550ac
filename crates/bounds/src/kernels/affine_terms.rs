use crate::kernels::rows::{Block, LANES, add, lanes};
use crate::kernels::terms::Terms;
use crate::program::AffineTerms;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Collects an affine node's constants: `bias += Σ A_k b_k`, `slack += Σ |A_k| error_k`. On a device `b_k` is the bias alone; here it
/// has what fixed operands add.
#[inline(always)]
pub fn affine_terms<T: Scalar, const LEVEL: u8>(params: &AffineTerms, terms: &Terms<T>, block: &mut Block<T>) {
    let (n, width) = (params.n as usize, block.width);
    for vector in (0..width).step_by(LANES) {
        let mut totals = [[T::ZERO; LANES]; 2];
        let slot = &block.slots[params.slot as usize][..n * width];
        for chunk in block.live[params.slot as usize].chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; LANES]; 2];
            for &k in chunk {
                let a = lanes(slot, k as usize * width + vector);
                let (b, error) = (terms.bias[k as usize], terms.error[k as usize]);
                for r in 0..LANES {
                    sums[0][r] = a[r].mul_add_if::<LEVEL>(b, sums[0][r]);
                    sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                }
            }
            add(&mut totals, &sums);
        }
        block.collect(vector, &totals);
    }
}
