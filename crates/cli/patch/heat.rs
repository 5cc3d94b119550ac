use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use driver::patch::{Patch, PatchCounterexample, PatchVerdict, Positions};
use network::Image;

use crate::draw::{Canvas, Colour, Panel, diverging, panels_as_png, panels_as_svg, shown};
use crate::patch::outcome::{ImageResult, Outcome, PlacementResult, place};
use crate::patch::plan::Plan;
use crate::patch::record::Record;

/// What a map says of a pixel, from worst to best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mark {
    /// Some placement here has a counterexample.
    Falsified,
    /// Some placement here is neither; the share of its contents that is certified.
    Share(f64),
    /// All placements here are verified.
    Verified,
}

/// The colours of marks.
const UNKNOWN: Colour = [246, 190, 80];

impl Mark {
    /// What is known of a placement; nothing if it was not reached.
    fn of(placement: &PlacementResult) -> Option<Self> {
        let record = placement.record.as_ref()?;
        Some(match record.as_verdict()? {
            PatchVerdict::Verified => Self::Verified,
            _ if record.coverage.is_some() => Self::Share(record.coverage?.interval[0]),
            PatchVerdict::Falsified(_) => Self::Falsified,
            _ => Self::Share(f64::NAN),
        })
    }

    /// Less is worse.
    fn rank(self) -> f64 {
        match self {
            Self::Falsified => -1.0,
            Self::Share(share) => share.max(0.0),
            Self::Verified => 2.0,
        }
    }

    /// Blue where it is verified, red where it is falsified, between them by the certified share, yellow where nothing is known.
    pub fn colour(self) -> Colour {
        match self {
            Self::Falsified => diverging(0.7),
            Self::Share(share) if share.is_nan() => UNKNOWN,
            Self::Share(share) => diverging(0.7 - 1.4 * share.clamp(0.0, 1.0)),
            Self::Verified => diverging(-0.7),
        }
    }
}

/// Writes for each image the map and the worst counterexample, as `NAME.png` and `NAME.svg`.
pub fn write(folder: &Path, plan: &Plan, outcome: &Outcome) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    let mut written = Vec::new();
    for (scene, image) in outcome.images.iter().enumerate().filter(|(_, image)| !image.placements.is_empty()) {
        let panels = panels(plan, scene, image)?;
        let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let name: String = image.id.chars().map(plain).collect();
        for (extension, bytes) in [("png", panels_as_png(&panels)), ("svg", panels_as_svg(&panels).into_bytes())] {
            let path = folder.join(format!("{name}.{extension}"));
            fs::write(&path, bytes).with_context(|| format!("{}: the picture cannot be written", path.display()))?;
            written.push(path);
        }
    }
    Ok(written)
}

/// Image, map, and where there is a counterexample, the worst one.
pub fn panels(plan: &Plan, scene: usize, image: &ImageResult) -> Result<Vec<Panel>> {
    let own = &plan.scenes[scene].image;
    let ImageResult { verified, placements, .. } = image;
    let mut panels = vec![Panel { label: format!("{}, class {}", image.id, image.class), canvas: shown(own) }];
    if placements.is_empty() {
        return Ok(panels);
    }
    let label = format!("{verified} of {} verified", placements.len());
    panels.push(Panel { label, canvas: map(plan, own, image) });
    if let Some(worst) = image.worst_placement()
        && let Some(PatchVerdict::Falsified(found)) = worst.record.as_ref().and_then(Record::as_verdict)
    {
        let found: PatchCounterexample = found;
        let pixels = plan.pixels(own.shape(), &found.input(&plan.base(scene)))?;
        let label = format!("worst: class {}, {}", found.predicted, place(&worst.at));
        panels.push(Panel { label, canvas: shown(&pixels) });
    }
    Ok(panels)
}

/// What a map shows, in words.
pub fn key(plan: &Plan, outcome: &Outcome) -> String {
    let on_grid = |patch: &Patch| matches!(patch.positions, Positions::Stride(_));
    let shape = if plan.attack.patches.iter().all(on_grid) {
        "In a map every placement is a square in the middle of its patch, in the colour of its verdict; where no patch has its middle, the image is gray."
    } else {
        "In a map every placement has the colour of its verdict, on all pixels of its patches; the worst lies on top."
    };
    let placements = outcome.images.iter().flat_map(|image| &image.placements);
    let has_shares = placements.filter_map(|place| place.record.as_ref()).any(|record| record.coverage.is_some());
    let shares =
        " Between red and blue lies the certified share of the contents: red where it is nothing, white at a half.";
    format!("{shape}{}", if has_shares { shares } else { "" })
}

/// The verdicts over the image: where patches stand on a grid, each placement as a cell in its middle; else on all of its pixels.
fn map(plan: &Plan, own: &Image, image: &ImageResult) -> Canvas {
    let [n_channels, height, width] = own.shape();
    let mut marks: Vec<Option<Mark>> = vec![None; height * width];
    for placement in &image.placements {
        let Some(mark) = Mark::of(placement) else { continue };
        let mut take = |p: usize| {
            let is_worse = marks[p].is_none_or(|known| mark.rank() < known.rank());
            if is_worse {
                marks[p] = Some(mark);
            }
        };
        for (patch, [row, column]) in plan.attack.patches.iter().zip(&placement.at) {
            if let Positions::Stride([down, right]) = patch.positions {
                let middle = |side: usize, step: usize| side.saturating_sub(step) / 2;
                let (top, left) =
                    (row + middle(patch.stencil.height(), down), column + middle(patch.stencil.width(), right));
                for r in top..(top + down).min(height) {
                    (left..(left + right).min(width)).for_each(|c| take(r * width + c));
                }
            } else {
                patch.stencil.pixels().iter().for_each(|[r, c]| take((row + r) * width + column + c));
            }
        }
    }
    let area = height * width;
    Canvas::painted(height, width, |p| {
        let mean = (0..n_channels).map(|c| own.pixels()[c * area + p]).sum::<f64>() / n_channels as f64;
        let light = 255.0 * (0.3 + 0.7 * mean);
        match marks[p] {
            // The image shines through a little.
            Some(mark) => mark.colour().map(|value| (0.75 * f64::from(value) + 0.25 * light) as u8),
            None => [(0.5 * light + 110.0) as u8; 3],
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_mark_wins_and_has_its_colour() {
        let marks = [Mark::Falsified, Mark::Share(f64::NAN), Mark::Share(0.5), Mark::Verified];
        assert!(marks.windows(2).all(|pair| pair[0].rank() < pair[1].rank()));
        assert_eq!(Mark::Share(0.0).colour(), Mark::Falsified.colour());
        assert_eq!(Mark::Share(1.0).colour(), Mark::Verified.colour());
        assert!(Mark::Verified.colour()[2] > Mark::Verified.colour()[0]);
    }
}
