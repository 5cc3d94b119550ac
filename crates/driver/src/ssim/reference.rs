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
        let (mut inside, mut outside) = (0.0, 1.0);
        for _ in 0..24 {
            let middle = 0.5 * (inside + outside);
            if self.similarity_of(&at(middle)) >= wanted {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        at(inside)
    }
}
