//! Which vector instructions the processor has, found once; every twin is compiled for each.

use std::sync::OnceLock;

use crate::simd::level;

/// A piece of work that is compiled once per instruction set.
pub trait Vectorised {
    /// What it returns.
    type Output;

    /// Does the work; must be `#[inline(always)]`, so that it takes on its caller's instruction set.
    fn run<const LEVEL: u8>(self) -> Self::Output;
}

/// An instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// What every processor of the target has.
    Baseline,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 (F, VL, DQ).
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The best that this processor has.
    pub fn detect() -> Self {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("fma")
                {
                    return Self::Avx512;
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    return Self::Avx2;
                }
            }
            Self::Baseline
        })
    }

    /// Runs `work` with these instructions.
    #[inline]
    pub fn run<W: Vectorised>(self, work: W) -> W::Output {
        match self {
            // 64-bit Arm always fuses; elsewhere the baseline would call a library for it.
            Self::Baseline => {
                work.run::<{ if cfg!(target_arch = "aarch64") { level::FUSED } else { level::BASELINE } }>()
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` is the only source of these variants outside tests, and checked the features.
            Self::Avx2 => unsafe { avx2(work) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 => unsafe { avx512(work) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<W: Vectorised>(work: W) -> W::Output {
    work.run::<{ level::AVX2 }>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,fma")]
unsafe fn avx512<W: Vectorised>(work: W) -> W::Output {
    work.run::<{ level::AVX512 }>()
}
