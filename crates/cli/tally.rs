use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::Status;

/// How the rows of a list ended that are answered one after another; in JSON a field for each verdict.
#[derive(Debug, Serialize)]
pub struct Tally {
    /// Rows by verdict.
    #[serde(flatten)]
    counts: BTreeMap<&'static str, usize>,
    /// Rows that were not reached.
    pub left: usize,
}

/// Rows without an answer.
const ERROR: &str = "error";

impl Tally {
    /// Of rows that end with one of these verdicts; whatever else they end with is an error.
    pub fn of(verdicts: &[&'static str]) -> Self {
        Self { counts: verdicts.iter().chain(&[ERROR]).map(|&verdict| (verdict, 0)).collect(), left: 0 }
    }

    /// Counts a row.
    pub fn count(&mut self, verdict: &str) {
        let verdict = if self.counts.contains_key(verdict) { verdict } else { ERROR };
        *self.counts.get_mut(verdict).expect("errors are always counted") += 1;
    }

    /// How the list ends: rows without an answer are an error, rows without a proof are not.
    pub fn status(&self) -> Status {
        if self.left > 0 {
            Status::Unknown
        } else if self.counts[ERROR] > 0 {
            Status::Error
        } else {
            Status::Done
        }
    }

    /// The counts of some verdicts, in this order, each with the word for it.
    pub fn text(&self, words: &[(&str, &str)]) -> String {
        let part = |(verdict, word): &(&str, &str)| format!("{} {word}", self.counts.get(verdict).unwrap_or(&0));
        words.iter().map(part).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_verdict_is_an_error() {
        let mut tally = Tally::of(&["verified", "unknown"]);
        tally.count("verified");
        tally.count("unknown");
        assert_eq!(tally.status(), Status::Done);
        tally.count("nonsense");
        assert_eq!(tally.text(&[("verified", "proved"), ("error", "failed")]), "1 proved, 1 failed");
        assert_eq!(
            serde_json::to_value(&tally).unwrap(),
            serde_json::json!({ "verified": 1, "unknown": 1, "error": 1, "left": 0 })
        );
        assert_eq!(tally.status(), Status::Error);
        tally.left = 1;
        assert_eq!(tally.status(), Status::Unknown);
    }
}
