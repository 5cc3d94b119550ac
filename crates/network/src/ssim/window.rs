use crate::ssim::number::{Number, sum};
use crate::ssim::{GAUSSIAN, of_moments};

/// The weights of a window, row by row; their sum is 1 in real arithmetic.
pub(super) struct Window<T> {
    pub weights: Vec<T>,
    width: usize,
}

impl<T: Number> Window<T> {
    /// The whole window.
    pub fn gaussian() -> Self {
        let axis = GAUSSIAN.map(T::near);
        let weights = axis.iter().flat_map(|&down| axis.iter().map(move |&across| down * across)).collect();
        Self { weights, width: GAUSSIAN.len() }
    }

    /// The similarity of two channels, rows of which are `stride` long, in the window whose first pixel is `[row, column]`.
    pub fn similarity(&self, x: &[f64], r: &[f64], stride: usize, [row, column]: [usize; 2]) -> T {
        let n = self.weights.len();
        let place = |i: usize| (row + i / self.width) * stride + column + i % self.width;
        let pixels: Vec<[T; 2]> = (0..n).map(|i| [x, r].map(|values| T::exact(values[place(i)]))).collect();
        let means = [0, 1].map(|s| sum(n, &|i| self.weights[i] * pixels[i][s]));
        let around: Vec<[T; 2]> = pixels.iter().map(|&[x, r]| [x - means[0], r - means[1]]).collect();
        let variances = [0, 1].map(|s| sum(n, &|i| self.weights[i] * around[i][s].square()));
        let covariance = sum(n, &|i| self.weights[i] * (around[i][0] * around[i][1]));
        of_moments(means, variances, covariance)
    }
}

impl Window<f64> {
    /// The part around a pixel that lies inside a `[height, width]` image, normalised again, and its first pixel.
    pub fn around(pixel: [usize; 2], size: [usize; 2]) -> (Self, [usize; 2]) {
        let radius = GAUSSIAN.len() / 2;
        let [rows, columns] =
            [0, 1].map(|axis| pixel[axis].saturating_sub(radius)..(pixel[axis] + radius + 1).min(size[axis]));
        let corner = [rows.start, columns.start];
        let width = columns.len();
        let along = |axis: usize, place: usize| GAUSSIAN[place + radius - pixel[axis]];
        let mut weights: Vec<f64> =
            rows.flat_map(|row| columns.clone().map(move |column| along(0, row) * along(1, column))).collect();
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        (Self { weights, width }, corner)
    }
}
