//! Linear lower bounds as functions, not as numbers: optimised for what they decide at sample points instead of for their minimum.
//!
//! Source: Kotha et al. 2023 and Zhang et al. 2024 (preimage approximation) for the idea of weighing samples; the gradient is that
//! of `sweep`: for any function of the values `g(x_s) = A x_s + b` it needs one forward sweep per row, from the samples' weighted mean.

use crate::device::host::ascent::{Ascent, LaneBlock, Shared, Split, Start};
use crate::device::isa::Vectorised;
use crate::kernels::{LANES, Row, Update};
use crate::logistic::Logistic;
use crate::program::ActivationKind;
use crate::scalar::Scalar;

/// Sample points that linear functions are optimised for.
#[derive(Debug, Clone, Copy)]
pub struct Cloud<'a, T> {
    /// Coordinates, `[n_inputs, n_points]`; `n_points` is a multiple of 16.
    pub points: &'a [T],
    /// What each point counts, not negative.
    pub weights: &'a [T],
    /// Whether a point is won where *some* row is positive (an over-approximation excludes it), rather than where *all* are.
    pub is_union: bool,
}

/// Linear lower bounds: for every point of the subdomain, `row ≥ a x + constant − slack`.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes<T> {
    /// Coefficients, `[n_rows, n_inputs]`.
    pub a: Vec<T>,
    /// Constant terms.
    pub constant: Vec<T>,
    /// What rounding may have cost each, not yet inside.
    pub slack: Vec<T>,
    /// The best lower bound of each row over the whole box, slack inside.
    pub bound: Vec<T>,
    /// The weight of the points that are won.
    pub won: T,
    /// Whether the splits contradict the scope: no point is in the subdomain.
    pub is_empty: bool,
    /// The last `α` of each row, as in [`Start`].
    pub alpha: Vec<Box<[u8]>>,
    /// The last multipliers of each row, in the order of its splits.
    pub beta: Vec<Box<[f32]>>,
    /// Per activation and entry, what its relaxation costs at the weighted mean of the samples, all rows together: node, neuron, cost.
    pub gaps: Vec<(u32, u32, f32)>,
}

/// From soft to hard: temperatures, in units of the mean distance of the samples from the boundary.
const WARM: f64 = 0.7;
const COLD: f64 = 0.07;

/// Where a copy of the rows starts its slopes, besides what it was given.
const VARIANTS: usize = 4;

impl<T: Logistic> LaneBlock<T> {
    /// Optimises `n_copies` copies of rows for a cloud and returns the best copy's functions, or, where some row suffices, all.
    ///
    /// `starts` has one entry for each row. Copies differ in the slopes that they start from.
    pub fn ascend_planes(
        &mut self,
        shared: &Shared<T>,
        rows: &[Row],
        starts: &[Start],
        (ascent, n_copies): (&Ascent, usize),
        cloud: &Cloud<T>,
    ) -> Planes<T> {
        let n_rows = rows.len();
        let (copied, starts): (Vec<Row>, Vec<Start>) =
            (0..n_copies).flat_map(|_| rows.iter().copied().zip(starts.iter().copied())).unzip();
        let n_lanes = copied.len();
        let width = n_lanes.next_multiple_of(LANES);
        self.set_lines(shared, n_lanes, width, &starts);
        self.vary(shared, n_rows, n_lanes, width);
        let n = shared.program.n_inputs;
        let per_group = if cloud.is_union { n_lanes } else { n_rows };
        let n_groups = n_lanes / per_group;
        let mut best = Planes::nothing(per_group);
        best.is_empty = self.is_empty.iter().any(|&is_empty| is_empty);
        if best.is_empty {
            return best;
        }
        self.is_resting.clear();
        self.is_resting.resize(n_lanes, false);
        self.place.clear();
        self.place.extend(0..n_lanes);
        let mut best_score = (T::of(-1.0), T::of(-1.0));
        let mut bounds = vec![T::of(f64::NEG_INFINITY); n_lanes];
        let mut from = 0;
        let mut weigh = Weights::new(n, n_lanes, width, cloud);
        for step in 0..=ascent.steps {
            self.down(shared, &copied);
            let now = &self.block.bias;
            for (best, &now) in bounds.iter_mut().zip(now) {
                if now.is_finite() && now > *best {
                    *best = now;
                }
            }
            weigh.read(self, shared, n_lanes);
            let progress = step as f64 / ascent.steps.max(1) as f64;
            let temperature = T::of(WARM * (COLD / WARM).powf(progress));
            for group in 0..n_groups {
                let lanes = group * per_group..(group + 1) * per_group;
                let score = self.isa.run(Weigh { of: &mut weigh, cloud, lanes: lanes.clone(), temperature });
                if score > best_score && lanes.clone().all(|lane| weigh.is_finite(lane)) {
                    best_score = score;
                    from = group;
                    best.won = score.0;
                    best.a.clear();
                    best.a.extend_from_slice(&weigh.a[lanes.start * n..lanes.end * n]);
                    best.constant.clear();
                    best.constant.extend_from_slice(&self.constants[lanes.clone()]);
                    best.slack.clear();
                    best.slack.extend_from_slice(&self.block.slack[lanes]);
                }
            }
            if step == ascent.steps {
                break;
            }
            let shrink = ascent.decay.powi(step as i32) * Update::<T>::correction(step + 1, ascent.momentum);
            self.momentum = T::of(ascent.momentum);
            self.set_rates(n_lanes, [ascent.alpha_rate * shrink, ascent.beta_rate * shrink]);
            for lane in 0..n_lanes {
                // A row that decides no sample stays.
                if weigh.totals[lane] <= T::of(1e-20) {
                    self.rates.iter_mut().for_each(|rates| rates[lane] = T::ZERO);
                }
            }
            self.up_from(shared, false, Some(&weigh.means));
        }
        best.bound.copy_from_slice(&bounds[from * per_group..(from + 1) * per_group]);
        self.finish_planes(shared, &starts, (from * per_group, per_group), &weigh.means, &mut best);
        best
    }

    /// Optimises every row by itself for its mean over a cloud, that is for its value at the cloud's mean, and returns the best functions.
    ///
    /// `splits` are those of the subdomain; their multipliers start at zero.
    pub fn ascend_mean(
        &mut self,
        shared: &Shared<T>,
        rows: &[Row],
        splits: &[(Split, f32)],
        ascent: &Ascent,
        mean: &[T],
    ) -> Planes<T> {
        let (n, n_lanes) = (shared.program.n_inputs, rows.len());
        let width = n_lanes.next_multiple_of(LANES);
        let starts = vec![Start { splits, ..Start::default() }; n_lanes];
        self.set_lines(shared, n_lanes, width, &starts);
        let mut best = Planes::nothing(n_lanes);
        best.is_empty = self.is_empty.iter().any(|&is_empty| is_empty);
        best.a.resize(n_lanes * n, T::ZERO);
        best.constant.resize(n_lanes, T::of(f64::NEG_INFINITY));
        best.slack.resize(n_lanes, T::ZERO);
        self.is_resting.clear();
        self.is_resting.resize(n_lanes, false);
        self.place.clear();
        self.place.extend(0..n_lanes);
        let mut scores = vec![T::of(f64::NEG_INFINITY); n_lanes];
        let mut points = vec![T::ZERO; n * width];
        for (i, &x) in mean.iter().enumerate() {
            points[i * width..][..width].fill(x);
        }
        let slot = shared.backward.concretize.slot as usize;
        for step in 0..=ascent.steps {
            self.down(shared, rows);
            for lane in 0..n_lanes {
                let mut value = self.constants[lane] - self.block.slack[lane];
                for &i in &self.block.live[slot] {
                    value += self.block.slots[slot][i as usize * width + lane] * mean[i as usize];
                }
                if value.is_finite() && value > scores[lane] {
                    scores[lane] = value;
                    (best.constant[lane], best.slack[lane]) = (self.constants[lane], self.block.slack[lane]);
                    let a = &mut best.a[lane * n..][..n];
                    a.fill(T::ZERO);
                    for &i in &self.block.live[slot] {
                        a[i as usize] = self.block.slots[slot][i as usize * width + lane];
                    }
                }
                let bound = self.block.bias[lane];
                if bound.is_finite() && bound > best.bound[lane] {
                    best.bound[lane] = bound;
                }
            }
            if step == ascent.steps {
                break;
            }
            let shrink = ascent.decay.powi(step as i32) * Update::<T>::correction(step + 1, ascent.momentum);
            self.momentum = T::of(ascent.momentum);
            self.set_rates(n_lanes, [ascent.alpha_rate * shrink, ascent.beta_rate * shrink]);
            self.up_from(shared, false, Some(&points));
        }
        best
    }

    /// The weights of the first look of one group, for the test of gradients: totals by lane, and the temperature in the rows' units.
    #[cfg(test)]
    pub(super) fn weigh(
        &mut self,
        shared: &Shared<T>,
        n_lanes: usize,
        cloud: &Cloud<T>,
        temperature: f64,
    ) -> (Vec<T>, T) {
        let width = n_lanes.next_multiple_of(LANES);
        let mut weights = Weights::new(shared.program.n_inputs, n_lanes, width, cloud);
        weights.read(self, shared, n_lanes);
        let temperature = T::of(temperature);
        self.isa.run(Weigh { of: &mut weights, cloud, lanes: 0..n_lanes, temperature });
        self.means = weights.means;
        (weights.totals, temperature * weights.spread[0])
    }

    /// Starts copies from slopes of their own: all rows of a copy alike.
    fn vary(&mut self, shared: &Shared<T>, n_rows: usize, n_lanes: usize, width: usize) {
        for (node, relax) in shared.program.activations.iter().enumerate() {
            let Some(relax) = relax.filter(|relax| relax.kind == ActivationKind::Relu as u32) else { continue };
            let n = relax.n as usize;
            let source = &shared.scope.state[relax.source as usize..][..2 * n];
            let lines = &mut self.lines[node];
            for (e, &j) in shared.scope.entries[node].iter().enumerate() {
                let (l, u) = (source[j as usize], source[n + j as usize]);
                if l >= T::ZERO || u <= T::ZERO {
                    continue;
                }
                let own = &mut lines.low[e * width..][..width];
                for (lane, slope) in own.iter_mut().enumerate().take(n_lanes).skip(n_rows) {
                    *slope = match (lane / n_rows - 1) % VARIANTS {
                        0 => u / (u - l),
                        1 => T::ZERO,
                        2 => T::ONE,
                        _ => T::of(((e * 7 + lane * 3) % 8) as f64 / 7.0),
                    };
                }
            }
            // What a split has decided stays decided.
            for split in &lines.splits {
                let slope = if split.sign > T::ZERO { T::ONE } else { T::ZERO };
                lines.low[split.entry as usize * width + split.lane as usize] = slope;
            }
        }
    }

    /// Fills in multipliers, slopes and costs.
    fn finish_planes(
        &mut self,
        shared: &Shared<T>,
        starts: &[Start],
        (first, n_rows): (usize, usize),
        means: &[T],
        best: &mut Planes<T>,
    ) {
        self.rates.iter_mut().for_each(|rates| {
            rates.clear();
            rates.resize(self.block.width, T::ZERO);
        });
        self.up_from(shared, true, Some(means));
        let width = self.block.width;
        for lane in first..first + n_rows {
            best.alpha.push(self.alpha(shared, lane));
            best.beta.push(starts[lane].splits.iter().map(|(split, _)| self.beta(shared, lane, *split)).collect());
        }
        for (node, relax) in shared.program.activations.iter().enumerate() {
            let Some(relax) = relax.filter(|relax| relax.kind == ActivationKind::Relu as u32) else { continue };
            let n = relax.n as usize;
            let source = &shared.scope.state[relax.source as usize..][..2 * n];
            let lines = &self.lines[node];
            if lines.gaps.is_empty() {
                continue;
            }
            for (e, &neuron) in shared.scope.entries[node].iter().enumerate() {
                let is_split = |(split, _): &(Split, f32)| (split.node, split.neuron) == (node as u32, neuron);
                let (l, u) = (source[neuron as usize], source[n + neuron as usize]);
                if l >= T::ZERO || u <= T::ZERO || starts[first].splits.iter().any(is_split) {
                    continue;
                }
                let cost = lines.gaps[e * width..][first..first + n_rows].iter().fold(T::ZERO, |sum, &gap| sum + gap);
                best.gaps.push((node as u32, neuron, cost.to_f64() as f32));
            }
        }
    }
}

impl<T: Scalar> Planes<T> {
    /// Functions that say nothing.
    fn nothing(n_rows: usize) -> Self {
        Self {
            a: Vec::new(),
            constant: Vec::new(),
            slack: Vec::new(),
            bound: vec![T::of(f64::NEG_INFINITY); n_rows],
            won: T::ZERO,
            is_empty: false,
            alpha: Vec::new(),
            beta: Vec::new(),
            gaps: Vec::new(),
        }
    }
}

/// What the samples say of the lanes' functions.
struct Weights<T> {
    n_inputs: usize,
    width: usize,
    /// Coefficients, `[n_lanes, n_inputs]`.
    a: Vec<T>,
    /// Constants with the slack inside, `[n_lanes]`.
    b: Vec<T>,
    /// The samples' weighted mean for each lane, `[n_inputs, width]`.
    means: Vec<T>,
    /// The weight of all samples for each lane.
    totals: Vec<T>,
    /// Values of a group at 16 points, `[n_lanes]`.
    values: Vec<[T; LANES]>,
    /// Last mean distance from the boundary, by the group's first lane.
    spread: Vec<T>,
}

impl<T: Scalar> Weights<T> {
    fn new(n_inputs: usize, n_lanes: usize, width: usize, cloud: &Cloud<T>) -> Self {
        debug_assert_eq!(cloud.points.len(), n_inputs * cloud.weights.len());
        debug_assert!(cloud.weights.len().is_multiple_of(LANES));
        Self {
            n_inputs,
            width,
            a: vec![T::ZERO; n_lanes * n_inputs],
            b: vec![T::ZERO; n_lanes],
            means: vec![T::ZERO; n_inputs * width],
            totals: vec![T::ZERO; n_lanes],
            values: vec![[T::ZERO; LANES]; n_lanes],
            spread: vec![T::ZERO; n_lanes],
        }
    }

    /// Takes the functions that the last backward sweep found.
    fn read(&mut self, lanes: &LaneBlock<T>, shared: &Shared<T>, n_lanes: usize) {
        let slot = shared.backward.concretize.slot as usize;
        self.a.fill(T::ZERO);
        for &i in &lanes.block.live[slot] {
            let row = &lanes.block.slots[slot][i as usize * self.width..][..n_lanes];
            for (lane, &a) in row.iter().enumerate() {
                self.a[lane * self.n_inputs + i as usize] = a;
            }
        }
        for lane in 0..n_lanes {
            self.b[lane] = lanes.constants[lane] - lanes.block.slack[lane];
        }
    }

    fn is_finite(&self, lane: usize) -> bool {
        self.b[lane].is_finite() && self.a[lane * self.n_inputs..][..self.n_inputs].iter().all(|a| a.is_finite())
    }
}

/// Weighs the samples for one group of lanes; returns what the group wins, hard and soft.
struct Weigh<'a, 'c, T> {
    of: &'a mut Weights<T>,
    cloud: &'a Cloud<'c, T>,
    lanes: std::ops::Range<usize>,
    temperature: T,
}

impl<T: Logistic> Vectorised for Weigh<'_, '_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn run<const LEVEL: u8>(self) -> (T, T) {
        let Self { of, cloud, lanes, temperature } = self;
        let (n, n_points) = (of.n_inputs, cloud.weights.len());
        // A point is won where all functions are positive; or lost where all their negatives are.
        let sign = if cloud.is_union { -T::ONE } else { T::ONE };
        let first_look = of.spread[lanes.start] <= T::ZERO;
        if first_look {
            let (mut sum, mut total) = (T::ZERO, T::LEAST_SLOPE);
            for start in (0..n_points).step_by(LANES) {
                let least = values::<T, LEVEL>(of, cloud, &lanes, start, sign);
                for r in 0..LANES {
                    sum += cloud.weights[start + r] * least[r].magnitude();
                    total += cloud.weights[start + r];
                }
            }
            of.spread[lanes.start] = sum / total + T::of(1e-12);
        }
        let inverse = T::ONE / (temperature * of.spread[lanes.start]);
        for lane in lanes.clone() {
            of.totals[lane] = T::ZERO;
            for i in 0..n {
                of.means[i * of.width + lane] = T::ZERO;
            }
        }
        let (mut hard, mut soft) = ([T::ZERO; LANES], [T::ZERO; LANES]);
        for start in (0..n_points).step_by(LANES) {
            let least = values::<T, LEVEL>(of, cloud, &lanes, start, sign);
            let weights: &[T; LANES] = (&cloud.weights[start..start + LANES]).try_into().expect("whole vectors");
            let mut sum = [T::ZERO; LANES];
            for lane in lanes.clone() {
                let value = &mut of.values[lane];
                for r in 0..LANES {
                    value[r] = exponential(-(sign * value[r] * inverse));
                    sum[r] += value[r];
                }
            }
            // With `q = Σ exp(−g_k / T)` the soft minimum is `−T ln q`, and its sigmoid `1 / (1 + q)`.
            let mut slope = [T::ZERO; LANES];
            for r in 0..LANES {
                let inside = T::ONE / (T::ONE + sum[r]);
                slope[r] = weights[r] * inside * inside;
                soft[r] += weights[r] * if cloud.is_union { T::ONE - inside } else { inside };
                let is_inside = least[r] >= T::ZERO;
                hard[r] += if is_inside == cloud.is_union { T::ZERO } else { weights[r] };
            }
            for lane in lanes.clone() {
                let value = &of.values[lane];
                let mut share = [T::ZERO; LANES];
                for r in 0..LANES {
                    share[r] = slope[r] * value[r];
                }
                of.totals[lane] += total(&share);
                for i in 0..n {
                    let x: &[T; LANES] =
                        (&cloud.points[i * n_points + start..][..LANES]).try_into().expect("whole vectors");
                    let mut moment = [T::ZERO; LANES];
                    for r in 0..LANES {
                        moment[r] = share[r] * x[r];
                    }
                    of.means[i * of.width + lane] += total(&moment);
                }
            }
        }
        for lane in lanes {
            let scale = T::ONE / (of.totals[lane] + T::of(1e-30));
            for i in 0..n {
                of.means[i * of.width + lane] = of.means[i * of.width + lane] * scale;
            }
        }
        (total(&hard), total(&soft))
    }
}

/// Fills in the values of a group at 16 points, and returns the least of each (after `sign`).
#[inline(always)]
fn values<T: Logistic, const LEVEL: u8>(
    weigh: &mut Weights<T>,
    cloud: &Cloud<T>,
    lanes: &std::ops::Range<usize>,
    start: usize,
    sign: T,
) -> [T; LANES] {
    let (n, n_points) = (weigh.n_inputs, cloud.weights.len());
    let mut least = [T::of(1e30); LANES];
    for lane in lanes.clone() {
        let mut value = [weigh.b[lane]; LANES];
        for i in 0..n {
            let a = weigh.a[lane * n + i];
            let x: &[T; LANES] = (&cloud.points[i * n_points + start..][..LANES]).try_into().expect("whole vectors");
            for r in 0..LANES {
                value[r] = a.mul_add_if::<LEVEL>(x[r], value[r]);
            }
        }
        for r in 0..LANES {
            least[r] = least[r].smaller(sign * value[r]);
        }
        weigh.values[lane] = value;
    }
    least
}

#[inline(always)]
fn total<T: Scalar>(values: &[T; LANES]) -> T {
    let mut sum = T::ZERO;
    for &value in values {
        sum += value;
    }
    sum
}

/// About `exp(x)` for `x` clamped to ±30, by repeated squaring: `(1 + y + y²/2 + y³/6 + y⁴/24)^256` with `y = x / 256`.
#[inline(always)]
fn exponential<T: Scalar>(x: T) -> T {
    let y = x.larger(T::of(-30.0)).smaller(T::of(30.0)) * T::of(1.0 / 256.0);
    let mut power =
        T::ONE + y * (T::ONE + y * T::of(0.5) * (T::ONE + y * T::of(1.0 / 3.0) * (T::ONE + y * T::of(0.25))));
    for _ in 0..8 {
        power = power * power;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::exponential;

    #[test]
    fn the_exponential_is_close() {
        for k in -300..=300 {
            let x = f64::from(k) / 10.0;
            assert!((exponential(x) / x.exp() - 1.0).abs() < 1e-4, "{x}");
            assert!((f64::from(exponential(x as f32)) / x.exp() - 1.0).abs() < 1e-3, "{x}");
        }
    }
}
