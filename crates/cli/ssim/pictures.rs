use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use network::{Image, ssim};

use crate::draw::{Canvas, Panel, diverging, panels_as_png, panels_as_svg, sequential, shown};
use crate::ssim::result::Answer;

/// Names of pictures that were given out: no two are the same.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// A name like this one that no other picture has.
    pub fn unused(&mut self, name: &str) -> String {
        let unused = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
        let unused = unused.map(|name| file_stem(&name)).find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(unused.clone());
        unused
    }
}

/// Draws reference, counterexample, difference and local similarity as `NAME.png` and `NAME.svg`; nothing without a
/// counterexample that differs from the reference.
pub fn write(folder: &Path, name: &str, reference: &Image, answer: &Answer) -> Result<Vec<PathBuf>> {
    let Some(found) = answer.counterexample() else { return Ok(Vec::new()) };
    let image = found.image(reference)?;
    if image == *reference {
        return Ok(Vec::new());
    }
    let panels = panels(reference, &image, found.ssim, found.predicted)?;
    let name = file_stem(name);
    let files = [("png", panels_as_png(&panels)), ("svg", panels_as_svg(&panels).into_bytes())];
    fs::create_dir_all(folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
    let mut written = Vec::new();
    for (extension, bytes) in files {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, bytes).with_context(|| format!("{}: the picture cannot be written", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

/// A name without what file systems dislike.
fn file_stem(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
}

fn panels(reference: &Image, image: &Image, similarity: f64, predicted: usize) -> Result<[Panel; 4]> {
    let [n_channels, height, width] = reference.shape();
    let area = height * width;
    // Of several channels, the change that is largest.
    let change = |p: usize| {
        let changes = (0..n_channels).map(|c| c * area + p).map(|i| image.pixels()[i] - reference.pixels()[i]);
        changes.fold(0.0, |largest: f64, change| if change.abs() > largest.abs() { change } else { largest })
    };
    let changes: Vec<f64> = (0..area).map(change).collect();
    let largest = changes.iter().fold(0.0_f64, |largest, change| largest.max(change.abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let map = ssim::local_map(reference.shape(), image.pixels(), reference.pixels())?;
    let least = map.iter().copied().fold(1.0, f64::min);
    let range = if least < 1.0 { 1.0 - least } else { 1.0 };
    let panel = |label: String, canvas| Panel { label, canvas };
    Ok([
        panel("reference".into(), shown(reference)),
        panel(format!("class {predicted}, SSIM {similarity:.4}"), shown(image)),
        panel(format!("difference, ±{largest:.3}"), Canvas::painted(height, width, |p| diverging(changes[p] / scale))),
        panel(
            format!("local SSIM, {least:.3} to 1"),
            Canvas::painted(height, width, |p| sequential((map[p] - least) / range)),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_never_the_same() {
        let mut names = Names::default();
        assert_eq!(["a/b", "a_b", "a b"].map(|name| names.unused(name)), ["a_b", "a_b-2", "a_b-3"]);
    }

    #[test]
    fn colours_show_only_change() {
        let reference = Image::new([3, 1, 2], vec![0.5; 6]).unwrap();
        let image = Image::new([3, 1, 2], vec![0.5, 0.5, 0.5, 0.25, 0.5, 0.6]).unwrap();
        let [_, _, difference, map] = panels(&reference, &image, 0.9, 1).unwrap();
        assert_eq!(difference.label, "difference, ±0.250");
        assert_eq!(difference.canvas, Canvas::painted(1, 2, |p| diverging(-(p as f64))));
        assert!(map.label.starts_with("local SSIM, 0.") && map.label.ends_with(" to 1"), "{}", map.label);
        // An image like its reference: white, and the brightest similarity.
        let [_, _, difference, map] = panels(&reference, &reference, 1.0, 1).unwrap();
        assert_eq!(difference.canvas, Canvas::painted(1, 2, |_| diverging(0.0)));
        assert!(map.label == "local SSIM, 1.000 to 1", "{}", map.label);
    }
}
