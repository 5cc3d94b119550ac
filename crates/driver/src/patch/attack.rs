use std::collections::HashSet;

use network::Image;

use crate::error::Error;
use crate::patch::region::{Ends, PatchRegion, Substitution};
use crate::patch::scale::PixelScale;
use crate::patch::stencil::Stencil;

/// What somebody may do to an image: put patches on it, and fill them.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchAttack {
    /// The patches that are there at once; where two overlap, the later one covers the earlier.
    pub patches: Vec<Patch>,
    /// What they may hold.
    pub contents: Contents,
    /// The channels that they change; none named: all.
    pub channels: Vec<usize>,
}

/// A shape and where it may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Patch {
    /// Its pixels.
    pub stencil: Stencil,
    /// Where it may be.
    pub positions: Positions,
}

/// Where a patch may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Positions {
    /// Where it was drawn.
    Drawn,
    /// Everywhere in the image, in steps of so many rows and columns from its first.
    Stride([usize; 2]),
    /// With its first row and column there.
    At(Vec<[usize; 2]>),
}

/// What patches may hold; all values are pixels, before any normalisation.
#[derive(Debug, Clone, PartialEq)]
pub enum Contents {
    /// Any value of this range, in every pixel and channel for itself.
    Free([f64; 2]),
    /// Any value at most `epsilon` from the image's own that lies in the range.
    Near {
        /// The largest change.
        epsilon: f64,
        /// Where values stay.
        range: [f64; 2],
    },
    /// One colour for each patch, every channel in this range.
    Colour([f64; 2]),
    /// `x + t (overlay − x)`, with one `t` in an interval of `[0, 1]` for each patch.
    Blend {
        /// What is blended in.
        overlay: Image,
        /// The ends of `t`.
        amount: [f64; 2],
    },
}

/// One place for every patch: the row and the column of its first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Per patch.
    pub corners: Vec<[usize; 2]>,
}

/// Most placements of one attack.
const MOST_PLACEMENTS: usize = 10_000_000;

impl PatchAttack {
    /// One rectangle that holds anything, everywhere in steps.
    ///
    /// # Errors
    /// When a side is zero.
    pub fn rectangle(height: usize, width: usize, stride: usize, range: [f64; 2]) -> Result<Self, Error> {
        let patch =
            Patch { stencil: Stencil::rectangle(height, width)?, positions: Positions::Stride([stride, stride]) };
        Ok(Self { patches: vec![patch], contents: Contents::Free(range), channels: Vec::new() })
    }

    /// Checks the attack on images of this shape.
    ///
    /// # Errors
    /// When there is no patch, a channel or a range makes no sense, or an overlay does not fit.
    pub fn check(&self, shape: [usize; 3]) -> Result<(), Error> {
        let [n_channels, height, width] = shape;
        if self.patches.is_empty() {
            return Err(Error::question("the attack has no patch: at least one is needed"));
        }
        if let Some(channel) = self.channels.iter().find(|&&channel| channel >= n_channels) {
            return Err(Error::question(format!(
                "channel {channel} of an image with {n_channels}: channels count from 0"
            )));
        }
        let check_range = |what: &str, [low, high]: [f64; 2]| {
            if low <= high && low.is_finite() && high.is_finite() {
                return Ok(());
            }
            Err(Error::question(format!("{what} is [{low}, {high}]: expected two numbers, the lower one first")))
        };
        match &self.contents {
            Contents::Free(range) | Contents::Colour(range) => check_range("the range of pixel values", *range),
            Contents::Near { epsilon, range } => {
                if !(*epsilon > 0.0 && epsilon.is_finite()) {
                    return Err(Error::question(format!("epsilon is {epsilon}: expected a positive number")));
                }
                check_range("the range of pixel values", *range)
            }
            Contents::Blend { overlay, amount } => {
                check_range("the amount of a blend", *amount)?;
                if !(0.0..=1.0).contains(&amount[0]) || amount[1] > 1.0 {
                    return Err(Error::question(format!(
                        "the amount of a blend is [{}, {}]: expected a part of [0, 1]",
                        amount[0], amount[1]
                    )));
                }
                if overlay.shape() != shape {
                    let [c, h, w] = overlay.shape();
                    return Err(Error::question(format!(
                        "the overlay has shape {c} × {h} × {w}, the image {n_channels} × {height} × {width}"
                    )));
                }
                Ok(())
            }
        }
    }

    /// Whether every value of a patch is free for itself, so that the contents are a box of inputs.
    pub fn is_box(&self) -> bool {
        matches!(self.contents, Contents::Free(_) | Contents::Near { .. })
    }

    /// Every combination of positions, in rising order of the first patch's; combinations that cover the same pixels by the same
    /// shapes come once.
    ///
    /// # Errors
    /// When a patch leaves the image, a stride is zero, or there are more than ten million.
    pub fn placements(&self, shape: [usize; 3]) -> Result<Vec<Placement>, Error> {
        self.check(shape)?;
        let of_patches: Result<Vec<_>, Error> =
            self.patches.iter().enumerate().map(|(k, patch)| patch.corners(k, shape)).collect();
        let of_patches = of_patches?;
        let n = of_patches.iter().try_fold(1_usize, |n, corners| n.checked_mul(corners.len()));
        if n.is_none_or(|n| n > MOST_PLACEMENTS) {
            return Err(Error::question(format!(
                "there are more than {MOST_PLACEMENTS} combinations of positions: take a larger stride"
            )));
        }
        let mut placements = vec![Placement { corners: Vec::new() }];
        for corners in &of_patches {
            let longer = |placement: &Placement, corner: [usize; 2]| {
                let mut corners = placement.corners.clone();
                corners.push(corner);
                Placement { corners }
            };
            placements = placements
                .iter()
                .flat_map(|placement| corners.iter().map(|&corner| longer(placement, corner)))
                .collect();
        }
        if self.patches.len() > 1 {
            let mut known = HashSet::new();
            placements.retain(|placement| known.insert(self.outline(placement)));
        }
        Ok(placements)
    }

    /// What tells two placements apart: shapes that are equal may change places.
    fn outline(&self, placement: &Placement) -> Vec<(usize, [usize; 2])> {
        let first_like = |k: usize| {
            (0..=k).find(|&other| self.patches[other].stencil.pixels() == self.patches[k].stencil.pixels()).unwrap_or(k)
        };
        let mut outline: Vec<_> =
            placement.corners.iter().enumerate().map(|(k, corner)| (first_like(k), *corner)).collect();
        outline.sort_unstable();
        outline
    }

    /// The pixels that a placement covers, `row · width + column` with the number of the patch that is on top; rising.
    pub fn covered(&self, placement: &Placement, [_, _, width]: [usize; 3]) -> Vec<(usize, usize)> {
        let mut covered = std::collections::BTreeMap::new();
        for (k, (patch, [row, column])) in self.patches.iter().zip(&placement.corners).enumerate() {
            for [r, c] in patch.stencil.pixels() {
                covered.insert((row + r) * width + column + c, k);
            }
        }
        covered.into_iter().collect()
    }

    /// The inputs that the contents of a placement reach, from an image.
    pub fn region(&self, image: &Image, scale: &PixelScale, placement: &Placement) -> PatchRegion {
        let shape = image.shape();
        let area = shape[1] * shape[2];
        let base: Vec<f32> = image.pixels().iter().enumerate().map(|(i, &p)| scale.input(i / area, p)).collect();
        let channels: Vec<usize> =
            if self.channels.is_empty() { (0..shape[0]).collect() } else { sorted(&self.channels) };
        let covered = self.covered(placement, shape);
        let changed: Vec<(usize, usize, usize)> = channels
            .iter()
            .flat_map(|&channel| covered.iter().map(move |&(pixel, patch)| (channel * area + pixel, channel, patch)))
            .collect();
        let interval = |channel: usize, [low, high]: [f64; 2]| {
            Ends::between(scale.enclosed(channel, low), scale.enclosed(channel, high))
        };
        match &self.contents {
            Contents::Free(range) => {
                let varying = changed.iter().map(|&(i, channel, _)| (i, interval(channel, *range))).collect();
                PatchRegion::new(base, varying, None)
            }
            Contents::Near { epsilon, range: [low, high] } => {
                let around = |&(i, channel, _): &(usize, usize, usize)| {
                    let own = image.pixels()[i];
                    let near = [(own - epsilon).next_down(), (own + epsilon).next_up()];
                    let inner = [(own - epsilon).next_up(), (own + epsilon).next_down()];
                    let clipped = |ends: [f64; 2]| interval(channel, ends.map(|end| end.clamp(*low, *high)));
                    let (outer, inner) = (clipped(near), clipped(inner));
                    (i, Ends { outer: outer.outer, inner: inner.inner })
                };
                PatchRegion::new(base, changed.iter().map(around).collect(), None)
            }
            Contents::Colour(range) => {
                let n = channels.len();
                let place = |channel: usize| channels.iter().position(|&own| own == channel).unwrap_or(0);
                let terms = changed.iter().map(|&(i, channel, patch)| (i, patch * n + place(channel), 1.0)).collect();
                let ends: Vec<Ends> = (0..self.patches.len() * n).map(|k| interval(channels[k % n], *range)).collect();
                let varying = changed.iter().map(|&(i, channel, _)| (i, interval(channel, *range))).collect();
                PatchRegion::new(base, varying, Some(Substitution { ends, terms, keeps_base: false }))
            }
            Contents::Blend { overlay, amount } => {
                let ends = Ends { outer: *amount, inner: *amount };
                let over = |i: usize, channel: usize| f64::from(scale.input(channel, overlay.pixels()[i]));
                let (mut terms, mut varying) = (Vec::new(), Vec::new());
                for &(i, channel, patch) in &changed {
                    let (own, over) = (f64::from(base[i]), over(i, channel));
                    terms.push((i, patch, over - own));
                    let at = |t: f64| own + t * (over - own);
                    let (a, b) = (at(amount[0]), at(amount[1]));
                    // Rounded outward by more than the three operations may cost.
                    let room = 4.0 * f64::EPSILON * (own.abs() + over.abs()) + f64::MIN_POSITIVE;
                    let hull = [a.min(b) - room, a.max(b) + room];
                    varying.push((i, Ends { outer: hull, inner: hull }));
                }
                let ends = vec![ends; self.patches.len()];
                PatchRegion::new(base, varying, Some(Substitution { ends, terms, keeps_base: true }))
            }
        }
    }
}

impl Patch {
    /// Where the patch, the `k`-th, may be.
    fn corners(&self, k: usize, [_, height, width]: [usize; 3]) -> Result<Vec<[usize; 2]>, Error> {
        let (rows, columns) = (self.stencil.height(), self.stencil.width());
        let name = k + 1;
        if rows > height || columns > width {
            return Err(Error::question(format!(
                "patch {name} has {rows} rows and {columns} columns, more than the image ({height} × {width})"
            )));
        }
        match &self.positions {
            Positions::Stride([0, _] | [_, 0]) => {
                Err(Error::question(format!("the stride of patch {name} is zero: expected at least one pixel")))
            }
            Positions::Stride([down, right]) => Ok((0..=height - rows)
                .step_by(*down)
                .flat_map(|row| (0..=width - columns).step_by(*right).map(move |column| [row, column]))
                .collect()),
            Positions::Drawn => Self::inside(name, &self.stencil, &[self.stencil.origin()], [height, width]),
            Positions::At(corners) if corners.is_empty() => {
                Err(Error::question(format!("patch {name} has no position: at least one is needed")))
            }
            Positions::At(corners) => Self::inside(name, &self.stencil, corners, [height, width]),
        }
    }

    fn inside(
        name: usize,
        stencil: &Stencil,
        corners: &[[usize; 2]],
        [height, width]: [usize; 2],
    ) -> Result<Vec<[usize; 2]>, Error> {
        let (rows, columns) = (stencil.height(), stencil.width());
        let fits = |&[row, column]: &[usize; 2]| row <= height - rows && column <= width - columns;
        match corners.iter().find(|corner| !fits(corner)) {
            Some([row, column]) => Err(Error::question(format!(
                "patch {name} ({rows} × {columns}) at row {row}, column {column} leaves the image of {height} rows and {width} columns"
            ))),
            None => Ok(corners.to_vec()),
        }
    }
}

fn sorted(channels: &[usize]) -> Vec<usize> {
    let mut channels = channels.to_vec();
    channels.sort_unstable();
    channels.dedup();
    channels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_stand_everywhere_they_fit() {
        let attack = PatchAttack::rectangle(3, 3, 2, [0.0, 1.0]).unwrap();
        let placements = attack.placements([1, 8, 6]).unwrap();
        let corners: Vec<[usize; 2]> = placements.iter().map(|placement| placement.corners[0]).collect();
        assert_eq!(corners, [[0, 0], [0, 2], [2, 0], [2, 2], [4, 0], [4, 2]]);
        assert_eq!(attack.covered(&placements[1], [1, 8, 6])[..4], [(2, 0), (3, 0), (4, 0), (8, 0)]);
    }

    #[test]
    fn equal_patches_may_change_places() {
        let patch = Patch { stencil: Stencil::rectangle(1, 1).unwrap(), positions: Positions::Stride([1, 1]) };
        let mut attack = PatchAttack {
            patches: vec![patch.clone(), patch],
            contents: Contents::Free([0.0, 1.0]),
            channels: Vec::new(),
        };
        // Of 2 × 2 pixels: four alone, six pairs.
        assert_eq!(attack.placements([1, 2, 2]).unwrap().len(), 10);
        attack.patches[1].stencil = Stencil::rectangle(2, 1).unwrap();
        assert_eq!(attack.placements([1, 2, 2]).unwrap().len(), 8);
    }

    #[test]
    fn what_leaves_the_image_is_an_error() {
        let rectangle = |positions| PatchAttack {
            patches: vec![Patch { stencil: Stencil::rectangle(3, 2).unwrap(), positions }],
            contents: Contents::Free([0.0, 1.0]),
            channels: Vec::new(),
        };
        let at = |row, column| rectangle(Positions::At(vec![[row, column]]));
        let free = |range| PatchAttack { contents: Contents::Free(range), ..at(0, 0) };
        let near = |epsilon| PatchAttack { contents: Contents::Near { epsilon, range: [0.0, 1.0] }, ..at(0, 0) };
        let overlay = Image::new([1, 3, 4], vec![1.0; 12]).unwrap();
        let blend = |overlay: &Image, amount| PatchAttack {
            contents: Contents::Blend { overlay: overlay.clone(), amount },
            ..at(0, 0)
        };
        for (attack, expected) in [
            (at(2, 0), "patch 1 (3 × 2) at row 2, column 0 leaves the image of 4 rows and 4 columns"),
            (rectangle(Positions::Stride([0, 1])), "the stride of patch 1 is zero"),
            (rectangle(Positions::At(Vec::new())), "patch 1 has no position"),
            (PatchAttack { patches: Vec::new(), ..at(0, 0) }, "has no patch"),
            (PatchAttack { channels: vec![1], ..at(0, 0) }, "channel 1 of an image with 1"),
            (PatchAttack::rectangle(5, 1, 1, [0.0, 1.0]).unwrap(), "patch 1 has 5 rows and 1 columns, more than"),
            (free([1.0, 0.0]), "the lower one first"),
            (free([f64::NAN, 0.0]), "the lower one first"),
            (near(0.0), "epsilon is 0"),
            (blend(&overlay, [0.0, 1.0]), "the overlay has shape 1 × 3 × 4, the image 1 × 4 × 4"),
            (blend(&overlay, [0.5, 2.0]), "expected a part of [0, 1]"),
        ] {
            let error = attack.placements([1, 4, 4]).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
