use bounds::least_values;
use network::NodeId;
use rayon::prelude::*;

use crate::error::Error;
use crate::preimage::element::Element;
use crate::preimage::interval::{Interval, clopper_pearson};
use crate::preimage::options::PreimageOptions;
use crate::preimage::piece::{Piece, Samples};
use crate::preimage::problem::Mode;
use crate::preimage::search::PreimageSearch;
use crate::preimage::stream::{CounterStream, Purpose};
use crate::preimage::walk::Walk;

/// Counts of fresh samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// How many.
    pub n: u64,
    /// In the preimage.
    pub n_inside: u64,
    /// In an under-approximation's elements; outside the preimage but in an over-approximation's.
    pub n_hit: u64,
}

/// Fewest samples that could be won in a piece before fresh ones are drawn, and how many are tried.
const FEW_SAMPLES: usize = 128;
const TRIES: usize = 4096;

impl PreimageSearch<'_> {
    /// Whether the network, run in f64, maps each of some points `[n, n_free]` into the outputs that are asked for.
    ///
    /// # Errors
    /// When the network cannot be run.
    pub fn inside(&self, points: &[f64]) -> Result<Vec<bool>, Error> {
        let output = self.engine.network().output().0;
        let rows = self.engine.evaluate_precisely(points, &[output])?.pop().unwrap_or_default();
        Ok(rows.chunks_exact(self.engine.network().n_outputs()).map(|rows| self.reduced.holds(rows)).collect())
    }

    /// Draws fresh samples where too few are left that could be won.
    pub(super) fn refill(&self, piece: &mut Piece, options: &PreimageOptions) -> Result<(), Error> {
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
        if !(piece.splits.is_empty() && piece.walls.is_empty()) {
            let follows = self.follows(piece, &drawn.points)?;
            drawn = drawn.chosen(n, |s| follows[s]);
        }
        let n_inside = drawn.n_inside();
        let n_drawn = if mode == Mode::Under { n_inside } else { drawn.len() - n_inside };
        if n_drawn > n_wanted {
            piece.samples = drawn;
        }
        if mode == Mode::Under && piece.samples.n_inside() < FEW_SAMPLES && self.problem.prior.is_uniform() {
            self.walk(piece, options)?;
        }
        Ok(())
    }

    /// Replaces the few samples of the preimage that a deep piece has by many, by hit-and-run; together they count what the few counted.
    fn walk(&self, piece: &mut Piece, options: &PreimageOptions) -> Result<(), Error> {
        let n = self.reduced.n_free();
        let few = piece.samples.chosen(n, |s| piece.samples.is_inside[s]);
        let (lower, upper) = piece.sides();
        let walk = Walk { lower, upper, stream: CounterStream::new(options.seed, Purpose::Walk, piece.serial + 1) };
        let found = walk.run(&few.points, |points| {
            let rows = self.rows(points)?;
            let n_rows = self.engine.network().n_outputs();
            let follows = self.follows(piece, points)?;
            let is_in = |((x, rows), follows): ((&[f32], &[f32]), bool)| {
                let is_known = || {
                    let x: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
                    options.known.iter().any(|element| element.contains(&x))
                };
                follows && self.reduced.holds(rows) && !is_known()
            };
            Ok::<_, Error>(points.chunks_exact(n).zip(rows.chunks_exact(n_rows)).zip(follows).map(is_in).collect())
        })?;
        if let Some(points) = found {
            let count = points.len() / n;
            let weight = few.weight * few.len() as f64 / count as f64;
            piece.samples = Samples { points, is_inside: vec![true; count], weight };
        }
        Ok(())
    }

    /// Whether some points lie within a piece's walls, and the `ReLU`s have its sides there, by an f32 run.
    fn follows(&self, piece: &Piece, points: &[f32]) -> Result<Vec<bool>, Error> {
        let count = points.len() / self.reduced.n_free();
        let operands: Vec<usize> = piece
            .splits
            .iter()
            .map(|split| self.engine.network().node(NodeId(split.node as usize)).inputs[0].0)
            .collect();
        let values = self.engine.evaluate(points, &operands)?;
        let least = least_values(&piece.walls, points, self.reduced.n_free());
        let follows = |s: usize| {
            least[s] >= 0.0
                && piece.splits.iter().zip(&values).all(|(split, values)| {
                    let length = values.len() / count;
                    (values[s * length + split.neuron as usize] >= 0.0) == split.is_active
                })
        };
        Ok((0..count).map(follows).collect())
    }

    /// The rows' values at some points, by an f32 run.
    fn rows(&self, points: &[f32]) -> Result<Vec<f32>, Error> {
        let output = self.engine.network().output().0;
        Ok(self.engine.evaluate(points, &[output])?.pop().unwrap_or_default())
    }

    /// Samples of a box from the prior.
    pub(super) fn samples(&self, stream: CounterStream, ends: &[f32], count: usize) -> Result<Samples, Error> {
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
        let rows = self.rows(&points)?;
        let n_rows = self.engine.network().n_outputs();
        let is_inside = rows.chunks_exact(n_rows).map(|rows| self.reduced.holds(rows)).collect();
        Ok(Samples { points, is_inside, weight: share / count as f64 })
    }

    /// Counts fresh samples, and per element those that it is the first to hold.
    pub(super) fn measure(
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
            let is_inside = self.inside(&points)?;
            let mut counts = Counts { n: (end - start) as u64, ..Counts::default() };
            let mut hits = vec![0_u64; elements.len()];
            for (x, is_inside) in points.chunks_exact(n).zip(is_inside) {
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
}

impl Counts {
    /// Approximation over preimage, with its interval at this level.
    pub fn coverage(&self, mode: Mode, delta: f64) -> (f64, Interval) {
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
