use std::sync::Arc;

use bounds::{Ascent, Base, BoundEngine, Cloud, Plane, PlaneTask, Split, Target, least_values};

use crate::error::Error;
use crate::preimage::problem::Mode;
use crate::preimage::reduced::Reduced;
use crate::preimage::trim::{Inside, Trim, inside};

/// Sample points of a piece, each of the same weight.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// Coordinates, `[n, n_free]`.
    pub points: Vec<f32>,
    /// Whether each lies in the preimage, by an f32 run.
    pub is_inside: Vec<bool>,
    /// What each counts of the region's mass.
    pub weight: f64,
}

/// A part of the region: a box, `ReLU`s that are decided in it, and the planes that say where.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Lower ends, then upper ends.
    pub ends: Box<[f32]>,
    /// In the order in which they were made.
    pub splits: Vec<Split>,
    /// Planes of slanted cuts, of an under-approximation: they bound the piece as its box does.
    pub walls: Vec<Plane>,
    /// Of an under-approximation, its walls, and planes that hold the `ReLU`s to their sides (and cut corners off); of an over-approximation, for each
    /// split a plane that holds wherever the split does.
    pub held: Vec<Plane>,
    /// Samples in the box where the `ReLU`s have their sides, by an f32 run.
    pub samples: Samples,
    /// Node bounds: of the approximation's polytope, or of the piece.
    pub base: Option<Arc<Base>>,
    /// Node bounds of the box alone.
    pub boxed: Option<Arc<Base>>,
    /// What bounds each output polytope's preimage in here.
    pub parts: Vec<Part>,
    /// What the samples say of it.
    pub tally: Tally,
    /// Where fresh samples come from.
    pub serial: u64,
}

/// The approximation of one output polytope's preimage in a piece.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Part {
    /// Where these hold, all together, the approximation is.
    pub planes: Vec<Plane>,
    /// Nothing is in here: an under-approximation found nothing, or an over-approximation excludes the piece by proof.
    pub is_nothing: bool,
    /// What the optimisation of each row ended with.
    pub alpha: Vec<Box<[u8]>>,
    /// The multipliers of each row.
    pub beta: Vec<Box<[f32]>>,
    /// Undecided `ReLU`s and what each costs.
    pub gaps: Vec<(u32, u32, f32)>,
}

/// What samples say of a piece, in shares of the region's mass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// The preimage.
    pub preimage: f64,
    /// The approximation.
    pub approximation: f64,
    /// Both.
    pub both: f64,
    /// A smooth version of what is won, to compare cuts that win nothing yet.
    pub smooth: f64,
}

/// How hard to bound.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Optimisation steps of the planes.
    pub steps: usize,
    /// Optimisation steps of intermediate bounds.
    pub inner_steps: usize,
    /// Sample points of an optimisation.
    pub n_points: usize,
    /// Whether spare lanes are filled with copies.
    pub fills: bool,
    /// How an under-approximation's corners are cut off.
    pub trim: Trim,
}

/// What all pieces share.
#[derive(Debug)]
pub struct Ground<'a> {
    /// The problem in its free inputs.
    pub reduced: &'a Reduced,
    /// Bounds of it.
    pub engine: &'a BoundEngine,
    /// Inside or around.
    pub mode: Mode,
    /// The `ReLU`s that planes can hold, in order.
    pub activations: &'a [u32],
}

impl Samples {
    /// Number of points.
    pub fn len(&self) -> usize {
        self.is_inside.len()
    }

    /// One point.
    pub fn point(&self, s: usize, n: usize) -> &[f32] {
        &self.points[s * n..][..n]
    }

    /// Those at whose points `keeps` says so.
    pub fn filtered(&self, n: usize, keeps: impl Fn(&[f32]) -> bool) -> Self {
        self.chosen(n, |s| keeps(self.point(s, n)))
    }

    /// Those of which `keeps` says so.
    pub fn chosen(&self, n: usize, keeps: impl Fn(usize) -> bool) -> Self {
        let mut kept = Self { weight: self.weight, ..Self::default() };
        for s in 0..self.len() {
            if keeps(s) {
                kept.points.extend_from_slice(self.point(s, n));
                kept.is_inside.push(self.is_inside[s]);
            }
        }
        kept
    }

    /// At most so many of them, evenly, each of which counts for more.
    pub fn thinned(&self, n: usize, most: usize) -> Self {
        let stride = self.len().div_ceil(most.max(1)).max(1);
        let mut kept = self.chosen(n, |s| s % stride == 0);
        kept.weight *= self.len() as f64 / kept.len().max(1) as f64;
        kept
    }

    /// How many lie in the preimage.
    pub fn n_inside(&self) -> usize {
        self.is_inside.iter().filter(|is_inside| **is_inside).count()
    }
}

impl Tally {
    /// What a search still has to win.
    pub fn undecided(&self, mode: Mode) -> f64 {
        match mode {
            Mode::Under => self.preimage - self.both,
            Mode::Over => self.approximation - self.both,
        }
    }
}

/// Samples that are counted, and in a look ahead.
const MOST_COUNTED: usize = 8192;
const FEW_COUNTED: usize = 512;

impl Piece {
    /// A piece that is not bounded yet.
    pub fn open(ends: Box<[f32]>, splits: Vec<Split>, held: Vec<Plane>, samples: Samples, serial: u64) -> Self {
        let (base, parts, tally) = (None, Vec::new(), Tally::default());
        Self { ends, splits, walls: Vec::new(), held, samples, base, boxed: None, parts, tally, serial }
    }

    /// The piece within these walls.
    #[must_use]
    pub fn within(self, walls: Vec<Plane>) -> Self {
        Self { walls, ..self }
    }

    /// What each undecided `ReLU` costs, the costliest first: cost, activation, neuron.
    pub fn gaps(&self) -> Vec<(f32, u32, u32)> {
        let mut gaps: Vec<(f32, u32, u32)> = Vec::new();
        for part in self.parts.iter().filter(|part| !part.is_nothing) {
            for &(node, neuron, cost) in &part.gaps {
                match gaps.iter_mut().find(|(_, n, j)| (*n, *j) == (node, neuron)) {
                    Some(found) => found.0 += cost,
                    None => gaps.push((cost, node, neuron)),
                }
            }
        }
        gaps.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        gaps
    }

    /// The mean of the samples; without any, the middle of the box.
    pub fn mean(&self) -> Vec<f32> {
        let (lower, upper) = self.sides();
        let n = lower.len();
        if self.samples.len() == 0 {
            return lower.iter().zip(upper).map(|(l, u)| 0.5 * l + 0.5 * u).collect();
        }
        let mut mean = vec![0.0_f32; n];
        let count = self.samples.len() as f32;
        for x in self.samples.points.chunks_exact(n) {
            x.iter().zip(&mut mean).for_each(|(x, mean)| *mean += x / count);
        }
        mean
    }

    /// The lower and upper ends of the box.
    pub fn sides(&self) -> (&[f32], &[f32]) {
        self.ends.split_at(self.ends.len() / 2)
    }

    /// Finds planes for every output polytope, starting from what the parent ended with; without one, from the adaptive slopes.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn bound(&mut self, ground: &Ground, parent: Option<&Piece>, effort: Effort) -> Result<(), Error> {
        let (mode, targets) = (ground.mode, &ground.reduced.targets);
        let n_inside = self.samples.n_inside();
        let n_wanted = if mode == Mode::Under { n_inside } else { self.samples.len() - n_inside };
        let nothing = Part { is_nothing: mode == Mode::Under, ..Part::default() };
        self.parts = vec![nothing; targets.len()];
        if n_wanted == 0 {
            // No sample could be won: an over-approximation keeps the piece as it is, an under-approximation leaves it.
            self.count(ground, None);
            return Ok(());
        }
        let ascent = Ascent { steps: effort.inner_steps, momentum: Ascent::LONG_MEMORY, ..Ascent::default() };
        let known = parent.and_then(|parent| parent.base.as_deref());
        let found = match mode {
            Mode::Over => ground.engine.base(self.sides(), known, &self.splits, ascent)?,
            Mode::Under => {
                // What holds on the parent's polytope need not hold on this one: only what holds on its box.
                let boxed = parent.and_then(|parent| parent.boxed.as_deref());
                let box_base = match boxed {
                    Some(boxed) if parent.is_some_and(|parent| parent.ends == self.ends) => boxed.clone(),
                    boxed => match ground.engine.base(self.sides(), boxed, &[], ascent)? {
                        Some(base) => base,
                        None => return Err(Error::question("a box of the region holds no point: please report it")),
                    },
                };
                let found = inside(ground, self, box_base.clone(), effort.trim)?;
                self.boxed = Some(Arc::new(box_base));
                found.map(|Inside { planes, base }| {
                    self.held = planes;
                    base
                })
            }
        };
        let Some(base) = found else {
            // No point is in here by proof; or, in an under-approximation, none is left of it.
            self.parts.iter_mut().for_each(|part| part.is_nothing = true);
            self.count(ground, None);
            return Ok(());
        };
        let (points, weights) = self.cloud(mode, effort.n_points);
        for (place, target) in targets.iter().enumerate() {
            let rows: Vec<(u32, bool)> = target.clone().map(|row| (row as u32, mode == Mode::Over)).collect();
            let before = parent.and_then(|parent| parent.parts.get(place));
            let alpha: Vec<Vec<u8>> = match (before, known) {
                (Some(part), Some(known)) if part.alpha.len() >= rows.len() => {
                    part.alpha.iter().map(|alpha| ground.engine.carried(known, &base, alpha)).collect()
                }
                _ => vec![Vec::new(); rows.len()],
            };
            let starts: Vec<(&[u8], &[f32])> = (0..rows.len())
                .map(|row| {
                    let beta = before.and_then(|part| part.beta.get(row)).map_or(&[][..], |beta| beta);
                    (alpha[row].as_slice(), beta)
                })
                .collect();
            let spare = BoundEngine::ROWS_AT_ONCE / rows.len().max(1);
            let task = PlaneTask {
                target: Target::Outputs,
                rows: &rows,
                splits: &self.splits,
                starts: &starts,
                ascent: Ascent {
                    steps: effort.steps,
                    alpha_rate: 0.3,
                    beta_rate: 0.3,
                    decay: 0.95,
                    momentum: Ascent::LONG_MEMORY,
                    ..Ascent::default()
                },
                n_copies: if effort.fills { spare.clamp(1, 6) } else { 1 },
                cloud: Cloud { points: &points, weights: &weights, is_union: mode == Mode::Over },
            };
            let found = ground.engine.planes(&base, &task)?;
            let is_positive = |bound: &f32| *bound > 0.0;
            let (is_nothing, planes) = match mode {
                Mode::Under if found.is_empty => (true, Vec::new()),
                Mode::Under if found.bound.iter().all(is_positive) => (false, Vec::new()),
                Mode::Under => (found.planes.is_empty(), found.planes),
                // A row that is negative everywhere excludes the polytope.
                Mode::Over if found.is_empty || found.bound.iter().any(is_positive) => (true, Vec::new()),
                Mode::Over => (false, found.planes.iter().map(negated).collect()),
            };
            self.parts[place] = Part { planes, is_nothing, alpha: found.alpha, beta: found.beta, gaps: found.gaps };
        }
        self.base = Some(Arc::new(base));
        self.count(ground, None);
        Ok(())
    }

    /// The least of a part's planes at each of some points, the best part's; and whether the piece's own planes hold. What is nothing is
    /// far outside.
    fn depths(&self, points: &[f32]) -> Vec<(f32, bool)> {
        let n = self.ends.len() / 2;
        let holds = least_values(&self.held, points, n);
        let mut depths = vec![f32::NEG_INFINITY; holds.len()];
        for part in self.parts.iter().filter(|part| !part.is_nothing) {
            let own = least_values(&part.planes, points, n);
            depths.iter_mut().zip(own).for_each(|(depth, own)| *depth = depth.max(own));
        }
        depths.into_iter().zip(holds).map(|(depth, least)| (depth, least >= 0.0)).collect()
    }

    /// The places of at most about so many samples: of an under-approximation those in the preimage, else all.
    fn counted(&self, mode: Mode, most: usize) -> (Vec<usize>, f64) {
        let relevant = |s: &usize| mode == Mode::Over || self.samples.is_inside[*s];
        let all: Vec<usize> = (0..self.samples.len()).filter(relevant).collect();
        let stride = (all.len() / most).max(1);
        let chosen: Vec<usize> = all.iter().copied().step_by(stride).collect();
        let factor = all.len() as f64 / chosen.len().max(1) as f64;
        (chosen, factor)
    }

    /// Counts the samples; with a scale, also how near to being won those are that are not.
    pub fn count(&mut self, ground: &Ground, scale: Option<f64>) {
        let n = ground.reduced.n_free();
        let (chosen, factor) = self.counted(ground.mode, if scale.is_some() { FEW_COUNTED } else { MOST_COUNTED });
        let points: Vec<f32> = chosen.iter().flat_map(|&s| self.samples.point(s, n)).copied().collect();
        let depths = self.depths(&points);
        let (mut n_approximation, mut n_both, mut n_inside, mut smooth) = (0_u64, 0_u64, 0_u64, 0.0);
        for (&s, (depth, holds)) in chosen.iter().zip(depths) {
            let is_inside = self.samples.is_inside[s];
            n_inside += u64::from(is_inside);
            n_approximation += u64::from(holds && depth >= 0.0);
            n_both += u64::from(holds && depth >= 0.0 && is_inside);
            if let Some(scale) = scale
                && is_inside == (ground.mode == Mode::Under)
                && holds
            {
                let depth = f64::from(if ground.mode == Mode::Under { depth } else { -depth });
                smooth += 1.0 / (1.0 + (-depth / scale).clamp(-40.0, 40.0).exp());
            }
        }
        let weight = self.samples.weight * factor;
        self.tally = Tally {
            preimage: weight * n_inside as f64,
            approximation: weight * n_approximation as f64,
            both: weight * n_both as f64,
            smooth: weight * smooth,
        };
    }

    /// The mean distance of the samples that could be won from the boundary.
    pub fn spread(&self, ground: &Ground) -> f64 {
        let n = ground.reduced.n_free();
        let (chosen, _) = self.counted(ground.mode, FEW_COUNTED);
        let points: Vec<f32> = chosen.iter().flat_map(|&s| self.samples.point(s, n)).copied().collect();
        let (mut sum, mut count) = (0.0, 0.0);
        for (&s, (depth, _)) in chosen.iter().zip(self.depths(&points)) {
            if self.samples.is_inside[s] == (ground.mode == Mode::Under) && depth.is_finite() {
                sum += f64::from(depth.abs());
                count += 1.0;
            }
        }
        if count > 0.0 { (sum / count).max(1e-9) } else { 1.0 }
    }

    /// The points that could be won, at most so many, as an optimisation takes them.
    pub fn cloud(&self, mode: Mode, most: usize) -> (Vec<f32>, Vec<f32>) {
        let n = self.ends.len() / 2;
        let wanted: Vec<usize> =
            (0..self.samples.len()).filter(|&s| self.samples.is_inside[s] == (mode == Mode::Under)).collect();
        let stride = (wanted.len() / (2 * most)).max(1);
        let wanted: Vec<usize> = wanted.into_iter().step_by(stride).collect();
        let points: Vec<f32> = wanted.iter().flat_map(|&s| self.samples.point(s, n)).copied().collect();
        let holds = least_values(&self.held, &points, n);
        let chosen: Vec<usize> =
            wanted.into_iter().zip(holds).filter(|(_, least)| *least >= 0.0).map(|(s, _)| s).collect();
        self.gathered(&chosen, most)
    }

    /// Some of these samples, evenly spread over the list, `[n_free, n_points]` and their weights.
    pub fn gathered(&self, chosen: &[usize], most: usize) -> (Vec<f32>, Vec<f32>) {
        let n = self.ends.len() / 2;
        let count = chosen.len().min(most);
        let width = count.next_multiple_of(BoundEngine::ROWS_AT_ONCE);
        let mut points = vec![0.0; n * width];
        let mut weights = vec![0.0; width];
        for p in 0..count {
            let x = self.samples.point(chosen[p * chosen.len() / count], n);
            x.iter().enumerate().for_each(|(i, &x)| points[i * width + p] = x);
            weights[p] = 1.0;
        }
        (points, weights)
    }
}

/// The negative of a plane: exact.
pub fn negated(plane: &Plane) -> Plane {
    Plane { a: plane.a.iter().map(|a| -a).collect(), b: -plane.b }
}
