//! Samples of a set that only a test of membership knows, where hardly any of a box are: hit-and-run from the few that are known.
//!
//! They steer the search, and never enter a figure that is reported: how well a walk has mixed can be checked, but not proved.
//!
//! Source: Smith 1984 (hit-and-run); Neal 2003 (shrinkage: what is tried outside cuts the line off, which keeps the uniform distribution
//! whatever the shape of the set); Gelman and Rubin 1992, halves as in Vehtari et al. 2021 (the check).

use crate::preimage::stream::CounterStream;

/// Walks through a set, side by side.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    /// Lower ends of a box around the set.
    pub lower: &'a [f32],
    /// Upper ends.
    pub upper: &'a [f32],
    /// Where randomness comes from.
    pub stream: CounterStream,
}

/// Most walkers, and fewest points to start from.
const MOST_WALKERS: usize = 32;
const FEWEST_STARTS: usize = 8;
/// Steps of each walker for each input, and at least; the first third is not kept.
const STEPS_PER_INPUT: usize = 48;
const FEWEST_STEPS: usize = 96;
/// Trials on one line.
const TRIALS: usize = 6;
/// Where the ratio of deviations, between halves of walks and within, says that they have not mixed.
const UNMIXED: f64 = 1.25;
/// How often a line follows an axis: in sets whose facets are mostly a box's, such lines reach far; others follow slanted facets.
const ALONG_AXES: f64 = 0.75;

impl Walk<'_> {
    /// Points of the set, `[n, n_inputs]`, from points that lie in it; none if there are too few to start from, or the walks have not mixed.
    ///
    /// # Errors
    /// When `contains`, which is asked of many points at once, fails.
    pub fn run<E>(
        &self,
        starts: &[f32],
        mut contains: impl FnMut(&[f32]) -> Result<Vec<bool>, E>,
    ) -> Result<Option<Vec<f32>>, E> {
        let n = self.lower.len();
        let n_starts = starts.len() / n.max(1);
        if n_starts < FEWEST_STARTS {
            return Ok(None);
        }
        let n_walkers = n_starts.min(MOST_WALKERS);
        let mut now: Vec<f32> =
            (0..n_walkers).flat_map(|w| starts[w * n_starts / n_walkers * n..][..n].iter().copied()).collect();
        let n_steps = (STEPS_PER_INPUT * n).max(FEWEST_STEPS);
        let mut place = 0;
        let mut unit = || {
            place += 1;
            self.stream.unit(place)
        };
        let mut kept: Vec<Vec<f32>> = vec![Vec::new(); n_walkers];
        for step in 0..n_steps {
            let mut lines: Vec<Line> = now.chunks_exact(n).map(|x| self.line(x, &mut unit)).collect();
            let mut open: Vec<usize> = (0..n_walkers).collect();
            for _ in 0..TRIALS {
                let mut tried: Vec<f32> = Vec::with_capacity(open.len() * n);
                let mut places: Vec<f64> = Vec::with_capacity(open.len());
                for &w in &open {
                    let line = &lines[w];
                    let t = line.from + (line.to - line.from) * unit();
                    places.push(t);
                    let x = &now[w * n..][..n];
                    tried.extend((0..n).map(|i| {
                        ((f64::from(x[i]) + t * line.direction[i]) as f32).clamp(self.lower[i], self.upper[i])
                    }));
                }
                let is_in = contains(&tried)?;
                let mut left = Vec::new();
                for (k, &w) in open.iter().enumerate() {
                    if is_in[k] {
                        now[w * n..][..n].copy_from_slice(&tried[k * n..][..n]);
                    } else {
                        // The walker itself is at zero.
                        let end = if places[k] < 0.0 { &mut lines[w].from } else { &mut lines[w].to };
                        *end = places[k];
                        left.push(w);
                    }
                }
                open = left;
                if open.is_empty() {
                    break;
                }
            }
            if step >= n_steps / 3 {
                kept.iter_mut().zip(now.chunks_exact(n)).for_each(|(kept, x)| kept.extend_from_slice(x));
            }
        }
        let has_mixed = (0..n).all(|i| {
            let series: Vec<Vec<f64>> =
                kept.iter().map(|kept| kept.iter().skip(i).step_by(n).map(|&x| f64::from(x)).collect()).collect();
            ratio(&series) < UNMIXED
        });
        Ok(has_mixed.then(|| kept.into_iter().flatten().collect()))
    }

    /// A line through a point along a random axis, or in a random direction in units of the box, as far as the box goes.
    fn line(&self, x: &[f32], unit: &mut impl FnMut() -> f64) -> Line {
        let n = x.len();
        let mut direction = Vec::with_capacity(n);
        if unit() < ALONG_AXES {
            let axis = ((unit() * n as f64) as usize).min(n - 1);
            direction = (0..n).map(|i| if i == axis { 1.0 } else { 0.0 }).collect();
        }
        for i in direction.len()..n {
            // Box–Muller; one of each pair is enough.
            let (u, v) = (1.0 - unit(), unit());
            let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
            direction.push(normal * (f64::from(self.upper[i]) - f64::from(self.lower[i])));
        }
        let (mut from, mut to) = (f64::NEG_INFINITY, f64::INFINITY);
        for i in 0..n {
            let (x, d) = (f64::from(x[i]), direction[i]);
            let [low, high] = [self.lower[i], self.upper[i]].map(|end| (f64::from(end) - x) / d);
            if d > 0.0 {
                (from, to) = (from.max(low), to.min(high));
            } else if d < 0.0 {
                (from, to) = (from.max(high), to.min(low));
            }
        }
        let is_line = from.is_finite() && to.is_finite();
        Line { direction, from: if is_line { from.min(0.0) } else { 0.0 }, to: if is_line { to.max(0.0) } else { 0.0 } }
    }
}

/// A direction, and the stretch of it that is tried.
struct Line {
    direction: Vec<f64>,
    from: f64,
    to: f64,
}

/// How much wider all walks together are than the halves of each: near one where they have mixed.
fn ratio(walks: &[Vec<f64>]) -> f64 {
    let halves: Vec<&[f64]> =
        walks.iter().flat_map(|walk| walk.chunks_exact((walk.len() / 2).max(1)).take(2)).collect();
    let (m, length) = (halves.len() as f64, halves.first().map_or(0.0, |half| half.len() as f64));
    if m < 2.0 || length < 2.0 {
        return f64::INFINITY;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let means: Vec<f64> = halves.iter().map(|half| mean(half)).collect();
    let variance =
        |values: &[f64], mean: f64| values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64;
    let within = halves.iter().zip(&means).map(|(half, &mean)| variance(half, mean)).sum::<f64>() / m;
    let between = variance(&means, mean(&means));
    if between <= 0.0 {
        return 1.0;
    }
    (((length - 1.0) / length * within + between) / within).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preimage::stream::Purpose;

    fn walk(n: usize, round: u64, starts: &[f32], contains: impl Fn(&[f32]) -> bool) -> Option<Vec<f32>> {
        let (lower, upper) = (vec![0.0; n], vec![1.0; n]);
        let stream = CounterStream::new(1, Purpose::Search, round);
        let walk = Walk { lower: &lower, upper: &upper, stream };
        let all = |points: &[f32]| Ok::<_, ()>(points.chunks_exact(n).map(&contains).collect());
        walk.run(starts, all).unwrap()
    }

    #[test]
    fn a_simplex_is_sampled_evenly() {
        // In the corner simplex `Σ x_i ≤ 1` of n inputs each has the mean 1 / (n + 1); of a box hardly a point lies in it for n = 8.
        for n in [2, 4, 8] {
            let starts: Vec<f32> = (0..16)
                .flat_map(|k| (0..n).map(move |i| if i == k % n { 0.5 } else { 0.4 / n as f32 * (k % 3) as f32 / 2.0 }))
                .collect();
            let (mut sum, mut count) = (vec![0.0; n], 0.0);
            let mut n_mixed = 0;
            for round in 0..24 {
                let Some(points) = walk(n, round, &starts, |x| x.iter().sum::<f32>() <= 1.0) else { continue };
                n_mixed += 1;
                for x in points.chunks_exact(n) {
                    assert!(x.iter().sum::<f32>() <= 1.0 && x.iter().all(|x| (0.0..=1.0).contains(x)));
                    x.iter().zip(&mut sum).for_each(|(&x, sum)| *sum += f64::from(x));
                    count += 1.0;
                }
            }
            assert!(n_mixed >= 6, "{n}: {n_mixed}");
            for sum in sum {
                let (mean, truth) = (sum / count, 1.0 / (n as f64 + 1.0));
                assert!((mean - truth).abs() < 0.12 * truth, "{n}: {mean}, not {truth}");
            }
        }
    }

    #[test]
    fn walks_that_cannot_meet_have_not_mixed() {
        // Two tubes in opposite corners of six inputs: hardly a line leads from one to the other.
        let n = 6;
        let near = |x: &[f32], at: f32| x[1..].iter().all(|x| (x - at).abs() < 0.25);
        let starts: Vec<f32> = (0..16)
            .flat_map(|k| {
                (0..n).map(move |i| {
                    if i == 0 {
                        0.5
                    } else if k < 8 {
                        0.1
                    } else {
                        0.9
                    }
                })
            })
            .collect();
        assert_eq!(walk(n, 3, &starts, |x| near(x, 0.1) || near(x, 0.9)), None);
        // One alone is small, and no obstacle.
        assert!((0..8).any(|round| walk(n, round, &starts[..8 * n], |x| near(x, 0.1)).is_some()));
        assert_eq!(walk(n, 3, &starts[..4 * n], |x| near(x, 0.1)), None);
    }
}
