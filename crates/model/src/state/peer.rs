use std::fmt;
use std::str::FromStr;

use crate::Error;

/// What the name of a weight file of *semantic-robustness-verification* says: `model_i1x4x4_l6-6-6_o5.pt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// Channels, height and width of an input.
    pub input: [usize; 3],
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// Number of classes.
    pub n_classes: usize,
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [channels, height, width] = self.input;
        let hidden: Vec<String> = self.hidden.iter().map(ToString::to_string).collect();
        write!(f, "model_i{channels}x{height}x{width}_l{}_o{}.pt", hidden.join("-"), self.n_classes)
    }
}

impl FromStr for PeerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let numbers = |text: &str, separator: char| -> Option<Vec<usize>> {
            text.split(separator).map(|part| part.parse().ok().filter(|&n| n > 0)).collect()
        };
        let read = || {
            let (input, rest) = name.strip_suffix(".pt")?.strip_prefix("model_i")?.split_once("_l")?;
            let (hidden, n_classes) = rest.split_once("_o")?;
            let hidden = if hidden.is_empty() { Vec::new() } else { numbers(hidden, '-')? };
            Some(Self { input: numbers(input, 'x')?.try_into().ok()?, hidden, n_classes: n_classes.parse().ok()? })
        };
        read().ok_or_else(|| {
            Error::invalid(format!(
                "'{name}' is no name like model_i1x4x4_l6-6-6_o5.pt (input, hidden layers, classes)"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["model_i1x4x4_l6-6-6_o5.pt", "model_i3x32x32_l100_o43.pt", "model_i1x28x28_l_o10.pt"] {
            assert_eq!(name.parse::<PeerName>().unwrap().to_string(), name);
        }
        for name in ["model.pt", "model_i4x4_l6_o5.pt", "model_i1x4x4_l6-x_o5.pt", "model_i1x0x4_l6_o5.pt"] {
            assert!(name.parse::<PeerName>().is_err(), "{name}");
        }
    }
}
