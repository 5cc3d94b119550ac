use crate::kernels::back_affine::{Wanted, back_step, put_slots, take_slots};
use crate::kernels::rows::Block;
use crate::program::BackAffine;
use crate::scalar::Scalar;

/// `A_i ← Σ_k A_k W_ki` through a full matrix, for the operand neurons in `wanted` and the live outputs only.
#[inline(always)]
pub fn back_dense<T: Scalar, const LEVEL: u8>(
    params: &BackAffine,
    constants: &[T],
    wanted: Wanted,
    block: &mut Block<T>,
) {
    let n_in = params.n_in;
    let weight = &constants[params.weight as usize..][..(params.n_out * n_in) as usize];
    let width = block.width;
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    back_step::<T, LEVEL, u32>((from, to), width, weight, live, |&k| (k, k * n_in), (wanted, wanted));
    let reached = if live.is_empty() { &[] } else { wanted };
    put_slots(block, (params.from, params.to), slots);
    let live = &mut block.live[params.to as usize];
    live.clear();
    live.extend_from_slice(reached);
}
