use bounds::Plane;

use crate::preimage::volume::MOST_INPUTS;

/// Linear functions over a polytope in few dimensions: the points of a box at which planes are not negative.
#[derive(Debug, Clone, Copy)]
pub struct LinearProgram<'a> {
    /// Lower ends of the box.
    pub lower: &'a [f64],
    /// Upper ends.
    pub upper: &'a [f64],
    /// What else holds.
    pub planes: &'a [Plane],
}

/// What is known of a linear function's least value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Least {
    /// Nowhere in the polytope is the function below this: proved, whatever was rounded on the way.
    AtLeast(f64),
    /// No point is in the polytope: proved.
    Empty,
}

/// Steps from one vertex to the next, at most.
const MOST_STEPS: usize = 256;
/// What counts as violated, relative to a plane's size over the box.
const VIOLATED: f64 = 1e-12;
/// What counts as zero in a system of unit rows.
const SINGULAR: f64 = 1e-11;

type Vector = [f64; MOST_INPUTS];

/// One inequality `g x + h ≥ 0`, scaled so that `g` is a unit vector in units of the box: a face of the box, or a plane.
#[derive(Debug, Clone, Copy)]
struct Row {
    g: Vector,
    h: f64,
    /// Of a plane: its place, and what it was divided by.
    plane: Option<(usize, f64)>,
}

impl LinearProgram<'_> {
    /// Bounds a linear function from below over the polytope, as tightly as rounding lets it; stops once the bound is above `enough`.
    ///
    /// The dual simplex method: it starts at the best corner of the box, and every step exchanges one of the inequalities that meet in a
    /// vertex for one that the vertex violates. The multipliers of the inequalities are never negative, so that wherever it stops
    /// `a x + b − Σ λ_j p_j(x)`, bounded over the box, bounds the function over the polytope; that bound is what is returned, with the
    /// rounding of its own evaluation paid. How the multipliers were found proves nothing and need not be exact.
    ///
    /// Source: Lemke 1954 for the method; Neumaier and Shcherbina 2004 for the safe bound.
    pub fn least(&self, function: &Plane, enough: f64) -> Least {
        let n = self.lower.len();
        let mut best = self.safe(function, &[]);
        if n > MOST_INPUTS || self.planes.is_empty() || best > enough {
            return Least::AtLeast(best);
        }
        let rows = self.rows();
        let width = |i: usize| self.upper[i] - self.lower[i];
        // In units of the box.
        let mut target = [0.0; MOST_INPUTS];
        (0..n).for_each(|i| target[i] = function.a[i] * width(i));
        // The faces come first: the lower end of each input, then the upper.
        let mut active: Vec<usize> = (0..n).map(|i| if target[i] >= 0.0 { 2 * i } else { 2 * i + 1 }).collect();
        for _ in 0..MOST_STEPS {
            let matrix: Vec<Vector> = active.iter().map(|&row| rows[row].g).collect();
            let constants: Vec<f64> = active.iter().map(|&row| -rows[row].h).collect();
            let (Some(x), Some(lambda)) = (solved(&matrix, &constants), solved_transposed(&matrix, &target[..n]))
            else {
                break;
            };
            let multipliers: Vec<(usize, f64)> = active
                .iter()
                .zip(&lambda)
                .filter_map(|(&row, &lambda)| rows[row].plane.map(|(place, size)| (place, (lambda / size).max(0.0))))
                .collect();
            best = best.max(self.safe(function, &multipliers));
            if best > enough {
                break;
            }
            let value = |row: &Row| (0..n).map(|i| row.g[i] * x[i]).sum::<f64>() + row.h;
            let mut worst = (-VIOLATED, None);
            for (place, row) in rows.iter().enumerate() {
                let value = value(row);
                if value < worst.0 && !active.contains(&place) {
                    worst = (value, Some(place));
                }
            }
            let Some(entering) = worst.1 else { break };
            let Some(shares) = solved_transposed(&matrix, &rows[entering].g[..n]) else { break };
            let mut leaving: Option<(f64, usize)> = None;
            for (k, (&share, &lambda)) in shares.iter().zip(&lambda).enumerate() {
                let ratio = lambda.max(0.0) / share;
                if share > SINGULAR && leaving.is_none_or(|(least, _)| ratio < least) {
                    leaving = Some((ratio, k));
                }
            }
            let Some((_, k)) = leaving else {
                // The violated row is a sum of the opposites of those that are met: there may be no point at all.
                let mut ray: Vec<(usize, f64)> = Vec::new();
                let parts = active.iter().zip(shares.iter().map(|share| -share)).chain([(&entering, 1.0)]);
                for (&row, share) in parts {
                    ray.extend(rows[row].plane.map(|(place, size)| (place, (share / size).max(0.0))));
                }
                let nothing = Plane { a: vec![0.0; n], b: 0.0 };
                if self.safe(&nothing, &ray) > 0.0 {
                    return Least::Empty;
                }
                break;
            };
            active[k] = entering;
        }
        Least::AtLeast(best)
    }

    /// The faces of the box and the planes, in units of the box.
    fn rows(&self) -> Vec<Row> {
        let n = self.lower.len();
        let mut rows = Vec::with_capacity(2 * n + self.planes.len());
        for i in 0..n {
            let mut g = [0.0; MOST_INPUTS];
            g[i] = 1.0;
            rows.push(Row { g, h: 0.0, plane: None });
            g[i] = -1.0;
            rows.push(Row { g, h: 1.0, plane: None });
        }
        for (place, plane) in self.planes.iter().enumerate() {
            let (mut g, mut h) = ([0.0; MOST_INPUTS], plane.b);
            for i in 0..n {
                g[i] = plane.a[i] * (self.upper[i] - self.lower[i]);
                h += plane.a[i] * self.lower[i];
            }
            let size = g.iter().map(|g| g * g).sum::<f64>().sqrt();
            if size > f64::MIN_POSITIVE && size.is_finite() && h.is_finite() {
                g.iter_mut().for_each(|g| *g /= size);
                rows.push(Row { g, h: h / size, plane: Some((place, size)) });
            }
        }
        rows
    }

    /// A lower bound of `a x + b − Σ λ_j p_j(x)` over the box, rounded down: of the function, wherever all planes hold.
    fn safe(&self, function: &Plane, multipliers: &[(usize, f64)]) -> f64 {
        let (mut rest, mut constant) = (function.a.clone(), function.b);
        let mut sizes: Vec<f64> = function.a.iter().map(|a| a.abs()).collect();
        let mut size = function.b.abs();
        for &(place, lambda) in multipliers {
            let plane = &self.planes[place];
            for (i, a) in plane.a.iter().enumerate() {
                rest[i] -= lambda * a;
                sizes[i] += lambda * a.abs();
            }
            constant -= lambda * plane.b;
            size += lambda * plane.b.abs();
        }
        for (i, rest) in rest.iter().enumerate() {
            let (low, high) = (self.lower[i], self.upper[i]);
            constant += (rest * low).min(rest * high);
            size += sizes[i] * low.abs().max(high.abs());
        }
        // Every sum has at most one term for each multiplier and each input, and a few more.
        let terms = (self.lower.len() + multipliers.len() + 8) as f64;
        let bound = constant - 4.0 * terms * f64::EPSILON * size - f64::MIN_POSITIVE;
        if bound.is_nan() { f64::NEG_INFINITY } else { bound }
    }
}

/// `x` with `M x = v`, where rows are independent.
fn solved(matrix: &[Vector], values: &[f64]) -> Option<Vec<f64>> {
    let n = matrix.len();
    eliminated(matrix.iter().zip(values).map(|(row, &value)| (*row, value)).collect(), n)
}

/// `λ` with `Mᵀ λ = v`.
fn solved_transposed(matrix: &[Vector], values: &[f64]) -> Option<Vec<f64>> {
    let n = matrix.len();
    let column = |i: usize| {
        let mut column = [0.0; MOST_INPUTS];
        matrix.iter().enumerate().for_each(|(k, row)| column[k] = row[i]);
        column
    };
    eliminated((0..n).map(|i| (column(i), values[i])).collect(), n)
}

/// Gaussian elimination with row pivots.
fn eliminated(mut system: Vec<(Vector, f64)>, n: usize) -> Option<Vec<f64>> {
    for k in 0..n {
        let pivot = (k..n).max_by(|&a, &b| system[a].0[k].abs().total_cmp(&system[b].0[k].abs()))?;
        system.swap(k, pivot);
        let (row, value) = system[k];
        if row[k].abs() <= SINGULAR {
            return None;
        }
        for (other, right) in system.iter_mut().skip(k + 1) {
            let factor = other[k] / row[k];
            (k..n).for_each(|i| other[i] -= factor * row[i]);
            *right -= factor * value;
        }
    }
    let mut x = vec![0.0; n];
    for k in (0..n).rev() {
        let (row, value) = &system[k];
        x[k] = (value - (k + 1..n).map(|i| row[i] * x[i]).sum::<f64>()) / row[k];
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> impl FnMut() -> f64 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
        }
    }

    #[test]
    fn a_triangle_by_hand() {
        // x, y in [0, 2], x + y ≤ 1: the least of −x − 2y is −2, at (0, 1); of 2 − x − y it is 1.
        let planes = [Plane { a: vec![-1.0, -1.0], b: 1.0 }];
        let program = LinearProgram { lower: &[0.0; 2], upper: &[2.0; 2], planes: &planes };
        for (a, b, least) in [([-1.0, -2.0], 0.0, -2.0), ([-1.0, -1.0], 2.0, 1.0), ([1.0, 3.0], 0.5, 0.5)] {
            let Least::AtLeast(found) = program.least(&Plane { a: a.to_vec(), b }, f64::INFINITY) else {
                panic!("it is not empty")
            };
            assert!(found <= least && found > least - 1e-12, "{found} {least}");
        }
        // With x + y ≥ 1.5 nothing is left.
        let planes = [planes[0].clone(), Plane { a: vec![1.0, 1.0], b: -1.5 }];
        let program = LinearProgram { lower: &[0.0; 2], upper: &[2.0; 2], planes: &planes };
        assert_eq!(program.least(&Plane { a: vec![1.0, 0.3], b: 0.0 }, f64::INFINITY), Least::Empty);
    }

    #[test]
    fn a_bound_is_below_every_point_and_near_the_best() {
        let mut next = stream(5);
        let (mut n_near, mut n_cases) = (0, 0);
        for case in 0..400 {
            let n = 1 + case % 5;
            let lower: Vec<f64> = (0..n).map(|_| next() - 1.0).collect();
            let upper: Vec<f64> =
                lower.iter().map(|l| l + (next() + 1.0) * if case % 7 == 0 { 1e-6 } else { 1.0 }).collect();
            let plane = |next: &mut dyn FnMut() -> f64| {
                let a: Vec<f64> = (0..n).map(|_| next()).collect();
                let middle: f64 = a.iter().zip(lower.iter().zip(&upper)).map(|(a, (l, u))| a * 0.5 * (l + u)).sum();
                let size: f64 = a.iter().zip(lower.iter().zip(&upper)).map(|(a, (l, u))| a.abs() * (u - l)).sum();
                Plane { a, b: 0.2 * next() * size - middle }
            };
            let planes: Vec<Plane> = (0..case % 9).map(|_| plane(&mut next)).collect();
            let function = plane(&mut next);
            let program = LinearProgram { lower: &lower, upper: &upper, planes: &planes };
            let least = program.least(&function, f64::INFINITY);
            let mut seen = f64::INFINITY;
            for k in 0..4000 {
                let at = |i: usize, u: f64| lower[i] + (upper[i] - lower[i]) * u;
                // Faces of the box more often than a uniform point would.
                let point = |i: usize, u: f64| at(i, if k % 2 == 0 { u } else { (1.5 * u - 0.25).clamp(0.0, 1.0) });
                let x: Vec<f64> = (0..n).map(|i| point(i, 0.5 + 0.5 * next())).collect();
                if planes.iter().all(|plane| plane.value(&x) >= 0.0) {
                    assert_ne!(least, Least::Empty, "{case}");
                    seen = seen.min(function.value(&x));
                }
            }
            let Least::AtLeast(bound) = least else { continue };
            let range: f64 = function.a.iter().zip(lower.iter().zip(&upper)).map(|(a, (l, u))| a.abs() * (u - l)).sum();
            assert!(bound <= seen + 1e-12, "{case}: {bound}, {seen}");
            if seen.is_finite() {
                n_cases += 1;
                n_near += usize::from(seen - bound < 0.25 * range);
            }
        }
        assert!(n_cases > 200 && n_near * 10 > n_cases * 9, "{n_near} of {n_cases}");
    }
}
