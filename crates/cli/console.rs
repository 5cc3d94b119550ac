use std::env;
use std::io::{self, IsTerminal, Write};

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
        "verified" | "found" => "1;32",
        "falsified" | "error" => "1;31",
        _ => "1;33",
    };
    format!("\x1b[{colour}m{padded}\x1b[0m")
}

/// Whether colours may be used at all (<https://no-color.org>).
fn is_colour_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts_are_grouped_from_the_right() {
        assert_eq!(["0", "12", "123", "1 234", "12 345 678"], [0, 12, 123, 1234, 12_345_678].map(count).as_slice());
    }

    #[test]
    fn quantities_have_a_prefix() {
        assert_eq!(with_prefix(3.5e9, "FLOP/s"), "3.500 GFLOP/s");
        assert_eq!(with_prefix(12.0, "FLOP"), "12.000 FLOP");
    }

    #[test]
    fn messages_do_not_repeat_their_causes() {
        let error = anyhow::anyhow!("the cause").context("it failed");
        assert_eq!(message(&error), "it failed: the cause");
        let error = anyhow::anyhow!("the cause").context("it failed for the cause");
        assert_eq!(message(&error), "it failed for the cause");
    }

    proptest! {
        #[test]
        fn numbers_are_short_and_near(value in proptest::num::f64::NORMAL) {
            let text = number(value);
            prop_assert!(text.len() <= 11, "{}", text);
            let back: f64 = text.parse().unwrap();
            prop_assert!((back - value).abs() <= 1e-3 * value.abs());
        }
    }
}
