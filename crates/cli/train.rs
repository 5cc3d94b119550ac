use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::{Attack, Backend, Classifier, Course, Dataset, Ending, Event, PeerName, Score, StateDict, Threat, Trainer};
use network::onnx;
use serde::Serialize;
use serde_json::Value;

use crate::arguments::Settings;
use crate::certify::Certified;
use crate::job::Job;
use crate::peer_params::PeerParams;
use crate::run_folder::RunFolder;
use crate::samples::Samples;
use crate::session::Session;
use crate::status::Status;
use crate::train_job::{MeasureSpec, TrainJob, TrainTask};
use crate::{console, devices, input};

/// A run as JSON.
#[derive(Debug, Serialize)]
struct TrainResult {
    reached: bool,
    reason: Ending,
    time_s: f64,
    epochs: usize,
    /// The epoch whose weights were kept.
    kept_epoch: usize,
    weights: usize,
    train: Score,
    test: Score,
    robust: Vec<Robustness>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    certified: Vec<Certified>,
    folder: PathBuf,
    network: PathBuf,
}

/// Accuracy over boxes around samples.
#[derive(Debug, Serialize)]
struct Robustness {
    epsilon: f64,
    samples: usize,
    /// By linear bounds over intervals, rounding not counted: what the engine proves is another matter.
    bounded_accuracy: f64,
    /// After an attack of ten steps: at most this share is robust.
    attacked_accuracy: f64,
}

/// Samples for which robustness is measured unless told.
const DEFAULT_SAMPLES: usize = 200;

/// Reads the job of a command line, which goes before it.
pub fn read(task: &TrainTask, settings: &mut Settings) -> Result<TrainJob> {
    let text = input::text(&task.job)?;
    let place = task.job.display();
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{place}: expected a job, a JSON object"))?;
    let mut job = match value {
        Value::Object(fields) if PeerParams::is_meant(&fields) => {
            let params = PeerParams::of_fields(fields, &text, &task.job)?;
            let ignored = params.ignored_by_training();
            if !ignored.is_empty() && !settings.quiet {
                eprintln!("note: {place}: not used by training: {}", ignored.join(", "));
            }
            TrainJob::of_peer(&params).with_context(|| place.to_string())?
        }
        _ => match Job::read(&task.job, settings)? {
            Job::Train(job) => *job,
            _ => bail!("{place}: this is no job of training; `diadem run {place}` does it"),
        },
    };
    job.overrule(task)?;
    Ok(job)
}

/// Trains a network.
pub fn run(job: &TrainJob, session: &Session) -> Result<Status> {
    let start = Instant::now();
    job.check()?;
    if job.training.backend == Backend::Gpu && !devices::has_adapter() {
        bail!("training on a GPU: no adapter was found (`diadem devices`); leave 'backend' out to train on the CPU");
    }
    let default_share = job.training.early_stop.map(|_| 0.1);
    let samples = Samples::read(&job.data, default_share, session.seed)?;
    let architecture = job.network.architecture(samples.train.n_classes());
    let mut classifier = Classifier::new(&architecture, samples.train.shape(), session.seed)?;
    if let Some(path) = &job.weights {
        let state = StateDict::read(path)?;
        classifier.load_state(&state).with_context(|| path.display().to_string())?;
    }
    let folder = RunFolder::create(&job.out, "train")?;
    folder.write("job.json", &(serde_json::to_string_pretty(&TrainFile { job: "train", task: job })? + "\n"))?;
    let trainer = Trainer {
        recipe: &job.training,
        train: &samples.train,
        validation: samples.validation.as_ref(),
        seed: session.seed,
    };
    let course = train(&trainer, &mut classifier, &folder, session)?;
    let network = classifier.to_network()?;
    let path = folder.path("network.onnx");
    onnx::write(&network, &path)?;
    write_weights(&classifier, &folder, architecture.hidden(), samples.train.shape())?;
    folder.write("plot.svg", &course.to_svg())?;
    let result = TrainResult {
        reached: matches!(course.ending, Ending::Finished | Ending::Stopped),
        reason: course.ending,
        time_s: start.elapsed().as_secs_f64(),
        epochs: course.epochs.len(),
        kept_epoch: course.kept,
        weights: classifier.n_weights(),
        train: classifier.score(&samples.train)?,
        test: classifier.score(&samples.test)?,
        robust: measure(&job.measure, &classifier, &samples.test, session.seed)?,
        certified: job.certify.measure(&path, &samples.test, session)?,
        folder: folder.root().to_owned(),
        network: path,
    };
    folder.write("result.json", &(serde_json::to_string_pretty(&result)? + "\n"))?;
    session.print(&text(&result, &samples));
    session.write_json("train", &result)?;
    Ok(if result.reached { Status::Done } else { Status::Unknown })
}

/// A job as its file has it.
#[derive(Serialize)]
struct TrainFile<'a> {
    job: &'static str,
    #[serde(flatten)]
    task: &'a TrainJob,
}

/// Trains, with a bar on a terminal and a line of JSON per epoch in the run's folder.
pub fn train(trainer: &Trainer, classifier: &mut Classifier, folder: &RunFolder, session: &Session) -> Result<Course> {
    let metrics_path = folder.path("metrics.jsonl");
    let cannot_write = || format!("{}: cannot be written", metrics_path.display());
    let mut metrics = File::create(&metrics_path).with_context(cannot_write)?;
    let target = if session.is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(1), target);
    let style = ProgressStyle::with_template("[{bar:24}] {elapsed} {per_sec}, {eta} left {wide_msg}");
    bar.set_style(style.expect("the template is right").progress_chars("=> "));
    let start = Instant::now();
    let mut failure = None;
    let course = trainer.run(classifier, &mut |event| {
        match event {
            Event::Step { step, n_steps, .. } => {
                bar.set_length(n_steps as u64);
                bar.set_position(step as u64);
            }
            Event::Epoch(record) => {
                let line = serde_json::to_string(record).expect("a record is plain numbers") + "\n";
                failure = metrics.write_all(line.as_bytes()).and_then(|()| metrics.flush()).err();
                let accuracy = 100.0 * record.validation_accuracy.unwrap_or(record.accuracy);
                bar.set_message(format!("epoch {}, loss {:.4}, accuracy {accuracy:.1} %", record.epoch, record.loss));
            }
        }
        let is_late = session.timeout_s.is_some_and(|limit| start.elapsed().as_secs_f64() > limit);
        if is_late || session.interrupt.is_raised() || failure.is_some() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    failure.map_or(Ok(course), |error| Err(error).with_context(cannot_write))
}

/// Writes weights in all formats; `PyTorch`'s under the name that the peer gives networks of dense layers.
pub fn write_weights(
    classifier: &Classifier,
    folder: &RunFolder,
    hidden: Option<Vec<usize>>,
    input: [usize; 3],
) -> Result<()> {
    let state = classifier.state();
    state.write(&folder.path("weights.safetensors"))?;
    let name = match hidden {
        Some(hidden) => PeerName { input, hidden, n_classes: classifier.n_classes() }.to_string(),
        None => "weights.pt".into(),
    };
    state.write(&folder.path(&name))?;
    Ok(classifier.write_record(&folder.path("weights.bpk"))?)
}

fn measure(spec: &MeasureSpec, classifier: &Classifier, test: &Dataset, seed: u64) -> Result<Vec<Robustness>> {
    let test = test.truncated(spec.samples.unwrap_or(DEFAULT_SAMPLES));
    let one = |&epsilon: &f64| -> Result<Robustness> {
        let attack = Attack { threat: Threat::LInf(epsilon), steps: 10, step: 0.25 };
        let attacked_accuracy = classifier.attacked_accuracy(&test, &attack, seed)?;
        let bounded_accuracy = classifier.bounded_accuracy(&test, epsilon)?;
        Ok(Robustness { epsilon, samples: test.len(), bounded_accuracy, attacked_accuracy })
    };
    spec.epsilons.iter().map(one).collect()
}

fn text(result: &TrainResult, samples: &Samples) -> String {
    let ending = match result.reason {
        Ending::Finished => "all epochs are done",
        Ending::Stopped => "the validation samples stopped gaining",
        Ending::Diverged => {
            "the loss is not finite: lower the learning rate; the weights are those of the last good epoch"
        }
        Ending::Interrupted => "interrupted; the weights are those of the last whole epoch",
    };
    let mut text = format!(
        "{}  {:.1} s, {} epochs ({ending}), weights of epoch {}\n",
        console::verdict(if result.reached { "trained" } else { "stopped" }).trim_end(),
        result.time_s,
        result.epochs,
        result.kept_epoch
    );
    let mut row = |name: &str, score: Score, n: usize| {
        let _ = writeln!(text, "{name:<9}{:>6.2} % of {n} right, loss {:.4}", 100.0 * score.accuracy, score.loss);
    };
    row("training", result.train, samples.train.len());
    row("test", result.test, samples.test.len());
    for Robustness { epsilon, samples, bounded_accuracy, attacked_accuracy } in &result.robust {
        let (bounded, attacked) = (100.0 * bounded_accuracy, 100.0 * attacked_accuracy);
        let _ = writeln!(
            text,
            "±{epsilon:<8.5}between {bounded:.1} % (bounded) and {attacked:.1} % (attacked) of {samples} robust"
        );
    }
    for certified in &result.certified {
        let _ = writeln!(text, "{}", certified.text());
    }
    let _ = writeln!(text, "{} weights, written to {}", console::count(result.weights as u64), result.folder.display());
    text
}
