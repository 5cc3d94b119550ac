use std::sync::Arc;

use network::{
    Activation, Affine, BoxRegion, Dense, Disjunct, HalfSpace, LinearMap, Network, NodeId, Op, Property, WeightError,
};

use crate::error::Error;

/// The disjuncts of a property that share a region, as one network whose outputs are the left sides of their half-spaces.
///
/// A disjunct is excluded from a box as soon as one of its rows is provably positive there.
#[derive(Debug, Clone)]
pub struct Objective {
    /// Maps an input to every half-space's `Σ a x + Σ c y + d`, simplified.
    pub network: Arc<Network>,
    /// The region.
    pub region: BoxRegion,
    /// Per disjunct: its place in the property, and its rows. A disjunct without half-spaces has no rows and cannot be excluded.
    pub disjuncts: Vec<(usize, std::ops::Range<usize>)>,
}

impl Objective {
    /// One objective for each region that the property speaks of.
    ///
    /// # Errors
    /// When the property's sizes are not the network's.
    pub fn of(network: &Network, property: &Property) -> Result<Vec<Self>, Error> {
        property.check_sizes(network.n_inputs(), network.n_outputs())?;
        let mut groups: Vec<(BoxRegion, Vec<(usize, &Disjunct)>)> = Vec::new();
        for (place, disjunct) in property.disjuncts.iter().enumerate() {
            match groups.iter_mut().rev().find(|(region, _)| *region == disjunct.region) {
                Some((_, members)) => members.push((place, disjunct)),
                None => groups.push((disjunct.region.clone(), vec![(place, disjunct)])),
            }
        }
        groups.into_iter().map(|(region, members)| Self::group(network, region, &members)).collect()
    }

    fn group(network: &Network, region: BoxRegion, members: &[(usize, &Disjunct)]) -> Result<Self, Error> {
        let mut rows: Vec<&HalfSpace> = Vec::new();
        let mut disjuncts = Vec::new();
        for (place, disjunct) in members {
            disjuncts.push((*place, rows.len()..rows.len() + disjunct.half_spaces.len()));
            rows.extend(&disjunct.half_spaces);
        }
        let network = Arc::new(append_rows(network, &rows)?.simplify()?);
        Ok(Self { network, region, disjuncts })
    }

    /// Whether the network has `ReLU`s to split.
    pub fn has_relus(&self) -> bool {
        let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu));
        self.network.nodes().iter().any(|node| is_relu(&node.op))
    }

    /// Whether rows with these lower bounds exclude every disjunct; NaN excludes nothing.
    pub fn is_excluded(&self, lower: &[f64]) -> bool {
        self.disjuncts.iter().all(|(_, rows)| lower[rows.clone()].iter().any(|&bound| bound > 0.0))
    }

    /// The row of the worst disjunct that comes nearest to excluding it (0 if that disjunct has no rows).
    pub fn decisive_row(&self, lower: &[f64]) -> usize {
        let best = |rows: &std::ops::Range<usize>| rows.clone().max_by(|&a, &b| lower[a].total_cmp(&lower[b]));
        let of_disjunct = self.disjuncts.iter().filter_map(|(_, rows)| best(rows));
        of_disjunct.min_by(|&a, &b| lower[a].total_cmp(&lower[b])).unwrap_or(0)
    }

    /// How far the worst disjunct is from being excluded: the least over disjuncts of the largest lower bound of its rows.
    pub fn score(&self, lower: &[f64]) -> f64 {
        let of_rows = |rows: &std::ops::Range<usize>| {
            lower[rows.clone()]
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, |best, bound| if bound > best { bound } else { best })
        };
        self.disjuncts.iter().map(|(_, rows)| of_rows(rows)).fold(f64::INFINITY, f64::min)
    }
}

/// The network followed by the rows; with no row at all, the network itself.
fn append_rows(network: &Network, rows: &[&HalfSpace]) -> Result<Network, Error> {
    if rows.is_empty() {
        return Ok(network.clone());
    }
    let mut builder = network.to_builder();
    let constant: Vec<[f64; 2]> = rows.iter().map(|row| row.constant).collect();
    let of_outputs: Vec<&[(usize, [f64; 2])]> = rows.iter().map(|row| row.output.as_slice()).collect();
    let outputs = linear(&of_outputs, network.n_outputs(), &constant);
    let node = builder.push("property", outputs, &[network.output()], &[rows.len()])?;
    if rows.iter().all(|row| row.input.is_empty()) {
        return Ok(builder.build(node)?);
    }
    let of_inputs: Vec<&[(usize, [f64; 2])]> = rows.iter().map(|row| row.input.as_slice()).collect();
    let inputs = linear(&of_inputs, network.n_inputs(), &vec![[0.0; 2]; rows.len()]);
    let inputs = builder.push("property of inputs", inputs, &[NodeId(0)], &[rows.len()])?;
    let sum = builder.push("property of both", Op::Add, &[node, inputs], &[rows.len()])?;
    Ok(builder.build(sum)?)
}

/// A dense map of coefficients known from below and from above.
fn linear(rows: &[&[(usize, [f64; 2])]], n_in: usize, constant: &[[f64; 2]]) -> Op {
    let mut weight = vec![0.0; rows.len() * n_in];
    let mut absolute = vec![0.0_f64; rows.len()];
    for (k, row) in rows.iter().enumerate() {
        for &(i, [below, above]) in *row {
            weight[k * n_in + i] = below;
            absolute[k] = absolute[k].max(gap(below, above));
        }
    }
    let is_exact = |errors: &[f64]| errors.iter().all(|&error| error == 0.0);
    let bias: Vec<f64> = constant.iter().map(|[below, _]| *below).collect();
    let bias_error: Vec<f64> = constant.iter().map(|&[below, above]| gap(below, above)).collect();
    let error = WeightError {
        relative: 0.0,
        absolute: if is_exact(&absolute) { Vec::new() } else { absolute },
        bias: if is_exact(&bias_error) { Vec::new() } else { bias_error },
    };
    Op::Affine(Arc::new(Affine { map: LinearMap::Dense(Dense { n_out: rows.len(), n_in, weight }), bias, error }))
}

/// `above − below`, rounded up.
fn gap(below: f64, above: f64) -> f64 {
    if below == above { 0.0 } else { (above - below).next_up() }
}
