//! Vectors of [`LANES`] floats in registers: what the inner loops of products accumulate in.
//!
//! Left to itself the compiler keeps such accumulators in memory, one float at a time.

use crate::kernels::LANES;

/// Instruction sets, as kernels are compiled for them.
pub mod level {
    /// What every processor of the target has.
    pub const BASELINE: u8 = 0;
    /// The same where multiplications and additions fuse.
    pub const FUSED: u8 = 1;
    /// x86-64 with AVX2 and FMA.
    pub const AVX2: u8 = 2;
    /// x86-64 with AVX-512.
    pub const AVX512: u8 = 3;
}

/// [`LANES`] floats.
pub trait Vector<T>: Copy {
    /// Zeros.
    fn zero() -> Self;
    /// Reads.
    fn load(values: &[T; LANES]) -> Self;
    /// Writes.
    fn store(self, values: &mut [T; LANES]);
    /// `self + a · w`, fused where the instruction set can.
    fn add_product(self, a: Self, w: T) -> Self;
    /// `self + other`.
    fn plus(self, other: Self) -> Self;
}

/// For instruction sets that the compiler knows by itself.
#[derive(Debug, Clone, Copy)]
pub struct Plain<T, const LEVEL: u8>([T; LANES]);

impl<T: crate::scalar::Scalar, const LEVEL: u8> Vector<T> for Plain<T, LEVEL> {
    #[inline(always)]
    fn zero() -> Self {
        Self([T::ZERO; LANES])
    }

    #[inline(always)]
    fn load(values: &[T; LANES]) -> Self {
        Self(*values)
    }

    #[inline(always)]
    fn store(self, values: &mut [T; LANES]) {
        *values = self.0;
    }

    #[inline(always)]
    fn add_product(mut self, a: Self, w: T) -> Self {
        for r in 0..LANES {
            self.0[r] = a.0[r].mul_add_if::<LEVEL>(w, self.0[r]);
        }
        self
    }

    #[inline(always)]
    fn plus(mut self, other: Self) -> Self {
        for r in 0..LANES {
            self.0[r] += other.0[r];
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    ($(#[$meta:meta])* $name:ident, $float:ty, $register:ty, $n:literal, $each:literal, $zero:ident, $load:ident, $store:ident, $splat:ident, $fma:ident, $add:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name([$register; $n]);

        // SAFETY of every block below: vectors of an instruction set are used only by kernels that `device::isa` compiled for it,
        // after it found the processor to have it; loads and stores are unaligned and inside arrays of `LANES`.
        impl Vector<$float> for $name {
            #[inline(always)]
            fn zero() -> Self {
                Self([unsafe { $zero() }; $n])
            }

            #[inline(always)]
            fn load(values: &[$float; LANES]) -> Self {
                let mut registers = Self::zero();
                for i in 0..$n {
                    registers.0[i] = unsafe { $load(values.as_ptr().add($each * i)) };
                }
                registers
            }

            #[inline(always)]
            fn store(self, values: &mut [$float; LANES]) {
                for i in 0..$n {
                    unsafe { $store(values.as_mut_ptr().add($each * i), self.0[i]) };
                }
            }

            #[inline(always)]
            fn add_product(mut self, a: Self, w: $float) -> Self {
                let w = unsafe { $splat(w) };
                for i in 0..$n {
                    self.0[i] = unsafe { $fma(a.0[i], w, self.0[i]) };
                }
                self
            }

            #[inline(always)]
            fn plus(mut self, other: Self) -> Self {
                for i in 0..$n {
                    self.0[i] = unsafe { $add(self.0[i], other.0[i]) };
                }
                self
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2F32, Avx2F64, Avx512F32, Avx512F64};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m256d, __m512, __m512d, _mm256_add_pd, _mm256_add_ps, _mm256_fmadd_pd, _mm256_fmadd_ps,
        _mm256_loadu_pd, _mm256_loadu_ps, _mm256_set1_pd, _mm256_set1_ps, _mm256_setzero_pd, _mm256_setzero_ps,
        _mm256_storeu_pd, _mm256_storeu_ps, _mm512_add_pd, _mm512_add_ps, _mm512_fmadd_pd, _mm512_fmadd_ps,
        _mm512_loadu_pd, _mm512_loadu_ps, _mm512_set1_pd, _mm512_set1_ps, _mm512_setzero_pd, _mm512_setzero_ps,
        _mm512_storeu_pd, _mm512_storeu_ps,
    };

    use super::Vector;
    use crate::kernels::LANES;

    vector! {
        /// One register.
        Avx512F32, f32, __m512, 1, 16, _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_add_ps
    }
    vector! {
        /// Two registers.
        Avx512F64, f64, __m512d, 2, 8, _mm512_setzero_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_set1_pd, _mm512_fmadd_pd, _mm512_add_pd
    }
    vector! {
        /// Two registers.
        Avx2F32, f32, __m256, 2, 8, _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_add_ps
    }
    vector! {
        /// Four registers.
        Avx2F64, f64, __m256d, 4, 4, _mm256_setzero_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_set1_pd, _mm256_fmadd_pd, _mm256_add_pd
    }
}
