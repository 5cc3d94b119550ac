use std::hint::black_box;
use std::time::Instant;

use crate::device::isa::{Isa, Vectorised};
use crate::scalar::Scalar;

/// Measures how many f32 operations per second the host's thread pool reaches at best.
///
/// Every thread runs multiply-adds that touch registers alone, in enough independent chains to hide their latency; the best of
/// some rounds counts, each as fast as its slowest thread. What a kernel reaches is a fraction of this.
pub fn host_peak_flop_per_s() -> f64 {
    /// Long enough (a few ms) for clocks to settle, short enough to be run before any measurement.
    const STEPS: u32 = 1 << 20;
    /// Rounds; the best one counts.
    const ROUNDS: usize = 8;
    let isa = Isa::detect();
    let one_thread = || {
        let start = Instant::now();
        let flop = match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => isa.run(MultiplyAdds::<16, 16> { steps: STEPS }),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => isa.run(MultiplyAdds::<12, 8> { steps: STEPS }),
            Isa::Baseline => isa.run(MultiplyAdds::<12, 4> { steps: STEPS }),
        };
        (flop, start.elapsed().as_secs_f64())
    };
    let round = || {
        let threads = rayon::broadcast(|_| one_thread());
        let flop: f64 = threads.iter().map(|(flop, _)| flop).sum();
        flop / threads.iter().fold(0.0, |slowest: f64, (_, time)| slowest.max(*time))
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

/// `CHAINS` independent chains `x ← x a + b`, each a vector of `LANES`.
struct MultiplyAdds<const CHAINS: usize, const LANES: usize> {
    steps: u32,
}

impl<const CHAINS: usize, const LANES: usize> Vectorised for MultiplyAdds<CHAINS, LANES> {
    /// Operations: two for each multiply-add.
    type Output = f64;

    #[inline(always)]
    fn run<const FMA: bool>(self) -> f64 {
        // Hidden from the compiler, so that it cannot compute ahead; the values stay near one.
        let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
        let mut chains: [[f32; LANES]; CHAINS] = std::array::from_fn(|c| [black_box(c as f32); LANES]);
        for _ in 0..self.steps {
            for chain in &mut chains {
                for x in chain {
                    *x = x.mul_add_if::<FMA>(a, b);
                }
            }
        }
        black_box(chains);
        2.0 * f64::from(self.steps) * (CHAINS * LANES) as f64
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_that_of_a_processor() {
        let peak = super::host_peak_flop_per_s();
        assert!((1e8..1e15).contains(&peak), "{peak:e}");
    }
}
