use std::sync::{Arc, OnceLock};

use bounds::{Batch, BoundEngine, Bounds, Device, Method, Recipe, Wanted};
use network::{BoxRegion, Network, Property};

use crate::error::Error;
use crate::search::limits::Clock;
use crate::search::objective::Objective;
use crate::search::random::Random;
use crate::search::relu_search::Suspect;
use crate::search::verdict::Counterexample;

/// Looks for counterexamples where a search says that they are likeliest.
pub trait Attack: std::fmt::Debug {
    /// Attacks from inside boxes of the region, staying in them: from the corner that minimises the linear bound of slopes
    /// `slopes` (one per input), or from the centre where there are none.
    ///
    /// # Errors
    /// When the device fails.
    fn attack_boxes(
        &self,
        boxes: &[(&[f32], &[f64])],
        steps: usize,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error>;

    /// Attacks from points of the region, each aimed at a disjunct of the objective.
    ///
    /// # Errors
    /// When the device fails.
    fn attack_points(&self, starts: &[Suspect], steps: usize, clock: &Clock) -> Result<Option<Counterexample>, Error>;
}

/// Looks for counterexamples by projected gradient descent from many starts at once.
///
/// Gradients come from the backward kernels: over a box of zero width every activation is its own tangent, so that the linear
/// lower bound *is* the linearisation. Whatever looks like a violation is confirmed by running the real network.
#[derive(Debug)]
pub struct Falsifier<'a> {
    network: &'a Network,
    property: &'a Property,
    objective: &'a Objective,
    engine: BoundEngine,
    /// The f32 points of the region that lie inside the decimal box (or its nearest, where it has none).
    inner: (Vec<f32>, Vec<f32>),
    /// Both ends at a point, in f64 on the host: what candidates are judged with, once there is one.
    judge: OnceLock<BoundEngine>,
}

/// How hard to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Descents per disjunct.
    pub starts: usize,
    /// Steps of each.
    pub steps: usize,
}

impl<'a> Falsifier<'a> {
    /// Prepares to attack one objective of a property.
    ///
    /// # Errors
    /// As [`BoundEngine::new`].
    pub fn new(
        device: &Device,
        network: &'a Network,
        property: &'a Property,
        objective: &'a Objective,
    ) -> Result<Self, Error> {
        let recipe = Recipe { method: Method::CrownIbp, ..Recipe::default() };
        let engine = BoundEngine::new(device, Arc::clone(&objective.network), &objective.region, recipe)?;
        let inner = inner_points(&objective.region, engine.region());
        Ok(Self { network, property, objective, engine, inner, judge: OnceLock::new() })
    }

    /// Confirms a candidate by running the real network; see [`confirm`].
    ///
    /// Where a decimal box has no float inside (an input pinned to `0.1`, say), the two floats around it stand for it: the real
    /// point lies between them, and the violation must be proved, by f64 upper bounds, for everything between them.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn confirm(&self, x: &[f64]) -> Result<Option<Counterexample>, Error> {
        let region = &self.objective.region;
        let is_gap = |i: usize| region.inner_lower[i] > region.inner_upper[i];
        let has_gaps = (0..x.len()).any(is_gap);
        if !has_gaps && confirm(self.network, self.property, x).is_none() {
            return Ok(None);
        }
        let end = |ends: &[f64], i: usize| if is_gap(i) { ends[i] } else { x[i] };
        let lower: Vec<f64> = (0..x.len()).map(|i| end(&region.lower, i)).collect();
        let upper: Vec<f64> = (0..x.len()).map(|i| end(&region.upper, i)).collect();
        let is_inside = |i: usize| is_gap(i) || (region.inner_lower[i] <= x[i] && x[i] <= region.inner_upper[i]);
        if !(0..x.len()).all(is_inside) {
            return Ok(None);
        }
        let bounds = self.judge()?.bound_precisely(&lower, &upper, Wanted::default())?;
        if !has_gaps {
            return Ok(confirm(self.network, self.property, x).and_then(|found| self.judged(found, &bounds)));
        }
        let Some((output, output_f32)) = outputs(self.network, &lower) else { return Ok(None) };
        for (place, rows) in &self.objective.disjuncts {
            let worst = bounds.upper[rows.clone()].iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let holds = |y: &[f64]| {
                let half_spaces = &self.property.disjuncts[*place].half_spaces;
                half_spaces.iter().all(|row| row.value_from_above(&lower, y).is_some_and(|value| value <= 0.0))
            };
            if worst <= 0.0 && holds(&output) && holds(&output_f32) {
                let (margin, disjunct) = (-worst, *place);
                let found = Counterexample { input: lower, output, output_f32, margin, disjunct, is_proved: true };
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn judge(&self) -> Result<&BoundEngine, Error> {
        if self.judge.get().is_none() {
            let recipe = Recipe { both_ends: true, ..self.engine.recipe() };
            let network = Arc::clone(&self.objective.network);
            // Whoever else was quicker made the same.
            drop(self.judge.set(BoundEngine::new(&Device::Host, network, &self.objective.region, recipe)?));
        }
        Ok(self.judge.get().expect("it was set above"))
    }

    /// What f64 bounds at a confirmed point say of it: proved, open, or (then it is none) refuted.
    fn judged(&self, mut found: Counterexample, bounds: &Bounds) -> Option<Counterexample> {
        let Some((_, rows)) = self.objective.disjuncts.iter().find(|(place, _)| *place == found.disjunct) else {
            // It violates a disjunct of another region; that one's bounds are not at hand.
            return Some(found);
        };
        if bounds.lower[rows.clone()].iter().any(|&lower| lower > 0.0) {
            return None;
        }
        found.is_proved = bounds.upper[rows.clone()].iter().all(|&upper| upper <= 0.0);
        Some(found)
    }

    /// Attacks the disjuncts of the objective that `is_open` names, over the whole region.
    ///
    /// `slopes` are those of the linear lower bounds over the region, `[n_rows, n_inputs]`, or empty: the corner that minimises a
    /// row's bound is where its relaxation would be violated most, and so a good place to start.
    ///
    /// # Errors
    /// When the device fails.
    pub fn attack_region(
        &self,
        is_open: &dyn Fn(usize) -> bool,
        slopes: &[f64],
        effort: Effort,
        random: &mut Random,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        let (lower, upper) = &self.inner;
        let n = lower.len();
        let mut points = Vec::new();
        let mut targets = Vec::new();
        for start in 0..effort.starts {
            for target in (0..self.objective.disjuncts.len()).filter(|&target| is_open(target)) {
                targets.push(target);
                let at = |i: usize, share: f32| between(lower[i], upper[i], share);
                points.extend((0..n).map(|i| at(i, if start == 0 { 0.5 } else { random.unit() })));
            }
        }
        for (target, (_, rows)) in self.objective.disjuncts.iter().enumerate().filter(|(target, _)| is_open(*target)) {
            for row in rows.clone().filter(|row| slopes.len() >= (row + 1) * n) {
                targets.push(target);
                points.extend((0..n).map(|i| if slopes[row * n + i] > 0.0 { lower[i] } else { upper[i] }));
            }
        }
        self.descend(points, &targets, |_, i| (lower[i], upper[i]), effort.steps, clock)
    }

    /// Descends from all points at once; `side(s, i)` is where coordinate `i` of point `s` may be.
    fn descend(
        &self,
        mut points: Vec<f32>,
        targets: &[usize],
        side: impl Fn(usize, usize) -> (f32, f32),
        steps: usize,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        let n = self.inner.0.len();
        let n_rows = self.objective.network.n_outputs();
        for step in 0..=steps {
            let batch = Batch { lower: points.clone(), upper: points.clone() };
            let bounds = self.engine.bound(&batch, Wanted { slopes: step < steps, split: false })?;
            let mut worst_rows = vec![None; targets.len()];
            for (s, &target) in targets.iter().enumerate() {
                let values = &bounds.lower[s * n_rows..][..n_rows];
                let slacks = &bounds.lower_slack[s * n_rows..][..n_rows];
                let value = |row: usize| values[row] + slacks[row];
                // Every disjunct may be hit on the way to one of them.
                let may_violate = self
                    .objective
                    .disjuncts
                    .iter()
                    .any(|(_, rows)| rows.clone().all(|row| value(row) <= slacks[row].max(1e-6)));
                if may_violate && let Some(found) = self.confirm(&self.exact(&points[s * n..][..n]))? {
                    return Ok(Some(found));
                }
                worst_rows[s] =
                    self.objective.disjuncts[target].1.clone().max_by(|&a, &b| value(a).total_cmp(&value(b)));
            }
            if step == steps || clock.stop(0, 0).is_some() {
                break;
            }
            // Long steps first; the last ones settle.
            let length = 0.5 * 0.02_f32.powf(step as f32 / steps.max(1) as f32);
            for (s, row) in worst_rows.iter().enumerate() {
                let Some(row) = *row else { continue };
                let slopes = &bounds.slopes[(s * n_rows + row) * n..][..n];
                for (i, &slope) in slopes.iter().enumerate() {
                    let (low, high) = side(s, i);
                    let x = &mut points[s * n + i];
                    let step = length * 0.5 * (high - low);
                    if slope > 0.0 {
                        *x = (*x - step).max(low);
                    } else if slope < 0.0 {
                        *x = (*x + step).min(high);
                    }
                }
            }
        }
        Ok(None)
    }

    /// A point moved into the decimal box, where the box has floats.
    fn exact(&self, point: &[f32]) -> Vec<f64> {
        let region = &self.objective.region;
        let inside = |i: usize| {
            let (low, high) = (region.inner_lower[i], region.inner_upper[i]);
            // Where there is no float inside, the one below stands for the real value.
            if low <= high { f64::from(point[i]).clamp(low, high) } else { region.lower[i] }
        };
        (0..point.len()).map(inside).collect()
    }
}

impl Attack for Falsifier<'_> {
    fn attack_boxes(
        &self,
        boxes: &[(&[f32], &[f64])],
        steps: usize,
        clock: &Clock,
    ) -> Result<Option<Counterexample>, Error> {
        let (lower, upper) = &self.inner;
        let n = lower.len();
        let side = |s: usize, i: usize| {
            let ends = boxes[s].0;
            let low = ends[i].clamp(lower[i], upper[i]);
            (low, ends[n + i].clamp(low, upper[i]))
        };
        let n_disjuncts = self.objective.disjuncts.len();
        let mut points = Vec::with_capacity(boxes.len() * n);
        for s in 0..boxes.len() {
            let slopes = boxes[s].1;
            points.extend((0..n).map(|i| {
                let (low, high) = side(s, i);
                match slopes.get(i) {
                    Some(&slope) if slope > 0.0 => low,
                    Some(_) => high,
                    None => between(low, high, 0.5),
                }
            }));
        }
        let targets: Vec<usize> = (0..boxes.len()).map(|s| s % n_disjuncts).collect();
        self.descend(points, &targets, side, steps, clock)
    }

    fn attack_points(&self, starts: &[Suspect], steps: usize, clock: &Clock) -> Result<Option<Counterexample>, Error> {
        let (lower, upper) = &self.inner;
        let mut points = Vec::with_capacity(starts.len() * lower.len());
        for (start, _) in starts {
            points.extend(start.iter().enumerate().map(|(i, x)| x.clamp(lower[i], upper[i])));
        }
        let targets: Vec<usize> = starts.iter().map(|(_, disjunct)| *disjunct).collect();
        if targets.is_empty() {
            return Ok(None);
        }
        self.descend(points, &targets, |_, i| (lower[i], upper[i]), steps, clock)
    }
}

/// Confirms a candidate by running the real network in f64 and in f32: both outputs must violate the same disjunct, at a point
/// inside its decimal box. Of several such disjuncts, the one with the largest margin counts.
pub fn confirm(network: &Network, property: &Property, x: &[f64]) -> Option<Counterexample> {
    let (output, output_f32) = outputs(network, x)?;
    let margins = property.disjuncts.iter().enumerate().filter_map(|(place, disjunct)| {
        let margin = disjunct.violated_at(x, &output)?.min(disjunct.violated_at(x, &output_f32)?);
        Some((place, margin))
    });
    let (disjunct, margin) = margins.reduce(|best, next| if next.1 > best.1 { next } else { best })?;
    Some(Counterexample { input: x.to_vec(), output, output_f32, margin, disjunct, is_proved: false })
}

/// The network's outputs at a point, run in f64 and in f32.
fn outputs(network: &Network, x: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let narrow: Vec<f32> = x.iter().map(|&value| value as f32).collect();
    let output_f32 = network.evaluate(&narrow).ok()?.into_iter().map(f64::from).collect();
    Some((network.evaluate(x).ok()?, output_f32))
}

/// The f32 ends of the decimal box from inside, or from outside where no f32 lies in it.
fn inner_points(region: &BoxRegion, outer: &Batch) -> (Vec<f32>, Vec<f32>) {
    (0..region.n_inputs())
        .map(|i| {
            let inner = Batch::enclosing(&[region.inner_upper[i]], &[region.inner_lower[i]]);
            // Rounding the inner ends the other way: `enclosing` rounds its first list down and its second up.
            let (low, high) = (inner.upper[0], inner.lower[0]);
            if low <= high { (low, high) } else { (outer.lower[i], outer.upper[i]) }
        })
        .unzip()
}

/// A point of `[low, high]`, at this share of the way.
fn between(low: f32, high: f32, share: f32) -> f32 {
    (low * (1.0 - share) + high * share).clamp(low, high)
}
