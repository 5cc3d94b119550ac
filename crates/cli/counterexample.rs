use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use driver::Counterexample;

/// Writes a counterexample in the format of VNN-COMP: every input and output, in decimals that read back as the same floats.
pub fn write(path: &Path, counterexample: &Counterexample) -> Result<()> {
    fs::write(path, text(counterexample))
        .with_context(|| format!("{}: the counterexample cannot be written", path.display()))
}

fn text(counterexample: &Counterexample) -> String {
    let values = (counterexample.input.iter().enumerate().map(|(i, value)| ('X', i, value)))
        .chain(counterexample.output.iter().enumerate().map(|(i, value)| ('Y', i, value)));
    let mut text = String::new();
    for (letter, i, value) in values {
        let start = if text.is_empty() { "(" } else { "\n " };
        let _ = write!(text, "{start}({letter}_{i} {value})");
    }
    text.push_str(")\n");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decimals_read_back_as_the_same_floats(values in prop::collection::vec(proptest::num::f64::NORMAL, 2)) {
            let found = Counterexample {
                input: vec![values[0]],
                output: vec![values[1]],
                output_f32: vec![0.0],
                margin: 0.0,
                disjunct: 0,
                is_proved: false,
            };
            let text = text(&found);
            let lines: Vec<&str> = text.lines().collect();
            let value = |line: &str, start: &str| line.strip_prefix(start).unwrap().trim_end_matches(')').parse::<f64>().unwrap();
            prop_assert_eq!(value(lines[0], "((X_0 "), values[0]);
            prop_assert_eq!(value(lines[1], " (Y_0 "), values[1]);
            // Not every reader of the format knows exponents.
            prop_assert!(!text.contains('e'));
        }
    }
}
