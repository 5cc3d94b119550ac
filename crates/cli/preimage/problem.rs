use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use driver::preimage::{Marginal, Mode, OutputPolytope, PreimageProblem, Prior};
use network::{BoxRegion, Network};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::input;
use crate::preimage::task::PreimageTask;

/// A problem as it was asked.
#[derive(Debug)]
pub struct Question {
    /// The problem.
    pub problem: PreimageProblem,
    /// Where the search may stop.
    pub coverage: f64,
    /// Which of a list, if it was one.
    pub id: Option<String>,
    /// Where the network was read.
    pub network: PathBuf,
}

/// A problem file: a network, a region, and outputs. Keys that start with `peer_` are read by people only.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemFile {
    /// The name of the problem in a list.
    id: Option<String>,
    /// Read by people only.
    #[expect(dead_code, reason = "it only informs")]
    note: Option<String>,
    /// Read by people only.
    #[expect(dead_code, reason = "it only informs")]
    about: Option<String>,
    /// The network, relative to the file.
    #[serde(alias = "model")]
    network: PathBuf,
    /// Lower ends of the inputs.
    input_lower: Option<Vec<f64>>,
    /// Upper ends of the inputs.
    input_upper: Option<Vec<f64>>,
    /// Instead of ends: an input around which some values vary, flat.
    #[serde(alias = "input")]
    image: Option<Vec<f64>>,
    /// Channels, height and width of the image, where the network does not say.
    image_shape: Option<[usize; 3]>,
    /// Rectangles of the image that vary, in all channels.
    #[serde(default, alias = "patches")]
    patch: Patches,
    /// Instead of a patch: the flat places of the values that vary.
    mask: Option<Vec<usize>>,
    /// How far the values vary around the image; without it, over the whole range.
    epsilon: Option<f64>,
    /// The range of values, `[0, 1]` unless told.
    range: Option<[f64; 2]>,
    /// Instead of ends and outputs: a VNN-LIB file, whose set (or its complement within its box) is asked for.
    property: Option<PathBuf>,
    /// Whether the outputs that violate the property are *not* wanted.
    #[serde(default)]
    complement: bool,
    /// The outputs that are wanted: `output_rows · y ≥ output_rhs`.
    output_rows: Option<Vec<Vec<f64>>>,
    /// Right-hand sides; zeros unless told.
    output_rhs: Option<Vec<f64>>,
    /// Or the union of several polytopes.
    output_polytopes: Option<Vec<PolytopeFields>>,
    /// Or by the class at the image (or of `label`).
    robustness: Option<Robustness>,
    /// The class that `robustness` speaks of; that of the image unless told.
    label: Option<usize>,
    /// Read by people only.
    #[expect(dead_code, reason = "it only informs")]
    predicted: Option<usize>,
    /// Inside or around.
    mode: Option<ModeName>,
    /// Where the search may stop.
    coverage_target: Option<f64>,
    /// Inputs that are not uniform.
    #[serde(default)]
    prior: Vec<PriorFields>,
}

/// Inside or around.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// Polytopes inside the preimage
    Under,
    /// Polytopes that together contain it
    Over,
}

/// One rectangle, or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Patches {
    One(Patch),
    Several(Vec<Patch>),
}

/// A rectangle of an image.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patch {
    /// Its first row.
    row: usize,
    /// Its first column.
    column: usize,
    /// Rows.
    height: usize,
    /// Columns.
    width: usize,
    /// The range of its values; that of the problem unless told.
    range: Option<[f64; 2]>,
}

/// A polytope of outputs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PolytopeFields {
    /// Coefficients.
    rows: Vec<Vec<f64>>,
    /// Right-hand sides; zeros unless told.
    rhs: Option<Vec<f64>>,
}

/// Outputs by class.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Robustness {
    /// The class is at least as large as all others.
    AllOthers,
    /// The class is at least as large as the one that comes next at the image.
    RunnerUp,
    /// The class is at least as large as this one.
    Target(usize),
    /// One of these classes is at least as large as all that are not among them.
    Classes(Vec<usize>),
}

/// An input's distribution.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PriorFields {
    /// Which input.
    input: usize,
    /// Normal: mean and standard deviation.
    gaussian: Option<[f64; 2]>,
    /// Constant between edges.
    histogram: Option<HistogramFields>,
}

/// A distribution that is constant between edges.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HistogramFields {
    /// Rising.
    edges: Vec<f64>,
    /// One less.
    masses: Vec<f64>,
}

impl Default for Patches {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Question {
    /// Reads one problem, or the one of a list that `--id` names.
    pub fn read(path: &Path, task: &PreimageTask) -> Result<Self> {
        let text = input::text(path)?;
        let file = ProblemFile::parse(&text, path, task.id.as_deref())?;
        file.question(path, task).with_context(|| path.display().to_string())
    }
}

impl ProblemFile {
    /// The problem that a text holds, or the one of a list that has this id; `path` is where it comes from.
    pub fn parse(text: &str, path: &Path, id: Option<&str>) -> Result<Self> {
        let place = path.display();
        let value: Value = serde_json::from_str(text)
            .with_context(|| format!("{place}: expected a preimage problem, a JSON object (see configs/schema)"))?;
        let Value::Object(fields) = value else { bail!("{place}: expected a preimage problem, a JSON object") };
        let fields = chosen(fields, id).with_context(|| place.to_string())?;
        let fields = fields.into_iter().filter(|(key, _)| !key.starts_with("peer_")).collect();
        serde_json::from_value(Value::Object(fields)).map_err(|error| {
            let message = error.to_string();
            let key = message.split('`').nth(1).map(|key| format!("\"{key}\""));
            let line = key.and_then(|key| text.lines().position(|line| line.contains(&key)));
            anyhow!("{place}{}: {message}", line.map(|line| format!(":{}", line + 1)).unwrap_or_default())
        })
    }
}

/// The problem itself, or one of a list.
fn chosen(mut fields: Map<String, Value>, id: Option<&str>) -> Result<Map<String, Value>> {
    let Some(problems) = fields.remove("problems") else {
        if let (Some(id), Some(own)) = (id, fields.get("id").and_then(Value::as_str))
            && id != own
        {
            bail!("the problem's id is '{own}', not '{id}'");
        }
        return Ok(fields);
    };
    let Value::Array(problems) = problems else { bail!("'problems' is not a list") };
    let name = |problem: &Value| problem.get("id").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<String> = problems.iter().filter_map(name).collect();
    let Some(id) = id else { bail!("a list of problems: choose one with --id, of {}", names.join(", ")) };
    match problems.into_iter().find(|problem| name(problem).as_deref() == Some(id)) {
        Some(Value::Object(problem)) => Ok(problem),
        _ => bail!("there is no problem '{id}'; there are {}", names.join(", ")),
    }
}

impl ProblemFile {
    fn question(self, path: &Path, task: &PreimageTask) -> Result<Question> {
        let folder = path.parent().unwrap_or(Path::new(""));
        let network_path = folder.join(&self.network);
        let (network, region, targets) = if let Some(property) = &self.property {
            if self.input_lower.is_some() || self.image.is_some() || self.output_rows.is_some() {
                bail!("give either a property, or inputs and outputs");
            }
            let (network, property) = input::question(&network_path, &folder.join(property))?;
            let (region, targets) = PreimageProblem::parts_of(&property, self.complement)?;
            (network, region, targets)
        } else {
            let n_inputs = match (&self.image, &self.input_lower) {
                (Some(image), None) => image.len(),
                (None, Some(lower)) => lower.len(),
                _ => bail!("give either input_lower and input_upper, or image"),
            };
            let network = input::network_of_inputs(&network_path, n_inputs)?;
            let region = self.region(&network)?;
            let targets = self.targets(&network)?;
            (network, region, targets)
        };
        let id = self.id.clone();
        let (problem, coverage) = self.problem((network, region, targets), task)?;
        Ok(Question { problem, coverage, id, network: network_path })
    }

    /// The problem over a network that is read already.
    pub fn over(self, network: Network, task: &PreimageTask) -> Result<PreimageProblem> {
        let region = self.region(&network)?;
        if region.n_inputs() != network.n_inputs() {
            bail!("the network takes {} inputs, not {}", network.n_inputs(), region.n_inputs());
        }
        let targets = self.targets(&network)?;
        Ok(self.problem((network, region, targets), task)?.0)
    }

    /// The problem, and the coverage at which to stop.
    fn problem(
        self,
        (network, region, targets): (Network, BoxRegion, Vec<OutputPolytope>),
        task: &PreimageTask,
    ) -> Result<(PreimageProblem, f64)> {
        let mode = match task.mode.or(self.mode).unwrap_or(ModeName::Under) {
            ModeName::Under => Mode::Under,
            ModeName::Over => Mode::Over,
        };
        let mut prior = Prior::uniform();
        for PriorFields { input, gaussian, histogram } in self.prior {
            let marginal = match (gaussian, histogram) {
                (Some([mean, deviation]), None) => Marginal::Gaussian { mean, deviation },
                (None, Some(HistogramFields { edges, masses })) => Marginal::Histogram { edges, masses },
                _ => bail!("the prior of input {input}: expected 'gaussian' or 'histogram'"),
            };
            prior = prior.with(input, marginal);
        }
        let default = if mode == Mode::Under { 0.9 } else { 1.1 };
        let coverage = task.coverage.or(self.coverage_target).unwrap_or(default);
        let is_sane = match mode {
            Mode::Under => coverage > 0.0 && coverage <= 1.0,
            Mode::Over => coverage >= 1.0 && coverage.is_finite(),
        };
        if !is_sane {
            bail!("coverage {coverage}: expected more than 0 and at most 1 (mode under), or at least 1 (mode over)");
        }
        let problem = PreimageProblem { network: Arc::new(network), region, targets, mode, prior };
        problem.check()?;
        Ok((problem, coverage))
    }

    fn region(&self, network: &Network) -> Result<BoxRegion> {
        if let Some(lower) = &self.input_lower {
            let upper = self.input_upper.as_ref().context("input_upper is missing")?;
            return Ok(BoxRegion::new(lower.clone(), upper.clone())?);
        }
        let image = self.image.as_ref().context("image is missing")?;
        let own = self.range.unwrap_or([0.0, 1.0]);
        let mut ranges: Vec<Option<[f64; 2]>> = vec![None; image.len()];
        let patches = match &self.patch {
            Patches::One(patch) => std::slice::from_ref(patch),
            Patches::Several(patches) => patches,
        };
        if patches.is_empty() == self.mask.is_none() && self.epsilon.is_none() {
            bail!("an image needs either a patch or a mask (or epsilon, and then all values vary)");
        }
        let [channels, height, width] = self.shape(network, image.len())?;
        for patch in patches {
            let is_inside = patch.height > 0
                && patch.width > 0
                && patch.row.checked_add(patch.height).is_some_and(|end| end <= height)
                && patch.column.checked_add(patch.width).is_some_and(|end| end <= width);
            if !is_inside {
                bail!("the patch leaves the image of {height} rows and {width} columns");
            }
            for channel in 0..channels {
                for row in patch.row..patch.row + patch.height {
                    let start = (channel * height + row) * width + patch.column;
                    ranges[start..start + patch.width].fill(Some(patch.range.unwrap_or(own)));
                }
            }
        }
        for &place in self.mask.iter().flatten() {
            let n = image.len();
            *ranges.get_mut(place).with_context(|| format!("the mask names value {place} of {n}"))? = Some(own);
        }
        if patches.is_empty() && self.mask.is_none() {
            ranges.fill(Some(own));
        }
        let (mut lower, mut upper) = (image.clone(), image.clone());
        for (i, range) in ranges.into_iter().enumerate() {
            let Some([low, high]) = range else { continue };
            if low > high {
                bail!("the range [{low}, {high}] of value {i} is empty: expected [least, most]");
            }
            (lower[i], upper[i]) = match self.epsilon {
                Some(epsilon) => ((image[i] - epsilon).clamp(low, high), (image[i] + epsilon).clamp(low, high)),
                None => (low, high),
            };
        }
        Ok(BoxRegion::new(lower, upper)?)
    }

    /// Channels, height and width.
    fn shape(&self, network: &Network, length: usize) -> Result<[usize; 3]> {
        let declared: Vec<usize> = match self.image_shape {
            Some(shape) => shape.to_vec(),
            None => network.nodes()[0].shape.iter().copied().skip_while(|&side| side == 1).collect(),
        };
        let side = (length as f64).sqrt() as usize;
        let shape = match declared[..] {
            [channels, height, width] => [channels, height, width],
            [height, width] => [1, height, width],
            _ if side * side == length => [1, side, side],
            _ => [1, 1, length],
        };
        let n = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
        if n != Some(length) {
            bail!("image_shape {shape:?} does not hold {length} values");
        }
        Ok(shape)
    }

    fn targets(&self, network: &Network) -> Result<Vec<OutputPolytope>> {
        let n = network.n_outputs();
        let with_rhs = |rows: &Vec<Vec<f64>>, rhs: &Option<Vec<f64>>| OutputPolytope {
            rows: rows.clone(),
            rhs: rhs.clone().unwrap_or_else(|| vec![0.0; rows.len()]),
        };
        match (&self.output_rows, &self.output_polytopes, &self.robustness) {
            (Some(rows), None, None) => Ok(vec![with_rhs(rows, &self.output_rhs)]),
            (None, Some(polytopes), None) => Ok(polytopes.iter().map(|p| with_rhs(&p.rows, &p.rhs)).collect()),
            (None, None, Some(robustness)) => {
                let centre: Vec<f64> = match (&self.image, &self.input_lower, &self.input_upper) {
                    (Some(image), ..) => image.clone(),
                    (None, Some(lower), Some(upper)) => lower.iter().zip(upper).map(|(l, u)| 0.5 * (l + u)).collect(),
                    _ => bail!("robustness needs inputs"),
                };
                let y = network.evaluate(&centre)?;
                let largest = (0..y.len()).max_by(|&a, &b| y[a].total_cmp(&y[b]).then(b.cmp(&a))).unwrap_or(0);
                let label = self.label.unwrap_or(largest);
                let named: Vec<usize> = match robustness {
                    Robustness::Target(other) => vec![label, *other],
                    Robustness::Classes(labels) => labels.clone(),
                    _ => vec![label],
                };
                if named.is_empty() || named.iter().any(|&class| class >= n) || n < 2 {
                    bail!("robustness speaks of classes {named:?} of {n}");
                }
                Ok(match robustness {
                    Robustness::AllOthers => vec![OutputPolytope::all_others(label, n)],
                    Robustness::RunnerUp => vec![OutputPolytope::runner_up(network, &centre, label)?],
                    Robustness::Target(other) => vec![OutputPolytope::against(label, *other, n)],
                    Robustness::Classes(labels) => OutputPolytope::class_set(labels, n),
                })
            }
            _ => bail!("give the outputs by one of output_rows, output_polytopes and robustness"),
        }
    }
}
