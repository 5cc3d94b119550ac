use std::sync::Arc;

use bounds::{InputSet, SsimSet, WindowedSet};
use network::Image;
use network::ssim::Similarity;

/// An image, and what is similar to it.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    image: &'a Image,
    similarity: Similarity,
}

/// How far above the threshold f64 values must be before they are worth proving.
const ROOM: f64 = 1e-13;
/// Similarities evaluated at most to pull one point back.
const PULLS: usize = 12;

impl<'a> Reference<'a> {
    /// The images similar to one.
    pub fn new(image: &'a Image, similarity: Similarity) -> Self {
        Self { image, similarity }
    }

    /// The reference's pixels.
    pub fn pixels(&self) -> &'a [f64] {
        self.image.pixels()
    }

    /// The set of images similar enough, and (for one window over everything) with their mean in `means`.
    pub fn set(&self, threshold: f64, means: [f64; 2]) -> Arc<InputSet> {
        let shape = self.image.shape();
        Arc::new(match self.similarity {
            Similarity::Global => InputSet::Ssim(SsimSet::new(self.pixels(), threshold, means)),
            Similarity::ChannelMean => InputSet::Ssim(SsimSet::of_channels(self.pixels(), shape[0], threshold)),
            Similarity::Windowed => InputSet::Windowed(WindowedSet::new(shape, self.pixels(), threshold)),
        })
    }

    /// The similarity of an image to the reference, in f64; −1 where it has none.
    pub fn similarity_of(&self, pixels: &[f64]) -> f64 {
        self.similarity.value(self.image.shape(), pixels, self.pixels()).unwrap_or(-1.0)
    }

    /// Whether an image is provably as similar as the threshold.
    pub fn is_similar(&self, pixels: &[f64], threshold: f64) -> bool {
        self.similarity.lower_bound(self.image.shape(), pixels, self.pixels()).is_ok_and(|least| least >= threshold)
    }

    /// A point on the way from the reference to `point` that is similar enough, as far as possible.
    ///
    /// Similarity need not fall steadily on the way; what is returned is similar enough in any case.
    pub fn pulled(&self, point: &[f64], threshold: f64) -> Vec<f64> {
        let wanted = threshold + ROOM;
        if self.similarity_of(point) >= wanted {
            return point.to_vec();
        }
        let at = |share: f64| -> Vec<f64> {
            self.pixels().iter().zip(point).map(|(r, x)| (r + share * (x - r)).clamp(0.0, 1.0)).collect()
        };
        let lack = (1.0 - wanted).max(0.0).sqrt();
        // What is lacking grows about as the square of the share: its root is interpolated, and an end that stays counts half.
        let root = |share: f64| (1.0 - self.similarity_of(&at(share))).max(0.0).sqrt() - lack;
        let (mut inside, mut outside) = (0.0, 1.0);
        let (mut of_inside, mut of_outside) = (-lack, root(1.0));
        for _ in 0..PULLS {
            let between = inside - of_inside * (outside - inside) / (of_outside - of_inside);
            let share = if inside < between && between < outside { between } else { 0.5 * (inside + outside) };
            let value = root(share);
            if value <= 0.0 {
                (inside, of_inside) = (share, value);
                of_outside *= 0.5;
            } else {
                (outside, of_outside) = (share, value);
                of_inside *= 0.5;
            }
            if outside - inside <= 1e-7 * outside || (value <= 0.0 && -value <= 1e-7 * lack) {
                break;
            }
        }
        at(inside)
    }
}
