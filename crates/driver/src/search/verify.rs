use std::sync::Arc;

use bounds::{Batch, BoundEngine, Device, DeviceWork, Recipe, Wanted};
use network::{Network, Property};

use crate::certificate::Recorder;
use crate::error::Error;
use crate::search::branch_and_bound::{BranchAndBound, End};
use crate::search::falsify::{Effort, Falsifier};
use crate::search::limits::{Clock, Interrupt, Limits};
use crate::search::objective::Objective;
use crate::search::observer::Observer;
use crate::search::random::Random;
use crate::search::relu_plan::ReluPlan;
use crate::search::verdict::{Outcome, Stage, StopReason, Verdict};

/// Decides one property of one network.
#[derive(Debug, Clone, Copy)]
pub struct Verify<'a> {
    /// The network, as it was read: counterexamples are confirmed on it.
    pub network: &'a Network,
    /// The question.
    pub property: &'a Property,
    /// Where bounds are computed.
    pub device: &'a Device,
}

/// How to decide.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// What may be spent.
    pub limits: Limits,
    /// Chooses where attacks start.
    pub seed: u64,
    /// Stops the search from outside.
    pub interrupt: Interrupt,
    /// What is split.
    pub split: SplitChoice,
    /// Whether another search has found that the property holds: then its proof is looked for without an attack before it.
    pub is_known: bool,
}

/// What a search splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SplitChoice {
    /// Inputs where few of them vary, `ReLU`s where many do.
    #[default]
    Auto,
    /// Inputs.
    Inputs,
    /// `ReLU`s.
    Relus,
}

/// Most inputs that vary where splitting them is preferred.
const FEW_INPUTS: usize = 16;

/// Multiply-adds that the attack on the region may spend, about.
const ATTACK_MACS: u64 = 8_000_000_000;

impl Verify<'_> {
    /// Attacks, bounds, and splits until the property is decided or a limit is reached.
    ///
    /// The clock ends the search and chooses nothing: within its limits, the same seed gives the same answer.
    ///
    /// # Errors
    /// When network and property do not fit, or the device fails.
    pub fn run(&self, options: &VerifyOptions, observer: &mut dyn Observer) -> Result<Outcome, Error> {
        self.search(options, observer, None)
    }

    /// As [`Self::run`], writing a certificate of what is proved; it is one only if the verdict is verified and
    /// [`Recorder::finish`] succeeds.
    ///
    /// The checker's own functions look at every piece, so that this takes longer; a search by input splits stays on the host
    /// between rounds.
    ///
    /// # Errors
    /// As [`Self::run`]; [`Error::Certificate`] where the certificate could not describe the search.
    pub fn run_recorded(
        &self,
        options: &VerifyOptions,
        observer: &mut dyn Observer,
        recorder: &mut Recorder,
    ) -> Result<Outcome, Error> {
        self.search(options, observer, Some(recorder))
    }

    fn search(
        &self,
        options: &VerifyOptions,
        observer: &mut dyn Observer,
        mut recorder: Option<&mut Recorder>,
    ) -> Result<Outcome, Error> {
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let before = self.device.work();
        let mut outcome = Outcome {
            verdict: Verdict::Verified,
            subdomains: 0,
            rebounded: 0,
            lower_bound: None,
            plan: Vec::new(),
            fallback: None,
            on_device: DeviceWork::default(),
        };
        for objective in Objective::of(self.network, self.property)? {
            let recorder = recorder.as_deref_mut();
            let end = match self.decide(&objective, options, recorder, (&clock, observer, &mut outcome)) {
                Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {
                    End::Stopped(StopReason::Magnitude)
                }
                end => end?,
            };
            match end {
                End::Verified => {}
                End::Falsified(found) => {
                    outcome.verdict = Verdict::Falsified(*found);
                    break;
                }
                // Another region may still hold a counterexample.
                End::Stopped(reason) => outcome.verdict = Verdict::Unknown(reason),
            }
        }
        outcome.on_device = self.device.work().since(before);
        Ok(outcome)
    }

    /// Decides the disjuncts that share one region.
    fn decide(
        &self,
        objective: &Objective,
        options: &VerifyOptions,
        mut recorder: Option<&mut Recorder>,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        let centre = centre(objective);
        let engine =
            BoundEngine::new(self.device, Arc::clone(&objective.network), &objective.region, Recipe::default())?;
        let falsifier = Falsifier::new(self.device, self.network, self.property, objective)?;
        outcome.fallback = outcome.fallback.take().or_else(|| engine.fallback().map(str::to_owned));
        outcome.begin(Stage::Attack);
        if let Some(found) = falsifier.confirm(&centre)? {
            return Ok(End::Falsified(Box::new(found)));
        }
        let mut random = Random::new(options.seed);
        let quick = Effort { starts: 2, steps: 4 };
        if !options.is_known
            && let Some(found) = falsifier.attack_region(&|_| true, &[], quick, &mut random, clock)?
        {
            return Ok(End::Falsified(Box::new(found)));
        }
        outcome.begin(Stage::Bounds);
        // What the root bounds exclude needs no attack.
        let region = engine.region();
        let root = Batch { lower: region.lower.clone(), upper: region.upper.clone() };
        let bounds = engine.bound(&root, Wanted { slopes: true, split: false })?;
        let excluded = |disjunct: &usize| {
            let rows = objective.disjuncts[*disjunct].1.clone();
            bounds.lower[rows].iter().any(|&bound| bound > 0.0)
        };
        let mut excluded: Vec<usize> = (0..objective.disjuncts.len()).filter(excluded).collect();
        if let Some(recorder) = recorder.as_deref() {
            excluded = recorder.excluded(objective, &excluded);
        }
        let is_open = |disjunct: usize| !excluded.contains(&disjunct);
        let n_open = (0..objective.disjuncts.len()).filter(|&disjunct| is_open(disjunct)).count();
        if n_open == 0 && !objective.disjuncts.is_empty() {
            let least = objective.score(&bounds.lower);
            outcome.subdomains += 1;
            outcome.meet(least);
            if let Some(recorder) = recorder {
                recorder.whole(objective, &excluded);
            }
            return Ok(End::Verified);
        }
        if n_open > 0 && !options.is_known {
            outcome.begin(Stage::Attack);
            let cost = engine.macs().max(1) * 16;
            let steps = 80;
            let starts = (ATTACK_MACS / (cost * steps * n_open as u64)).clamp(2, 64) as usize;
            let effort = Effort { starts, steps: steps as usize };
            if let Some(found) = falsifier.attack_region(&is_open, &bounds.slopes, effort, &mut random, clock)? {
                return Ok(End::Falsified(Box::new(found)));
            }
        }
        let before = outcome.lower_bound;
        if splits_relus(objective, options.split) {
            let open = (0..objective.disjuncts.len()).filter(|&disjunct| is_open(disjunct)).collect::<Vec<_>>();
            outcome.begin(Stage::ReluSplits);
            if let Some(recorder) = recorder.as_deref_mut() {
                recorder.whole(objective, &excluded);
            }
            let plan = ReluPlan::new(objective, &falsifier);
            let ended = plan.run_recorded(&engine, &open, recorder.as_deref_mut(), (clock, observer, outcome));
            outcome.fallback = outcome.fallback.take().or_else(|| engine.fallback().map(str::to_owned));
            match ended {
                // What no single row excludes on any piece, splits of inputs may still decide; they can be bounded in f64.
                Ok(End::Stopped(StopReason::Precision))
                | Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {}
                end => return end,
            }
        }
        // Whatever was open is looked at again.
        outcome.lower_bound = before;
        outcome.begin(Stage::InputSplits);
        let mut search = BranchAndBound::new(objective, &engine, &falsifier);
        if let Some(recorder) = recorder {
            search = search.recording(recorder);
        }
        let end = search.run(clock, observer)?;
        outcome.fallback = outcome.fallback.take().or_else(|| engine.fallback().map(str::to_owned));
        let (subdomains, rebounded) = search.counts();
        outcome.subdomains += subdomains;
        outcome.rebounded += rebounded;
        outcome.meet(search.lower_bound().unwrap_or(f64::INFINITY));
        Ok(end)
    }
}

/// Whether `ReLU`s are split rather than inputs.
fn splits_relus(objective: &Objective, choice: SplitChoice) -> bool {
    let region = &objective.region;
    let n_varying = region.lower.iter().zip(&region.upper).filter(|(l, u)| l < u).count();
    let has_relus = objective.has_relus();
    match choice {
        SplitChoice::Auto => has_relus && n_varying > FEW_INPUTS,
        SplitChoice::Inputs => false,
        SplitChoice::Relus => has_relus,
    }
}

/// The middle of the region, as an f32 point where it has one.
fn centre(objective: &Objective) -> Vec<f64> {
    let region = &objective.region;
    (0..region.n_inputs())
        .map(|i| {
            let (low, high) = (region.inner_lower[i], region.inner_upper[i]);
            let narrow = f64::from((0.5 * low + 0.5 * high) as f32);
            if low <= narrow && narrow <= high {
                narrow
            } else {
                (0.5 * low + 0.5 * high).clamp(low.min(high), high.max(low))
            }
        })
        .collect()
}
