use crate::kernels::back_affine::{Wanted, put_slots, take_slots};
use crate::kernels::rows::{Block, LANES, lanes};
use crate::program::BackAffine;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// `A_i ← Σ_k A_k W_ki` through a sparse matrix, by the entries of column `i`.
#[inline(always)]
pub fn back_sparse<T: Scalar, const LEVEL: u8>(
    params: &BackAffine,
    constants: &[T],
    tables: &[u32],
    wanted: Wanted,
    block: &mut Block<T>,
) {
    let offsets = &tables[params.columns as usize..][..=params.n_in as usize];
    let rows = &tables[params.columns as usize + 1 + params.n_in as usize..];
    let values = &constants[params.weight as usize..];
    let width = block.width;
    let mut reached = std::mem::take(&mut block.live[params.to as usize]);
    let mut is_live = std::mem::take(&mut block.scratch);
    let mut slots = take_slots(block, params.from, params.to);
    let (from, live, to) = &mut slots;
    // A neuron that is not live holds stale values.
    is_live.clear();
    is_live.resize(params.n_out as usize, 0);
    live.iter().for_each(|&k| is_live[k as usize] = 1);
    reached.clear();
    for &i in wanted {
        let entries = offsets[i as usize] as usize..offsets[i as usize + 1] as usize;
        if entries.clone().all(|e| is_live[rows[e] as usize] == 0) {
            continue;
        }
        reached.push(i);
        for vector in (0..width).step_by(LANES) {
            let mut total = [T::ZERO; LANES];
            for start in entries.clone().step_by(SUM_BLOCK) {
                let mut sum = [T::ZERO; LANES];
                for e in start..entries.end.min(start + SUM_BLOCK) {
                    let k = rows[e] as usize;
                    if is_live[k] != 0 {
                        let a = lanes(from, k * width + vector);
                        for r in 0..LANES {
                            sum[r] = a[r].mul_add_if::<LEVEL>(values[e], sum[r]);
                        }
                    }
                }
                for r in 0..LANES {
                    total[r] += sum[r];
                }
            }
            to[i as usize * width + vector..][..LANES].copy_from_slice(&total);
        }
    }
    put_slots(block, (params.from, params.to), slots);
    block.scratch = is_live;
    block.live[params.to as usize] = reached;
}
