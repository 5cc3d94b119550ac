use crate::kernels::rows::{Block, LANES, lanes, lanes_mut};
use crate::program::AffineTerms;
use crate::scalar::Scalar;

/// Collects an affine node's constants: `bias += Σ A_k b_k`, `slack += Σ |A_k| error_k`.
#[inline(always)]
pub fn affine_terms<T: Scalar, const FMA: bool>(
    params: &AffineTerms,
    constants: &[T],
    state: &[T],
    block: &mut Block<T>,
) {
    let (n, width) = (params.n as usize, block.width);
    let biases = &constants[params.bias as usize..][..n];
    let errors = &state[params.error as usize..][..n];
    let slot = &block.slots[params.slot as usize][..n * width];
    for vector in (0..width).step_by(LANES) {
        let mut bias = [T::ZERO; LANES];
        let mut slack = [T::ZERO; LANES];
        for &k in &block.live[params.slot as usize] {
            let a = lanes(slot, k as usize * width + vector);
            let (b, error) = (biases[k as usize], errors[k as usize]);
            for r in 0..LANES {
                bias[r] = a[r].mul_add_if::<FMA>(b, bias[r]);
                slack[r] = a[r].magnitude().mul_add_if::<FMA>(error, slack[r]);
            }
        }
        let totals = (lanes_mut(&mut block.bias, vector), lanes_mut(&mut block.slack, vector));
        for r in 0..LANES {
            totals.0[r] += bias[r];
            totals.1[r] += slack[r];
        }
    }
}
