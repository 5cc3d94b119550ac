use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use network::Image;
use network::ssim::Similarity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arguments::Settings;
use crate::job::{self, Job};
use crate::ssim::peer;
use crate::{images, input};

/// Which images keep their class: one reference, or several.
#[derive(Debug, Clone, Default, Args, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SsimTask {
    /// A job, a list of problems, or a parameter file of semantic-robustness-verification; options go before what it says
    #[arg(value_name = "JOB.json")]
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// The network: ONNX, or `NNet` by its extension
    #[arg(long, value_name = "N")]
    pub network: Option<PathBuf>,
    /// The reference: .png, .jpg, .npy, or .json {"shape": [C, H, W], "pixels": [...]}
    #[arg(long, value_name = "I")]
    pub image: Option<PathBuf>,
    /// The class that it must keep, counted from 0
    #[arg(long, value_name = "K")]
    pub class: Option<usize>,
    /// Images at least as similar as this to the reference must keep its class: in (0, 1]
    #[arg(long, value_name = "T", value_parser = threshold, conflicts_with = "find_threshold")]
    pub threshold: Option<f64>,
    /// Which structural similarity is meant [default: global]
    #[arg(long, value_name = "KIND")]
    pub similarity: Option<SimilarityName>,
    /// Find the smallest threshold that is verified, by bisection
    #[arg(long)]
    #[serde(default)]
    pub find_threshold: bool,
    /// By what share the distance of the verified threshold from 1 may still grow where the search ends [default: 0.01]
    #[arg(long, value_name = "D", value_parser = tolerance)]
    pub tolerance: Option<f64>,
    /// Count images as violations on which another class is exactly as large
    #[arg(long)]
    #[serde(default)]
    pub ties: bool,
    /// Accept only counterexamples that still are some once saved with eight bits per value
    #[arg(long)]
    #[serde(default)]
    pub png_safe: bool,
    /// Where to write the counterexample: .npy, .json (the same floats) or .png (rounded to eight bits)
    #[arg(long, value_name = "OUT")]
    pub counterexample: Option<PathBuf>,
    /// Where to draw reference, counterexample, difference and local similarity, or the thresholds found
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
    /// Where to write the certificate of what is verified; with several references a folder, and `ID.certificate` in it
    #[arg(long, value_name = "OUT", conflicts_with = "find_threshold")]
    pub certificate: Option<PathBuf>,
    /// Subdomains to bound before giving up, for each reference
    #[arg(long, value_name = "N")]
    pub max_subdomains: Option<u64>,
    /// Of the file's references, only that of this name (may be given again)
    #[arg(long, value_name = "ID")]
    #[serde(skip)]
    pub id: Vec<String>,
    /// Resize images to `[channels, height, width]`, as torchvision does, instead of refusing another size.
    #[arg(skip)]
    pub dimension: Option<[usize; 3]>,
    /// Several references.
    #[arg(skip)]
    #[serde(default)]
    pub images: Vec<ReferenceFields>,
    /// Several references, each with its pixels and network.
    #[arg(skip)]
    #[serde(default)]
    pub problems: Vec<ProblemFields>,
    /// What the list is; read by people only.
    #[arg(skip)]
    pub about: Option<String>,
}

/// A reference among several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReferenceFields {
    /// .png, .jpg, .npy or .json.
    pub image: PathBuf,
    /// The class that it must keep, counted from 0.
    pub class: usize,
    /// In (0, 1]; else that of the job.
    pub threshold: Option<f64>,
    /// Its name in results; else that of the file.
    pub id: Option<String>,
}

/// A reference among several, with everything that it needs.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemFields {
    /// Its name in results; else its place.
    pub id: Option<String>,
    /// The network; else that of the job.
    pub network: Option<PathBuf>,
    /// `[channels, height, width]`.
    pub shape: [usize; 3],
    /// Pixels in `[0, 1]`, channel by channel, row by row.
    pub reference: Vec<f64>,
    /// The class that it must keep, counted from 0.
    pub class: usize,
    /// In (0, 1]; else that of the job.
    pub threshold: Option<f64>,
    /// What another program found; it only informs.
    #[expect(dead_code, reason = "it only informs")]
    peer: Option<Value>,
    /// Read by people only.
    #[expect(dead_code, reason = "it only informs")]
    note: Option<String>,
}

/// Which structural similarity is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SimilarityName {
    /// One window over all values, channels one after another
    #[default]
    Global,
    /// The mean over the channels, each with one window
    ChannelMean,
    /// The mean over windows of 11 × 11 pixels with Gaussian weights
    Windowed,
}

impl SimilarityName {
    /// The similarity that is meant.
    pub fn similarity(self) -> Similarity {
        match self {
            Self::Global => Similarity::Global,
            Self::ChannelMean => Similarity::ChannelMean,
            Self::Windowed => Similarity::Windowed,
        }
    }
}

/// One question: a reference, its class and a threshold.
#[derive(Debug)]
pub struct Query {
    /// Its name.
    pub id: String,
    /// The network's file.
    pub network: PathBuf,
    /// The class to be kept.
    pub class: usize,
    /// `None` where it is what is sought.
    pub threshold: Option<f64>,
    reference: Reference,
}

/// Where a reference comes from.
#[derive(Debug)]
enum Reference {
    File(PathBuf),
    Pixels { shape: [usize; 3], pixels: Vec<f64> },
}

impl SsimTask {
    /// Takes relative paths to start at `folder`.
    pub fn start_at(&mut self, folder: &Path) {
        let own =
            [&mut self.network, &mut self.image, &mut self.counterexample, &mut self.pictures, &mut self.certificate];
        let of_problems = self.problems.iter_mut().map(|problem| &mut problem.network);
        for path in own.into_iter().chain(of_problems).flatten() {
            *path = folder.join(&*path);
        }
        self.images.iter_mut().for_each(|reference| reference.image = folder.join(&reference.image));
    }

    /// Reads the file that the options go with, if there is one, and fills in what they leave open.
    pub fn completed(mut self, settings: &mut Settings) -> Result<Self> {
        let Some(path) = self.file.take() else { return Ok(self) };
        let text = input::text(&path)?;
        let fields: Map<String, Value> = serde_json::from_str(&text)
            .with_context(|| format!("{}: expected a job or a list of problems, a JSON object", path.display()))?;
        let mut from_file: Self = if fields.contains_key("job") {
            match Job::read(&path, settings)? {
                Job::Ssim(task) => return Ok(self.over(task)),
                _ => bail!("{}: this is a job of another kind; `diadem run` does it", path.display()),
            }
        } else if fields.contains_key("minlp") {
            return Ok(self.over(peer::task(fields, &path, settings)?));
        } else if fields.contains_key("problems") {
            job::fields_of(fields, &text, &path)?
        } else {
            bail!(
                "{}: expected a job (\"job\": \"ssim\"), a list of problems (\"problems\": [...]), or parameters of semantic-robustness-verification (with \"minlp\")",
                path.display()
            )
        };
        from_file.start_at(path.parent().unwrap_or(Path::new("")));
        Ok(self.over(from_file))
    }

    /// These options, and what a file says where they say nothing.
    fn over(self, file: Self) -> Self {
        Self {
            file: None,
            network: self.network.or(file.network),
            image: self.image.or(file.image),
            class: self.class.or(file.class),
            threshold: self.threshold.or(file.threshold),
            similarity: self.similarity.or(file.similarity),
            find_threshold: self.find_threshold || file.find_threshold,
            tolerance: self.tolerance.or(file.tolerance),
            ties: self.ties || file.ties,
            png_safe: self.png_safe || file.png_safe,
            counterexample: self.counterexample.or(file.counterexample),
            pictures: self.pictures.or(file.pictures),
            certificate: self.certificate.or(file.certificate),
            max_subdomains: self.max_subdomains.or(file.max_subdomains),
            id: self.id,
            dimension: file.dimension,
            images: file.images,
            problems: file.problems,
            about: file.about,
        }
    }

    /// The similarity that is meant.
    pub fn similarity(&self) -> Similarity {
        self.similarity.unwrap_or_default().similarity()
    }

    /// Whether several references were given, or could have been.
    pub fn is_list(&self) -> bool {
        self.image.is_none()
    }

    /// Where the certificate of one of the references goes, if one is wanted.
    pub fn certificate_of(&self, id: &str) -> Option<PathBuf> {
        let path = self.certificate.as_ref()?;
        Some(if self.is_list() {
            path.join(format!("{}.certificate", id.replace(['/', '\\'], "_")))
        } else {
            path.clone()
        })
    }

    /// What is asked, one question for every reference.
    pub fn queries(&self) -> Result<Vec<Query>> {
        if let Some(path) = &self.counterexample {
            images::check_writable(path)?;
        }
        let n_kinds = [self.image.is_some(), !self.images.is_empty(), !self.problems.is_empty()];
        if n_kinds.iter().filter(|is_given| **is_given).count() != 1 {
            bail!("ssim needs either an image (and its class), or a job file with `images` or with `problems`");
        }
        let network = || self.network.clone().ok_or_else(|| anyhow!("ssim needs a network: --network N"));
        let mut queries = Vec::new();
        if let Some(image) = &self.image {
            let class = self.class.ok_or_else(|| anyhow!("ssim needs the class of the image: --class K, from 0"))?;
            let (id, reference) = (name_of(image), Reference::File(image.clone()));
            queries.push(Query { id, network: network()?, class, threshold: self.threshold, reference });
        }
        for fields in &self.images {
            let id = fields.id.clone().unwrap_or_else(|| name_of(&fields.image));
            let (class, threshold) = (fields.class, fields.threshold.or(self.threshold));
            let reference = Reference::File(fields.image.clone());
            queries.push(Query { id, network: network()?, class, threshold, reference });
        }
        for (place, fields) in self.problems.iter().enumerate() {
            let id = fields.id.clone().unwrap_or_else(|| (place + 1).to_string());
            let network = fields.network.clone().map_or_else(network, Ok)?;
            let (class, threshold) = (fields.class, fields.threshold.or(self.threshold));
            let reference = Reference::Pixels { shape: fields.shape, pixels: fields.reference.clone() };
            queries.push(Query { id, network, class, threshold, reference });
        }
        for query in &mut queries {
            query.threshold = match query.threshold {
                _ if self.find_threshold => None,
                Some(value) => {
                    Some(check_threshold(value).map_err(|error| anyhow!("{}: threshold: {error}", query.id))?)
                }
                None => bail!("{}: ssim needs a threshold (--threshold T), or --find-threshold", query.id),
            };
        }
        self.tolerance.map_or(Ok(0.0), check_tolerance).map_err(|error| anyhow!("tolerance: {error}"))?;
        if self.is_list() && self.counterexample.is_some() {
            bail!("a counterexample file is for one image; with several, --pictures DIR and --json PATH keep them all");
        }
        if !self.id.is_empty() {
            let known: BTreeSet<&str> = queries.iter().map(|query| query.id.as_str()).collect();
            if let Some(unknown) = self.id.iter().find(|id| !known.contains(id.as_str())) {
                bail!("there is no reference '{unknown}' in the file");
            }
            queries.retain(|query| self.id.contains(&query.id));
        }
        Ok(queries)
    }
}

impl Query {
    /// Whether its pixels came along, so that no file is read for them.
    pub fn is_inline(&self) -> bool {
        matches!(self.reference, Reference::Pixels { .. })
    }

    /// The reference, resized if a size is asked for.
    pub fn image(&self, dimension: Option<[usize; 3]>) -> Result<Image> {
        let image = match &self.reference {
            Reference::File(path) => images::read(path)?,
            Reference::Pixels { shape, pixels } => {
                Image::new(*shape, pixels.clone()).map_err(|error| anyhow!("{}: {error}", self.id))?
            }
        };
        let Some([n_channels, height, width]) = dimension else { return Ok(image) };
        let [got, ..] = image.shape();
        if got != n_channels {
            bail!("{}: the image has {got} channels, but `dimension` asks for {n_channels}", self.place());
        }
        image.resized(height, width).map_err(|error| anyhow!("dimension: {error}"))
    }

    /// How messages name the reference.
    pub fn place(&self) -> String {
        match &self.reference {
            Reference::File(path) => path.display().to_string(),
            Reference::Pixels { .. } => self.id.clone(),
        }
    }
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn threshold(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number in (0, 1]".to_owned()).and_then(check_threshold)
}

fn check_threshold(value: f64) -> Result<f64, String> {
    if value > 0.0 && value <= 1.0 { Ok(value) } else { Err(format!("expected a number in (0, 1], got {value}")) }
}

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number in (0, 1)".to_owned()).and_then(check_tolerance)
}

fn check_tolerance(value: f64) -> Result<f64, String> {
    if value > 0.0 && value < 1.0 { Ok(value) } else { Err(format!("expected a number in (0, 1), got {value}")) }
}
