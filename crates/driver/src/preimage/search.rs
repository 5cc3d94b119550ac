mod measured;

use std::sync::Arc;

use bounds::{BoundEngine, Device, Optimised, Recipe};
use rayon::prelude::*;

use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::interval::clopper_pearson;
use crate::preimage::options::PreimageOptions;
use crate::preimage::outcome::{PreimageOutcome, PreimageStop, Round};
use crate::preimage::piece::{Effort, Ground, Piece, Samples};
use crate::preimage::problem::{Mode, PreimageProblem};
use crate::preimage::reduced::Reduced;
use crate::preimage::reverse::narrow;
use crate::preimage::splitting::{Breadth, Cut, LOOK, Operands, candidates, operands, score, sides};
use crate::preimage::stream::{CounterStream, Purpose};
use crate::preimage::tree::{Selection, Tree};
use crate::preimage::trim::Trim;
use crate::search::{Clock, StopReason};

/// Approximates one preimage.
#[derive(Debug)]
pub struct PreimageSearch<'a> {
    pub(super) problem: &'a PreimageProblem,
    pub(super) reduced: Reduced,
    pub(super) engine: BoundEngine,
}

/// Confidence of every interval.
const DELTA: f64 = 0.05;
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

    /// The inputs that vary, rising.
    pub fn free(&self) -> &[usize] {
        &self.reduced.free
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
        if let Some(outcome) = self.enumerated(options, &samples, &clock, watch)? {
            return Ok(outcome);
        }
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
        let selection = if stop == PreimageStop::Target {
            self.thinned(&tree, options, margin, (preimage, known))
        } else {
            tree.best(mode)
        };
        let elements = self.elements(&tree, &selection, options);
        let is_disjoint = options.known.is_empty()
            && self.reduced.targets.len() == 1
            && (mode == Mode::Under || selection.nodes.iter().all(|&at| tree.piece(at).splits.is_empty()));
        self.report(options, Report { elements, is_disjoint, stop, subdomains, rounds, n_cells: None })
    }

    /// How to search, by how many inputs vary.
    fn plan(&self, options: &PreimageOptions) -> Plan {
        let n = self.reduced.n_free();
        let is_low = n <= FEW_INPUTS;
        let breadth = if is_low {
            Breadth { inputs: n, relus: 0, slants: 0 }
        } else {
            Breadth { inputs: 3, relus: 6, slants: 2 }
        };
        let share = options.trim.unwrap_or(if is_low { 0.0 } else { 0.02 });
        let n_samples = options.n_samples.unwrap_or(if is_low { 1 << 14 } else { 1 << 18 });
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
        let list = |piece: &Piece| candidates(ground, piece, plan.breadth);
        let listed: Result<Vec<Vec<Cut>>, Error> = thin.par_iter().map(list).collect();
        let listed = listed?;
        let prepare =
            |(piece, cuts): (&Piece, &Vec<Cut>)| Ok((operands(ground, piece, cuts)?, 0.25 * piece.spread(ground)));
        let prepared: Result<Vec<(Operands, f64)>, Error> = thin.par_iter().zip(&listed).map(prepare).collect();
        let prepared = prepared?;
        let cuts: Vec<(usize, &Cut)> =
            listed.iter().enumerate().flat_map(|(p, cuts)| cuts.iter().map(move |cut| (p, cut))).collect();
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
        let mut best: Vec<Option<(f64, &Cut, [Piece; 2])>> = pieces.iter().map(|_| None).collect();
        for (&(p, cut), looked) in cuts.iter().zip(looked) {
            let Some((score, children)) = looked? else { continue };
            n_bounded += 2;
            if best[p].as_ref().is_none_or(|(other, ..)| score > *other) {
                best[p] = Some((score, cut, children));
            }
        }
        let finish = |(p, best): (usize, Option<(f64, &Cut, [Piece; 2])>)| {
            let Some((_, cut, looked)) = best.filter(|_| clock.stop(0, 0).is_none()) else { return Ok(None) };
            let operands = operands(ground, pieces[p], std::slice::from_ref(cut))?;
            let Some(mut children) = sides(ground, pieces[p], cut, &operands, serial + 2 * p as u64)? else {
                return Ok(None);
            };
            for (child, looked) in children.iter_mut().zip(looked) {
                if ground.mode == Mode::Under && matches!(cut, Cut::Relu(..)) {
                    narrow(ground, child, pieces[p].boxed.as_deref())?;
                }
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

    /// The figures of what was found, from samples that nothing has seen before.
    pub(super) fn report(&self, options: &PreimageOptions, report: Report) -> Result<PreimageOutcome, Error> {
        self.reported(options, report, 0)
    }

    /// As [`Self::report`], from the `nth` samples of their purpose.
    fn reported(&self, options: &PreimageOptions, report: Report, nth: u64) -> Result<PreimageOutcome, Error> {
        let mode = self.problem.mode;
        let Report { mut elements, is_disjoint, stop, subdomains, rounds, n_cells } = report;
        let (counts, hits) = self.measure(&elements, options, (Purpose::Report, nth), 2)?;
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
            n_cells,
        })
    }
}

/// What a search has to report.
#[derive(Debug)]
pub struct Report {
    /// The approximation.
    pub elements: Vec<Element>,
    /// Whether elements share no volume.
    pub is_disjoint: bool,
    /// Why it ended.
    pub stop: PreimageStop,
    /// Pieces that were bounded.
    pub subdomains: u64,
    /// How it went.
    pub rounds: Vec<Round>,
    /// Cells, if these were enumerated.
    pub n_cells: Option<u64>,
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
