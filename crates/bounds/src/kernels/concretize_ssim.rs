use crate::kernels::rows::Block;
use crate::program::{Concretize, SsimBalls};

/// The unit of a device's f32.
const UNIT: f32 = f32::EPSILON;
/// Magnitudes from here on are left alone.
const SMALL: f32 = 1_099_511_627_776.0;

/// The sums of a step.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    over_box: f32,
    box_magnitude: f32,
    deviation: f32,
    square: f32,
    product: f32,
    product_magnitude: f32,
    point: f32,
    clamped: f32,
    free: f32,
    n_free: f32,
}

/// What the minimiser is thought to be: `x = clamp(mean + quotient r0 − (a − offset) reach)`.
#[derive(Debug, Clone, Copy, Default)]
struct Guess {
    mean: f32,
    quotient: f32,
    offset: f32,
    reach: f32,
}

/// What leads from guess to guess.
#[derive(Debug, Clone, Copy)]
struct Memory {
    pace: f32,
    last_move: f32,
    last_offset: f32,
    last_residual: f32,
}

/// One row and where it lives.
struct Row<'a> {
    a: &'a [f32],
    centred: &'a [f32],
    lower: &'a [f32],
    upper: &'a [f32],
}

/// The bound of every row over a set of similar images and the box in `state`, and the slack inside it; none for a row that f32 cannot hold.
///
/// The same formula as on a device, with its error terms: `shaders/back/concretize_ssim.wgsl` has the analysis. The host itself bounds
/// rows over a set in f64 (`concretize_set`); this is what the device is compared with. Bias and slack are those before `concretize`.
pub fn concretize_ssim(
    end: &Concretize,
    set: &SsimBalls,
    constants: &[f32],
    state: &[f32],
    block: &Block<f32>,
    n_rows: usize,
) -> Vec<Option<(f32, f32)>> {
    let n = end.n as usize;
    let centred = &constants[set.centred as usize..][..n];
    let balls: Vec<[f32; 3]> = constants[set.balls as usize..][..3 * set.n_balls as usize]
        .chunks_exact(3)
        .map(|ball| [ball[0], ball[1], ball[2]])
        .collect();
    let bound = |row: usize| {
        let mut a = vec![0.0; n];
        for &i in &block.live[end.slot as usize] {
            a[i as usize] = block.slots[end.slot as usize][i as usize * block.width + row];
        }
        let row_of = Row { a: &a, centred, lower: &state[..n], upper: &state[n..2 * n] };
        row_of.bound(end, set, &balls, (block.bias[row], block.slack[row]))
    };
    (0..n_rows).map(bound).collect()
}

impl Row<'_> {
    fn bound(
        &self,
        end: &Concretize,
        set: &SsimBalls,
        balls: &[[f32; 3]],
        (bias, walked): (f32, f32),
    ) -> Option<(f32, f32)> {
        let n = self.a.len() as f32;
        let high = |i: usize| self.lower[i].abs().max(self.upper[i].abs());
        let magnitude: f32 = self.a.iter().enumerate().map(|(i, a)| a.abs() * high(i)).sum();
        let slack = end.inflation * (walked + end.gamma * magnitude);
        let offset = settled(self.a.iter().sum::<f32>() / n);
        let is_tame = self.a.iter().chain(self.lower).chain(self.upper).chain([&offset]).all(|&value| is_small(value));
        if !is_tame {
            return None;
        }
        let mut guess = Guess { offset, ..Guess::default() };
        let mut memory = Memory { pace: 1.0, last_move: 0.0, last_offset: 0.0, last_residual: 0.0 };
        let mut best: Option<(f32, f32)> = None;
        for step in 0..=set.n_steps {
            let sums = self.step(&guess, step == 0);
            let gamma = set.gamma;
            let spread = root_above(n * (sums.square + 1e-30));
            let shift = n * guess.offset.abs();
            let central = (sums.square - sums.deviation * sums.deviation / n).max(0.0) + 4.0 * gamma * sums.square;
            let norm = root_above((sums.square + 2.0 * gamma * sums.square).min(central) + 1e-30);
            let sum = sums.deviation + n * guess.offset;
            let doubt = set.most_mean * (gamma * spread + 8.0 * UNIT * shift)
                + set.most_quotient * (gamma * sums.product_magnitude + 1e-14 * (spread + shift))
                + gamma * sums.box_magnitude
                + set.underflow;
            let (mut least, mut mean) = (f32::MAX, 0.0);
            for ball in balls {
                let [line, along, across] = [ball[0] * sum, ball[1] * sums.product, ball[2] * norm];
                let value = (line + along - across) - 8.0 * UNIT * (line.abs() + along.abs() + across.abs());
                if value < least {
                    (least, mean) = (value, ball[0]);
                }
            }
            let added = least.abs() + sums.over_box.abs() + bias.abs() + doubt + slack;
            let lost = doubt + 16.0 * UNIT * added + slack;
            let bound = ((least + sums.over_box) + bias) - lost;
            if best.is_none_or(|(best, _)| bound > best) && bound.is_finite() {
                best = Some((bound, lost));
            }
            let mean = mean.clamp(set.from, set.to.max(set.from));
            if step == 0 {
                let (quotient, radius) = ball_at(set, mean);
                let reach = radius / norm;
                let reach = if is_small(reach) && reach > 0.0 { reach } else { 1e-6 };
                guess = Guess { mean, quotient, reach, ..guess };
            } else {
                memory.improve(set, &mut guess, &sums, mean, (n, step));
            }
        }
        best
    }

    fn step(&self, guess: &Guess, is_first: bool) -> Sums {
        let steepness = if is_first { 0.0 } else { 1.0 / guess.reach };
        let mut sums = Sums::default();
        for (i, &a) in self.a.iter().enumerate() {
            let (c, low, high) = (self.centred[i], self.lower[i], self.upper[i]);
            let centre = guess.mean + guess.quotient * c;
            let wanted = centre - (a - guess.offset) * guess.reach;
            let x = wanted.max(low).min(high);
            let is_free = is_first || (wanted >= low && wanted <= high);
            let pulled = settled((centre - x) * steepness + guess.offset);
            let s = if !is_free && is_small(pulled) { pulled } else { a };
            let (rest, away) = (a - s, s - guess.offset);
            sums.over_box += (rest * low).min(rest * high);
            sums.box_magnitude += rest.abs() * low.abs().max(high.abs());
            sums.deviation += away;
            sums.square += away * away;
            sums.product += s * c;
            sums.product_magnitude += s.abs() * c.abs();
            sums.point += x;
            if is_free {
                sums.free += (a - guess.offset) * (a - guess.offset);
                sums.n_free += 1.0;
            } else {
                sums.clamped += (x - centre) * (x - centre);
            }
        }
        sums
    }
}

impl Memory {
    /// Moves the guess towards what a step found, as `set::ssim::State::improve` does.
    fn improve(&mut self, set: &SsimBalls, guess: &mut Guess, sums: &Sums, mean: f32, (n, step): (f32, u32)) {
        let wanted = mean - guess.mean;
        self.pace =
            if wanted * self.last_move < 0.0 { (0.5 * self.pace).max(0.05) } else { (1.2 * self.pace).min(1.0) };
        self.last_move = wanted;
        let next = guess.mean + self.pace * wanted;
        let (quotient, radius) = ball_at(set, next);
        let residual = n * next - sums.point;
        let plain = guess.reach * sums.n_free.max(1.0);
        let turn = guess.offset - self.last_offset;
        let secant = (self.last_residual - residual) / turn;
        let slope = if step > 1 && turn.abs() > 1e-30 && secant > plain { secant.min(30.0 * plain) } else { plain };
        (self.last_offset, self.last_residual) = (guess.offset, residual);
        let offset = settled(guess.offset + residual / slope);
        let left = radius * radius - sums.clamped;
        let reach = if left > 0.0 && sums.free > 0.0 { (left / sums.free).sqrt() } else { 0.7 * guess.reach };
        if is_small(offset) && is_small(reach) && reach > 1e-12 {
            *guess = Guess { mean: next, quotient, offset, reach };
        }
    }
}

/// The ball of a mean, about: quotient and radius.
fn ball_at(set: &SsimBalls, mean: f32) -> (f32, f32) {
    let luminance = (2.0 * mean * set.mean + 1e-4) / (mean * mean + set.mean * set.mean + 1e-4);
    let quotient = (luminance * set.inverse_threshold).max(1.0);
    let square = (quotient - 1.0) * (set.energy * (quotient + 1.0) + set.contrast);
    (quotient, square.max(0.0).sqrt())
}

fn is_small(value: f32) -> bool {
    value.abs() < SMALL
}

/// Without its last bit: on a device that makes it one number for all who read it.
fn settled(value: f32) -> f32 {
    f32::from_bits(value.to_bits() & !1)
}

/// At least the square root, whatever its own error: `(y + x / y) / 2 ≥ √x`.
fn root_above(x: f32) -> f32 {
    let y = x.sqrt().max(1e-18);
    0.5 * (y + x / y) * (1.0 + 16.0 * UNIT)
}
