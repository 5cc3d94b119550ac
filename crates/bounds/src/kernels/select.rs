use crate::program::Select;
use crate::scalar::Scalar;

/// Lists the neurons whose interval leaves them undecided: a breakpoint lies strictly inside, or, where the function is smooth,
/// the interval is not a point.
#[inline(always)]
pub fn select<T: Scalar>(params: &Select, state: &[T], marks: &mut [u32]) {
    let n = params.n as usize;
    let lower = &state[params.source as usize..][..n];
    let upper = &state[params.source as usize + n..][..n];
    let list = &mut marks[params.list as usize..][..=n];
    let mut count = 0;
    for (i, (&l, &u)) in lower.iter().zip(upper).enumerate() {
        let is_undecided = if params.n_breakpoints == 0 {
            l < u
        } else {
            params.breakpoints[..params.n_breakpoints as usize].iter().any(|&point| {
                let point = T::of(f64::from(point));
                l < point && point < u
            })
        };
        list[1 + count] = i as u32;
        count += usize::from(is_undecided);
    }
    list[0] = count as u32;
}
