//! Structural similarity of two images, exactly as verified: dynamic range 1, divisors `n`, no exponents.
//!
//! On one window of weights `w` with sum 1 (or `1/n` each), with weighted means `m`, variances `v` and covariance `c` of `x` and `r`,
//! `SSIM = (2 m_x m_r + C1) / (m_x² + m_r² + C1) · (2 c + C2) / (v_x + v_r + C2)`. The weighted moments are taken around the
//! weighted mean, which in real arithmetic is the same as `Σ w x² − m²` and loses nothing where a window is nearly constant.
//!
//! # Rounding
//! One formula is evaluated in two arithmetics. In f64 it gives [`Similarity::value`]. In pairs of floats, each operation rounded
//! outwards by one unit in the last place unless it is exact, it gives an interval that contains the value in real arithmetic of
//! the f64 pixels given: [`Similarity::lower_bound`] is its lower end. By induction over the operations every interval contains its
//! real operand: a float operation rounds to nearest, so that the neighbours of its result enclose the real result; constants that
//! are no floats (`C1`, `C2`, [`GAUSSIAN`]) are enclosed by the neighbours of theirs. Sums run pairwise, so that the interval
//! of a sum of `n` terms is some `2 log2 n` units wide: the bound lies about 1e-14 below the value.
//!
//! Source: Wang et al. 2004, *Image quality assessment: from error visibility to structural similarity*, equation 13.

mod enclosure;
mod number;
mod window;

use crate::Error;
use enclosure::Enclosure;
use number::Number;
use window::Window;

/// The constant of the means' factor, `0.01²`.
pub const C1: f64 = 1e-4;

/// The constant of the variances' factor, `0.03²`.
pub const C2: f64 = 9e-4;

/// The weights of a window along one axis: a Gaussian of deviation 1.5 pixels, cut off at 5 pixels on either side and normalised. These
/// are the nearest floats; the window that is meant is the real one, whose weights sum to 1.
pub const GAUSSIAN: [f64; 11] = [
    0.001_028_380_084_479_109_9,
    0.007_598_758_135_239_184,
    0.036_000_772_128_430_82,
    0.109_360_689_509_700_02,
    0.213_005_537_711_253_7,
    0.266_011_724_861_794_36,
    0.213_005_537_711_253_7,
    0.109_360_689_509_700_02,
    0.036_000_772_128_430_82,
    0.007_598_758_135_239_184,
    0.001_028_380_084_479_109_9,
];

/// Which similarity of two images is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Similarity {
    /// One window over all values, channels one after another.
    #[default]
    Global,
    /// The mean over the channels, each with one window of its own.
    ChannelMean,
    /// The mean over all windows of 11 × 11 pixels inside the image and over the channels, weighted by [`GAUSSIAN`] along both axes:
    /// scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1)`.
    Windowed,
}

impl Similarity {
    /// A short name, the same in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::ChannelMean => "channel-mean",
            Self::Windowed => "windowed",
        }
    }

    /// Whether images of a shape `[channels, height, width]` have this similarity.
    ///
    /// # Errors
    /// When a side is zero, or windows do not fit into the image.
    pub fn check_shape(self, shape: [usize; 3]) -> Result<(), Error> {
        let [_, height, width] = shape;
        if shape.contains(&0) {
            return Err(Error::format(format!("an image of shape {shape:?} is empty")));
        }
        let size = GAUSSIAN.len();
        if self == Self::Windowed && height.min(width) < size {
            return Err(Error::format(format!(
                "windowed SSIM needs images of {size}×{size} pixels or more, got {height}×{width}; the global one takes any"
            )));
        }
        Ok(())
    }

    /// The similarity of `x` and the reference `r`, both of this shape `[channels, height, width]`, in f64: the value in real
    /// arithmetic to about 1e-14.
    ///
    /// # Errors
    /// When the lengths do not fit the shape, a value is not finite, or [`Self::check_shape`] fails.
    pub fn value(self, shape: [usize; 3], x: &[f64], r: &[f64]) -> Result<f64, Error> {
        self.check(shape, x, r)?;
        Ok(self.evaluate(shape, x, r))
    }

    /// A number at or below the similarity in real arithmetic of these floats, about 1e-14 below; see the module's words on rounding.
    ///
    /// `lower_bound(…) >= τ` proves that `x` lies in the set of images as similar as `τ`.
    ///
    /// # Errors
    /// When the lengths do not fit the shape, a value is not finite, or [`Self::check_shape`] fails.
    pub fn lower_bound(self, shape: [usize; 3], x: &[f64], r: &[f64]) -> Result<f64, Error> {
        self.check(shape, x, r)?;
        if x == r {
            return Ok(1.0);
        }
        Ok(self.evaluate::<Enclosure>(shape, x, r).below)
    }

    fn check(self, shape: [usize; 3], x: &[f64], r: &[f64]) -> Result<(), Error> {
        self.check_shape(shape)?;
        for (values, what) in [(x, "image"), (r, "reference")] {
            if values.len() != shape.iter().product::<usize>() {
                let got = values.len();
                return Err(Error::format(format!("the {what} has {got} pixels, but its shape is {shape:?}")));
            }
            if let Some(i) = values.iter().position(|value| !value.is_finite()) {
                return Err(Error::format(format!("pixel {i} of the {what} is {}", values[i])));
            }
        }
        Ok(())
    }

    fn evaluate<T: Number>(self, [n_channels, height, width]: [usize; 3], x: &[f64], r: &[f64]) -> T {
        let area = height * width;
        let channel = |c: usize| [&x[c * area..][..area], &r[c * area..][..area]];
        let mean_over_channels =
            |of: &dyn Fn([&[f64]; 2]) -> T| number::sum(n_channels, &|c| of(channel(c))) / T::exact(n_channels as f64);
        match self {
            Self::Global => of_flat(x, r),
            Self::ChannelMean => mean_over_channels(&|[x, r]| of_flat(x, r)),
            Self::Windowed => {
                let window = Window::<T>::gaussian();
                let across = width - GAUSSIAN.len() + 1;
                let n = (height - GAUSSIAN.len() + 1) * across;
                let at = |p: usize| [p / across, p % across];
                mean_over_channels(&|[x, r]| {
                    number::sum(n, &|p| window.similarity(x, r, width, at(p))) / T::exact(n as f64)
                })
            }
        }
    }
}

/// The similarity around every pixel, `[height, width]`, averaged over the channels: windows as in [`Similarity::Windowed`], cut off
/// at the image's border and normalised again, so that images of any size have one. For looking at.
///
/// # Errors
/// When the lengths do not fit the shape, or a value is not finite.
pub fn local_map(shape: [usize; 3], x: &[f64], r: &[f64]) -> Result<Vec<f64>, Error> {
    Similarity::Global.check(shape, x, r)?;
    let [n_channels, height, width] = shape;
    let area = height * width;
    let mut map = vec![0.0; area];
    for (p, mean) in map.iter_mut().enumerate() {
        let (window, corner) = Window::around([p / width, p % width], [height, width]);
        let of_channel = |c: usize| window.similarity(&x[c * area..][..area], &r[c * area..][..area], width, corner);
        *mean = (0..n_channels).map(of_channel).sum::<f64>() / n_channels as f64;
    }
    Ok(map)
}

/// The similarity of two signals in one window with equal weights.
fn of_flat<T: Number>(x: &[f64], r: &[f64]) -> T {
    let n = T::exact(x.len() as f64);
    let mean = |values: &[f64]| number::sum(values.len(), &|i| T::exact(values[i])) / n;
    let means = [mean(x), mean(r)];
    let around = |i: usize| [T::exact(x[i]) - means[0], T::exact(r[i]) - means[1]];
    let variance = |s: usize| number::sum(x.len(), &|i| around(i)[s].square()) / n;
    let covariance = number::sum(x.len(), &|i| {
        let [x, r] = around(i);
        x * r
    }) / n;
    of_moments(means, [variance(0), variance(1)], covariance)
}

/// The similarity, given the moments of a window.
fn of_moments<T: Number>(means: [T; 2], variances: [T; 2], covariance: T) -> T {
    let (c1, c2, two) = (T::near(C1), T::near(C2), T::exact(2.0));
    let luminance = (two * means[0] * means[1] + c1) / (means[0].square() + means[1].square() + c1);
    luminance * ((two * covariance + c2) / (variances[0] + variances[1] + c2))
}

#[cfg(test)]
mod tests;
