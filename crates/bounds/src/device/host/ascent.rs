//! Optimising the lines of up to a block of rows: each round is one backward and one forward sweep, all of it in cache.

use std::time::Instant;

use crate::device::host::scope::{Scope, Split};
use crate::device::isa::Isa;
use crate::kernels::{self, Block, LANES, LaneLines, Row, Update};
use crate::logistic::Logistic;
use crate::program::{ActivationKind, Backward, Program};
use crate::sweep::Sweep;

/// How bounds are optimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ascent {
    /// Updates of `α` and `β`; none bounds with what it starts from.
    pub steps: usize,
    /// First step length of `α`.
    pub alpha_rate: f64,
    /// First step length of `β`, in units of the coefficients around it.
    pub beta_rate: f64,
    /// What every step multiplies both by.
    pub decay: f64,
    /// Adam's memory of the gradient. A long one ([`Self::LONG_MEMORY`]) pays where starts are good, a short one where there is far to go
    /// in twenty steps.
    pub momentum: f64,
    /// How far beyond zero an output's bound must be before its lane rests.
    pub margin: f64,
    /// When to leave off with what has been reached: nothing is updated after that (on a device, once what it was given is done).
    pub until: Option<Instant>,
}

impl Default for Ascent {
    fn default() -> Self {
        Self { steps: 20, alpha_rate: 0.25, beta_rate: 0.25, decay: 0.93, momentum: 0.7, margin: 0.0, until: None }
    }
}

impl Ascent {
    /// Ten steps of memory, about.
    pub const LONG_MEMORY: f64 = 0.9;
}

/// When a lane has done enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Its bound is positive.
    Positive,
    /// Its bound is not negative: a neuron is decided.
    Decided,
    /// Never.
    Tightest,
}

/// What one lane starts from.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start<'a> {
    /// Splits that hold in it beyond those of the scope, and those of the scope whose multipliers it wants, with their multipliers.
    pub splits: &'a [(Split, f32)],
    /// `α` of every entry of every activation in node order, in 255ths; empty: the adaptive slopes.
    pub alpha: &'a [u8],
    /// The operand that is bounded where the row is not positive: its activation, its side (active: the lower end), and the weight that
    /// it starts from.
    pub probe: Option<(Split, f32)>,
}

/// A block of lanes and everything that its optimisation needs, allocated once per worker.
#[derive(Debug)]
pub struct LaneBlock<T> {
    isa: Isa,
    block: Block<T>,
    values: Block<T>,
    lines: Vec<LaneLines<T>>,
    best: Vec<[T; 2]>,
    rates: [Vec<T>; 2],
    momentum: T,
    is_resting: Vec<bool>,
    /// Per lane of the start: which lane it is now.
    place: Vec<usize>,
    is_empty: Vec<bool>,
    /// The constant term of every lane's linear function, before anything is subtracted.
    constants: Vec<T>,
    /// The points of the last forward sweep, for tests.
    #[cfg(test)]
    means: Vec<T>,
    /// Per lane of the start, what gave its best bound, where that is to be kept.
    proofs: Vec<Option<Proof>>,
    /// Whether it is.
    pub keeps_proofs: bool,
    /// Whether its lanes have probes: all of them do, or none.
    is_probing: bool,
}

/// What a block of lanes shares.
#[derive(Debug)]
pub struct Shared<'a, T> {
    /// The program.
    pub program: &'a Program<T>,
    /// The pass from the rows' target.
    pub backward: &'a Backward,
    /// The way back.
    pub sweep: &'a Sweep,
    /// The subdomain.
    pub scope: &'a Scope<T>,
}

impl<T: Logistic> LaneBlock<T> {
    /// An empty block.
    pub fn new(program: &Program<T>) -> Self {
        let n_slots = program.sweeps.iter().flatten().map(|sweep| sweep.n_slots).max().unwrap_or(0);
        Self {
            isa: Isa::detect(),
            block: Block::new(program.n_slots),
            values: Block::new(n_slots),
            lines: vec![LaneLines::new(); program.nodes.len()],
            best: Vec::new(),
            rates: [Vec::new(), Vec::new()],
            momentum: T::ZERO,
            is_resting: Vec::new(),
            place: Vec::new(),
            is_empty: Vec::new(),
            constants: Vec::new(),
            #[cfg(test)]
            means: Vec::new(),
            proofs: Vec::new(),
            keeps_proofs: false,
            is_probing: false,
        }
    }

    /// Optimises all rows and returns their best bounds with slacks, in order.
    pub fn ascend(
        &mut self,
        shared: &Shared<T>,
        rows: &[Row],
        starts: &[Start],
        ascent: &Ascent,
        goal: Goal,
    ) -> &[[T; 2]] {
        let mut rows = rows.to_vec();
        let width = rows.len().next_multiple_of(LANES);
        self.set_lines(shared, rows.len(), width, starts);
        self.best.clear();
        self.best.resize(rows.len(), [T::of(f64::NEG_INFINITY), T::ZERO]);
        self.proofs.clear();
        self.proofs.resize(rows.len(), None);
        for lane in 0..rows.len() {
            if self.is_empty[lane] {
                self.best[lane] = [T::of(f64::INFINITY), T::ZERO];
            }
        }
        self.is_resting.clear();
        self.is_resting.extend_from_slice(&self.is_empty);
        self.place.clear();
        self.place.extend(0..rows.len());
        let n_lanes = rows.len();
        for step in 0..=ascent.steps {
            self.down(shared, &rows);
            for lane in 0..n_lanes {
                let now = self.place[lane];
                if now == usize::MAX || self.is_resting[lane] {
                    continue;
                }
                let bound = self.bound(starts, lane, now);
                // A bound that is not finite says nothing.
                if bound.is_finite() && bound > self.best[lane][0] {
                    self.best[lane] = [bound, self.block.slack[now]];
                    if self.keeps_proofs {
                        let splits = starts.get(lane).map_or(&[][..], |start| start.splits);
                        self.proofs[lane] = Some(self.proof(shared, now, splits));
                    }
                }
                self.is_resting[lane] = match goal {
                    Goal::Positive => self.best[lane][0] > T::of(ascent.margin),
                    Goal::Decided => self.best[lane][0] >= T::ZERO,
                    Goal::Tightest => false,
                };
            }
            let n_moving = self.is_resting.iter().filter(|&&rests| !rests).count();
            let is_over = || ascent.until.is_some_and(|until| Instant::now() >= until);
            if step == ascent.steps || n_moving == 0 || is_over() {
                break;
            }
            if n_moving.next_multiple_of(LANES) < rows.len().next_multiple_of(LANES) {
                self.close_up(shared, &mut rows);
            }
            let shrink = ascent.decay.powi(step as i32) * Update::<T>::correction(step + 1, ascent.momentum);
            self.momentum = T::of(ascent.momentum);
            self.set_rates(rows.len(), [ascent.alpha_rate * shrink, ascent.beta_rate * shrink]);
            self.up(shared, false);
        }
        &self.best
    }

    /// What a lane has just been bounded by: its row, or the operand that it probes.
    fn bound(&self, starts: &[Start], lane: usize, now: usize) -> T {
        let bound = self.block.bias[now];
        let Some((probe, _)) = starts.get(lane).and_then(|start| start.probe) else { return bound };
        let Some(weight) = self.weight(probe.node, now) else { return T::of(f64::NEG_INFINITY) };
        // Twice what the division and these subtractions round, flushed values included.
        let quotient = bound / weight;
        quotient - quotient.magnitude() * T::of(4.0) * T::UNIT - T::LEAST_SLOPE
    }

    /// The weight of a lane's probe of an activation's operand.
    fn weight(&self, node: u32, now: usize) -> Option<T> {
        let probes = &self.lines[node as usize].probes;
        probes.iter().find(|probe| probe.lane as usize == now).map(|probe| probe.weight)
    }

    /// The largest multiplier at an activation. Where a neuron may be split and probed at once, each has half of what the magnitudes
    /// allow for.
    fn cap(&self, shared: &Shared<T>, node: usize) -> T {
        T::of(f64::from(shared.sweep.caps[node]) * if self.is_probing { 0.5 } else { 1.0 })
    }

    /// Lines of every lane at the start.
    fn set_lines(&mut self, shared: &Shared<T>, n_lanes: usize, width: usize, starts: &[Start]) {
        let Shared { program, scope, .. } = shared;
        self.is_probing = starts.iter().any(|start| start.probe.is_some());
        self.is_empty.clear();
        self.is_empty.resize(n_lanes, scope.is_empty);
        let mut first = 0;
        for (node, relax) in program.activations.iter().enumerate() {
            let Some(relax) = relax else { continue };
            let n = relax.n as usize;
            let lines = &scope.state[relax.lines as usize..][..5 * n];
            let source = &scope.state[relax.source as usize..][..2 * n];
            let entries = &scope.entries[node];
            let cap = self.cap(shared, node);
            let own = &mut self.lines[node];
            own.reset(lines, entries, width);
            let is_relu = relax.kind == ActivationKind::Relu as u32;
            if let Some(smooth) = smooth(relax, &program.constants, source) {
                own.free(lines, entries, width, &smooth);
            }
            for (lane, start) in starts.iter().enumerate() {
                if is_relu && start.alpha.len() >= first + entries.len() {
                    for (e, &alpha) in start.alpha[first..first + entries.len()].iter().enumerate() {
                        let j = entries[e] as usize;
                        if source[j] < T::ZERO && source[n + j] > T::ZERO {
                            own.low[e * width + lane] = T::of(f64::from(alpha) / 255.0).smaller(T::ONE);
                        }
                    }
                }
                for (split, beta) in start.splits.iter().filter(|(split, _)| split.node as usize == node) {
                    let j = split.neuron as usize;
                    let (l, u) = (source[j], source[n + j]);
                    self.is_empty[lane] |= if split.is_active { u < T::ZERO } else { l > T::ZERO };
                    // Lines through the origin and multipliers are a ReLU's; of others only emptiness is known.
                    if is_relu && let Ok(entry) = entries.binary_search(&split.neuron) {
                        let sign = if split.is_active { T::ONE } else { -T::ONE };
                        let beta = T::of(f64::from(*beta)).larger(T::ZERO);
                        own.split((lines, entries, width), (lane, entry), (sign, beta.smaller(cap)));
                    }
                }
                if is_relu
                    && let Some((probe, weight)) = start.probe.filter(|(probe, _)| probe.node as usize == node)
                    && let Ok(entry) = entries.binary_search(&probe.neuron)
                {
                    let sign = if probe.is_active { T::ONE } else { -T::ONE };
                    // A weight that is no number is the least.
                    let weight = T::of(f64::from(weight.max(0.0))).smaller(cap).larger(T::LEAST_SLOPE);
                    own.probe((lane, entry), sign, weight);
                }
            }
            own.seal();
            first += entries.len();
        }
    }

    /// Drops the lanes that rest.
    fn close_up(&mut self, shared: &Shared<T>, rows: &mut Vec<Row>) {
        let old = rows.len().next_multiple_of(LANES);
        let mut kept = Vec::new();
        for lane in 0..self.place.len() {
            if self.place[lane] == usize::MAX {
                continue;
            }
            if self.is_resting[lane] {
                self.place[lane] = usize::MAX;
            } else {
                kept.push(self.place[lane]);
                self.place[lane] = kept.len() - 1;
            }
        }
        let new = kept.len().next_multiple_of(LANES);
        *rows = kept.iter().map(|&lane| rows[lane]).collect();
        for lines in &mut self.lines {
            lines.keep(&kept, old, new);
        }
        let slot = shared.backward.concretize.slot as usize;
        let n = shared.program.n_inputs;
        self.block.slots[slot].truncate(n * old);
        kernels::narrow(&mut self.block.slots[slot], &kept, old, new);
        self.block.slots[slot].resize(shared.program.slot_len * new, T::ZERO);
        kernels::narrow(&mut self.block.points, &kept, old, new);
        kernels::narrow(&mut self.block.bias, &kept, old, new);
        self.block.width = new;
    }

    fn set_rates(&mut self, n_lanes: usize, rates: [f64; 2]) {
        let width = n_lanes.next_multiple_of(LANES);
        for (values, rate) in self.rates.iter_mut().zip(rates) {
            values.clear();
            values.resize(width, T::ZERO);
            for lane in 0..self.place.len() {
                if self.place[lane] != usize::MAX && !self.is_resting[lane] {
                    values[self.place[lane]] = T::of(rate);
                }
            }
        }
    }

    /// The backward sweep.
    fn down(&mut self, shared: &Shared<T>, rows: &[Row]) {
        self.block.reset(rows.len(), shared.program.slot_len);
        let Self { block, lines, constants, .. } = self;
        self.isa.run(Down { shared, rows, block, lines, constants });
    }

    /// The relaxed forward sweep from the last backward one, with its updates.
    fn up(&mut self, shared: &Shared<T>, wants_gaps: bool) {
        self.up_from(shared, wants_gaps, None);
    }

    /// As [`Self::up`], from other points than the minimisers: `[n_inputs, width]`.
    fn up_from(&mut self, shared: &Shared<T>, wants_gaps: bool, points: Option<&[T]>) {
        self.values.reset(self.block.width, shared.program.slot_len);
        let share = if self.is_probing { 0.5 } else { 1.0 };
        self.isa.run(Up {
            shared,
            wants_gaps,
            points,
            share,
            rates: [&self.rates[0], &self.rates[1]],
            momentum: self.momentum,
            block: &self.block,
            values: &mut self.values,
            lines: &mut self.lines,
        });
    }

    /// What the lanes ended with; call after [`Self::ascend`]. Lanes that were dropped on the way have bounds only.
    pub fn ended(&mut self, shared: &Shared<T>, starts: &[Start], keep: Keep) -> Vec<Ended<T>> {
        if keep.gaps > 0 {
            self.rates.iter_mut().for_each(|rates| {
                rates.clear();
                rates.resize(self.block.width, T::ZERO);
            });
            self.up(shared, true);
        }
        (0..self.best.len()).map(|lane| self.end_of(shared, starts, keep, lane)).collect()
    }

    fn end_of(&self, shared: &Shared<T>, starts: &[Start], keep: Keep, lane: usize) -> Ended<T> {
        let [bound, slack] = self.best[lane];
        let proof = self.proofs.get(lane).cloned().flatten();
        let mut ended = Ended { bound, slack, is_empty: self.is_empty[lane], proof, ..Ended::unknown() };
        let now = self.place[lane];
        if now == usize::MAX || ended.is_empty {
            return ended;
        }
        let width = self.block.width;
        let splits = starts.get(lane).map_or(&[][..], |start| start.splits);
        if keep.duals {
            ended.alpha = self.alpha(shared, now);
            let beta = |(split, _): &(Split, f32)| self.beta(shared, now, *split);
            ended.beta = splits.iter().map(beta).collect();
            let probe = starts.get(lane).and_then(|start| start.probe);
            let weight = probe.and_then(|(probe, _)| self.weight(probe.node, now));
            ended.weight = weight.map_or(0.0, |weight| weight.to_f64() as f32);
        }
        if keep.gaps > 0 {
            // Neurons that cost nothing where the (perhaps not yet best) minimiser lies may still have to be decided.
            let mut idle: Vec<(Split, f32)> = Vec::new();
            for (node, relax) in shared.program.activations.iter().enumerate() {
                let Some(relax) = relax.as_ref().filter(|relax| relax.kind == 0) else { continue };
                let lines = &self.lines[node];
                if lines.gaps.is_empty() {
                    continue;
                }
                let n = relax.n as usize;
                let source = &shared.scope.state[relax.source as usize..][..2 * n];
                let up_at = &shared.scope.state[relax.lines as usize..][3 * n..4 * n];
                for (e, &neuron) in shared.scope.entries[node].iter().enumerate() {
                    let j = neuron as usize;
                    let split = Split { node: node as u32, neuron, is_active: true };
                    let is_split = |other: &(Split, f32)| (other.0.node, other.0.neuron) == (split.node, neuron);
                    if source[j] >= T::ZERO || source[n + j] <= T::ZERO || splits.iter().any(is_split) {
                        continue;
                    }
                    let gap = lines.gaps[e * width + now].to_f64() as f32;
                    let reach = (lines.kept[e * width + now].magnitude() * up_at[j]).to_f64() as f32;
                    if gap > 0.0 {
                        ended.gaps.push((split, gap));
                    } else if reach > 0.0 {
                        idle.push((split, reach));
                    }
                }
            }
            if ended.gaps.is_empty() {
                ended.gaps = idle;
            }
            ended.order_gaps(keep.gaps);
        }
        if keep.minimiser {
            let n = shared.program.n_inputs;
            let slot = shared.backward.concretize.slot as usize;
            let live = &self.block.live[slot];
            let (lower, upper) = (&shared.scope.state[..n], &shared.scope.state[n..2 * n]);
            let mut point: Box<[f32]> = lower.iter().map(|l| l.to_f64() as f32).collect();
            if shared.program.set.is_some() {
                let values = self.block.points.chunks_exact(width);
                point.iter_mut().zip(values).for_each(|(x, of_lanes)| *x = of_lanes[now].to_f64() as f32);
                ended.minimiser = point;
                return ended;
            }
            for &i in live {
                let a = self.block.slots[slot][i as usize * width + now];
                if a < T::ZERO {
                    point[i as usize] = upper[i as usize].to_f64() as f32;
                }
            }
            ended.minimiser = point;
        }
        ended
    }

    fn alpha(&self, shared: &Shared<T>, lane: usize) -> Box<[u8]> {
        let width = self.block.width;
        let mut alpha = Vec::new();
        for (node, relax) in shared.program.activations.iter().enumerate() {
            if relax.is_some() {
                let low = &self.lines[node].low;
                // Truncation keeps it in [0, 255].
                alpha.extend(
                    (0..shared.scope.entries[node].len()).map(|e| (low[e * width + lane].to_f64() * 255.0 + 0.5) as u8),
                );
            }
        }
        alpha.into()
    }

    fn proof(&self, shared: &Shared<T>, lane: usize, splits: &[(Split, f32)]) -> Proof {
        let width = self.block.width;
        let mut alpha = Vec::new();
        for (node, relax) in shared.program.activations.iter().enumerate() {
            if relax.is_some_and(|relax| relax.kind == ActivationKind::Relu as u32) {
                let low = &self.lines[node].low;
                alpha.extend((0..shared.scope.entries[node].len()).map(|e| low[e * width + lane].to_f64() as f32));
            }
        }
        let beta = splits.iter().map(|(split, _)| self.beta(shared, lane, *split)).collect();
        Proof { alpha: alpha.into(), beta }
    }

    fn beta(&self, shared: &Shared<T>, lane: usize, split: Split) -> f32 {
        let node = split.node as usize;
        let Ok(entry) = shared.scope.entries[node].binary_search(&split.neuron) else { return 0.0 };
        let is_it = |other: &&kernels::LaneSplit<T>| (other.lane, other.entry) == (lane as u32, entry as u32);
        self.lines[node].splits.iter().find(is_it).map_or(0.0, |split| split.beta.to_f64() as f32)
    }
}

mod ended;
mod planes;
mod sweeps;

pub use ended::{Ended, Keep, Proof};
pub use planes::{Cloud, Planes};
use sweeps::{Down, Up, smooth};

#[cfg(test)]
mod tests;
