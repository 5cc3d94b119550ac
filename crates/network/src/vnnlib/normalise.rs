//! From a normal form to boxes and half-spaces.

use super::formula::{Bound, Constraint};
use super::parser::Script;
use crate::decimal::shorter;
use crate::{BoxRegion, Disjunct, Error, HalfSpace, Property};

/// Most bounds and coefficients in all disjuncts together (each takes 32 bytes or less).
const MAX_NUMBERS: usize = 1 << 25;

/// The box of one disjunct being put together.
#[derive(Debug)]
struct Draft {
    ranges: Vec<Range>,
}

/// The range of one input so far.
#[derive(Debug, Clone, Copy)]
struct Range {
    lower: End,
    upper: End,
}

/// One end of a range.
#[derive(Debug, Clone, Copy)]
struct End {
    /// Neighbouring floats around the real bound; infinite before the first.
    pair: [f64; 2],
    /// The line of the tightest bound; 0 before the first.
    line: usize,
}

/// The property that a script asks about.
///
/// # Errors
/// When an input has no bound in some disjunct, when every disjunct is empty because bounds cross, or on excessive size.
pub(super) fn normalise(script: &Script) -> Result<Property, Error> {
    let Script { input_lines, n_outputs, constraints, violation } = script;
    let mut draft = Draft::unbounded(input_lines.len());
    for bound in bounds(&violation.common, constraints) {
        draft.tighten(bound);
    }
    if let Some(error) = draft.crossing(0..input_lines.len()) {
        return Err(error);
    }
    let mut disjuncts = Vec::new();
    let mut first_crossing = None;
    let mut n_numbers = 0;
    for alternative in &violation.alternatives {
        let before: Vec<(usize, Range)> =
            bounds(alternative, constraints).map(|bound| (bound.input, draft.ranges[bound.input])).collect();
        for bound in bounds(alternative, constraints) {
            draft.tighten(bound);
        }
        if let Some(error) = draft.crossing(before.iter().map(|&(input, _)| input)) {
            first_crossing.get_or_insert(error);
        } else {
            draft.check_bounded(input_lines)?;
            let half_spaces =
                || half_spaces(&violation.common, constraints).chain(half_spaces(alternative, constraints));
            let n_coefficients: usize = half_spaces().map(|h| h.input.len() + h.output.len() + 1).sum();
            n_numbers += input_lines.len() + n_coefficients;
            if n_numbers > MAX_NUMBERS {
                let message = format!("the disjuncts hold more than {MAX_NUMBERS} bounds and coefficients");
                return Err(Error::format(message));
            }
            disjuncts.push(Disjunct { region: draft.region(), half_spaces: half_spaces().cloned().collect() });
        }
        for (input, range) in before {
            draft.ranges[input] = range;
        }
    }
    match first_crossing {
        Some(error) if disjuncts.is_empty() => Err(error),
        _ => Ok(Property { n_inputs: input_lines.len(), n_outputs: *n_outputs, disjuncts }),
    }
}

impl Draft {
    fn unbounded(n_inputs: usize) -> Self {
        let end = |value| End { pair: [value; 2], line: 0 };
        Self { ranges: vec![Range { lower: end(f64::NEG_INFINITY), upper: end(f64::INFINITY) }; n_inputs] }
    }

    /// Intersects with a bound. Rounding is monotone, so the tightest of the rounded bounds is the rounded tightest bound.
    fn tighten(&mut self, bound: &Bound) {
        let range = &mut self.ranges[bound.input];
        let end = if bound.is_upper { &mut range.upper } else { &mut range.lower };
        for (old, new) in end.pair.iter_mut().zip(bound.pair) {
            let is_tighter = if bound.is_upper { new < *old } else { new > *old };
            if is_tighter {
                (*old, end.line) = (new, bound.line);
            }
        }
    }

    /// The error of the first of these inputs whose real range is surely empty.
    fn crossing(&self, mut inputs: impl Iterator<Item = usize>) -> Option<Error> {
        let input = inputs.find(|&i| self.ranges[i].lower.pair[0] > self.ranges[i].upper.pair[1])?;
        let Range { lower, upper } = self.ranges[input];
        let message = format!(
            "X_{input}: the lower bound {} (line {}) is above the upper bound {} (line {})",
            shorter(lower.pair),
            lower.line,
            shorter(upper.pair),
            upper.line
        );
        Some(Error::format(message).at_line(lower.line.max(upper.line)))
    }

    fn check_bounded(&self, input_lines: &[usize]) -> Result<(), Error> {
        for (i, range) in self.ranges.iter().enumerate() {
            let missing = match (range.lower.line, range.upper.line) {
                (0, 0) => "neither a lower nor an upper bound",
                (0, _) => "no lower bound",
                (_, 0) => "no upper bound",
                _ => continue,
            };
            return Err(Error::format(format!("X_{i} is declared here but has {missing}")).at_line(input_lines[i]));
        }
        Ok(())
    }

    fn region(&self) -> BoxRegion {
        let every = |end: fn(&Range) -> f64| self.ranges.iter().map(end).collect();
        BoxRegion {
            lower: every(|range| range.lower.pair[0]),
            upper: every(|range| range.upper.pair[1]),
            inner_lower: every(|range| range.lower.pair[1]),
            inner_upper: every(|range| range.upper.pair[0]),
        }
    }
}

fn bounds<'a>(numbers: &'a [u32], constraints: &'a [Constraint]) -> impl Iterator<Item = &'a Bound> {
    numbers.iter().filter_map(|&number| match &constraints[number as usize] {
        Constraint::Bound(bound) => Some(bound),
        _ => None,
    })
}

fn half_spaces<'a>(numbers: &'a [u32], constraints: &'a [Constraint]) -> impl Iterator<Item = &'a HalfSpace> {
    numbers.iter().filter_map(|&number| match &constraints[number as usize] {
        Constraint::HalfSpace(half_space) => Some(half_space),
        _ => None,
    })
}
