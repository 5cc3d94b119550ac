//! How far one value of an image may lie from the reference's where the windows together may lack only so much.

use network::ssim::GAUSSIAN;

use crate::set::slices::{C1, C2};

/// Values along one side of a window.
const SIDE: usize = GAUSSIAN.len();
/// Distances that are tried: steps of a geometric series that ends at one.
const DISTANCES: usize = 28;
/// What a distance is to the next.
const RATIO: f64 = 0.8;
/// Cells of the window's mean.
const CELLS: usize = 8;
/// More than all roundings (and those of weights and moments) change a sum of losses by.
const DIMINISHED: f64 = 1.0 - 1e-6;

/// Per value, a distance from the reference that no member of a windowed set exceeds; at most one.
///
/// Let a value be `t` away. In a window that gives it the weight `w`, with `m` the distance of the means and `ρ` that of the rests, weighted sums
/// give `ρ² ≥ (t − m)² w / (1 − w)`. The window lacks `a + b − ab` with `a ≥ m² / ((μ + m)² + μ² + C1)` and
/// `b ≥ ρ² / ((‖r0‖ + ρ)² + ‖r0‖² + C2)`, both rising with `m` and `ρ`. The least over `m` is taken in cells, each with its ends' better sides;
/// it rises with `t`. Once the sum over the windows is more than they may lack together, nothing is that far away.
///
/// `moments` are mean and squared norm per window, `[channels, height − 10, width − 10]`; `shifts` bounds the distance of the means.
pub fn reaches(shape: [usize; 3], moments: &[[f64; 2]], lack: f64, shifts: &[f64]) -> Vec<f64> {
    let [n_channels, height, width] = shape;
    let columns = width - SIDE + 1;
    let rows = height - SIDE + 1;
    let mut reaches = Vec::with_capacity(n_channels * height * width);
    for channel in 0..n_channels {
        for y in 0..height {
            for x in 0..width {
                let windows = (y.saturating_sub(SIDE - 1)..rows.min(y + 1)).flat_map(|row| {
                    (x.saturating_sub(SIDE - 1)..columns.min(x + 1)).map(move |column| {
                        let weight = GAUSSIAN[y - row] * GAUSSIAN[x - column];
                        ((channel * rows + row) * columns + column, weight)
                    })
                });
                let least = |t: f64| -> f64 {
                    let of_window = |(p, weight): (usize, f64)| least_lack(moments[p], weight, t, shifts[p]);
                    windows.clone().map(of_window).sum::<f64>() * DIMINISHED
                };
                // The smallest distance tried that is too far: the sum rises with the distance.
                let (mut low, mut high) = (0, DISTANCES);
                let distance = |k: usize| RATIO.powi(k as i32);
                while low < high {
                    let middle = usize::midpoint(low, high);
                    if least(distance(middle)) > lack {
                        low = middle + 1;
                    } else {
                        high = middle;
                    }
                }
                reaches.push(if low == 0 { 1.0 } else { distance(low - 1) });
            }
        }
    }
    reaches
}

/// What a window lacks at least where a value of this weight is `t` away and the mean at most `shift`.
fn least_lack([mean, square]: [f64; 2], weight: f64, t: f64, shift: f64) -> f64 {
    let norm = square.sqrt();
    let stretch = weight / (1.0 - weight);
    let most = shift.min(t);
    let mut least = f64::INFINITY;
    for cell in 0..CELLS {
        let at = |k: usize| most * (k as f64 / CELLS as f64);
        let (from, to) = (at(cell), at(cell + 1));
        let of_mean = from * from / ((mean + from) * (mean + from) + mean * mean + C1);
        let rest_square = (t - to) * (t - to) * stretch;
        let rest = rest_square.sqrt();
        let of_rest = (rest_square / ((norm + rest) * (norm + rest) + square + C2)).min(1.0);
        least = least.min(of_mean + of_rest - of_mean * of_rest);
    }
    least
}
