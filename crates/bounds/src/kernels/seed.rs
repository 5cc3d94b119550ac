use crate::kernels::rows::{Block, Row};
use crate::kernels::terms::Terms;
use crate::program::Seed;
use crate::scalar::Scalar;

/// Writes the first coefficients of `rows`: a unit vector on the target, or the row of a dense target on its operand.
#[inline(always)]
///
/// Of a dense target only the operands in `wanted` get coefficients; `terms` hold what the others add.
pub fn seed<T: Scalar>(
    params: &Seed,
    constants: &[T],
    (wanted, terms): (&[u32], &Terms<T>),
    rows: &[Row],
    block: &mut Block<T>,
) {
    let (n, width) = (params.n as usize, block.width);
    let slot = &mut block.slots[params.slot as usize][..n * width];
    let live = &mut block.live[params.slot as usize];
    let sign = |row: &Row| if row.is_upper { -T::ONE } else { T::ONE };
    let underflow = T::of(f64::from(params.underflow));
    live.clear();
    if params.kind == 0 {
        // Only the rows' own neurons are live; each of their vectors is cleared before its ones are set.
        live.extend(rows.iter().map(|row| row.neuron));
        live.sort_unstable();
        live.dedup();
        for &j in live.iter() {
            slot[j as usize * width..][..width].fill(T::ZERO);
        }
        for (r, row) in rows.iter().enumerate() {
            slot[row.neuron as usize * width + r] = sign(row);
            block.slack[r] = underflow;
        }
        return;
    }
    live.extend_from_slice(wanted);
    let weight = &constants[params.weight as usize..][..params.target_len as usize * n];
    let gamma = T::of(f64::from(params.gamma_bias));
    if rows.len() < width {
        slot.fill(T::ZERO);
    }
    for (r, row) in rows.iter().enumerate() {
        let j = row.neuron as usize;
        let line = &weight[j * n..][..n];
        if row.is_upper {
            wanted.iter().for_each(|&i| slot[i as usize * width + r] = -line[i as usize]);
        } else {
            wanted.iter().for_each(|&i| slot[i as usize * width + r] = line[i as usize]);
        }
        let bias = terms.bias[j];
        block.bias[r] = sign(row) * bias;
        let is_exact = params.is_inexact == 0 && !terms.is_folded;
        let error = if is_exact { T::ZERO } else { terms.error[j] };
        block.slack[r] = underflow + gamma * bias.magnitude() + error;
    }
}
