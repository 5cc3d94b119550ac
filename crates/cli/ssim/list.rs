use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::console;
use crate::session::Session;
use crate::ssim::result::Answer;
use crate::ssim::task::Query;
use crate::ssim::{Answered, Networks, SsimTask, answer, pictures, plot};
use crate::status::Status;
use crate::tally::Tally;

/// What is known of several references, as JSON.
#[derive(Debug, Serialize)]
struct ListResult {
    /// Rows by verdict; `found` counts thresholds.
    #[serde(flatten)]
    tally: Tally,
    time_s: f64,
    rows: Vec<Row>,
}

/// One reference, as JSON.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    network: String,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    answer: Option<Answer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// `None` where it is what is sought.
    #[serde(skip)]
    threshold: Option<f64>,
}

/// Answers one question after another.
pub fn run(task: &SsimTask, queries: &[Query], session: &Session) -> Result<Status> {
    let start = Instant::now();
    let mut networks = Networks::default();
    let mut names = pictures::Names::default();
    let tally = Tally::of(&["verified", "falsified", "tie", "found", "unknown"]);
    let mut list = ListResult { tally, time_s: 0.0, rows: Vec::new() };
    if let Some(folder) = &task.certificate {
        fs::create_dir_all(folder).with_context(|| format!("{}: it cannot be created", folder.display()))?;
    }
    for (place, query) in queries.iter().enumerate() {
        let label = format!("[{}/{}] ", place + 1, queries.len());
        let answered = answer(task, query, &mut networks, &label, session);
        if session.interrupt.is_raised() {
            list.tally.left = queries.len() - place;
            break;
        }
        let answered = answered.and_then(|Answered { reference, answer }| {
            if let Some(folder) = &task.pictures {
                pictures::write(folder, &names.unused(&query.id), &reference, &answer)?;
            }
            Ok(answer)
        });
        let (answer, message) = match answered {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(console::message(&error))),
        };
        let network = short(&query.network);
        let row = Row { id: query.id.clone(), network, answer, message, threshold: query.threshold };
        session.print(&row.line(&label));
        list.tally.count(row.verdict());
        list.rows.push(row);
    }
    list.time_s = start.elapsed().as_secs_f64();
    if let Some(folder) = &task.pictures {
        let answers: Vec<(&str, &Answer)> =
            list.rows.iter().filter_map(|row| Some((row.id.as_str(), row.answer.as_ref()?))).collect();
        plot::write(folder, &answers)?;
    }
    if !session.is_quiet {
        session.print(&list.table());
    }
    session.print(&list.summary());
    session.write_json("ssim", &list)?;
    Ok(list.tally.status())
}

/// The end of a path, enough for people to know it by.
fn short(path: &Path) -> String {
    let parts: Vec<_> = path.components().rev().take(2).collect();
    parts.iter().rev().collect::<PathBuf>().display().to_string()
}

impl Row {
    fn verdict(&self) -> &'static str {
        self.answer.as_ref().map_or("error", Answer::verdict)
    }

    fn line(&self, label: &str) -> String {
        let verdict = console::verdict(self.verdict());
        let threshold = self.threshold.map(|value| format!("  {value}")).unwrap_or_default();
        match (&self.answer, &self.message) {
            (Some(answer), _) => {
                format!(
                    "{label:>11}{verdict}  {:>9.3} s  {}{threshold}  {}\n",
                    answer.time_s(),
                    self.id,
                    answer.remark()
                )
            }
            (None, message) => {
                format!("{label:>11}{verdict}  {}  {}\n", self.id, message.as_deref().unwrap_or_default())
            }
        }
    }
}

impl ListResult {
    /// Verdicts by network and threshold, or the thresholds found.
    fn table(&self) -> String {
        let mut text = String::from("\n");
        let thresholds: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| match &row.answer {
                Some(Answer::Threshold(result)) => Some((row.id.as_str(), result)),
                _ => None,
            })
            .collect();
        if !thresholds.is_empty() {
            let width = thresholds.iter().map(|(id, _)| id.chars().count()).max().unwrap_or(0).max("reference".len());
            let _ = writeln!(text, "{:<width$}  {:>10}  {:>10}", "reference", "verified", "falsified");
            for (id, result) in &thresholds {
                let [verified, falsified] = [result.verified_threshold, result.falsified_threshold]
                    .map(|value| value.map_or("-".into(), |value| format!("{value:.6}")));
                let _ = writeln!(text, "{id:<width$}  {verified:>10}  {falsified:>10}");
            }
            return text;
        }
        // Ordered by network, then from the largest threshold down.
        let mut groups: BTreeMap<(&str, std::cmp::Reverse<u64>), Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            let threshold = std::cmp::Reverse(row.threshold.unwrap_or(1.0).to_bits());
            groups.entry((&row.network, threshold)).or_default().push(row);
        }
        let width = groups.keys().map(|(network, _)| network.chars().count()).max().unwrap_or(0).max("network".len());
        let _ = writeln!(
            text,
            "{:<width$}  {:>9}  {:>8}  {:>9}  {:>4}  {:>7}  {:>5}  {:>10}",
            "network", "threshold", "verified", "falsified", "tie", "unknown", "error", "median"
        );
        for ((network, std::cmp::Reverse(bits)), rows) in groups {
            let n = |verdict: &str| rows.iter().filter(|row| row.verdict() == verdict).count();
            let mut times: Vec<f64> = rows.iter().filter_map(|row| Some(row.answer.as_ref()?.time_s())).collect();
            times.sort_by(f64::total_cmp);
            let median = times.get(times.len() / 2).map_or("-".into(), |time| format!("{time:.3} s"));
            let _ = writeln!(
                text,
                "{network:<width$}  {:>9}  {:>8}  {:>9}  {:>4}  {:>7}  {:>5}  {median:>10}",
                f64::from_bits(bits),
                n("verified"),
                n("falsified"),
                n("tie"),
                n("unknown"),
                n("error")
            );
        }
        text
    }

    fn summary(&self) -> String {
        let seeks = self.rows.iter().any(|row| row.threshold.is_none());
        let (unknown, error) = (("unknown", "unknown"), ("error", "error"));
        let mut text = self.tally.text(&if seeks {
            vec![("found", "found"), ("falsified", "misclassified"), unknown, error]
        } else {
            vec![("verified", "verified"), ("falsified", "falsified"), ("tie", "ties"), unknown, error]
        });
        if self.tally.left > 0 {
            let _ = write!(text, "; interrupted with {} left", self.tally.left);
        }
        let _ = writeln!(text, "; {:.1} s", self.time_s);
        text
    }
}
