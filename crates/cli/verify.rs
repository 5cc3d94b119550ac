use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bounds::DeviceWork;
use checker::certificate::Evaluation;
use driver::{Counterexample, Outcome, Verdict, Verify, VerifyOptions};
use serde::Serialize;

use crate::arguments::VerifyTask;
use crate::progress::SearchBar;
use crate::session::Session;
use crate::status::Status;
use crate::{ball, certificate, console, counterexample, input, instances};

/// What is known of one question, as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyResult {
    /// `verified`, `falsified` or `unknown`.
    pub verdict: &'static str,
    /// Why it is unknown.
    pub reason: Option<&'static str>,
    /// From before the files were read.
    pub time_s: f64,
    /// Subdomains bounded.
    pub subdomains: u64,
    /// Of those, bounded again in f64.
    pub rebounded: u64,
    /// How far the worst piece is from verified.
    pub lower_bound: Option<f64>,
    /// What was tried, in order.
    pub plan: Vec<&'static str>,
    /// A violation.
    pub counterexample: Option<CounterexampleFields>,
    /// Why the device was not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// What a device did, if not the host did everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_device: Option<OnDevice>,
}

/// What a device did as JSON.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OnDevice {
    /// Rounds of branch and bound that ran there one after another.
    rounds: u64,
    /// Of all subdomains, those bounded in these rounds.
    subdomains: u64,
    /// Rows whose bounds were optimised there.
    optimised_rows: u64,
    /// Times that the host waited for it.
    round_trips: u64,
}

/// A counterexample as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct CounterexampleFields {
    input: Vec<f64>,
    /// In f64.
    pub output: Vec<f64>,
    output_f32: Vec<f64>,
    /// How far inside the violation.
    pub margin: f64,
    disjunct: usize,
    /// Whether the violation is proved in real arithmetic, not only met by the f32 and f64 runs.
    proved: bool,
}

/// Decides one property, or a list of them.
pub fn run(task: &VerifyTask, session: &Session) -> Result<Status> {
    task.check()?;
    match (&task.network, &task.property, &task.image, &task.instances) {
        (Some(network), Some(property), ..) => one(task, network, property, session),
        (Some(network), _, Some(image), _) => ball::run(task, network, image, session),
        (.., Some(list)) => instances::run(task, list, session),
        _ => bail!("verify needs a network and a property, or a list of instances"),
    }
}

/// The options of a search.
pub fn options(task: &VerifyTask, session: &Session) -> VerifyOptions {
    VerifyOptions {
        limits: session.limits(task),
        seed: session.seed,
        interrupt: session.interrupt.clone(),
        split: task.split.choice(),
        ..VerifyOptions::default()
    }
}

fn one(task: &VerifyTask, network: &Path, property: &Path, session: &Session) -> Result<Status> {
    let options = options(task, session);
    let mut bar = SearchBar::new("", session.timeout_s, session.is_quiet);
    let decided = if task.certificate.is_some() || task.deployed.is_some() {
        certified(network, property, task, &options, session, &mut bar)
    } else {
        decide(network, property, &options, session, &mut bar)
    };
    bar.finish();
    let (outcome, time_s) = decided?;
    if let (Verdict::Falsified(found), Some(path)) = (&outcome.verdict, &task.counterexample) {
        counterexample::write(path, found)
            .context("the property is falsified, but the counterexample is not written")?;
    }
    let result = VerifyResult::new(&outcome, time_s);
    session.print(&text(&result, task, session.is_quiet));
    session.write_json("verify", &result)?;
    Ok(status(&outcome.verdict))
}

/// How the process ends.
pub fn status(verdict: &Verdict) -> Status {
    match verdict {
        Verdict::Verified => Status::Done,
        Verdict::Falsified(_) => Status::Falsified,
        Verdict::Unknown(_) => Status::Unknown,
    }
}

/// Reads both files and decides; also returns the seconds this took, reading included.
pub fn decide(
    network: &Path,
    property: &Path,
    options: &VerifyOptions,
    session: &Session,
    bar: &mut SearchBar,
) -> Result<(Outcome, f64)> {
    let start = Instant::now();
    let (network, property) = input::question(network, property)?;
    let verify = Verify { network: &network, property: &property, device: session.device()? };
    let outcome = verify.run(options, bar)?;
    session.note_fallback(outcome.fallback.as_deref());
    Ok((outcome, start.elapsed().as_secs_f64()))
}

/// As [`decide`], with a certificate, or of the deployed network.
pub fn certified(
    network: &Path,
    property: &Path,
    task: &VerifyTask,
    options: &VerifyOptions,
    session: &Session,
    bar: &mut SearchBar,
) -> Result<(Outcome, f64)> {
    let start = Instant::now();
    let files = (network, property);
    let evaluation = if task.deployed.is_some() { Evaluation::F32 } else { Evaluation::Real };
    let (network, property) = input::question(network, property)?;
    let verify = Verify { network: &network, property: &property, device: session.device()? };
    let outcome =
        certificate::decide(&verify, options, files, (task.certificate.as_deref(), evaluation), session, bar)?;
    Ok((outcome, start.elapsed().as_secs_f64()))
}

impl CounterexampleFields {
    /// What is said of a counterexample.
    pub fn new(found: &Counterexample) -> Self {
        Self {
            input: found.input.clone(),
            output: found.output.clone(),
            output_f32: found.output_f32.clone(),
            margin: found.margin,
            disjunct: found.disjunct,
            proved: found.is_proved,
        }
    }
}

impl OnDevice {
    /// None if it was never waited for.
    fn new(work: DeviceWork) -> Option<Self> {
        let DeviceWork { rounds, boxes, lanes, round_trips } = work;
        (round_trips > 0).then_some(Self { rounds, subdomains: boxes, optimised_rows: lanes, round_trips })
    }

    /// A line for people.
    fn text(self) -> String {
        let Self { rounds, subdomains, optimised_rows, round_trips } = self;
        let mut parts = Vec::new();
        if rounds > 0 {
            parts.push(format!("{} rounds over {} subdomains", console::count(rounds), console::count(subdomains)));
        }
        if optimised_rows > 0 {
            parts.push(format!("{} rows optimised", console::count(optimised_rows)));
        }
        let trips = if round_trips == 1 { "round trip" } else { "round trips" };
        parts.push(format!("{} {trips}", console::count(round_trips)));
        format!("on the device: {}", parts.join(", "))
    }
}

impl VerifyResult {
    /// The result of a search that took this long.
    pub fn new(outcome: &Outcome, time_s: f64) -> Self {
        let counterexample = match &outcome.verdict {
            Verdict::Falsified(found) => Some(CounterexampleFields::new(found)),
            _ => None,
        };
        Self {
            verdict: outcome.verdict.name(),
            reason: match &outcome.verdict {
                Verdict::Unknown(reason) => Some(reason.name()),
                _ => None,
            },
            time_s,
            subdomains: outcome.subdomains,
            rebounded: outcome.rebounded,
            lower_bound: outcome.lower_bound,
            plan: outcome.plan.iter().map(|stage| stage.name()).collect(),
            counterexample,
            fallback: outcome.fallback.clone(),
            on_device: OnDevice::new(outcome.on_device),
        }
    }

    /// What is worth a word besides verdict, time and subdomains.
    pub fn remark(&self) -> String {
        match (&self.counterexample, self.reason) {
            (Some(found), _) => format!("margin {}", console::number(found.margin)),
            (None, Some(reason)) => {
                let bound = self.lower_bound.map_or("none yet".into(), console::number);
                format!("{reason}, lower bound {bound} (positive would be verified)")
            }
            (None, None) => match self.lower_bound {
                Some(bound) if bound > 0.0 => format!("lower bound {}", console::number(bound)),
                _ => String::new(),
            },
        }
    }
}

/// The answer for people.
pub fn text(result: &VerifyResult, task: &VerifyTask, is_quiet: bool) -> String {
    let remark = result.remark();
    let mut text = format!(
        "{}  {:.3} s, {} subdomains{}{remark}\n",
        console::verdict(result.verdict).trim_end(),
        result.time_s,
        console::count(result.subdomains),
        if remark.is_empty() { "" } else { ", " }
    );
    if !is_quiet {
        let _ = writeln!(text, "by {}", result.plan.join(", "));
        if let Some(on_device) = result.on_device {
            let _ = writeln!(text, "{}", on_device.text());
        }
    }
    if let (Some(_), Some(path)) = (&result.counterexample, &task.counterexample) {
        let _ = writeln!(text, "counterexample written to {}", path.display());
    }
    if let ("verified", Some(path)) = (result.verdict, &task.certificate) {
        let _ = writeln!(text, "certificate written to {}", path.display());
    }
    text
}
