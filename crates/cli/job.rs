use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::arguments::{BenchTask, BoundsTask, Settings, VerifyTask};
use crate::input;
use crate::patch::PatchTask;
use crate::preimage::PreimageTask;
use crate::ssim::SsimTask;
#[cfg(feature = "train")]
use crate::{repair::RepairJob, train_job::TrainJob};

/// A job file, read: what to do, and the settings that it brings along.
#[derive(Debug)]
pub enum Job {
    /// Decide a property, or a list.
    Verify(VerifyTask),
    /// Bound outputs over a box.
    Bounds(BoundsTask),
    /// Approximate a preimage.
    Preimage(PreimageTask),
    /// For which placements can no patch change a class?
    Patch(Box<PatchTask>),
    /// Measure bounds.
    Bench(BenchTask),
    /// Which images keep their class.
    Ssim(SsimTask),
    /// Train a network.
    #[cfg(feature = "train")]
    Train(Box<TrainJob>),
    /// Change a network until what is required of it is proved.
    #[cfg(feature = "train")]
    Repair(Box<RepairJob>),
}

/// Settings that any job file may bring along; the command line goes before them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JobSettings {
    /// What the job is for; read by people only.
    #[expect(dead_code, reason = "it only informs")]
    note: Option<String>,
    /// auto, gpu, host, or a part of an adapter's name.
    device: Option<String>,
    /// Where randomness starts.
    seed: Option<u64>,
    /// Threads of the host.
    threads: Option<usize>,
    /// Seconds before giving up, for each question.
    timeout_s: Option<f64>,
}

/// The keys of [`JobSettings`].
const SETTINGS: [&str; 5] = ["note", "device", "seed", "threads", "timeout_s"];

impl Job {
    /// Reads a job file; its settings fill what the command line leaves open. Paths start at the file's folder.
    pub fn read(path: &Path, settings: &mut Settings) -> Result<Self> {
        Self::parse(&input::text(path)?, path, settings)
    }

    /// As [`Self::read`], where the file's text is known.
    pub fn parse(text: &str, path: &Path, settings: &mut Settings) -> Result<Self> {
        let place = path.display();
        let mut fields: Map<String, Value> =
            serde_json::from_str(text).with_context(|| format!("{place}: expected a job, a JSON object"))?;
        let kind = fields.remove("job");
        let own = SETTINGS.iter().filter_map(|&key| Some((key.to_owned(), fields.remove(key)?))).collect();
        let from_file: JobSettings = fields_of(own, text, path)?;
        if from_file.timeout_s.is_some_and(|limit| limit <= 0.0) {
            bail!("{place}: timeout_s: expected a positive number of seconds");
        }
        settings.device = settings.device.take().or(from_file.device);
        settings.seed = settings.seed.or(from_file.seed);
        settings.threads = settings.threads.or(from_file.threads);
        settings.timeout_s = settings.timeout_s.or(from_file.timeout_s);
        let folder = path.parent().unwrap_or(Path::new(""));
        match kind.as_ref().and_then(Value::as_str) {
            Some("verify") => {
                let mut task: VerifyTask = fields_of(fields, text, path)?;
                task.check().with_context(|| path.display().to_string())?;
                if task.memory_gib.is_some_and(|gibibytes| gibibytes <= 0.0) {
                    bail!("{place}: memory_gib: expected a positive number of GiB");
                }
                task.start_at(folder);
                Ok(Self::Verify(task))
            }
            Some("bounds") => {
                let mut task: BoundsTask = fields_of(fields, text, path)?;
                if task.property.is_some() == task.region.is_some() {
                    bail!("{place}: bounds need either a property or a box");
                }
                task.start_at(folder);
                Ok(Self::Bounds(task))
            }
            Some("preimage") => {
                let mut task: PreimageTask = fields_of(fields, text, path)?;
                if task.problem.is_none() {
                    bail!("{place}: preimage needs a problem, the path of a file");
                }
                if task.search_samples == Some(0) || task.report_samples == Some(0) {
                    bail!("{place}: search_samples, report_samples: expected a positive whole number");
                }
                if task.trim.is_some_and(|share| !(0.0..1.0).contains(&share)) {
                    bail!("{place}: trim: expected a share, at least 0 and less than 1");
                }
                task.start_at(folder);
                Ok(Self::Preimage(task))
            }
            Some("patch") => {
                let mut task: PatchTask = fields_of(fields, text, path)?;
                task.start_at(folder);
                Ok(Self::Patch(Box::new(task)))
            }
            Some("bench") => {
                let mut task: BenchTask = fields_of(fields, text, path)?;
                task.start_at(folder);
                Ok(Self::Bench(task))
            }
            Some("ssim") => {
                let mut task: SsimTask = fields_of(fields, text, path)?;
                task.start_at(folder);
                Ok(Self::Ssim(task))
            }
            #[cfg(feature = "train")]
            Some("train") => {
                let mut job: TrainJob = fields_of(fields, text, path)?;
                job.start_at(folder);
                Ok(Self::Train(Box::new(job)))
            }
            #[cfg(feature = "train")]
            Some("repair") => {
                let mut job: RepairJob = fields_of(fields, text, path)?;
                job.start_at(folder);
                Ok(Self::Repair(Box::new(job)))
            }
            other => {
                let got = other.map_or("nothing".to_owned(), |kind| format!("'{kind}'"));
                bail!(
                    "{place}: the key 'job' says {got}; expected 'verify', 'bounds', 'preimage', 'patch', 'bench', 'ssim', 'train' or 'repair'"
                )
            }
        }
    }
}

/// Reads an object into a type, naming the file, and the line of a key that the message names.
pub fn fields_of<T: DeserializeOwned>(fields: Map<String, Value>, text: &str, path: &Path) -> Result<T> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        let message = error.to_string();
        let also = if message.contains("expected one of") {
            ", or a setting of every job: `note`, `device`, `seed`, `threads`, `timeout_s`"
        } else {
            ""
        };
        let key = message.split('`').nth(1).map(|key| format!("\"{key}\""));
        let line = key.and_then(|key| text.lines().position(|line| line.contains(&key)));
        let line = line.map(|line| format!(":{}", line + 1)).unwrap_or_default();
        anyhow!("{}{line}: {message}{also}", path.display())
    })
}

/// The schema of every kind of job, by file name.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("verify.json", schema::<VerifyTask>("verify")),
        ("bounds.json", schema::<BoundsTask>("bounds")),
        ("preimage.json", schema::<PreimageTask>("preimage")),
        ("patch.json", schema::<PatchTask>("patch")),
        ("bench.json", schema::<BenchTask>("bench")),
        ("ssim.json", schema::<SsimTask>("ssim")),
        #[cfg(feature = "train")]
        ("train.json", schema::<TrainJob>("train")),
        #[cfg(feature = "train")]
        ("repair.json", schema::<RepairJob>("repair")),
    ]
}

/// The schema of one kind: the task's own keys, the settings, and the kind's name.
fn schema<T: JsonSchema>(kind: &str) -> Value {
    let task = schemars::schema_for!(T);
    let settings = schemars::schema_for!(JobSettings);
    let mut schema = task.to_value();
    let properties = schema["properties"].as_object_mut().expect("a task is an object");
    for (key, value) in settings.to_value()["properties"].as_object().expect("settings are an object") {
        properties.insert(key.clone(), value.clone());
    }
    properties.insert("job".into(), serde_json::json!({ "const": kind }));
    let mut required = schema["required"].as_array().cloned().unwrap_or_default();
    required.insert(0, "job".into());
    schema["required"] = required.into();
    schema["title"] = format!("{kind} job").into();
    schema
}
