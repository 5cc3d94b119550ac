use bounds::{BoundEngine, ErrorKind, Tangents};
use network::Network;

use crate::error::Error;
use crate::patch::region::PatchRegion;
use crate::patch::verdict::PatchCounterexample;
use crate::search::Clock;
use crate::search::random::Random;

/// Attacks many placements at once by projected gradient descent.
///
/// Coordinates are the inputs that vary, or the parameters where they vary together. All walkers run through the network together,
/// on the host; half of them follow whichever class is nearest, the others one that bounds leave open.
#[derive(Debug)]
pub struct Descent<'a> {
    network: &'a Network,
    /// Its outputs are by how much the class is ahead of each other one.
    engine: &'a BoundEngine,
}

/// A placement to attack.
#[derive(Debug)]
pub struct Aim<'r> {
    /// What the contents reach.
    pub region: &'r PatchRegion,
    /// The class to be changed.
    pub class: usize,
    /// The engine's outputs that bounds leave open, the likeliest first.
    pub open: Vec<u32>,
    /// The classes that count as a change.
    pub others: &'r [usize],
    /// Where randomness starts.
    pub seed: u64,
}

/// How hard to look.
#[derive(Debug, Clone, Copy)]
pub struct Strength {
    /// Descents.
    pub starts: usize,
    /// Steps of each.
    pub steps: usize,
    /// Classes that are aimed at for themselves, at most.
    pub classes: usize,
}

/// A point on its way.
struct Walker {
    aim: usize,
    /// The output that it lowers; none: the least.
    target: Option<u32>,
    coordinates: Vec<f32>,
}

/// Most bytes of slopes that one call returns.
const MOST_SLOPE_BYTES: usize = 64 << 20;
/// How near to zero a margin must come to be looked at closely.
const NEAR: f32 = 1e-5;

impl<'a> Descent<'a> {
    /// By the engine of an objective, whose outputs are by how much the class is ahead.
    pub fn new(network: &'a Network, engine: &'a BoundEngine) -> Self {
        Self { network, engine }
    }

    /// One counterexample for each aim, where one is found.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn attack(
        &self,
        aims: &[Aim],
        strength: Strength,
        clock: &Clock,
    ) -> Result<Vec<Option<PatchCounterexample>>, Error> {
        let mut found: Vec<Option<PatchCounterexample>> = vec![None; aims.len()];
        let ends: Vec<Vec<(f32, f32)>> = aims.iter().map(|aim| aim.region.coordinate_ends()).collect();
        let mut walkers = Vec::new();
        for (a, aim) in aims.iter().enumerate() {
            let mut random = Random::new(aim.seed);
            let n_targets = aim.open.len().min(strength.classes);
            for start in 0..strength.starts {
                let mut coordinate = |&(low, high): &(f32, f32)| match start {
                    0 => low + 0.5 * (high - low),
                    start if start % 4 < 2 => low + random.unit() * (high - low),
                    _ => {
                        if random.unit() < 0.5 {
                            low
                        } else {
                            high
                        }
                    }
                };
                let coordinates = ends[a].iter().map(&mut coordinate).collect();
                let target = (start % 2 == 1 && n_targets > 0).then(|| aim.open[start / 2 % n_targets]);
                walkers.push(Walker { aim: a, target, coordinates });
            }
        }
        let most = (MOST_SLOPE_BYTES / (4 * self.network.n_inputs().max(1))).max(1);
        for step in 0..=strength.steps {
            if walkers.is_empty() || (step > 0 && clock.stop(0, 0).is_some()) {
                break;
            }
            // Long steps first: they end in corners, where most counterexamples are; the last ones settle.
            let length = 0.03_f32.powf(step as f32 / strength.steps.max(1) as f32);
            let is_last = step == strength.steps;
            for walkers in walkers.chunks_mut(most) {
                self.step(aims, &ends, walkers, (length, is_last), &mut found)?;
            }
            walkers.retain(|walker| found[walker.aim].is_none());
        }
        Ok(found)
    }

    /// One step of some walkers.
    fn step(
        &self,
        aims: &[Aim],
        ends: &[Vec<(f32, f32)>],
        walkers: &mut [Walker],
        (length, is_last): (f32, bool),
        found: &mut [Option<PatchCounterexample>],
    ) -> Result<(), Error> {
        let n = self.network.n_inputs();
        let points: Vec<f32> =
            walkers.iter().flat_map(|walker| aims[walker.aim].region.point(&walker.coordinates)).collect();
        let targets: Vec<Option<u32>> = walkers.iter().map(|walker| walker.target).collect();
        let Tangents { values, slopes, .. } = match self.engine.tangents(&points, &targets, !is_last) {
            // Where f32 could overflow nothing is found.
            Err(bounds::Error { kind: ErrorKind::Magnitude { .. } }) => return Ok(()),
            tangents => tangents?,
        };
        for (w, (walker, &value)) in walkers.iter_mut().zip(&values).enumerate() {
            if found[walker.aim].is_some() {
                continue;
            }
            let aim = &aims[walker.aim];
            if value <= NEAR {
                found[walker.aim] = aim.region.confirmed(self.network, &walker.coordinates, (aim.class, aim.others));
            }
            if is_last || found[walker.aim].is_some() {
                continue;
            }
            let slopes: Vec<f64> = slopes[w * n..][..n].iter().map(|&slope| f64::from(slope)).collect();
            let pull = aim.region.pull(&slopes);
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
}
