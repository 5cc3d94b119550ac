use std::sync::Arc;

use bounds::{Batch, BoundEngine, Device, DeviceWork, InputSet, Recipe, SsimSet, Wanted};
use network::ssim::Similarity;
use network::{BoxRegion, Disjunct, HalfSpace, Property};

use crate::certificate::Recorder;
use crate::error::Error;
use crate::search::random::Random;
use crate::search::{
    Attack, BranchAndBound, Clock, Counterexample, End, Objective, Observer, Outcome, ReluPlan, Stage, StopReason,
    Verdict,
};
use crate::ssim::attack::SsimAttack;
use crate::ssim::reference::Reference;
use crate::ssim::{Ssim, SsimCounterexample, SsimOptions, SsimOutcome, SsimVerdict, Ties};

/// Most halvings of the mean where it is not.
const MEAN_DEPTH: u32 = 6;
/// A halving of the mean must raise the bound by this share to be worth it.
const MEAN_GAIN: f64 = 0.05;

/// Who watches a search, and who writes it down.
type Watched<'o, 'q> = (&'o mut dyn Observer, Option<&'o mut Recorder<'q>>);

impl Ssim<'_> {
    /// Attacks, bounds, and splits until the question is decided or a limit is reached.
    ///
    /// The clock ends the search and chooses nothing: within its limits, the same seed gives the same answer.
    ///
    /// # Errors
    /// When the threshold is not in `(0, 1]`, the class is none of the network's, the image does not fit the network or the
    /// similarity, or bounds fail.
    pub fn verify(
        &self,
        threshold: f64,
        options: &SsimOptions,
        observer: &mut dyn Observer,
    ) -> Result<SsimOutcome, Error> {
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        self.decide(threshold, options, &clock, Some((observer, None)))
    }

    /// As [`Self::verify`], writing a certificate of what is proved; it is one only if the verdict is verified and
    /// [`Recorder::finish`] succeeds. The recorder's property is that of [`checker::SimilarImages::misclassified`].
    ///
    /// The checker's own functions look at every piece. Pixels and means are not split, so that some questions stay open.
    ///
    /// # Errors
    /// As [`Self::verify`]; [`Error::Certificate`] for a similarity other than that of one window, which the checker does not know.
    pub fn verify_recorded(
        &self,
        threshold: f64,
        options: &SsimOptions,
        observer: &mut dyn Observer,
        recorder: &mut Recorder,
    ) -> Result<SsimOutcome, Error> {
        if self.similarity != Similarity::Global {
            let name = self.similarity.name();
            return Err(Error::Certificate(format!(
                "there are no certificates of the similarity {name}, only of global"
            )));
        }
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        self.decide(threshold, options, &clock, Some((observer, Some(recorder))))
    }

    /// Looks for a counterexample only: from random members, aimed at the disjunct with this number (modulo how many there are).
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn attack(&self, threshold: f64, disjunct: usize, options: &SsimOptions) -> Result<SsimVerdict, Error> {
        self.check(threshold)?;
        if self.network.evaluate(self.reference.pixels())?.iter().any(|value| !value.is_finite()) {
            return Ok(SsimVerdict::Unknown(StopReason::Magnitude));
        }
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let reference = Reference::new(self.reference, self.similarity);
        let property = self.property()?;
        let unknown = SsimVerdict::Unknown(StopReason::SubdomainLimit);
        let Some(objective) = Objective::of(self.network, &property)?.into_iter().next() else { return Ok(unknown) };
        let whole = reference.set(threshold, [0.0, 1.0]);
        let attack =
            SsimAttack::new((self.network, &property, &objective), &reference, (threshold, whole), options.png_safe)?;
        let aim = disjunct % objective.disjuncts.len().max(1);
        let found = attack.attack_from_members(aim, 3, 30, &mut Random::new(options.seed), &clock)?;
        Ok(found.map_or(unknown, |found| SsimVerdict::Falsified(SsimCounterexample::of(found, &reference, self.class))))
    }

    /// Checks the question itself.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn check(&self, threshold: f64) -> Result<(), Error> {
        let (n_inputs, n_outputs) = (self.network.n_inputs(), self.network.n_outputs());
        let shape = self.reference.shape();
        let problem = if !(threshold > 0.0 && threshold <= 1.0) {
            format!("the threshold is {threshold}: expected a number above 0 and at most 1")
        } else if self.class >= n_outputs {
            format!("class {} of a network with {n_outputs} outputs: classes count from 0", self.class)
        } else if n_outputs < 2 {
            "the network has one output: a classifier has one for every class, at least two".into()
        } else if self.reference.pixels().len() != n_inputs {
            let n = self.reference.pixels().len();
            format!("the image {shape:?} has {n} values, but the network takes {n_inputs}: resize it (`dimension`)")
        } else {
            self.similarity.check_shape(shape)?;
            return Ok(());
        };
        Err(Error::Question(problem))
    }

    /// The class that the reference gets, if it is not the wanted one alone.
    fn misclassified(&self) -> Result<Option<(usize, f64)>, Error> {
        let output = self.network.evaluate(self.reference.pixels())?;
        let others = (0..output.len()).filter(|&other| other != self.class);
        let best = others.max_by(|&a, &b| output[a].total_cmp(&output[b])).unwrap_or(self.class);
        let margin = output[self.class] - output[best];
        Ok(if margin > 0.0 { None } else { Some((best, margin)) })
    }

    /// Attacks, and where somebody watches also bounds and splits.
    pub(super) fn decide(
        &self,
        threshold: f64,
        options: &SsimOptions,
        clock: &Clock,
        watched: Option<Watched>,
    ) -> Result<SsimOutcome, Error> {
        self.check(threshold)?;
        let mut outcome = Outcome {
            verdict: Verdict::Verified,
            subdomains: 0,
            rebounded: 0,
            lower_bound: None,
            plan: vec![Stage::Attack],
            fallback: None,
            on_device: DeviceWork::default(),
        };
        if self.network.evaluate(self.reference.pixels())?.iter().any(|value| !value.is_finite()) {
            return Ok(finished(SsimVerdict::Unknown(StopReason::Magnitude), outcome));
        }
        if let Some((predicted, margin)) = self.misclassified()? {
            let verdict = if margin == 0.0 && options.ties == Ties::AreTies {
                SsimVerdict::Tie(self.reference_as_counterexample(predicted)?)
            } else {
                SsimVerdict::Misclassified { predicted }
            };
            return Ok(finished(verdict, outcome));
        }
        let reference = Reference::new(self.reference, self.similarity);
        let property = match &watched {
            Some((_, Some(recorder))) => recorder.question.property.clone(),
            _ => self.property()?,
        };
        let objectives = Objective::of(self.network, &property)?;
        let Some(objective) = objectives.into_iter().next() else {
            return Ok(finished(SsimVerdict::Verified, outcome));
        };
        let whole = reference.set(threshold, [0.0, 1.0]);
        let attack =
            SsimAttack::new((self.network, &property, &objective), &reference, (threshold, whole), options.png_safe)?;
        let as_found = |found: Counterexample| SsimCounterexample::of(found, &reference, self.class);
        let mut random = Random::new(options.seed);
        let end = match watched {
            Some((observer, recorder)) => {
                let device = options.device.as_ref().unwrap_or(&Device::Host);
                let question = (threshold, &objective, &attack, device);
                self.search(question, &mut random, recorder, (clock, observer, &mut outcome))
            }
            None => attack.attack_set(&|_| true, 2, 40, &mut random, clock).map(|found| {
                found.map_or(End::Stopped(StopReason::SubdomainLimit), |found| End::Falsified(Box::new(found)))
            }),
        };
        let end = match end {
            Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {
                End::Stopped(StopReason::Magnitude)
            }
            end => end?,
        };
        let verdict = match (end, attack.into_tie()) {
            (End::Falsified(found), _) => SsimVerdict::Falsified(as_found(*found)),
            // A tie in floats is no tie in real arithmetic, of which the proof speaks.
            (End::Verified, _) => SsimVerdict::Verified,
            (End::Stopped(_), Some(tie)) if options.ties == Ties::AreViolations => {
                SsimVerdict::Falsified(as_found(tie))
            }
            (End::Stopped(_), Some(tie)) => SsimVerdict::Tie(as_found(tie)),
            (End::Stopped(reason), None) => SsimVerdict::Unknown(reason),
        };
        Ok(finished(verdict, outcome))
    }

    fn reference_as_counterexample(&self, predicted: usize) -> Result<SsimCounterexample, Error> {
        let image = self.reference.pixels().to_vec();
        let output = self.network.evaluate(&image)?;
        Ok(SsimCounterexample { image, ssim: 1.0, output, predicted, margin: 0.0 })
    }

    /// One disjunct for every other class: its output is at least that of the wanted one.
    fn property(&self) -> Result<Property, Error> {
        let (n_inputs, n_outputs) = (self.network.n_inputs(), self.network.n_outputs());
        let images = BoxRegion::new(vec![0.0; n_inputs], vec![1.0; n_inputs])?;
        let against = |other: usize| {
            let mut output = vec![(self.class, [1.0; 2]), (other, [-1.0; 2])];
            output.sort_by_key(|term| term.0);
            Disjunct { region: images.clone(), half_spaces: vec![HalfSpace { output, ..HalfSpace::default() }] }
        };
        let disjuncts = (0..n_outputs).filter(|&other| other != self.class).map(against).collect();
        Ok(Property { n_inputs, n_outputs, disjuncts })
    }

    /// Attack, root bounds, a longer attack, and splits, over one interval of means after another.
    fn search(
        &self,
        (threshold, objective, attack, device): (f64, &Objective, &SsimAttack, &Device),
        random: &mut Random,
        recorder: Option<&mut Recorder>,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        if let Some(found) = attack.attack_set(&|_| true, 0, 6, random, clock)? {
            return Ok(End::Falsified(Box::new(found)));
        }
        let reference = Reference::new(self.reference, self.similarity);
        outcome.begin(Stage::Bounds);
        let set = reference.set(threshold, [0.0, 1.0]);
        let enclosure = if recorder.is_some() { Some(objective.region.clone()) } else { enclosure(&set)? };
        let Some(enclosure) = enclosure else {
            // The reference is always a member: an empty set cannot be.
            return Ok(End::Stopped(StopReason::Precision));
        };
        let mut root = Part::over(set, &enclosure, objective, device, ([0.0, 1.0], 0))?;
        outcome.fallback = root.engine.fallback().map(str::to_owned);
        let excluded = recorder.as_deref().map(|recorder| {
            let all: Vec<usize> = (0..objective.disjuncts.len()).collect();
            recorder.excluded(&root.objective, &all)
        });
        if let Some(excluded) = &excluded {
            root.open = (0..objective.disjuncts.len()).filter(|disjunct| !excluded.contains(disjunct)).collect();
        }
        if !root.open.is_empty() {
            outcome.begin(Stage::Attack);
            let is_open = |disjunct: usize| root.open.contains(&disjunct);
            if let Some(found) = attack.attack_set(&is_open, 3, 40, random, clock)? {
                return Ok(End::Falsified(Box::new(found)));
            }
        }
        if let (Some(recorder), Some(excluded)) = (recorder, excluded) {
            return root.certify(&excluded, attack, recorder, (clock, observer, outcome));
        }
        let mut left = vec![root];
        let mut stopped = None;
        while let Some(part) = left.pop() {
            if part.open.is_empty() {
                outcome.subdomains += 1;
                outcome.meet(part.score);
                continue;
            }
            if threshold < SsimSet::CONVEX_FROM && part.depth < MEAN_DEPTH && self.similarity == Similarity::Global {
                let halves = part.halves(&reference, objective, (threshold, device))?;
                outcome.subdomains += 2;
                let score = halves.iter().map(|half| half.score).fold(f64::INFINITY, f64::min);
                if score > part.score + MEAN_GAIN * part.score.abs() {
                    left.extend(halves);
                    continue;
                }
            }
            match part.decide(attack, (clock, observer, outcome))? {
                End::Verified => {}
                End::Stopped(reason) => {
                    stopped = Some(reason);
                    if reason != StopReason::Precision {
                        break;
                    }
                }
                found @ End::Falsified(_) => return Ok(found),
            }
        }
        Ok(stopped.map_or(End::Verified, End::Stopped))
    }
}

/// The members of a set whose means lie in an interval, and their root bounds.
struct Part {
    means: [f64; 2],
    depth: u32,
    engine: BoundEngine,
    objective: Objective,
    /// The disjuncts that the root's bounds leave open.
    open: Vec<usize>,
    /// The smallest bound over disjuncts.
    score: f64,
}

impl Part {
    /// Bounds it; `None` if it is empty.
    fn new(
        reference: &Reference,
        objective: &Objective,
        (threshold, device): (f64, &Device),
        (means, depth): ([f64; 2], u32),
    ) -> Result<Option<Self>, Error> {
        let set = reference.set(threshold, means);
        let Some(region) = enclosure(&set)? else { return Ok(None) };
        Self::over(set, &region, objective, device, (means, depth)).map(Some)
    }

    /// Bounds a set that lies in a box.
    fn over(
        set: Arc<InputSet>,
        region: &BoxRegion,
        objective: &Objective,
        device: &Device,
        (means, depth): ([f64; 2], u32),
    ) -> Result<Self, Error> {
        let objective = Objective { region: region.clone(), ..objective.clone() };
        let engine = BoundEngine::over_set(device, Arc::clone(&objective.network), region, set, Recipe::default())?;
        let ends = engine.region().clone();
        let bounds = engine.bound(&Batch { lower: ends.lower, upper: ends.upper }, Wanted::default())?;
        let is_open = |disjunct: &usize| {
            let rows = objective.disjuncts[*disjunct].1.clone();
            !bounds.lower[rows].iter().any(|&bound| bound > 0.0)
        };
        let open = (0..objective.disjuncts.len()).filter(is_open).collect();
        let score = objective.score(&bounds.lower);
        Ok(Self { means, depth, engine, objective, open, score })
    }

    /// Two parts that cover it.
    fn halves(
        &self,
        reference: &Reference,
        objective: &Objective,
        (threshold, device): (f64, &Device),
    ) -> Result<Vec<Self>, Error> {
        let set = reference.set(threshold, self.means);
        let [from, to] = set.means().unwrap_or(self.means);
        let middle = 0.5 * (from + to);
        let half = |means| Self::new(reference, objective, (threshold, device), (means, self.depth + 1));
        // Outer ends stay those of the part, so that nothing is lost to rounding.
        let halves = [half([self.means[0], middle])?, half([middle, self.means[1]])?];
        Ok(halves.into_iter().flatten().collect())
    }

    /// Writes a certificate: of what plain bounds exclude, and of pieces whose `ReLU`s are split.
    fn certify(
        &self,
        excluded: &[usize],
        attack: &dyn Attack,
        recorder: &mut Recorder,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        recorder.whole(&self.objective, excluded);
        if self.open.is_empty() {
            outcome.subdomains += 1;
            outcome.meet(self.score);
            return Ok(End::Verified);
        }
        if !self.objective.has_relus() {
            return Ok(End::Stopped(StopReason::Precision));
        }
        outcome.begin(Stage::ReluSplits);
        let plan = ReluPlan::new(&self.objective, attack);
        plan.run_recorded(&self.engine, &self.open, Some(recorder), (clock, observer, outcome))
    }

    /// Splits `ReLU`s, then pixels.
    fn decide(
        &self,
        attack: &dyn Attack,
        (clock, observer, outcome): (&Clock, &mut dyn Observer, &mut Outcome),
    ) -> Result<End, Error> {
        let before = outcome.lower_bound;
        if self.objective.has_relus() {
            outcome.begin(Stage::ReluSplits);
            match ReluPlan::new(&self.objective, attack).run(&self.engine, &self.open, clock, observer, outcome) {
                Ok(End::Stopped(StopReason::Precision))
                | Err(Error::Bounds(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } })) => {}
                end => return end,
            }
        }
        outcome.lower_bound = before;
        outcome.begin(Stage::InputSplits);
        let mut search = BranchAndBound::new(&self.objective, &self.engine, attack);
        let end = search.run(clock, observer)?;
        let (subdomains, rebounded) = search.counts();
        outcome.subdomains += subdomains;
        outcome.rebounded += rebounded;
        outcome.meet(search.lower_bound().unwrap_or(f64::INFINITY));
        Ok(end)
    }
}

/// A box that contains a set; none where the set is empty.
fn enclosure(set: &InputSet) -> Result<Option<BoxRegion>, Error> {
    Ok(set.enclosure().map(|(lower, upper)| BoxRegion::new(lower, upper)).transpose()?)
}

fn finished(verdict: SsimVerdict, outcome: Outcome) -> SsimOutcome {
    let Outcome { subdomains, rebounded, lower_bound, plan, fallback, .. } = outcome;
    SsimOutcome { verdict, subdomains, rebounded, lower_bound, plan, fallback }
}
