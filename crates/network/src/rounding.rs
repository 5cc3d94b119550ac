//! Floating-point operations that report their own error, and sums of errors rounded upwards.

/// The unit roundoff of f64.
pub(crate) const UNIT: f64 = f64::EPSILON / 2.0;

/// Below this, a product's residual may itself be rounded.
const SMALLEST_WITH_EXACT_RESIDUAL: f64 = f64::MIN_POSITIVE * (1u64 << 62) as f64;

/// The smallest positive f64; no product or quotient that underflows errs by more.
pub(crate) const TINY: f64 = f64::from_bits(1);

/// `a + b ≤ add_up(a, b)` for non-negative operands; exactly zero when both are.
pub(crate) fn add_up(a: f64, b: f64) -> f64 {
    if a == 0.0 {
        b
    } else if b == 0.0 {
        a
    } else {
        (a + b).next_up()
    }
}

/// `a · b ≤ mul_up(a, b)` for non-negative operands; exactly zero when one is.
pub(crate) fn mul_up(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 {
        0.0
    } else if a == 1.0 {
        b
    } else if b == 1.0 {
        a
    } else {
        (a * b).next_up()
    }
}

/// `a / b ≤ div_up(a, b)` for `a ≥ 0`, `b > 0`.
pub(crate) fn div_up(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { (a / b).next_up() }
}

/// The rounded sum and how far it is from the real one (Knuth: the second part is exact).
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    let from_a = sum - from_b;
    (sum, ((a - from_a) + (b - from_b)).abs())
}

/// The rounded product and a bound on its distance from the real one, exact unless it is near underflow.
pub(crate) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    if a == 0.0 || b == 0.0 || a.abs() == 1.0 || b.abs() == 1.0 {
        return (product, 0.0);
    }
    if product.abs() < SMALLEST_WITH_EXACT_RESIDUAL {
        return (product, add_up(mul_up(product.abs(), UNIT), TINY));
    }
    (product, a.mul_add(b, -product).abs())
}

/// The rounded quotient and a bound on its distance from the real one; zero when the division is exact.
pub(crate) fn two_quotient(a: f64, b: f64) -> (f64, f64) {
    let quotient = a / b;
    let is_exact = a == 0.0 || b.abs() == 1.0 || {
        // The residual of a division is representable unless it underflows.
        a.abs() > SMALLEST_WITH_EXACT_RESIDUAL && quotient.is_normal() && quotient.mul_add(b, -a) == 0.0
    };
    (quotient, if is_exact { 0.0 } else { add_up(mul_up(quotient.abs(), UNIT), TINY) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_operations_have_no_error() {
        assert_eq!(two_sum(1.5, 2.25), (3.75, 0.0));
        assert_eq!(two_product(1.5, -0.5), (-0.75, 0.0));
        assert_eq!(two_quotient(3.0, 4.0), (0.75, 0.0));
        assert_eq!(two_product(1.0, TINY), (TINY, 0.0));
        assert_eq!(add_up(0.0, 0.1), 0.1);
    }

    #[test]
    fn a_lost_bit_is_reported_in_full() {
        assert_eq!(two_sum(1.0, UNIT / 2.0), (1.0, UNIT / 2.0));
        let a = 1.0 + f64::EPSILON;
        // (1 + ε)² = 1 + 2ε + ε², of which ε² is lost.
        assert_eq!(two_product(a, a), (1.0 + 2.0 * f64::EPSILON, f64::EPSILON * f64::EPSILON));
        let (third, error) = two_quotient(1.0, 3.0);
        // 1/3 − fl(1/3) = 2⁻⁵⁴ / 3.
        assert!(error >= UNIT / 2.0 / 3.0 && error <= third * UNIT * 1.01);
    }

    #[test]
    fn underflow_is_not_called_exact() {
        assert!(two_product(1e-200, 1e-200).1 >= TINY);
        assert!(two_quotient(1e-300, 3e300).1 >= TINY);
    }
}
