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
    /// Whether placements are bounded at once; else a part of their contents is bounded first, and the whole only if that is verified.
    pub is_promising: bool,
}

/// The boxes of a trial.
#[derive(Debug)]
pub struct Samples {
    parts: Batch,
    wholes: Batch,
    /// Of each side, in the order of [`SIDES`].
    blocks: Vec<Batch>,
}

/// Placements of a trial.
const PLACEMENTS: usize = 5;
/// Of those, which ones' blocks are tried.
const IN_BLOCKS: [usize; 2] = [1, 3];
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
        let place = |k: usize| placements.get((2 * k + 1) * placements.len() / (2 * PLACEMENTS));
        let samples: Vec<&Placement> = (0..PLACEMENTS).filter_map(place).collect();
        let (mut parts, mut wholes) = (Batch::default(), Batch::default());
        for placement in &samples {
            let region = attack.region(image, scale, placement);
            region.append_part_to(&mut parts, PART);
            region.append_to(&mut wholes);
        }
        let block = |side: usize| {
            let mut boxes = Batch::default();
            for placement in IN_BLOCKS.iter().filter_map(|&k| samples.get(k)) {
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
        Self { sides: Vec::new(), is_promising: true }
    }

    /// Bounds the samples, the cheapest first, until some are not verified.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn new(samples: &Samples, (objective, engine): (&Objective, &BoundEngine)) -> Result<Self, Error> {
        let verified = |batch: &Batch| -> Result<(usize, usize), Error> {
            if batch.lower.is_empty() {
                return Ok((0, 0));
            }
            let bounds = engine.bound(batch, Wanted::default())?;
            let rows = bounds.lower.chunks(bounds.n_outputs);
            Ok((rows.clone().filter(|lower| objective.is_excluded(lower)).count(), rows.count()))
        };
        let most = |(n, of): (usize, usize)| 2 * n > of;
        let mut trial = Self { sides: Vec::new(), is_promising: false };
        if !most(verified(&samples.parts)?) {
            return Ok(trial);
        }
        let wholes = verified(&samples.wholes)?;
        trial.is_promising = most(wholes);
        // A block holds if all of its placements do.
        if wholes.0 < wholes.1 {
            return Ok(trial);
        }
        for (&side, blocks) in SIDES.iter().zip(&samples.blocks).rev() {
            let (n, of) = verified(blocks)?;
            if 2 * n < of || of == 0 {
                break;
            }
            trial.sides.insert(0, side);
        }
        Ok(trial)
    }
}
