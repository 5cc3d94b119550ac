//! The constants of the running error term: what rounding may cost, for every order of summation.
//!
//! Source: Higham 2002, chapters 3 and 4, for `γ`; the index bookkeeping is ours and is spelled out where each constant is used.

/// How an executor rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arithmetic {
    /// Largest relative error of one addition, subtraction or multiplication.
    pub unit: f64,
    /// Smallest normal magnitude: a result below it may be flushed to zero.
    pub smallest_normal: f64,
    /// No intermediate magnitude may reach this; beyond it overflow is possible.
    pub magnitude_limit: f64,
    /// Whether long sums are added up in blocks of `SUM_BLOCK` terms whose totals are then added: true only where the order of
    /// additions is ours to choose.
    pub has_blocked_sums: bool,
}

/// Terms that the host's kernels add up before they start another partial sum.
pub const SUM_BLOCK: usize = 64;

impl Arithmetic {
    /// f32 on a device that may round either way and flush subnormals (all that WGSL promises).
    pub const DEVICE_F32: Self = Self {
        unit: 1.192_092_895_507_812_5e-7,
        smallest_normal: f32::MIN_POSITIVE as f64,
        magnitude_limit: 1.329e36,
        has_blocked_sums: false,
    };
    /// f32 on a processor that rounds to nearest.
    pub const HOST_F32: Self = Self { unit: 5.960_464_477_539_063e-8, has_blocked_sums: true, ..Self::DEVICE_F32 };
    /// f64 on a processor that rounds to nearest.
    pub const HOST_F64: Self = Self {
        unit: 1.110_223_024_625_156_5e-16,
        smallest_normal: f64::MIN_POSITIVE,
        magnitude_limit: 1e300,
        has_blocked_sums: true,
    };

    /// `γ_n = n u / (1 − n u)`, the relative error of a sum of `n` rounded terms in any order, rounded up to an f32.
    ///
    /// Infinite when `n u ≥ 1/4`: a bound that long has no accuracy left, and an infinite slack fails closed.
    pub fn gamma(&self, n: usize) -> f32 {
        let nu = n as f64 * self.unit;
        if nu >= 0.25 { f32::INFINITY } else { round_up(nu / (1.0 - nu)) }
    }

    /// Most roundings that a term of a sum of `n` meets: `n`, or the length of a block and the number of blocks.
    pub fn depth(&self, n: usize) -> usize {
        if self.has_blocked_sums && n > SUM_BLOCK { SUM_BLOCK + n.div_ceil(SUM_BLOCK) } else { n }
    }

    /// Twice the unit, rounded up to an f32.
    pub fn two_units(&self) -> f32 {
        round_up(2.0 * self.unit)
    }
}

/// The smallest f32 that is certainly above a computed non-negative f64 (with room for that value's own rounding).
pub fn round_up(value: f64) -> f32 {
    let value = value * (1.0 + 1e-12);
    let nearest = value as f32;
    if f64::from(nearest) < value { nearest.next_up() } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_of_one_is_just_above_the_unit() {
        let gamma = f64::from(Arithmetic::HOST_F32.gamma(1));
        let unit = Arithmetic::HOST_F32.unit;
        assert!(gamma > unit && gamma < unit * 1.000_001);
    }

    #[test]
    fn gamma_fails_closed_when_nothing_is_left() {
        assert_eq!(Arithmetic::DEVICE_F32.gamma(1 << 22), f32::INFINITY);
    }
}
