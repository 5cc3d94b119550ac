use std::sync::Arc;

use bounds::{BoundEngine, Device, Recipe};
use rayon::prelude::*;

use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::problem::{Mode, PreimageProblem};
use crate::preimage::reduced::Reduced;
use crate::preimage::stream::{CounterStream, Purpose};
use crate::search::Interrupt;

/// What an audit looks at.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Fresh points of the region, from the prior.
    pub points: u64,
    /// Points that are bisected onto facets.
    pub facets: u64,
    /// Where randomness starts; the stream is the audit's own.
    pub seed: u64,
    /// Stops it from outside.
    pub interrupt: Interrupt,
}

/// What an audit saw.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Audit {
    /// Fresh points that were looked at.
    pub n_points: u64,
    /// Those that the network, run in f64, maps into the output polytopes.
    pub n_inside: u64,
    /// Points that were bisected onto facets.
    pub n_facets: u64,
    /// Points that contradict what was claimed, fresh or on a facet.
    pub n_contradictions: u64,
    /// The first of them, in the inputs that vary.
    pub contradictions: Vec<Vec<f64>>,
}

/// Contradictions that are kept.
const KEPT: usize = 16;
/// Points that are run together.
const CHUNK: u64 = 1 << 13;
/// Lines from one held point, and points that are tried as the other end of each.
const MOST_LINES: usize = 64;
const ENDS: usize = 64;

impl Audit {
    /// Looks for a point that contradicts polytopes: held by one of an under-approximation, but not in the preimage; or in the preimage
    /// and held by none of an over-approximation.
    ///
    /// Finding none proves nothing; the polytopes' own derivation does. The network is run in f64.
    ///
    /// # Errors
    /// When the problem makes no sense, or the polytopes belong to another.
    pub fn of(problem: &PreimageProblem, elements: &[Element], options: &AuditOptions) -> Result<Self, Error> {
        let reduced = Reduced::new(problem)?;
        let n = reduced.n_free();
        if let Some(element) = elements.iter().find(|element| element.lower.len() != n) {
            let given = element.lower.len();
            return Err(Error::question(format!("a polytope has {given} inputs, but {n} of the problem's vary")));
        }
        let (lower, upper) = reduced.outer.iter().copied().unzip();
        let region = network::BoxRegion::new(lower, upper)?;
        let engine = BoundEngine::new(&Device::Host, Arc::clone(&reduced.network), &region, Recipe::default())?;
        let stage = Stage { problem, elements, reduced: &reduced, engine: &engine, seed: options.seed };
        let chunks: Vec<u64> = (0..options.points.div_ceil(CHUNK)).collect();
        let found: Result<Vec<Self>, Error> = chunks
            .par_iter()
            .map(|&chunk| {
                if options.interrupt.is_raised() {
                    return Ok(Self::default());
                }
                let count = CHUNK.min(options.points - chunk * CHUNK);
                let facets =
                    options.facets * (chunk + 1) / chunks.len() as u64 - options.facets * chunk / chunks.len() as u64;
                stage.chunk(chunk, count as usize, facets)
            })
            .collect();
        Ok(found?.into_iter().fold(Self::default(), Self::joined))
    }

    fn joined(mut self, other: Self) -> Self {
        self.n_points += other.n_points;
        self.n_inside += other.n_inside;
        self.n_facets += other.n_facets;
        self.n_contradictions += other.n_contradictions;
        self.contradictions.extend(other.contradictions);
        self.contradictions.truncate(KEPT);
        self
    }

    fn contradict(&mut self, x: &[f64]) {
        self.n_contradictions += 1;
        if self.contradictions.len() < KEPT {
            self.contradictions.push(x.to_vec());
        }
    }
}

/// What all chunks share.
struct Stage<'a> {
    problem: &'a PreimageProblem,
    elements: &'a [Element],
    reduced: &'a Reduced,
    engine: &'a BoundEngine,
    seed: u64,
}

impl Stage<'_> {
    fn chunk(&self, chunk: u64, count: usize, facets: u64) -> Result<Audit, Error> {
        let n = self.reduced.n_free();
        let stream = CounterStream::new(self.seed, Purpose::Audit, chunk);
        let mut points = Vec::with_capacity(count * n);
        for s in 0..count {
            for i in 0..n {
                let u = stream.unit((s * n + i) as u64);
                points.push(self.problem.prior.quantile(self.reduced.free[i], self.reduced.inner[i], u));
            }
        }
        let output = self.engine.network().output().0;
        let rows = self.engine.evaluate_precisely(&points, &[output])?.pop().unwrap_or_default();
        let is_inside: Vec<bool> =
            rows.chunks_exact(self.engine.network().n_outputs()).map(|rows| self.reduced.holds(rows)).collect();
        let mut audit = Audit { n_points: count as u64, ..Audit::default() };
        for (x, &is_inside) in points.chunks_exact(n).zip(&is_inside) {
            audit.n_inside += u64::from(is_inside);
            let contradicts = match self.problem.mode {
                // The reduced network rounds in its own way: the real one decides.
                Mode::Under => !is_inside && self.holder(x).is_some() && !self.is_real(x),
                Mode::Over => is_inside && self.holder(x).is_none() && self.is_real(x),
            };
            if contradicts {
                audit.contradict(x);
            }
        }
        self.bisect(&points, facets, &mut audit);
        Ok(audit)
    }

    /// Bisects from a held point to one that is not held, to neighbouring floats.
    fn bisect(&self, points: &[f64], facets: u64, audit: &mut Audit) {
        let n = self.reduced.n_free();
        let point = |s: usize| &points[s * n..][..n];
        let total = points.len() / n;
        let held: Vec<(usize, usize)> =
            (0..total).filter_map(|s| self.holder(point(s)).map(|holder| (s, holder))).take(facets as usize).collect();
        // Where few points are held, each is the start of several lines.
        for nth in 0..(facets as usize).min(MOST_LINES * held.len()) {
            let ((from, holder), pass) = (held[nth % held.len()], nth / held.len());
            // Of an under-approximation every polytope has facets of its own; of an over-approximation their union.
            let own = std::slice::from_ref(&self.elements[holder]);
            let of = if self.problem.mode == Mode::Under { own } else { self.elements };
            let is_held = |x: &[f64]| of.iter().any(|element| element.contains(x));
            let first = 1 + ENDS * pass;
            let to = (first..first + ENDS).map(|step| (from + step) % total).find(|&s| !is_held(point(s)));
            let Some(to) = to else { continue };
            let (mut low, mut high) = (point(from).to_vec(), point(to).to_vec());
            loop {
                let middle: Vec<f64> = low.iter().zip(&high).map(|(a, b)| 0.5 * (a + b)).collect();
                if middle == low || middle == high {
                    break;
                }
                if is_held(&middle) { low = middle } else { high = middle }
            }
            audit.n_facets += 1;
            match self.problem.mode {
                Mode::Under if !self.is_real(&low) => audit.contradict(&low),
                Mode::Over if self.is_real(&high) => audit.contradict(&high),
                _ => {}
            }
        }
    }

    /// The first polytope that holds a point.
    fn holder(&self, x: &[f64]) -> Option<usize> {
        self.elements.iter().position(|element| element.contains(x))
    }

    /// Whether the problem's own network maps the full input into an output polytope.
    fn is_real(&self, x: &[f64]) -> bool {
        let mut full = self.problem.region.inner_lower.clone();
        self.reduced.free.iter().zip(x).for_each(|(&i, &x)| full[i] = x);
        self.problem.contains(&full)
    }
}
