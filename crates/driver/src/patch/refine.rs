use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bounds::{Batch, BoundEngine, Device, DeviceWork, Recipe, Wanted};
use network::{BoxRegion, Network, Property};

use crate::error::Error;
use crate::patch::region::PatchRegion;
use crate::patch::sweep::{CoverageOptions, PatchSweep, Scene, SweepOptions, Task, property};
use crate::patch::verdict::{Coverage, Finding, PatchCounterexample, PatchStage, PatchVerdict};
use crate::preimage::{Mode, OutputPolytope, PreimageOptions, PreimageProblem, PreimageSearch, PreimageStop};
use crate::search::{
    BranchAndBound, Clock, End, Falsifier, Limits, Objective, Outcome, ReluPlan, Silent, StopReason, Verdict,
};

/// Decides placements one by one, as many at once as there are cores, each on one: a search of its own for each.
#[derive(Debug)]
pub struct Refinement<'a> {
    sweep: &'a PatchSweep<'a>,
    scenes: &'a [Scene],
    tasks: &'a [Task],
    options: &'a SweepOptions,
}

impl<'a> Refinement<'a> {
    /// For the tasks of a sweep.
    pub fn new(sweep: &'a PatchSweep<'a>, scenes: &'a [Scene], tasks: &'a [Task], options: &'a SweepOptions) -> Self {
        Self { sweep, scenes, tasks, options }
    }

    /// Decides the tasks in this order; `found` is told of each as it ends.
    ///
    /// # Errors
    /// When the bounds fail; tasks that ended before are told.
    pub fn run(&self, order: &[usize], found: &mut dyn FnMut(Vec<Finding>)) -> Result<(), Error> {
        if order.is_empty() {
            return Ok(());
        }
        let n_workers = rayon::current_num_threads().min(order.len());
        let next = AtomicUsize::new(0);
        let left_s = Mutex::new(self.options.images_s.clone().unwrap_or_default());
        let (sender, receiver) = mpsc::channel::<Result<Finding, Error>>();
        let work = |sender: &mpsc::Sender<Result<Finding, Error>>| -> Result<(), Error> {
            // A search on one core does not wait for others, and its clock counts its own work only.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            let pool = pool.map_err(|error| Error::question(format!("a thread cannot be started: {error}")))?;
            loop {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(&task) = order.get(place) else { return Ok(()) };
                if self.options.interrupt.is_raised() {
                    return Ok(());
                }
                if let Some(finding) = pool.install(|| self.decide(task, &left_s))?
                    && sender.send(Ok(finding)).is_err()
                {
                    return Ok(());
                }
            }
        };
        let mut first_error = None;
        std::thread::scope(|scope| {
            for _ in 0..n_workers {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || {
                    if let Err(error) = work(&sender) {
                        drop(sender.send(Err(error)));
                    }
                });
            }
            // Ends once all workers have hung up.
            drop(sender);
            for message in receiver {
                match message {
                    Ok(finding) => found(vec![finding]),
                    Err(error) => {
                        next.store(order.len(), Ordering::Relaxed);
                        first_error = first_error.take().or(Some(error));
                    }
                }
            }
        });
        first_error.map_or(Ok(()), Err)
    }

    /// Decides one; `None` if an interrupt cut it short.
    fn decide(&self, task: usize, left_s: &Mutex<Vec<f64>>) -> Result<Option<Finding>, Error> {
        let start = Instant::now();
        let asked = &self.tasks[task];
        let scene = &self.scenes[asked.scene];
        let others = self.sweep.others(scene)?;
        let region = self.sweep.region(scene, asked);
        let question = self.question(&region)?;
        let mut limits = self.options.limits.clone();
        if let Some(&left) = lock(left_s).get(asked.scene) {
            limits.time_s = Some(limits.time_s.map_or(left, |own| own.min(left)).max(0.0));
        }
        let mut finding = Finding {
            task,
            verdict: PatchVerdict::Unknown(StopReason::TimeLimit),
            lower_bound: asked.open,
            subdomains: 1,
            time_s: 0.0,
            stage: PatchStage::Refinement,
            coverage: None,
        };
        if limits.time_s.is_none_or(|limit| limit > 0.0) {
            let clock = Clock::start(limits, self.options.interrupt.clone());
            let (network, ends) = question.parts(self.sweep.network);
            let property = property(network, ends, scene.class, &others);
            let (end, outcome) = search(network, &property, &clock)?;
            finding.subdomains += outcome.subdomains;
            finding.lower_bound = outcome.lower_bound.or(finding.lower_bound);
            finding.verdict = match end {
                End::Verified => PatchVerdict::Verified,
                End::Falsified(found) => {
                    // What only touches another class, or is undone by rounding to f32, changes nothing: then it is looked for elsewhere.
                    let found = match self.confirmed(&region, &found.input, (scene.class, &others)) {
                        None => {
                            let (end, more) = search(network, &ahead(property, &found.output), &clock)?;
                            finding.subdomains += more.subdomains;
                            match end {
                                End::Falsified(found) => self.confirmed(&region, &found.input, (scene.class, &others)),
                                _ => None,
                            }
                        }
                        found => found,
                    };
                    found.map_or(PatchVerdict::Unknown(StopReason::Precision), PatchVerdict::Falsified)
                }
                End::Stopped(StopReason::Interrupted) => return Ok(None),
                End::Stopped(reason) => PatchVerdict::Unknown(reason),
            };
        }
        if let Some(options) = self.options.coverage
            && (matches!(finding.verdict, PatchVerdict::Unknown(_))
                || (options.of_falsified && matches!(finding.verdict, PatchVerdict::Falsified(_))))
        {
            let Some(coverage) = self.coverage(&question, scene.class, &others, (options, asked.seed))? else {
                return Ok(None);
            };
            finding.coverage = Some(coverage);
        }
        finding.time_s = start.elapsed().as_secs_f64();
        if let Some(left) = lock(left_s).get_mut(asked.scene) {
            *left -= finding.time_s;
        }
        Ok(Some(finding))
    }

    /// The network and the box that a search is about.
    fn question(&self, region: &PatchRegion) -> Result<Question, Error> {
        Ok(match region.substitution() {
            Some(substitution) => Question {
                network: Some(substitution.applied(region.base(), self.sweep.network)?),
                ends: substitution.region()?,
            },
            None => Question { network: None, ends: region.hull()? },
        })
    }

    fn confirmed(
        &self,
        region: &PatchRegion,
        input: &[f64],
        classes: (usize, &[usize]),
    ) -> Option<PatchCounterexample> {
        let coordinates: Vec<f64> = match region.substitution() {
            Some(_) => input.to_vec(),
            None => region.varying().map(|i| input[i]).collect(),
        };
        region.confirmed_at(self.sweep.network, &coordinates, classes)
    }

    /// The share of the contents that polytopes prove to keep the class; `None` if an interrupt cut it short.
    fn coverage(
        &self,
        question: &Question,
        class: usize,
        others: &[usize],
        (options, seed): (CoverageOptions, u64),
    ) -> Result<Option<Coverage>, Error> {
        let (network, ends) = question.parts(self.sweep.network);
        let n = network.n_outputs();
        let mut target = OutputPolytope::default();
        for &other in others {
            let OutputPolytope { rows, rhs } = OutputPolytope::against(class, other, n);
            target.rows.extend(rows);
            target.rhs.extend(rhs);
        }
        let problem = PreimageProblem::new(network.clone(), ends.clone(), target, Mode::Under);
        let limits = Limits { time_s: options.time_s, subdomains: options.subdomains, ..Limits::default() };
        let asked = PreimageOptions {
            coverage: options.target,
            limits,
            seed,
            interrupt: self.options.interrupt.clone(),
            n_report: options.samples.max(1),
            ..PreimageOptions::default()
        };
        let outcome = PreimageSearch::new(&problem, &Device::Host)?.run(&asked, &mut |_| {})?;
        Ok((outcome.stop != PreimageStop::Interrupted).then_some(Coverage {
            certified: outcome.approximation_volume,
            interval: outcome.approximation_interval,
            kept: outcome.preimage_volume,
            kept_interval: outcome.preimage_interval,
            polytopes: outcome.elements.len(),
        }))
    }
}

/// Where classes are exactly equal somewhere: by which share of the largest output another one must win elsewhere.
const AHEAD: f64 = 1e-6;
/// How many times as long as the plain bounds of a root its optimised ones take, at least.
const ROOT_OPTIMISED: f64 = 10.0;
/// Most inputs that vary where splitting them is preferred.
const FEW_INPUTS: usize = 16;

/// Splits until a property of one region is decided. Unlike `Verify` it does not attack first: placements were attacked before.
fn search(network: &Network, property: &Property, clock: &Clock) -> Result<(End, Outcome), Error> {
    let mut outcome = Outcome {
        verdict: Verdict::Verified,
        subdomains: 0,
        rebounded: 0,
        lower_bound: None,
        plan: Vec::new(),
        fallback: None,
        on_device: DeviceWork::default(),
    };
    // Of no class at all nothing is proved.
    let Some(objective) = Objective::of(network, property)?.pop() else {
        return Ok((End::Stopped(StopReason::Precision), outcome));
    };
    match split(network, property, &objective, (clock, &mut outcome)) {
        Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {
            Ok((End::Stopped(StopReason::Magnitude), outcome))
        }
        end => Ok((end?, outcome)),
    }
}

/// Inputs where few of them vary, `ReLU`s and then inputs where many do.
fn split(
    network: &Network,
    property: &Property,
    objective: &Objective,
    (clock, outcome): (&Clock, &mut Outcome),
) -> Result<End, Error> {
    let region = &objective.region;
    let engine = BoundEngine::new(&Device::Host, Arc::clone(&objective.network), region, Recipe::default())?;
    let falsifier = Falsifier::new(&Device::Host, network, property, objective)?;
    let n_varying = region.lower.iter().zip(&region.upper).filter(|(low, high)| low < high).count();
    if n_varying > FEW_INPUTS && objective.has_relus() {
        let ends = engine.region();
        let root = Batch { lower: ends.lower.clone(), upper: ends.upper.clone() };
        let bounds = engine.bound(&root, Wanted::default())?;
        let is_excluded = |place: &usize| {
            let rows = objective.disjuncts[*place].1.clone();
            bounds.lower[rows].iter().any(|&bound| bound > 0.0)
        };
        let open: Vec<usize> = (0..objective.disjuncts.len()).filter(|place| !is_excluded(place)).collect();
        if open.is_empty() {
            outcome.meet(objective.score(&bounds.lower));
            return Ok(End::Verified);
        }
        if let Some(stop) = clock.stop(0, 0).or_else(|| too_long(clock)) {
            outcome.meet(objective.score(&bounds.lower));
            return Ok(End::Stopped(stop));
        }
        match ReluPlan::new(objective, &falsifier).run(&engine, &open, clock, &mut Silent, outcome) {
            // What no single row excludes on any piece, splits of inputs may still decide.
            Ok(End::Stopped(StopReason::Precision))
            | Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {}
            end => return end,
        }
    }
    outcome.lower_bound = None;
    let mut search = BranchAndBound::new(objective, &engine, &falsifier);
    let end = search.run(clock, &mut Silent)?;
    outcome.subdomains += search.counts().0;
    outcome.meet(search.lower_bound().unwrap_or(f64::INFINITY));
    Ok(end)
}

/// Whether optimising the bounds of the root would take longer than is left: asked once those are found that it starts from, of which it
/// costs several times as much, and a part of it decides nothing.
fn too_long(clock: &Clock) -> Option<StopReason> {
    let spent_s = clock.elapsed().as_secs_f64();
    let left_s = clock.time_left_s()?;
    (ROOT_OPTIMISED * spent_s > left_s).then_some(StopReason::TimeLimit)
}

/// A property whose violations are ahead of a tie: other classes win by a little.
fn ahead(mut property: Property, output: &[f64]) -> Property {
    let by = AHEAD * output.iter().fold(1.0_f64, |most, value| most.max(value.abs()));
    let half_spaces = property.disjuncts.iter_mut().flat_map(|disjunct| &mut disjunct.half_spaces);
    half_spaces.for_each(|half_space| half_space.constant = [by; 2]);
    property
}

/// What a search is about.
#[derive(Debug)]
struct Question {
    /// Where inputs vary together: the network as a function of the parameters.
    network: Option<Network>,
    ends: BoxRegion,
}

impl Question {
    fn parts<'q>(&'q self, whole: &'q Network) -> (&'q Network, &'q BoxRegion) {
        (self.network.as_ref().unwrap_or(whole), &self.ends)
    }
}

fn lock(left_s: &Mutex<Vec<f64>>) -> std::sync::MutexGuard<'_, Vec<f64>> {
    left_s.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
