use bytemuck::Pod;

use crate::simd::{Vector, level};

/// A float that an executor computes in.
pub trait Scalar:
    Pod
    + PartialOrd
    + Send
    + Sync
    + std::fmt::Debug
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
{
    /// Sixteen of them under AVX2.
    type Avx2: Vector<Self>;
    /// Sixteen of them under AVX-512.
    type Avx512: Vector<Self>;
    /// AVX-512 registers that sixteen take.
    const REGISTERS: usize;
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Slopes below this are zero.
    const LEAST_SLOPE: Self;
    /// The unit roundoff of round-to-nearest.
    const UNIT: Self;
    /// The nearest value.
    fn of(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// `self * a + b`, fused where the instruction set (see [`level`]) does so.
    fn mul_add_if<const LEVEL: u8>(self, a: Self, b: Self) -> Self;
    /// Magnitude.
    fn magnitude(self) -> Self;
    /// Square root.
    fn root(self) -> Self;
    /// The larger of two (neither is NaN).
    fn larger(self, other: Self) -> Self;
    /// The smaller of two (neither is NaN).
    fn smaller(self, other: Self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// The nearest value that is not above `value`.
    fn below(value: f64) -> Self;
    /// The nearest value that is not below `value`.
    fn above(value: f64) -> Self;
}

macro_rules! scalar {
    ($float:ty, $least:expr, $unit:expr, $avx2:ty, $avx512:ty, $registers:expr) => {
        impl Scalar for $float {
            type Avx2 = $avx2;
            type Avx512 = $avx512;
            const REGISTERS: usize = $registers;
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LEAST_SLOPE: Self = $least;
            const UNIT: Self = $unit;
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn mul_add_if<const LEVEL: u8>(self, a: Self, b: Self) -> Self {
                if LEVEL >= level::FUSED { self.mul_add(a, b) } else { self * a + b }
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn root(self) -> Self {
                self.sqrt()
            }
            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                if self > other { self } else { other }
            }
            #[inline(always)]
            fn smaller(self, other: Self) -> Self {
                if self < other { self } else { other }
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$float>::is_finite(self)
            }
            fn below(value: f64) -> Self {
                let nearest = value as Self;
                if f64::from(nearest) > value { nearest.next_down() } else { nearest }
            }
            fn above(value: f64) -> Self {
                let nearest = value as Self;
                if f64::from(nearest) < value { nearest.next_up() } else { nearest }
            }
        }
    };
}
#[cfg(target_arch = "x86_64")]
mod vectors {
    pub use crate::simd::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};
}
#[cfg(not(target_arch = "x86_64"))]
mod vectors {
    use crate::simd::{Plain, level};
    pub type Avx2F32 = Plain<f32, { level::FUSED }>;
    pub type Avx2F64 = Plain<f64, { level::FUSED }>;
    pub type Avx512F32 = Avx2F32;
    pub type Avx512F64 = Avx2F64;
}
// 2⁻¹⁰⁰, and the units of f32 and f64.
scalar!(f32, 7.888_609e-31, 5.960_464_5e-8, vectors::Avx2F32, vectors::Avx512F32, 1);
scalar!(f64, 7.888_609_052_210_118e-31, 1.110_223_024_625_156_5e-16, vectors::Avx2F64, vectors::Avx512F64, 2);
