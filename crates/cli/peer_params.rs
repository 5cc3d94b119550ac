use std::path::{Path, PathBuf};

use anyhow::Result;
use model::{Backend, OptimizerSpec, Recipe, Schedule};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job;
use crate::repair::MethodSpec;

/// A parameter file of *semantic-robustness-verification*; its paths start where the program runs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerParams {
    /// Where experiments go.
    pub path: PathBuf,
    /// Channels, height and width.
    pub dimension: [usize; 3],
    /// What is trained.
    pub model: PeerModel,
    /// The reference image and its class; read by repair.
    #[serde(default)]
    pub ri: Option<PeerReference>,
    /// The question; read by repair.
    #[serde(default)]
    pub minlp: Option<PeerQuestion>,
    /// How weights are changed; read by repair.
    #[serde(default)]
    pub repair: Option<PeerRepair>,
}

/// The reference image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerReference {
    /// Its file.
    pub path: PathBuf,
    /// Its class, as a place in the list of classes.
    pub class_idx: usize,
}

/// What is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerQuestion {
    /// `ssim`.
    pub distance: String,
    /// In `(0, 1]`.
    pub threshold: f64,
    /// Seconds for each answer; none if not positive.
    #[serde(default)]
    pub timeout: Option<f64>,
    /// Digits to which SCIP's answers are believed.
    #[serde(default)]
    pub tolerance: Option<Value>,
}

/// How weights are changed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerRepair {
    /// Samples of a step.
    #[serde(default)]
    pub batch_size: Option<usize>,
    /// What a counterexample's weight is multiplied by.
    #[serde(default)]
    pub penalty_increase: Option<f64>,
    /// Adam's learning rate.
    #[serde(default)]
    pub lr: Option<f64>,
}

/// The part about the network.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerModel {
    /// `MNIST` or `GTSRB`.
    pub dataset: String,
    /// Widths of the hidden layers.
    pub hidden_layer: Vec<usize>,
    /// Whether to load weights where there are some.
    #[serde(default)]
    pub load_model: Option<bool>,
    /// Where weights are.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Where the data are.
    pub data_path: PathBuf,
    /// Labels in their new order; empty, null or absent: all.
    #[serde(default)]
    pub selected_classes: Option<Vec<usize>>,
    /// Times that every sample is seen.
    pub epochs: usize,
    /// Samples of a step.
    pub batch_size: usize,
}

impl PeerParams {
    /// Whether a JSON object is such a file.
    pub fn is_meant(fields: &Map<String, Value>) -> bool {
        !fields.contains_key("job") && fields.contains_key("dimension") && fields.contains_key("model")
    }

    /// Reads such an object; `text` and `path` are the file it comes from.
    pub fn of_fields(fields: Map<String, Value>, text: &str, path: &Path) -> Result<Self> {
        job::fields_of(fields, text, path)
    }

    /// The keys that training has no use for.
    pub fn ignored_by_training(&self) -> Vec<&'static str> {
        let keys = [
            ("ri", self.ri.is_some()),
            ("minlp", self.minlp.is_some()),
            ("repair", self.repair.is_some()),
            ("model.load_model", self.model.load_model.is_some()),
            ("model.path", self.model.path.is_some()),
        ];
        keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
    }

    /// The keys that repair has no use for.
    pub fn ignored_by_repair(&self, method: MethodSpec) -> Vec<&'static str> {
        let keys = [
            ("minlp.tolerance", self.minlp.as_ref().is_some_and(|question| question.tolerance.is_some())),
            (
                "repair.lr (it is of --method penalty)",
                method == MethodSpec::Thorough && self.repair.as_ref().is_some_and(|repair| repair.lr.is_some()),
            ),
        ];
        keys.into_iter().filter(|(_, is_there)| *is_there).map(|(key, _)| key).collect()
    }
}

impl PeerModel {
    /// The peer's training: stochastic gradient descent with a learning rate of 0.01 and momentum 0.9.
    pub fn recipe(&self) -> Recipe {
        Recipe {
            epochs: self.epochs,
            batch_size: self.batch_size,
            optimizer: OptimizerSpec::Sgd { lr: 0.01, momentum: 0.9, weight_decay: 0.0 },
            schedule: Schedule::Constant,
            early_stop: None,
            augment: None,
            label_smoothing: 0.0,
            robust: None,
            backend: Backend::Cpu,
        }
    }
}
