use std::fmt::Write;

use anyhow::Result;
use driver::ssim::{Ssim, SsimCounterexample, SsimOutcome, SsimVerdict, ThresholdOutcome, ThresholdStep};
use driver::{Stage, StopReason};
use network::Image;
use serde::Serialize;

use crate::console;
use crate::status::Status;

/// What is said of a reference that needs no search.
const MISCLASSIFIED: &str = "misclassified reference";

/// What is known of one question, as JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Whether the images of one threshold keep the class.
    Verdict(SsimResult),
    /// From which threshold on they do.
    Threshold(ThresholdResult),
}

/// Whether all images of a threshold keep the class, as JSON.
#[derive(Debug, Serialize)]
pub struct SsimResult {
    /// `verified`, `falsified`, `tie` or `unknown`.
    pub verdict: &'static str,
    /// Why it is unknown, or that the reference itself is misclassified.
    reason: Option<&'static str>,
    threshold: f64,
    similarity: &'static str,
    class: usize,
    /// From before the files were read.
    pub time_s: f64,
    /// Subdomains bounded.
    pub subdomains: u64,
    /// How far the worst piece is from verified.
    lower_bound: Option<f64>,
    /// What was tried, in order.
    plan: Vec<&'static str>,
    counterexample: Option<CounterexampleFields>,
}

/// From which threshold on images keep the class, as JSON.
#[derive(Debug, Serialize)]
pub struct ThresholdResult {
    /// Whether a threshold is verified and no limit ended the search.
    reached: bool,
    /// Why not.
    reason: Option<&'static str>,
    /// The smallest threshold that is verified.
    pub verified_threshold: Option<f64>,
    /// The largest threshold with a counterexample.
    pub falsified_threshold: Option<f64>,
    tolerance: f64,
    similarity: &'static str,
    class: usize,
    /// From before the files were read.
    time_s: f64,
    /// Thresholds that were tried, in order.
    steps: Vec<StepFields>,
    counterexample: Option<CounterexampleFields>,
}

/// A threshold that was tried.
#[derive(Debug, Serialize)]
struct StepFields {
    threshold: f64,
    verdict: &'static str,
    subdomains: u64,
    time_s: f64,
}

/// An image that loses the class, as JSON.
#[derive(Debug, Serialize)]
pub struct CounterexampleFields {
    /// `[channels, height, width]`, flat.
    image: Vec<f64>,
    shape: [usize; 3],
    /// In f64; at least the threshold in real arithmetic.
    pub ssim: f64,
    output: Vec<f64>,
    pub predicted: usize,
    /// How much larger the predicted class's output is.
    margin: f64,
}

impl Answer {
    /// What was found against the class.
    pub fn counterexample(&self) -> Option<&CounterexampleFields> {
        match self {
            Self::Verdict(result) => result.counterexample.as_ref(),
            Self::Threshold(result) => result.counterexample.as_ref(),
        }
    }

    /// `verified`, `falsified`, `tie`, `unknown`; `found` for a threshold.
    pub fn verdict(&self) -> &'static str {
        match self {
            Self::Verdict(result) => result.verdict,
            Self::Threshold(result) if result.reached => "found",
            Self::Threshold(result) if result.reason == Some(MISCLASSIFIED) => "falsified",
            Self::Threshold(_) => "unknown",
        }
    }

    /// Seconds.
    pub fn time_s(&self) -> f64 {
        match self {
            Self::Verdict(result) => result.time_s,
            Self::Threshold(result) => result.time_s,
        }
    }

    /// How the process ends.
    pub fn status(&self) -> Status {
        match self.verdict() {
            "verified" | "found" => Status::Done,
            "falsified" => Status::Falsified,
            _ => Status::Unknown,
        }
    }

    /// What is worth a word besides verdict and time.
    pub fn remark(&self) -> String {
        match self {
            Self::Verdict(result) => result.remark(),
            Self::Threshold(result) => result.remark(),
        }
    }

    /// The answer for people.
    pub fn text(&self, is_quiet: bool) -> String {
        let verdict = console::verdict(self.verdict());
        let mut text = format!("{}  {:.3} s, {}\n", verdict.trim_end(), self.time_s(), self.remark());
        if let (Self::Verdict(result), false) = (self, is_quiet) {
            let _ = writeln!(text, "by {}", result.plan.join(", "));
        }
        text
    }
}

impl SsimResult {
    /// The result of a search that took this long.
    pub fn new(question: &Ssim, threshold: f64, outcome: SsimOutcome, time_s: f64) -> Self {
        let SsimOutcome { verdict, subdomains, lower_bound, plan, .. } = outcome;
        let (name, reason, counterexample) = match verdict {
            SsimVerdict::Verified => ("verified", None, None),
            SsimVerdict::Falsified(found) => ("falsified", None, Some(CounterexampleFields::new(question, found))),
            SsimVerdict::Tie(found) => ("tie", None, Some(CounterexampleFields::new(question, found))),
            SsimVerdict::Misclassified { predicted } => {
                let found = CounterexampleFields::reference(question, predicted);
                ("falsified", Some(MISCLASSIFIED), Some(found))
            }
            SsimVerdict::Unknown(reason) => ("unknown", Some(reason.name()), None),
        };
        Self {
            verdict: name,
            reason,
            threshold,
            similarity: question.similarity.name(),
            class: question.class,
            time_s,
            subdomains,
            lower_bound,
            plan: plan.into_iter().map(Stage::name).collect(),
            counterexample,
        }
    }

    fn remark(&self) -> String {
        let Self { class, subdomains, .. } = self;
        match (&self.counterexample, self.reason) {
            (Some(found), Some(_)) => found.remark_of_reference(*class),
            (Some(found), None) => found.remark(*class),
            (None, reason) => {
                let bound = self.lower_bound.map_or("none yet".into(), console::number);
                let reason = reason.map(|reason| format!("{reason}, ")).unwrap_or_default();
                format!("{} subdomains, {reason}lower bound {bound}", console::count(*subdomains))
            }
        }
    }
}

impl ThresholdResult {
    /// The result of a bisection that took this long.
    pub fn new(question: &Ssim, tolerance: f64, outcome: ThresholdOutcome, time_s: f64) -> Self {
        let ThresholdOutcome { verified, falsified, counterexample, steps, misclassified, stopped } = outcome;
        let counterexample = counterexample.map(|found| CounterexampleFields::new(question, found));
        let reference = misclassified.map(|predicted| CounterexampleFields::reference(question, predicted));
        let step = |step: ThresholdStep| {
            let ThresholdStep { threshold, verdict, subdomains, time_s } = step;
            StepFields { threshold, verdict, subdomains, time_s }
        };
        Self {
            reached: verified.is_some() && stopped.is_none(),
            reason: misclassified.map(|_| MISCLASSIFIED).or(stopped.map(StopReason::name)),
            verified_threshold: verified,
            falsified_threshold: if reference.is_some() { Some(1.0) } else { falsified },
            tolerance,
            similarity: question.similarity.name(),
            class: question.class,
            time_s,
            steps: steps.into_iter().map(step).collect(),
            counterexample: reference.or(counterexample),
        }
    }

    fn remark(&self) -> String {
        if let (Some(found), Some(MISCLASSIFIED)) = (&self.counterexample, self.reason) {
            return found.remark_of_reference(self.class);
        }
        let verified =
            self.verified_threshold.map_or("none verified".into(), |value| format!("verified from {value:.6}"));
        let falsified = self
            .falsified_threshold
            .map_or("no counterexample".into(), |value| format!("counterexample at {value:.6}"));
        let reason = self.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
        format!("{verified}, {falsified}, {} steps{reason}", self.steps.len())
    }
}

impl CounterexampleFields {
    fn new(question: &Ssim, found: SsimCounterexample) -> Self {
        let SsimCounterexample { image, ssim, output, predicted, margin } = found;
        Self { image, shape: question.reference.shape(), ssim, output, predicted, margin }
    }

    /// The reference, which needs no search.
    fn reference(question: &Ssim, predicted: usize) -> Self {
        let image = question.reference.pixels().to_vec();
        let output = question.network.evaluate(&image).unwrap_or_default();
        let margin = output.get(predicted).zip(output.get(question.class)).map_or(0.0, |(other, own)| other - own);
        Self { shape: question.reference.shape(), image, ssim: 1.0, output, predicted, margin }
    }

    /// The image itself.
    pub fn image(&self, reference: &Image) -> Result<Image> {
        Ok(Image::new(reference.shape(), self.image.clone())?)
    }

    fn remark_of_reference(&self, class: usize) -> String {
        format!("the reference itself is class {}, not {class}", self.predicted)
    }

    /// What it shows, in a few words.
    pub fn remark(&self, class: usize) -> String {
        let Self { ssim, predicted, margin, .. } = self;
        if *margin > 0.0 {
            format!("SSIM {ssim:.6}, class {predicted} by {}", console::number(*margin))
        } else {
            format!("SSIM {ssim:.6}, class {predicted} is as large as {class}")
        }
    }
}
