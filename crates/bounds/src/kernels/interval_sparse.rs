use crate::kernels::interval_dense::{Operand, accumulate, store};
use crate::kernels::terms::Fold;
use crate::program::IntervalAffine;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// Interval bounds through a sparse matrix, by rows.
#[inline(always)]
pub fn interval_sparse<T: Scalar, const LEVEL: u8>(
    params: &IntervalAffine,
    constants: &[T],
    tables: &[u32],
    state: &mut [T],
    operand: &mut Operand<T>,
    fold: &mut Fold<T>,
) {
    let (n_out, n_in) = (params.n_out as usize, params.n_in as usize);
    operand.read(state, params.source as usize, n_in, fold.operands);
    fold.reset(n_out, true);
    operand.places.clear();
    operand.places.resize(n_in, u32::MAX);
    for (place, &i) in operand.neurons.iter().enumerate() {
        operand.places[i as usize] = place as u32;
    }
    let offsets = &tables[params.rows as usize..][..=n_out];
    let columns = &tables[params.rows as usize + 1 + n_out..];
    let values = &constants[params.weight as usize..];
    for k in 0..n_out {
        // Of fixed operands, and of the others.
        let mut totals = [[T::ZERO; 3]; 2];
        let mut has_fixed = false;
        let entries = offsets[k] as usize..offsets[k + 1] as usize;
        for start in entries.clone().step_by(SUM_BLOCK) {
            let mut sums = [[[T::ZERO; 1]; 3]; 2];
            for e in start..entries.end.min(start + SUM_BLOCK) {
                let place = operand.places[columns[e] as usize];
                if place != u32::MAX {
                    let which = usize::from(place as usize >= operand.n_fixed);
                    fold.neurons[k] &= which == 0;
                    has_fixed |= which == 0;
                    accumulate::<T, LEVEL, 1>(&mut sums[which], &[values[e]], &operand.values[place as usize]);
                }
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum[0]);
            }
        }
        let [fixed, others] = totals;
        let all = [fixed[0] + others[0], fixed[1] + others[1], fixed[2] + others[2]];
        store(params, constants, (state, fold), k, (all, has_fixed.then_some(fixed)), operand.norm);
    }
}
