use bounds::{Batch, BoundEngine, Wanted};

use crate::error::Error;
use crate::patch::attack::{PatchAttack, Placement};
use crate::patch::blocks::{Block, SIDES};
use crate::patch::scale::PixelScale;
use crate::patch::sweep::Scene;
use crate::search::Objective;

/// What bounds are worth on an image: a few of its placements, and of their blocks, are bounded before the others.
///
/// Which ones depends on the image and the attack alone, never on what is asked for, so that stops and shards change no bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The sides of blocks that are worth their cost, the largest first.
    pub sides: Vec<usize>,
    /// How placements are bounded for themselves.
    pub worth: Worth,
}

/// What it is worth to bound a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// Most are verified: it is bounded.
    Whole,
    /// Some are: a part of its contents is bounded, and the whole only if that is verified.
    Part,
    /// None of many is: it is only attacked, and bounded if refinement comes to it.
    Nothing,
}

/// The boxes of a trial.
#[derive(Debug)]
pub struct Samples {
    parts: Batch,
    wholes: Batch,
    /// Of each side, in the order of [`SIDES`].
    blocks: Vec<Batch>,
}

/// Placements of a trial: one of so many, at least and at most.
const ONE_OF: usize = 16;
const PLACEMENTS: [usize; 2] = [5, 12];
/// Fewer say nothing of all.
const MANY: usize = 8;
/// Of how many the blocks are tried.
const IN_BLOCKS: usize = 2;
/// The share of a placement's contents, from the image's own values outward, that costs little to bound: what does not hold there
/// does not hold of all.
pub const PART: f64 = 0.125;

impl Samples {
    /// Of an image.
    ///
    /// # Errors
    /// When the attack does not fit it.
    pub fn of((attack, scale): (&PatchAttack, &PixelScale), scenes: &[Scene], scene: usize) -> Result<Self, Error> {
        let image = &scenes[scene].image;
        let placements = attack.placements(image.shape())?;
        let some = |of: usize, n: usize| (0..n).map(move |k| (2 * k + 1) * of / (2 * n).max(1));
        let n = (placements.len() / ONE_OF).clamp(PLACEMENTS[0], PLACEMENTS[1]);
        let samples: Vec<&Placement> = some(placements.len(), n).filter_map(|place| placements.get(place)).collect();
        let (mut parts, mut wholes) = (Batch::default(), Batch::default());
        for placement in &samples {
            let region = attack.region(image, scale, placement);
            region.append_part_to(&mut parts, PART);
            region.append_to(&mut wholes);
        }
        let block = |side: usize| {
            let mut boxes = Batch::default();
            for placement in some(samples.len(), IN_BLOCKS).filter_map(|place| samples.get(place)) {
                if let Some(block) = Block::around(attack, scene, placement, side) {
                    let around = block.boxed((attack, scale), scenes);
                    boxes.lower.extend(around.lower);
                    boxes.upper.extend(around.upper);
                }
            }
            boxes
        };
        Ok(Self { parts, wholes, blocks: SIDES.iter().map(|&side| block(side)).collect() })
    }

    /// All boxes, one after another.
    pub fn boxes(&self, n_inputs: usize) -> impl Iterator<Item = Batch> + '_ {
        let all = [&self.parts, &self.wholes].into_iter().chain(&self.blocks);
        all.flat_map(move |batch| {
            let boxes = batch.lower.chunks(n_inputs).zip(batch.upper.chunks(n_inputs));
            boxes.map(|(lower, upper)| Batch { lower: lower.to_vec(), upper: upper.to_vec() })
        })
    }
}

impl Trial {
    /// Nothing is tried: every placement is bounded for itself.
    pub fn none() -> Self {
        Self { sides: Vec::new(), worth: Worth::Whole }
    }

    /// Bounds the samples, the cheapest first, until some are not verified.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn new(samples: &Samples, (objective, engine): (&Objective, &BoundEngine)) -> Result<Self, Error> {
        let verified = |batch: &Batch| -> Result<Vec<bool>, Error> {
            if batch.lower.is_empty() {
                return Ok(Vec::new());
            }
            let bounds = engine.bound(batch, Wanted::default())?;
            Ok(bounds.lower.chunks(bounds.n_outputs).map(|lower| objective.is_excluded(lower)).collect())
        };
        let count = |verified: &[bool]| verified.iter().filter(|verified| **verified).count();
        // The whole cannot hold where a part does not.
        let parts = verified(&samples.parts)?;
        let n_inputs = engine.network().n_inputs();
        let mut wholes = Batch::default();
        for (b, _) in parts.iter().enumerate().filter(|(_, holds)| **holds) {
            wholes.lower.extend_from_slice(&samples.wholes.lower[b * n_inputs..][..n_inputs]);
            wholes.upper.extend_from_slice(&samples.wholes.upper[b * n_inputs..][..n_inputs]);
        }
        let (n, of) = (count(&verified(&wholes)?), parts.len());
        let worth = match n {
            n if 2 * n > of => Worth::Whole,
            0 if of >= MANY => Worth::Nothing,
            _ => Worth::Part,
        };
        let mut trial = Self { sides: Vec::new(), worth };
        // A block holds if all of its placements do.
        if n < of {
            return Ok(trial);
        }
        for (&side, blocks) in SIDES.iter().zip(&samples.blocks).rev() {
            let holds = verified(blocks)?;
            if 2 * count(&holds) < holds.len() || holds.is_empty() {
                break;
            }
            trial.sides.insert(0, side);
        }
        Ok(trial)
    }
}
