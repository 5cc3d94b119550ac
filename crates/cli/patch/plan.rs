use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use driver::Limits;
use driver::patch::{
    Against, Contents, CoverageOptions, Patch, PatchAttack, PatchSweep, PixelScale, Positions, SIDES, Scene, Stencil,
    SweepOptions, Task,
};
use network::{Image, Network};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::patch::scenes::{self, NamedScene};
use crate::patch::task::{AgainstName, ContentsFields, ModeName, PatchFields, PatchTask, network_path, only};
use crate::session::Session;
use crate::{images, input};

/// A job, read: everything that a sweep needs.
#[derive(Debug)]
pub struct Plan {
    /// Names of the images, in the job's order.
    pub ids: Vec<String>,
    /// Images and classes, in the same order.
    pub scenes: Vec<Scene>,
    /// The class that each image gets as it is.
    pub predicted: Vec<usize>,
    /// The questions: placements on the images that are classified rightly, image by image.
    pub tasks: Vec<Task>,
    /// What each question is called in stores: a digest of all that its answer depends on.
    pub keys: Vec<Key>,
    /// By what each question belongs to a shard: the key of the first of the neighbours that it is bounded with.
    pub homes: Vec<Key>,
    /// A digest of what may be spent: answers that are none count for the same effort only.
    pub effort: String,
    /// The attack.
    pub attack: PatchAttack,
    network: Network,
    scale: PixelScale,
    against: Against,
    task: PatchTask,
}

/// A digest of a question: 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub u128);

/// Changes with what answers mean.
const VERSION: &str = "patch 1";

impl Key {
    /// As 32 hexadecimal digits.
    pub fn text(self) -> String {
        format!("{:032x}", self.0)
    }

    /// From those.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }

    fn of(hasher: Sha256) -> Self {
        let digest = hasher.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self(u128::from_be_bytes(bytes))
    }
}

impl Plan {
    /// Reads everything that a job names, and checks that it fits.
    pub fn read(task: PatchTask, session: &Session) -> Result<Self> {
        let path = network_path(&task)?;
        let network = input::network(path)?;
        let named = scenes::read(&task)?;
        let scale = match &task.normalisation {
            Some(fields) => PixelScale::new(fields.mean.clone(), fields.deviation.clone())?,
            None => PixelScale::identity(),
        };
        let shape = named[0].scene.image.shape();
        let attack = attack(&task, shape)?;
        let against = match task.against.unwrap_or(AgainstName::AllOthers) {
            AgainstName::AllOthers => Against::AllOthers,
            AgainstName::RunnerUp => Against::RunnerUp,
            AgainstName::Target(class) => Against::Target(class),
        };
        let (ids, scenes) = named.into_iter().map(|NamedScene { id, scene }| (id, scene)).unzip();
        let (digest, effort) = (digest(path)?, effort(&task, session));
        let mut plan = Self {
            ids,
            scenes,
            predicted: Vec::new(),
            tasks: Vec::new(),
            keys: Vec::new(),
            homes: Vec::new(),
            effort,
            attack,
            network,
            scale,
            against,
            task,
        };
        plan.ask(&digest, session)?;
        Ok(plan)
    }

    /// Puts the questions.
    fn ask(&mut self, network: &[u8], session: &Session) -> Result<()> {
        let sweep = self.sweep(session)?;
        let several = self.ids.len() > 1;
        let mut predicted = Vec::new();
        let mut tasks = Vec::new();
        for (s, (id, scene)) in self.ids.iter().zip(&self.scenes).enumerate() {
            let checked = sweep.check(scene);
            if several { checked.with_context(|| format!("image {id}")) } else { checked.map_err(Into::into) }?;
            let class = sweep.predicted(&scene.image)?;
            predicted.push(class);
            if class == scene.class {
                let placements = self.attack.placements(scene.image.shape())?;
                tasks.extend(placements.into_iter().map(|placement| Task { scene: s, placement, seed: 0, open: None }));
            }
        }
        let mut bases = Vec::with_capacity(self.scenes.len());
        for scene in &self.scenes {
            let mut hasher = Sha256::new();
            hasher.update(VERSION);
            hasher.update(network);
            let others = sweep.others(scene)?;
            [scene.class].iter().chain(&others).for_each(|class| hasher.update((*class as u64).to_le_bytes()));
            sweep.inputs(&scene.image).iter().for_each(|input| hasher.update(input.to_le_bytes()));
            bases.push(hasher);
        }
        let key = |task: &Task| {
            let mut hasher = bases[task.scene].clone();
            let region = sweep.region(&self.scenes[task.scene], task);
            let mut number = |value: f64| hasher.update(value.to_le_bytes());
            for (input, ends) in region.ends() {
                number(*input as f64);
                ends.outer.iter().chain(&ends.inner).for_each(|end| number(*end));
            }
            if let Some(substitution) = region.substitution() {
                number(f64::from(u8::from(substitution.keeps_base)) - 7.0);
                substitution.ends.iter().flat_map(|ends| ends.outer).for_each(&mut number);
                for &(input, parameter, coefficient) in &substitution.terms {
                    [input as f64, parameter as f64, coefficient].into_iter().for_each(&mut number);
                }
            }
            Key::of(hasher)
        };
        let keys: Vec<Key> = tasks.par_iter().map(key).collect();
        for (task, key) in tasks.iter_mut().zip(&keys) {
            task.seed = (key.0 as u64) ^ session.seed;
        }
        let mut first = HashMap::new();
        let home = |(task, key): (&Task, &Key)| match self.attack.block(&task.placement, SIDES[0]) {
            Some(block) => *first.entry((task.scene, block)).or_insert(*key),
            None => *key,
        };
        self.homes = tasks.iter().zip(&keys).map(home).collect();
        (self.predicted, self.tasks, self.keys) = (predicted, tasks, keys);
        Ok(())
    }

    /// The sweep on the session's device.
    pub fn sweep<'s>(&'s self, session: &'s Session) -> Result<PatchSweep<'s>> {
        let (network, scale, attack, against) = (&self.network, &self.scale, &self.attack, self.against);
        Ok(PatchSweep { network, scale, attack, against, device: session.device()? })
    }

    /// The network's file.
    pub fn network_name(&self) -> String {
        let path = self.task.network.as_deref().unwrap_or(Path::new(""));
        path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Where the network's file is.
    pub fn network_path(&self) -> Result<&Path> {
        network_path(&self.task)
    }

    /// What was asked, in a sentence.
    pub fn question(&self) -> String {
        let sides = |patch: &Patch| format!("{} × {}", patch.stencil.height(), patch.stencil.width());
        let patches: Vec<String> = self.attack.patches.iter().map(sides).collect();
        let contents = match &self.attack.contents {
            Contents::Free([low, high]) => format!("any pixels of [{low}, {high}]"),
            Contents::Near { epsilon, .. } => format!("pixels at most {epsilon} from the image's own"),
            Contents::Colour([low, high]) => format!("one colour of [{low}, {high}]"),
            Contents::Blend { amount: [low, high], .. } => format!("an overlay, blended in by {low} to {high}"),
        };
        let against = match self.against {
            Against::AllOthers => "all other classes".to_owned(),
            Against::RunnerUp => "the runner-up".to_owned(),
            Against::Target(class) => format!("class {class}"),
        };
        format!("Patches of {} pixels that hold {contents}, against {against}.", patches.join(" and "))
    }

    /// Seconds for the refinement of the placements of an image, all together.
    pub fn image_s(&self) -> Option<f64> {
        self.task.image_timeout_s
    }

    /// How to sweep; without the budgets of images, which depend on what is known.
    pub fn options(&self, session: &Session) -> SweepOptions {
        let coverage = CoverageOptions {
            time_s: session.timeout_s,
            of_falsified: self.task.coverage_of_falsified,
            ..CoverageOptions::default()
        };
        let wants_coverage = self.task.mode.unwrap_or_default() == ModeName::Coverage;
        SweepOptions {
            limits: Limits { time_s: session.timeout_s, subdomains: self.task.max_subdomains, ..Limits::default() },
            coverage: wants_coverage.then_some(coverage),
            interrupt: session.interrupt.clone(),
            batch: self.task.batch.unwrap_or(1024),
            ..SweepOptions::default()
        }
    }

    /// Whether a falsified placement is done only with a share.
    pub fn wants_shares_of_falsified(&self) -> bool {
        self.task.mode == Some(ModeName::Coverage) && self.task.coverage_of_falsified
    }

    /// The image of a network's inputs, for pictures.
    pub fn pixels(&self, shape: [usize; 3], inputs: &[f32]) -> Result<Image> {
        let area = shape[1] * shape[2];
        let pixel = |(i, &x): (usize, &f32)| self.scale.pixel(i / area, f64::from(x)).clamp(0.0, 1.0);
        Ok(Image::new(shape, inputs.iter().enumerate().map(pixel).collect())?)
    }

    /// The network's inputs of an image of the job.
    pub fn base(&self, scene: usize) -> Vec<f32> {
        let image = &self.scenes[scene].image;
        let area = image.shape()[1] * image.shape()[2];
        image.pixels().iter().enumerate().map(|(i, &pixel)| self.scale.input(i / area, pixel)).collect()
    }
}

/// What somebody may do.
fn attack(task: &PatchTask, shape: [usize; 3]) -> Result<PatchAttack> {
    let own = task.size.is_some() || task.mask.is_some();
    if own != task.patches.is_empty() {
        bail!(
            "a patch job needs either a rectangle (--size HxW) or a mask (--mask FILE), or a job file with `patches`"
        );
    }
    let mut fields = task.patches.clone();
    if own {
        fields.push(PatchFields {
            rectangle: task.size,
            mask: task.mask.clone(),
            polygon: None,
            stroke: None,
            stride: task.stride,
            at: None,
        });
    } else if task.stride.is_some() {
        bail!("`stride` belongs to each of `patches`, or to `size` and `mask`");
    }
    let patches = fields.iter().map(|fields| patch(fields, shape)).collect::<Result<_>>()?;
    let contents = contents(task, shape)?;
    Ok(PatchAttack { patches, contents, channels: task.channels.clone().unwrap_or_default() })
}

fn patch(fields: &PatchFields, [_, height, width]: [usize; 3]) -> Result<Patch> {
    let size = [height, width];
    let rectangle = fields.rectangle.map(|[h, w]| Stencil::rectangle(h, w).map_err(Into::into));
    let drawn = fields.mask.as_deref().map(|path| mask(path, size));
    let polygon = fields.polygon.as_ref().map(|corners| Stencil::polygon(size, corners).map_err(Into::into));
    let stroke = fields.stroke.as_ref();
    let stroke = stroke.map(|stroke| Stencil::stroke(size, &stroke.points, stroke.width).map_err(Into::into));
    let is_rectangle = rectangle.is_some();
    let given: Vec<(&str, Option<Result<Stencil>>)> =
        vec![("rectangle", rectangle), ("mask", drawn), ("polygon", polygon), ("stroke", stroke)];
    let stencil =
        only("patches", given)?.context("patches: one needs a rectangle, a mask, a polygon or a stroke")??;
    let positions = match (fields.stride, &fields.at) {
        (Some(_), Some(_)) => bail!("patches: one has a stride and places (`at`), expected one of them"),
        (Some(stride), None) => Positions::Stride([stride, stride]),
        (None, Some(corners)) => Positions::At(corners.clone()),
        (None, None) if is_rectangle => Positions::Stride([1, 1]),
        (None, None) => Positions::Drawn,
    };
    Ok(Patch { stencil, positions })
}

/// The pixels of an image that are not black.
fn mask(path: &Path, [height, width]: [usize; 2]) -> Result<Stencil> {
    let image = images::read(path)?;
    let [n_channels, own_height, own_width] = image.shape();
    if [own_height, own_width] != [height, width] {
        bail!(
            "{}: the mask has {own_height} × {own_width} pixels, the image {height} × {width}: draw it on the image's size",
            path.display()
        );
    }
    let area = height * width;
    let is_marked = |p: usize| (0..n_channels).any(|c| image.pixels()[c * area + p] > 0.0);
    let marks: Vec<bool> = (0..area).map(is_marked).collect();
    Stencil::mask([height, width], &marks).map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn contents(task: &PatchTask, shape: [usize; 3]) -> Result<Contents> {
    let range = task.range.unwrap_or([0.0, 1.0]);
    let is_simple = task.range.is_some() || task.epsilon.is_some() || task.colour;
    let Some(fields) = &task.contents else {
        return Ok(match task.epsilon {
            Some(epsilon) => Contents::Near { epsilon, range },
            None if task.colour => Contents::Colour(range),
            None => Contents::Free(range),
        });
    };
    if is_simple {
        bail!("give either `contents`, or `range`, `epsilon` and `colour`");
    }
    Ok(match fields {
        ContentsFields::Free(range) => Contents::Free(*range),
        ContentsFields::Near { epsilon, range } => Contents::Near { epsilon: *epsilon, range: *range },
        ContentsFields::Colour(range) => Contents::Colour(*range),
        ContentsFields::Blend { overlay, colour, amount } => {
            let [n_channels, height, width] = shape;
            let overlay = match (overlay, colour) {
                (Some(path), None) => images::read(path)?,
                (None, Some(colour)) if colour.len() == n_channels => {
                    Image::new(shape, colour.iter().flat_map(|&value| vec![value; height * width]).collect())?
                }
                (None, Some(colour)) => {
                    bail!("contents: the colour has {} values, the image {n_channels} channels", colour.len())
                }
                _ => bail!("contents: a blend needs either an overlay or a colour"),
            };
            Contents::Blend { overlay, amount: *amount }
        }
    })
}

fn digest(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    Ok(Sha256::digest(&bytes).to_vec())
}

/// What may be spent, as a short text.
fn effort(task: &PatchTask, session: &Session) -> String {
    let real = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
    let count = task.max_subdomains.map_or("-".to_owned(), |value| value.to_string());
    let mode = match task.mode.unwrap_or_default() {
        ModeName::Verdict => "verdict",
        ModeName::Coverage => "coverage",
    };
    format!("{mode} {} {} {count} {}", real(session.timeout_s), real(task.image_timeout_s), session.seed)
}
