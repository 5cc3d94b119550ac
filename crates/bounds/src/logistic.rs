//! The logistic function `σ(z) = 1 / (1 + exp(−z))` by a table, because no device evaluates `exp` with a usable error.

use crate::scalar::Scalar;

/// Entries per unit of `z`: a power of two, so that scaling is exact.
pub const ENTRIES_PER_UNIT: usize = 512;
/// Beyond this `1 − σ(z) < 4e-11`.
pub const RANGE: usize = 24;

/// `σ` at `0, 1/512, …, 24`, rounded to nearest, with one entry more so that the last interval has both ends.
pub fn table<T: Scalar>() -> Vec<T> {
    (0..=ENTRIES_PER_UNIT * RANGE + 1).map(|i| T::of(sigma(i as f64 / ENTRIES_PER_UNIT as f64))).collect()
}

fn sigma(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// A float in which the logistic function is evaluated with a stated absolute error.
pub trait Logistic: Scalar {
    /// Bounds `|logistic(z) − σ(z)|` for every `z`.
    ///
    /// In f32: 3e-8 table + 4.7e-8 interpolation (`h²/8 · max|σ''|`) + two roundings of at most 1.2e-7 + 1.2e-7 for `1 − σ`.
    const LOGISTIC_ERROR: Self;

    /// `σ(z)` up to [`Self::LOGISTIC_ERROR`], by the table in f32 and by the platform's exponential (below 2 ulp) in f64.
    fn logistic(self, table: &[Self]) -> Self;
}

impl Logistic for f32 {
    const LOGISTIC_ERROR: Self = 6e-7;

    #[inline(always)]
    fn logistic(self, table: &[Self]) -> Self {
        let position = (self.abs() * ENTRIES_PER_UNIT as f32).min((ENTRIES_PER_UNIT * RANGE) as f32);
        let index = position as usize;
        let fraction = position - index as f32;
        let value = table[index] + fraction * (table[index + 1] - table[index]);
        if self < 0.0 { 1.0 - value } else { value }
    }
}

impl Logistic for f64 {
    const LOGISTIC_ERROR: Self = 1e-14;

    fn logistic(self, _table: &[Self]) -> Self {
        sigma(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_stays_within_its_stated_error() {
        let table: Vec<f32> = table();
        for i in -700_000..700_000 {
            let z = i as f32 * 5.1e-5;
            let error = (f64::from(z.logistic(&table)) - sigma(f64::from(z))).abs();
            assert!(error < 3.5e-7, "σ({z}) is off by {error:e}");
        }
    }
}
