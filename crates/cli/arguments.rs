use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bounds::Method;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use driver::SplitChoice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::patch::{PatchTask, SweepCommand};
use crate::preimage::{ModeName, PreimageTask};
use crate::ssim::SsimTask;
#[cfg(feature = "train")]
use crate::{repair::RepairTask, train_job::TrainTask};

/// Sound verification of neural networks, on any GPU or on the host.
///
/// Exit status: 0 verified or done, 1 falsified, 2 error, 3 unknown (a limit was reached, or Ctrl-C).
#[derive(Debug, Parser)]
#[command(name = "diadem", version, max_term_width = 110)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How.
    #[command(flatten)]
    pub settings: Settings,
}

/// Options of every command, accepted before and after it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Settings {
    /// auto (best GPU, else the host), gpu, host, or a part of an adapter's name [default: `DIADEM_DEVICE` of the environment, else auto]
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Write the full result as JSON to this file; `-` is stdout, to which nothing else goes then
    #[arg(long, global = true, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Where randomness starts; the same seed gives the same answer [default: 0]
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Threads of the host [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Seconds before giving up, for each question
    #[arg(long, global = true, value_name = "T", value_parser = seconds)]
    pub timeout_s: Option<f64>,
    /// Print the answer only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more on stderr
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the adapters, say which one `auto` takes and why, and test them
    Devices,
    /// Show the layers of a network, and what a property asks of it
    Inspect(InspectTask),
    /// Bound every output of a network over a box
    Bounds(BoundsTask),
    /// Decide a property of a network, or every row of a list of them
    Verify(VerifyTask),
    /// Approximate the inputs that a network maps into a polytope, by polytopes inside or around
    Preimage(PreimageTask),
    /// Prove for which placements no contents of a patch change the class of an image
    Patch(Box<PatchTask>),
    /// Sweep over the placements of a patch job, kept in a folder, on any number of machines
    #[command(subcommand)]
    Sweep(SweepCommand),
    /// Prove that every image as similar as a threshold keeps the class of its reference
    Ssim(SsimTask),
    /// Train a network on labelled samples
    #[cfg(feature = "train")]
    Train(TrainTask),
    /// Change a network until what is required of it is proved
    #[cfg(feature = "train")]
    Repair(RepairTask),
    /// Check a certificate, independently of what wrote it: exit status 0 if it is accepted, 1 if it is rejected
    Check(CheckTask),
    /// Measure how fast something is
    #[command(subcommand)]
    Bench(Bench),
    /// Run a job file, as in configs/
    Run(RunTask),
    /// Write the schemas of job files
    #[command(hide = true)]
    Schema(SchemaTask),
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Bound random sub-boxes of a property's box: subdomains per second, and what share of the machine that is
    Bounds(BenchTask),
}

/// A network, and perhaps a property of it.
#[derive(Debug, Clone, Args)]
pub struct InspectTask {
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N")]
    pub network: PathBuf,
    /// A property: VNN-LIB
    #[arg(long, value_name = "P")]
    pub property: Option<PathBuf>,
}

/// A certificate and what it is about.
#[derive(Debug, Clone, Args)]
pub struct CheckTask {
    /// The certificate, as `--certificate` of `verify`, `ssim`, `preimage` or `patch` writes it
    #[arg(value_name = "CERTIFICATE")]
    pub certificate: PathBuf,
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N", required_unless_present_any = ["preimage", "patch"])]
    pub network: Option<PathBuf>,
    /// The property: VNN-LIB
    #[arg(long, value_name = "P", required_unless_present_any = ["image", "preimage", "patch"])]
    pub property: Option<PathBuf>,
    /// Of a preimage: the problem, as `preimage` takes it; it names the network
    #[arg(long, value_name = "PROBLEM.json", conflicts_with_all = ["network", "property", "image"])]
    pub preimage: Option<PathBuf>,
    /// Of a preimage: which problem of a list
    #[arg(long, value_name = "ID", requires = "preimage")]
    pub id: Option<String>,
    /// Of a preimage: the side, where the run was told another one than the problem names
    #[arg(long, value_enum, requires = "preimage")]
    pub mode: Option<ModeName>,
    /// Of patches: the job, as `patch` takes it; it names the network
    #[arg(long, value_name = "JOB.json", conflicts_with_all = ["network", "property", "image", "preimage"])]
    pub patch: Option<PathBuf>,
    /// Check without any rounding: for small networks that are piecewise linear
    #[arg(long)]
    pub exact: bool,
    /// Of similar images: the reference, as `ssim` takes it
    #[arg(long, value_name = "I", conflicts_with = "property", requires_all = ["class", "threshold"])]
    pub image: Option<PathBuf>,
    /// Of similar images: the class that they keep
    #[arg(long, value_name = "K", requires = "image")]
    pub class: Option<usize>,
    /// Of similar images: the threshold
    #[arg(long, value_name = "T", requires = "image")]
    pub threshold: Option<f64>,
}

/// A job file.
#[derive(Debug, Clone, Args)]
pub struct RunTask {
    /// The job, as JSON; paths in it are relative to the file
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
}

/// Where schemas go.
#[derive(Debug, Clone, Args)]
pub struct SchemaTask {
    /// The folder
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// A network and a box.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[command(group(ArgGroup::new("where").required(true).args(["property", "region"])))]
#[serde(deny_unknown_fields)]
pub struct BoundsTask {
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N")]
    pub network: PathBuf,
    /// The box of this property (VNN-LIB); the first, if it has several
    #[arg(long, value_name = "P")]
    pub property: Option<PathBuf>,
    /// This box: {"lower": [...], "upper": [...]}
    #[arg(long = "box", value_name = "B.json")]
    #[serde(rename = "box")]
    pub region: Option<PathBuf>,
    /// How intermediate bounds are found
    #[arg(long, value_name = "METHOD", default_value = "crown")]
    #[serde(default)]
    pub method: MethodName,
}

/// A network, a box, and how to measure.
#[derive(Debug, Clone, Args, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchTask {
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N")]
    pub network: PathBuf,
    /// The property in whose box the sub-boxes lie (VNN-LIB)
    #[arg(long, value_name = "P")]
    pub property: PathBuf,
    /// Number of sub-boxes
    #[arg(long, value_name = "B", default_value_t = 1024)]
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// How intermediate bounds are found
    #[arg(long, value_name = "METHOD", default_value = "crown")]
    #[serde(default)]
    pub method: MethodName,
    /// How many times shorter their sides are than those of the box
    #[arg(long, value_name = "K", default_value_t = 32.0)]
    #[serde(default = "default_scale")]
    pub scale: f64,
    /// Measurements, of which the median counts
    #[arg(long, value_name = "N", default_value_t = 5)]
    #[serde(default = "default_repeat")]
    pub repeat: usize,
}

/// How intermediate bounds are found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodName {
    /// Intervals everywhere, outputs too
    Ibp,
    /// Intervals inside, linear bounds of the outputs
    CrownIbp,
    /// Linear bounds of every neuron that its interval leaves undecided
    #[default]
    Crown,
    /// The same with optimised slopes, twenty steps for every bound
    AlphaCrown,
}

/// One property, or a list.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[command(group(ArgGroup::new("question").required(true).args(["network", "instances"])))]
#[command(group(ArgGroup::new("of").args(["property", "image"])))]
#[command(group(ArgGroup::new("distance").args(["epsilon", "find_epsilon"])))]
#[serde(deny_unknown_fields)]
pub struct VerifyTask {
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N", requires = "of")]
    pub network: Option<PathBuf>,
    /// The property: VNN-LIB; it says what a violation is
    #[arg(long, value_name = "P", requires = "network")]
    pub property: Option<PathBuf>,
    /// Instead of a property, an image (.png, .jpg, .npy, .json) around which every image within --epsilon keeps the class
    #[arg(long, value_name = "I", requires_all = ["network", "distance"])]
    pub image: Option<PathBuf>,
    /// The class that images keep, counted from 0 [default: the one that the image gets]
    #[arg(long, value_name = "K", requires = "image")]
    pub class: Option<usize>,
    /// Largest change of every pixel value, of [0, 1]: a number, or a fraction such as 8/255
    #[arg(long, value_name = "E", requires = "image", value_parser = epsilon)]
    pub epsilon: Option<f64>,
    /// Instead, find the largest change that is verified and the smallest that is falsified
    #[arg(long, requires = "image")]
    #[serde(default)]
    pub find_epsilon: bool,
    /// How pixels become inputs: (pixel − mean) / deviation, one mean for each channel
    #[arg(long, value_name = "M,...", value_delimiter = ',', requires_all = ["image", "deviation"], allow_negative_numbers = true)]
    pub mean: Option<Vec<f64>>,
    /// One deviation for each channel
    #[arg(long, alias = "std", value_name = "D,...", value_delimiter = ',', requires = "mean")]
    #[serde(alias = "std")]
    pub deviation: Option<Vec<f64>>,
    /// Where to write the question about the image as VNN-LIB; certificates are about this file
    #[arg(long, value_name = "P.vnnlib", requires = "epsilon")]
    pub save_property: Option<PathBuf>,
    /// Instead of one property, a list: onnx,vnnlib,timeout
    #[arg(long, value_name = "I.csv", conflicts_with_all = ["network", "property", "image", "counterexample", "certificate", "deployed"])]
    pub instances: Option<PathBuf>,
    /// Where the list's results go, row by row; rows that are already there are skipped
    #[arg(long, value_name = "R.csv", requires = "instances")]
    pub results: Option<PathBuf>,
    /// Where to write a counterexample: an image by .png, .npy or .json (with --image), else the format of VNN-COMP
    #[arg(long, value_name = "OUT")]
    pub counterexample: Option<PathBuf>,
    /// Where to write a certificate if the property is verified, for `diadem check`
    #[arg(long, value_name = "OUT")]
    pub certificate: Option<PathBuf>,
    /// Verified is to hold for every evaluation in these floats, whatever the order of its sums, not only in real arithmetic
    #[arg(long, value_name = "FLOAT")]
    pub deployed: Option<DeployedFloat>,
    /// Subdomains to bound before giving up, for each question
    #[arg(long, value_name = "N")]
    pub max_subdomains: Option<u64>,
    /// Memory for open subdomains, GiB; those past it wait in a temporary file [default: 4]
    #[arg(long, value_name = "G", value_parser = gibibytes)]
    pub memory_gib: Option<f64>,
    /// What is split where bounds leave a question open
    #[arg(long, value_name = "KIND", default_value = "auto")]
    #[serde(default)]
    pub split: SplitName,
}

/// In which floats a network is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeployedFloat {
    /// Single precision, rounded to nearest
    F32,
}

/// What is split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SplitName {
    /// Inputs where few of them vary, `ReLU`s where many do
    #[default]
    Auto,
    /// Inputs
    Inputs,
    /// `ReLU`s, with optimised bounds
    Relus,
}

impl SplitName {
    /// What the search is told.
    pub fn choice(self) -> SplitChoice {
        match self {
            Self::Auto => SplitChoice::Auto,
            Self::Inputs => SplitChoice::Inputs,
            Self::Relus => SplitChoice::Relus,
        }
    }
}

impl VerifyTask {
    /// Checks that what a job asks fits together; the command line has checked its options already.
    pub fn check(&self) -> Result<()> {
        let is_of_image = self.image.is_some();
        let ways = [self.property.is_some(), is_of_image, self.instances.is_some()];
        if ways.iter().filter(|way| **way).count() != 1 || self.network.is_some() == self.instances.is_some() {
            bail!("verify needs either network and property, or network and image, or instances");
        }
        let of_one =
            [&self.counterexample, &self.certificate].iter().any(|path| path.is_some()) || self.deployed.is_some();
        if self.instances.is_some() && of_one || self.instances.is_none() && self.results.is_some() {
            bail!("counterexample, certificate and deployed belong to one question, results to a list of instances");
        }
        let of_image = [self.class.is_some(), self.epsilon.is_some(), self.find_epsilon, self.mean.is_some()];
        if !is_of_image && (of_image.contains(&true) || self.save_property.is_some()) {
            bail!("class, epsilon, find_epsilon, mean, deviation and save_property belong to an image");
        }
        if is_of_image && self.epsilon.is_some() == self.find_epsilon {
            bail!("an image needs either epsilon, the largest change of a pixel value, or find_epsilon");
        }
        if self.epsilon.is_some_and(|epsilon| !(epsilon > 0.0 && epsilon <= 1.0)) {
            bail!("epsilon: expected a number above 0 and at most 1");
        }
        if self.mean.is_some() != self.deviation.is_some() {
            bail!("mean and deviation come together");
        }
        let is_checked = self.certificate.is_some() || self.deployed.is_some();
        if is_of_image && is_checked && self.save_property.is_none() {
            bail!(
                "a certificate, and what is deployed, is about a property file: say where to write it (--epsilon with --save-property)"
            );
        }
        Ok(())
    }

    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        let Self { network, property, image, instances, results, .. } = self;
        for path in [network, property, image, instances, results] {
            start_at(path, folder);
        }
        for path in [&mut self.counterexample, &mut self.certificate, &mut self.save_property] {
            start_at(path, folder);
        }
    }
}

impl BoundsTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        self.network = folder.join(&self.network);
        start_at(&mut self.property, folder);
        start_at(&mut self.region, folder);
    }
}

impl BenchTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        self.network = folder.join(&self.network);
        self.property = folder.join(&self.property);
    }
}

impl MethodName {
    /// The recorded method.
    pub fn method(self) -> Method {
        match self {
            Self::Ibp => Method::Ibp,
            Self::CrownIbp => Method::CrownIbp,
            Self::Crown | Self::AlphaCrown => Method::Crown,
        }
    }

    /// The name, as in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ibp => "ibp",
            Self::CrownIbp => "crown-ibp",
            Self::Crown => "crown",
            Self::AlphaCrown => "alpha-crown",
        }
    }
}

fn default_batch() -> usize {
    1024
}

fn default_scale() -> f64 {
    32.0
}

fn default_repeat() -> usize {
    5
}

pub fn start_at(path: &mut Option<PathBuf>, folder: &Path) {
    if let Some(path) = path {
        *path = folder.join(&*path);
    }
}

/// A positive whole number.
pub fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "expected a positive whole number".into())
}

/// A share of something, less than all.
pub fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..1.0).contains(share));
    share.ok_or_else(|| "expected a share, at least 0 and less than 1".into())
}

/// A positive number, or a fraction of two.
fn epsilon(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((over, under)) => number(over).zip(number(under)).map(|(over, under)| over / under),
        None => number(text),
    };
    let is_meant = |value: &f64| *value > 0.0 && *value <= 1.0;
    value.filter(is_meant).ok_or_else(|| "expected a number above 0 and at most 1, or a fraction such as 8/255".into())
}

fn gibibytes(text: &str) -> Result<f64, String> {
    let gibibytes = text.parse().ok().filter(|gibibytes: &f64| gibibytes.is_finite() && *gibibytes > 0.0);
    gibibytes.ok_or_else(|| "expected a positive number of GiB".into())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| "expected a positive number of seconds".into())
}
