//! Which images near an image keep its class: one distance, or the largest.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use driver::ball::{Ball, RadiusOutcome};
use driver::patch::PixelScale;
use driver::{Counterexample, StopReason, Verdict, Verify};
use network::{Image, Network, vnnlib};
use serde::Serialize;

use crate::arguments::VerifyTask;
use crate::progress::SearchBar;
use crate::session::Session;
use crate::status::Status;
use crate::verify::{self, CounterexampleFields, VerifyResult};
use crate::{console, counterexample, images, input};

/// By what share the smallest distance that is not verified may lie above the largest that is.
const TOLERANCE: f64 = 0.01;

/// Whether images within one distance keep the class, as JSON.
#[derive(Debug, Serialize)]
struct BallResult {
    #[serde(flatten)]
    verdict: VerifyResult,
    class: usize,
    epsilon: f64,
    /// The class of the counterexample, and how far it is from the image at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f64>,
}

/// Up to which distance images keep the class, as JSON.
#[derive(Debug, Serialize)]
struct RadiusResult {
    /// Whether a distance is verified and no limit ended the search.
    reached: bool,
    reason: Option<&'static str>,
    /// The largest distance within which every image is proved to keep the class.
    verified_epsilon: Option<f64>,
    /// A distance within which one does not.
    falsified_epsilon: Option<f64>,
    tolerance: f64,
    class: usize,
    time_s: f64,
    steps: Vec<StepFields>,
    predicted: Option<usize>,
    counterexample: Option<CounterexampleFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

/// A distance that was tried.
#[derive(Debug, Serialize)]
struct StepFields {
    epsilon: f64,
    verdict: &'static str,
    subdomains: u64,
    time_s: f64,
}

/// What is asked of an image.
struct Asked {
    network: Network,
    reference: Image,
    class: usize,
    scale: PixelScale,
}

/// Decides one distance, or looks for the largest.
pub fn run(task: &VerifyTask, network: &Path, image: &Path, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let asked = Asked::read(task, network, image)?;
    match task.epsilon {
        Some(epsilon) => one(task, network, epsilon, &asked, (start, session)),
        None => largest(task, &asked, (start, session)),
    }
}

fn one(
    task: &VerifyTask,
    network: &Path,
    epsilon: f64,
    asked: &Asked,
    (start, session): (Instant, &Session),
) -> Result<Status> {
    let ball = asked.ball();
    let property = ball.property(epsilon)?;
    if let Some(path) = &task.save_property {
        let write = |text: String| fs::write(path, text).map_err(anyhow::Error::from);
        vnnlib::write(&property).map_err(Into::into).and_then(write).with_context(|| cannot_write(path, "property"))?;
    }
    let options = verify::options(task, session);
    let mut bar = SearchBar::new("", session.timeout_s, session.is_quiet);
    let outcome = match &task.save_property {
        Some(path) if task.certificate.is_some() || task.deployed.is_some() => {
            verify::certified(network, path, task, &options, session, &mut bar).map(|(outcome, _)| outcome)
        }
        _ => {
            let verify = Verify { network: &asked.network, property: &property, device: session.device()? };
            verify.run(&options, &mut bar).map_err(anyhow::Error::from)
        }
    };
    bar.finish();
    let outcome = outcome?;
    session.note_fallback(outcome.fallback.as_deref());
    let found = match &outcome.verdict {
        Verdict::Falsified(found) => Some(found),
        _ => None,
    };
    asked.write_counterexample(task, found)?;
    let result = BallResult {
        verdict: VerifyResult::new(&outcome, start.elapsed().as_secs_f64()),
        class: asked.class,
        epsilon,
        predicted: found.map(|found| asked.predicted(found)),
        distance: found.map(|found| ball.distance(&found.input).min(epsilon)),
    };
    let mut text = verify::text(&result.verdict, task, session.is_quiet);
    if !session.is_quiet {
        let class = asked.class;
        let _ = match (result.predicted, result.distance) {
            (Some(other), Some(distance)) => {
                writeln!(text, "class {class} becomes {other} by changes of at most {}", console::number(distance))
            }
            _ => writeln!(text, "class {class}, changes of at most {}", console::number(epsilon)),
        };
    }
    if let Some(path) = &task.save_property {
        let _ = writeln!(text, "property written to {}", path.display());
    }
    session.print(&text);
    session.write_json("verify", &result)?;
    Ok(verify::status(&outcome.verdict))
}

fn largest(task: &VerifyTask, asked: &Asked, (start, session): (Instant, &Session)) -> Result<Status> {
    let mut bar = SearchBar::new("", session.timeout_s, session.is_quiet);
    let found = asked.ball().find_radius(session.device()?, &verify::options(task, session), TOLERANCE, &mut bar);
    bar.finish();
    let found = found?;
    session.note_fallback(found.fallback.as_deref());
    asked.write_counterexample(task, found.counterexample.as_ref())?;
    let result = RadiusResult::new(asked, found, start.elapsed().as_secs_f64());
    session.print(&result.text(task, session.is_quiet));
    session.write_json("verify", &result)?;
    Ok(match (result.reached, result.reason) {
        (true, _) => Status::Done,
        (false, Some(MISCLASSIFIED)) => Status::Falsified,
        _ => Status::Unknown,
    })
}

/// What is said of a reference that needs no search.
const MISCLASSIFIED: &str = "misclassified image";

impl Asked {
    fn read(task: &VerifyTask, network: &Path, image: &Path) -> Result<Self> {
        let reference = images::read(image)?;
        let network = input::network_of_inputs(network, reference.pixels().len())
            .with_context(|| format!("{}: an image of {} values", image.display(), reference.pixels().len()))?;
        images::check_fits(&network, &reference).with_context(|| image.display().to_string())?;
        let scale = match (&task.mean, &task.deviation) {
            (Some(mean), Some(deviation)) => PixelScale::new(mean.clone(), deviation.clone())?,
            _ => PixelScale::identity(),
        };
        scale.check(reference.shape()[0])?;
        let mut asked = Self { network, reference, class: 0, scale };
        let output = asked.network.evaluate::<f64>(&asked.ball().centre())?;
        asked.class = task.class.unwrap_or_else(|| largest_of(&output));
        asked.ball().check()?;
        Ok(asked)
    }

    fn ball(&self) -> Ball<'_> {
        Ball { network: &self.network, reference: &self.reference, class: self.class, scale: &self.scale }
    }

    /// The class of a counterexample: the largest output but the one that is not to be kept.
    fn predicted(&self, found: &Counterexample) -> usize {
        let mut output = found.output.clone();
        output[self.class] = f64::NEG_INFINITY;
        largest_of(&output)
    }

    fn write_counterexample(&self, task: &VerifyTask, found: Option<&Counterexample>) -> Result<()> {
        let (Some(path), Some(found)) = (&task.counterexample, found) else { return Ok(()) };
        if images::check_writable(path).is_ok() {
            let [_, height, width] = self.reference.shape();
            let pixel = |(i, &x): (usize, &f64)| self.scale.pixel(i / (height * width), x).clamp(0.0, 1.0);
            let pixels = found.input.iter().enumerate().map(pixel).collect();
            images::write(path, &Image::new(self.reference.shape(), pixels)?)
        } else {
            counterexample::write(path, found)
        }
        .context("there is a counterexample, but it is not written")
    }
}

impl RadiusResult {
    fn new(asked: &Asked, found: RadiusOutcome, time_s: f64) -> Self {
        let steps = found.steps.iter().map(|step| StepFields {
            epsilon: step.epsilon,
            verdict: step.verdict,
            subdomains: step.subdomains,
            time_s: step.time_s,
        });
        let reason = if found.misclassified.is_some() {
            Some(MISCLASSIFIED)
        } else if let Some(reason) = found.stopped {
            Some(reason.name())
        } else if found.verified.is_none() {
            Some(StopReason::SubdomainLimit.name())
        } else {
            None
        };
        Self {
            reached: reason.is_none(),
            reason,
            verified_epsilon: found.verified,
            falsified_epsilon: found.falsified,
            tolerance: TOLERANCE,
            class: asked.class,
            time_s,
            steps: steps.collect(),
            predicted: found
                .misclassified
                .or_else(|| found.counterexample.as_ref().map(|found| asked.predicted(found))),
            counterexample: found.counterexample.as_ref().map(CounterexampleFields::new),
            fallback: found.fallback,
        }
    }

    fn text(&self, task: &VerifyTask, is_quiet: bool) -> String {
        let verdict = if self.reached { "found" } else { "unknown" };
        let verdict = if self.reason == Some(MISCLASSIFIED) { "falsified" } else { verdict };
        let known = |value: Option<f64>| value.map_or("nowhere".into(), console::number);
        let mut text = format!("{}  {:.3} s, ", console::verdict(verdict).trim_end(), self.time_s);
        if self.reason == Some(MISCLASSIFIED) {
            let _ = writeln!(text, "the image itself gets class {}", self.predicted.unwrap_or_default());
            return text;
        }
        let (verified, falsified) = (known(self.verified_epsilon), known(self.falsified_epsilon));
        let _ = write!(text, "verified up to {verified}, counterexample at {falsified}");
        let _ =
            writeln!(text, ", {} steps{}", self.steps.len(), self.reason.map(|r| format!("; {r}")).unwrap_or_default());
        if !is_quiet {
            let _ = match self.predicted {
                Some(other) => writeln!(text, "class {} becomes {other}", self.class),
                None => writeln!(text, "class {}", self.class),
            };
        }
        if let (Some(_), Some(path)) = (&self.counterexample, &task.counterexample) {
            let _ = writeln!(text, "counterexample written to {}", path.display());
        }
        text
    }
}

/// The place of the largest number.
fn largest_of(values: &[f64]) -> usize {
    (0..values.len()).max_by(|&a, &b| values[a].total_cmp(&values[b])).unwrap_or_default()
}

fn cannot_write(path: &Path, what: &str) -> String {
    format!("{}: the {what} cannot be written", path.display())
}
