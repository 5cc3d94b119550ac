use std::collections::BTreeMap;
use std::sync::Arc;

use bounds::{Batch, BoundEngine, Device, Method, Recipe, Wanted};
use network::{BoxRegion, Network};

use crate::error::Error;
use crate::patch::region::PatchRegion;
use crate::patch::verdict::PatchCounterexample;
use crate::search::random::Random;
use crate::search::{Clock, Objective};

/// Attacks many placements at once by projected gradient descent, each towards the classes that its bounds leave open.
///
/// Coordinates are the inputs that vary, or the parameters where they vary together. Gradients come from the backward kernels over
/// boxes of zero width; a network has one row for each pair of classes, so that nothing is computed for classes far away.
#[derive(Debug)]
pub struct Descent<'a> {
    network: &'a Network,
    device: &'a Device,
    /// Encloses every point.
    hull: BoxRegion,
    /// Linearises `y_class − y_other`.
    engines: BTreeMap<(usize, usize), BoundEngine>,
}

/// A placement to attack.
#[derive(Debug)]
pub struct Aim<'r> {
    /// What the contents reach.
    pub region: &'r PatchRegion,
    /// The class to be changed.
    pub class: usize,
    /// The classes that bounds leave open, the likeliest first.
    pub open: Vec<usize>,
    /// The classes that count as a change.
    pub others: &'r [usize],
    /// Where randomness starts.
    pub seed: u64,
}

/// How hard to look.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    /// Descents for each class that is aimed at.
    pub starts: usize,
    /// Steps of each.
    pub steps: usize,
    /// Classes that are aimed at, at most.
    pub classes: usize,
}

/// A point on its way.
struct Walker {
    aim: usize,
    other: usize,
    coordinates: Vec<f32>,
}

/// Most bytes of slopes that one call returns.
const MOST_SLOPE_BYTES: usize = 64 << 20;
/// How near to zero a margin must come to be looked at closely.
const NEAR: f64 = 1e-5;

impl<'a> Descent<'a> {
    /// For points of a box.
    pub fn new(network: &'a Network, device: &'a Device, hull: BoxRegion) -> Self {
        Self { network, device, hull, engines: BTreeMap::new() }
    }

    /// One counterexample for each aim, where one is found.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn attack(
        &mut self,
        aims: &[Aim],
        strength: Strength,
        clock: &Clock,
    ) -> Result<Vec<Option<PatchCounterexample>>, Error> {
        let mut found: Vec<Option<PatchCounterexample>> = vec![None; aims.len()];
        let ends: Vec<Vec<(f32, f32)>> = aims.iter().map(|aim| aim.region.coordinate_ends()).collect();
        let mut walkers = Vec::new();
        for (a, aim) in aims.iter().enumerate() {
            let mut random = Random::new(aim.seed);
            for start in 0..strength.starts {
                for &other in aim.open.iter().take(strength.classes) {
                    let mut coordinate = |&(low, high): &(f32, f32)| match start {
                        0 => low + 0.5 * (high - low),
                        odd if odd % 2 == 1 => low + random.unit() * (high - low),
                        _ => {
                            if random.unit() < 0.5 {
                                low
                            } else {
                                high
                            }
                        }
                    };
                    let coordinates = ends[a].iter().map(&mut coordinate).collect();
                    walkers.push(Walker { aim: a, other, coordinates });
                }
            }
        }
        for step in 0..=strength.steps {
            if walkers.is_empty() || (step > 0 && clock.stop(0, 0).is_some()) {
                break;
            }
            // Long steps first: they end in corners, where most counterexamples are; the last ones settle.
            let length = 0.03_f32.powf(step as f32 / strength.steps.max(1) as f32);
            let is_last = step == strength.steps;
            walkers.sort_by_key(|walker| (aims[walker.aim].class, walker.other, walker.aim));
            let mut start = 0;
            while start < walkers.len() {
                let pair = (aims[walkers[start].aim].class, walkers[start].other);
                let n = walkers[start..]
                    .iter()
                    .take_while(|walker| (aims[walker.aim].class, walker.other) == pair)
                    .take((MOST_SLOPE_BYTES / (8 * self.network.n_inputs().max(1))).max(1))
                    .count();
                self.step(aims, &ends, &mut walkers[start..start + n], (pair, length, is_last), &mut found)?;
                start += n;
            }
            walkers.retain(|walker| found[walker.aim].is_none());
        }
        Ok(found)
    }

    /// One step of walkers with one pair of classes.
    fn step(
        &mut self,
        aims: &[Aim],
        ends: &[Vec<(f32, f32)>],
        walkers: &mut [Walker],
        (pair, length, is_last): ((usize, usize), f32, bool),
        found: &mut [Option<PatchCounterexample>],
    ) -> Result<(), Error> {
        let n = self.network.n_inputs();
        let points: Vec<f32> =
            walkers.iter().flat_map(|walker| aims[walker.aim].region.point(&walker.coordinates)).collect();
        let batch = Batch { lower: points.clone(), upper: points };
        let bounds = self.engine(pair)?.bound(&batch, Wanted { slopes: !is_last, split: false })?;
        for (w, walker) in walkers.iter_mut().enumerate() {
            if found[walker.aim].is_some() {
                continue;
            }
            let aim = &aims[walker.aim];
            if bounds.lower[w] <= NEAR {
                found[walker.aim] = aim.region.confirmed(self.network, &walker.coordinates, (aim.class, aim.others));
            }
            if is_last || found[walker.aim].is_some() {
                continue;
            }
            let pull = aim.region.pull(&bounds.slopes[w * n..][..n]);
            for ((x, slope), &(low, high)) in walker.coordinates.iter_mut().zip(pull).zip(&ends[walker.aim]) {
                let step = length * (high - low);
                if slope > 0.0 {
                    *x = (*x - step).max(low);
                } else if slope < 0.0 {
                    *x = (*x + step).min(high);
                }
            }
        }
        Ok(())
    }

    fn engine(&mut self, (class, other): (usize, usize)) -> Result<&BoundEngine, Error> {
        if !self.engines.contains_key(&(class, other)) {
            let property = super::sweep::property(self.network, &self.hull, class, &[other]);
            let objective = Objective::of(self.network, &property)?.swap_remove(0);
            let recipe = Recipe { method: Method::CrownIbp, ..Recipe::default() };
            let engine = BoundEngine::new(self.device, Arc::clone(&objective.network), &self.hull, recipe)?;
            self.engines.insert((class, other), engine);
        }
        Ok(&self.engines[&(class, other)])
    }
}
