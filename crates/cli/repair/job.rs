use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use model::{Augment, FineTuneSettings, PeerName, Recipe, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certify::CertifySpec;
use crate::peer_params::PeerParams;
use crate::ssim::SimilarityName;
use crate::train_job::{DataSpec, NetworkSpec, TrainJob};

/// A job file, and what the command line puts in its place.
#[derive(Debug, Clone, Args)]
pub struct RepairTask {
    /// The job, as JSON, or a parameter file of semantic-robustness-verification
    #[arg(value_name = "JOB.json", required_unless_present = "resume")]
    pub job: Option<PathBuf>,
    /// Go on with a run that was interrupted, in its folder
    #[arg(long, value_name = "RUN", conflicts_with_all = ["job", "data", "out", "image", "weights"])]
    pub resume: Option<PathBuf>,
    /// Where the data are, instead of where the job says: a folder, or a CSV file
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// The reference image, instead of the one that the job names; for jobs with one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<PathBuf>,
    /// Weights to start from, instead of training or of the file that the job names: .safetensors, .pt or .pth
    #[arg(long, value_name = "WEIGHTS")]
    pub weights: Option<PathBuf>,
    /// The folder in which the run's folder is made
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Times that the weights may be changed
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// How weights are changed
    #[arg(long, value_name = "METHOD")]
    pub method: Option<MethodSpec>,
}

/// What is required of a network, and how it is changed until that is proved.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairJob {
    /// What must not be forgotten and what accuracy is measured on
    pub data: DataSpec,
    /// The network to start from
    pub start: StartSpec,
    /// What must hold, all together
    pub requirements: Vec<RequirementSpec>,
    /// How weights are changed
    #[serde(default)]
    pub tuning: TuningSpec,
    /// What it may cost
    #[serde(default)]
    pub limits: LimitSpec,
    /// Certified accuracy, measured before and after
    #[serde(default)]
    pub certify: CertifySpec,
    /// The folder in which the run's folder is made
    #[serde(default = "default_out")]
    pub out: PathBuf,
}

/// A network to start from.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StartSpec {
    /// An ONNX file
    Onnx(PathBuf),
    /// A network that is trained on the data first
    Train(Box<TrainSpec>),
}

/// A network that is trained first.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainSpec {
    /// The network
    pub network: NetworkSpec,
    /// How it is trained
    pub training: Recipe,
    /// Weights to take instead of training, where there is such a file: .safetensors, .pt or .pth
    #[serde(default)]
    pub weights: Option<PathBuf>,
    /// Where to write the trained weights, for the next time: .safetensors, .pt or .pth
    #[serde(default)]
    pub save: Option<PathBuf>,
}

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RequirementSpec {
    /// Every image at least this similar to a reference gets its class
    Similar {
        /// The reference
        image: ImageSpec,
        /// Its class, counted from 0; a test sample brings one along
        #[serde(default)]
        class: Option<usize>,
        /// In (0, 1]
        threshold: f64,
        /// Which structural similarity is meant
        #[serde(default)]
        similarity: SimilarityName,
    },
    /// Every image within this distance of a reference, in every pixel, gets its class
    Ball {
        /// The reference
        image: ImageSpec,
        /// Its class, counted from 0; a test sample brings one along
        #[serde(default)]
        class: Option<usize>,
        /// The distance
        epsilon: f64,
    },
    /// Every image that equals a reference but for a rectangle gets its class
    Patch {
        /// The reference
        image: ImageSpec,
        /// Its class, counted from 0; a test sample brings one along
        #[serde(default)]
        class: Option<usize>,
        /// Row and column of the rectangle's upper left pixel, from 0
        corner: [usize; 2],
        /// Height and width of the rectangle
        size: [usize; 2],
    },
    /// A VNN-LIB file is not violated
    Property(PathBuf),
}

/// A reference image; it is scaled to the size of the data.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSpec {
    /// A file: .png, .jpg, .npy or .json
    File(PathBuf),
    /// A sample of the test data, counted from 0
    TestSample(usize),
}

/// How weights are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodSpec {
    /// Several counterexamples per round, a margin, attacks while training goes on with steps that fall to zero, and bounds where a
    /// proof fails
    #[default]
    Thorough,
    /// One counterexample per round, with growing penalties, as semantic-robustness-verification does
    Penalty,
}

/// How weights are changed: a method, and numbers instead of its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TuningSpec {
    /// The method
    pub method: MethodSpec,
    /// Adam's learning rate
    pub lr: Option<f64>,
    /// Training samples of a step
    pub batch_size: Option<usize>,
    /// A counterexample's weight is multiplied by this after every epoch in which it was not repaired
    pub penalty_increase: Option<f64>,
    /// Most epochs of a round; a quarter of them where the round before repaired what was known
    pub epochs: Option<usize>,
    /// The last epochs of a round, with a learning rate that falls to zero: from the first in which everything is repaired, or as many
    /// as are left; a quarter of them where the round before repaired what was known
    pub settle: Option<usize>,
    /// Random changes of training images
    pub augment: Option<Augment>,
    /// By how much the class's score must exceed all others at a counterexample
    pub margin: Option<f64>,
    /// Points of every requirement that look for violations while the weights change
    pub attacks: Option<usize>,
    /// The share that the outputs before have in what training samples teach
    pub memory: Option<f64>,
    /// The weight of what the outputs before were at mixtures of training samples
    pub rehearsal: Option<f64>,
    /// The weight of what the outputs before were around the requirements' regions, between counterexamples and training samples
    pub locality: Option<f64>,
    /// The weight of the squared distance from the weights before
    pub proximity: Option<f64>,
    /// The weight of what bounds over the requirements lack
    pub bound_weight: Option<f64>,
    /// Counterexamples per requirement and round
    pub counterexamples: Option<usize>,
}

/// What a repair may cost.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSpec {
    /// Times that the weights may be changed
    pub rounds: usize,
    /// Seconds in all, training left out
    pub time_s: Option<f64>,
    /// Seconds for one answer
    pub answer_s: Option<f64>,
    /// Subdomains for one answer
    pub max_subdomains: Option<u64>,
    /// By how much accuracy, a share, may fall on samples that are held back for it; weights below are not kept
    pub accuracy_loss: f64,
}

impl Default for LimitSpec {
    fn default() -> Self {
        Self { rounds: 20, time_s: None, answer_s: Some(120.0), max_subdomains: None, accuracy_loss: 0.02 }
    }
}

impl TuningSpec {
    /// The settings of fine-tuning on so many training samples, of a network of so many multiply-adds, but for the floor.
    pub fn settings(&self, n_samples: usize, multiply_adds: usize) -> FineTuneSettings {
        let base = match self.method {
            MethodSpec::Thorough => FineTuneSettings::thorough(n_samples, multiply_adds),
            MethodSpec::Penalty => FineTuneSettings::default(),
        };
        FineTuneSettings {
            lr: self.lr.unwrap_or(base.lr),
            batch_size: self.batch_size.unwrap_or(base.batch_size),
            penalty_increase: self.penalty_increase.unwrap_or(base.penalty_increase),
            epochs: self.epochs.unwrap_or(base.epochs),
            settle: self.settle.unwrap_or(base.settle),
            augment: self.augment.or(base.augment),
            margin: self.margin.unwrap_or(base.margin),
            attacks: self.attacks.unwrap_or(base.attacks),
            memory: self.memory.unwrap_or(base.memory),
            rehearsal: self.rehearsal.unwrap_or(base.rehearsal),
            locality: self.locality.unwrap_or(base.locality),
            proximity: self.proximity.unwrap_or(base.proximity),
            bound_weight: self.bound_weight.unwrap_or(base.bound_weight),
            floor: base.floor,
        }
    }

    /// Counterexamples to look for besides the first.
    pub fn more(&self) -> usize {
        let default = match self.method {
            MethodSpec::Thorough => 8,
            MethodSpec::Penalty => 1,
        };
        self.counterexamples.unwrap_or(default).saturating_sub(1)
    }
}

impl RequirementSpec {
    fn image_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Similar { image: ImageSpec::File(path), .. }
            | Self::Ball { image: ImageSpec::File(path), .. }
            | Self::Patch { image: ImageSpec::File(path), .. } => Some(path),
            _ => None,
        }
    }
}

impl RepairJob {
    /// All paths, to be made absolute or replaced.
    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        let sources = [Some(&mut self.data.source), self.data.test.as_mut()];
        let mut paths: Vec<&mut PathBuf> = sources.into_iter().flatten().flat_map(Source::paths_mut).collect();
        match &mut self.start {
            StartSpec::Onnx(path) => paths.push(path),
            StartSpec::Train(train) => paths.extend(train.weights.iter_mut().chain(&mut train.save)),
        }
        for requirement in &mut self.requirements {
            match requirement {
                RequirementSpec::Property(path) => paths.push(path),
                other => paths.extend(other.image_mut()),
            }
        }
        paths
    }

    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        self.paths_mut().into_iter().for_each(|path| *path = folder.join(&*path));
        self.out = crate::train_job::plain(&folder.join(&self.out));
    }

    /// Makes all paths absolute, so that the run can go on from anywhere.
    pub fn absolute(mut self) -> Result<Self> {
        for path in self.paths_mut() {
            *path = std::path::absolute(&*path).with_context(|| path.display().to_string())?;
        }
        self.out = std::path::absolute(&self.out).with_context(|| self.out.display().to_string())?;
        Ok(self)
    }

    /// Puts the command line's choices in place.
    pub fn overrule(&mut self, task: &RepairTask) -> Result<()> {
        if let Some(data) = &task.data {
            self.data.place_at(data)?;
        }
        if let Some(image) = &task.image {
            let mut paths = self.requirements.iter_mut().filter_map(RequirementSpec::image_mut);
            let (Some(path), None) = (paths.next(), paths.next()) else {
                bail!("--image speaks of one reference, but the job has none or several");
            };
            path.clone_from(image);
        }
        if let Some(weights) = &task.weights {
            let StartSpec::Train(train) = &mut self.start else {
                bail!("--weights go with a job that describes its network ('start': {{'train': ...}})");
            };
            if !weights.is_file() {
                bail!("{}: there is no such file of weights", weights.display());
            }
            train.weights = Some(weights.clone());
        }
        if let Some(out) = &task.out {
            self.out.clone_from(out);
        }
        self.limits.rounds = task.rounds.unwrap_or(self.limits.rounds);
        self.tuning.method = task.method.unwrap_or(self.tuning.method);
        Ok(())
    }

    /// Checks every number, before anything is read or trained.
    pub fn check(&self) -> Result<()> {
        if let StartSpec::Train(train) = &self.start {
            train.training.check()?;
        }
        self.tuning.settings(1, 1).check()?;
        self.certify.check()?;
        let LimitSpec { time_s, answer_s, accuracy_loss, .. } = &self.limits;
        if [time_s, answer_s].into_iter().flatten().any(|limit| limit.is_nan() || *limit <= 0.0) {
            bail!("limits: 'time_s' and 'answer_s' are positive numbers of seconds");
        }
        if !(0.0..=1.0).contains(accuracy_loss) {
            bail!("limits: 'accuracy_loss' is a share, between 0 and 1");
        }
        if self.requirements.is_empty() {
            bail!("requirements: there is nothing to be proved");
        }
        for (place, requirement) in self.requirements.iter().enumerate() {
            let is_right = match requirement {
                RequirementSpec::Similar { threshold, .. } => *threshold > 0.0 && *threshold <= 1.0,
                RequirementSpec::Ball { epsilon, .. } => *epsilon > 0.0 && epsilon.is_finite(),
                RequirementSpec::Patch { size, .. } => size.iter().all(|side| *side > 0),
                RequirementSpec::Property(_) => true,
            };
            if !is_right {
                bail!(
                    "requirement {}: 'threshold' is in (0, 1], 'epsilon' positive, 'size' at least one pixel",
                    place + 1
                );
            }
        }
        Ok(())
    }

    /// The job that a peer's parameters describe; `folder` is where the file lies.
    ///
    /// Its learning rate is that of the method of penalties; the thorough one has its own.
    pub fn of_peer(params: &PeerParams, folder: &Path, method: MethodSpec) -> Result<Self> {
        let TrainJob { data, network, training, out, .. } = TrainJob::of_peer(params)?;
        let reference = params.ri.as_ref().context("'ri' is missing: the reference image and its class")?;
        let question = params.minlp.as_ref().context("'minlp' is missing: the distance and its threshold")?;
        if question.distance != "ssim" {
            bail!("minlp.distance is '{}'; expected 'ssim'", question.distance);
        }
        let found = |path: &Path| {
            let beside = folder.join(path);
            if !path.exists() && beside.exists() { beside } else { path.to_owned() }
        };
        // The weights' file: named, or in the folder that is named.
        let weights = params.model.path.as_ref().map(|path| {
            let path = found(path);
            if path.extension().is_some_and(|extension| extension == "pt") {
                return path;
            }
            let n_classes =
                data.classes.as_ref().map_or(if params.model.dataset == "MNIST" { 10 } else { 43 }, Vec::len);
            let hidden = params.model.hidden_layer.clone();
            path.join(PeerName { input: params.dimension, hidden, n_classes }.to_string())
        });
        let is_loaded = params.model.load_model.unwrap_or(false);
        let tuning = params.repair.clone();
        let image = ImageSpec::File(found(&reference.path));
        Ok(Self {
            data,
            start: StartSpec::Train(Box::new(TrainSpec {
                network,
                training,
                weights: weights.clone().filter(|_| is_loaded),
                save: weights,
            })),
            requirements: vec![RequirementSpec::Similar {
                image,
                class: Some(reference.class_idx),
                threshold: question.threshold,
                similarity: SimilarityName::Global,
            }],
            tuning: TuningSpec {
                method,
                lr: tuning.as_ref().filter(|_| method == MethodSpec::Penalty).and_then(|tuning| tuning.lr),
                batch_size: tuning.as_ref().and_then(|tuning| tuning.batch_size),
                penalty_increase: tuning.as_ref().and_then(|tuning| tuning.penalty_increase),
                ..TuningSpec::default()
            },
            limits: LimitSpec { answer_s: question.timeout.filter(|limit| *limit > 0.0), ..LimitSpec::default() },
            certify: CertifySpec::default(),
            out,
        })
    }
}

fn default_out() -> PathBuf {
    "runs".into()
}
