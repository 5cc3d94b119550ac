use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use driver::{Limits, StopReason, Verdict, VerifyOptions};
use network::instances::Instance;
use serde::Serialize;

use crate::arguments::VerifyTask;
use crate::progress::SearchBar;
use crate::results::{Results, Row};
use crate::session::Session;
use crate::status::Status;
use crate::tally::Tally;
use crate::verify::{VerifyResult, decide};
use crate::{console, input};

/// What is known of a list, as JSON.
#[derive(Debug, Serialize)]
struct ListResult {
    /// Rows by verdict, those of earlier runs included.
    #[serde(flatten)]
    tally: Tally,
    /// Rows that an earlier run had done.
    skipped: usize,
    time_s: f64,
    /// The rows of this run.
    rows: Vec<InstanceResult>,
}

/// One row, as JSON.
#[derive(Debug, Serialize)]
struct InstanceResult {
    onnx: String,
    vnnlib: String,
    verdict: String,
    time_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    found: Option<serde_json::Value>,
}

/// Decides every row of a list.
pub fn run(task: &VerifyTask, list: &Path, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let instances = input::instances(list)?;
    let extra: Vec<String> = instances.first().map(names_of_extra).unwrap_or_default();
    let mut results = task.results.as_deref().map(|path| Results::open(path, &extra)).transpose()?;
    // Once for all rows, outside their times.
    session.device()?;
    let tally = Tally::of(&["verified", "falsified", "unknown"]);
    let mut summary = ListResult { tally, skipped: 0, time_s: 0.0, rows: Vec::new() };
    for (place, instance) in instances.iter().enumerate() {
        if let Some(verdict) = results.as_mut().and_then(|results| results.take(instance)) {
            summary.tally.count(&verdict);
            summary.skipped += 1;
            continue;
        }
        let label = format!("[{}/{}] ", place + 1, instances.len());
        let mut limits = session.limits(task);
        limits.time_s = match (instance.timeout_s, limits.time_s) {
            (Some(row), Some(cap)) => Some(row.min(cap)),
            (row, cap) => row.or(cap),
        };
        let decided = one(task, instance, limits, &label, session);
        if decided.is_interrupted {
            // An answer cut short is none: a rerun does the row again.
            summary.tally.left = instances.len() - place;
            break;
        }
        if let Some(results) = &mut results {
            results.write(instance, &decided.row)?;
        }
        let row = &decided.row;
        summary.tally.count(&row.verdict);
        session.print(&line(&label, instance, &decided));
        summary.rows.push(InstanceResult {
            onnx: instance.onnx_as_written.clone(),
            vnnlib: instance.vnnlib_as_written.clone(),
            verdict: row.verdict.clone(),
            time_s: row.time_s,
            message: (!row.message.is_empty()).then(|| row.message.clone()),
            found: decided.result.as_ref().map(serde_json::to_value).transpose()?,
        });
    }
    summary.time_s = start.elapsed().as_secs_f64();
    session.print(&summary.text());
    session.write_json("verify", &summary)?;
    Ok(summary.tally.status())
}

/// A row that was worked on.
struct Decided {
    row: Row,
    result: Option<VerifyResult>,
    is_interrupted: bool,
}

fn one(task: &VerifyTask, instance: &Instance, limits: Limits, label: &str, session: &Session) -> Decided {
    let options = VerifyOptions {
        limits,
        seed: session.seed,
        interrupt: session.interrupt.clone(),
        split: task.split.choice(),
        ..VerifyOptions::default()
    };
    let start = Instant::now();
    let mut bar = SearchBar::new(label, options.limits.time_s, session.is_quiet);
    let decided = decide(&instance.onnx, &instance.vnnlib, &options, session, &mut bar);
    bar.finish();
    match decided {
        Ok((outcome, time_s)) => {
            let result = VerifyResult::new(&outcome, time_s);
            let row = Row {
                verdict: result.verdict.into(),
                time_s,
                subdomains: result.subdomains,
                lower_bound: result.lower_bound,
                reason: result.reason.unwrap_or_default().into(),
                margin: result.counterexample.as_ref().map(|found| found.margin),
                message: String::new(),
            };
            let is_interrupted = matches!(outcome.verdict, Verdict::Unknown(StopReason::Interrupted));
            Decided { row, result: Some(result), is_interrupted }
        }
        Err(error) => {
            let message = console::message(&error);
            let row = Row { verdict: "error".into(), time_s: start.elapsed().as_secs_f64(), message, ..Row::default() };
            Decided { row, result: None, is_interrupted: session.interrupt.is_raised() }
        }
    }
}

impl ListResult {
    fn text(&self) -> String {
        let verdicts = ["verified", "falsified", "unknown", "error"].map(|verdict| (verdict, verdict));
        let mut text = self.tally.text(&verdicts);
        if self.skipped > 0 {
            let _ = write!(text, "; {} of them by an earlier run", self.skipped);
        }
        if self.tally.left > 0 {
            let _ = write!(text, "; interrupted with {} left (the same command goes on)", self.tally.left);
        }
        let _ = writeln!(text, "; {:.1} s", self.time_s);
        text
    }
}

fn names_of_extra(instance: &Instance) -> Vec<String> {
    instance.extra.iter().map(|(name, _)| name.clone()).collect()
}

fn line(label: &str, instance: &Instance, decided: &Decided) -> String {
    let row = &decided.row;
    let remark = decided.result.as_ref().map_or_else(|| row.message.clone(), VerifyResult::remark);
    let stem = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    format!(
        "{label:>11}{}  {:>9.3} s  {:>11} subdomains  {}  {}  {remark}\n",
        console::verdict(&row.verdict),
        row.time_s,
        console::count(row.subdomains),
        stem(&instance.onnx),
        stem(&instance.vnnlib),
    )
}
