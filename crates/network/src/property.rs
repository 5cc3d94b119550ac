use crate::{BoxRegion, Error};

/// A question: may any input of a region be mapped to outputs that violate what is wanted?
///
/// The *violation* is a disjunction; the property holds when no disjunct has a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Number of network inputs the property speaks of.
    pub n_inputs: usize,
    /// Number of network outputs the property speaks of.
    pub n_outputs: usize,
    /// The ways to violate; an empty list cannot be violated.
    pub disjuncts: Vec<Disjunct>,
}

/// One way to violate: an input in the box such that every half-space holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Disjunct {
    /// Where the input lies.
    pub region: BoxRegion,
    /// What must all hold; with no half-space, every input of the box violates.
    pub half_spaces: Vec<HalfSpace>,
}

/// The closed half-space `Σ a_i x_i + Σ c_j y_j + d ≤ 0` over inputs and outputs.
///
/// Every real coefficient and constant lies in its pair `[below, above]` of neighbouring floats (equal when it is a float).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HalfSpace {
    /// Input index, coefficient from below, from above; indices strictly increasing, no zero coefficients.
    pub input: Vec<(usize, [f64; 2])>,
    /// Output index, coefficient from below, from above; indices strictly increasing, no zero coefficients.
    pub output: Vec<(usize, [f64; 2])>,
    /// The constant from below and from above.
    pub constant: [f64; 2],
}

impl Property {
    /// That every input of a region gets one class: its output is larger than every other. One disjunct for every other class,
    /// whose output is at least as large somewhere.
    ///
    /// # Errors
    /// When there are no two outputs, or the class is none of them.
    pub fn class_is_kept(region: &BoxRegion, class: usize, n_outputs: usize) -> Result<Self, Error> {
        if class >= n_outputs || n_outputs < 2 {
            return Err(Error::format(format!("class {class} of {n_outputs} outputs: classes count from 0")));
        }
        let against = |other: usize| {
            let mut output = vec![(class, [1.0; 2]), (other, [-1.0; 2])];
            output.sort_by_key(|term| term.0);
            Disjunct { region: region.clone(), half_spaces: vec![HalfSpace { output, ..HalfSpace::default() }] }
        };
        let disjuncts = (0..n_outputs).filter(|&other| other != class).map(against).collect();
        Ok(Self { n_inputs: region.n_inputs(), n_outputs, disjuncts })
    }

    /// Checks that the property speaks of a network with this many inputs and outputs.
    ///
    /// # Errors
    /// When it does not; the message has both numbers.
    pub fn check_sizes(&self, n_inputs: usize, n_outputs: usize) -> Result<(), Error> {
        let check = |what: &str, declared: usize, actual: usize| {
            if declared == actual {
                return Ok(());
            }
            Err(Error::format(format!("the property declares {declared} {what} but the network has {actual}")))
        };
        check("inputs", self.n_inputs, n_inputs)?;
        check("outputs", self.n_outputs, n_outputs)
    }

    /// The disjunct that the point violates by the largest margin (the first of equals), and that margin; see
    /// [`Disjunct::violated_at`].
    pub fn violated_at(&self, x: &[f64], y: &[f64]) -> Option<(usize, f64)> {
        let margins =
            self.disjuncts.iter().enumerate().filter_map(|(i, disjunct)| Some((i, disjunct.violated_at(x, y)?)));
        margins.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

impl Disjunct {
    /// By how much the input `x` with the outputs `y` surely violates: every half-space's left side is at most minus this.
    ///
    /// Some margin (≥ 0) means that `x` lies in the real box and every half-space holds at `(x, y)` whatever its real
    /// coefficients are within their pairs; the margin is rounded down, and infinite when there are no half-spaces. `None` means
    /// that this could not be shown, also because of a NaN, an infinity or a wrong length. That `y` is what the network
    /// computes is the caller's claim.
    pub fn violated_at(&self, x: &[f64], y: &[f64]) -> Option<f64> {
        if !self.region.contains(x) || y.iter().any(|y| !y.is_finite()) {
            return None;
        }
        let mut margin = f64::INFINITY;
        for half_space in &self.half_spaces {
            margin = margin.min(-half_space.value_from_above(x, y)?);
        }
        // Adding zero turns −0 into 0.
        (margin >= 0.0).then_some(margin + 0.0)
    }
}

impl HalfSpace {
    /// A float at or above `Σ a_i x_i + Σ c_j y_j + d`, whatever the real coefficients are within their pairs.
    ///
    /// `None` when an index lies outside `x` or `y`, or a value is not finite.
    pub fn value_from_above(&self, x: &[f64], y: &[f64]) -> Option<f64> {
        let mut sum = self.constant[1];
        for (terms, values) in [(&self.input, x), (&self.output, y)] {
            for &(index, [below, above]) in terms {
                let value = *values.get(index)?;
                let product = product_from_above(below, value).max(product_from_above(above, value));
                sum = sum_from_above(sum, product);
                if !value.is_finite() || !product.is_finite() || !sum.is_finite() {
                    return None;
                }
            }
        }
        sum.is_finite().then_some(sum)
    }
}

/// The float `a · b` if that is exact or was rounded up, else the next one.
fn product_from_above(a: f64, b: f64) -> f64 {
    /// Above this, the error of a product is a float itself, and a fused multiply-add finds it.
    const SMALLEST: f64 = 1e-280;
    let product = a * b;
    if a == 0.0 || b == 0.0 || product.abs() > SMALLEST && a.mul_add(b, -product) <= 0.0 {
        product
    } else {
        product.next_up()
    }
}

/// The float `a + b` if that is exact or was rounded up, else the next one.
fn sum_from_above(a: f64, b: f64) -> f64 {
    let sum = a + b;
    // Knuth's error-free transformation: the true sum is `sum + error`.
    let b_part = sum - a;
    let error = (a - (sum - b_part)) + (b - b_part);
    if error > 0.0 { sum.next_up() } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a x_0 − y_0 + d ≤ 0` over `x_0` in [0, 1].
    fn disjunct(a: [f64; 2], d: [f64; 2]) -> Disjunct {
        let region = BoxRegion::new(vec![0.0], vec![1.0]).unwrap();
        let half_space = HalfSpace { input: vec![(0, a)], output: vec![(0, [-1.0; 2])], constant: d };
        Disjunct { region, half_spaces: vec![half_space] }
    }

    #[test]
    fn the_margin_is_how_far_the_closest_half_space_is_satisfied() {
        let mut disjunct = disjunct([2.0; 2], [0.5; 2]);
        assert_eq!(disjunct.violated_at(&[0.5], &[4.0]), Some(2.5));
        disjunct.half_spaces.push(HalfSpace {
            output: vec![(0, [1.0; 2])],
            constant: [-5.0; 2],
            ..HalfSpace::default()
        });
        assert_eq!(disjunct.violated_at(&[0.5], &[4.0]), Some(1.0));
        assert_eq!(disjunct.violated_at(&[0.5], &[6.0]), None);
    }

    #[test]
    fn a_point_on_the_boundary_violates_with_margin_zero() {
        let margin = disjunct([2.0; 2], [0.5; 2]).violated_at(&[0.5], &[1.5]);
        assert_eq!(margin.map(f64::to_bits), Some(0));
        assert_eq!(disjunct([2.0; 2], [0.5; 2]).violated_at(&[0.5], &[1.5f64.next_down()]), None);
    }

    #[test]
    fn every_coefficient_of_a_pair_must_agree() {
        let tenth = [0.1f64.next_down(), 0.1];
        assert!(disjunct(tenth, [0.0; 2]).violated_at(&[1.0], &[0.1]).is_some());
        assert!(disjunct(tenth, [0.0; 2]).violated_at(&[1.0], &[0.1f64.next_down()]).is_none());
        assert!(disjunct([0.0; 2], tenth).violated_at(&[1.0], &[0.1]).is_some());
        assert!(disjunct([0.0; 2], tenth).violated_at(&[1.0], &[0.1f64.next_down()]).is_none());
    }

    #[test]
    fn rounding_never_makes_a_violation() {
        // 3 · 0.1 (the float) is below the float 0.1 + 0.2 by less than an ulp, and above the float 0.3.
        let disjunct = disjunct([0.1; 2], [0.2; 2]);
        assert_eq!(disjunct.violated_at(&[1.0], &[0.3]), None);
        assert!(disjunct.violated_at(&[1.0], &[0.1 + 0.2]).is_some());
        // A product that underflows to zero is still positive.
        let mut tiny = disjunct;
        tiny.half_spaces[0] = HalfSpace { input: vec![(0, [1e-200; 2])], ..HalfSpace::default() };
        assert_eq!(tiny.violated_at(&[1e-200], &[0.0]), None);
        assert!(tiny.violated_at(&[0.0], &[0.0]).is_some());
    }

    #[test]
    fn points_outside_and_values_that_are_not_finite_do_not_count() {
        let disjunct = disjunct([1.0; 2], [0.0; 2]);
        for (x, y) in [(1.5, 9.0), (-0.5, 9.0), (f64::NAN, 9.0), (0.5, f64::NAN), (0.5, f64::INFINITY)] {
            assert_eq!(disjunct.violated_at(&[x], &[y]), None, "{x} {y}");
        }
        assert_eq!(disjunct.violated_at(&[], &[9.0]), None);
        assert_eq!(disjunct.violated_at(&[0.5], &[]), None);
        let overflowing = super::tests::disjunct([f64::MAX; 2], [f64::MAX; 2]);
        assert_eq!(overflowing.violated_at(&[1.0], &[1.0]), None);
    }

    #[test]
    fn only_inner_points_violate() {
        let mut disjunct = disjunct([0.0; 2], [0.0; 2]);
        disjunct.region.inner_lower[0] = 0.0f64.next_up();
        assert_eq!(disjunct.violated_at(&[0.0], &[1.0]), None);
    }

    #[test]
    fn no_half_space_is_an_infinite_margin() {
        let mut disjunct = disjunct([0.0; 2], [0.0; 2]);
        disjunct.half_spaces.clear();
        assert_eq!(disjunct.violated_at(&[1.0], &[0.0]), Some(f64::INFINITY));
    }

    #[test]
    fn the_most_violated_disjunct_is_found() {
        let disjuncts = [2.0, 1.0, 1.0, 3.0].map(|d| disjunct([0.0; 2], [d; 2])).to_vec();
        let mut property = Property { n_inputs: 1, n_outputs: 1, disjuncts };
        assert_eq!(property.violated_at(&[0.0], &[2.5]), Some((1, 1.5)));
        assert_eq!(property.violated_at(&[0.0], &[0.5]), None);
        property.disjuncts.clear();
        assert_eq!(property.violated_at(&[0.0], &[2.5]), None);
    }
}
