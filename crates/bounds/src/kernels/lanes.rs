//! Lines that differ from lane to lane: the state of an optimisation, and the two kernels that use it.

use crate::kernels::relax::{Touching, smooth_line, smooth_slopes};
use crate::kernels::rows::{Block, LANES, add, lanes, lanes_mut};
use crate::logistic::Logistic;
use crate::program::BackLines;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;
use crate::sweep::OnwardLines;

/// The lines of one activation in every lane of a block, and what their optimisation keeps.
///
/// *Entries* are the neurons that the block's node bounds leave undecided (every neuron whose lines are neither zero nor the
/// identity). All other neurons are the same in every lane.
#[derive(Debug, Clone)]
pub struct LaneLines<T> {
    /// Slopes of the lower lines, `[n_entries, width]`: the `α` of a `ReLU`.
    pub low: Vec<T>,
    /// Per entry, where its own upper lines start, or [`SHARED`].
    own: Vec<u32>,
    /// Upper slopes of entries that some lane has split, `[n_own, width]`.
    up: Vec<T>,
    /// Their intercepts.
    up_at: Vec<T>,
    /// Coefficients at the neurons' outputs, as the backward pass met them, `[n_entries, width]`.
    pub kept: Vec<T>,
    /// First and second moments of the gradients.
    pub moments: [Vec<T>; 2],
    /// The splits of all lanes, by entry.
    pub splits: Vec<LaneSplit<T>>,
    /// The probes of all lanes, by entry.
    pub probes: Vec<LaneProbe<T>>,
    /// What rounding the subtraction of the multipliers may cost each lane.
    owed: Vec<T>,
    /// For every entry and lane, how much of the bound its relaxation costs at the minimiser, if asked for.
    pub gaps: Vec<T>,
    /// Sigmoid and tanh only, whose lines all differ by lane: intercepts of the lower lines `[n_entries, width]`, where the lower and
    /// the upper lines touch, and per entry what one backward step may lose per unit of `|A_j|`.
    low_at: Vec<T>,
    touches: [Vec<T>; 2],
    errors: Vec<T>,
    /// Per entry, the slopes that its curve has.
    slopes: Vec<(T, T)>,
    /// Moments of the gradients of the upper slopes.
    up_moments: [Vec<T>; 2],
    /// For a max-pool: whether each output's coefficient was negative, `[n_out, width]`.
    pub is_negative: Vec<bool>,
}

/// A `ReLU` that a split has decided in one lane: `sign · z ≥ 0`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneSplit<T> {
    /// Which lane.
    pub lane: u32,
    /// Which entry of the activation.
    pub entry: u32,
    /// 1 for the side `z ≥ 0`, −1 for `z ≤ 0`.
    pub sign: T,
    /// The multiplier, not negative.
    pub beta: T,
    /// The multiplier's natural unit: about how large coefficients are here.
    scale: T,
    /// First and second moments of the gradient.
    pub moments: [T; 2],
}

/// An operand that one lane bounds where its row is not positive: the lane's pass bounds `r + κ s z_j` from below by some `B`, so that
/// `s z_j ≥ B / κ` wherever `r ≤ 0`.
///
/// Source: INVPROP (arXiv 2302.01404), whose multiplier of the output constraint is `1 / κ`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneProbe<T> {
    /// Which lane.
    pub lane: u32,
    /// Which entry of the activation.
    pub entry: u32,
    /// 1 for the lower end, −1 for the upper.
    pub sign: T,
    /// `κ`, positive.
    pub weight: T,
    /// First and second moments of the gradient of `B / κ`, in units of `κ` and up to a positive factor.
    moments: [T; 2],
}

/// A sigmoid or a hyperbolic tangent, with what its lines need.
#[derive(Debug, Clone, Copy)]
pub struct Smooth<'a, T> {
    /// Whether it is the tangent.
    pub is_tanh: bool,
    /// Bounds of its operand, lower then upper.
    pub bounds: &'a [T],
    /// The logistic function.
    pub table: &'a [T],
    /// `2 u`.
    pub two_units: T,
    /// `γ_{n+P}`.
    pub gamma: T,
}

/// An entry whose upper line is the same in every lane.
const SHARED: u32 = u32::MAX;

/// Adam's memory of the gradient's square.
const SQUARES: f64 = 0.999;

/// Steps of a smooth activation's slopes, as a share of a `ReLU`'s, in units of the slopes that the curve has.
const SMOOTH_STEP: f64 = 0.2;

/// What one optimisation step takes.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a, T> {
    /// Step length of `α` in every lane, with Adam's corrections for its zero start; zero where a lane rests.
    pub alpha_rates: &'a [T],
    /// The same for `β`, in units of the coefficients.
    pub beta_rates: &'a [T],
    /// Adam's memory of the gradient.
    pub momentum: T,
    /// Largest `β`, and largest weight of a probe.
    pub cap: T,
    /// The last bound of every lane.
    pub bounds: &'a [T],
    /// Whether the lower slopes are free (a `ReLU`).
    pub is_relu: bool,
    /// Whether to note the gaps.
    pub wants_gaps: bool,
    /// The activation, if its slopes are free within what its curve has.
    pub smooth: Option<Smooth<'a, T>>,
}

impl<T> Update<'_, T> {
    /// Adam's correction of the step length at step `t` (from 1).
    pub fn correction(t: usize, momentum: f64) -> f64 {
        (1.0 - SQUARES.powi(t as i32)).sqrt() / (1.0 - momentum.powi(t as i32))
    }
}

impl<T: Logistic> LaneLines<T> {
    /// No lines.
    pub const fn new() -> Self {
        Self {
            low: Vec::new(),
            own: Vec::new(),
            up: Vec::new(),
            up_at: Vec::new(),
            kept: Vec::new(),
            moments: [Vec::new(), Vec::new()],
            splits: Vec::new(),
            probes: Vec::new(),
            owed: Vec::new(),
            gaps: Vec::new(),
            low_at: Vec::new(),
            touches: [Vec::new(), Vec::new()],
            errors: Vec::new(),
            slopes: Vec::new(),
            up_moments: [Vec::new(), Vec::new()],
            is_negative: Vec::new(),
        }
    }

    /// Starts from lines that are the same in every lane: `lines` are the five arrays of `n`.
    pub fn reset(&mut self, lines: &[T], entries: &[u32], width: usize) {
        let size = entries.len() * width;
        self.low.clear();
        self.low.reserve(size);
        for &j in entries {
            self.low.resize(self.low.len() + width, lines[j as usize]);
        }
        self.own.clear();
        self.own.resize(entries.len(), SHARED);
        self.up.clear();
        self.up_at.clear();
        self.splits.clear();
        self.probes.clear();
        self.gaps.clear();
        self.low_at.clear();
        self.errors.clear();
        self.slopes.clear();
        self.up_moments.iter_mut().for_each(Vec::clear);
        self.touches.iter_mut().for_each(Vec::clear);
        let [first, second] = &mut self.moments;
        for values in [&mut self.kept, first, second] {
            values.clear();
            values.resize(size, T::ZERO);
        }
    }

    /// Gives every lane lines of its own, at first those of the activation's slopes.
    pub fn free(&mut self, lines: &[T], entries: &[u32], width: usize, smooth: &Smooth<T>) {
        let n = lines.len() / 5;
        for (e, &j) in entries.iter().enumerate() {
            let j = j as usize;
            let (l, u) = (smooth.bounds[j], smooth.bounds[n + j]);
            let line = |is_upper: bool, slope: T| {
                smooth_line((smooth.is_tanh, is_upper), (l, u), slope, smooth.table, smooth.two_units)
            };
            let (low, up) = (line(false, lines[j]), line(true, lines[2 * n + j]));
            self.own[e] = e as u32;
            let end = (e + 1) * width;
            self.low[e * width..end].fill(low.slope);
            self.low_at.resize(end, low.at);
            self.up.resize(end, up.slope);
            self.up_at.resize(end, up.at);
            self.touches[0].resize(end, low.touch);
            self.touches[1].resize(end, up.touch);
            self.up_moments.iter_mut().for_each(|moments| moments.resize(end, T::ZERO));
            // No slope exceeds 1, and no intercept `1 + max(|l|, |u|)` by more than its own rounding.
            let high = l.magnitude().larger(u.magnitude());
            self.slopes.push(smooth_slopes(smooth.is_tanh, (l, u), smooth.table));
            self.errors.push((smooth.two_units + smooth.gamma) * (T::of(2.0) + high + high));
        }
    }

    /// Decides an entry in one lane. Splits of one activation come in any order; [`Self::seal`] sorts them.
    pub fn split(
        &mut self,
        (lines, entries, width): (&[T], &[u32], usize),
        (lane, entry): (usize, usize),
        (sign, beta): (T, T),
    ) {
        if self.own[entry] == SHARED {
            self.own[entry] = (self.up.len() / width) as u32;
            let (j, n) = (entries[entry] as usize, lines.len() / 5);
            self.up.resize(self.up.len() + width, lines[2 * n + j]);
            self.up_at.resize(self.up_at.len() + width, lines[3 * n + j]);
        }
        let own = self.own[entry] as usize * width + lane;
        let slope = if sign > T::ZERO { T::ONE } else { T::ZERO };
        (self.up[own], self.up_at[own], self.low[entry * width + lane]) = (slope, T::ZERO, slope);
        let (lane, entry) = (lane as u32, entry as u32);
        self.splits.push(LaneSplit { lane, entry, sign, beta, scale: T::ZERO, moments: [T::ZERO; 2] });
    }

    /// Bounds an entry's operand in one lane where the lane's row is not positive.
    pub fn probe(&mut self, (lane, entry): (usize, usize), sign: T, weight: T) {
        let (lane, entry) = (lane as u32, entry as u32);
        self.probes.push(LaneProbe { lane, entry, sign, weight, moments: [T::ZERO; 2] });
    }

    /// Ends the setting of splits and probes.
    pub fn seal(&mut self) {
        self.splits.sort_by_key(|split| (split.entry, split.lane));
        self.probes.sort_by_key(|probe| (probe.entry, probe.lane));
    }

    /// Keeps some lanes only, closed up to the left in `new` lanes of width.
    pub fn keep(&mut self, kept: &[usize], old: usize, new: usize) {
        let [low_touch, up_touch] = &mut self.touches;
        let own = [&mut self.low, &mut self.low_at, &mut self.up, &mut self.up_at, low_touch, up_touch];
        for values in own.into_iter().chain([&mut self.kept]) {
            narrow(values, kept, old, new);
        }
        self.moments.iter_mut().chain(&mut self.up_moments).for_each(|values| narrow(values, kept, old, new));
        let moved = |lane: &mut u32| {
            let place = kept.iter().position(|&kept| kept == *lane as usize);
            *lane = place.unwrap_or(0) as u32;
            place.is_some()
        };
        self.splits.retain_mut(|split| moved(&mut split.lane));
        self.probes.retain_mut(|probe| moved(&mut probe.lane));
        narrow(&mut self.is_negative, kept, old, new);
    }
}

/// Moves the columns `kept` of a matrix of `old` columns to the front, and makes it `new` columns wide.
pub fn narrow<T: Copy>(values: &mut Vec<T>, kept: &[usize], old: usize, new: usize) {
    let n = values.len() / old.max(1);
    for row in 0..n {
        for (place, &lane) in kept.iter().enumerate() {
            // Never ahead of what is still to be read.
            values[row * new + place] = values[row * old + lane];
        }
        for place in kept.len()..new {
            values[row * new + place] = values[row * old + kept.last().copied().unwrap_or(0)];
        }
    }
    values.truncate(n * new);
}

/// Replaces an activation's outputs by each lane's lines, keeps the coefficients for the gradient, and adds the splits' multipliers.
///
/// As `back_lines`, with `α` and upper lines by lane; then `A_j −= s_j β_j` and `slack += 2u (|A_j| + β_j) max(|l_j|, |u_j|)` for
/// every split, `bounds` being those of the activation's operand, and `A_j += s κ` with the like slack for every probe.
#[inline(always)]
pub fn back_lanes<T: Scalar, const LEVEL: u8>(
    params: &BackLines,
    state: &[T],
    entries: &[u32],
    (bounds, two_units): (&[T], T),
    own_lines: &mut LaneLines<T>,
    block: &mut Block<T>,
) {
    let (n, width) = (params.n as usize, block.width);
    let lines = &state[params.lines as usize..][..5 * n];
    let slot = &mut block.slots[params.slot as usize][..n * width];
    let live = &mut block.live[params.slot as usize];
    live.retain(|&j| {
        let j = j as usize;
        (0..4).any(|line| lines[line * n + j] != T::ZERO)
    });
    // Entries that are live, or must become so because a multiplier starts there.
    block.scratch.clear();
    let mut added = false;
    let (mut at_live, mut at_split, mut at_probe) = (0, 0, 0);
    for (e, &j) in entries.iter().enumerate() {
        while live.get(at_live).is_some_and(|&k| k < j) {
            at_live += 1;
        }
        let first = at_split;
        while own_lines.splits.get(at_split).is_some_and(|split| split.entry as usize == e) {
            at_split += 1;
        }
        let first_probe = at_probe;
        while own_lines.probes.get(at_probe).is_some_and(|probe| probe.entry as usize == e) {
            at_probe += 1;
        }
        if live.get(at_live) == Some(&j) {
            block.scratch.push(e as u32);
        } else if at_probe > first_probe || own_lines.splits[first..at_split].iter().any(|split| split.beta > T::ZERO) {
            slot[j as usize * width..][..width].fill(T::ZERO);
            block.scratch.push(e as u32);
            live.push(j);
            added = true;
            // Only the sorted part is searched; `j` is past it.
        }
    }
    if added {
        live.sort_unstable();
    }
    for vector in (0..width).step_by(LANES) {
        let mut totals = [[T::ZERO; LANES]; 2];
        for chunk in block.scratch.chunks(SUM_BLOCK) {
            let mut sums = [[T::ZERO; LANES]; 2];
            for &e in chunk {
                let e = e as usize;
                let j = entries[e] as usize;
                let low_at = lines[n + j];
                let error = own_lines.errors.get(e).copied().unwrap_or(lines[4 * n + j]);
                let a = lanes_mut(slot, j * width + vector);
                *lanes_mut(&mut own_lines.kept, e * width + vector) = *a;
                let low = lanes(&own_lines.low, e * width + vector);
                let own = own_lines.own[e];
                if own == SHARED {
                    let (up, up_at) = (lines[2 * n + j], lines[3 * n + j]);
                    for r in 0..LANES {
                        let (positive, negative) = (a[r].larger(T::ZERO), a[r].smaller(T::ZERO));
                        sums[0][r] =
                            positive.mul_add_if::<LEVEL>(low_at, negative.mul_add_if::<LEVEL>(up_at, sums[0][r]));
                        sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                        a[r] = positive * low[r] + negative * up;
                    }
                } else {
                    let up = lanes(&own_lines.up, own as usize * width + vector);
                    let up_at = lanes(&own_lines.up_at, own as usize * width + vector);
                    let low_at = if own_lines.low_at.is_empty() {
                        [low_at; LANES]
                    } else {
                        *lanes(&own_lines.low_at, e * width + vector)
                    };
                    for r in 0..LANES {
                        let (positive, negative) = (a[r].larger(T::ZERO), a[r].smaller(T::ZERO));
                        sums[0][r] =
                            positive.mul_add_if::<LEVEL>(low_at[r], negative.mul_add_if::<LEVEL>(up_at[r], sums[0][r]));
                        sums[1][r] = a[r].magnitude().mul_add_if::<LEVEL>(error, sums[1][r]);
                        a[r] = positive * low[r] + negative * up[r];
                    }
                }
            }
            add(&mut totals, &sums);
        }
        let kept = (lanes_mut(&mut block.bias, vector), lanes_mut(&mut block.slack, vector));
        for r in 0..LANES {
            kept.0[r] += totals[0][r];
            kept.1[r] += totals[1][r];
        }
    }
    let LaneLines { splits, probes, owed, .. } = own_lines;
    let splits = splits.iter().filter(|split| split.beta > T::ZERO).map(|s| (s.lane, s.entry, -s.sign, s.beta));
    let probes = probes.iter().map(|probe| (probe.lane, probe.entry, probe.sign, probe.weight));
    let mut planted = splits.chain(probes).peekable();
    if planted.peek().is_none() {
        return;
    }
    // Summed apart, so that what other steps owe is rounded once here, not once for every split; each term is twice what one
    // subtraction can lose, which pays for the rounding of this sum.
    owed.clear();
    owed.resize(width, T::ZERO);
    for (lane, entry, sign, weight) in planted {
        let (lane, j) = (lane as usize, entries[entry as usize] as usize);
        let high = bounds[j].magnitude().larger(bounds[n + j].magnitude());
        let a = &mut slot[j * width + lane];
        owed[lane] += two_units * (a.magnitude() + weight) * high;
        *a += sign * weight;
    }
    block.slack.iter_mut().zip(owed.iter()).for_each(|(slack, &owed)| *slack += owed);
}

/// Runs the values of an activation through the lines that the backward pass chose, and moves `α` and `β` up the gradient.
///
/// `values` holds one minimiser's values per lane; `alive` are the neurons whose output is not constant zero. A heuristic:
/// rounding does not matter here, since every `α` in `[0, 1]` and every `β ≥ 0` gives a sound bound.
#[inline(always)]
pub fn onward_lines<T: Logistic, const LEVEL: u8>(
    params: &OnwardLines,
    lines: &[T],
    (entries, alive): (&[u32], &[u32]),
    own_lines: &mut LaneLines<T>,
    update: &Update<T>,
    values: &mut Block<T>,
) {
    let (n, width) = (params.n as usize, values.width);
    let (from, to) = (params.from as usize, params.to as usize);
    if from != to {
        let source = std::mem::take(&mut values.slots[from]);
        for &j in alive {
            let at = j as usize * width;
            values.slots[to][at..at + width].copy_from_slice(&source[at..at + width]);
        }
        values.slots[from] = source;
    }
    let slot = &mut values.slots[to][..n * width];
    update_splits(own_lines, entries, slot, width, update);
    update_probes(own_lines, entries, slot, width, update);
    if update.wants_gaps {
        own_lines.gaps.resize(entries.len() * width, T::ZERO);
    }
    let decays = [update.momentum, T::of(SQUARES)];
    let rests = [T::ONE - update.momentum, T::of(1.0 - SQUARES)];
    let tiny = T::LEAST_SLOPE;
    let LaneLines {
        low: lows,
        low_at: lows_at,
        own: owns,
        up: ups,
        up_at: ups_at,
        kept,
        moments: [first, second],
        gaps,
        touches,
        slopes,
        up_moments,
        ..
    } = own_lines;
    for (e, &j) in entries.iter().enumerate() {
        let j = j as usize;
        for vector in (0..width).step_by(LANES) {
            let at = e * width + vector;
            let low_at = if lows_at.is_empty() { [lines[n + j]; LANES] } else { *lanes(lows_at, at) };
            let z = lanes_mut(slot, j * width + vector);
            let a = lanes(kept, at);
            let low = lanes_mut(lows, at);
            let (mut up, mut up_at) = ([lines[2 * n + j]; LANES], [lines[3 * n + j]; LANES]);
            if owns[e] != SHARED {
                up = *lanes(ups, owns[e] as usize * width + vector);
                up_at = *lanes(ups_at, owns[e] as usize * width + vector);
            }
            let mut h = [T::ZERO; LANES];
            for r in 0..LANES {
                let (slope, at) = if a[r] >= T::ZERO { (low[r], low_at[r]) } else { (up[r], up_at[r]) };
                h[r] = slope.mul_add_if::<LEVEL>(z[r], at);
            }
            if update.wants_gaps {
                let gap = lanes_mut(gaps, at);
                for r in 0..LANES {
                    // Where the relaxation happens to be exact, what it might cost elsewhere decides.
                    let width = a[r].magnitude() * (up_at[r] + T::LEAST_SLOPE) + T::LEAST_SLOPE;
                    gap[r] = a[r].magnitude() * (h[r] - z[r].larger(T::ZERO)).magnitude() + width * T::of(1e-3);
                }
            }
            if let Some(smooth) = &update.smooth {
                let rate = lanes(update.alpha_rates, vector);
                let (least, most) = slopes[e];
                let ends = (smooth.bounds[j], smooth.bounds[n + j]);
                for r in 0..LANES {
                    if rate[r] <= T::ZERO {
                        continue;
                    }
                    // An intercept is the support of its slope: its derivative is where the line touches.
                    let is_upper = a[r] < T::ZERO;
                    let gradient = a[r] * (z[r] - touches[usize::from(is_upper)][at + r]);
                    let [ups_first, ups_second] = &mut *up_moments;
                    let (m, v) = if is_upper {
                        (&mut ups_first[at + r], &mut ups_second[at + r])
                    } else {
                        (&mut first[at + r], &mut second[at + r])
                    };
                    *m = decays[0] * *m + rests[0] * gradient;
                    *v = decays[1] * *v + rests[1] * gradient * gradient;
                    let slope = if is_upper { up[r] } else { low[r] };
                    let moved = slope + rate[r] * T::of(SMOOTH_STEP) * (most - least) * *m / (v.root() + tiny);
                    let moved = moved.larger(least).smaller(most);
                    let line = smooth_line((smooth.is_tanh, is_upper), ends, moved, smooth.table, smooth.two_units);
                    let Touching { slope, at: intercept, touch } = line;
                    touches[usize::from(is_upper)][at + r] = touch;
                    if is_upper {
                        (ups[at + r], ups_at[at + r]) = (slope, intercept);
                    } else {
                        (low[r], lows_at[at + r]) = (slope, intercept);
                    }
                }
            }
            if update.is_relu {
                let (m, v) = (lanes_mut(first, at), lanes_mut(second, at));
                let rate = lanes(update.alpha_rates, vector);
                for r in 0..LANES {
                    let gradient = a[r].larger(T::ZERO) * z[r];
                    m[r] = decays[0] * m[r] + rests[0] * gradient;
                    v[r] = decays[1] * v[r] + rests[1] * gradient * gradient;
                    let moved = low[r] + rate[r] * m[r] / (v[r].root() + tiny);
                    let moved = moved.larger(T::ZERO).smaller(T::ONE);
                    let moved = if moved < T::LEAST_SLOPE { T::ZERO } else { moved };
                    low[r] = if rate[r] > T::ZERO { moved } else { low[r] };
                }
            }
            *z = h;
        }
    }
    // What a split has decided stays decided.
    for split in &own_lines.splits {
        let slope = if split.sign > T::ZERO { T::ONE } else { T::ZERO };
        own_lines.low[split.entry as usize * width + split.lane as usize] = slope;
    }
    values.live[to].clear();
    values.live[to].extend_from_slice(alive);
}

/// Moves the multipliers of the splits; reads the values before the lines replace them.
#[inline(always)]
fn update_splits<T: Scalar>(
    own_lines: &mut LaneLines<T>,
    entries: &[u32],
    slot: &[T],
    width: usize,
    update: &Update<T>,
) {
    if own_lines.splits.is_empty() {
        return;
    }
    let n_entries = T::of(entries.len().max(1) as f64);
    for split in &mut own_lines.splits {
        let lane = split.lane as usize;
        let rate = update.beta_rates[lane];
        if rate <= T::ZERO {
            continue;
        }
        if split.scale == T::ZERO {
            let mean = (0..entries.len()).fold(T::ZERO, |sum, e| sum + own_lines.kept[e * width + lane].magnitude())
                / n_entries;
            split.scale = mean.larger(own_lines.kept[split.entry as usize * width + lane].magnitude());
        }
        let gradient = -(split.sign * slot[entries[split.entry as usize] as usize * width + lane]);
        let [m, v] = &mut split.moments;
        *m = update.momentum * *m + (T::ONE - update.momentum) * gradient;
        *v = T::of(SQUARES) * *v + T::of(1.0 - SQUARES) * gradient * gradient;
        let moved = split.beta + rate * split.scale * *m / (v.root() + T::LEAST_SLOPE);
        split.beta = moved.larger(T::ZERO).smaller(update.cap);
    }
}

/// Moves the weights of the probes: with `B = r̂ + κ s ẑ_j` at the relaxed minimiser, `∂(B / κ) / ∂ log κ = −r̂ / κ`.
#[inline(always)]
fn update_probes<T: Scalar>(
    own_lines: &mut LaneLines<T>,
    entries: &[u32],
    slot: &[T],
    width: usize,
    update: &Update<T>,
) {
    for probe in &mut own_lines.probes {
        let lane = probe.lane as usize;
        let rate = update.beta_rates[lane];
        if rate <= T::ZERO {
            continue;
        }
        let z = slot[entries[probe.entry as usize] as usize * width + lane];
        let gradient = probe.weight * probe.sign * z - update.bounds[lane];
        let [m, v] = &mut probe.moments;
        *m = update.momentum * *m + (T::ONE - update.momentum) * gradient;
        *v = T::of(SQUARES) * *v + T::of(1.0 - SQUARES) * gradient * gradient;
        let factor = (rate * *m / (v.root() + T::LEAST_SLOPE)).to_f64().clamp(-1.0, 1.0).exp();
        let moved = T::of(probe.weight.to_f64() * factor);
        // A number that is none stays out: comparisons with it are false.
        if moved >= T::LEAST_SLOPE {
            probe.weight = moved.smaller(update.cap);
        }
    }
}
