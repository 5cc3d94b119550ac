use crate::kernels::interval_dense::{Operand, store};
use crate::program::IntervalAffine;
use crate::scalar::Scalar;

/// Interval bounds through a sparse matrix, by rows.
#[inline(always)]
pub fn interval_sparse<T: Scalar, const FMA: bool>(
    params: &IntervalAffine,
    constants: &[T],
    tables: &[u32],
    state: &mut [T],
    operand: &mut Operand<T>,
) {
    let (n_out, n_in) = (params.n_out as usize, params.n_in as usize);
    operand.read(state, params.source as usize, n_in);
    operand.places.clear();
    operand.places.resize(n_in, u32::MAX);
    for (place, &i) in operand.neurons.iter().enumerate() {
        operand.places[i as usize] = place as u32;
    }
    let offsets = &tables[params.rows as usize..][..=n_out];
    let columns = &tables[params.rows as usize + 1 + n_out..];
    let values = &constants[params.weight as usize..];
    for k in 0..n_out {
        let mut sums = [T::ZERO; 3];
        for e in offsets[k] as usize..offsets[k + 1] as usize {
            let place = operand.places[columns[e] as usize];
            if place != u32::MAX {
                let [centre, radius, magnitude] = operand.values[place as usize];
                let w = values[e];
                sums[0] = w.mul_add_if::<FMA>(centre, sums[0]);
                sums[1] = w.magnitude().mul_add_if::<FMA>(radius, sums[1]);
                sums[2] = w.magnitude().mul_add_if::<FMA>(magnitude, sums[2]);
            }
        }
        store(params, constants, state, k, sums, operand.norm);
    }
}
