use bytemuck::Pod;

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
    /// `self * a + b`, fused where `FMA` says that the processor does so.
    fn mul_add_if<const FMA: bool>(self, a: Self, b: Self) -> Self;
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
    ($float:ty, $least:expr, $unit:expr) => {
        impl Scalar for $float {
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
            fn mul_add_if<const FMA: bool>(self, a: Self, b: Self) -> Self {
                if FMA { self.mul_add(a, b) } else { self * a + b }
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
// 2⁻¹⁰⁰, and the units of f32 and f64.
scalar!(f32, 7.888_609e-31, 5.960_464_5e-8);
scalar!(f64, 7.888_609_052_210_118e-31, 1.110_223_024_625_156_5e-16);
