//! An enclosure of the exponential that trusts no platform's mathematics: argument reduction and a Taylor sum.

use crate::rounding::UNIT;

/// Relative error of [`exp`], far more than is proved below.
const RELATIVE_ERROR: f64 = 64.0 * UNIT;

/// ln 2 in two parts: the first has 32 significant bits, so that its products with integers up to 2¹¹ are exact.
const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `eˣ` for `x` in `[−700, 0]`, with relative error below [`RELATIVE_ERROR`].
///
/// `x = k ln 2 + r` with `|r| ≤ 0.35`: `k·LN2_HIGH` is exact, the subtraction rounds once (at most `u·|r|`, plus `|x|` near a
/// multiple: exact by Sterbenz), `k·LN2_LOW` errs by `u·1e-6`, and the two constants together by `k·1e-26`. So `r` errs by less than
/// `2u`, `eʳ` by less than `3u` relatively. The Taylor sum to degree 17 leaves out `0.35¹⁸/18! < 1e-24`, and Horner's scheme on terms
/// that shrink by a factor of at least `0.35` rounds by less than `8u`. Scaling by `2ᵏ` is exact down to `e⁻⁷⁰⁰`.
fn exp(x: f64) -> f64 {
    let k = (x * std::f64::consts::LOG2_E).round();
    let r = (x - k * LN2_HIGH) - k * LN2_LOW;
    let mut sum = 1.0;
    for degree in (1..=17).rev() {
        sum = 1.0 + sum * r / f64::from(degree);
    }
    sum * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

/// `[low, high]` around the logistic function `1 / (1 + e⁻ᶻ)`.
pub fn logistic(z: f64) -> [f64; 2] {
    if z.is_nan() {
        return [0.0, 1.0];
    }
    // e^(−|z|); past 700 it is less than 1e-304.
    let [low, high] = if z.abs() > 700.0 {
        [0.0, 1e-304]
    } else {
        let e = exp(-z.abs());
        [(e * (1.0 - 2.0 * RELATIVE_ERROR)).next_down(), (e * (1.0 + 2.0 * RELATIVE_ERROR)).next_up()]
    };
    // σ(−|z|) = e / (1 + e), which rises with e; σ(|z|) = 1 / (1 + e), which falls.
    let below = |value: f64| (value * (1.0 - 4.0 * UNIT)).next_down().max(0.0);
    let above = |value: f64| (value * (1.0 + 4.0 * UNIT)).next_up().min(1.0);
    if z < 0.0 {
        [below(low / (1.0 + low)), above(high / (1.0 + high))]
    } else {
        [below(1.0 / (1.0 + high)), above(1.0 / (1.0 + low))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_are_ln_2() {
        // The platform's ln 2 is the nearest float.
        assert_eq!(LN2_HIGH + LN2_LOW, std::f64::consts::LN_2);
        assert_eq!(LN2_HIGH.to_bits() & 0x1f_ffff, 0, "its last 21 bits are zero");
    }

    #[test]
    fn the_platforms_exponential_lies_within_a_few_units() {
        let mut z = -699.0;
        while z <= 0.0 {
            let (ours, theirs) = (exp(z), f64::exp(z));
            assert!((ours - theirs).abs() <= 8.0 * UNIT * theirs, "e^{z}: {ours:e}, {theirs:e}");
            z += 0.0371;
        }
    }

    #[test]
    fn the_logistic_function_is_enclosed_tightly_and_symmetrically() {
        assert!(logistic(0.0)[0] <= 0.5 && logistic(0.0)[1] >= 0.5);
        for i in -4000..4000 {
            let z = f64::from(i) * 0.2;
            let [low, high] = logistic(z);
            let value = 1.0 / (1.0 + f64::exp(-z));
            assert!(low <= value && value <= high, "σ({z})");
            assert!(high - low <= 1e-12 * high.max(1e-290), "σ({z}) is [{low:e}, {high:e}]");
            let [mirrored_low, mirrored_high] = logistic(-z);
            assert!(1.0 - high <= mirrored_high + UNIT && mirrored_low <= 1.0 - low + UNIT);
        }
        assert_eq!(logistic(f64::NAN), [0.0, 1.0]);
    }
}
