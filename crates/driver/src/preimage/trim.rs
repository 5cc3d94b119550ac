//! From a piece to a polytope inside it: the planes that hold its `ReLU`s to their sides, and those that cut off its corners.
//!
//! A neuron's bounds over a box are those of the box's corners, and in many dimensions hardly any volume is near those. So, layer by
//! layer, every undecided `ReLU` is held between planes: where `p(x) ≥ t` for a plane `p ≤ z`, also `z ≥ t`. The planes become part of
//! the polytope; what they cut off is not won, and counted as such.
//!
//! Soundness: planes of a layer are derived from the box and the planes of the layers before it alone, never from each other. By
//! induction over the layers every point of the polytope has all signs, and all bounds, that the next layer's derivation assumes.

use bounds::{Ascent, Base, Plane, Split, least_values, plane_values};

use crate::error::Error;
use crate::preimage::piece::{Ground, Piece};

/// What cutting corners may cost, and how hard to look for planes.
#[derive(Debug, Clone, Copy)]
pub struct Trim {
    /// Share of a piece's samples that one layer may lose; zero holds splits only.
    pub share: f64,
    /// Optimisation steps of every plane.
    pub steps: usize,
}

/// A polytope's planes, and bounds that hold on it.
#[derive(Debug)]
pub struct Inside {
    /// All must hold.
    pub planes: Vec<Plane>,
    /// Bounds of every node.
    pub base: Base,
}

/// A plane below a neuron, or below its negative, and where it may be cut off.
struct Held {
    neuron: u32,
    is_upper: bool,
    /// Whether a split demands it.
    is_split: bool,
    plane: Plane,
    /// The samples with the least values, rising, and their places; of a split's plane, all that are below zero.
    least: Vec<(f32, u32)>,
    /// How many samples there are.
    n_samples: usize,
    /// The bound that holds already.
    known: f64,
}

/// Samples that planes are fitted to, at most.
const MOST_SAMPLES: usize = 2048;
/// Fewer samples say nothing of quantiles.
const MIN_SAMPLES: usize = 24;
/// A cut that narrows an interval by less than this share is not worth a plane.
const LEAST_GAIN: f64 = 0.1;

/// Derives the polytope, from the first layer to the last; none where no point can be left.
///
/// # Errors
/// When the bounds fail.
pub fn inside(ground: &Ground, piece: &Piece, base: Base, trim: Trim) -> Result<Option<Inside>, Error> {
    let n = ground.reduced.n_free();
    let mut base = base;
    let mut planes: Vec<Plane> = piece.walls.clone();
    let all: Vec<usize> = (0..piece.samples.len()).filter(|&s| piece.samples.is_inside[s]).collect();
    let stride = all.len().div_ceil(MOST_SAMPLES).max(1);
    let mut kept: Vec<usize> = all.into_iter().step_by(stride).collect();
    let last_split = piece.splits.iter().map(|split| split.node).max();
    for &node in ground.activations {
        let splits: Vec<Split> = piece.splits.iter().copied().filter(|split| split.node == node).collect();
        let trims = trim.share > 0.0 && kept.len() >= MIN_SAMPLES;
        if !trims && last_split.is_none_or(|last| last < node) {
            break;
        }
        let (lower, upper) = ground.engine.operand_bounds(&base, node)?;
        let undecided: Vec<(u32, f32, f32)> = lower
            .iter()
            .zip(upper)
            .enumerate()
            .filter(|(_, (l, u))| **l < 0.0 && **u > 0.0)
            .map(|(neuron, (&l, &u))| (neuron as u32, l, u))
            .collect();
        // A side that bounds do not give needs a plane; where they exclude it, nothing is left.
        let is_excluded = |split: &Split| {
            let (l, u) = (lower[split.neuron as usize], upper[split.neuron as usize]);
            let is_given = if split.is_active { l >= 0.0 } else { u <= 0.0 };
            let is_open = l < 0.0 && u > 0.0;
            !is_given && !is_open
        };
        if splits.iter().any(is_excluded) {
            return Ok(None);
        }
        let is_split = |neuron: u32| splits.iter().find(|split| split.neuron == neuron);
        let mut rows: Vec<(u32, bool)> = Vec::new();
        for &(neuron, ..) in &undecided {
            match is_split(neuron) {
                Some(split) => rows.push((neuron, !split.is_active)),
                None if trims => rows.extend([(neuron, false), (neuron, true)]),
                None => {}
            }
        }
        if rows.is_empty() && splits.is_empty() {
            continue;
        }
        let found = planes_of(ground, piece, (&base, node), (&rows, &kept), trim.steps)?;
        let mut held: Vec<Held> = Vec::new();
        let points: Vec<f32> = kept.iter().flat_map(|&s| piece.samples.point(s, n)).copied().collect();
        let values = plane_values(&found, &points, n);
        for (place, ((neuron, is_upper), plane)) in rows.into_iter().zip(found).enumerate() {
            let Some(&(_, low, high)) = undecided.iter().find(|(other, ..)| *other == neuron) else { continue };
            let is_split = is_split(neuron).is_some();
            if !plane.b.is_finite() {
                if is_split {
                    return Ok(None);
                }
                continue;
            }
            let known = f64::from(if is_upper { -high } else { low });
            let own = &values[place * kept.len()..][..kept.len()];
            let mut least: Vec<(f32, u32)> = own.iter().copied().zip(0..).collect();
            if is_split {
                least.retain(|(value, _)| *value < 0.0);
            } else {
                // Only so many can be cut off.
                let most = ((trim.share * kept.len() as f64) as usize + 1).min(kept.len());
                if most < least.len() {
                    least.select_nth_unstable_by(most, |a, b| a.0.total_cmp(&b.0));
                    least.truncate(most);
                }
                least.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            }
            held.push(Held { neuron, is_upper, is_split, plane, least, n_samples: kept.len(), known });
        }
        // The largest share per plane whose union is within the layer's, besides what splits cost.
        let unavoidable = lost(&held, None);
        let (mut least, mut most) = (0.0, trim.share);
        for _ in 0..if trims { 7 } else { 0 } {
            let middle = 0.5 * (least + most);
            if lost(&held, Some(middle)) - unavoidable <= trim.share { least = middle } else { most = middle }
        }
        let share = trims.then_some(least);
        let mut bounds: Vec<(u32, f32, f32)> = Vec::new();
        let mut added: Vec<Plane> = Vec::new();
        for one in &held {
            let Some(at) = one.threshold(share) else { continue };
            // The threshold is an f32: what is said of the neuron is what the plane says.
            added.push(one.plane.lowered(at));
            bounds.push(if one.is_upper {
                (one.neuron, f32::NEG_INFINITY, (-at) as f32)
            } else {
                (one.neuron, at as f32, f32::INFINITY)
            });
        }
        let holds = least_values(&added, &points, n);
        kept = kept.into_iter().zip(holds).filter(|(_, least)| *least >= 0.0).map(|(s, _)| s).collect();
        planes.extend(added);
        match ground.engine.narrowed(&base, node, &bounds, &splits)? {
            Some(narrower) => base = narrower,
            None => return Ok(None),
        }
    }
    Ok(Some(Inside { planes, base }))
}

/// Planes below rows of one layer, as high as possible at the samples' mean.
fn planes_of(
    ground: &Ground,
    piece: &Piece,
    (base, node): (&Base, u32),
    (rows, kept): (&[(u32, bool)], &[usize]),
    steps: usize,
) -> Result<Vec<Plane>, Error> {
    let exact: Option<Vec<Plane>> =
        rows.iter().map(|&(neuron, is_upper)| ground.engine.affine_plane(node, neuron, is_upper)).collect();
    if let Some(planes) = exact {
        return Ok(planes);
    }
    let n = ground.reduced.n_free();
    let mut mean = vec![0.0_f32; n];
    let (lower, upper) = piece.sides();
    for i in 0..n {
        mean[i] = 0.5 * (lower[i] + upper[i]);
    }
    if !kept.is_empty() {
        mean.fill(0.0);
        for &s in kept {
            piece.samples.point(s, n).iter().zip(&mut mean).for_each(|(x, mean)| *mean += x / kept.len() as f32);
        }
    }
    let ascent = Ascent {
        steps,
        alpha_rate: 0.3,
        beta_rate: 0.3,
        decay: 0.9,
        momentum: Ascent::LONG_MEMORY,
        ..Ascent::default()
    };
    let found = ground.engine.operand_planes(base, node, rows, ascent, &mean)?;
    Ok(found.into_iter().map(|(plane, _)| plane).collect())
}

impl Held {
    /// Where the plane is cut off so that at most this share of the samples is lost; none where that gains little.
    fn threshold(&self, share: Option<f64>) -> Option<f64> {
        if self.is_split {
            return Some(0.0);
        }
        let place = (share? * self.n_samples as f64) as usize;
        let quantile = self.least.get(place.min(self.least.len().checked_sub(1)?))?.0;
        // Past zero the neuron is decided: there is nothing more to gain.
        let at = if quantile >= 0.0 { 0.0 } else { f64::from(quantile.next_down()) };
        (at - self.known > LEAST_GAIN * self.known.abs()).then_some(at)
    }
}

/// The share of the samples that some plane cuts off, at this share for each.
fn lost(held: &[Held], share: Option<f64>) -> f64 {
    let n = held.first().map_or(0, |one| one.n_samples);
    let mut is_lost = vec![false; n];
    for one in held {
        let Some(at) = one.threshold(share) else { continue };
        for &(_, s) in one.least.iter().take_while(|(value, _)| f64::from(*value) < at || one.is_split) {
            is_lost[s as usize] = true;
        }
    }
    is_lost.iter().filter(|is_lost| **is_lost).count() as f64 / n.max(1) as f64
}
