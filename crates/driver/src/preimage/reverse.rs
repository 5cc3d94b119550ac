//! Reverse propagation: the box that planes leave of a box.
//!
//! Source: MATH, reverse propagation; PREMAP2 for the use of split constraints. In f64 over f32 boxes, with the rounding of all sums inside.

use bounds::{Ascent, Base, Plane, Split, cut_back};

use crate::error::Error;
use crate::preimage::piece::{Ground, Part, Piece, negated};

/// Lower ends, then upper ends.
pub type Ends = Box<[f32]>;

/// Rounds over all planes, and the share of a side that a round must take off for another to be worth it.
const MOST_ROUNDS: usize = 24;
const LEAST_SHARE: f64 = 0.01;
/// Optimisation steps of the planes that say where a `ReLU` is decided.
const STEPS: usize = 12;
/// Times that a box is bounded anew because its splits have narrowed it.
const REBOUNDS: usize = 3;

/// The box that holds every point of a box at which all planes are not negative: each plane in turn, until nothing moves any more. None if
/// there is no such point, by proof.
pub fn fixpoint(ends: &[f32], planes: &[&Plane]) -> Option<Ends> {
    let n = ends.len() / 2;
    let mut ends: Ends = ends.into();
    for _ in 0..MOST_ROUNDS {
        let before = ends.clone();
        for plane in planes {
            let (lower, upper) = ends.split_at_mut(n);
            cut_back([lower, upper], plane.a.iter().copied().enumerate(), plane.b, 0.0)?;
        }
        if !is_narrower(&before, &ends, n) {
            break;
        }
    }
    Some(ends)
}

/// Whether some side has lost a noticeable share.
fn is_narrower(before: &[f32], after: &[f32], n: usize) -> bool {
    (0..n).any(|i| {
        let [old, new] = [before, after].map(|ends| f64::from(ends[n + i]) - f64::from(ends[i]));
        new < (1.0 - LEAST_SHARE) * old
    })
}

/// The smallest box around two.
fn hull(a: &[f32], b: &[f32]) -> Ends {
    let n = a.len() / 2;
    (0..2 * n).map(|i| if i < n { a[i].min(b[i]) } else { a[i].max(b[i]) }).collect()
}

/// Of an over-approximation, the part of a box that can hold some of the preimage, where `held` holds and so do the planes of some part;
/// the box as it is if that is nothing: bounds will say so too.
pub fn reach(ends: &[f32], held: &[Plane], parts: &[Part]) -> Ends {
    let mut all: Option<Ends> = None;
    for part in parts.iter().filter(|part| !part.is_nothing) {
        let planes: Vec<&Plane> = held.iter().chain(&part.planes).collect();
        if let Some(found) = fixpoint(ends, &planes) {
            all = Some(all.map_or_else(|| found.clone(), |all| hull(&all, &found)));
        }
    }
    all.unwrap_or_else(|| ends.into())
}

/// Narrows an under-approximation's piece to where its splits can hold, again and again with the bounds of the narrower box; what is cut
/// off lies on the other sides of the splits. `boxed` are bounds of a box that contains the piece's.
///
/// That is a matter of what is won, not of soundness: whatever box a piece has, its polytope is derived from that box alone.
///
/// # Errors
/// When the bounds fail.
pub fn narrow(ground: &Ground, piece: &mut Piece, boxed: Option<&Base>) -> Result<(), Error> {
    let n = piece.ends.len() / 2;
    let mut own: Option<Base> = None;
    for _ in 0..REBOUNDS {
        let Some(base) = own.as_ref().or(boxed) else { return Ok(()) };
        let mut planes = Vec::new();
        for split in &piece.splits {
            planes.extend(outer_plane(ground, piece, base, *split)?);
        }
        let Some(ends) = fixpoint(&piece.ends, &planes.iter().collect::<Vec<_>>()) else { return Ok(()) };
        if !is_narrower(&piece.ends, &ends, n) {
            break;
        }
        piece.ends = ends;
        let ascent = Ascent { steps: 0, ..Ascent::default() };
        own = ground.engine.base(piece.sides(), Some(base), &[], ascent)?;
    }
    Ok(())
}

/// A plane that is not negative wherever a split holds.
fn outer_plane(ground: &Ground, piece: &Piece, base: &Base, split: Split) -> Result<Option<Plane>, Error> {
    // `z ≤ −p` for a plane `p ≤ −z`: where the operand is not negative, neither is `−p`.
    if let Some(plane) = ground.engine.affine_plane(split.node, split.neuron, split.is_active) {
        return Ok(Some(negated(&plane)));
    }
    let ascent = Ascent {
        steps: STEPS,
        alpha_rate: 0.3,
        beta_rate: 0.3,
        decay: 0.9,
        momentum: Ascent::LONG_MEMORY,
        ..Ascent::default()
    };
    let rows = [(split.neuron, split.is_active)];
    let mean = piece.mean();
    let found = ground.engine.operand_planes(base, split.node, &rows, ascent, &mean)?;
    Ok(found.into_iter().next().map(|(plane, _)| negated(&plane)).filter(|plane| plane.b.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points whose plane is a sum of few bits, so that every value is exact in f64.
    #[test]
    fn no_point_of_a_plane_is_cut_off() {
        let mut state = 11_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let (mut n_narrower, mut n_points, mut n_empty) = (0, 0, 0);
        for case in 0..3000 {
            let n = 1 + next(5) as usize;
            // Multiples of 2^-12 below 2, and now and then far from zero, where neighbouring floats are as far apart as the box is wide.
            let far = if case % 3 == 0 { 2048.0 } else { 0.0 };
            let unit = |k: u64| k as f64 / 4096.0;
            let lower: Vec<f64> = (0..n).map(|_| far + unit(next(8192)) - 1.0).collect();
            let upper: Vec<f64> = lower.iter().map(|l| l + unit(next(4096))).collect();
            let ends: Ends = lower.iter().chain(&upper).map(|&x| x as f32).collect();
            let n_planes = 1 + next(3);
            let planes: Vec<Plane> = (0..n_planes)
                .map(|_| {
                    let a: Vec<f64> = (0..n).map(|_| unit(next(4096)) - 0.5).collect();
                    let at: Vec<f64> = lower.iter().zip(&upper).map(|(l, u)| l + (u - l) * unit(next(4097))).collect();
                    // Through a point of the box, or nearly.
                    let b = -a.iter().zip(&at).map(|(a, x)| a * x).sum::<f64>();
                    Plane { a, b: (b * 4096.0).round() / 4096.0 }
                })
                .collect();
            let all: Vec<&Plane> = planes.iter().collect();
            let found = fixpoint(&ends, &all);
            n_narrower += usize::from(found.as_ref().is_some_and(|found| is_narrower(&ends, found, n)));
            n_empty += usize::from(found.is_none());
            for _ in 0..60 {
                // Multiples of 2^-12 of the box, its corners often.
                let x: Vec<f64> = lower
                    .iter()
                    .zip(&upper)
                    .map(|(l, u)| match next(4) {
                        0 => *l,
                        1 => *u,
                        _ => l + unit(next(((u - l) * 4096.0) as u64 + 1)),
                    })
                    .collect();
                if planes.iter().any(|plane| plane.value(&x) < 0.0) {
                    continue;
                }
                n_points += 1;
                let found = found.as_ref().unwrap_or_else(|| panic!("{case}: {x:?} is there"));
                let is_in = (0..n).all(|i| f64::from(found[i]) <= x[i] && x[i] <= f64::from(found[n + i]));
                assert!(is_in, "{case}: {x:?} was cut off of {ends:?}: {found:?}, {planes:?}");
            }
        }
        assert!(n_narrower > 500 && n_points > 10_000 && n_empty > 10, "{n_narrower}, {n_points}, {n_empty}");
    }

    #[test]
    fn planes_narrow_each_other() {
        // In [0, 1]²: x + y ≥ 1.5 leaves [0.5, 1]²; then y ≤ 0.6 x leaves y ≤ 0.6, with which x ≥ 0.9; no plane alone says more.
        let planes = [Plane { a: vec![1.0, 1.0], b: -1.5 }, Plane { a: vec![0.6, -1.0], b: 0.0 }];
        let ends: Ends = [0.0, 0.0, 1.0, 1.0].into();
        let found = fixpoint(&ends, &[&planes[0], &planes[1]]).unwrap();
        assert!((found[0] - 0.9).abs() < 1e-5 && (found[1] - 0.5).abs() < 1e-5, "{found:?}");
        assert!((found[2] - 1.0).abs() < 1e-6 && (found[3] - 0.6).abs() < 1e-5, "{found:?}");
        let never = Plane { a: vec![1.0, 1.0], b: -2.5 };
        assert_eq!(fixpoint(&ends, &[&never]), None);
    }
}
