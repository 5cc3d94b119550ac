use std::hint::black_box;
use std::time::Instant;

use crate::device::isa::Isa;

/// Measures how many f32 operations per second the host's thread pool reaches at best.
///
/// Every thread runs multiply-adds that touch registers alone, in enough independent chains to hide their latency; the best of
/// some rounds counts, each as fast as its slowest thread. What a kernel reaches is a fraction of this.
pub fn host_peak_flop_per_s() -> f64 {
    /// Some milliseconds: long enough for clocks to settle.
    const STEPS: u32 = 1 << 20;
    /// Rounds; the best one counts.
    const ROUNDS: usize = 8;
    let one_thread = || {
        let start = Instant::now();
        let flop = f64::from(STEPS) * multiply_adds(Isa::detect(), STEPS);
        (flop, start.elapsed().as_secs_f64())
    };
    let round = || {
        let threads = rayon::broadcast(|_| one_thread());
        let flop: f64 = threads.iter().map(|(flop, _)| flop).sum();
        flop / threads.iter().fold(0.0, |slowest: f64, (_, time)| slowest.max(*time))
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

/// Independent chains: latency (at most 5 cycles) times multiply-adds per cycle (at most 2), and a few more.
const CHAINS: usize = 12;

/// The factor and the addend of every chain, hidden from the compiler; values stay near one.
fn constants() -> (f32, f32) {
    (black_box(0.999), black_box(0.001))
}

/// Runs `CHAINS` chains `x ← x a + b` for so many steps; returns the operations of one step, two for each multiply-add.
fn multiply_adds(isa: Isa, steps: u32) -> f64 {
    match isa {
        Isa::Baseline => baseline(steps),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` checked the features.
        Isa::Avx2 => unsafe { avx2(steps) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx512 => unsafe { avx512(steps) },
    }
}

/// What every processor of the target has: vectors of four.
fn baseline(steps: u32) -> f64 {
    let (a, b) = constants();
    let mut chains = [[a; 4]; CHAINS];
    for _ in 0..steps {
        for chain in &mut chains {
            for x in chain {
                // As in the kernels: 64-bit Arm always fuses.
                *x = if cfg!(target_arch = "aarch64") { x.mul_add(a, b) } else { *x * a + b };
            }
        }
    }
    black_box(chains);
    2.0 * (4 * CHAINS) as f64
}

// In intrinsics: whether the compiler keeps arrays of vectors in registers depends on their number.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(steps: u32) -> f64 {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps};
    let (a, b) = constants();
    let (a, b) = (_mm256_set1_ps(a), _mm256_set1_ps(b));
    let mut chains = [a; CHAINS];
    for _ in 0..steps {
        for x in &mut chains {
            *x = _mm256_fmadd_ps(*x, a, b);
        }
    }
    black_box(chains);
    2.0 * (8 * CHAINS) as f64
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(steps: u32) -> f64 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_set1_ps};
    let (a, b) = constants();
    let (a, b) = (_mm512_set1_ps(a), _mm512_set1_ps(b));
    let mut chains = [a; CHAINS];
    for _ in 0..steps {
        for x in &mut chains {
            *x = _mm512_fmadd_ps(*x, a, b);
        }
    }
    black_box(chains);
    2.0 * (16 * CHAINS) as f64
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_that_of_a_processor() {
        let peak = super::host_peak_flop_per_s();
        assert!((1e8..1e15).contains(&peak), "{peak:e}");
    }
}
