use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use bounds::{Batch, BoundEngine, Device, Recipe, Wanted};
use network::{BoxRegion, Disjunct, HalfSpace, Image, Network, Property};

use crate::error::Error;
use crate::patch::attack::{PatchAttack, Placement};
use crate::patch::blocks::{Block, SIDES, widen};
use crate::patch::descent::{Aim, Descent, Strength};
use crate::patch::refine::Refinement;
use crate::patch::region::PatchRegion;
use crate::patch::scale::PixelScale;
use crate::patch::trial::{PART, Samples, Trial, Worth};
use crate::patch::verdict::{Finding, PatchStage, PatchVerdict};
use crate::search::{Clock, Interrupt, Limits, Objective};

/// Asks for images and placements whether any contents of the patches change the class.
#[derive(Debug, Clone, Copy)]
pub struct PatchSweep<'a> {
    /// A classifier: the largest output is the class.
    pub network: &'a Network,
    /// How pixels become its inputs.
    pub scale: &'a PixelScale,
    /// What somebody may do.
    pub attack: &'a PatchAttack,
    /// Which other classes count.
    pub against: Against,
    /// Where batches are bounded.
    pub device: &'a Device,
}

/// Which other classes count as a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Against {
    /// All of them.
    #[default]
    AllOthers,
    /// The one that comes next on the image itself.
    RunnerUp,
    /// This one.
    Target(usize),
}

/// An image and the class that it should keep.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The image.
    pub image: Image,
    /// The class, from zero.
    pub class: usize,
}

/// One question: a placement on one of the images.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Which image.
    pub scene: usize,
    /// Where the patches are.
    pub placement: Placement,
    /// Where randomness starts.
    pub seed: u64,
    /// The bound of an earlier run that left it open, attacked already.
    pub open: Option<f64>,
}

/// How to sweep.
#[derive(Debug, Clone)]
pub struct SweepOptions {
    /// What may be spent on refining one placement.
    pub limits: Limits,
    /// Seconds that may be spent on refining the placements of each image, all together; none: no limit.
    pub images_s: Option<Vec<f64>>,
    /// Whether the certified share of what stays undecided is asked for as well, and how.
    pub coverage: Option<CoverageOptions>,
    /// Stops the sweep from outside.
    pub interrupt: Interrupt,
    /// Boxes that are bounded together. With 1 each placement is bounded for itself, else neighbours first as one where a trial on the
    /// image says that this pays, which changes bounds, but hardly ever a verdict.
    pub batch: usize,
}

/// How the certified share of contents is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CoverageOptions {
    /// Where a search may stop: the share of the contents that keep the class, in `(0, 1]`.
    pub target: f64,
    /// What may be spent on one placement.
    pub time_s: Option<f64>,
    /// Pieces that may be bounded for one placement.
    pub subdomains: Option<u64>,
    /// Fresh samples behind the figures.
    pub samples: usize,
    /// Whether falsified placements are looked at, too.
    pub of_falsified: bool,
}

impl Default for SweepOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), images_s: None, coverage: None, interrupt: Interrupt::default(), batch: 1024 }
    }
}

impl Default for CoverageOptions {
    fn default() -> Self {
        Self { target: 0.9, time_s: None, subdomains: Some(200), samples: 1 << 14, of_falsified: false }
    }
}

/// Tasks that share a row for each class.
struct Group<'t> {
    class: usize,
    others: Vec<usize>,
    tasks: Vec<(usize, &'t Task)>,
    /// Around everything that its inputs may be.
    hull: BoxRegion,
}

/// How hard placements are attacked that bounds leave open.
const ATTACK: Strength = Strength { starts: 8, steps: 8, classes: 3 };

impl PatchSweep<'_> {
    /// Checks that network, attack and image fit each other.
    ///
    /// # Errors
    /// When they do not; the message says what was expected.
    pub fn check(&self, scene: &Scene) -> Result<(), Error> {
        let shape = scene.image.shape();
        let n_outputs = self.network.n_outputs();
        if n_outputs < 2 {
            return Err(Error::question(
                "the network has one output: a classifier has one for every class, at least two",
            ));
        }
        let declared = self.network.nodes()[0].shape.as_slice();
        let inner: Vec<usize> = declared.iter().copied().skip_while(|&side| side == 1).collect();
        let fits = match inner[..] {
            [c, h, w] => [c, h, w] == shape,
            [h, w] => [1, h, w] == shape,
            _ => inner.iter().product::<usize>().max(1) == shape.iter().product::<usize>(),
        };
        if !fits || scene.image.pixels().len() != self.network.n_inputs() {
            let [c, h, w] = shape;
            return Err(Error::question(format!(
                "the network's input has shape {declared:?}, which is no image of {c} × {h} × {w} (channels, height, width)"
            )));
        }
        if scene.class >= n_outputs {
            let class = scene.class;
            return Err(Error::question(format!(
                "class {class} of a network with {n_outputs} outputs: classes count from 0"
            )));
        }
        if let Against::Target(target) = self.against {
            if target >= n_outputs {
                return Err(Error::question(format!(
                    "the target is class {target} of a network with {n_outputs} outputs: classes count from 0"
                )));
            }
            if target == scene.class {
                return Err(Error::question(format!("the target is class {target}, the image's own")));
            }
        }
        self.scale.check(shape[0])?;
        self.attack.check(shape)
    }

    /// The network's inputs of an image.
    pub fn inputs(&self, image: &Image) -> Vec<f32> {
        let [_, height, width] = image.shape();
        let input = |(i, &pixel): (usize, &f64)| self.scale.input(i / (height * width), pixel);
        image.pixels().iter().enumerate().map(input).collect()
    }

    /// The network's outputs on the image itself, in f64.
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn outputs(&self, image: &Image) -> Result<Vec<f64>, Error> {
        let inputs: Vec<f64> = self.inputs(image).iter().map(|&x| f64::from(x)).collect();
        Ok(self.network.evaluate(&inputs)?)
    }

    /// The class that the image gets (the first of equals).
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn predicted(&self, image: &Image) -> Result<usize, Error> {
        Ok(largest(&self.outputs(image)?, |_| true).unwrap_or(0))
    }

    /// The classes that count as a change.
    ///
    /// # Errors
    /// When the image does not fit.
    pub fn others(&self, scene: &Scene) -> Result<Vec<usize>, Error> {
        let n = self.network.n_outputs();
        let other = |&k: &usize| k != scene.class;
        Ok(match self.against {
            Against::AllOthers => (0..n).filter(other).collect(),
            Against::RunnerUp => largest(&self.outputs(&scene.image)?, |k| k != scene.class).into_iter().collect(),
            Against::Target(target) => vec![target],
        })
    }

    /// Bounds all tasks in batches, attacks what bounds leave open, and refines what attacks leave, the worst bound first (and last what
    /// was not worth bounding); `found` is told of every batch.
    ///
    /// A task may be told of twice: [`PatchVerdict::Open`] once it was attacked, then its last verdict. With limits of subdomains
    /// instead of time, verdicts do not depend on the batches, on other tasks or on the number of cores. What an interrupt cuts
    /// short is not told.
    ///
    /// # Errors
    /// When something does not fit, or a device fails.
    pub fn run(
        &self,
        scenes: &[Scene],
        tasks: &[Task],
        options: &SweepOptions,
        found: &mut dyn FnMut(Vec<Finding>),
    ) -> Result<(), Error> {
        scenes.iter().try_for_each(|scene| self.check(scene))?;
        if let Some(n) = options.images_s.as_ref().map(Vec::len).filter(|&n| n != scenes.len()) {
            return Err(Error::question(format!("there are budgets of {n} images, but {} images", scenes.len())));
        }
        let clock = Clock::start(Limits::default(), options.interrupt.clone());
        let mut open: Vec<(usize, f64)> = Vec::new();
        for group in self.groups(scenes, tasks)? {
            let bounded = |(t, task): &(usize, &Task)| task.open.map(|bound| (*t, bound));
            open.extend(group.tasks.iter().filter_map(bounded));
            let mut left: Vec<(usize, &Task)> =
                group.tasks.iter().copied().filter(|(_, task)| task.open.is_none()).collect();
            if left.is_empty() {
                continue;
            }
            let parts = (self.attack, self.scale);
            let mut hull = group.hull.clone();
            Block::of(self.attack, &left, SIDES[0])
                .iter()
                .for_each(|block| widen(&mut hull, &block.boxed(parts, scenes)));
            let samples = if options.batch > 1 { self.samples(scenes, &left)? } else { BTreeMap::new() };
            for around in samples.values().flat_map(|samples| samples.boxes(self.network.n_inputs())) {
                widen(&mut hull, &around);
            }
            let property = property(self.network, &hull, group.class, &group.others);
            let objective = Objective::of(self.network, &property)?.swap_remove(0);
            let engine = BoundEngine::new(self.device, Arc::clone(&objective.network), &hull, Recipe::default())?;
            let mut trials = BTreeMap::new();
            for (&scene, samples) in &samples {
                if options.interrupt.is_raised() {
                    return Ok(());
                }
                trials.insert(scene, Trial::new(samples, (&objective, &engine))?);
            }
            let nothing = Trial::none();
            let trial = |task: &Task| trials.get(&task.scene).unwrap_or(&nothing);
            for side in SIDES {
                let mut told = BTreeSet::new();
                let pays = |(_, task): &(usize, &Task)| trial(task).sides.contains(&side);
                let asked: Vec<(usize, &Task)> = left.iter().copied().filter(pays).collect();
                for chunk in Block::of(self.attack, &asked, side).chunks(options.batch.max(1)) {
                    if options.interrupt.is_raised() {
                        return Ok(());
                    }
                    let findings = self.together(scenes, chunk, (&objective, &engine))?;
                    told.extend(findings.iter().map(|finding| finding.task));
                    if !findings.is_empty() {
                        found(findings);
                    }
                }
                left.retain(|(t, _)| !told.contains(t));
            }
            let descent = Descent::new(self.network, &engine);
            for chunk in left.chunks(options.batch.max(1)) {
                if options.interrupt.is_raised() {
                    return Ok(());
                }
                let worth: Vec<Worth> = chunk.iter().map(|(_, task)| trial(task).worth).collect();
                let asked = (chunk, worth.as_slice());
                let findings = self.batch(scenes, asked, &group, (&objective, &engine, &descent), (options, &clock))?;
                if options.interrupt.is_raised() {
                    // An attack that was cut short says nothing.
                    return Ok(());
                }
                let still = findings.iter().filter(|finding| finding.verdict == PatchVerdict::Open);
                open.extend(still.map(|finding| (finding.task, finding.lower_bound.unwrap_or(f64::NEG_INFINITY))));
                found(findings);
            }
        }
        // What was not worth bounding comes last: where a part of the contents is open, splits will hardly decide all.
        let is_bounded = |bound: f64| bound > f64::MIN;
        open.sort_by(|a, b| is_bounded(b.1).cmp(&is_bounded(a.1)).then(a.1.total_cmp(&b.1)).then(a.0.cmp(&b.0)));
        let order: Vec<usize> = open.into_iter().map(|(task, _)| task).collect();
        Refinement::new(self, scenes, tasks, options).run(&order, found)
    }

    /// Tasks by class and by the classes that count.
    fn groups<'t>(&self, scenes: &[Scene], tasks: &'t [Task]) -> Result<Vec<Group<'t>>, Error> {
        let mut others = Vec::with_capacity(scenes.len());
        for scene in scenes {
            others.push(self.others(scene)?);
        }
        let mut groups: BTreeMap<(usize, Vec<usize>), Group> = BTreeMap::new();
        for (t, task) in tasks.iter().enumerate() {
            let Some(scene) = scenes.get(task.scene) else {
                let (n, asked) = (scenes.len(), task.scene);
                return Err(Error::question(format!("a task speaks of image {asked} of {n}")));
            };
            let hull = self.region(scene, task).hull()?;
            let key = (scene.class, others[task.scene].clone());
            let group = groups.entry(key).or_insert_with_key(|(class, others)| Group {
                class: *class,
                others: others.clone(),
                tasks: Vec::new(),
                hull: hull.clone(),
            });
            for i in 0..hull.n_inputs() {
                group.hull.lower[i] = group.hull.lower[i].min(hull.lower[i]);
                group.hull.upper[i] = group.hull.upper[i].max(hull.upper[i]);
                group.hull.inner_lower[i] = group.hull.inner_lower[i].min(hull.inner_lower[i]);
                group.hull.inner_upper[i] = group.hull.inner_upper[i].max(hull.inner_upper[i]);
            }
            group.tasks.push((t, task));
        }
        Ok(groups.into_values().collect())
    }

    /// What the contents of a task's patches reach.
    pub fn region(&self, scene: &Scene, task: &Task) -> PatchRegion {
        self.attack.region(&scene.image, self.scale, &task.placement)
    }

    /// The samples of the images of some tasks.
    fn samples(&self, scenes: &[Scene], tasks: &[(usize, &Task)]) -> Result<BTreeMap<usize, Samples>, Error> {
        let of = tasks.iter().map(|(_, task)| task.scene).collect::<BTreeSet<usize>>();
        of.into_iter().map(|scene| Ok((scene, Samples::of((self.attack, self.scale), scenes, scene)?))).collect()
    }

    /// Which regions are worth bounding; where that is doubtful, those of which a part is verified.
    fn are_worth(
        regions: &[PatchRegion],
        worth: &[Worth],
        (objective, engine): (&Objective, &BoundEngine),
    ) -> Result<Vec<bool>, Error> {
        let mut are_worth: Vec<bool> = worth.iter().map(|worth| *worth == Worth::Whole).collect();
        let mut parts = Batch::default();
        let doubtful = || (0..regions.len()).filter(|&b| worth[b] == Worth::Part);
        doubtful().for_each(|b| regions[b].append_part_to(&mut parts, PART));
        let bounds = engine.bound(&parts, Wanted::default())?;
        for (b, lower) in doubtful().zip(bounds.lower.chunks(bounds.n_outputs)) {
            are_worth[b] = objective.is_excluded(lower);
        }
        Ok(are_worth)
    }

    /// Bounds blocks of placements, and tells of those that are verified as a whole.
    fn together(
        &self,
        scenes: &[Scene],
        blocks: &[Block],
        (objective, engine): (&Objective, &BoundEngine),
    ) -> Result<Vec<Finding>, Error> {
        let start = Instant::now();
        let mut batch = Batch::default();
        for block in blocks {
            let around = block.boxed((self.attack, self.scale), scenes);
            batch.lower.extend(around.lower);
            batch.upper.extend(around.upper);
        }
        let bounds = engine.bound(&batch, Wanted::default())?;
        let n_tasks: usize = blocks.iter().map(|block| block.tasks.len()).sum();
        let time_s = start.elapsed().as_secs_f64() / n_tasks.max(1) as f64;
        let mut findings = Vec::new();
        for (block, lower) in blocks.iter().zip(bounds.lower.chunks(bounds.n_outputs)) {
            if !objective.is_excluded(lower) {
                continue;
            }
            let score = objective.score(lower);
            findings.extend(block.tasks.iter().map(|&task| Finding {
                task,
                verdict: PatchVerdict::Verified,
                lower_bound: score.is_finite().then_some(score),
                subdomains: 1,
                time_s,
                stage: PatchStage::Bounds,
                coverage: None,
            }));
        }
        Ok(findings)
    }

    /// Bounds and attacks some tasks of a group.
    fn batch(
        &self,
        scenes: &[Scene],
        (chunk, worth): (&[(usize, &Task)], &[Worth]),
        group: &Group,
        (objective, engine, descent): (&Objective, &BoundEngine, &Descent),
        (options, clock): (&SweepOptions, &Clock),
    ) -> Result<Vec<Finding>, Error> {
        let start = Instant::now();
        let regions: Vec<PatchRegion> = chunk.iter().map(|(_, task)| self.region(&scenes[task.scene], task)).collect();
        let worth = Self::are_worth(&regions, worth, (objective, engine))?;
        let mut batch = Batch::default();
        regions.iter().zip(&worth).filter(|(_, worth)| **worth).for_each(|(region, _)| region.append_to(&mut batch));
        let bounds = engine.bound(&batch, Wanted::default())?;
        let mut bounded = bounds.lower.chunks(bounds.n_outputs);
        let unbounded = vec![f64::NEG_INFINITY; bounds.n_outputs];
        let share_s = start.elapsed().as_secs_f64() / chunk.len() as f64;
        let mut findings = Vec::with_capacity(chunk.len());
        let mut aims = Vec::new();
        let mut places = Vec::new();
        for (b, (t, task)) in chunk.iter().enumerate() {
            let lower = if worth[b] { bounded.next().unwrap_or(&unbounded) } else { &unbounded };
            let is_verified = objective.is_excluded(lower);
            if !is_verified {
                let row = |place: usize| lower[objective.disjuncts[place].1.start];
                let mut open: Vec<usize> = (0..group.others.len())
                    .filter(|&place| row(place).partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater))
                    .collect();
                open.sort_by(|&a, &b| row(a).total_cmp(&row(b)));
                let open = open.into_iter().map(|place| objective.disjuncts[place].1.start as u32).collect();
                aims.push(Aim {
                    region: &regions[b],
                    class: group.class,
                    open,
                    others: &group.others,
                    seed: task.seed,
                });
                places.push(b);
            }
            let score = objective.score(lower);
            findings.push(Finding {
                task: *t,
                verdict: if is_verified { PatchVerdict::Verified } else { PatchVerdict::Open },
                lower_bound: score.is_finite().then_some(score),
                subdomains: 1,
                time_s: share_s,
                stage: if is_verified { PatchStage::Bounds } else { PatchStage::Attack },
                coverage: None,
            });
        }
        let start = Instant::now();
        let found = descent.attack(&aims, ATTACK, clock)?;
        let share_s = start.elapsed().as_secs_f64() / aims.len().max(1) as f64;
        for (b, found) in places.into_iter().zip(found) {
            findings[b].time_s += share_s;
            // Where a share is asked for as well, refinement finds it with the counterexample.
            let wants_share = options.coverage.is_some_and(|coverage| coverage.of_falsified);
            if let Some(found) = found.filter(|_| !wants_share) {
                findings[b].verdict = PatchVerdict::Falsified(found);
            }
        }
        Ok(findings)
    }
}

/// The property whose violation is that one of `others` is at least as large as `class`; one disjunct for each.
pub(crate) fn property(network: &Network, region: &BoxRegion, class: usize, others: &[usize]) -> Property {
    let disjunct = |&other: &usize| {
        let mut output = vec![(class, [1.0; 2]), (other, [-1.0; 2])];
        output.sort_by_key(|(k, _)| *k);
        let half_space = HalfSpace { output, ..HalfSpace::default() };
        Disjunct { region: region.clone(), half_spaces: vec![half_space] }
    };
    Property {
        n_inputs: region.n_inputs(),
        n_outputs: network.n_outputs(),
        disjuncts: others.iter().map(disjunct).collect(),
    }
}

/// The largest of the values that count, the first of equals.
fn largest(values: &[f64], counts: impl Fn(usize) -> bool) -> Option<usize> {
    (0..values.len()).filter(|&k| counts(k)).max_by(|&a, &b| values[a].total_cmp(&values[b]).then(b.cmp(&a)))
}
