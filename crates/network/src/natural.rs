//! Natural numbers of any size, just enough to compare decimals with floats exactly.

use std::cmp::Ordering;

/// The largest power of ten in a limb, and its exponent.
const TEN_POWER: (u64, u64) = (10_000_000_000_000_000_000, 19);

/// A natural number: 64-bit limbs, least significant first, the last one not zero (zero has none).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Natural {
    limbs: Vec<u64>,
}

impl Natural {
    /// The number that ASCII digits spell; other bytes are not looked for.
    pub(crate) fn from_digits(digits: &str) -> Self {
        let mut number = Self::default();
        for chunk in digits.as_bytes().chunks(TEN_POWER.1 as usize) {
            let value = chunk.iter().fold(0, |value, digit| 10 * value + u64::from(digit - b'0'));
            number.multiply_add(10u64.pow(chunk.len() as u32), value);
        }
        number
    }

    pub(crate) fn from_u64(value: u64) -> Self {
        let limbs = if value == 0 { Vec::new() } else { vec![value] };
        Self { limbs }
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.is_empty()
    }

    /// Length in binary; 0 for zero.
    pub(crate) fn n_bits(&self) -> u64 {
        self.limbs.last().map_or(0, |top| 64 * self.limbs.len() as u64 - u64::from(top.leading_zeros()))
    }

    /// Decimal digits, without leading zeros ("0" for zero).
    pub(crate) fn to_digits(&self) -> String {
        let mut limbs = self.limbs.clone();
        let mut chunks = Vec::new();
        while !limbs.is_empty() {
            let mut rest = 0u128;
            for limb in limbs.iter_mut().rev() {
                let value = rest << 64 | u128::from(*limb);
                *limb = (value / u128::from(TEN_POWER.0)) as u64;
                rest = value % u128::from(TEN_POWER.0);
            }
            while limbs.last() == Some(&0) {
                limbs.pop();
            }
            chunks.push(rest as u64);
        }
        let first = chunks.pop().unwrap_or(0).to_string();
        chunks.iter().rev().fold(first, |digits, chunk| digits + &format!("{chunk:019}"))
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        let (long, short) = if self.limbs.len() >= other.limbs.len() { (self, other) } else { (other, self) };
        let mut limbs = long.limbs.clone();
        let mut carry = false;
        for (i, limb) in limbs.iter_mut().enumerate() {
            let (sum, first) = limb.overflowing_add(short.limbs.get(i).copied().unwrap_or(0));
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first | second);
        }
        if carry {
            limbs.push(1);
        }
        Self { limbs }
    }

    /// `self − other`, which must not be negative.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        debug_assert!(*self >= *other);
        let mut limbs = self.limbs.clone();
        let mut borrow = false;
        for (i, limb) in limbs.iter_mut().enumerate() {
            let (rest, first) = limb.overflowing_sub(other.limbs.get(i).copied().unwrap_or(0));
            let (rest, second) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, first | second);
        }
        Self::trimmed(limbs)
    }

    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut limbs = vec![0u64; self.limbs.len() + other.limbs.len()];
        for (i, &a) in self.limbs.iter().enumerate() {
            let mut carry = 0u128;
            for (j, &b) in other.limbs.iter().enumerate() {
                let value = u128::from(a) * u128::from(b) + u128::from(limbs[i + j]) + carry;
                limbs[i + j] = value as u64;
                carry = value >> 64;
            }
            limbs[i + other.limbs.len()] = carry as u64;
        }
        Self::trimmed(limbs)
    }

    pub(crate) fn times_power_of_ten(mut self, mut exponent: u64) -> Self {
        while exponent > 0 && !self.is_zero() {
            let step = exponent.min(TEN_POWER.1);
            self.multiply_add(10u64.pow(step as u32), 0);
            exponent -= step;
        }
        self
    }

    pub(crate) fn times_power_of_two(mut self, exponent: u64) -> Self {
        if self.is_zero() {
            return self;
        }
        self.multiply_add(1 << (exponent % 64), 0);
        let mut limbs = vec![0; (exponent / 64) as usize];
        limbs.append(&mut self.limbs);
        Self { limbs }
    }

    /// `self ← self · factor + addend`, with `factor > 0`.
    fn multiply_add(&mut self, factor: u64, addend: u64) {
        let mut carry = u128::from(addend);
        for limb in &mut self.limbs {
            let value = u128::from(*limb) * u128::from(factor) + carry;
            *limb = value as u64;
            carry = value >> 64;
        }
        if carry > 0 {
            self.limbs.push(carry as u64);
        }
    }

    fn trimmed(mut limbs: Vec<u64>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self { limbs }
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = self.limbs.len().cmp(&other.limbs.len());
        by_length.then_with(|| self.limbs.iter().rev().cmp(other.limbs.iter().rev()))
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::Natural;
    use proptest::prelude::*;

    fn natural(value: u128) -> Natural {
        Natural::from_digits(&value.to_string())
    }

    #[test]
    fn digits_survive_a_round_trip() {
        for digits in ["0", "1", "18446744073709551616", "100000000000000000000000000000000000000000"] {
            assert_eq!(Natural::from_digits(digits).to_digits(), digits);
        }
        assert_eq!(Natural::from_digits("000"), Natural::default());
    }

    #[test]
    fn powers_of_two_and_ten_are_shifts() {
        assert_eq!(Natural::from_u64(3).times_power_of_two(130).n_bits(), 132);
        assert_eq!(Natural::from_u64(1).times_power_of_two(64).to_digits(), "18446744073709551616");
        assert_eq!(Natural::from_u64(7).times_power_of_ten(40).to_digits(), format!("7{}", "0".repeat(40)));
    }

    proptest! {
        #[test]
        fn arithmetic_agrees_with_machine_integers(a in 0..u128::MAX / 2, b in 0..u128::MAX / 2, c: u64, d: u64) {
            prop_assert_eq!(natural(a).plus(&natural(b)), natural(a + b));
            prop_assert_eq!(natural(a.max(b)).minus(&natural(a.min(b))), natural(a.max(b) - a.min(b)));
            prop_assert_eq!(natural(a).cmp(&natural(b)), a.cmp(&b));
            let product = u128::from(c) * u128::from(d);
            prop_assert_eq!(Natural::from_u64(c).times(&Natural::from_u64(d)), natural(product));
            prop_assert_eq!(natural(a).to_digits(), a.to_string());
        }

        #[test]
        fn products_distribute_over_sums(a: u128, b: u128, c: u128) {
            let sum = natural(a / 2).plus(&natural(b / 2)).times(&natural(c));
            prop_assert_eq!(sum, natural(a / 2).times(&natural(c)).plus(&natural(b / 2).times(&natural(c))));
        }
    }
}
