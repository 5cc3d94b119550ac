use std::ops::{Add, Div, Mul, Sub};

use crate::rounding::{two_product, two_quotient, two_sum};
use crate::ssim::number::Number;

/// An interval that contains a real number; every operation rounds outwards.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Enclosure {
    pub below: f64,
    pub above: f64,
}

/// Everything: what is left where nothing is known.
const ALL: Enclosure = Enclosure { below: f64::NEG_INFINITY, above: f64::INFINITY };

/// The float below, unless the error is exactly zero.
fn down((value, error): (f64, f64)) -> f64 {
    if error == 0.0 { value } else { value.next_down() }
}

/// The float above, unless the error is exactly zero.
fn up((value, error): (f64, f64)) -> f64 {
    if error == 0.0 { value } else { value.next_up() }
}

impl Enclosure {
    /// The interval between the least and the largest of four corners; NaN among them says nothing.
    fn of_corners(corners: [(f64, f64); 4]) -> Self {
        if corners.iter().any(|(value, _)| value.is_nan()) {
            return ALL;
        }
        Self {
            below: corners.map(down).into_iter().fold(f64::INFINITY, f64::min),
            above: corners.map(up).into_iter().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Number for Enclosure {
    fn exact(value: f64) -> Self {
        Self { below: value, above: value }
    }

    fn near(value: f64) -> Self {
        Self { below: value.next_down(), above: value.next_up() }
    }

    fn square(self) -> Self {
        let ends = [self.below, self.above].map(|end| two_product(end, end));
        let (low, high) = if ends[0].0 <= ends[1].0 { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
        let has_zero = self.below <= 0.0 && self.above >= 0.0;
        Self { below: if has_zero { 0.0 } else { down(low).max(0.0) }, above: up(high) }
    }
}

impl Add for Enclosure {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { below: down(two_sum(self.below, other.below)), above: up(two_sum(self.above, other.above)) }
    }
}

impl Sub for Enclosure {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { below: down(two_sum(self.below, -other.above)), above: up(two_sum(self.above, -other.below)) }
    }
}

impl Mul for Enclosure {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let [a, b] = [[self.below, self.above], [other.below, other.above]];
        Self::of_corners([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| two_product(a[i], b[j])))
    }
}

impl Div for Enclosure {
    type Output = Self;
    /// Everything where the divisor may be zero or negative: divisors of a similarity are not.
    fn div(self, other: Self) -> Self {
        if other.below.is_nan() || other.below <= 0.0 {
            return ALL;
        }
        let [a, b] = [[self.below, self.above], [other.below, other.above]];
        Self::of_corners([(0, 0), (0, 1), (1, 0), (1, 1)].map(|(i, j)| two_quotient(a[i], b[j])))
    }
}
