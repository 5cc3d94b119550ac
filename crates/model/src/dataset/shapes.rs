//! Generated images of four shapes: a data set that needs no file.

use super::Dataset;
use super::source::Selection;
use crate::Error;
use crate::random::Random;

/// Smallest side of an image in which the shapes differ.
const MIN_SIZE: usize = 8;
/// Sub-samples of a pixel along an axis.
const N_SUBSAMPLES: usize = 4;
/// Standard deviation of the noise.
const NOISE: f64 = 0.05;

/// Generates discs, squares, triangles and crosses, in turn.
pub(super) fn generate(n: usize, size: usize, seed: u64, selection: &Selection) -> Result<Dataset, Error> {
    if n < 4 || !(MIN_SIZE..=256).contains(&size) {
        return Err(Error::invalid("generated shapes need at least 4 images of 8 to 256 pixels a side"));
    }
    if selection.size.is_some_and(|wanted| wanted != [size, size]) {
        return Err(Error::invalid("generated shapes have the size that they are generated with: give no other"));
    }
    let labels: Vec<usize> = (0..n).map(|i| i % 4).collect();
    let pixels = labels.iter().enumerate().flat_map(|(i, &label)| image(label, size, &mut Random::new(seed, i as u64)));
    Dataset::new([1, size, size], pixels.collect(), labels, 4)
}

fn image(label: usize, size: usize, random: &mut Random) -> Vec<f32> {
    let side = size as f64;
    let radius = side * random.between(0.22, 0.36);
    let centre = [(); 2].map(|()| random.between(radius + 0.5, side - radius - 0.5));
    let (dark, bright) = (random.between(0.0, 0.2), random.between(0.6, 0.95));
    (0..size * size)
        .map(|i| {
            let hits = (0..N_SUBSAMPLES * N_SUBSAMPLES).filter(|k| {
                let at = |whole: usize, part: usize| whole as f64 + (part as f64 + 0.5) / N_SUBSAMPLES as f64;
                let y = (at(i / size, k / N_SUBSAMPLES) - centre[0]) / radius;
                let x = (at(i % size, k % N_SUBSAMPLES) - centre[1]) / radius;
                contains(label, y, x)
            });
            let share = hits.count() as f64 / (N_SUBSAMPLES * N_SUBSAMPLES) as f64;
            (dark + (bright - dark) * share + NOISE * random.normal()).clamp(0.0, 1.0) as f32
        })
        .collect()
}

/// Whether a point of `[-1, 1]²` belongs to the shape.
fn contains(label: usize, y: f64, x: f64) -> bool {
    match label {
        0 => y * y + x * x <= 1.0,
        1 => y.abs().max(x.abs()) <= 0.85,
        2 => (-0.9..=0.8).contains(&y) && x.abs() <= (y + 0.9) / 1.7,
        _ => y.abs().max(x.abs()) <= 1.0 && y.abs().min(x.abs()) <= 0.28,
    }
}
