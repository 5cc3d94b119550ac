mod measured;

use std::sync::Arc;

use bounds::{BoundEngine, Device, Optimised, Recipe};
use network::NodeId;
use rayon::prelude::*;

use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::interval::{Interval, clopper_pearson};
use crate::preimage::outcome::{PreimageOutcome, PreimageStop, Round};
use crate::preimage::piece::{Effort, Ground, Piece, Samples};
use crate::preimage::problem::{Mode, PreimageProblem};
use crate::preimage::reduced::Reduced;
use crate::preimage::splitting::{Breadth, Cut, LOOK, Operands, candidates, operands, score, sides};
use crate::preimage::stream::{CounterStream, Purpose};
use crate::preimage::tree::{Selection, Tree};
use crate::preimage::trim::Trim;
use crate::search::{Clock, Interrupt, Limits, StopReason};

/// How to approximate.
#[derive(Debug, Clone)]
pub struct PreimageOptions {
    /// Where the search may stop: at least this coverage of an under-approximation, at most of an over-approximation.
    pub coverage: f64,
    /// What may be spent.
    pub limits: Limits,
    /// Where randomness starts.
    pub seed: u64,
    /// Stops the search from outside.
    pub interrupt: Interrupt,
    /// Samples that the search starts from; none: as many as the number of inputs asks for.
    pub n_samples: Option<usize>,
    /// Share of a piece's samples that each layer may lose where an under-approximation cuts corners off, in `[0, 1)`; none: 0 where
    /// few inputs vary, else 0.02.
    pub trim: Option<f64>,
    /// Fresh samples behind the reported figures.
    pub n_report: usize,
    /// Polytopes of an earlier run of the same problem, to go on from.
    pub known: Vec<Element>,
}

impl Default for PreimageOptions {
    fn default() -> Self {
        Self {
            coverage: 0.9,
            limits: Limits::default(),
            seed: 0,
            interrupt: Interrupt::default(),
            n_samples: None,
            trim: None,
            n_report: 1 << 17,
            known: Vec::new(),
        }
    }
}

/// Approximates one preimage.
#[derive(Debug)]
pub struct PreimageSearch<'a> {
    problem: &'a PreimageProblem,
    reduced: Reduced,
    engine: BoundEngine,
}

/// Confidence of every interval.
const DELTA: f64 = 0.05;
/// Fewest samples that could be won in a piece before fresh ones are drawn, and how many are tried.
const FEW_SAMPLES: usize = 128;
const TRIES: usize = 4096;
/// A piece of less of the region's mass is left alone.
const LEAST_MASS: f64 = 1e-9;
/// Full effort.
const FULL: Effort =
    Effort { steps: 16, inner_steps: 0, n_points: 256, fills: true, trim: Trim { share: 0.0, steps: 6 } };
const ROOT: Effort =
    Effort { steps: 40, inner_steps: 0, n_points: 1024, fills: true, trim: Trim { share: 0.0, steps: 6 } };

/// At most so many inputs that vary are split themselves, and boxes are bounded as they are; past it `ReLU`s are split as well, and
/// corners cut off.
const FEW_INPUTS: usize = 8;

/// How to search.
#[derive(Debug, Clone, Copy)]
struct Plan {
    breadth: Breadth,
    /// Share of the samples that each layer may lose.
    share: f64,
    n_samples: usize,
}

impl Plan {
    fn effort(&self, effort: Effort) -> Effort {
        Effort { trim: Trim { share: self.share, ..effort.trim }, ..effort }
    }
}

/// Counts of fresh samples.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    n: u64,
    n_inside: u64,
    /// In an under-approximation's elements; outside the preimage but in an over-approximation's.
    n_hit: u64,
}

impl<'a> PreimageSearch<'a> {
    /// Prepares the bounds of a problem.
    ///
    /// # Errors
    /// When the problem makes no sense, or the bounds cannot be computed.
    pub fn new(problem: &'a PreimageProblem, device: &Device) -> Result<Self, Error> {
        let reduced = Reduced::new(problem)?;
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let (lower, upper) = reduced.outer.iter().copied().unzip();
        let region = network::BoxRegion::new(lower, upper)?;
        let engine = BoundEngine::new(device, Arc::clone(&reduced.network), &region, recipe)?;
        Ok(Self { problem, reduced, engine })
    }

    /// Splits until the target is reached, or something says stop; whatever was found is returned.
    ///
    /// `watch` is called after every round.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn run(&self, options: &PreimageOptions, watch: &mut dyn FnMut(Round)) -> Result<PreimageOutcome, Error> {
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let mode = self.problem.mode;
        let activations: Vec<u32> = self.engine.activations().collect();
        let ground = Ground { reduced: &self.reduced, engine: &self.engine, mode, activations: &activations };
        let region = self.engine.region();
        let ends: Box<[f32]> = region.lower.iter().chain(&region.upper).copied().collect();
        let stream = CounterStream::new(options.seed, Purpose::Search, 0);
        let plan = self.plan(options);
        let samples = self.samples(stream, &ends, plan.n_samples)?;
        let preimage = samples.n_inside() as f64 * samples.weight;
        self.check_known(&options.known)?;
        let mut tree = Tree::default();
        let mut open = Vec::new();
        // What polytopes of an earlier run hold.
        let mut known = 0.0;
        for mut root in self.roots(ends, &samples, &options.known) {
            if mode == Mode::Under {
                known = preimage - root.samples.n_inside() as f64 * root.samples.weight;
            }
            root.bound(&ground, None, plan.effort(ROOT))?;
            open.push(tree.push_root(root));
        }
        let n_known = if mode == Mode::Under { options.known.len() } else { 0 };
        let (mut subdomains, mut serial) = (open.len() as u64, open.len() as u64);
        let mut rounds = Vec::new();
        // How far past the target the estimate must be before fresh samples are asked.
        let mut margin = 0.004;
        let stop = loop {
            let best = tree.best(mode);
            let estimate = ratio(known + best.volume, preimage);
            let polytopes = n_known + best.n_polytopes;
            let round = Round { time_s: clock.elapsed().as_secs_f64(), coverage: estimate, polytopes };
            rounds.push(round);
            watch(round);
            if preimage == 0.0 && mode == Mode::Under {
                break PreimageStop::NoPreimage;
            }
            let is_past = |coverage: f64| match mode {
                Mode::Under => coverage >= (options.coverage + margin).min(0.5 + 0.5 * options.coverage),
                Mode::Over => coverage <= options.coverage - margin,
            };
            if is_past(estimate) {
                let selection = self.thinned(&tree, options, margin, (preimage, known));
                let elements = self.elements(&tree, &selection, options);
                let counts = self.measure(&elements, options, (Purpose::Decision, rounds.len() as u64), 1)?.0;
                let (coverage, interval) = counts.coverage(mode, 0.002);
                let is_reached = match mode {
                    Mode::Under => interval.lower >= options.coverage,
                    Mode::Over => interval.upper <= options.coverage,
                };
                if is_reached {
                    break PreimageStop::Target;
                }
                let missing = match mode {
                    Mode::Under => options.coverage - interval.lower,
                    Mode::Over => interval.upper - options.coverage,
                };
                let optimism = (ratio(known + selection.volume, preimage) - coverage).abs();
                margin += missing.max(0.25 * optimism).max(0.001);
            }
            match clock.stop(subdomains, 0) {
                Some(StopReason::Interrupted) => break PreimageStop::Interrupted,
                Some(StopReason::SubdomainLimit) => break PreimageStop::SubdomainLimit,
                Some(_) => break PreimageStop::TimeLimit,
                None => {}
            }
            open.retain(|&at| tree.piece(at).tally.undecided(mode) > LEAST_MASS);
            open.sort_by(|&a, &b| {
                let [first, second] = [a, b].map(|at| tree.piece(at).tally.undecided(mode));
                second.total_cmp(&first).then(a.cmp(&b))
            });
            let Some(&first) = open.first() else { break PreimageStop::Exhausted };
            let least = 0.5 * tree.piece(first).tally.undecided(mode);
            let count = open.iter().take_while(|&&at| tree.piece(at).tally.undecided(mode) >= least).count();
            let chosen: Vec<usize> = open.drain(..count.min(MOST_PIECES)).collect();
            let pieces: Vec<&Piece> = chosen.iter().map(|&at| tree.piece(at)).collect();
            let (children, n_bounded) = self.expand(&ground, &pieces, plan, (serial, &clock, options))?;
            serial += 2 * chosen.len() as u64;
            subdomains += n_bounded;
            for (at, children) in chosen.into_iter().zip(children) {
                if let Some(children) = children {
                    open.extend(tree.replace(at, children));
                }
            }
        };
        self.report(&tree, options, (margin, preimage, known), Report { stop, subdomains, rounds })
    }

    /// How to search, by how many inputs vary.
    fn plan(&self, options: &PreimageOptions) -> Plan {
        let n = self.reduced.n_free();
        let is_low = n <= FEW_INPUTS;
        let breadth = if is_low { Breadth { inputs: n, relus: 0 } } else { Breadth { inputs: 12, relus: 24 } };
        let share = options.trim.unwrap_or(if is_low { 0.0 } else { 0.02 });
        let n_samples = options.n_samples.unwrap_or(if is_low { 1 << 14 } else { 1 << 17 });
        Plan { breadth, share, n_samples }
    }

    /// The fewest elements that should still reach the target.
    fn thinned(&self, tree: &Tree, options: &PreimageOptions, margin: f64, (preimage, known): (f64, f64)) -> Selection {
        let mode = self.problem.mode;
        let goal = match mode {
            Mode::Under => (options.coverage + margin).min(0.5 + 0.5 * options.coverage),
            Mode::Over => options.coverage - margin,
        };
        tree.fewest(mode, goal * preimage - known)
    }

    /// What an earlier run found must belong to this problem's inputs.
    fn check_known(&self, known: &[Element]) -> Result<(), Error> {
        let n = self.reduced.n_free();
        match known.iter().find(|element| element.lower.len() != n) {
            None if self.problem.mode == Mode::Over && self.reduced.targets.len() > 1 && !known.is_empty() => {
                Err(Error::question("an over-approximation of several output polytopes cannot go on from a file"))
            }
            None => Ok(()),
            Some(element) => {
                let given = element.lower.len();
                Err(Error::question(format!("a polytope to go on from has {given} inputs, but {n} vary")))
            }
        }
    }

    /// Where the search starts: the region; or, of an over-approximation that goes on, its polytopes. Of an under-approximation that goes
    /// on, the samples that its polytopes do not hold.
    fn roots(&self, ends: Box<[f32]>, samples: &Samples, known: &[Element]) -> Vec<Piece> {
        let n = self.reduced.n_free();
        let precise = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
        if self.problem.mode == Mode::Under || known.is_empty() {
            let is_new = |x: &[f32]| known.is_empty() || !known.iter().any(|element| element.contains(&precise(x)));
            return vec![Piece::open(ends, Vec::new(), Vec::new(), samples.filtered(n, is_new), 0)];
        }
        let root = |(serial, element): (usize, &Element)| {
            // Rounded outward: whatever the polytope holds stays inside.
            let lower =
                element.lower.iter().map(|&x| if f64::from(x as f32) > x { (x as f32).next_down() } else { x as f32 });
            let upper =
                element.upper.iter().map(|&x| if f64::from(x as f32) < x { (x as f32).next_up() } else { x as f32 });
            let ends = lower.chain(upper).collect();
            let own = samples.filtered(n, |x| element.contains(&precise(x)));
            Piece::open(ends, Vec::new(), element.planes.clone(), own, serial as u64)
        };
        known.iter().enumerate().map(root).collect()
    }

    /// The polytopes of a selection, after those of an earlier run.
    fn elements(&self, tree: &Tree, selection: &Selection, options: &PreimageOptions) -> Vec<Element> {
        let mode = self.problem.mode;
        let mut elements = if mode == Mode::Under { options.known.clone() } else { Vec::new() };
        elements.extend(tree.elements(selection, &self.reduced, mode));
        elements
    }

    /// The best cut of every piece, its children bounded; none where nothing can be cut.
    #[expect(clippy::type_complexity, reason = "children of each piece, and how many pieces were bounded")]
    fn expand(
        &self,
        ground: &Ground,
        pieces: &[&Piece],
        plan: Plan,
        (serial, clock, options): (u64, &Clock, &PreimageOptions),
    ) -> Result<(Vec<Option<[Piece; 2]>>, u64), Error> {
        let n = self.reduced.n_free();
        // A look needs fewer samples.
        let thin: Vec<Piece> = pieces
            .iter()
            .map(|piece| Piece { samples: piece.samples.thinned(n, LOOK_SAMPLES), ..(*piece).clone() })
            .collect();
        let listed: Vec<Vec<Cut>> = thin.iter().map(|piece| candidates(ground, piece, plan.breadth)).collect();
        let prepare =
            |(piece, cuts): (&Piece, &Vec<Cut>)| Ok((operands(ground, piece, cuts)?, 0.25 * piece.spread(ground)));
        let prepared: Result<Vec<(Operands, f64)>, Error> = thin.par_iter().zip(&listed).map(prepare).collect();
        let prepared = prepared?;
        let cuts: Vec<(usize, Cut)> =
            listed.iter().enumerate().flat_map(|(p, cuts)| cuts.iter().map(move |&cut| (p, cut))).collect();
        let looked: Vec<Result<Option<(f64, [Piece; 2])>, Error>> = cuts
            .par_iter()
            .with_min_len(1)
            .map(|&(p, cut)| {
                if clock.stop(0, 0).is_some() {
                    return Ok(None);
                }
                let (piece, (operands, spread)) = (&thin[p], &prepared[p]);
                let made = sides(ground, piece, cut, operands, serial + 2 * p as u64)?;
                let Some(mut children) = made else { return Ok(None) };
                for child in &mut children {
                    child.bound(ground, Some(piece), plan.effort(LOOK))?;
                    child.count(ground, Some(*spread));
                }
                Ok(Some((score(ground, &children), children)))
            })
            .collect();
        let mut n_bounded = 0;
        let mut best: Vec<Option<(f64, Cut, [Piece; 2])>> = pieces.iter().map(|_| None).collect();
        for (&(p, cut), looked) in cuts.iter().zip(looked) {
            let Some((score, children)) = looked? else { continue };
            n_bounded += 2;
            if best[p].as_ref().is_none_or(|(other, ..)| score > *other) {
                best[p] = Some((score, cut, children));
            }
        }
        let finish = |(p, best): (usize, Option<(f64, Cut, [Piece; 2])>)| {
            let Some((_, cut, looked)) = best.filter(|_| clock.stop(0, 0).is_none()) else { return Ok(None) };
            let operands = operands(ground, pieces[p], &[cut])?;
            let Some(mut children) = sides(ground, pieces[p], cut, &operands, serial + 2 * p as u64)? else {
                return Ok(None);
            };
            for (child, looked) in children.iter_mut().zip(looked) {
                self.refill(child, options)?;
                child.finish(ground, (pieces[p], plan.effort(FULL)), looked)?;
            }
            Ok(Some(children))
        };
        let children: Result<Vec<_>, Error> = best.into_par_iter().enumerate().with_min_len(1).map(finish).collect();
        let children = children?;
        n_bounded += 2 * children.iter().flatten().count() as u64;
        Ok((children, n_bounded))
    }

    /// Draws fresh samples where too few are left that could be won.
    fn refill(&self, piece: &mut Piece, options: &PreimageOptions) -> Result<(), Error> {
        let mode = self.problem.mode;
        let n_inside = piece.samples.n_inside();
        let n_wanted = if mode == Mode::Under { n_inside } else { piece.samples.len() - n_inside };
        if n_wanted == 0 || n_wanted >= FEW_SAMPLES {
            return Ok(());
        }
        let stream = CounterStream::new(options.seed, Purpose::Search, piece.serial + 1);
        let drawn = self.samples(stream, &piece.ends, TRIES)?;
        let n = self.reduced.n_free();
        let mut drawn = drawn;
        if mode == Mode::Under && !options.known.is_empty() {
            let is_known = |x: &[f64]| options.known.iter().any(|element| element.contains(x));
            drawn = drawn.filtered(n, |x| !is_known(&x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>()));
        }
        if !piece.splits.is_empty() {
            let operands: Vec<usize> = piece
                .splits
                .iter()
                .map(|split| self.engine.network().node(NodeId(split.node as usize)).inputs[0].0)
                .collect();
            let values = self.engine.evaluate(&drawn.points, &operands)?;
            let holds = |s: usize| {
                piece.splits.iter().zip(&values).all(|(split, values)| {
                    let length = values.len() / drawn.len();
                    (values[s * length + split.neuron as usize] >= 0.0) == split.is_active
                })
            };
            drawn = drawn.chosen(n, holds);
        }
        let n_inside = drawn.n_inside();
        let n_drawn = if mode == Mode::Under { n_inside } else { drawn.len() - n_inside };
        if n_drawn > n_wanted {
            piece.samples = drawn;
        }
        Ok(())
    }

    /// Samples of a box from the prior.
    fn samples(&self, stream: CounterStream, ends: &[f32], count: usize) -> Result<Samples, Error> {
        let n = self.reduced.n_free();
        let (free, prior) = (&self.reduced.free, &self.problem.prior);
        let mut points = Vec::with_capacity(n * count);
        let mut share = 1.0;
        let sides: Vec<(f64, f64)> = (0..n)
            .map(|i| {
                let (low, high) = self.reduced.inner[i];
                let side = (f64::from(ends[i]).max(low), f64::from(ends[n + i]).min(high));
                share *= prior.share(free[i], side, (low, high));
                side
            })
            .collect();
        for s in 0..count {
            for (i, &side) in sides.iter().enumerate() {
                let x = prior.quantile(free[i], side, stream.unit((s * n + i) as u64));
                points.push((x as f32).clamp(ends[i], ends[n + i]));
            }
        }
        let output = self.engine.network().output().0;
        let rows = self.engine.evaluate(&points, &[output])?.pop().unwrap_or_default();
        let n_rows = self.engine.network().n_outputs();
        let is_inside = rows.chunks_exact(n_rows).map(|rows| self.reduced.holds(rows)).collect();
        Ok(Samples { points, is_inside, weight: share / count as f64 })
    }

    /// Counts fresh samples, and per element those that it is the first to hold.
    fn measure(
        &self,
        elements: &[Element],
        options: &PreimageOptions,
        (purpose, round): (Purpose, u64),
        factor: usize,
    ) -> Result<(Counts, Vec<u64>), Error> {
        /// Samples that are run together.
        const CHUNK: usize = 4096;
        let stream = CounterStream::new(options.seed, purpose, round);
        let n = self.reduced.n_free();
        let count = options.n_report * factor;
        let chunks: Vec<usize> = (0..count).step_by(CHUNK).collect();
        let one = |&start: &usize| {
            let end = count.min(start + CHUNK);
            let mut points = Vec::with_capacity((end - start) * n);
            for s in start..end {
                for i in 0..n {
                    let u = stream.unit((s * n + i) as u64);
                    points.push(self.problem.prior.quantile(self.reduced.free[i], self.reduced.inner[i], u));
                }
            }
            let output = self.engine.network().output().0;
            let rows = self.engine.evaluate_precisely(&points, &[output])?.pop().unwrap_or_default();
            let n_rows = self.engine.network().n_outputs();
            let mut counts = Counts { n: (end - start) as u64, ..Counts::default() };
            let mut hits = vec![0_u64; elements.len()];
            for (x, rows) in points.chunks_exact(n).zip(rows.chunks_exact(n_rows)) {
                let is_inside = self.reduced.holds(rows);
                counts.n_inside += u64::from(is_inside);
                // What an under-approximation holds is inside, and what is inside an over-approximation holds.
                if is_inside || self.problem.mode == Mode::Over {
                    let found = elements.iter().position(|element| element.contains(x));
                    if let Some(found) = found {
                        hits[found] += 1;
                        counts.n_hit += u64::from(is_inside == (self.problem.mode == Mode::Under));
                    }
                }
            }
            Ok((counts, hits))
        };
        let parts: Vec<Result<(Counts, Vec<u64>), Error>> = chunks.par_iter().map(one).collect();
        let mut total = (Counts::default(), vec![0; elements.len()]);
        for part in parts {
            let (counts, hits) = part?;
            total.0.n += counts.n;
            total.0.n_inside += counts.n_inside;
            total.0.n_hit += counts.n_hit;
            total.1.iter_mut().zip(hits).for_each(|(total, hits)| *total += hits);
        }
        Ok(total)
    }

    /// The figures of what was found, from samples that nothing has seen before.
    fn report(
        &self,
        tree: &Tree,
        options: &PreimageOptions,
        (margin, preimage, known): (f64, f64, f64),
        report: Report,
    ) -> Result<PreimageOutcome, Error> {
        let mode = self.problem.mode;
        let Report { stop, subdomains, rounds } = report;
        let selection = if stop == PreimageStop::Target {
            self.thinned(tree, options, margin, (preimage, known))
        } else {
            tree.best(mode)
        };
        let mut elements = self.elements(tree, &selection, options);
        let (counts, hits) = self.measure(&elements, options, (Purpose::Report, 0), 2)?;
        for (element, hits) in elements.iter_mut().zip(hits) {
            element.volume = hits as f64 / counts.n as f64;
        }
        let (coverage, coverage_interval) = counts.coverage(mode, DELTA);
        let n_approximation = match mode {
            Mode::Under => counts.n_hit,
            Mode::Over => counts.n_inside + counts.n_hit,
        };
        let is_reached = match mode {
            Mode::Under => coverage_interval.lower >= options.coverage,
            Mode::Over => coverage_interval.upper <= options.coverage,
        };
        let is_disjoint = options.known.is_empty()
            && self.reduced.targets.len() == 1
            && (mode == Mode::Under || selection.nodes.iter().all(|&at| tree.piece(at).splits.is_empty()));
        Ok(PreimageOutcome {
            elements,
            free: self.reduced.free.clone(),
            coverage,
            coverage_interval,
            preimage_volume: counts.n_inside as f64 / counts.n as f64,
            preimage_interval: clopper_pearson(counts.n_inside, counts.n, DELTA),
            approximation_volume: n_approximation as f64 / counts.n as f64,
            approximation_interval: clopper_pearson(n_approximation, counts.n, DELTA),
            n_samples: counts.n,
            is_disjoint,
            is_reached,
            stop,
            subdomains,
            rounds,
        })
    }
}

/// What a search has to report.
struct Report {
    stop: PreimageStop,
    subdomains: u64,
    rounds: Vec<Round>,
}

/// Most pieces that are cut in one round.
const MOST_PIECES: usize = 256;

impl Piece {
    /// Bounds a child that was looked ahead at with full effort, from what the look found; keeps the better.
    fn finish(&mut self, ground: &Ground, (parent, effort): (&Piece, Effort), looked: Piece) -> Result<(), Error> {
        let from = if looked.base.is_some() { &looked } else { parent };
        self.bound(ground, Some(from), effort)?;
        let samples = std::mem::take(&mut self.samples);
        let mut looked = Piece { samples, ..looked };
        looked.count(ground, None);
        let is_better = looked.tally.undecided(ground.mode) < self.tally.undecided(ground.mode);
        if is_better {
            *self = looked;
        } else {
            self.samples = looked.samples;
        }
        Ok(())
    }
}

/// Samples of a look ahead.
const LOOK_SAMPLES: usize = 1024;

impl Counts {
    /// Approximation over preimage, with its interval at this level.
    fn coverage(&self, mode: Mode, delta: f64) -> (f64, Interval) {
        match mode {
            Mode::Under if self.n_inside == 0 => (1.0, Interval { lower: 0.0, upper: 1.0 }),
            Mode::Under => {
                (self.n_hit as f64 / self.n_inside as f64, clopper_pearson(self.n_hit, self.n_inside, delta))
            }
            Mode::Over => {
                let n_over = self.n_inside + self.n_hit;
                let interval = clopper_pearson(self.n_inside, n_over, delta);
                let coverage = if n_over == 0 { 1.0 } else { n_over as f64 / self.n_inside as f64 };
                (coverage, Interval { lower: 1.0 / interval.upper, upper: 1.0 / interval.lower })
            }
        }
    }
}

/// Approximation over preimage; both may be nothing.
fn ratio(volume: f64, preimage: f64) -> f64 {
    if preimage > 0.0 {
        volume / preimage
    } else if volume > 0.0 {
        f64::INFINITY
    } else {
        1.0
    }
}
