//! Directions in which a cut narrows many undecided `ReLU`s at once.
//!
//! In many dimensions half an input says little of any neuron, and a neuron's own side little of the others; but neurons lean on the same
//! few directions of the input. A cut across such a direction halves the samples, and with them the quantiles that corners are cut off at.
//!
//! With `σ_j` the deviation of neuron `j` over the samples and `ρ_j` its correlation with a direction, what is left of `σ_j` on one side
//! falls with `ρ_j²`, and so does what its relaxation costs: the directions are those that maximise `Σ_j cost_j ρ_j²`.

use bounds::{Ascent, Plane};

use crate::error::Error;
use crate::preimage::piece::{Ground, Piece, negated};

/// Neurons that a direction is chosen for, the costliest.
const MOST_NEURONS: usize = 64;
/// Samples that are looked at, and the fewest that say something.
const MOST_SAMPLES: usize = 1024;
const FEWEST_SAMPLES: usize = 64;
/// Rows that are cut across.
const MOST_ROWS: usize = 2;
/// Steps of the power iteration.
const POWER_STEPS: usize = 48;

/// Planes through the median of a piece's preimage samples: across what bounds the first rows, and across so many of the directions that
/// matter most. None if there are too few samples.
///
/// # Errors
/// When the bounds fail.
pub fn slants(ground: &Ground, piece: &Piece, count: usize) -> Result<Vec<Plane>, Error> {
    let n = ground.reduced.n_free();
    let inside: Vec<usize> = (0..piece.samples.len()).filter(|&s| piece.samples.is_inside[s]).collect();
    let stride = inside.len().div_ceil(MOST_SAMPLES).max(1);
    let points: Vec<&[f32]> = inside.iter().step_by(stride).map(|&s| piece.samples.point(s, n)).collect();
    if count == 0 || points.len() < FEWEST_SAMPLES {
        return Ok(Vec::new());
    }
    let leanings = leanings(ground, piece)?;
    // Each neuron's deviations from its mean, in units of their own and weighted by what it costs.
    let mut scaled: Vec<Vec<f64>> = Vec::with_capacity(leanings.len());
    let mut factors: Vec<f64> = Vec::with_capacity(leanings.len());
    for (cost, a) in &leanings {
        let mut values: Vec<f64> = points.iter().map(|x| along(a, x)).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.iter_mut().for_each(|value| *value -= mean);
        let deviation = (values.iter().map(|value| value * value).sum::<f64>() / values.len() as f64).sqrt();
        let factor = if deviation > 1e-12 { cost.sqrt() / deviation } else { 0.0 };
        values.iter_mut().for_each(|value| *value *= factor);
        scaled.push(values);
        factors.push(factor);
    }
    let m = leanings.len();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let mut matrix: Vec<Vec<f64>> =
        scaled.iter().map(|a| scaled.iter().map(|b| dot(a, b) / points.len() as f64).collect()).collect();
    let mut planes = Vec::new();
    // Across the rows themselves: the side far from the boundary needs less.
    for plane in piece.parts.iter().flat_map(|part| &part.planes).take(MOST_ROWS) {
        planes.extend(halving(plane.a.clone(), &points));
    }
    for _ in 0..count.min(m) {
        let Some((value, vector)) = dominant(&matrix) else { break };
        let mut a = vec![0.0; n];
        for (j, (_, leaning)) in leanings.iter().enumerate() {
            let share = vector[j] * factors[j];
            a.iter_mut().zip(leaning).for_each(|(sum, a)| *sum += share * a);
        }
        for (i, row) in matrix.iter_mut().enumerate() {
            row.iter_mut().enumerate().for_each(|(j, entry)| *entry -= value * vector[i] * vector[j]);
        }
        planes.extend(halving(a, &points));
    }
    Ok(planes)
}

/// The costliest undecided `ReLU`s: what each costs, and how its operand leans on the inputs.
fn leanings(ground: &Ground, piece: &Piece) -> Result<Vec<(f64, Vec<f64>)>, Error> {
    let Some(base) = piece.base.as_deref() else { return Ok(Vec::new()) };
    let mut gaps = piece.gaps();
    gaps.truncate(MOST_NEURONS);
    let mean = piece.mean();
    let ascent = Ascent { steps: 0, ..Ascent::default() };
    let mut found = Vec::with_capacity(gaps.len());
    for &node in ground.activations {
        let own: Vec<(f32, u32)> = gaps.iter().filter(|gap| gap.1 == node).map(|gap| (gap.0, gap.2)).collect();
        let rows: Vec<(u32, bool)> = own.iter().map(|&(_, neuron)| (neuron, false)).collect();
        if rows.is_empty() {
            continue;
        }
        let exact: Option<Vec<Plane>> =
            rows.iter().map(|&(neuron, _)| ground.engine.affine_plane(node, neuron, false)).collect();
        let planes = if let Some(planes) = exact {
            planes
        } else {
            let found = ground.engine.operand_planes(base, node, &rows, ascent, &mean)?;
            found.into_iter().map(|(plane, _)| plane).collect()
        };
        found.extend(own.iter().zip(planes).map(|(&(cost, _), plane)| (f64::from(cost).max(0.0), plane.a)));
    }
    Ok(found)
}

/// The largest eigenvalue of a symmetric matrix without negative ones, and its vector of length one; none where all are zero.
fn dominant(matrix: &[Vec<f64>]) -> Option<(f64, Vec<f64>)> {
    // Starting at the largest row: it leans on the vector that is looked for.
    let size = |row: &[f64]| row.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
    let start = matrix.iter().max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let mut vector = start.clone();
    let mut value = 0.0;
    for _ in 0..POWER_STEPS {
        let length = size(&vector);
        if !(length > 1e-30 && length.is_finite()) {
            return None;
        }
        vector.iter_mut().for_each(|entry| *entry /= length);
        let next: Vec<f64> =
            matrix.iter().map(|row| row.iter().zip(&vector).map(|(a, b)| a * b).sum::<f64>()).collect();
        value = next.iter().zip(&vector).map(|(a, b)| a * b).sum();
        vector = next;
    }
    let length = size(&vector);
    (length > 1e-30 && value > 0.0).then(|| (value, vector.iter().map(|entry| entry / length).collect()))
}

/// A plane across a direction, through the median of some points.
fn halving(a: Vec<f64>, points: &[&[f32]]) -> Option<Plane> {
    let mut values: Vec<f64> = points.iter().map(|x| along(&a, x)).collect();
    let middle = values.len() / 2;
    let median = *values.select_nth_unstable_by(middle, f64::total_cmp).1;
    let is_direction = a.iter().all(|a| a.is_finite()) && a.iter().any(|a| a.abs() > 1e-12);
    (is_direction && median.is_finite()).then(|| Plane { a, b: -median })
}

fn along(a: &[f64], x: &[f32]) -> f64 {
    a.iter().zip(x).map(|(a, &x)| a * f64::from(x)).sum()
}

/// The two walls of a cut: every point is on one side or the other.
pub fn walls(plane: &Plane) -> [Plane; 2] {
    [negated(plane), plane.clone()]
}

#[cfg(test)]
mod tests {
    use bounds::Device;
    use network::{Activation, Affine, BoxRegion, Dense, LinearMap, Network, NodeId, Op};

    use super::*;
    use crate::preimage::piece::Effort;
    use crate::preimage::problem::{Mode, OutputPolytope, PreimageProblem};
    use crate::preimage::search::PreimageSearch;
    use crate::preimage::splitting::{Cut, sides};
    use crate::preimage::stream::{CounterStream, Purpose};
    use crate::preimage::trim::Trim;

    #[test]
    fn the_dominant_vector_is_found() {
        // Eigenvalues 3 and 1, along (1, 1) and (1, −1).
        let matrix = vec![vec![2.0, 1.0], vec![1.0, 2.0]];
        let (value, vector) = dominant(&matrix).unwrap();
        assert!((value - 3.0).abs() < 1e-9 && (vector[0] - vector[1]).abs() < 1e-9, "{value} {vector:?}");
        assert!(dominant(&[vec![0.0; 2], vec![0.0; 2]]).is_none());
    }

    #[test]
    fn neurons_that_lean_one_way_are_cut_across_it() {
        // Twelve neurons along (1, 2, .., 10), each with a little of its own; the row leans on all of them with either sign.
        let n = 10;
        let way: Vec<f64> = (1..=n).map(|i| i as f64 / 20.0).collect();
        let own = |k: usize, i: usize| ((k * 7 + i * 3) % 11) as f64 / 110.0 - 0.05;
        let weight: Vec<f64> =
            (0..12).flat_map(|k| (0..n).map(move |i| (k, i))).map(|(k, i)| way[i] + own(k, i)).collect();
        let bias: Vec<f64> = (0..12).map(|k| (f64::from(k) - 5.5) / 12.0).collect();
        let out: Vec<f64> = (0..12).map(|k| if k % 2 == 0 { 1.0 } else { -0.8 }).collect();
        let dense = |n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>| {
            Op::Affine(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias).into())
        };
        let mut builder = Network::builder(&[n]).unwrap();
        let hidden = builder.push("a", dense(12, n, weight, bias), &[NodeId(0)], &[12]).unwrap();
        let hidden = builder.push("b", Op::Activation(Activation::Relu), &[hidden], &[12]).unwrap();
        let last = builder.push("c", dense(1, 12, out, vec![0.0]), &[hidden], &[1]).unwrap();
        let network = builder.build(last).unwrap();
        let region = BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
        let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![-0.2] };
        let problem = PreimageProblem::new(network, region, target, Mode::Under);
        let search = PreimageSearch::new(&problem, &Device::Host).unwrap();
        let activations: Vec<u32> = search.engine.activations().collect();
        let (reduced, engine) = (&search.reduced, &search.engine);
        let ground = Ground { reduced, engine, mode: Mode::Under, activations: &activations };
        let ends: Box<[f32]> = (0..2 * n).map(|i| if i < n { -1.0 } else { 1.0 }).collect();
        let samples = search.samples(CounterStream::new(5, Purpose::Search, 0), &ends, 4096).unwrap();
        let mut piece = Piece::open(ends, Vec::new(), Vec::new(), samples, 0);
        let trim = Trim { share: 0.02, steps: 4 };
        piece.bound(&ground, None, Effort { steps: 8, inner_steps: 0, n_points: 128, fills: true, trim }).unwrap();
        let found = slants(&ground, &piece, 1).unwrap();
        let size = |a: &[f64]| a.iter().map(|a| a * a).sum::<f64>().sqrt();
        let plane = found.last().unwrap();
        let cosine = plane.a.iter().zip(&way).map(|(a, b)| a * b).sum::<f64>() / size(&plane.a) / size(&way);
        assert!(cosine.abs() > 0.97, "{cosine}");

        // Its two sides share the samples, evenly where these are in the preimage.
        let [low, high] = sides(&ground, &piece, &Cut::Slant(plane.clone()), &Vec::new(), 1).unwrap().unwrap();
        let (n_low, n_high) = (low.samples.n_inside() as f64, high.samples.n_inside() as f64);
        assert!((n_low / n_high - 1.0).abs() < 0.1, "{n_low} and {n_high}");
        assert_eq!(low.samples.len() + high.samples.len(), piece.samples.len());
        for (side, sign) in [(low, -1.0), (high, 1.0)] {
            let x = side.mean().iter().map(|&x| f64::from(x)).collect::<Vec<f64>>();
            assert!(side.walls.len() == 1 && side.walls[0].value(&x) >= 0.0 && sign * plane.value(&x) >= 0.0);
        }
    }
}
