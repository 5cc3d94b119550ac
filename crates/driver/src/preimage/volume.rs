//! Volumes of polytopes in few dimensions, computed and not sampled.

use crate::preimage::element::Element;

/// Most inputs of a polytope whose volume is computed.
pub const MOST_INPUTS: usize = 6;

/// A volume and what rounding may have cost it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Volume {
    /// The volume.
    pub value: f64,
    /// How far from the truth it may be: measured, by a second computation from another apex, not proved.
    pub error: f64,
}

/// A half-space `a x ≤ b`, in up to six dimensions.
type HalfSpace = ([f64; MOST_INPUTS], f64);

/// What counts as zero, relative to a half-space's largest coefficient; lengths are in units of the box.
const TINY: f64 = 1e-11;

impl Element {
    /// The share of a box (`lower`, `upper`) that the polytope takes, with more half-spaces `a x + b ≥ 0` if any; none in more than
    /// six dimensions, or in a box without volume.
    ///
    /// Source: Lasserre 1983: a polytope is the union of the cones from an apex to its facets, and a facet is a polytope of one dimension
    /// less. Everything is in units of the box. The error is ten times the difference to a second computation, from another apex.
    pub fn exact_volume(&self, (lower, upper): (&[f64], &[f64]), more: &[&bounds::Plane]) -> Option<Volume> {
        let n = self.lower.len();
        if n == 0 || n > MOST_INPUTS || (0..n).any(|i| upper[i] <= lower[i]) {
            return None;
        }
        let unit = |i: usize, x: f64| (x - lower[i]) / (upper[i] - lower[i]);
        let ends: Vec<(f64, f64)> = (0..n).map(|i| (unit(i, self.lower[i]), unit(i, self.upper[i]))).collect();
        if ends.iter().any(|(low, high)| high <= low) {
            return Some(Volume::default());
        }
        let mut half_spaces: Vec<HalfSpace> = Vec::new();
        for (i, &(low, high)) in ends.iter().enumerate() {
            let mut a = [0.0; MOST_INPUTS];
            a[i] = 1.0;
            half_spaces.push((a, high));
            a[i] = -1.0;
            half_spaces.push((a, -low));
        }
        for plane in self.planes.iter().chain(more.iter().copied()) {
            let (mut a, mut b) = ([0.0; MOST_INPUTS], plane.b);
            for i in 0..n {
                a[i] = -plane.a[i] * (upper[i] - lower[i]);
                b += plane.a[i] * lower[i];
            }
            half_spaces.push((a, b));
        }
        let volume = |share: f64| {
            let apex: Vec<f64> = ends.iter().map(|(low, high)| low + share * (high - low)).collect();
            let mut own = half_spaces.clone();
            for (a, b) in &mut own {
                *b -= (0..n).map(|i| a[i] * apex[i]).sum::<f64>();
            }
            cones(n, &own)
        };
        let (first, second) = (volume(0.5), volume(0.37));
        let most: f64 = ends.iter().map(|(low, high)| high - low).product();
        let value = first.clamp(0.0, most);
        Some(Volume { value, error: 10.0 * ((first - second).abs() + (first - value).abs()) + 1e-14 * most })
    }
}

/// The volume of a bounded intersection of half-spaces, from the origin.
fn cones(n: usize, half_spaces: &[HalfSpace]) -> f64 {
    if n == 1 {
        let (mut low, mut high) = (f64::NEG_INFINITY, f64::INFINITY);
        for (a, b) in half_spaces {
            if a[0] > 0.0 { high = high.min(b / a[0]) } else { low = low.max(b / a[0]) }
        }
        return (high - low).max(0.0);
    }
    let mut sum = 0.0;
    let mut rest: Vec<HalfSpace> = Vec::with_capacity(half_spaces.len());
    for (i, (a, b)) in half_spaces.iter().enumerate() {
        let pivot = (0..n).fold(0, |best, k| if a[k].abs() > a[best].abs() { k } else { best });
        // Cones from an apex on the facet's own hyperplane have no volume.
        if *b == 0.0 {
            continue;
        }
        rest.clear();
        let is_empty = half_spaces.iter().enumerate().filter(|(j, _)| *j != i).any(|(j, (other, bound))| {
            // On the facet `x_pivot = (b − Σ a_k x_k) / a_pivot`.
            let factor = other[pivot] / a[pivot];
            let mut row = [0.0; MOST_INPUTS];
            let (mut largest, mut scale) = (0.0_f64, 0.0_f64);
            for (place, k) in (0..n).filter(|&k| k != pivot).enumerate() {
                row[place] = other[k] - factor * a[k];
                largest = largest.max(row[place].abs());
                scale = scale.max(other[k].abs()).max((factor * a[k]).abs());
            }
            let bound = bound - factor * b;
            scale = scale.max(other[pivot].abs());
            if largest > TINY * scale {
                // Rounding must not turn zeros into slopes.
                row.iter_mut().filter(|value| value.abs() <= TINY * largest).for_each(|value| *value = 0.0);
                rest.push((row, bound));
                return false;
            }
            // Parallel: the facet lies outside, or, where both are one hyperplane, it counts once.
            bound < -TINY * scale || (bound <= TINY * scale && factor > 0.0 && j < i)
        });
        if !is_empty {
            sum += b / a[pivot].abs() * cones(n - 1, &rest);
        }
    }
    sum / n as f64
}

#[cfg(test)]
mod tests {
    use bounds::Plane;

    use super::*;

    fn element(n: usize, planes: Vec<Plane>) -> Element {
        Element { lower: vec![-1.0; n], upper: vec![1.0; n], planes, ..Element::default() }
    }

    fn share(element: &Element) -> Volume {
        let n = element.lower.len();
        element.exact_volume((&vec![-1.0; n], &vec![1.0; n]), &[]).unwrap()
    }

    #[test]
    fn known_volumes() {
        let mut factorial = 1.0;
        for n in 1..=MOST_INPUTS {
            factorial *= n as f64;
            // The whole box; with a plane that repeats a face of it, and one that touches a corner.
            let repeated = (0..n).map(|i| f64::from(u8::from(i == 0))).collect();
            let planes = vec![Plane { a: repeated, b: 1.0 }, Plane { a: vec![1.0; n], b: n as f64 }];
            for whole in [element(n, Vec::new()), element(n, planes)] {
                let Volume { value, error } = share(&whole);
                assert!((value - 1.0).abs() <= error.min(1e-11), "{n}: {value} ± {error}");
            }
            // A simplex in a corner of the box: `Σ (x_i + 1) ≤ 1`.
            let corner = Plane { a: vec![-1.0; n], b: 1.0 - n as f64 };
            let Volume { value, error } = share(&element(n, vec![corner]));
            let truth = 1.0 / factorial / 2.0_f64.powi(n as i32);
            assert!((value - truth).abs() <= error.min(1e-11), "{n}: {value} ± {error}, not {truth}");
            // Through the centre: one half, whatever the slopes.
            let slope = Plane { a: (0..n).map(|i| 1.0 - 0.37 * i as f64).collect(), b: 0.0 };
            assert!((share(&element(n, vec![slope.clone()])).value - 0.5).abs() < 1e-11, "{n}");
            // Nothing is left between a plane and its opposite, moved.
            let opposite = Plane { a: slope.a.iter().map(|a| -a).collect(), b: -1e-3 };
            assert!(share(&element(n, vec![slope, opposite])).value.abs() < 1e-11, "{n}");
        }
        // The cross-polytope `Σ |x_i| ≤ 1` in three dimensions: 4/3 of 8.
        let signs = |k: usize| (0..3).map(|i| if (k >> i) & 1 == 1 { 1.0 } else { -1.0 }).collect();
        let cross = element(3, (0..8).map(|k| Plane { a: signs(k), b: 1.0 }).collect());
        assert!((share(&cross).value - 1.0 / 6.0).abs() < 1e-12);
        assert_eq!(element(7, Vec::new()).exact_volume((&[-1.0; 7], &[1.0; 7]), &[]), None);
    }

    #[test]
    fn random_polytopes_agree_with_sampling() {
        let mut state = 7_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64 * 2.0 - 1.0
        };
        for n in 2..=5 {
            for _ in 0..6 {
                let plane = |next: &mut dyn FnMut() -> f64| Plane {
                    a: (0..n).map(|_| next()).collect(),
                    b: next() * 0.5 + 0.2,
                };
                let polytope = element(n, (0..4).map(|_| plane(&mut next)).collect());
                let Volume { value, error } = share(&polytope);
                let count = 40_000;
                let mut inside = 0;
                for _ in 0..count {
                    let x: Vec<f64> = (0..n).map(|_| next()).collect();
                    inside += u32::from(polytope.contains(&x));
                }
                let sampled = f64::from(inside) / f64::from(count);
                let deviation = (value * (1.0 - value) / f64::from(count)).sqrt() + 1e-4;
                assert!((value - sampled).abs() < 5.0 * deviation && error < 1e-9, "{n}: {value} ± {error}, {sampled}");
            }
        }
    }
}
