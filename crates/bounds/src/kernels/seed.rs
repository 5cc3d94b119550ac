use crate::kernels::rows::{Block, Row};
use crate::program::Seed;
use crate::scalar::Scalar;

/// Writes the first coefficients of `rows`: a unit vector on the target, or the row of a dense target on its operand.
#[inline(always)]
pub fn seed<T: Scalar>(params: &Seed, constants: &[T], state: &[T], rows: &[Row], block: &mut Block<T>) {
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
    live.extend(0..n as u32);
    let weight = &constants[params.weight as usize..][..params.target_len as usize * n];
    let gamma = T::of(f64::from(params.gamma_bias));
    if rows.len() < width {
        slot.fill(T::ZERO);
    }
    for (r, row) in rows.iter().enumerate() {
        let j = row.neuron as usize;
        let line = &weight[j * n..][..n];
        if row.is_upper {
            line.iter().enumerate().for_each(|(i, &w)| slot[i * width + r] = -w);
        } else {
            line.iter().enumerate().for_each(|(i, &w)| slot[i * width + r] = w);
        }
        let bias = constants[params.bias as usize + j];
        block.bias[r] = sign(row) * bias;
        let error = if params.is_inexact == 0 { T::ZERO } else { state[params.error as usize + j] };
        block.slack[r] = underflow + gamma * bias.magnitude() + error;
    }
}
