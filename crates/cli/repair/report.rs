use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use driver::repair::{RepairEvent, RepairObserver, RepairOutcome, RepairVerdict, Requirement, Violation};
use driver::{Observer, Progress};
use serde::Serialize;

use crate::certify::Certified;
use crate::console;
use crate::progress::SearchBar;
use crate::repair::tuner::Iteration;
use crate::run_folder::RunFolder;
use crate::session::Session;
use crate::status::Status;

/// A repair as JSON: `iterations` as *semantic-robustness-verification* has them, and what else is known.
#[derive(Debug, Serialize)]
pub struct RepairResult {
    verdict: &'static str,
    reason: Option<&'static str>,
    time_s: f64,
    /// Of them, what training took.
    training_s: f64,
    iterations: BTreeMap<usize, Iteration>,
    requirements: Vec<Answered>,
    /// The class that each requirement asks for, where it is one.
    classes: Vec<Option<usize>>,
    counterexamples: Vec<Found>,
    before: Measured,
    after: Measured,
    certificates: Vec<PathBuf>,
    folder: PathBuf,
    network: PathBuf,
    #[serde(skip)]
    status: RepairVerdict,
}

/// What is known of a requirement and the repaired network.
#[derive(Debug, Serialize)]
struct Answered {
    name: String,
    verdict: &'static str,
    reason: Option<&'static str>,
    lower_bound: Option<f64>,
    subdomains: u64,
    time_s: f64,
}

/// A counterexample; its values are in the run's folder.
#[derive(Debug, Serialize)]
struct Found {
    number: usize,
    requirement: usize,
    similarity: Option<f64>,
    margin: f64,
    output: Vec<f64>,
}

/// How good a network is.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// On all test samples.
    pub test_accuracy: f64,
    /// On the first ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certified: Vec<Certified>,
}

impl RepairResult {
    /// The result of a run.
    pub fn new(
        (outcome, requirements, violations, history): (&RepairOutcome, &[Requirement], &[Violation], Vec<Iteration>),
        (before, after, certificates, classes): (Measured, Measured, Vec<PathBuf>, Vec<Option<usize>>),
        (folder, training_s, time_s): (&RunFolder, f64, f64),
    ) -> Self {
        let checked = outcome.rounds.last().map(|round| round.checked.as_slice()).unwrap_or_default();
        let answered = |one: &driver::repair::Checked| Answered {
            name: requirements[one.requirement].name.clone(),
            verdict: one.answer,
            reason: one.reason.map(driver::StopReason::name),
            lower_bound: one.lower_bound,
            subdomains: one.subdomains,
            time_s: one.time_s,
        };
        let found = |(place, violation): (usize, &Violation)| Found {
            number: place + 1,
            requirement: violation.requirement + 1,
            similarity: violation.similarity,
            margin: violation.margin,
            output: violation.output.clone(),
        };
        let mut iterations = BTreeMap::new();
        for (place, (mut iteration, round)) in history.into_iter().zip(&outcome.rounds).enumerate() {
            iteration.runtime = round.time_s;
            let answers = || round.checked.iter().map(|one| one.answer);
            let worst = ["falsified", "unknown"].into_iter().find(|name| answers().any(|answer| answer == *name));
            iteration.status = worst.unwrap_or("verified").into();
            iterations.insert(place + 1, iteration);
        }
        Self {
            verdict: outcome.verdict.name(),
            reason: outcome.stop.map(driver::repair::RepairStop::name),
            time_s,
            training_s,
            iterations,
            requirements: checked.iter().map(answered).collect(),
            classes,
            counterexamples: violations.iter().enumerate().map(found).collect(),
            before,
            after,
            certificates,
            folder: folder.root().to_owned(),
            network: folder.path("network.onnx"),
            status: outcome.verdict,
        }
    }

    /// The result for people.
    pub fn text(&self, is_quiet: bool) -> String {
        let n_rounds = self.iterations.len().saturating_sub(1);
        let reason = self.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        let mut text = format!(
            "{}  {:.1} s, {n_rounds} rounds of changes, {} counterexamples{reason}\n",
            console::verdict(self.verdict).trim_end(),
            self.time_s,
            self.counterexamples.len(),
        );
        if is_quiet {
            return text;
        }
        for one in &self.requirements {
            let bound =
                one.lower_bound.map_or(String::new(), |bound| format!(", lower bound {}", console::number(bound)));
            let reason = one.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let _ =
                writeln!(text, "  {}{reason}  {:.3} s  {}{bound}", console::verdict(one.verdict), one.time_s, one.name);
        }
        let percent = |measured: &Measured| 100.0 * measured.test_accuracy;
        let _ =
            writeln!(text, "accuracy on test samples {:.2} % → {:.2} %", percent(&self.before), percent(&self.after));
        for (before, after) in self.before.certified.iter().zip(&self.after.certified) {
            let _ = writeln!(text, "before {}\nafter  {}", before.text(), after.text());
        }
        for path in &self.certificates {
            let _ = writeln!(text, "certificate written to {}", path.display());
        }
        let _ = writeln!(text, "network, weights and counterexamples written to {}", self.folder.display());
        text
    }

    /// How the process ends.
    pub fn status(&self) -> Status {
        match self.status {
            RepairVerdict::Verified | RepairVerdict::Repaired => Status::Done,
            RepairVerdict::Falsified => Status::Falsified,
            RepairVerdict::Unknown => Status::Unknown,
        }
    }
}

/// Tells people how a repair goes.
pub struct Watcher<'a> {
    session: &'a Session,
    limit_s: Option<f64>,
    bar: Option<SearchBar>,
}

impl<'a> Watcher<'a> {
    /// Watches with a bar for every search.
    pub fn new(session: &'a Session, limit_s: Option<f64>) -> Self {
        Self { session, limit_s, bar: None }
    }

    /// Clears the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish();
        }
    }
}

impl Observer for Watcher<'_> {
    fn round(&mut self, progress: Progress) {
        if let Some(bar) = &mut self.bar {
            bar.round(progress);
        }
    }
}

impl RepairObserver for Watcher<'_> {
    fn event(&mut self, event: &RepairEvent<'_>) {
        self.finish();
        match event {
            RepairEvent::Begins { round, requirement } => {
                let label = format!("round {round}: {}: ", requirement.name);
                self.bar = Some(SearchBar::new(label, self.limit_s, self.session.is_quiet));
            }
            RepairEvent::Answered { round, requirement, answer, checked } => {
                let verdict = console::verdict(answer.name());
                let line = format!("round {round}: {verdict}  {:>9.3} s  {}\n", checked.time_s, requirement.name);
                if !self.session.is_quiet {
                    self.session.print(&line);
                }
            }
            RepairEvent::Tuned { round, violations, tuned } => {
                let line = format!(
                    "round {round}: changed     {:>9.3} s  {} epochs, {} of {} counterexamples repaired, {:.2} % of the samples held back right\n",
                    tuned.time_s,
                    tuned.epochs,
                    tuned.n_repaired,
                    violations.len(),
                    100.0 * tuned.accuracy
                );
                if !self.session.is_quiet {
                    self.session.print(&line);
                }
            }
        }
    }
}
