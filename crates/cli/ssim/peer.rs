//! Parameter files of semantic-robustness-verification, which asks the same question and repairs the network.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::arguments::Settings;
use crate::ssim::SsimTask;

/// What we use of such a file.
#[derive(Debug, Deserialize)]
struct Parameters {
    dimension: [usize; 3],
    ri: Reference,
    model: Model,
    minlp: Minlp,
}

#[derive(Debug, Deserialize)]
struct Reference {
    path: PathBuf,
    class_idx: usize,
}

#[derive(Debug, Deserialize)]
struct Model {
    path: PathBuf,
    hidden_layer: Vec<usize>,
    selected_classes: Option<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Minlp {
    distance: Option<String>,
    threshold: f64,
    /// Seconds; none if not positive.
    timeout: Option<f64>,
}

/// What is used, by the places of the keys.
const USED: [&str; 9] = [
    "dimension",
    "ri.path",
    "ri.class_idx",
    "model.path",
    "model.hidden_layer",
    "model.selected_classes",
    "minlp.distance",
    "minlp.threshold",
    "minlp.timeout",
];

/// The task that a parameter file describes. Ties count as violations, as they do there; paths start at the working directory, as
/// they do there, or at the file's folder.
pub fn task(fields: Map<String, Value>, path: &Path, settings: &mut Settings) -> Result<SsimTask> {
    let place = path.display();
    let ignored = ignored(&fields);
    let parameters: Parameters = serde_json::from_value(Value::Object(fields)).with_context(|| {
        format!("{place}: expected parameters of semantic-robustness-verification (dimension, ri, model, minlp)")
    })?;
    let Parameters { dimension, ri, model, minlp } = parameters;
    if let Some(distance) = minlp.distance.filter(|distance| distance != "ssim") {
        bail!("{place}: minlp.distance: expected \"ssim\", got \"{distance}\"");
    }
    if !settings.quiet {
        let ignored = ignored.join(", ");
        eprintln!("note: {place}: ignored: {ignored} (counterexamples are checked exactly, and nothing is repaired)");
    }
    settings.timeout_s = settings.timeout_s.or(minlp.timeout.filter(|limit| *limit > 0.0));
    let folder = path.parent().unwrap_or(Path::new(""));
    let found = |path: &Path| if path.exists() { path.to_owned() } else { folder.join(path) };
    Ok(SsimTask {
        network: Some(network(&found(&model.path), &model, dimension)),
        image: Some(found(&ri.path)),
        class: Some(ri.class_idx),
        threshold: Some(minlp.threshold),
        ties: true,
        dimension: Some(dimension),
        ..SsimTask::default()
    })
}

/// The model's file: `path` itself or, in that folder, the name that is given to models there; as ONNX.
fn network(path: &Path, model: &Model, [c, h, w]: [usize; 3]) -> PathBuf {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        return path.to_owned();
    }
    if path.extension().is_some_and(|extension| extension == "pt") {
        return path.with_extension("onnx");
    }
    let hidden: Vec<String> = model.hidden_layer.iter().map(ToString::to_string).collect();
    let n_classes = model.selected_classes.as_ref().map_or(0, Vec::len);
    path.join(format!("model_i{c}x{h}x{w}_l{}_o{n_classes}.onnx", hidden.join("-")))
}

/// The places of all other keys.
fn ignored(fields: &Map<String, Value>) -> Vec<String> {
    let mut ignored = Vec::new();
    for (key, value) in fields {
        match value {
            Value::Object(inner) => ignored.extend(inner.keys().map(|inner| format!("{key}.{inner}"))),
            _ => ignored.push(key.clone()),
        }
    }
    ignored.retain(|place| !USED.contains(&place.as_str()));
    ignored
}
