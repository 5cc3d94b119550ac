//! Small `ReLU` networks, and the truth about them by enumerating their linear pieces.
//!
//! On a piece (one side of zero for every `ReLU`) the network is affine and its region a polytope in two or three dimensions, so the
//! least `max_k g_k` of a disjunct `g_1 ≤ 0 ∧ g_2 ≤ 0` lies at a vertex of the piece, or where an edge of it meets `g_1 = g_2`.

use std::sync::Arc;

use network::{
    Activation, Affine, BoxRegion, Dense, Disjunct, HalfSpace, LinearMap, Network, NetworkBuilder, NodeId, Op, Property,
};

/// A reproducible stream of numbers (splitmix64).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[−scale, scale)`, an f32.
    fn within(&mut self, scale: f64) -> f64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0;
        f64::from((scale * unit) as f32)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

fn dense(stream: &mut Stream, builder: &mut NetworkBuilder, from: NodeId, n_out: usize) -> NodeId {
    let n_in = builder.node(from).len();
    let scale = 2.0 / (n_in as f64).sqrt();
    let weight = (0..n_out * n_in).map(|_| if stream.below(8) == 0 { 0.0 } else { stream.within(scale) }).collect();
    let bias = (0..n_out).map(|_| stream.within(0.5)).collect();
    let affine = Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias);
    let name = format!("affine of {from}, {}", stream.next());
    builder.push(name, Op::Affine(Arc::new(affine)), &[from], &[n_out]).unwrap()
}

fn relu(builder: &mut NetworkBuilder, from: NodeId) -> NodeId {
    let n = builder.node(from).len();
    builder.push(format!("relu of {from}"), Op::Activation(Activation::Relu), &[from], &[n]).unwrap()
}

fn add(builder: &mut NetworkBuilder, operands: &[NodeId]) -> NodeId {
    let n = builder.node(operands[0]).len();
    builder.push(format!("sum of {operands:?}"), Op::Add, operands, &[n]).unwrap()
}

/// A network of at most `n_relus` `ReLU`s.
fn random_network(stream: &mut Stream, n_inputs: usize, n_relus: usize) -> Network {
    let mut builder = Network::builder(&[n_inputs]).unwrap();
    let b = &mut builder;
    let half = n_relus / 2;
    let last = match stream.below(6) {
        // A chain of one to three layers.
        0 | 1 => {
            let n_layers = 1 + stream.below(3);
            let mut node = NodeId(0);
            for _ in 0..n_layers {
                let z = dense(stream, b, node, n_relus / n_layers);
                node = relu(b, z);
            }
            node
        }
        // A residual block after the activation.
        2 => {
            let z = dense(stream, b, NodeId(0), half);
            let h = relu(b, z);
            let branch = dense(stream, b, h, half);
            let branch = relu(b, branch);
            add(b, &[h, branch])
        }
        // A residual block before the activation.
        3 => {
            let n = n_relus / 2;
            let z = dense(stream, b, NodeId(0), n);
            let h = relu(b, z);
            let branch = dense(stream, b, h, n);
            let sum = add(b, &[z, branch]);
            relu(b, sum)
        }
        // The input itself is activated, and one pre-activation is read twice.
        4 => {
            let h = relu(b, NodeId(0));
            let n = (n_relus - n_inputs) / 2;
            let z = dense(stream, b, h, n);
            let first = relu(b, z);
            let second = relu(b, z);
            let branch = dense(stream, b, first, n);
            add(b, &[second, branch, z])
        }
        // The output is an activation.
        _ => {
            let z = dense(stream, b, NodeId(0), n_relus - 3);
            let h = relu(b, z);
            let n_out = 1 + stream.below(3);
            let z = dense(stream, b, h, n_out);
            let output = relu(b, z);
            return builder.build(output).unwrap();
        }
    };
    let n_out = 1 + stream.below(3);
    let output = dense(stream, b, last, n_out);
    builder.build(output).unwrap()
}

/// `a · x + b`.
type Form = ([f64; 3], f64);

fn at((a, b): &Form, x: [f64; 3]) -> f64 {
    a.iter().zip(x).fold(*b, |sum, (a, x)| sum + a * x)
}

fn combine(terms: impl Iterator<Item = (f64, Form)>, constant: f64) -> Form {
    terms.fold(([0.0; 3], constant), |(sum, at), (w, (a, b))| {
        ([sum[0] + w * a[0], sum[1] + w * a[1], sum[2] + w * a[2]], at + w * b)
    })
}

/// The point where `d` hyperplanes meet.
fn meet(planes: &[&Form], d: usize) -> Option<[f64; 3]> {
    let mut rows: Vec<[f64; 4]> = planes.iter().map(|(a, b)| [a[0], a[1], a[2], -b]).collect();
    for column in 0..d {
        let pivot = (column..d).max_by(|&p, &q| rows[p][column].abs().total_cmp(&rows[q][column].abs()))?;
        rows.swap(column, pivot);
        if rows[column][column].abs() < 1e-9 {
            return None;
        }
        for row in 0..d {
            if row != column {
                let factor = rows[row][column] / rows[column][column];
                for k in 0..4 {
                    rows[row][k] -= factor * rows[column][k];
                }
            }
        }
    }
    let mut x = [0.0; 3];
    for (i, x) in x.iter_mut().enumerate().take(d) {
        *x = rows[i][3] / rows[i][i];
    }
    Some(x)
}

/// The vertices of `{x : every constraint ≥ 0}`, and where `extra` meets its edges.
fn vertices(constraints: &[Form], extra: Option<&Form>, d: usize) -> Vec<[f64; 3]> {
    let n = constraints.len() + usize::from(extra.is_some());
    let plane = |i: usize| constraints.get(i).or(extra).expect("in range");
    let mut found = Vec::new();
    let mut visit = |chosen: &[usize]| {
        let planes: Vec<&Form> = chosen.iter().map(|&i| plane(i)).collect();
        let Some(x) = meet(&planes, d) else { return };
        if constraints.iter().all(|constraint| at(constraint, x) >= -1e-9) {
            found.push(x);
        }
    };
    for i in 0..n {
        for j in i + 1..n {
            if d == 2 {
                visit(&[i, j]);
                continue;
            }
            for k in j + 1..n {
                visit(&[i, j, k]);
            }
        }
    }
    found
}

/// A piece: its constraints and the network's outputs on it.
struct Piece {
    constraints: Vec<Form>,
    outputs: Vec<Form>,
}

/// The pieces of the network over a box, by deciding one `ReLU` after another.
fn pieces(network: &Network, constraints: &mut Vec<Form>, decided: &mut Vec<bool>, found: &mut Vec<Piece>) {
    let d = network.n_inputs();
    let mut forms: Vec<Vec<Form>> = Vec::new();
    let mut place = 0;
    for node in network.nodes() {
        let mut next: Vec<Form> = Vec::new();
        match &node.op {
            Op::Input => next.extend((0..d).map(|i| {
                let mut a = [0.0; 3];
                a[i] = 1.0;
                (a, 0.0)
            })),
            Op::Affine(affine) => {
                let LinearMap::Dense(dense) = &affine.map else { unreachable!("dense maps only") };
                let operand = &forms[node.inputs[0].0];
                let row = |k: usize| {
                    dense.weight[k * dense.n_in..][..dense.n_in].iter().copied().zip(operand.iter().copied())
                };
                next.extend((0..dense.n_out).map(|k| combine(row(k), affine.bias[k])));
            }
            Op::Add => {
                let sum = |j: usize| combine(node.inputs.iter().map(|input| (1.0, forms[input.0][j])), 0.0);
                next.extend((0..node.len()).map(sum));
            }
            Op::Activation(_) => {
                for z in &forms[node.inputs[0].0] {
                    let Some(&is_active) = decided.get(place) else {
                        let values: Vec<f64> = vertices(constraints, None, d).iter().map(|&x| at(z, x)).collect();
                        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                        for (is_active, is_possible) in [(true, most >= 0.0), (false, least < 0.0)] {
                            if is_possible {
                                let sign = if is_active { 1.0 } else { -1.0 };
                                constraints.push(combine([(sign, *z)].into_iter(), 0.0));
                                decided.push(is_active);
                                pieces(network, constraints, decided, found);
                                decided.pop();
                                constraints.pop();
                            }
                        }
                        return;
                    };
                    place += 1;
                    next.push(if is_active { *z } else { ([0.0; 3], 0.0) });
                }
            }
            Op::MaxPool(_) => unreachable!("no pools"),
        }
        forms.push(next);
    }
    let outputs = forms.pop().expect("a network has nodes");
    found.push(Piece { constraints: constraints.clone(), outputs });
}

fn value(half_space: &HalfSpace, x: &[f64], y: &[f64]) -> f64 {
    let inputs = half_space.input.iter().map(|(i, a)| a[0] * x[*i]);
    let outputs = half_space.output.iter().map(|(j, c)| c[0] * y[*j]);
    inputs.chain(outputs).sum::<f64>() + half_space.constant[0]
}

/// The least `max_k g_k` over the box: not positive if and only if the disjunct can be violated.
///
/// The network itself is evaluated at every candidate, so that this is never below the truth by more than evaluation errs. Also the
/// least over the pieces of the largest `min g_k`: what splitting `ReLU`s alone can show.
fn margins(network: &Network, region: &BoxRegion, pieces: &[Piece], half_spaces: &[HalfSpace]) -> [f64; 2] {
    let d = network.n_inputs();
    let mut margins = [f64::INFINITY; 2];
    for piece in pieces {
        let form = |half_space: &HalfSpace| {
            let inputs = half_space.input.iter().map(|(i, a)| {
                let mut unit = [0.0; 3];
                unit[*i] = 1.0;
                (a[0], (unit, 0.0))
            });
            let outputs = half_space.output.iter().map(|(j, c)| (c[0], piece.outputs[*j]));
            combine(inputs.chain(outputs), half_space.constant[0])
        };
        let forms: Vec<Form> = half_spaces.iter().map(form).collect();
        let tie = (forms.len() == 2).then(|| combine([(1.0, forms[0]), (-1.0, forms[1])].into_iter(), 0.0));
        let mut single = vec![f64::INFINITY; forms.len()];
        for x in vertices(&piece.constraints, tie.as_ref(), d) {
            let point: Vec<f64> = (0..d).map(|i| x[i].clamp(region.lower[i], region.upper[i])).collect();
            let y: Vec<f64> = network.evaluate(&point).unwrap();
            let mut most = f64::NEG_INFINITY;
            for (k, half_space) in half_spaces.iter().enumerate() {
                let g = value(half_space, &point, &y);
                single[k] = single[k].min(g);
                most = most.max(g);
            }
            margins[0] = margins[0].min(most);
        }
        // A piece without vertices is none.
        margins[1] = margins[1].min(single.into_iter().fold(f64::NEG_INFINITY, f64::max));
    }
    margins
}

/// A network, a property of it, and the truth.
pub struct Question {
    /// The network.
    pub network: Network,
    /// The property.
    pub property: Property,
    /// The least margin of all disjuncts, and what splitting `ReLU`s can show of it.
    pub margins: [f64; 2],
}

/// How far from the truth thresholds are put, in units of the outputs.
const OFFSETS: [f64; 12] = [-0.3, -0.05, -1e-2, -1e-3, -1e-4, -1e-6, 1e-6, 1e-4, 1e-3, 1e-2, 0.05, 0.3];

/// The question of a seed.
pub fn question(seed: u64) -> Question {
    let mut stream = Stream(seed);
    let n_inputs = 2 + usize::from(stream.below(3) == 0);
    let n_relus = if n_inputs == 3 { 5 + stream.below(3) } else { 4 + stream.below(7) };
    let network = random_network(&mut stream, n_inputs, n_relus);
    let radius = [0.05, 0.5, 1.0, 2.0][stream.below(4)];
    let ends = |_| {
        let (centre, radius) = (stream.within(1.0), radius * (1.0 + stream.within(0.5)));
        (f64::from((centre - radius) as f32), f64::from((centre + radius) as f32))
    };
    let (lower, upper): (Vec<f64>, Vec<f64>) = (0..n_inputs).map(ends).unzip();
    let region = BoxRegion::new(lower, upper).unwrap();
    let mut constraints: Vec<Form> = Vec::new();
    for i in 0..n_inputs {
        for (sign, end) in [(1.0, region.lower[i]), (-1.0, region.upper[i])] {
            let mut a = [0.0; 3];
            a[i] = sign;
            constraints.push((a, -sign * end));
        }
    }
    let mut found = Vec::new();
    pieces(&network, &mut constraints, &mut Vec::new(), &mut found);
    let mut least = [f64::INFINITY; 2];
    let mut disjuncts = Vec::new();
    // Only one disjunct may be violated in half of the cases: the others would hide it.
    for _ in 0..=stream.below(3) {
        let mut half_spaces: Vec<HalfSpace> = (0..=stream.below(2))
            .map(|_| {
                let output =
                    (0..network.n_outputs()).map(|j| (j, [stream.within(1.0); 2])).filter(|(_, c)| c[0] != 0.0);
                let output = output.collect();
                let input = if stream.below(4) == 0 { vec![(0, [stream.within(1.0); 2])] } else { Vec::new() };
                HalfSpace { input, output, constant: [stream.within(0.2); 2] }
            })
            .collect();
        let [truth, _] = margins(&network, &region, &found, &half_spaces);
        let offset = OFFSETS[stream.below(OFFSETS.len())];
        let offset = if stream.below(2) == 0 { offset.abs() } else { offset };
        for half_space in &mut half_spaces {
            half_space.constant = [half_space.constant[0] + (offset - truth); 2];
        }
        let shifted = margins(&network, &region, &found, &half_spaces);
        assert!((shifted[0] - offset).abs() < 1e-9, "seed {seed}: {} is not {offset}", shifted[0]);
        least = [least[0].min(shifted[0]), least[1].min(shifted[1])];
        disjuncts.push(Disjunct { region: region.clone(), half_spaces });
    }
    let property = Property { n_inputs, n_outputs: network.n_outputs(), disjuncts };
    Question { network, property, margins: least }
}
