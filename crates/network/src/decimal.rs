//! Decimal numbers as they are written, and the floats on either side of them.

use std::cmp::Ordering;

use crate::Error;
use crate::natural::Natural;

/// Longest decimal that arithmetic may give, in bits: 708 decimal digits separate the largest float from the least, so a
/// file that needs more than these 2,400 or so digits wants something else.
const MAX_BITS: u64 = 8192;
/// Most significant digits in a literal.
const MAX_DIGITS: usize = 2000;
/// Largest magnitude of a written exponent.
const MAX_EXPONENT: i64 = 1_000_000;

/// The exact value `± digits · 10^exponent`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decimal {
    /// False for zero.
    is_negative: bool,
    digits: Natural,
    exponent: i64,
}

impl Decimal {
    /// The value that a literal spells: optional sign, digits with an optional point, optional exponent.
    ///
    /// # Errors
    /// When the text is not a number, or one of more digits or a larger exponent than is sensible.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let malformed = || Error::format(format!("{} is not a decimal number", quoted(text)));
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(fraction) || whole.len() + fraction.len() == 0 {
            return Err(malformed());
        }
        let exponent = match exponent {
            None => 0,
            Some(exponent) => {
                let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                if digits.is_empty() || !are_digits(digits) {
                    return Err(malformed());
                }
                let value = exponent.parse::<i64>().ok().filter(|value| value.abs() <= MAX_EXPONENT);
                value
                    .ok_or_else(|| Error::format(format!("{}: the exponent is beyond ±{MAX_EXPONENT}", quoted(text))))?
            }
        };
        let all_digits = [whole, fraction].concat();
        let significant = all_digits.trim_end_matches('0');
        let exponent = exponent - fraction.len() as i64 + (all_digits.len() - significant.len()) as i64;
        let significant = significant.trim_start_matches('0');
        if significant.len() > MAX_DIGITS {
            return Err(Error::format(format!("{} has more than {MAX_DIGITS} digits", quoted(text))));
        }
        Ok(Self::new(text.starts_with('-'), Natural::from_digits(significant), exponent))
    }

    pub(crate) fn one() -> Self {
        Self::new(false, Natural::from_u64(1), 0)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_zero()
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.is_negative
    }

    pub(crate) fn negated(self) -> Self {
        Self::new(!self.is_negative, self.digits, self.exponent)
    }

    /// The exact sum; `None` if it is too long to be held.
    pub(crate) fn plus(&self, other: &Self) -> Option<Self> {
        if self.is_zero() {
            return Some(other.clone());
        }
        if other.is_zero() {
            return Some(self.clone());
        }
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: &Self| {
            let shift = (number.exponent - exponent) as u64;
            // Three bits are less than a decimal digit.
            (number.digits.n_bits() + 3 * shift <= MAX_BITS).then(|| number.digits.clone().times_power_of_ten(shift))
        };
        let (a, b) = (aligned(self)?, aligned(other)?);
        if self.is_negative == other.is_negative {
            return Some(Self::new(self.is_negative, a.plus(&b), exponent));
        }
        let (is_negative, difference) =
            if a >= b { (self.is_negative, a.minus(&b)) } else { (other.is_negative, b.minus(&a)) };
        Some(Self::new(is_negative, difference, exponent))
    }

    /// The exact product; `None` if it is too long to be held.
    pub(crate) fn times(&self, other: &Self) -> Option<Self> {
        if self.digits.n_bits() + other.digits.n_bits() > MAX_BITS {
            return None;
        }
        let is_negative = self.is_negative != other.is_negative;
        Some(Self::new(is_negative, self.digits.times(&other.digits), self.exponent + other.exponent))
    }

    /// The largest float at or below and the smallest at or above; equal if the value is a float.
    ///
    /// `None` if the value lies beyond the finite floats.
    pub(crate) fn neighbours(&self) -> Option<[f64; 2]> {
        neighbours(self, &Self::one())
    }

    /// The largest float at or below `self / divisor` and the smallest at or above; equal if the quotient is a float.
    ///
    /// `None` if the quotient lies beyond the finite floats, or the divisor is zero.
    pub(crate) fn quotient_neighbours(&self, divisor: &Self) -> Option<[f64; 2]> {
        if divisor.is_zero() {
            return None;
        }
        if divisor.is_negative {
            return neighbours(&self.clone().negated(), &divisor.clone().negated());
        }
        neighbours(self, divisor)
    }

    /// The nearest float (ties to even), and whether it is the value itself.
    ///
    /// `None` if the value lies beyond the finite floats.
    pub(crate) fn nearest(&self) -> Option<(f64, bool)> {
        let [below, above] = self.neighbours()?;
        Some((self.approximate(), below == above))
    }

    fn new(is_negative: bool, digits: Natural, exponent: i64) -> Self {
        let is_zero = digits.is_zero();
        Self { is_negative: is_negative && !is_zero, digits, exponent: if is_zero { 0 } else { exponent } }
    }

    /// The nearest float, which may be infinite.
    fn approximate(&self) -> f64 {
        let sign = if self.is_negative { "-" } else { "" };
        let text = format!("{sign}{}e{}", self.digits.to_digits(), self.exponent);
        text.parse().expect("digits and an exponent spell a float")
    }
}

/// The text for a message: in quotes, shortened when long.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        None => format!("'{text}'"),
        Some((end, _)) => format!("'{}…'", &text[..end]),
    }
}

/// Whichever float of a pair of neighbours prints shorter: the one that a person wrote.
pub(crate) fn shorter([below, above]: [f64; 2]) -> String {
    let (below, above) = (below.to_string(), above.to_string());
    if above.len() < below.len() { above } else { below }
}

/// The neighbours of `numerator / divisor`, for a positive divisor, by bisection over the floats with exact comparisons.
fn neighbours(numerator: &Decimal, divisor: &Decimal) -> Option<[f64; 2]> {
    let largest = rank(f64::MAX);
    let order = |rank| compare(float(rank), numerator, divisor);
    let guess = numerator.approximate() / divisor.approximate();
    let guess = if guess.is_nan() { 0.0 } else { guess.clamp(-f64::MAX, f64::MAX) };
    let (mut low, mut high) = ((rank(guess) - 1).max(-largest), (rank(guess) + 1).min(largest));
    if order(low).is_gt() {
        low = -largest;
    }
    if order(high).is_lt() {
        high = largest;
    }
    if order(low).is_gt() || order(high).is_lt() {
        return None;
    }
    while low < high {
        let middle = low + (high - low + 1) / 2;
        if order(middle).is_gt() {
            high = middle - 1;
        } else {
            low = middle;
        }
    }
    let is_exact = order(low).is_eq();
    Some([float(low), float(if is_exact { low } else { low + 1 })])
}

/// A float's place among the floats; neighbours differ by 1 and both zeros have place 0.
fn rank(value: f64) -> i128 {
    let magnitude = i128::from(value.abs().to_bits());
    if value < 0.0 { -magnitude } else { magnitude }
}

fn float(rank: i128) -> f64 {
    let magnitude = f64::from_bits(rank.unsigned_abs() as u64);
    if rank < 0 { -magnitude } else { magnitude }
}

/// Compares a finite float with `numerator / divisor`, exactly, for a positive divisor.
fn compare(value: f64, numerator: &Decimal, divisor: &Decimal) -> Ordering {
    let sign = |is_zero, is_negative| if is_zero { 0 } else { 1 - 2 * i32::from(is_negative) };
    let signs = (sign(value == 0.0, value < 0.0), sign(numerator.is_zero(), numerator.is_negative));
    if signs.0 != signs.1 || signs.0 == 0 {
        return signs.0.cmp(&signs.1);
    }
    let magnitudes = compare_magnitudes(value, numerator, divisor);
    if signs.0 < 0 { magnitudes.reverse() } else { magnitudes }
}

/// Compares `|value| · divisor` with `|numerator|`; none of them is zero.
fn compare_magnitudes(value: f64, numerator: &Decimal, divisor: &Decimal) -> Ordering {
    const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.abs().to_bits();
    let biased = (bits >> FRACTION_BITS) as i64;
    let fraction = bits & ((1 << FRACTION_BITS) - 1);
    // |value| = mantissa · 2^power
    let (mantissa, power) =
        if biased == 0 { (fraction, -1074) } else { (fraction | 1 << FRACTION_BITS, biased - 1075) };
    let left = Natural::from_u64(mantissa).times(&divisor.digits);

    // Far apart, sizes decide, and no exponent however large costs memory. Each size is at most 2 above its logarithm.
    let tens = divisor.exponent - numerator.exponent;
    let log2 = left.n_bits() as f64 + power as f64 + tens as f64 * std::f64::consts::LOG2_10;
    let gap = log2 - numerator.digits.n_bits() as f64;
    if gap.abs() > 4.0 {
        return if gap > 0.0 { Ordering::Greater } else { Ordering::Less };
    }

    let scaled = |number: Natural, tens: i64, twos: i64| {
        number.times_power_of_ten(tens.max(0) as u64).times_power_of_two(twos.max(0) as u64)
    };
    scaled(left, tens, power).cmp(&scaled(numerator.digits.clone(), -tens, -power))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(text: &str) -> [f64; 2] {
        Decimal::parse(text).unwrap().neighbours().unwrap()
    }

    #[test]
    fn floats_are_their_own_neighbours() {
        for (text, value) in [("0.5", 0.5), ("-3", -3.0), ("+1.25e2", 125.0), ("1E3", 1000.0), (".5", 0.5), ("5.", 5.0)]
        {
            assert_eq!(pair(text), [value; 2], "{text}");
        }
        for text in ["0", "-0", "0.000", "-0e5", "0e-999999"] {
            assert_eq!(pair(text).map(f64::to_bits), [0; 2], "{text}");
        }
    }

    #[test]
    fn a_tenth_lies_just_below_its_nearest_float() {
        assert_eq!(pair("0.1"), [0.1f64.next_down(), 0.1]);
        assert_eq!(pair("-0.1"), [-0.1, (-0.1f64).next_up()]);
        assert_eq!(pair("0.3"), [0.3, 0.3f64.next_up()]);
    }

    #[test]
    fn a_decimal_beside_a_float_is_seen_at_any_distance() {
        let least = 2.0f64.powi(-1074);
        assert_eq!(pair(&format!("1{}1", "0".repeat(1500)).replacen('1', "1.", 1)), [1.0, 1.0f64.next_up()]);
        assert_eq!(pair("1e-400"), [0.0, least]);
        assert_eq!(pair("-1e-400"), [-least, 0.0]);
        assert_eq!(pair("1e-1000000"), [0.0, least]);
        assert_eq!(pair("5e-324"), [least, 2.0 * least]);
        assert_eq!(pair("4e-324"), [0.0, least]);
        assert_eq!(pair("1.7976931348623157e308"), [f64::MAX.next_down(), f64::MAX]);
    }

    #[test]
    fn what_no_float_reaches_has_no_neighbours() {
        for text in ["1e400", "-1e400", "1e1000000", "1.7976931348623158e308", "179769313486231571e291"] {
            assert!(Decimal::parse(text).unwrap().neighbours().is_none(), "{text}");
        }
    }

    #[test]
    fn quotients_are_rounded_exactly() {
        let quotient = |a: &str, b: &str| Decimal::parse(a).unwrap().quotient_neighbours(&Decimal::parse(b).unwrap());
        assert_eq!(quotient("1", "2"), Some([0.5; 2]));
        assert_eq!(quotient("0.3", "-0.1"), Some([-3.0; 2]));
        assert_eq!(quotient("1", "3"), Some([1.0 / 3.0, (1.0f64 / 3.0).next_up()]));
        assert_eq!(quotient("1", "0"), None);
        assert_eq!(quotient("1", "1e-400"), None);
        assert_eq!(quotient("1e-400", "1e-400"), Some([1.0; 2]));
        assert_eq!(quotient("7e-324", "7e-324"), Some([1.0; 2]));
        assert_eq!(quotient("1e400", "4e400"), Some([0.25; 2]));
    }

    #[test]
    fn text_that_is_no_number_is_refused() {
        for text in ["", "-", ".", "e5", "1e", "1e+", "1.2.3", "0x10", "nan", "inf", "1_000", "--1", "1e1.5", "١"] {
            let message = Decimal::parse(text).unwrap_err().to_string();
            assert_eq!(message, format!("'{text}' is not a decimal number"));
        }
        let long = "1".repeat(2001);
        assert!(Decimal::parse(&long).unwrap_err().to_string().ends_with("…' has more than 2000 digits"));
        let message = Decimal::parse("1e99999999999999999999").unwrap_err().to_string();
        assert_eq!(message, "'1e99999999999999999999': the exponent is beyond ±1000000");
    }

    #[test]
    fn sums_are_exact_or_refused() {
        let number = |text| Decimal::parse(text).unwrap();
        let sum = |a, b| number(a).plus(&number(b));
        assert_eq!(sum("0.1", "0.2").unwrap().neighbours(), number("0.3").neighbours());
        assert!(sum("0.1", "-0.1").unwrap().is_zero());
        assert!(sum("-1e-30", "1e-30").unwrap().is_zero());
        assert_eq!(sum("1", "1e-100").unwrap().neighbours(), Some([1.0, 1.0f64.next_up()]));
        assert_eq!(sum("0", "1e-1000000").unwrap().neighbours(), Some([0.0, 2.0f64.powi(-1074)]));
        assert!(sum("1", "1e-1000000").is_none());
    }

    /// The value of a float as an integer times 2^-1074, and of a decimal likewise times 10^400: an independent yardstick.
    fn scaled_float(value: f64) -> (bool, Natural) {
        let bits = value.abs().to_bits();
        let (biased, fraction) = (bits >> 52, bits & ((1 << 52) - 1));
        let mantissa = if biased == 0 { fraction } else { fraction | 1 << 52 };
        let number = Natural::from_u64(mantissa).times_power_of_two(biased.max(1) - 1).times_power_of_ten(400);
        (value < 0.0, number)
    }

    fn is_at_most(a: &(bool, Natural), b: &(bool, Natural)) -> bool {
        match (a.0, b.0) {
            (true, true) => a.1 >= b.1,
            (false, false) => a.1 <= b.1,
            (true, false) => true,
            (false, true) => a.1.is_zero() && b.1.is_zero(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn neighbours_enclose_and_touch(negative: bool, digits in "[0-9]{1,25}", exponent in -360i64..290) {
            let text = format!("{}{digits}e{exponent}", if negative { "-" } else { "" });
            let exact = (
                negative && digits.bytes().any(|digit| digit != b'0'),
                Natural::from_digits(&digits).times_power_of_ten((exponent + 400) as u64).times_power_of_two(1074),
            );
            match Decimal::parse(&text).unwrap().neighbours() {
                None => prop_assert!(!text.parse::<f64>().unwrap().is_finite()),
                Some([below, above]) => {
                    let (low, high) = (scaled_float(below), scaled_float(above));
                    prop_assert!(is_at_most(&low, &exact) && is_at_most(&exact, &high), "{text}");
                    if below == above {
                        prop_assert_eq!(&low.1, &exact.1);
                    } else {
                        prop_assert_eq!(below.next_up(), above);
                        prop_assert!(low.1 != exact.1 && high.1 != exact.1);
                    }
                }
            }
        }

        #[test]
        fn exact_expansions_of_floats_are_found_again(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(pair(&format!("{value:.800e}")), [value; 2]);
        }
    }
}
