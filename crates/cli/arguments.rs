use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use schemars::JsonSchema;
use serde::Deserialize;

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
    /// auto (best GPU, else the host), gpu, host, or a part of an adapter's name [default: $DIADEM_DEVICE, else auto]
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
    /// Decide a property of a network, or every row of a list of them
    Verify(VerifyTask),
}

/// One property, or a list.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyTask {
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N", requires = "property", required_unless_present = "instances")]
    pub network: Option<PathBuf>,
    /// The property: VNN-LIB; it says what a violation is
    #[arg(long, value_name = "P", requires = "network")]
    pub property: Option<PathBuf>,
    /// Instead of one property, a list: onnx,vnnlib,timeout
    #[arg(long, value_name = "I.csv", conflicts_with_all = ["network", "property", "counterexample"])]
    pub instances: Option<PathBuf>,
    /// Where the list's results go, row by row; rows that are already there are skipped
    #[arg(long, value_name = "R.csv", requires = "instances")]
    pub results: Option<PathBuf>,
    /// Where to write a counterexample, in the format of VNN-COMP
    #[arg(long, value_name = "OUT")]
    pub counterexample: Option<PathBuf>,
    /// Subdomains to bound before giving up, for each question
    #[arg(long, value_name = "N")]
    pub max_subdomains: Option<u64>,
}

impl VerifyTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        for path in
            [&mut self.network, &mut self.property, &mut self.instances, &mut self.results, &mut self.counterexample]
        {
            start_at(path, folder);
        }
    }
}

fn start_at(path: &mut Option<PathBuf>, folder: &Path) {
    if let Some(path) = path {
        *path = folder.join(&*path);
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
    seconds.ok_or_else(|| "expected a positive number of seconds".into())
}
