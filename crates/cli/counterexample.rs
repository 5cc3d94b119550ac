use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use driver::Counterexample;

/// Writes a counterexample in the format of VNN-COMP: every input and output, in decimals that read back as the same floats.
pub fn write(path: &Path, counterexample: &Counterexample) -> Result<()> {
    let values = (counterexample.input.iter().enumerate().map(|(i, value)| ('X', i, value)))
        .chain(counterexample.output.iter().enumerate().map(|(i, value)| ('Y', i, value)));
    let mut text = String::new();
    for (letter, i, value) in values {
        let start = if text.is_empty() { "(" } else { "\n " };
        let _ = write!(text, "{start}({letter}_{i} {value})");
    }
    text.push_str(")\n");
    fs::write(path, text).with_context(|| format!("{}: the counterexample cannot be written", path.display()))
}
