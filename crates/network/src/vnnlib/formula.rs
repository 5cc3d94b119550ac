//! Linear terms, the constraints made of them, and formulas in disjunctive normal form.

use super::decimal_error;
use crate::decimal::Decimal;
use crate::{Error, HalfSpace};

/// Most alternatives in a normal form.
const MAX_ALTERNATIVES: usize = 1 << 20;
/// Most constraints in all alternatives of a normal form together.
const MAX_LITERALS: usize = 1 << 26;

/// A variable; inputs come before outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Variable {
    Input(usize),
    Output(usize),
}

/// A sum of multiples of variables and a constant; a variable may occur more than once.
#[derive(Debug, Clone, Default)]
pub(super) struct Linear {
    terms: Vec<(Variable, Decimal)>,
    constant: Decimal,
}

/// What one comparison says.
#[derive(Debug, Clone)]
pub(super) enum Constraint {
    /// Nothing about the variables: it holds always or never.
    Constant(bool),
    Bound(Bound),
    HalfSpace(HalfSpace),
}

/// A lower or upper bound on one input: a real number between two neighbouring floats.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    pub(super) input: usize,
    pub(super) is_upper: bool,
    pub(super) pair: [f64; 2],
    pub(super) line: usize,
}

/// `common ∧ (alternative ∨ alternative ∨ …)` over constraints known by their number; no alternative means never.
///
/// What holds in every alternative is kept once: a property of 3072 inputs and nine alternatives stays small.
#[derive(Debug, Clone)]
pub(super) struct NormalForm {
    pub(super) common: Vec<u32>,
    pub(super) alternatives: Vec<Vec<u32>>,
}

impl Linear {
    pub(super) fn constant(constant: Decimal) -> Self {
        Self { terms: Vec::new(), constant }
    }

    pub(super) fn variable(variable: Variable) -> Self {
        Self { terms: vec![(variable, Decimal::one())], constant: Decimal::default() }
    }

    pub(super) fn is_constant(&self) -> bool {
        self.terms.is_empty()
    }

    pub(super) fn plus(mut self, mut other: Self) -> Result<Self, Error> {
        self.constant = self.constant.plus(&other.constant).ok_or_else(decimal_error)?;
        self.terms.append(&mut other.terms);
        Ok(self)
    }

    pub(super) fn negated(self) -> Self {
        let terms = self.terms.into_iter().map(|(variable, factor)| (variable, factor.negated())).collect();
        Self { terms, constant: self.constant.negated() }
    }

    /// The product; one of the two must be a constant.
    pub(super) fn times(self, other: Self) -> Result<Self, Error> {
        let (factor, mut linear) = match (self.is_constant(), other.is_constant()) {
            (true, _) => (self.constant, other),
            (_, true) => (other.constant, self),
            _ => return Err(Error::format("a product of two variables is not linear")),
        };
        for (_, value) in &mut linear.terms {
            *value = value.times(&factor).ok_or_else(decimal_error)?;
        }
        linear.constant = linear.constant.times(&factor).ok_or_else(decimal_error)?;
        Ok(linear)
    }

    /// Sorts the variables, adds up the factors of each and drops those that cancel.
    fn collected(mut self) -> Result<Self, Error> {
        self.terms.sort_by_key(|&(variable, _)| variable);
        let mut terms: Vec<(Variable, Decimal)> = Vec::with_capacity(self.terms.len());
        for (variable, factor) in self.terms {
            match terms.last_mut() {
                Some((last, sum)) if *last == variable => *sum = sum.plus(&factor).ok_or_else(decimal_error)?,
                _ => terms.push((variable, factor)),
            }
        }
        terms.retain(|(_, factor)| !factor.is_zero());
        Ok(Self { terms, constant: self.constant })
    }
}

impl Constraint {
    /// The constraint `linear ≤ 0`.
    pub(super) fn at_most_zero(linear: Linear, line: usize) -> Result<Self, Error> {
        let beyond = || Error::format("a number lies beyond the range of 64-bit floats");
        let linear = linear.collected()?;
        match linear.terms.as_slice() {
            [] => return Ok(Self::Constant(linear.constant.is_zero() || linear.constant.is_negative())),
            [(Variable::Input(input), factor)] => {
                let pair = linear.constant.negated().quotient_neighbours(factor).ok_or_else(beyond)?;
                return Ok(Self::Bound(Bound { input: *input, is_upper: !factor.is_negative(), pair, line }));
            }
            _ => {}
        }
        let mut half_space =
            HalfSpace { constant: linear.constant.neighbours().ok_or_else(beyond)?, ..HalfSpace::default() };
        for (variable, factor) in linear.terms {
            let pair = factor.neighbours().ok_or_else(beyond)?;
            match variable {
                Variable::Input(i) => half_space.input.push((i, pair)),
                Variable::Output(j) => half_space.output.push((j, pair)),
            }
        }
        Ok(Self::HalfSpace(half_space))
    }
}

impl NormalForm {
    pub(super) fn always() -> Self {
        Self { common: Vec::new(), alternatives: vec![Vec::new()] }
    }

    pub(super) fn never() -> Self {
        Self { common: Vec::new(), alternatives: Vec::new() }
    }

    pub(super) fn constraint(number: u32) -> Self {
        Self { common: vec![number], alternatives: vec![Vec::new()] }
    }

    pub(super) fn all_of(operands: Vec<Self>) -> Result<Self, Error> {
        let mut all = Self::always();
        for mut operand in operands {
            all.common.append(&mut operand.common);
            if let [only] = operand.alternatives.as_mut_slice() {
                all.common.append(only);
                continue;
            }
            let (n_left, n_right) = (all.alternatives.len(), operand.alternatives.len());
            let n_literals =
                n_left.saturating_mul(operand.n_literals()).saturating_add(n_right.saturating_mul(all.n_literals()));
            check_size(n_left.saturating_mul(n_right), n_literals)?;
            let pairs =
                all.alternatives.iter().flat_map(|left| operand.alternatives.iter().map(move |right| (left, right)));
            all.alternatives = pairs.map(|(left, right)| [left.as_slice(), right].concat()).collect();
        }
        Ok(all)
    }

    pub(super) fn any_of(mut operands: Vec<Self>) -> Result<Self, Error> {
        if operands.len() == 1 {
            return Ok(operands.remove(0));
        }
        let n_alternatives = operands.iter().map(|operand| operand.alternatives.len()).sum();
        let n_literals = operands.iter().fold(0usize, |n, operand| {
            let n_common = operand.common.len().saturating_mul(operand.alternatives.len());
            n.saturating_add(n_common).saturating_add(operand.n_literals())
        });
        check_size(n_alternatives, n_literals)?;
        let mut any = Self::never();
        for operand in operands {
            for mut alternative in operand.alternatives {
                alternative.extend_from_slice(&operand.common);
                any.alternatives.push(alternative);
            }
        }
        Ok(any)
    }

    /// Constraints in the alternatives, the common ones left out.
    fn n_literals(&self) -> usize {
        self.alternatives.iter().map(Vec::len).sum()
    }
}

fn check_size(n_alternatives: usize, n_literals: usize) -> Result<(), Error> {
    if n_alternatives > MAX_ALTERNATIVES {
        let message = format!("the disjunctive normal form has more than {MAX_ALTERNATIVES} disjuncts");
        return Err(Error::format(message));
    }
    if n_literals > MAX_LITERALS {
        let message = format!("the disjunctive normal form has more than {MAX_LITERALS} constraints");
        return Err(Error::format(message));
    }
    Ok(())
}
