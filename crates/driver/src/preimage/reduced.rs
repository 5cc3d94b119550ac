use std::ops::Range;
use std::sync::Arc;

use network::{Affine, Dense, LinearMap, Network, NodeId, Op, Sparse, WeightError};

use crate::error::Error;
use crate::preimage::problem::PreimageProblem;

/// A problem in the inputs that vary: the network from those to the left sides `row · y − rhs` of all output polytopes.
#[derive(Debug, Clone)]
pub struct Reduced {
    /// From `free.len()` inputs to all rows, one polytope after another.
    pub network: Arc<Network>,
    /// Which inputs vary, rising.
    pub free: Vec<usize>,
    /// The rows of each polytope.
    pub targets: Vec<Range<usize>>,
    /// The box of the free inputs: it encloses the real one (`outer`) and lies in it (`inner`).
    pub outer: Vec<(f64, f64)>,
    /// As `outer`, from inside.
    pub inner: Vec<(f64, f64)>,
}

/// An input that does not vary lies in `[low, high]`, which are equal or neighbours.
type Fixed = (f64, f64);

impl Reduced {
    /// Folds the inputs that do not vary into the first layers, and the rows into the last.
    ///
    /// # Errors
    /// When the problem's parts do not fit, or no input varies.
    pub fn new(problem: &PreimageProblem) -> Result<Self, Error> {
        problem.check()?;
        let region = &problem.region;
        let ends = |i: usize| (region.lower[i], region.upper[i]);
        // A decimal that is no float lies between two neighbours.
        let varies = |i: &usize| region.upper[*i] > region.lower[*i].next_up().next_up();
        let free: Vec<usize> = (0..region.n_inputs()).filter(varies).collect();
        if free.is_empty() {
            return Err(Error::question("no input of the region varies: there is no volume to speak of"));
        }
        let mut place: Vec<Option<usize>> = vec![None; region.n_inputs()];
        free.iter().enumerate().for_each(|(at, &i)| place[i] = Some(at));
        let fixed: Vec<Fixed> = (0..region.n_inputs()).map(ends).collect();
        let network = restrict(&problem.network, &place, &fixed, free.len())?;
        let (network, targets) = append_rows(&network, problem)?;
        let network = Arc::new(network.simplify()?);
        let outer = free.iter().map(|&i| ends(i)).collect();
        let inner = free.iter().map(|&i| (region.inner_lower[i], region.inner_upper[i])).collect();
        Ok(Self { network, free, targets, outer, inner })
    }

    /// Number of inputs that vary.
    pub fn n_free(&self) -> usize {
        self.free.len()
    }

    /// Which polytopes hold a point with these row values.
    pub fn holds<T: Copy + PartialOrd + Default>(&self, rows: &[T]) -> bool {
        self.targets.iter().any(|target| rows[target.clone()].iter().all(|value| *value >= T::default()))
    }
}

/// The network as a function of the inputs that have a place.
fn restrict(network: &Network, place: &[Option<usize>], fixed: &[Fixed], n_free: usize) -> Result<Network, Error> {
    if place.iter().all(Option::is_some) {
        return Ok(network.clone());
    }
    let mut builder = Network::builder(&[n_free])?;
    let mut now = vec![NodeId(0); network.nodes().len()];
    let reads_input = |inputs: &[NodeId]| inputs.contains(&NodeId(0));
    let needs_all = network.nodes().iter().any(|node| reads_input(&node.inputs) && !matches!(node.op, Op::Affine(_)));
    if needs_all {
        let n = place.len();
        let mut sparse = Sparse { n_in: n, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        for i in 0..n {
            sparse.columns.push(i as u32);
            sparse.values.push(1.0);
            sparse.offsets.push(i as u32 + 1);
        }
        let all = Affine::exact(LinearMap::Sparse(sparse), vec![0.0; n]);
        let op = Op::Affine(Arc::new(restricted(&all, place, fixed, n_free)));
        now[0] = builder.push("all inputs", op, &[NodeId(0)], &network.nodes()[0].shape)?;
    }
    for (id, node) in network.nodes().iter().enumerate().skip(1) {
        let op = match &node.op {
            Op::Affine(affine) if !needs_all && reads_input(&node.inputs) => {
                Op::Affine(Arc::new(restricted(affine, place, fixed, n_free)))
            }
            op => op.clone(),
        };
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| now[input.0]).collect();
        now[id] = builder.push(node.name.clone(), op, &inputs, &node.shape)?;
    }
    Ok(builder.build(now[network.output().0])?)
}

/// An affine map as a function of the free inputs, what rounding and the fixed inputs' own uncertainty cost inside its errors.
fn restricted(affine: &Affine, place: &[Option<usize>], fixed: &[Fixed], n_free: usize) -> Affine {
    let n_out = affine.n_out();
    let is_dense = matches!(affine.map, LinearMap::Dense(_));
    let mut weight = vec![0.0; if is_dense { n_out * n_free } else { 0 }];
    let mut sparse = Sparse { n_in: n_free, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
    let mut bias = Vec::with_capacity(n_out);
    let mut bias_error = Vec::with_capacity(n_out);
    let error = &affine.error;
    let high = |i: usize| fixed[i].0.abs().max(fixed[i].1.abs());
    let fixed_size: f64 = (0..place.len()).filter(|&i| place[i].is_none()).map(high).sum();
    for k in 0..n_out {
        let absolute = error.absolute.get(k).copied().unwrap_or(0.0);
        let (mut sum, mut size, mut doubt, mut n_terms) = (affine.bias[k], affine.bias[k].abs(), 0.0, 2.0);
        affine.map.for_each_in_row(k, |i, w| match place[i] {
            Some(at) if is_dense => weight[k * n_free + at] = w,
            Some(at) => {
                sparse.columns.push(at as u32);
                sparse.values.push(w);
            }
            None => {
                sum += w * fixed[i].0;
                size += w.abs() * high(i);
                doubt += w.abs() * ((fixed[i].1 - fixed[i].0) + error.relative * high(i));
                n_terms += 1.0;
            }
        });
        sparse.offsets.push(sparse.values.len() as u32);
        bias.push(sum);
        let is_exact = n_terms <= 2.0;
        let rounding = if is_exact { 0.0 } else { 2.0 * n_terms * f64::EPSILON * size + f64::MIN_POSITIVE };
        let own = error.bias.get(k).copied().unwrap_or(0.0);
        let total = own + rounding + doubt + absolute * fixed_size;
        bias_error.push(if total == 0.0 { 0.0 } else { total * (1.0 + 1e-9) });
    }
    let map =
        if is_dense { LinearMap::Dense(Dense { n_out, n_in: n_free, weight }) } else { LinearMap::Sparse(sparse) };
    let bias_error = if bias_error.iter().all(|&e| e == 0.0) { Vec::new() } else { bias_error };
    let error = WeightError { relative: error.relative, absolute: error.absolute.clone(), bias: bias_error };
    Affine { map, bias, error }
}

/// The network followed by the rows of all polytopes.
fn append_rows(network: &Network, problem: &PreimageProblem) -> Result<(Network, Vec<Range<usize>>), Error> {
    let n_in = network.n_outputs();
    let (mut weight, mut bias, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for target in &problem.targets {
        targets.push(bias.len()..bias.len() + target.rows.len());
        target.rows.iter().for_each(|row| weight.extend_from_slice(row));
        bias.extend(target.rhs.iter().map(|rhs| 0.0 - rhs));
    }
    let n_out = bias.len();
    let rows = Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)));
    let mut builder = network.to_builder();
    let output = builder.push("output polytopes", rows, &[network.output()], &[n_out])?;
    Ok((builder.build(output)?, targets))
}

#[cfg(test)]
mod tests {
    use network::{Activation, BoxRegion, Conv};

    use super::*;
    use crate::preimage::problem::{Mode, OutputPolytope};

    #[test]
    fn the_reduced_network_is_the_network_on_the_free_inputs() {
        let conv = Conv {
            in_channels: 1,
            in_height: 4,
            in_width: 4,
            out_channels: 2,
            out_height: 3,
            out_width: 3,
            kernel: [2, 2],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
            groups: 1,
            weight: (0..8).map(|i| 0.3 - 0.1 * f64::from(i)).collect(),
        };
        let mut builder = Network::builder(&[1, 4, 4]).unwrap();
        let op = Op::Affine(Arc::new(Affine::exact(LinearMap::Conv(conv), vec![0.05; 18])));
        let conv = builder.push("conv", op, &[NodeId(0)], &[2, 3, 3]).unwrap();
        let relu = builder.push("relu", Op::Activation(Activation::Relu), &[conv], &[18]).unwrap();
        let weight = (0..36).map(|i| f64::from(i % 7) / 7.0 - 0.4).collect();
        let dense = Affine::exact(LinearMap::Dense(Dense { n_out: 2, n_in: 18, weight }), vec![0.1, -0.2]);
        let out = builder.push("dense", Op::Affine(Arc::new(dense)), &[relu], &[2]).unwrap();
        let network = builder.build(out).unwrap();
        let image: Vec<f64> = (0..16).map(|i| f64::from(i) / 16.1).collect();
        let (mut lower, mut upper) = (image.clone(), image.clone());
        for i in [5, 6, 9] {
            (lower[i], upper[i]) = (0.0, 1.0);
        }
        let region = BoxRegion::new(lower, upper).unwrap();
        let target = OutputPolytope { rows: vec![vec![1.0, -1.0], vec![0.0, 2.0]], rhs: vec![0.25, -0.5] };
        let problem = PreimageProblem::new(network, region, target, Mode::Under);
        let reduced = Reduced::new(&problem).unwrap();
        assert_eq!(reduced.free, [5, 6, 9]);
        for free in [[0.0, 0.0, 0.0], [0.2, 0.9, 0.4], [1.0, 0.3, 0.8]] {
            let mut x = image.clone();
            [5, 6, 9].iter().zip(free).for_each(|(&i, value)| x[i] = value);
            let y = problem.network.evaluate(&x).unwrap();
            let rows = reduced.network.evaluate(&free).unwrap();
            assert!((rows[0] - (y[0] - y[1] - 0.25)).abs() < 1e-14 && (rows[1] - (2.0 * y[1] + 0.5)).abs() < 1e-14);
        }
        let bad = PreimageProblem { region: BoxRegion::new(image.clone(), image).unwrap(), ..problem };
        assert!(Reduced::new(&bad).unwrap_err().to_string().contains("no input"));
    }
}
