//! Balls in the maximum norm: does every image within a distance of a reference keep its class, and up to which distance?

mod radius;

use network::{BoxRegion, Image, Network, Property};

use crate::error::Error;
use crate::patch::{Contents, Patch, PatchAttack, PixelScale, Placement, Positions, Stencil};

pub use radius::{RadiusOutcome, RadiusStep};

/// The images of which no pixel value differs by more than some distance from a reference's, and the class that they must keep.
#[derive(Debug, Clone, Copy)]
pub struct Ball<'a> {
    /// A classifier: the largest output is the class.
    pub network: &'a Network,
    /// The image in the middle.
    pub reference: &'a Image,
    /// The class that is wanted, from zero.
    pub class: usize,
    /// How pixels become inputs.
    pub scale: &'a PixelScale,
}

impl Ball<'_> {
    /// Checks that network, image and class fit.
    ///
    /// # Errors
    /// When they do not; the message says what to do.
    pub fn check(&self) -> Result<(), Error> {
        let (n_inputs, n_outputs) = (self.network.n_inputs(), self.network.n_outputs());
        let shape @ [n_channels, ..] = self.reference.shape();
        let n = self.reference.pixels().len();
        if n != n_inputs {
            return Err(Error::question(format!(
                "the image {shape:?} has {n} values, but the network takes {n_inputs}: give an image of the network's size"
            )));
        }
        if n_outputs < 2 {
            return Err(Error::question(
                "the network has one output: a classifier has one for every class, at least two",
            ));
        }
        if self.class >= n_outputs {
            let class = self.class;
            return Err(Error::question(format!("class {class} of a network with the classes 0 to {}", n_outputs - 1)));
        }
        self.scale.check(n_channels)
    }

    /// The inputs of all images within `epsilon` (in pixel values, whose range is `[0, 1]`), known from outside and from inside.
    ///
    /// # Errors
    /// When `epsilon` is not a positive number, or an input is not finite.
    pub fn region(&self, epsilon: f64) -> Result<BoxRegion, Error> {
        region(self.reference, self.scale, epsilon)
    }

    /// The property that all of them keep the class.
    ///
    /// # Errors
    /// As [`Self::check`] and [`Self::region`].
    pub fn property(&self, epsilon: f64) -> Result<Property, Error> {
        self.check()?;
        Ok(Property::class_is_kept(&self.region(epsilon)?, self.class, self.network.n_outputs())?)
    }

    /// The input that the reference itself is.
    pub fn centre(&self) -> Vec<f64> {
        if self.scale.parts().0.is_empty() {
            return self.reference.pixels().to_vec();
        }
        let area = self.area();
        let pixels = self.reference.pixels().iter().enumerate();
        pixels.map(|(i, &pixel)| f64::from(self.scale.input(i / area, pixel))).collect()
    }

    /// The class that the reference gets, if it is not the wanted one alone.
    ///
    /// # Errors
    /// When network and image do not fit.
    pub fn misclassified(&self) -> Result<Option<usize>, Error> {
        let output = self.network.evaluate::<f64>(&self.centre())?;
        let others = (0..output.len()).filter(|&other| other != self.class);
        let best = others.max_by(|&a, &b| output[a].total_cmp(&output[b])).unwrap_or(self.class);
        // A NaN is no class.
        let is_right = output[self.class] > output[best] && output.iter().all(|value| value.is_finite());
        Ok(if is_right { None } else { Some(best) })
    }

    /// How far from the reference an input is at most, in pixel values.
    pub fn distance(&self, input: &[f64]) -> f64 {
        let area = self.area();
        let pixels = self.reference.pixels().iter().zip(input).enumerate();
        let (mean, deviation) = self.scale.parts();
        let distances = pixels.map(|(i, (&own, &input))| {
            let pixel = self.scale.pixel(i / area, input);
            // Three roundings, each of at most half an ulp of one of these.
            let size = pixel.abs()
                + own.abs()
                + mean.get(i / area).map_or(0.0, |mean| mean.abs())
                + deviation.get(i / area).map_or(0.0, |deviation| (deviation * input).abs());
            (pixel - own).abs() + 2.0 * f64::EPSILON * size
        });
        distances.fold(0.0, f64::max)
    }

    fn area(&self) -> usize {
        let [_, height, width] = self.reference.shape();
        height * width
    }
}

/// The inputs of all images within `epsilon` of this one in every pixel value, cut to `[0, 1]`: known from outside and from inside.
///
/// # Errors
/// When `epsilon` is not a positive number, the scale speaks of other channels, or an input is not finite.
pub fn region(image: &Image, scale: &PixelScale, epsilon: f64) -> Result<BoxRegion, Error> {
    let shape @ [n_channels, height, width] = image.shape();
    let everywhere = Patch { stencil: Stencil::rectangle(height, width)?, positions: Positions::Drawn };
    let contents = Contents::Near { epsilon, range: [0.0, 1.0] };
    let attack = PatchAttack { patches: vec![everywhere], contents, channels: Vec::new() };
    attack.check(shape)?;
    scale.check(n_channels)?;
    attack.region(image, scale, &Placement { corners: vec![[0, 0]] }).hull()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ball_is_enclosed_and_cut_to_the_range_of_pixels() {
        let image = Image::new([1, 1, 3], vec![0.05, 0.5, 1.0]).unwrap();
        let region = region(&image, &PixelScale::identity(), 0.1).unwrap();
        assert_eq!(
            (region.lower[0], region.inner_lower[0], region.upper[2], region.inner_upper[2]),
            (0.0, 0.0, 1.0, 1.0)
        );
        assert!(region.inner_upper[1] < region.upper[1] && (region.upper[1] - 0.6).abs() < 1e-15);
        assert!(region.lower[1] < region.inner_lower[1] && (region.lower[1] - 0.4).abs() < 1e-15);
    }

    #[test]
    fn balls_are_scaled_as_pixels_are() {
        let image = Image::new([2, 1, 1], vec![0.5, 0.5]).unwrap();
        let scale = PixelScale::new(vec![0.5, 0.25], vec![0.25, 0.5]).unwrap();
        let region = region(&image, &scale, 0.25).unwrap();
        for (found, expected) in region.lower.iter().chain(&region.upper).zip([-1.0, 0.0, 1.0, 1.0]) {
            assert!((found - expected).abs() < 1e-15);
        }
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        let image = Image::new([1, 1, 1], vec![0.5]).unwrap();
        for epsilon in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(region(&image, &PixelScale::identity(), epsilon).is_err());
        }
        let scale = PixelScale::new(vec![0.0; 3], vec![1.0; 3]).unwrap();
        assert!(region(&image, &scale, 0.1).unwrap_err().to_string().contains("3 channels"));
    }
}
