use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::draw::{Svg, diverging, gray};
use crate::ssim::result::{Answer, ThresholdResult};

/// Width of the axis and height of a row, pixels.
const AXIS: f64 = 480.0;
const ROW: f64 = 22.0;

/// Distances from 1 at the ends of the axis, as powers of ten, at most.
const FINEST: f64 = 1e-7;

/// Draws the thresholds that were found as `thresholds.svg`, one row for each reference: a logarithmic axis of `1 − τ`, verified up to
/// one mark, counterexamples from another. Nothing if there are none.
pub fn write(folder: &Path, answers: &[(&str, &Answer)]) -> Result<Option<PathBuf>> {
    let found: Vec<(&str, &ThresholdResult)> = answers
        .iter()
        .filter_map(|(id, answer)| match answer {
            Answer::Threshold(result) => Some((*id, result)),
            Answer::Verdict(_) => None,
        })
        .collect();
    if found.is_empty() {
        return Ok(None);
    }
    let path = folder.join("thresholds.svg");
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, svg(&found)));
    written.with_context(|| format!("{}: the picture cannot be written", path.display()))?;
    Ok(Some(path))
}

fn svg(found: &[(&str, &ThresholdResult)]) -> String {
    let distances = found.iter().flat_map(|(_, result)| [result.verified_threshold, result.falsified_threshold]);
    let least = distances.flatten().map(|threshold| 1.0 - threshold).filter(|d| *d > 0.0).fold(0.1, f64::min);
    let first = least.max(FINEST).log10().floor();
    let longest = found.iter().map(|(id, _)| id.chars().count()).max().unwrap_or(0);
    let left = 16.0 + 7.0 * longest as f64;
    let height = ROW * (found.len() as f64 + 2.5);
    let mut svg = Svg::new(left + AXIS + 24.0, height);
    let place = |threshold: f64| {
        let power = (1.0 - threshold).max(10_f64.powf(first)).log10();
        left + AXIS * (power - first) / -first
    };
    for (row, (id, result)) in found.iter().enumerate() {
        let top = ROW * (row as f64 + 0.5);
        let (verified, falsified) = (result.verified_threshold.map(place), result.falsified_threshold.map(place));
        svg.text(left - 8.0, top + ROW - 9.0, "end", id);
        svg.rectangle(left, top + 4.0, AXIS, ROW - 8.0, gray(0.88));
        if let Some(end) = verified {
            svg.rectangle(left, top + 4.0, end - left, ROW - 8.0, diverging(-0.5));
        }
        if let Some(start) = falsified {
            svg.rectangle(start, top + 4.0, left + AXIS - start, ROW - 8.0, diverging(0.5));
        }
    }
    let base = ROW * (found.len() as f64 + 0.5) + 4.0;
    svg.line([left, base], [left + AXIS, base], None);
    for power in first as i32..=0 {
        let x = left + AXIS * (f64::from(power) - first) / -first;
        svg.line([x, base], [x, base + 4.0], None);
        svg.text(x, base + 17.0, "middle", &format!("{}", 10_f64.powi(power)));
    }
    svg.text(left, base + 33.0, "start", "1 − SSIM threshold: blue verified, red with a counterexample, gray open");
    svg.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_where_no_threshold_was_sought() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(write(&folder.path().join("none"), &[]).unwrap(), None);
        assert!(!folder.path().join("none").exists());
    }
}
