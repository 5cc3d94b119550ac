use crate::program::IntervalAdd;
use crate::scalar::Scalar;

/// Interval bounds of a sum of operands, `γ Σ max(|l|, |u|)` outward.
#[inline(always)]
pub fn interval_add<T: Scalar>(params: &IntervalAdd, tables: &[u32], state: &mut [T]) {
    let n = params.n as usize;
    let operands = &tables[params.operands as usize..][..params.n_operands as usize];
    let (gamma, underflow) = (T::of(f64::from(params.gamma)), T::of(f64::from(params.underflow)));
    for i in 0..n {
        let (mut l, mut u, mut high) = (T::ZERO, T::ZERO, T::ZERO);
        for &operand in operands {
            let (a, b) = (state[operand as usize + i], state[operand as usize + n + i]);
            l += a;
            u += b;
            high += a.magnitude().larger(b.magnitude());
        }
        let slack = gamma * high + underflow;
        state[params.target as usize + i] = l - slack;
        state[params.target as usize + n + i] = u + slack;
    }
}
