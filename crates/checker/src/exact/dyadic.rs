use std::cmp::Ordering;
use std::ops::{Add, Neg, Sub};

use num_bigint::{BigInt, Sign};

/// An integer times a power of two: what every float is, and what sums and products of floats stay. Nothing is ever rounded.
#[derive(Debug, Clone, Default)]
pub struct Dyadic {
    integer: BigInt,
    exponent: i64,
}

/// `float = integer · 2^exponent`, the integer odd or zero.
fn parts(float: f64) -> (i64, i64) {
    assert!(float.is_finite(), "only finite numbers are dyadic");
    let bits = float.to_bits();
    let (biased, fraction) = ((bits >> 52 & 0x7ff) as i64, (bits & ((1 << 52) - 1)) as i64);
    let (integer, exponent) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    if integer == 0 {
        return (0, 0);
    }
    let zeros = integer.trailing_zeros();
    let sign = if float < 0.0 { -1 } else { 1 };
    (sign * (integer >> zeros), exponent + i64::from(zeros))
}

/// `2^exponent`, which is a float.
fn power_of_two(exponent: i64) -> f64 {
    if exponent >= -1022 {
        f64::from_bits(((exponent + 1023) as u64) << 52)
    } else {
        f64::from_bits(1 << (exponent + 1074))
    }
}

impl Dyadic {
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.integer.sign() == Sign::NoSign
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.integer.sign() == Sign::Minus
    }

    /// Whether it is above zero.
    pub fn is_positive(&self) -> bool {
        self.integer.sign() == Sign::Plus
    }

    /// Its product with a float.
    #[must_use]
    pub fn times(&self, float: f64) -> Self {
        let (integer, exponent) = parts(float);
        Self { integer: &self.integer * integer, exponent: self.exponent + exponent }
    }

    /// Its product with another.
    #[must_use]
    pub fn product(&self, other: &Self) -> Self {
        Self { integer: &self.integer * &other.integer, exponent: self.exponent + other.exponent }
    }

    /// Adds another number.
    pub fn increase(&mut self, other: &Self) {
        if other.is_zero() {
            return;
        }
        let by = self.exponent - other.exponent;
        if self.is_zero() {
            *self = other.clone();
        } else if by > 0 {
            self.integer <<= by;
            self.integer += &other.integer;
            self.exponent = other.exponent;
        } else if by < 0 {
            self.integer += &other.integer << -by;
        } else {
            self.integer += &other.integer;
        }
    }

    /// Its magnitude.
    #[must_use]
    pub fn abs(&self) -> Self {
        if self.is_negative() { -self.clone() } else { self.clone() }
    }

    /// The largest float that is not above it: `−∞` below all floats.
    pub fn float_below(&self) -> f64 {
        let length = self.integer.bits() as i64;
        let shift = (length - 53).max(-1074 - self.exponent).max(0);
        // A shift of a negative number rounds towards −∞.
        let top: BigInt = &self.integer >> shift;
        let exponent = self.exponent + shift;
        // At most 2⁵³ in magnitude.
        let Ok(top) = i64::try_from(top) else { return f64::NEG_INFINITY };
        let bits = i64::from(i64::BITS - top.unsigned_abs().leading_zeros());
        if top == 0 {
            0.0
        } else if bits + exponent > 1024 {
            if top > 0 { f64::MAX } else { f64::NEG_INFINITY }
        } else {
            // Few bits may lie far up, where their power of two alone is no float.
            let up = (exponent - 971).max(0);
            (top << up) as f64 * power_of_two(exponent - up)
        }
    }
}

impl From<f64> for Dyadic {
    /// The number that a finite float is.
    fn from(float: f64) -> Self {
        let (integer, exponent) = parts(float);
        Self { integer: BigInt::from(integer), exponent }
    }
}

impl Neg for Dyadic {
    type Output = Self;

    fn neg(self) -> Self {
        Self { integer: -self.integer, exponent: self.exponent }
    }
}

impl Add for Dyadic {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self.increase(&other);
        self
    }
}

impl Sub for Dyadic {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self.increase(&-other);
        self
    }
}

impl PartialEq for Dyadic {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Dyadic {}

impl PartialOrd for Dyadic {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Dyadic {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.integer.sign(), other.integer.sign()) {
            (a, b) if a != b => a.cmp(&b),
            _ => {
                let apart = self.clone() - other.clone();
                apart.integer.sign().cmp(&Sign::NoSign)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn float() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("finite", |x| x.is_finite()),
            -8.0..8.0f64,
            Just(0.0),
            Just(f64::MAX),
            (900..1024i32, -4..4i32).prop_map(|(up, n)| f64::from(n) / 4.0 * 2.0_f64.powi(up)),
            Just(5e-324),
            Just(-5e-324),
            (-40..40i32).prop_map(f64::from),
        ]
    }

    #[test]
    fn a_third_is_no_float_and_is_rounded_down() {
        // 3 · fl(1/3) = 1 − 2⁻⁵⁴.
        let product = Dyadic::from(1.0 / 3.0).times(3.0);
        assert!(product < Dyadic::from(1.0));
        assert_eq!(Dyadic::from(1.0) - product.clone(), Dyadic::from(f64::EPSILON / 4.0));
        assert_eq!(product.float_below(), 1.0_f64.next_down());
        assert_eq!((-product).float_below(), -1.0);
        let tiny = Dyadic::from(5e-324).product(&Dyadic::from(0.5));
        assert!(tiny.is_positive());
        assert_eq!((tiny.float_below(), (-tiny).float_below()), (0.0, -5e-324));
        let huge = Dyadic::from(f64::MAX).times(2.0);
        assert_eq!((huge.float_below(), (-huge).float_below()), (f64::MAX, f64::NEG_INFINITY));
    }

    #[test]
    fn few_bits_far_up_come_back_and_what_is_beyond_does_not() {
        let top = 2.0_f64.powi(1023);
        for x in [top, 1.5 * top, -0.75 * top, 3.0 * 2.0_f64.powi(1020), f64::MAX] {
            let [above, below] = [Dyadic::from(x), Dyadic::from(-x)];
            assert_eq!((above.float_below(), below.float_below()), (x, -x));
        }
        let beyond = Dyadic::from(top) + Dyadic::from(top);
        assert_eq!((beyond.float_below(), (-beyond).float_below()), (f64::MAX, f64::NEG_INFINITY));
        let near = Dyadic::from(f64::MAX) + Dyadic::from(1.0);
        assert_eq!((near.float_below(), (-near).float_below()), (f64::MAX, f64::NEG_INFINITY));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn floats_come_back_and_arithmetic_is_exact(a in float(), b in float()) {
            let (x, y) = (Dyadic::from(a), Dyadic::from(b));
            prop_assert_eq!(x.float_below(), a);
            prop_assert_eq!(x.cmp(&y), (a + 0.0).total_cmp(&(b + 0.0)));
            let sum = a + b;
            if sum.is_finite() {
                let low = (x.clone() + y.clone()).float_below();
                prop_assert!(low == sum || low == sum.next_down(), "{a} + {b}: {low}");
                // The error of a sum is a float, and two-sum finds it.
                let part = sum - a;
                let error = (a - (sum - part)) + (b - part);
                if part.is_finite() && error.is_finite() {
                    prop_assert_eq!(x.clone() + y.clone(), Dyadic::from(sum) + Dyadic::from(error));
                }
            }
            let product = a * b;
            if product.is_finite() && product.abs() > 1e-280 {
                let error = a.mul_add(b, -product);
                prop_assert_eq!(x.times(b), Dyadic::from(product) + Dyadic::from(error));
                prop_assert_eq!(x.product(&y), y.times(a));
            }
            prop_assert!((x.clone() - x).is_zero());
        }
    }
}
