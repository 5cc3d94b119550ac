use std::io::Write;

use bounds::{Ascent, BoundEngine, Device, Optimised, Recipe};
use checker::certificate::{BundleWriter, Header};
use checker::preimage::{Outputs, Part, Polytope, Preimage, uncovered};
use rayon::prelude::*;

use super::{OfferedLeaf, Recorder, ReluMap};
use crate::error::Error;
use crate::preimage::{Element, Mode, Plane, PreimageProblem};
use crate::search::{Interrupt, Limits, Objective, Silent, Verdict, Verify, VerifyOptions};

/// Finds proofs that polytopes lie inside a preimage, or together around it, that the checker accepts.
///
/// Nothing of the search that found them is used: slopes and multipliers are found again for each polytope, with its own planes as what may
/// be assumed. A plane is moved, inward or outward, by what the checker misses; what it still does not accept is dropped (inside), or
/// replaced by the box around it.
#[derive(Debug)]
pub struct PreimageCertificate<'a> {
    problem: &'a PreimageProblem,
    targets: Vec<Outputs>,
    interrupt: Interrupt,
}

/// What was certified.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CertifiedPreimage {
    /// The polytopes as they are in the certificate, in the inputs that vary.
    pub elements: Vec<Element>,
    /// How many polytopes inside were dropped, since the checker does not see that they are.
    pub n_dropped: usize,
    /// How many boxes without polytopes there are besides (around).
    pub n_empty: usize,
}

/// A part and the records that prove it.
type Proved = (Part, Vec<u8>);

/// How often planes are moved.
const ROUNDS: usize = 6;
/// Subdomains that may be spent on a box that should hold nothing of the preimage.
const MOST_SUBDOMAINS: u64 = 100_000;
/// Inputs that vary, at most, around a preimage: past them a search splits `ReLU`s, of whose sides its polytopes say nothing.
const MOST_AROUND: usize = 8;
/// A multiplier below which moving its plane moves nothing.
const LEAST_MULTIPLIER: f32 = 1e-3;

impl<'a> PreimageCertificate<'a> {
    /// For the polytopes of a problem.
    ///
    /// # Errors
    /// When no certificate can be written of them.
    pub fn new(problem: &'a PreimageProblem, interrupt: Interrupt) -> Result<Self, Error> {
        problem.check()?;
        let region = &problem.region;
        let n_varying = region.lower.iter().zip(&region.upper).filter(|(l, u)| u > &&l.next_up().next_up()).count();
        if problem.mode == Mode::Over && n_varying > MOST_AROUND {
            return Err(Error::Certificate(format!(
                "{n_varying} inputs vary; polytopes around a preimage are certified for at most {MOST_AROUND}"
            )));
        }
        let target =
            |target: &crate::preimage::OutputPolytope| Outputs { rows: target.rows.clone(), rhs: target.rhs.clone() };
        Ok(Self { targets: problem.targets.iter().map(target).collect(), problem, interrupt })
    }

    /// What the certificate is about.
    pub fn preimage(&self) -> Preimage<'_> {
        let PreimageProblem { network, region, mode, .. } = self.problem;
        Preimage { network, region, targets: &self.targets, is_inside: *mode == Mode::Under }
    }

    /// Certifies the polytopes (in the inputs `free`), and writes what is accepted.
    ///
    /// # Errors
    /// When the bounds fail, or the sink.
    pub fn write(
        &self,
        (elements, free): (&[Element], &[usize]),
        header: &Header,
        sink: impl Write,
    ) -> Result<CertifiedPreimage, Error> {
        let failed = |error: std::io::Error| Error::Certificate(format!("it cannot be written: {error}"));
        let mut writer = BundleWriter::new(sink, header).map_err(failed)?;
        let parts: Vec<Part> = elements.iter().map(|element| self.part(element, free)).collect();
        let proved: Result<Vec<Option<Proved>>, Error> =
            parts.into_par_iter().with_max_len(1).map(|part| self.prove(part)).collect();
        let mut certified = CertifiedPreimage::default();
        for (element, proved) in elements.iter().zip(proved?) {
            let Some((part, records)) = proved else {
                certified.n_dropped += 1;
                continue;
            };
            writer.item(&part.to_bytes(), &records).map_err(failed)?;
            certified.elements.push(Self::element(&part, free, element.volume));
        }
        if self.problem.mode == Mode::Over {
            for (part, records) in self.gaps(&certified.elements, free)? {
                writer.item(&part.to_bytes(), &records).map_err(failed)?;
                if part.is_nothing {
                    certified.n_empty += 1;
                } else {
                    certified.elements.push(Self::element(&part, free, 0.0));
                }
            }
        }
        writer.finish().map_err(failed)?;
        Ok(certified)
    }

    /// Boxes of the region that no polytope's box covers, with proofs that nothing is in them; where there is none, they are kept whole.
    fn gaps(&self, elements: &[Element], free: &[usize]) -> Result<Vec<Proved>, Error> {
        let region = &self.problem.region;
        let wrong = |error: checker::Error| Error::Certificate(error.to_string());
        let mut found = Vec::new();
        for target in 0..self.targets.len() {
            let of_target = elements.iter().filter(|element| element.target == target);
            let parts: Vec<Part> = of_target.map(|element| self.part(element, free)).collect();
            let boxes: Vec<(&[f64], &[f64])> =
                parts.iter().map(|part| (&part.polytope.lower[..], &part.polytope.upper[..])).collect();
            let gaps = uncovered((&region.lower, &region.upper), &boxes, usize::MAX).map_err(wrong)?;
            for (lower, upper) in gaps {
                let polytope = Polytope { lower, upper, planes: Vec::new() };
                found.push(self.nothing(Part { target, is_nothing: true, polytope })?);
            }
        }
        Ok(found)
    }

    fn nothing(&self, part: Part) -> Result<Proved, Error> {
        let wrong = |error: checker::Error| Error::Certificate(error.to_string());
        let claim = self.preimage().claim(&part).map_err(wrong)?;
        let question = claim.question().map_err(wrong)?;
        let limits = Limits { subdomains: Some(MOST_SUBDOMAINS), ..Limits::default() };
        let options = VerifyOptions { limits, interrupt: self.interrupt.clone(), ..VerifyOptions::default() };
        let mut records = Vec::new();
        let mut recorder = Recorder::of_question(question, &mut records);
        let verify = Verify { network: question.network, property: question.property, device: &Device::Host };
        let outcome = verify.run_recorded(&options, &mut Silent, &mut recorder)?;
        recorder.finish().map_err(|error| Error::Certificate(error.to_string()))?;
        if outcome.verdict == Verdict::Verified {
            return Ok((part, records));
        }
        let whole = Part { is_nothing: false, ..part };
        let proved = self.prove(whole)?;
        proved.ok_or_else(|| Error::Certificate("a box without planes needs no proof: please report it".into()))
    }

    /// A part that the checker accepts, its planes moved if need be, with its records.
    fn prove(&self, mut part: Part) -> Result<Option<Proved>, Error> {
        let wrong = |error: checker::Error| Error::Certificate(error.to_string());
        for round in 0..=ROUNDS {
            let claim = self.preimage().claim(&part).map_err(wrong)?;
            let question = claim.question().map_err(wrong)?;
            let mut records = Vec::new();
            let mut recorder = Recorder::of_question(question, &mut records);
            let missed = missed(&mut recorder)?;
            recorder.finish().map_err(|error| Error::Certificate(error.to_string()))?;
            let Some(missed) = missed else { return Ok(Some((part, records))) };
            if self.interrupt.is_raised() {
                return Ok(None);
            }
            // Around, planes that stay open are left out in the end: the polytope is larger then.
            let is_last = round + 1 >= ROUNDS;
            match self.problem.mode {
                Mode::Under if !pull(&mut part.polytope, &missed) => return Ok(None),
                Mode::Under => {}
                Mode::Over => push(&mut part.polytope, &missed, is_last),
            }
        }
        Ok(None)
    }

    /// An element over all inputs.
    fn part(&self, element: &Element, free: &[usize]) -> Part {
        let (mut lower, mut upper) = (self.problem.region.lower.clone(), self.problem.region.upper.clone());
        let n = lower.len();
        for (at, &i) in free.iter().enumerate() {
            (lower[i], upper[i]) = (element.lower[at], element.upper[at]);
        }
        let plane = |plane: &Plane| {
            let mut a = vec![0.0; n];
            free.iter().zip(&plane.a).for_each(|(&i, &value)| a[i] = value);
            (a, plane.b)
        };
        let planes = element.planes.iter().map(plane).collect();
        Part { target: element.target, is_nothing: false, polytope: Polytope { lower, upper, planes } }
    }

    fn element(part: &Part, free: &[usize], volume: f64) -> Element {
        let chosen = |all: &[f64]| -> Vec<f64> { free.iter().map(|&i| all[i]).collect() };
        let Polytope { lower, upper, planes } = &part.polytope;
        Element {
            lower: chosen(lower),
            upper: chosen(upper),
            planes: planes.iter().map(|(a, b)| Plane { a: chosen(a), b: *b }).collect(),
            target: part.target,
            volume,
        }
    }
}

/// A disjunct that is open: the checker's bound, and the multipliers of the planes.
type Missed = (usize, f64, Vec<f32>);

/// Records proofs of all disjuncts of a question of one region; nothing is missed where the checker accepts them all.
fn missed(recorder: &mut Recorder) -> Result<Option<Vec<Missed>>, Error> {
    let question = recorder.question;
    let all: Vec<usize> = (0..question.property.disjuncts.len()).collect();
    let Some(objective) = Objective::of(question.network, question.property)?.pop() else { return Ok(None) };
    let excluded = recorder.excluded(&objective, &all);
    recorder.whole(&objective, &excluded);
    let open: Vec<usize> = all.into_iter().filter(|disjunct| !excluded.contains(disjunct)).collect();
    if open.is_empty() {
        return Ok(None);
    }
    let unknown = || Some(open.iter().map(|&disjunct| (disjunct, f64::NEG_INFINITY, Vec::new())).collect());
    let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
    let engine =
        match BoundEngine::new(&Device::Host, std::sync::Arc::clone(&objective.network), &objective.region, recipe) {
            Err(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } }) => return Ok(unknown()),
            engine => engine?,
        };
    let Some(map) = ReluMap::new(question.network, &objective.network) else { return Ok(unknown()) };
    // Of those that are open only.
    let disjuncts = open.iter().map(|&disjunct| objective.disjuncts[disjunct].clone()).collect();
    let objective = Objective { disjuncts, ..objective };
    let root = recorder.region(&objective, &(0..open.len()).collect::<Vec<_>>());
    let ends: Vec<f32> = engine.region().lower.iter().chain(&engine.region().upper).copied().collect();
    let ascent = Ascent { steps: 200, decay: 0.98, momentum: Ascent::LONG_MEMORY, ..Ascent::default() };
    let Some(leaves) = recorder.offer_optimised(&objective, &engine, &map, (root, &ends), ascent)? else {
        return Ok(unknown());
    };
    let is_open = |(_, leaf): &(&usize, OfferedLeaf)| !leaf.is_accepted;
    let missed: Vec<Missed> =
        open.iter().zip(leaves).filter(is_open).map(|(&disjunct, leaf)| (disjunct, leaf.bound, leaf.beta)).collect();
    Ok((!missed.is_empty()).then_some(missed))
}

/// What a bound misses zero by, and a little more: bounds are found anew when planes have moved.
fn step(bound: f64, polytope: &Polytope, plane: usize) -> f64 {
    let (a, b) = &polytope.planes[plane];
    let ends = polytope.lower.iter().zip(&polytope.upper);
    let size: f64 = a.iter().zip(ends).map(|(a, (l, u))| a.abs() * l.abs().max(u.abs())).sum::<f64>() + b.abs();
    1.05 * -bound + 1e-9 * size
}

/// Moves planes of a polytope inward; false where no plane's moving would help. The bound of a row with multipliers `β` rises by
/// `β` times as much as a plane moves.
fn pull(polytope: &mut Polytope, missed: &[Missed]) -> bool {
    let mut by = vec![0.0_f64; polytope.planes.len()];
    for (_, bound, beta) in missed {
        let largest = (0..beta.len().min(by.len())).max_by(|&j, &k| beta[j].total_cmp(&beta[k]));
        let Some(k) = largest.filter(|&k| beta[k] > LEAST_MULTIPLIER && bound.is_finite()) else { return false };
        by[k] = by[k].max(step(*bound, polytope, k) / f64::from(beta[k]));
    }
    polytope.planes.iter_mut().zip(by).for_each(|((_, b), by)| *b -= by);
    true
}

/// Moves planes outward; leaves those out that cannot be moved, or all that are missed at the last.
fn push(polytope: &mut Polytope, missed: &[Missed], is_last: bool) {
    for &(plane, bound, _) in missed {
        let by = if is_last { f64::INFINITY } else { step(bound, polytope, plane) };
        polytope.planes[plane].1 += by;
    }
    polytope.planes.retain(|(_, b)| b.is_finite());
}
