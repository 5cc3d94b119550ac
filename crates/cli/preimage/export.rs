use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::preimage::stored::Stored;
use crate::preimage::task::ExportTask;
use crate::session::Session;
use crate::status::Status;

/// Writes the union of a file's polytopes as VNN-LIB: a set of inputs, one conjunction for each polytope.
///
/// Numbers are written so that they read back as the same floats; what a reader in exact arithmetic makes of the decimals differs by less
/// than the rounding that is inside every constant.
pub fn run(task: &ExportTask, session: &Session) -> Result<Status> {
    let stored = Stored::read(&task.preimage)?;
    if stored.polytopes.is_empty() {
        bail!("{}: there is no polytope: the empty set has no VNN-LIB file", task.preimage.display());
    }
    let n = stored.region.lower.len();
    let mut text = format!(
        "; The union of {} polytopes, of {}: a set of inputs.\n",
        stored.polytopes.len(),
        stored.network.display()
    );
    for i in 0..n {
        let _ = writeln!(text, "(declare-const X_{i} Real)");
    }
    // Readers want the outputs declared, though no row speaks of them.
    for k in 0..stored.n_outputs() {
        let _ = writeln!(text, "(declare-const Y_{k} Real)");
    }
    text.push('\n');
    for (i, (lower, upper)) in stored.region.lower.iter().zip(&stored.region.upper).enumerate() {
        let _ = writeln!(text, "(assert (>= X_{i} {}))\n(assert (<= X_{i} {}))", number(*lower), number(*upper));
    }
    text.push_str("\n(assert (or\n");
    for polytope in &stored.polytopes {
        text.push_str("  (and");
        for &i in &stored.free_inputs {
            let (lower, upper) = (number(polytope.lower[i]), number(polytope.upper[i]));
            let _ = write!(text, " (>= X_{i} {lower}) (<= X_{i} {upper})");
        }
        for (a, b) in polytope.a.iter().zip(&polytope.b) {
            text.push_str(" (>= (+");
            for (i, a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                let _ = write!(text, " (* {} X_{i})", number(*a));
            }
            let _ = write!(text, " {}) 0.0)", number(*b));
        }
        text.push_str(")\n");
    }
    text.push_str("))\n");
    fs::write(&task.vnnlib, text).with_context(|| format!("{}: cannot be written", task.vnnlib.display()))?;
    if !session.is_quiet {
        session.print(&format!("{} polytopes written to {}\n", stored.polytopes.len(), task.vnnlib.display()));
    }
    Ok(Status::Done)
}

/// A decimal without an exponent that reads back as the same float.
fn number(value: f64) -> String {
    let text = format!("{value}");
    if text.contains('.') { text } else { text + ".0" }
}
