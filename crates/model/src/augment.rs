use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::{Dataset, Error};

/// Random changes of training images, drawn anew each time. What lies beyond an image's edge repeats the edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Most pixels by which an image is moved along each axis: whole ones, unless it is turned or scaled as well
    #[serde(default)]
    pub shift: usize,
    /// Most degrees by which it is turned about its centre
    #[serde(default)]
    pub rotation: f64,
    /// Most by which its size is multiplied or divided, as `1 + scale`
    #[serde(default)]
    pub scale: f64,
    /// Most by which brightness is multiplied or divided, as `1 + brightness`
    #[serde(default)]
    pub brightness: f64,
    /// Most by which the distance from the image's mean is multiplied or divided, as `1 + contrast`
    #[serde(default)]
    pub contrast: f64,
}

impl Augment {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Self { rotation, scale, brightness, contrast, .. } = *self;
        if [rotation, scale, brightness, contrast].iter().all(|value| *value >= 0.0 && value.is_finite()) {
            return Ok(());
        }
        Err(Error::invalid("training: 'rotation', 'scale', 'brightness' and 'contrast' are not negative"))
    }

    /// Sample `i` of a data set, changed at random; values of `[0, 1]` stay there if all samples lie there.
    pub(crate) fn draw(&self, data: &Dataset, i: usize, random: &mut Random) -> Vec<f32> {
        let sample = data.sample(i);
        let is_placed_by_pixels = self.rotation == 0.0 && self.scale == 0.0;
        let mut values = if is_placed_by_pixels {
            self.moved(sample, data.shape(), random)
        } else {
            self.turned(sample, data.shape(), random)
        };
        let mut factor = |most: f64| (random.between(-1.0, 1.0) * (1.0 + most).ln()).exp() as f32;
        let (brightness, contrast) = (factor(self.brightness), factor(self.contrast));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        for value in &mut values {
            *value = brightness * (*value + (contrast - 1.0) * (*value - mean));
            if data.is_image() {
                *value = value.clamp(0.0, 1.0);
            }
        }
        values
    }

    /// An image moved by whole pixels.
    fn moved(&self, image: &[f32], [_, height, width]: [usize; 3], random: &mut Random) -> Vec<f32> {
        let [down, right] = [(); 2].map(|()| random.below(2 * self.shift + 1) as isize - self.shift as isize);
        let within = |at: usize, step: isize, size: usize| (at as isize - step).clamp(0, size as isize - 1) as usize;
        (0..image.len())
            .map(|k| {
                let (plane, y, x) = (k / (height * width), k / width % height, k % width);
                image[(plane * height + within(y, down, height)) * width + within(x, right, width)]
            })
            .collect()
    }

    /// An image turned about its centre, scaled and moved, with values between pixels interpolated along both axes.
    fn turned(&self, image: &[f32], [planes, height, width]: [usize; 3], random: &mut Random) -> Vec<f32> {
        let (sin, cos) = (random.between(-1.0, 1.0) * self.rotation.to_radians()).sin_cos();
        let zoom = (random.between(-1.0, 1.0) * (1.0 + self.scale).ln()).exp();
        let [down, right] = [(); 2].map(|()| random.between(-1.0, 1.0) * self.shift as f64);
        let centre = [height, width].map(|size| (size as f64 - 1.0) / 2.0);
        let mut turned = vec![0.0; image.len()];
        for y in 0..height {
            for x in 0..width {
                let (dy, dx) = (y as f64 - centre[0] - down, x as f64 - centre[1] - right);
                let (y0, y1, v) = between((cos * dy - sin * dx) * zoom + centre[0], height);
                let (x0, x1, u) = between((sin * dy + cos * dx) * zoom + centre[1], width);
                for plane in 0..planes {
                    let at = |y: usize, x: usize| image[(plane * height + y) * width + x];
                    let row = |y: usize| at(y, x0) + u * (at(y, x1) - at(y, x0));
                    turned[(plane * height + y) * width + x] = row(y0) + v * (row(y1) - row(y0));
                }
            }
        }
        turned
    }
}

/// The pixels before and after a place along an axis, and the share of the second.
fn between(place: f64, size: usize) -> (usize, usize, f32) {
    let place = place.clamp(0.0, size as f64 - 1.0);
    let before = place as usize;
    (before, (before + 1).min(size - 1), (place - before as f64) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright pixel in a dark image of two planes.
    fn spot() -> Dataset {
        let mut values = vec![0.2; 2 * 9 * 7];
        values[4 * 7 + 3] = 1.0;
        Dataset::new([2, 9, 7], values, vec![0], 1).unwrap()
    }

    #[test]
    fn nothing_to_change_leaves_the_image_as_it_is() {
        let data = spot();
        assert_eq!(Augment::default().draw(&data, 0, &mut Random::new(1, 0)), data.sample(0));
        // No distance from the centre is turned or scaled.
        let still = Augment { rotation: 1e-9, ..Augment::default() };
        let turned = still.draw(&data, 0, &mut Random::new(1, 0));
        assert!(turned.iter().zip(data.sample(0)).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn a_turn_about_the_centre_keeps_the_centre_and_moves_the_rest() {
        let mut values = vec![0.0; 25];
        (values[12], values[14]) = (1.0, 1.0);
        let data = Dataset::new([1, 5, 5], values, vec![0], 1).unwrap();
        let turn = Augment { rotation: 90.0, ..Augment::default() };
        let (mut lowest, mut highest) = (f32::INFINITY, 0.0_f32);
        let mut random = Random::new(5, 0);
        for _ in 0..200 {
            let image = turn.draw(&data, 0, &mut random);
            assert!((image[12] - 1.0).abs() < 1e-5, "{image:?}");
            // The other pixel is two pixels away from the centre: it comes by above and below.
            lowest = lowest.min(image[14]);
            highest = highest.max(image[2].max(image[22]));
        }
        assert!(lowest < 0.1 && highest > 0.9, "{lowest} {highest}");
    }

    #[test]
    fn values_stay_in_their_range_and_the_seed_decides() {
        let data = spot();
        let all = Augment { shift: 2, rotation: 20.0, scale: 0.3, brightness: 1.0, contrast: 1.0 };
        let draws = |seed| {
            let mut random = Random::new(seed, 0);
            (0..50).map(|_| all.draw(&data, 0, &mut random)).collect::<Vec<_>>()
        };
        assert!(draws(1).iter().flatten().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn contrast_keeps_the_mean_and_brightness_scales_it() {
        let values: Vec<f32> = (0..16).map(|k| 0.4 + 0.01 * k as f32).collect();
        let data = Dataset::new([1, 4, 4], values, vec![0], 1).unwrap();
        let mean = |image: &[f32]| image.iter().sum::<f32>() / 16.0;
        let contrast = Augment { contrast: 0.5, ..Augment::default() };
        let image = contrast.draw(&data, 0, &mut Random::new(2, 0));
        assert!((mean(&image) - mean(data.sample(0))).abs() < 1e-6 && image != data.sample(0));
        let brightness = Augment { brightness: 0.5, ..Augment::default() };
        let image = brightness.draw(&data, 0, &mut Random::new(2, 0));
        let factor = mean(&image) / mean(data.sample(0));
        assert!((1.0 / 1.5..=1.5).contains(&factor) && (image[3] / data.sample(0)[3] - factor).abs() < 1e-5);
    }
}
