use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
#[cfg(feature = "train")]
use model::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::arguments::Settings;
use crate::job::Job;

/// Whether any contents of a patch change the class of an image: one image, or several.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchTask {
    /// A job; options go before what it says
    #[arg(value_name = "JOB.json")]
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N")]
    pub network: Option<PathBuf>,
    /// The image: .png, .jpg, .npy, or .json {"shape": [C, H, W], "pixels": [...]}
    #[arg(long, value_name = "I")]
    pub image: Option<PathBuf>,
    /// The class that it must keep, counted from 0
    #[arg(long, value_name = "K")]
    pub class: Option<usize>,
    /// Rows and columns of a rectangular patch
    #[arg(long, value_name = "HxW", value_parser = size)]
    pub size: Option<[usize; 2]>,
    /// Steps between the places of the patch [default: 1]
    #[arg(long, value_name = "N", value_parser = stride)]
    pub stride: Option<usize>,
    /// A patch of the marked pixels of this image, which stays where it is unless --stride is given
    #[arg(long, value_name = "MASK", conflicts_with = "size")]
    pub mask: Option<PathBuf>,
    /// What the patch may hold: pixels of this range [default: 0,1]
    #[arg(long, value_name = "LO,HI", value_parser = range)]
    pub range: Option<[f64; 2]>,
    /// The patch may change pixels by this much at most
    #[arg(long, value_name = "E")]
    pub epsilon: Option<f64>,
    /// The patch has one colour
    #[arg(long, conflicts_with = "epsilon")]
    #[serde(default)]
    pub colour: bool,
    /// The channels that it changes [default: all]
    #[arg(long, value_name = "C,...", value_delimiter = ',')]
    pub channels: Option<Vec<usize>>,
    /// Which other classes count: all-others, runner-up, or a class [default: all-others]
    #[arg(long, value_name = "WHICH", value_parser = against)]
    pub against: Option<AgainstName>,
    /// Verdicts alone, or also which share of the contents is certified where there is none [default: verdict]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<ModeName>,
    /// Ask for the share at falsified placements, too
    #[arg(long)]
    #[serde(default)]
    pub coverage_of_falsified: bool,
    /// Seconds for the refinement of all placements of an image together
    #[arg(long, value_name = "T")]
    pub image_timeout_s: Option<f64>,
    /// Subdomains to bound before giving up, for each placement
    #[arg(long, value_name = "N")]
    pub max_subdomains: Option<u64>,
    /// Placements that are bounded together; 1: each for itself, not with its neighbours [default: 1024]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Where the data set is, instead of where the job says
    #[arg(long, visible_alias = "data", value_name = "PATH")]
    #[serde(skip)]
    pub data_path: Option<PathBuf>,
    /// Where to draw the map of verdicts and the worst counterexample of every image
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
    /// Write a certificate of the verified placements, which `check --patch JOB.json` accepts
    #[arg(long, value_name = "OUT")]
    #[serde(skip)]
    pub certificate: Option<PathBuf>,
    /// Where to write a report that any browser opens
    #[arg(long, value_name = "REPORT.html")]
    pub report: Option<PathBuf>,
    /// Several patches, or other shapes.
    #[arg(skip)]
    #[serde(default)]
    pub patches: Vec<PatchFields>,
    /// What patches may hold, where it is not a range of pixels.
    #[arg(skip)]
    pub contents: Option<ContentsFields>,
    /// How pixels become inputs: (pixel − mean) / deviation, one of each for every channel.
    #[arg(skip)]
    pub normalisation: Option<NormalisationFields>,
    /// Several images.
    #[arg(skip)]
    #[serde(default)]
    pub images: Vec<ImageFields>,
    /// Images of a data set.
    #[cfg(feature = "train")]
    #[arg(skip)]
    pub data: Option<DataFields>,
}

/// A shape, and where it may be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchFields {
    /// Rows and columns.
    pub rectangle: Option<[usize; 2]>,
    /// The pixels of an image that are not black.
    pub mask: Option<PathBuf>,
    /// Corners, each row and column in pixels.
    pub polygon: Option<Vec<[f64; 2]>>,
    /// The way of a round brush.
    pub stroke: Option<StrokeFields>,
    /// Steps between its places, everywhere in the image; 1 for rectangles, else it stays where it was drawn.
    pub stride: Option<usize>,
    /// Its places: row and column of its first.
    pub at: Option<Vec<[usize; 2]>>,
}

/// The way of a round brush.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StrokeFields {
    /// Row and column of each.
    pub points: Vec<[f64; 2]>,
    /// Diameter, pixels.
    pub width: f64,
}

/// What patches may hold; values are pixels, before normalisation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ContentsFields {
    /// Any value of a range, every pixel and channel for itself.
    Free([f64; 2]),
    /// Any value near the image's own.
    Near {
        /// The largest change.
        epsilon: f64,
        /// Where values stay.
        #[serde(default = "pixels")]
        range: [f64; 2],
    },
    /// One colour for each patch, every channel in the range.
    Colour([f64; 2]),
    /// `x + t (overlay − x)` with one `t` for each patch.
    Blend {
        /// An image of the same size.
        overlay: Option<PathBuf>,
        /// Or one value for each channel.
        colour: Option<Vec<f64>>,
        /// The ends of `t`.
        amount: [f64; 2],
    },
}

/// How pixels become inputs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalisationFields {
    /// One for each channel.
    pub mean: Vec<f64>,
    /// One for each channel.
    #[serde(alias = "std")]
    pub deviation: Vec<f64>,
}

/// An image among several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFields {
    /// .png, .jpg, .npy or .json.
    pub image: PathBuf,
    /// The class that it must keep, counted from 0.
    pub class: usize,
    /// Its name in results; else that of the file.
    pub id: Option<String>,
}

/// Images of a data set.
#[cfg(feature = "train")]
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataFields {
    /// Where samples come from, as in training jobs.
    pub source: Source,
    /// Whether the training part is meant, not the test part.
    #[serde(default)]
    pub training: bool,
    /// The classes, by their labels in the files; label `classes[k]` becomes `k`. All unless told.
    #[serde(default)]
    pub classes: Vec<usize>,
    /// Height and width to which images are scaled (as torchvision does).
    pub size: Option<[usize; 2]>,
    /// Images to leave out at the beginning.
    #[serde(default)]
    pub skip: usize,
    /// How many are taken.
    pub count: usize,
}

/// Which other classes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgainstName {
    /// All of them.
    AllOthers,
    /// The one that comes next on the image itself.
    RunnerUp,
    /// This one.
    Target(usize),
}

/// What is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// Verdicts
    #[default]
    Verdict,
    /// And the certified share of the contents where there is none
    Coverage,
}

impl PatchTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        let own = [&mut self.network, &mut self.image, &mut self.mask, &mut self.pictures, &mut self.report];
        let of_patches = self.patches.iter_mut().map(|patch| &mut patch.mask);
        for path in own.into_iter().chain(of_patches).flatten() {
            *path = folder.join(&*path);
        }
        if let Some(ContentsFields::Blend { overlay: Some(path), .. }) = &mut self.contents {
            *path = folder.join(&*path);
        }
        self.images.iter_mut().for_each(|image| image.image = folder.join(&image.image));
        #[cfg(feature = "train")]
        if let Some(data) = &mut self.data {
            data.source.paths_mut().into_iter().for_each(|path| *path = folder.join(&*path));
        }
    }

    /// Reads the job that the options go with, if there is one, and fills in what they leave open.
    pub fn completed(mut self, settings: &mut Settings) -> Result<Self> {
        if let Some(path) = self.file.take() {
            let Job::Patch(job) = Job::read(&path, settings)? else {
                bail!("{}: this is a job of another kind; `diadem run` does it", path.display());
            };
            self = self.over(*job);
        }
        #[cfg(feature = "train")]
        if let (Some(place), Some(data)) = (&self.data_path, &mut self.data) {
            let mut paths = data.source.paths_mut();
            let [path] = paths.as_mut_slice() else {
                bail!("--data-path speaks of one path, but the job's data have none or two");
            };
            path.clone_from(place);
        }
        Ok(self)
    }

    /// These options, and what a job says where they say nothing.
    fn over(self, job: Self) -> Self {
        Self {
            file: None,
            network: self.network.or(job.network),
            image: self.image.or(job.image),
            class: self.class.or(job.class),
            size: self.size.or(job.size),
            stride: self.stride.or(job.stride),
            mask: self.mask.or(job.mask),
            range: self.range.or(job.range),
            epsilon: self.epsilon.or(job.epsilon),
            colour: self.colour || job.colour,
            channels: self.channels.or(job.channels),
            against: self.against.or(job.against),
            mode: self.mode.or(job.mode),
            coverage_of_falsified: self.coverage_of_falsified || job.coverage_of_falsified,
            image_timeout_s: self.image_timeout_s.or(job.image_timeout_s),
            max_subdomains: self.max_subdomains.or(job.max_subdomains),
            batch: self.batch.or(job.batch),
            data_path: self.data_path,
            pictures: self.pictures.or(job.pictures),
            certificate: self.certificate.or(job.certificate),
            report: self.report.or(job.report),
            patches: job.patches,
            contents: job.contents,
            normalisation: job.normalisation,
            images: job.images,
            #[cfg(feature = "train")]
            data: job.data,
        }
    }
}

fn pixels() -> [f64; 2] {
    [0.0, 1.0]
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides = text.split_once(['x', '×']).and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.filter(|sides| !sides.contains(&0)).ok_or_else(|| "expected rows and columns, as in 3x3".into())
}

fn stride(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|stride| *stride > 0).ok_or_else(|| "expected a positive whole number".into())
}

fn range(text: &str) -> Result<[f64; 2], String> {
    let ends = text.split_once(',').and_then(|(low, high)| Some([low.trim().parse().ok()?, high.trim().parse().ok()?]));
    ends.filter(|[low, high]: &[f64; 2]| low <= high)
        .ok_or_else(|| "expected two numbers, the lower one first, as in 0,1".into())
}

fn against(text: &str) -> Result<AgainstName, String> {
    match text {
        "all-others" => Ok(AgainstName::AllOthers),
        "runner-up" => Ok(AgainstName::RunnerUp),
        class => class
            .parse()
            .map(AgainstName::Target)
            .map_err(|_| "expected all-others, runner-up, or a class, counted from 0".into()),
    }
}

/// The one of several that is given.
pub fn only<T>(what: &str, given: Vec<(&str, Option<T>)>) -> Result<Option<T>> {
    let names: Vec<&str> = given.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| *name).collect();
    if names.len() > 1 {
        bail!("{what}: {} are given, expected one of them", names.join(" and "));
    }
    Ok(given.into_iter().find_map(|(_, value)| value))
}

/// A network's path, or what is missing.
pub fn network_path(task: &PatchTask) -> Result<&Path> {
    task.network.as_deref().context("a patch job needs a network: --network N")
}
