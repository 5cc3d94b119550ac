use crate::program::SsimBalls;
use crate::set::slices::{Centred, Slices};
use crate::slack::{Arithmetic, round_up};

/// Steps of the dual that a device takes after the set by itself.
const STEPS: u32 = 7;
/// Most inputs: beyond, f32 sums have no accuracy left.
const MOST_INPUTS: usize = 1 << 16;
/// Largest quotient: squares of what a device sums must not overflow.
const MOST_QUOTIENT: f32 = 1e4;

/// A set of similar images in one window as a device takes it: constants, and the parameters that say where they lie.
///
/// Source: `Slices::balls` for the balls; `shaders/back/concretize_ssim.wgsl` for what is done with them, and its error analysis.
#[derive(Debug, Clone, PartialEq)]
pub struct BallTable {
    /// The reference without its mean, `[n_inputs]`, each value to within `2^-24` of its own and `2e-15`.
    pub centred: Vec<f32>,
    /// Mean, quotient and radius of every ball.
    pub balls: Vec<[f32; 3]>,
    /// The parameters; places are relative to the start of [`Self::constants`].
    pub params: SsimBalls,
}

impl BallTable {
    /// The table of a set; none if a device's f32 cannot hold it.
    pub fn new(centred: &Centred, slices: &Slices) -> Option<Self> {
        let n = centred.values.len();
        let balls = slices.balls();
        let most = |k: usize| balls.iter().fold(0.0_f32, |most, ball| most.max(ball[k].abs()));
        let is_usable = balls.iter().flatten().all(|value| value.is_finite()) && most(1) <= MOST_QUOTIENT;
        if n > MOST_INPUTS || !is_usable {
            return None;
        }
        let gamma = round_up(1.02 * f64::from(Arithmetic::DEVICE_F32.gamma(n + 32)));
        let [from, to] = slices.means();
        let [mean, threshold, energy, contrast] = slices.scalars();
        let params = SsimBalls {
            centred: 0,
            balls: n as u32,
            n_balls: balls.len() as u32,
            n_steps: STEPS,
            gamma,
            most_mean: most(0),
            most_quotient: most(1),
            underflow: 1e-26,
            from: from as f32,
            to: to as f32,
            mean: mean as f32,
            inverse_threshold: (1.0 / threshold) as f32,
            energy: energy as f32,
            contrast: contrast as f32,
            padding: [0; 2],
        };
        Some(Self { centred: centred.values.iter().map(|&value| value as f32).collect(), balls, params })
    }

    /// What a device reads, in the order that the parameters expect.
    pub fn constants(&self) -> impl Iterator<Item = f32> + '_ {
        self.centred.iter().copied().chain(self.balls.iter().flatten().copied())
    }

    /// The parameters, for constants that start at a place.
    pub fn placed_at(&self, place: u32) -> SsimBalls {
        SsimBalls { centred: place + self.params.centred, balls: place + self.params.balls, ..self.params }
    }
}
