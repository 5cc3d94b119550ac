//! The set as pairs of balls, which is what a device gets.

use super::{C2, ENLARGED, Slices};
use crate::scalar::Scalar as _;

/// Cells of the mean on a device, where the set is convex and where it is not.
const DEVICE_CELLS: [usize; 2] = [64, 128];
/// What the tangent of the quotient is raised by: more than its slope's rounding over a cell.
const RAISED: f64 = 1e-12;

impl Slices {
    /// Balls `(mean, quotient, radius)` in f32, such that every ball of the set lies in a convex combination of two of them: then the
    /// least of `mean Σs + quotient ⟨s, r0⟩ − radius ‖s0‖` over them is a lower bound of `Σ s x` over the set.
    ///
    /// In a cell of the mean the quotient lies below its tangent `L` at a point (the luminance is concave where it is at least `√3/2`), and
    /// the radius, a concave function of the quotient, below its own: `ρ(q) ≤ ρ̂ + g (q − q̂)`. As `g ≥ ‖r0‖`, the ball of a mean lies in
    /// that of `L` and `ρ̂ + g (L − q̂)`; both are affine in the mean, so the two at the cell's ends will do. Where the set is not convex,
    /// both ends have the cell's largest ball. Ends are f32 values; what a quotient loses to f32 enlarges the radius by as much times `‖r0‖`.
    pub fn balls(&self) -> Vec<[f32; 3]> {
        let is_convex = self.cells.is_empty();
        let n_cells = DEVICE_CELLS[usize::from(!is_convex)];
        let at = |angle: f64| (self.middle - self.half * angle.cos()).clamp(self.lower, self.upper);
        let angle_of = |mean: f64| {
            if self.half > 0.0 { ((self.middle - mean) / self.half).clamp(-1.0, 1.0).acos() } else { 0.0 }
        };
        let (first, last) = (angle_of(self.lower), angle_of(self.upper));
        let angle = |k: f64| first + (last - first) * (k / n_cells as f64);
        let (from, to) = (f32::below(self.lower), f32::above(self.upper));
        let norm = self.energy.sqrt() * (1.0 + 1e-15);
        let mut balls = Vec::with_capacity(2 * n_cells);
        let mut begin = from;
        for k in 0..n_cells {
            let end = if k + 1 == n_cells { to } else { (at(angle(k as f64 + 1.0)) as f32).clamp(begin, to) };
            let ends = [f64::from(begin), f64::from(end)];
            let largest = self.largest(ends[0].max(self.lower), ends[1].max(self.lower).min(self.upper));
            let node = at(angle(k as f64 + 0.5));
            let (luminance, slope) = self.luminance(node);
            let ball = self.ball_of(luminance / self.threshold * ENLARGED);
            let slope = slope / self.threshold * ENLARGED;
            let growth = self.growth(ball);
            let is_smooth = is_convex && ball.quotient - 1.0 > 1e-13 && growth.is_finite();
            for (mean, rounded) in ends.into_iter().zip([begin, end]) {
                let (mut quotient, mut radius) = (largest.quotient, largest.radius);
                if is_smooth {
                    quotient = ball.quotient + slope * (mean - node) + RAISED;
                    let rise = growth * (quotient - ball.quotient);
                    radius = ball.radius + rise + 1e-13 * (ball.radius + rise.abs());
                }
                let narrow = quotient as f32;
                let away = (quotient - f64::from(narrow)).abs() * norm;
                balls.push([rounded, narrow, f32::above((radius + away) + 1e-15 * (radius.abs() + away))]);
            }
            begin = end;
        }
        balls
    }

    /// What leads the search on a device: reference's mean, threshold, energy, `n C2`.
    pub fn scalars(&self) -> [f64; 4] {
        [self.mean, self.threshold, self.energy, self.n * C2]
    }
}
