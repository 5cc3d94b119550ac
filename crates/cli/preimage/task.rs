use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arguments::{positive, share, start_at};
use crate::preimage::ModeName;

/// A preimage problem.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[command(args_conflicts_with_subcommands = true)]
#[serde(deny_unknown_fields)]
pub struct PreimageTask {
    /// What to do with a preimage that was found before.
    #[command(subcommand)]
    #[serde(skip)]
    pub command: Option<PreimageCommand>,
    /// The problem, or a list of them with --id
    #[arg(value_name = "PROBLEM.json", required = true)]
    pub problem: Option<PathBuf>,
    /// Which problem of a list
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Polytopes inside the preimage, or around it [default: the problem's, else under]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<ModeName>,
    /// Approximation volume over preimage volume at which to stop [default: the problem's, else 0.9 or 1.1]
    #[arg(long, value_name = "C")]
    pub coverage: Option<f64>,
    /// Go on from the polytopes of an earlier run of the same problem, which are taken as proved
    #[arg(long = "continue", value_name = "PREIMAGE.json")]
    #[serde(rename = "continue")]
    pub resume: Option<PathBuf>,
    /// Where to write the polytopes
    #[arg(long, value_name = "PREIMAGE.json")]
    pub out: Option<PathBuf>,
    /// Where to draw the polytopes over the true preimage: .svg (with the coverage over time) or .png
    #[arg(long, value_name = "PICTURE")]
    pub plot: Option<PathBuf>,
    /// The two inputs of the picture; all others stay at one value [default: the first two that vary]
    #[arg(long, value_name = "I,J", value_delimiter = ',', requires = "plot")]
    pub axes: Option<Vec<usize>>,
    /// Of the picture: the value of another input [default: the middle of the region]
    #[arg(long, value_name = "I=V", value_parser = setting, requires = "plot")]
    #[serde(default)]
    pub at: Vec<(usize, f64)>,
    /// Pieces to bound before giving up
    #[arg(long, value_name = "N")]
    pub max_subdomains: Option<u64>,
    /// Samples that the search starts from [default: 16384, or 262144 where more than 8 inputs vary]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub search_samples: Option<usize>,
    /// Share of a piece's samples that each layer may lose where corners are cut off, in [0, 1) [default: 0, or 0.02 where more than 8 inputs vary]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub trim: Option<f64>,
    /// Whether to enumerate the cells of a small network, where all `ReLU`s keep their sides: coverage 1 (at most 4 inputs that vary) [default: auto, where that should be cheaper than to search]
    #[arg(long, value_name = "WHEN")]
    pub cells: Option<CellsName>,
    /// Also compute the coverage from exact volumes and a second search on the other side of the boundary (at most 6 inputs that vary)
    #[arg(long)]
    #[serde(default)]
    pub certify: bool,
    /// Write a certificate of the polytopes, which `check` accepts; what cannot be certified is dropped, and the figures are of what is left
    #[arg(long, value_name = "OUT")]
    #[serde(skip)]
    pub certificate: Option<PathBuf>,
    /// Fresh samples that decide; the reported figures take twice as many [default: 131072]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub report_samples: Option<usize>,
}

impl PreimageTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        start_at(&mut self.problem, folder);
        start_at(&mut self.out, folder);
        start_at(&mut self.plot, folder);
        start_at(&mut self.resume, folder);
    }
}

/// When the cells of a small network are enumerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CellsName {
    /// Where that should be cheaper than to search
    Auto,
    /// Wherever it is possible and there are not too many
    Prefer,
    /// However many there are; where it is impossible, it is an error
    Always,
    /// Never
    Never,
}

/// What to do with a preimage that was found before.
#[derive(Debug, Clone, Subcommand)]
pub enum PreimageCommand {
    /// Say which points lie in it; no network is needed
    Contains(ContainsTask),
    /// Draw its polytopes over the true preimage, in the plane of two inputs, with the coverage over time
    Plot(PlotTask),
    /// Look for a point that contradicts it, with the network itself
    Check(CheckPreimageTask),
    /// Write the union of its polytopes as VNN-LIB
    Export(ExportTask),
}

/// A preimage and how hard to look.
#[derive(Debug, Clone, Args)]
pub struct CheckPreimageTask {
    /// The preimage, as `--out` or `--json` writes it
    #[arg(long, value_name = "P.json")]
    pub preimage: PathBuf,
    /// The network, if it is not where the file says
    #[arg(long, value_name = "N.onnx")]
    pub network: Option<PathBuf>,
    /// Fresh points of the region
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub points: u64,
    /// Points that are bisected onto facets
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub facets: u64,
}

/// A preimage and where to write it.
#[derive(Debug, Clone, Args)]
pub struct ExportTask {
    /// The preimage, as `--out` or `--json` writes it
    #[arg(long, value_name = "P.json")]
    pub preimage: PathBuf,
    /// The file to write
    #[arg(long, value_name = "P.vnnlib")]
    pub vnnlib: PathBuf,
}

/// A preimage and points.
#[derive(Debug, Clone, Args)]
pub struct ContainsTask {
    /// The preimage, as `--out` or `--json` writes it
    #[arg(long, value_name = "P.json")]
    pub preimage: PathBuf,
    /// The points: [[...], ...]
    #[arg(long, value_name = "X.json")]
    pub points: PathBuf,
}

/// A preimage and how to draw it.
#[derive(Debug, Clone, Args)]
pub struct PlotTask {
    /// The preimage, as `--out` or `--json` writes it
    #[arg(long, value_name = "P.json")]
    pub preimage: PathBuf,
    /// Where to draw it: .svg (with the coverage over time) or .png
    #[arg(long, value_name = "PICTURE")]
    pub out: PathBuf,
    /// The network, if it is not where the file says
    #[arg(long, value_name = "N.onnx")]
    pub network: Option<PathBuf>,
    /// The two inputs of the picture; all others stay at one value [default: the first two that vary]
    #[arg(long, value_name = "I,J", value_delimiter = ',')]
    pub axes: Option<Vec<usize>>,
    /// The value of another input [default: the middle of the region]
    #[arg(long, value_name = "I=V", value_parser = setting)]
    pub at: Vec<(usize, f64)>,
}

/// An input and its value.
fn setting(text: &str) -> Result<(usize, f64), String> {
    let parts =
        text.split_once('=').and_then(|(input, value)| Some((input.trim().parse().ok()?, value.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected an input and its value, as 2=0.5".into())
}
