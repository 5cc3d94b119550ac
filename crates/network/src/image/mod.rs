mod json;
mod npy;
mod resample;

use crate::Error;

/// Most values of an image: a bound on what hostile files can make us allocate.
const MOST_VALUES: usize = 1 << 26;

/// An image: `[channels, height, width]` pixels in `[0, 1]`, channel by channel, row by row.
///
/// Eight bits per value are read as `k / 255` in f32, the number that image pipelines hand to a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    shape: [usize; 3],
    pixels: Vec<f64>,
}

impl Image {
    /// An image of these pixels.
    ///
    /// # Errors
    /// When a side is zero or the image is huge, the number of pixels is not the product of the shape, or a pixel is not a number
    /// in `[0, 1]`.
    pub fn new(shape: [usize; 3], pixels: Vec<f64>) -> Result<Self, Error> {
        let n = Self::n_values(shape)?;
        if pixels.len() != n {
            return Err(Error::format(format!("the shape {shape:?} needs {n} pixels, got {}", pixels.len())));
        }
        if let Some((i, pixel)) = pixels.iter().enumerate().find(|(_, pixel)| !(0.0..=1.0).contains(*pixel)) {
            return Err(Error::format(format!(
                "pixel {i} is {pixel}: expected a number in [0, 1]; divide pixels of 0 to 255 by 255"
            )));
        }
        Ok(Self { shape, pixels })
    }

    /// An image of eight bits per value.
    ///
    /// # Errors
    /// When a side is zero or the image is huge, or the number of bytes is not the product of the shape.
    pub fn from_8_bit(shape: [usize; 3], bytes: &[u8]) -> Result<Self, Error> {
        Self::new(shape, bytes.iter().copied().map(scaled).collect())
    }

    /// The number of values of an image of such a shape: what a file claims is checked by this before it is decoded.
    ///
    /// # Errors
    /// When a side is zero or the image is huge.
    pub fn n_values(shape: [usize; 3]) -> Result<usize, Error> {
        let n = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side)).filter(|&n| n <= MOST_VALUES);
        match n {
            Some(0) => Err(Error::format(format!("the shape {shape:?} is empty; expected [channels, height, width]"))),
            Some(n) => Ok(n),
            None => Err(Error::format(format!("an image of shape {shape:?} has more than {MOST_VALUES} values"))),
        }
    }

    /// `[channels, height, width]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The pixels, channel by channel, row by row.
    pub fn pixels(&self) -> &[f64] {
        &self.pixels
    }

    /// The nearest image of eight bits per value.
    pub fn to_8_bit(&self) -> Vec<u8> {
        self.pixels.iter().map(|pixel| (pixel * 255.0).round() as u8).collect()
    }

    /// What is read back once the image has been saved with eight bits per value.
    #[must_use]
    pub fn rounded_to_8_bit(&self) -> Self {
        Self { shape: self.shape, pixels: self.to_8_bit().into_iter().map(scaled).collect() }
    }

    /// The image with each channel resampled to `height` × `width`, exactly as torchvision's `Resize([height, width])` does to
    /// an 8-bit PIL image: bilinear with antialiasing in Pillow's fixed-point arithmetic, horizontally, then vertically.
    ///
    /// (As Pillow 11 does; version 13 exchanges the passes where only the width grows, which changes some values by 1.)
    /// The pixels are rounded to eight bits first. An image of that size already is returned as it is.
    ///
    /// # Errors
    /// When a side is zero, or the result is huge.
    pub fn resized(&self, height: usize, width: usize) -> Result<Self, Error> {
        let [n_channels, old_height, old_width] = self.shape;
        if (height, width) == (old_height, old_width) {
            return Ok(self.clone());
        }
        let shape = [n_channels, height, width];
        Self::n_values(shape)?;
        Self::n_values([n_channels, old_height, width])?;
        let bytes = self.to_8_bit();
        let channels = bytes.chunks(old_height * old_width);
        let resized: Vec<u8> = channels
            .flat_map(|channel| resample::resample(channel, [old_height, old_width], [height, width]))
            .collect();
        Self::from_8_bit(shape, &resized)
    }
}

/// `k / 255` as image pipelines compute it, in f32.
fn scaled(byte: u8) -> f64 {
    f64::from(f32::from(byte) / 255.0)
}

#[cfg(test)]
mod tests;
