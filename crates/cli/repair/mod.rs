//! Repair: verify, learn from what is found, and verify again until everything that is required is proved.

mod job;
mod report;
mod requirements;
mod state;
mod tuner;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use driver::repair::{Question, Repair, RepairLimits, Requirement, Violation};
use model::{Classifier, Dataset, Ending, StateDict, Trainer};
use network::{Image, onnx};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Settings;
use crate::certify::CertifySpec;
use crate::job::Job;
use crate::peer_params::PeerParams;
use crate::run_folder::RunFolder;
use crate::samples::Samples;
use crate::session::Session;
use crate::status::Status;
use crate::{images, input, train};

use job::StartSpec;
pub use job::{MethodSpec, RepairJob, RepairTask};
use report::{Measured, RepairResult, Watcher};
use state::State;
use tuner::ModelTuner;

/// A job, and the folder of the run that it goes on with.
#[derive(Debug)]
pub struct RepairRun {
    /// What to do.
    pub job: RepairJob,
    /// Where it was begun.
    pub folder: Option<std::path::PathBuf>,
}

/// The job in a run's folder.
const JOB: &str = "job.json";
/// The network before anything was changed.
const START: &str = "start.onnx";
/// The share of the training samples on which accuracy is guarded, unless told.
const GUARD: f64 = 0.1;

/// Reads the job of a command line, which goes before it.
pub fn read(task: &RepairTask, settings: &mut Settings) -> Result<RepairRun> {
    let path = match (&task.job, &task.resume) {
        (_, Some(folder)) => folder.join(JOB),
        (Some(job), None) => job.clone(),
        (None, None) => bail!("repair needs a job, or --resume with the folder of a run"),
    };
    let text = input::text(&path)?;
    let place = path.display();
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{place}: expected a job, a JSON object"))?;
    let mut job = match value {
        Value::Object(fields) if PeerParams::is_meant(&fields) => {
            let params = PeerParams::of_fields(fields, &text, &path)?;
            let method = task.method.unwrap_or_default();
            let ignored = params.ignored_by_repair(method);
            if !ignored.is_empty() && !settings.quiet {
                eprintln!("note: {place}: not used: {}", ignored.join(", "));
            }
            RepairJob::of_peer(&params, path.parent().unwrap_or(Path::new("")), method)
                .with_context(|| place.to_string())?
        }
        _ => match Job::read(&path, settings)? {
            Job::Repair(job) => *job,
            _ => bail!("{place}: this is no job of repair; `diadem run {place}` does it"),
        },
    };
    job.overrule(task)?;
    Ok(RepairRun { job, folder: task.resume.clone() })
}

/// Repairs a network.
pub fn run(run: RepairRun, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let job = run.job.absolute()?;
    job.check()?;
    let samples = Samples::read(&job.data, Some(GUARD), session.seed)?;
    // Before training: what cannot be written, read or meant is found out now.
    let requirements = requirements::read(&job.requirements, &samples.test)?;
    let folder = match &run.folder {
        Some(root) => RunFolder::open(root)?,
        None => RunFolder::create(&job.out, "repair")?,
    };
    let state = State::read(&folder)?;
    if let StartSpec::Train(train) = &job.start
        && let Some(path) = &train.save
        && let Some(parent) = path.parent()
    {
        fs::create_dir_all(parent).with_context(|| format!("{}: the folder cannot be made", parent.display()))?;
    }
    let classes = requirements::write_references(&job.requirements, &samples.test, &folder)?;
    folder.write(
        JOB,
        &(serde_json::to_string_pretty(&RepairFile { job: "repair", seed: session.seed, task: &job })? + "\n"),
    )?;
    let is_resumed = folder.path(START).is_file();
    let (classifier, training_s) = start_from(&job.start, &samples, &folder, is_resumed, session)?;
    if !is_resumed {
        onnx::write(&classifier.to_network()?, &folder.path(START))?;
    }
    let network = onnx::read(&folder.path(START))?;
    for requirement in &requirements {
        requirement.check(&network).map_err(|error| anyhow::anyhow!("{}: {error}", requirement.name))?;
    }
    if state
        .violations
        .iter()
        .any(|violation| violation.requirement >= requirements.len() || violation.input.len() != network.n_inputs())
    {
        bail!("{}: the state is that of another job", folder.root().display());
    }
    let guard = samples.validation.as_ref().unwrap_or(&samples.test);
    let mut settings = job.tuning.settings(samples.train.len(), classifier.multiply_adds());
    settings.floor = (classifier.score(guard)?.accuracy - job.limits.accuracy_loss).clamp(0.0, 1.0);
    let before = measure(&job.certify, &classifier, &folder.path(START), &samples.test, session)?;
    let mut tuner = ModelTuner {
        start: classifier.clone(),
        classifier,
        samples: &samples,
        settings,
        requirements: &requirements,
        folder: &folder,
        session,
        history: Vec::new(),
        pressure: 0,
        n_open: 0,
        n_failed: 0,
    };
    if is_resumed {
        tuner.resume(&state)?;
    }
    let limits = RepairLimits {
        rounds: job.limits.rounds,
        time_s: job.limits.time_s,
        answer_s: session.timeout_s.or(job.limits.answer_s),
        subdomains: job.limits.max_subdomains,
        more: job.tuning.more(),
        seed: session.seed,
        interrupt: session.interrupt.clone(),
    };
    let mut violations = state.violations;
    let repair = Repair { requirements: &requirements, device: session.device()?, limits: &limits };
    let mut watcher = Watcher::new(session, limits.answer_s);
    let outcome = repair.run(&mut tuner, &mut violations, &mut watcher);
    watcher.finish();
    let outcome = outcome?;
    State { violations: violations.clone(), pressure: tuner.pressure, n_open: tuner.n_open }.write(&folder)?;
    tuner.write_weights()?;
    write_counterexamples(&violations, &requirements, samples.test.shape(), &folder)?;
    train::write_weights(&tuner.classifier, &folder, hidden(&job, &samples), samples.test.shape())?;
    let path = folder.path("network.onnx");
    let after = measure(&job.certify, &tuner.classifier, &path, &samples.test, session)?;
    let certificates = if outcome.verdict.is_proved() {
        requirements::certify(&job.requirements, &requirements, &path, &folder, session)?
    } else {
        Vec::new()
    };
    let history = tuner.history;
    let result = RepairResult::new(
        (&outcome, &requirements, &violations, history),
        (before, after, certificates, classes),
        (&folder, training_s, start.elapsed().as_secs_f64()),
    );
    folder.write("evaluation.json", &(serde_json::to_string_pretty(&result)? + "\n"))?;
    session.print(&result.text(session.is_quiet));
    session.write_json("repair", &result)?;
    Ok(result.status())
}

/// A job as its file has it.
#[derive(Serialize)]
struct RepairFile<'a> {
    job: &'static str,
    seed: u64,
    #[serde(flatten)]
    task: &'a RepairJob,
}

/// The network to start from, and the seconds that training took.
fn start_from(
    start: &StartSpec,
    samples: &Samples,
    folder: &RunFolder,
    is_resumed: bool,
    session: &Session,
) -> Result<(Classifier, f64)> {
    let begin = Instant::now();
    let classifier = match start {
        StartSpec::Onnx(path) => {
            let network = input::network(path)?;
            Classifier::from_network(&network).with_context(|| path.display().to_string())?
        }
        StartSpec::Train(spec) => {
            let architecture = spec.network.architecture(samples.train.n_classes());
            let mut classifier = Classifier::new(&architecture, samples.train.shape(), session.seed)?;
            let own = folder.path("start.safetensors");
            let known = if is_resumed { Some(&own) } else { spec.weights.as_ref().filter(|path| path.is_file()) };
            if let Some(path) = known {
                classifier.load_state(&StateDict::read(path)?).with_context(|| path.display().to_string())?;
            } else {
                let trainer = Trainer {
                    recipe: &spec.training,
                    train: &samples.train,
                    validation: samples.validation.as_ref(),
                    seed: session.seed,
                };
                let course = train::train(&trainer, &mut classifier, folder, session)?;
                match course.ending {
                    Ending::Diverged => bail!("training diverged: lower the learning rate"),
                    Ending::Interrupted => bail!("training was interrupted, and nothing was repaired"),
                    Ending::Finished | Ending::Stopped => {}
                }
                if let Some(path) = &spec.save {
                    classifier.state().write(path)?;
                }
            }
            if !is_resumed {
                classifier.state().write(&own)?;
            }
            classifier
        }
    };
    Ok((classifier, begin.elapsed().as_secs_f64()))
}

/// The widths of the hidden layers, where there are no others.
fn hidden(job: &RepairJob, samples: &Samples) -> Option<Vec<usize>> {
    match &job.start {
        StartSpec::Train(spec) => spec.network.architecture(samples.train.n_classes()).hidden(),
        StartSpec::Onnx(_) => None,
    }
}

/// Every counterexample: exactly, and to be looked at.
fn write_counterexamples(
    violations: &[Violation],
    requirements: &[Requirement],
    shape: [usize; 3],
    folder: &RunFolder,
) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    let root = folder.path("counterexamples");
    fs::create_dir_all(&root).with_context(|| format!("{}: the folder cannot be made", root.display()))?;
    for (number, violation) in violations.iter().enumerate() {
        let shape = match &requirements[violation.requirement].question {
            Question::Similar { reference, .. } => reference.shape(),
            Question::Property(_) => shape,
        };
        let name = format!("{:04}", number + 1);
        if let Ok(image) = Image::new(shape, violation.input.clone()) {
            images::write(&root.join(format!("{name}.npy")), &image)?;
            if matches!(shape[0], 1 | 3) {
                images::write(&root.join(format!("{name}.png")), &image)?;
            }
        } else {
            // No image: its numbers.
            let path = root.join(format!("{name}.json"));
            let text = serde_json::to_string(&violation.input)? + "\n";
            fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
        }
    }
    Ok(())
}

/// Accuracy and certified accuracy of a written network.
fn measure(
    spec: &CertifySpec,
    classifier: &Classifier,
    path: &Path,
    test: &Dataset,
    session: &Session,
) -> Result<Measured> {
    let certified = spec.measure(path, test, session)?;
    Ok(Measured { test_accuracy: classifier.score(test)?.accuracy, certified })
}
