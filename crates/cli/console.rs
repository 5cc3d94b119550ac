use std::env;
use std::io::{self, IsTerminal, Write};

use driver::Verdict;

/// Writes a text to stdout; a reader that has gone away is no error.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes the one message of a failed run to stderr.
pub fn error(error: &anyhow::Error) {
    let label = if io::stderr().is_terminal() && is_colour_wanted() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    let _ = writeln!(io::stderr(), "{label}: {}", message(error));
}

/// An error and its causes in one line; some causes already speak of their own.
pub fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    message
}

/// A verdict's name, padded to the longest, coloured on a terminal.
pub fn verdict(verdict: &str) -> String {
    let padded = format!("{verdict:<9}");
    if !io::stdout().is_terminal() || !is_colour_wanted() {
        return padded;
    }
    let colour = match verdict {
        "verified" => "1;32",
        "falsified" | "error" => "1;31",
        _ => "1;33",
    };
    format!("\x1b[{colour}m{padded}\x1b[0m")
}

/// Whether colours may be used at all (<https://no-color.org>).
fn is_colour_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Why nothing is known, or how much is.
pub fn reason(verdict: &Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Unknown(reason) => Some(reason.name()),
        _ => None,
    }
}

/// A count with thin groups of three digits: `1 234 567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
    groups.join(" ")
}

/// A real number to about four digits, never in more than 11 characters.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == 0.0 {
        "0".into()
    } else if !(1e-3..1e6).contains(&magnitude) {
        format!("{value:.3e}")
    } else {
        let decimals = (4 - magnitude.log10().floor() as i32).clamp(0, 7) as usize;
        format!("{value:.decimals$}")
    }
}

/// A large quantity with its unit: `12.3 GFLOP/s`.
pub fn with_prefix(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, prefix) = PREFIXES.into_iter().find(|(scale, _)| value >= *scale).unwrap_or((1.0, ""));
    format!("{:.3} {prefix}{unit}", value / scale)
}
