use crate::error::Error;

/// How pixels become a network's inputs: `(pixel − mean) / deviation` in every channel.
///
/// Pixels of an image become f32, as the pipelines that feed networks compute them; the ends of an interval of pixel values enclose
/// the real ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PixelScale {
    /// One for each channel, or none: then pixels are inputs as they are.
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

/// A real number between neighbouring floats: rounded down and up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Enclosed {
    /// At or below it.
    pub below: f64,
    /// At or above it.
    pub above: f64,
}

impl PixelScale {
    /// Pixels are inputs.
    pub fn identity() -> Self {
        Self::default()
    }

    /// A mean and a deviation for each channel.
    ///
    /// # Errors
    /// When their numbers differ, one is not finite, or a deviation is not positive.
    pub fn new(mean: Vec<f64>, deviation: Vec<f64>) -> Result<Self, Error> {
        if mean.len() != deviation.len() {
            let (n, m) = (mean.len(), deviation.len());
            return Err(Error::question(format!("the normalisation has {n} means but {m} deviations")));
        }
        if let Some(value) = mean.iter().find(|value| !value.is_finite()) {
            return Err(Error::question(format!("a mean of the normalisation is {value}")));
        }
        if let Some(value) = deviation.iter().find(|value| !(**value > 0.0 && value.is_finite())) {
            return Err(Error::question(format!(
                "a deviation of the normalisation is {value}: expected a positive number"
            )));
        }
        Ok(Self { mean, deviation })
    }

    /// Checks that there is one for each channel.
    ///
    /// # Errors
    /// When there is not.
    pub fn check(&self, n_channels: usize) -> Result<(), Error> {
        let n = self.mean.len();
        if n == 0 || n == n_channels {
            return Ok(());
        }
        Err(Error::question(format!(
            "the normalisation speaks of {n} channels, but the image has {n_channels}: give a mean and a deviation for each"
        )))
    }

    /// The input of a pixel, in f32.
    pub fn input(&self, channel: usize, pixel: f64) -> f32 {
        match (self.mean.get(channel), self.deviation.get(channel)) {
            (Some(mean), Some(deviation)) => (pixel as f32 - *mean as f32) / *deviation as f32,
            _ => pixel as f32,
        }
    }

    /// The real input of a pixel, enclosed.
    pub fn enclosed(&self, channel: usize, pixel: f64) -> Enclosed {
        match (self.mean.get(channel), self.deviation.get(channel)) {
            (Some(mean), Some(deviation)) if *mean != 0.0 || *deviation != 1.0 => {
                let value = (pixel - mean) / deviation;
                // Two roundings, each of half an ulp of what follows: two steps are enough.
                Enclosed { below: value.next_down().next_down(), above: value.next_up().next_up() }
            }
            _ => Enclosed { below: pixel, above: pixel },
        }
    }

    /// The pixel of an input, for pictures.
    pub fn pixel(&self, channel: usize, input: f64) -> f64 {
        match (self.mean.get(channel), self.deviation.get(channel)) {
            (Some(mean), Some(deviation)) => input * deviation + mean,
            _ => input,
        }
    }

    /// The means, and the deviations; both empty where pixels are inputs.
    pub fn parts(&self) -> (&[f64], &[f64]) {
        (&self.mean, &self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_input_is_enclosed() {
        let scale = PixelScale::new(vec![0.5, 0.25], vec![0.25, 3.0]).unwrap();
        assert_eq!(scale.input(0, 1.0), 2.0);
        let third = scale.enclosed(1, 1.25);
        // A third is no float; three times the ends lie on both sides of one, in exact arithmetic.
        assert!(third.below < 1.0 / 3.0 && 1.0 / 3.0 < third.above && third.above - third.below < 1e-15);
        assert_eq!(PixelScale::identity().enclosed(0, 0.1), Enclosed { below: 0.1, above: 0.1 });
        assert!((scale.pixel(1, f64::from(scale.input(1, 0.75))) - 0.75).abs() < 1e-6);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        for (error, expected) in [
            (PixelScale::new(vec![0.0], vec![]).map(|_| ()), "1 means but 0 deviations"),
            (PixelScale::new(vec![0.0], vec![0.0]).map(|_| ()), "expected a positive number"),
            (PixelScale::new(vec![f64::NAN], vec![1.0]).map(|_| ()), "is NaN"),
            (PixelScale::new(vec![0.5], vec![0.5]).and_then(|scale| scale.check(3)), "1 channels, but the image has 3"),
        ] {
            assert!(error.unwrap_err().to_string().contains(expected));
        }
    }
}
