use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use driver::repair::{Question, Requirement, Tuned, Tuner, Violation};
use model::{
    Classifier, Dataset, Example, FineTune, FineTuneSettings, OutputRow, Region, StateDict, Target, TuneEnding, Wanted,
};
use network::ssim::Similarity;
use network::{BoxRegion, Disjunct, Network, Property, onnx};
use serde::Serialize;

use crate::repair::state::State;
use crate::run_folder::RunFolder;
use crate::samples::Samples;
use crate::session::Session;

/// Fine-tunes a classifier with burn, and hands it out as the ONNX file that it was written to.
pub struct ModelTuner<'a> {
    /// What is changed.
    pub classifier: Classifier,
    /// As it was before anything was changed.
    pub start: Classifier,
    /// What must not be forgotten.
    pub samples: &'a Samples,
    /// How.
    pub settings: FineTuneSettings,
    /// What must hold.
    pub requirements: &'a [Requirement],
    /// Where everything goes.
    pub folder: &'a RunFolder,
    /// The run's settings.
    pub session: &'a Session,
    /// What every round left behind.
    pub history: Vec<Iteration>,
    /// The margin is doubled so many times: once for every round after which something was found, and once less for every failed one.
    pub pressure: usize,
    /// How often nothing was found and nothing proved.
    pub n_open: usize,
    /// How often the changes did not repair what they were asked to. The next ones begin anew where this is odd; then steps are smaller,
    /// and less is kept of what was said before.
    pub n_failed: usize,
}

/// A round in numbers; names are those of *semantic-robustness-verification*, and then ours.
#[derive(Debug, Clone, Serialize)]
pub struct Iteration {
    /// Largest difference of the trained network's outputs (f32) and the written one's (f64), over test samples.
    pub max_deviation: f64,
    /// `ReLU`s whose sign is the same over all inputs of `[0, 1]`, by intervals.
    pub stable_relu: usize,
    /// Seconds.
    pub runtime: f64,
    /// `verified`, `falsified` or `unknown`.
    pub status: String,
    /// Accuracy on the test samples before the round's changes.
    pub accuracy_before: f64,
    /// And after.
    pub accuracy_after: f64,
    /// Counterexamples known by then, and how many of them the changes repaired.
    pub counterexamples: usize,
    pub repaired: usize,
    /// Epochs of the changes.
    pub epochs: usize,
    /// Accuracy on the samples that are held back for the floor.
    pub held_back_accuracy: f64,
    /// Why the changes ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending: Option<TuneEnding>,
}

/// Test samples on which the trained and the written network are compared.
const COMPARED: usize = 200;

/// By how much a round is shorter after one that repaired what was known.
const LATER: usize = 4;

impl ModelTuner<'_> {
    /// Samples that accuracy is guarded on.
    fn guard(&self) -> &Dataset {
        self.samples.validation.as_ref().unwrap_or(&self.samples.test)
    }

    /// Whether the next round begins at the start's weights.
    const fn is_anew(&self) -> bool {
        self.n_failed % 2 == 1
    }

    /// The round's settings: it is asked for more where the last ones did not do.
    fn settings_now(&self) -> FineTuneSettings {
        let mut settings = self.settings.clone();
        settings.margin *= 2.0_f64.powi(self.pressure.min(12) as i32);
        if settings.settle > 0 && self.pressure > 0 && !self.is_anew() {
            // All that was known is repaired: little is left to change.
            settings.settle = settings.settle.div_ceil(LATER);
            settings.epochs = settings.epochs.div_ceil(LATER);
        }
        // Where that failed: smaller steps, and less of what keeps the old.
        let kept = 0.5_f64.powi((self.n_failed / 2).min(6) as i32);
        settings.lr *= kept;
        for weight in [&mut settings.memory, &mut settings.rehearsal, &mut settings.locality, &mut settings.proximity] {
            *weight *= kept;
        }
        if self.n_open > 0 {
            settings.bound_weight = settings.bound_weight.max(0.5) * 2.0_f64.powi(self.n_open.min(6) as i32);
        }
        settings
    }

    fn targets(&self, open: &[usize], settings: &FineTuneSettings) -> Vec<Target> {
        let is_wanted = |place: &usize| settings.attacks > 0 || settings.bound_weight > 0.0 || open.contains(place);
        (0..self.requirements.len())
            .filter(is_wanted)
            .flat_map(|place| targets_of(&self.requirements[place], self.classifier.n_classes()))
            .collect()
    }

    fn iteration(&self, network: &Network) -> Result<Iteration> {
        let test = self.samples.test.truncated(COMPARED);
        let rows: Vec<&[f32]> = (0..test.len()).map(|i| test.sample(i)).collect();
        let scores = self.classifier.scores(&rows)?;
        let mut max_deviation = 0.0_f64;
        for (row, scores) in rows.iter().zip(&scores) {
            let input: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
            let output: Vec<f64> = network.evaluate(&input)?;
            let differences = output.iter().zip(scores).map(|(a, b)| (a - f64::from(*b)).abs());
            max_deviation = differences.fold(max_deviation, f64::max);
        }
        let accuracy = self.classifier.score(&self.samples.test)?.accuracy;
        Ok(Iteration {
            max_deviation,
            stable_relu: self.classifier.stable_relus(0.0, 1.0),
            runtime: 0.0,
            status: String::new(),
            accuracy_before: accuracy,
            accuracy_after: accuracy,
            counterexamples: 0,
            repaired: 0,
            epochs: 0,
            held_back_accuracy: self.classifier.score(self.guard())?.accuracy,
            ending: None,
        })
    }
}

impl Tuner for ModelTuner<'_> {
    type Error = anyhow::Error;

    fn network(&mut self) -> Result<Arc<Network>> {
        let path = self.folder.path("network.onnx");
        onnx::write(&self.classifier.to_network()?, &path)?;
        let network = onnx::read(&path).context("the network that was written cannot be read back")?;
        let iteration = self.iteration(&network)?;
        self.history.push(iteration);
        Ok(Arc::new(network))
    }

    fn tune(&mut self, _attempt: usize, violations: &[Violation], open: &[usize]) -> Result<Tuned> {
        let start = Instant::now();
        if violations.is_empty() || !open.is_empty() {
            self.n_open += 1;
        }
        let settings = self.settings_now();
        let mut examples = Vec::with_capacity(violations.len());
        for violation in violations {
            let requirement = &self.requirements[violation.requirement];
            examples.push(example(requirement, &violation.input, self.classifier.n_classes()));
        }
        let targets = self.targets(open, &settings);
        State { violations: violations.to_vec(), pressure: self.pressure, n_open: self.n_open }.write(self.folder)?;
        let before = self.classifier.state();
        let seed = self.session.seed.wrapping_add(self.history.len() as u64);
        let tune = FineTune { settings: &settings, train: &self.samples.train, validation: self.guard(), seed };
        // What was changed step by step may have nowhere left to go; all that was found, learnt at once, may have.
        let is_anew = self.is_anew();
        let mut classifier = if is_anew { self.start.clone() } else { self.classifier.clone() };
        let interrupt = self.session.interrupt.clone();
        let (ending, record) = tune.run(&mut classifier, &examples, &targets, &mut |_| {
            if interrupt.is_raised() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if ending == TuneEnding::Repaired || !is_anew {
            self.classifier = classifier;
        }
        if ending == TuneEnding::Repaired {
            self.pressure += 1;
            // What began anew is gone on with.
            self.n_failed += usize::from(is_anew);
        } else {
            // Too much was asked for, or too fast.
            self.pressure = self.pressure.saturating_sub(1);
            self.n_failed += 1;
        }
        self.write_weights()?;
        let accuracy_after = self.classifier.score(&self.samples.test)?.accuracy;
        if let Some(iteration) = self.history.last_mut() {
            iteration.accuracy_after = accuracy_after;
            iteration.counterexamples = violations.len();
            iteration.repaired = record.repaired;
            iteration.epochs = record.epoch;
            iteration.held_back_accuracy = record.accuracy;
            iteration.ending = Some(ending);
        }
        Ok(Tuned {
            has_changed: self.classifier.state() != before,
            n_repaired: record.repaired,
            epochs: record.epoch,
            accuracy: record.accuracy,
            time_s: start.elapsed().as_secs_f64(),
        })
    }
}

impl ModelTuner<'_> {
    /// Writes the weights from which the run goes on after an interruption.
    pub fn write_weights(&self) -> Result<()> {
        Ok(self.classifier.state().write(&self.folder.path(CURRENT))?)
    }

    /// Takes up such weights.
    pub fn resume(&mut self, state: &State) -> Result<()> {
        let path = self.folder.path(CURRENT);
        if path.is_file() {
            let weights = StateDict::read(&path)?;
            self.classifier.load_state(&weights).with_context(|| path.display().to_string())?;
        }
        (self.pressure, self.n_open) = (state.pressure, state.n_open);
        Ok(())
    }
}

/// The weights as they are.
const CURRENT: &str = "current.safetensors";

/// What is wanted at an input that violates a requirement.
fn example(requirement: &Requirement, input: &[f64], n_outputs: usize) -> Example {
    let wanted = match &requirement.question {
        Question::Similar { class, .. } => Wanted::class(*class, n_outputs),
        Question::Property(property) => {
            let groups = property.disjuncts.iter().filter(|disjunct| disjunct.region.contains(input));
            Wanted { groups: groups.map(|disjunct| group(disjunct, n_outputs, &|i| [input[i]; 2])).collect() }
        }
    };
    Example { input: input.iter().map(|&x| x as f32).collect(), wanted }
}

/// The regions of a requirement, and what is wanted of each; none for sets of images that training does not know.
fn targets_of(requirement: &Requirement, n_outputs: usize) -> Vec<Target> {
    match &requirement.question {
        Question::Similar { reference, class, similarity: Similarity::Global, threshold } => {
            let reference = reference.pixels().iter().map(|&x| x as f32).collect();
            let region = Region::Similar { reference, threshold: *threshold };
            vec![Target { region, wanted: Wanted::class(*class, n_outputs) }]
        }
        Question::Similar { .. } => Vec::new(),
        Question::Property(property) => boxes(property, n_outputs),
    }
}

/// One target for every box of a property.
fn boxes(property: &Property, n_outputs: usize) -> Vec<Target> {
    let mut regions: Vec<&BoxRegion> = Vec::new();
    for disjunct in &property.disjuncts {
        if !regions.contains(&&disjunct.region) {
            regions.push(&disjunct.region);
        }
    }
    let target = |region: &BoxRegion| {
        let of_region = property.disjuncts.iter().filter(|disjunct| disjunct.region == *region);
        let ends = |i: usize| [region.lower[i], region.upper[i]];
        let groups = of_region.map(|disjunct| group(disjunct, n_outputs, &ends)).collect();
        let narrow = |ends: &[f64]| ends.iter().map(|&x| x as f32).collect();
        let region = Region::Box { lower: narrow(&region.lower), upper: narrow(&region.upper) };
        Target { region, wanted: Wanted { groups } }
    };
    regions.into_iter().map(target).collect()
}

/// The rows of which one must be positive where a disjunct is not to hold, with the input's share at its least.
fn group(disjunct: &Disjunct, n_outputs: usize, input: &dyn Fn(usize) -> [f64; 2]) -> Vec<OutputRow> {
    let row = |half_space: &network::HalfSpace| {
        let mut coefficients = vec![0.0_f32; n_outputs];
        half_space.output.iter().for_each(|(k, [below, _])| coefficients[*k] = *below as f32);
        let share = |(i, [below, _]): &(usize, [f64; 2])| {
            let [lower, upper] = input(*i);
            (below * lower).min(below * upper)
        };
        let constant = half_space.constant[0] + half_space.input.iter().map(share).sum::<f64>();
        OutputRow { coefficients, constant: constant as f32 }
    };
    disjunct.half_spaces.iter().map(row).collect()
}
