use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use model::{Architecture, LayerSpec, Recipe, Source};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certify::CertifySpec;
use crate::peer_params::PeerParams;

/// A job file, and what the command line puts in its place.
#[derive(Debug, Clone, Args)]
pub struct TrainTask {
    /// The job, as JSON, or a parameter file of semantic-robustness-verification
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
    /// Where the data are, instead of where the job says: a folder, or a CSV file
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// The folder in which the run's folder is made
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Times that every sample is seen
    #[arg(long, value_name = "N")]
    pub epochs: Option<usize>,
}

/// What is trained, on what, and how.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainJob {
    /// What is learnt from and what is measured on
    pub data: DataSpec,
    /// The network
    pub network: NetworkSpec,
    /// Weights to start from instead of random ones: .safetensors, .pt or .pth
    #[serde(default)]
    pub weights: Option<PathBuf>,
    /// How
    pub training: Recipe,
    /// What is measured in the end besides accuracy
    #[serde(default)]
    pub measure: MeasureSpec,
    /// Certified accuracy, proved by the engine on the network that was written
    #[serde(default)]
    pub certify: CertifySpec,
    /// The folder in which the run's folder is made
    #[serde(default = "default_out")]
    pub out: PathBuf,
}

/// Samples to learn from and to measure on.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSpec {
    /// Where training samples come from, and those to measure on if the source has them apart (MNIST and GTSRB)
    pub source: Source,
    /// Where samples to measure on come from
    #[serde(default)]
    pub test: Option<Source>,
    /// The share of the source that is measured on, if nothing else says what is
    #[serde(default)]
    pub test_share: Option<f64>,
    /// The share of the training samples that is watched after every epoch, and by which training stops early
    #[serde(default)]
    pub validation_share: Option<f64>,
    /// The classes, by their labels in the files; label `classes[k]` becomes class `k`. Empty or absent: all
    #[serde(default)]
    pub classes: Option<Vec<usize>>,
    /// Height and width to which images are scaled
    #[serde(default)]
    pub size: Option<[usize; 2]>,
    /// Most training samples
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A network's layers; the output layer follows from the data's classes where only hidden ones are given.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NetworkSpec {
    /// Widths of dense layers with `ReLU`s between them; the output layer is added
    Hidden(Vec<usize>),
    /// All layers, the last one dense with one output per class
    Layers(Vec<LayerSpec>),
}

/// What is measured in the end.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeasureSpec {
    /// Half sides of boxes around samples over which accuracy is bounded (roughly: the engine proves) and attacked
    #[serde(default)]
    pub epsilons: Vec<f64>,
    /// Samples that this is done for [default: 200]
    #[serde(default)]
    pub samples: Option<usize>,
}

impl DataSpec {
    /// Puts another path in place of that of the job.
    pub fn place_at(&mut self, data: &Path) -> Result<()> {
        for source in [Some(&mut self.source), self.test.as_mut()].into_iter().flatten() {
            let [path] = source
                .paths_mut()
                .try_into()
                .ok()
                .context("--data speaks of one path, but the job's data have none or two")?;
            data.clone_into(path);
        }
        Ok(())
    }
}

impl NetworkSpec {
    /// The layers for so many classes.
    pub fn architecture(&self, n_classes: usize) -> Architecture {
        match self {
            Self::Hidden(hidden) => Architecture::dense(hidden, n_classes),
            Self::Layers(layers) => Architecture { layers: layers.clone() },
        }
    }
}

impl TrainJob {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        let sources = [Some(&mut self.data.source), self.data.test.as_mut()];
        let paths = sources.into_iter().flatten().flat_map(Source::paths_mut);
        paths.chain(self.weights.as_mut()).for_each(|path| *path = folder.join(&*path));
        self.out = plain(&folder.join(&self.out));
    }

    /// Puts the command line's choices in place.
    pub fn overrule(&mut self, task: &TrainTask) -> Result<()> {
        if let Some(data) = &task.data {
            self.data.place_at(data)?;
        }
        if let Some(out) = &task.out {
            self.out.clone_from(out);
        }
        if let Some(epochs) = task.epochs {
            self.training.epochs = epochs;
        }
        Ok(())
    }

    /// Checks every number, before anything is read or trained.
    pub fn check(&self) -> Result<()> {
        self.training.check()?;
        self.certify.check()?;
        if self.measure.epsilons.iter().any(|&epsilon| epsilon <= 0.0) || self.measure.samples == Some(0) {
            bail!("measure: 'epsilons' are positive numbers, and 'samples' is at least 1");
        }
        Ok(())
    }

    /// The job that a peer's parameters describe.
    pub fn of_peer(params: &PeerParams) -> Result<Self> {
        let model = &params.model;
        let source = match model.dataset.as_str() {
            "MNIST" => Source::Mnist(model.data_path.clone()),
            "GTSRB" => Source::Gtsrb { folder: model.data_path.clone(), cut: false },
            other => bail!("model.dataset is '{other}'; expected 'MNIST' or 'GTSRB'"),
        };
        let [channels, height, width] = params.dimension;
        let expected = if model.dataset == "MNIST" { 1 } else { 3 };
        if channels != expected {
            bail!("dimension says {channels} channels, but {} has {expected}", model.dataset);
        }
        Ok(Self {
            data: DataSpec {
                source,
                test: None,
                test_share: None,
                validation_share: None,
                classes: model.selected_classes.clone().filter(|classes| !classes.is_empty()),
                size: Some([height, width]),
                limit: None,
            },
            network: NetworkSpec::Hidden(model.hidden_layer.clone()),
            weights: None,
            training: model.recipe(),
            measure: MeasureSpec::default(),
            certify: CertifySpec::default(),
            out: params.path.clone(),
        })
    }
}

fn default_out() -> PathBuf {
    "runs".into()
}

/// A path without the steps up that follow a step down.
pub fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        let is_down = plain.components().next_back().is_some_and(|last| matches!(last, Component::Normal(_)));
        if component == Component::ParentDir && is_down {
            plain.pop();
        } else {
            plain.push(component);
        }
        plain
    })
}
