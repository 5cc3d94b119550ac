//! Rows with lines of their own: whatever `α` and `β` they start from and however they move, no point may lie below a bound.

use std::sync::Arc;
use std::time::Instant;

use bounds::{Ascent, Base, Batch, BoundEngine, Device, Keep, Lane, Method, Optimised, Recipe, Split, Target};
use network::{Activation, Affine, BoxRegion, Conv, Dense, LinearMap, Network, NetworkBuilder, NodeId, Op, Sparse};

use crate::random::{self, Stream};
use crate::reverse;

fn affine(stream: &mut Stream, builder: &mut NetworkBuilder, from: NodeId, n_out: usize) -> NodeId {
    let n_in = builder.node(from).len();
    let name = format!("affine {}", stream.next());
    let map = match stream.below(4) {
        // One channel that slides over the operand.
        0 if n_out <= n_in => {
            let kernel = [1, n_in + 1 - n_out];
            LinearMap::Conv(Conv {
                in_channels: 1,
                in_height: 1,
                in_width: n_in,
                out_channels: 1,
                out_height: 1,
                out_width: n_out,
                kernel,
                stride: [1, 1],
                dilation: [1, 1],
                pad: [0, 0],
                groups: 1,
                weight: stream.weights(kernel[1], 1.0),
            })
        }
        1 => {
            let columns: Vec<u32> = (0..n_out).map(|_| stream.below(n_in) as u32).collect();
            let offsets = (0..=n_out as u32).collect();
            LinearMap::Sparse(Sparse { n_in, offsets, columns, values: stream.weights(n_out, 1.5) })
        }
        _ => {
            let weight = stream.weights(n_out * n_in, 2.0 / (n_in as f64).sqrt());
            LinearMap::Dense(Dense { n_out, n_in, weight })
        }
    };
    // Some neurons are dead, and some exactly zero.
    let bias =
        (0..n_out).map(|_| [0.0, 0.0, -6.0, 4.0, stream.within(-0.5, 0.5) as f32][stream.below(5)]).map(f64::from);
    let op = Op::Affine(Arc::new(Affine::exact(map, bias.collect())));
    builder.push(name, op, &[from], &[n_out]).unwrap()
}

fn activated(stream: &mut Stream, builder: &mut NetworkBuilder, from: NodeId) -> NodeId {
    let n = builder.node(from).len();
    let activation = match stream.below(8) {
        0 => Activation::LeakyRelu(Arc::from([f64::from(stream.within(-0.5, 1.5) as f32)])),
        1 => Activation::Sigmoid,
        _ => Activation::Relu,
    };
    builder.push(format!("activation {}", stream.next()), Op::Activation(activation), &[from], &[n]).unwrap()
}

/// A network of few inputs whose nodes are read by several others, the input among them; the output may be any operator.
fn tangled(stream: &mut Stream) -> Network {
    let n = 1 + stream.below(5);
    let mut builder = Network::builder(&[n]).unwrap();
    let mut nodes = vec![NodeId(0)];
    for _ in 0..3 + stream.below(8) {
        let from = nodes[nodes.len().saturating_sub(1 + stream.below(4))];
        let node = match stream.below(5) {
            0 | 1 => affine(stream, &mut builder, from, n),
            2 | 3 => activated(stream, &mut builder, from),
            _ => {
                let operands: Vec<NodeId> =
                    (0..2 + stream.below(2)).map(|_| nodes[stream.below(nodes.len())]).collect();
                builder.push(format!("sum {}", stream.next()), Op::Add, &operands, &[n]).unwrap()
            }
        };
        nodes.push(node);
    }
    let last = nodes[nodes.len() - 1];
    let output = match stream.below(3) {
        0 => last,
        1 => activated(stream, &mut builder, last),
        _ => {
            let n_out = 1 + stream.below(4);
            affine(stream, &mut builder, last, n_out)
        }
    };
    if output.0 == 0 {
        return tangled(stream);
    }
    builder.build(output).unwrap()
}

/// Values of every node at points of a box.
struct Samples(Vec<Vec<Vec<f64>>>);

impl Samples {
    /// Points of the box, half of them near one of its points.
    fn new(stream: &mut Stream, network: &Network, (lower, upper): (&[f64], &[f64]), near: &[f64], n: usize) -> Self {
        let values = (0..n).map(|i| {
            let mut x = random::point(stream, lower, upper);
            if i % 2 == 0 {
                let weight = 0.3 * stream.unit().powi(4);
                x = x.iter().zip(near).map(|(x, near)| near + weight * (x - near)).collect();
            }
            if i == 0 {
                x = near.to_vec();
            }
            let x: Vec<f64> = x.iter().zip(lower.iter().zip(upper)).map(|(x, (l, u))| x.clamp(*l, *u)).collect();
            network.evaluate_all(&x).unwrap()
        });
        Self(values.collect())
    }

    /// Those that lie in a box and certainly on the splits' sides.
    fn within<'a>(
        &'a self,
        network: &'a Network,
        (lower, upper): (&'a [f32], &'a [f32]),
        splits: &'a [Split],
    ) -> impl Iterator<Item = &'a Vec<Vec<f64>>> {
        self.0.iter().filter(move |values| {
            let is_inside = values[0]
                .iter()
                .zip(lower.iter().zip(upper))
                .all(|(&x, (&l, &u))| f64::from(l) <= x && x <= f64::from(u));
            is_inside && splits.iter().all(|split| is_held(network, values, split))
        })
    }
}

/// Whether rounding leaves no doubt that the split holds.
fn is_held(network: &Network, values: &[Vec<f64>], split: &Split) -> bool {
    let z = values[network.node(NodeId(split.node as usize)).inputs[0].0][split.neuron as usize];
    let z = if split.is_active { z } else { -z };
    z == 0.0 || z > 1e-11
}

/// Splits of random `ReLU`s, most of them as at `values`; now and then of other activations, which bounds may ignore.
fn random_splits(stream: &mut Stream, network: &Network, values: &[Vec<f64>], most: usize) -> Vec<Split> {
    let takes_any = stream.below(16) == 0;
    let is_relu = |id: &usize| match network.nodes()[*id].op {
        Op::Activation(Activation::Relu) => true,
        Op::Activation(_) => takes_any,
        _ => false,
    };
    let relus: Vec<usize> = (0..network.nodes().len()).filter(is_relu).collect();
    if relus.is_empty() {
        return Vec::new();
    }
    let contradicts = stream.below(4) == 0;
    let mut splits: Vec<Split> = Vec::new();
    for _ in 0..stream.below(most + 1) {
        let node = relus[stream.below(relus.len())];
        let neuron = stream.below(network.nodes()[node].len());
        let z = values[network.nodes()[node].inputs[0].0][neuron];
        let is_active = if contradicts && stream.below(4) == 0 { z < 0.0 } else { z > 0.0 };
        let split = Split { node: node as u32, neuron: neuron as u32, is_active };
        let is_new = |other: &Split| (other.node, other.neuron) != (split.node, split.neuron);
        // Sometimes both sides of one neuron.
        if splits.iter().all(is_new) || stream.below(8) == 0 && !splits.contains(&split) {
            splits.push(split);
        }
    }
    splits
}

pub fn random_ascent(stream: &mut Stream) -> Ascent {
    let rate = |stream: &mut Stream| [0.0, 0.05, 0.25, 2.0, 100.0][stream.below(5)];
    Ascent {
        steps: stream.below(6),
        alpha_rate: rate(stream),
        beta_rate: rate(stream),
        decay: [1.0, 0.9][stream.below(2)],
        ..Ascent::default()
    }
}

/// What a lane starts from.
struct Begin {
    output: u32,
    is_upper: bool,
    splits: Vec<(Split, f32)>,
    alpha: Vec<u8>,
}

fn random_lanes(stream: &mut Stream, network: &Network, base: &Base, values: &[Vec<f64>]) -> Vec<Begin> {
    let n_lanes = [1, 3, 16, 17, 40][stream.below(5)];
    let most = [2, 6, 20, 300][stream.below(4)];
    (0..n_lanes)
        .map(|_| {
            let mut splits = random_splits(stream, network, values, most);
            // The base's own splits may have multipliers, too.
            splits.extend(base.splits().iter().filter(|_| stream.below(2) == 0));
            splits.sort_by_cached_key(|_| stream.next());
            splits.dedup();
            let beta =
                |stream: &mut Stream| [0.0, 0.0, 1e-3, 0.3, 5.0, 1e6, 1e-38, f32::MAX, f32::INFINITY][stream.below(9)];
            let splits = splits.into_iter().map(|split| (split, beta(stream))).collect();
            // Too few are ignored, too many are cut off.
            let n_alphas = [0, 3, 600][stream.below(3)];
            let alpha = (0..n_alphas).map(|_| [0, 255, stream.below(256)][stream.below(3)] as u8).collect();
            let output = stream.below(network.n_outputs()) as u32;
            Begin { output, is_upper: stream.below(2) == 0, splits, alpha }
        })
        .collect()
}

fn as_lanes(begins: &[Begin]) -> Vec<Lane<'_>> {
    let lane = |begin: &'_ Begin| (begin.output, begin.is_upper);
    begins
        .iter()
        .map(|begin| {
            let (output, is_upper) = lane(begin);
            Lane { neuron: output, is_upper, splits: &begin.splits, alpha: &begin.alpha, weight: 0.0 }
        })
        .collect()
}

/// What was checked.
#[derive(Default)]
struct Counts {
    checked: u64,
    empty_lanes: u64,
    empty_bases: u64,
    informative: u64,
    /// Points at which constrained bounds were checked, neurons that they tightened, and parts in which no point was left.
    constrained: u64,
    tighter: u64,
    nothing_left: u64,
    /// The same of bases after reverse propagation: points, bases that it tightened, and those in which no point was left.
    reversed: [u64; 3],
    /// The largest share of a slack that rounding really took, over points.
    share: f64,
    /// Networks whose lanes a device took.
    on_device: u64,
}

/// One network with a chain of bases and lanes on each of them.
fn check(device: &Device, seed: u64, counts: &mut Counts) {
    let mut stream = Stream(seed);
    let stream = &mut stream;
    let network = if stream.below(3) == 0 { random::network(stream) } else { tangled(stream) };
    let (lower, upper) = random::region(stream, network.n_inputs());
    let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
    let method = [Method::CrownIbp, Method::Crown, Method::Crown][stream.below(3)];
    let optimised = [Optimised::Outputs, Optimised::Everything][stream.below(2)];
    let (keep_interval, same_slope) = (stream.below(4) > 0, stream.below(4) == 0);
    let recipe = Recipe { method, both_ends: true, keep_interval, same_slope, optimised, ..Recipe::default() };
    let engine = BoundEngine::new(device, Arc::new(network.clone()), &region, recipe).unwrap();
    let near: Vec<f64> = random::point(stream, &lower, &upper).iter().map(|&x| f64::from(x as f32)).collect();
    let near: Vec<f64> = near.iter().zip(lower.iter().zip(&upper)).map(|(x, (l, u))| x.clamp(*l, *u)).collect();
    let samples = Samples::new(stream, &network, (&lower, &upper), &near, 80);
    let values = samples.0[0].clone();

    let batch = Batch::enclosing(&lower, &upper);
    let ascent = random_ascent(stream);
    let narrow = engine.bound_optimised(&batch, ascent).unwrap();
    let precise = engine.bound_optimised_precisely(&lower, &upper, ascent).unwrap();
    for values in &samples.0 {
        let y = &values[values.len() - 1];
        for (k, &y) in y.iter().enumerate() {
            for (name, bounds, error) in [("f32", &narrow, 0.0), ("f64", &precise, 1e-12 * (1.0 + y.abs()))] {
                let (l, u) = (bounds.lower[k], bounds.upper[k]);
                assert!(l <= y + error && y - error <= u, "seed {seed}, {name}: output {k} is {y}, bounds [{l}, {u}]");
            }
        }
    }

    let mut parent: Option<Base> = None;
    let (mut low, mut high) = (batch.lower, batch.upper);
    let mut splits = Vec::new();
    for generation in 0..3 {
        if generation > 0 {
            let most = [0, 2, 8][stream.below(3)];
            splits.extend(random_splits(stream, &network, &values, most));
            for i in 0..low.len() {
                if stream.below(3) == 0 {
                    let weight = stream.unit() as f32;
                    let x = near[i] as f32;
                    low[i] = (low[i] + weight * (x - low[i])).clamp(low[i], x);
                    high[i] = (high[i] + weight * (x - high[i])).clamp(x, high[i]);
                }
            }
        }
        let known = parent.as_ref().filter(|_| stream.below(4) > 0);
        let base = engine.base((&low, &high), known, &splits, random_ascent(stream)).unwrap();
        let Some(base) = base else {
            counts.empty_bases += 1;
            let held = samples.within(&network, (&low, &high), &splits).next();
            assert!(held.is_none(), "seed {seed}: an empty base holds {:?}", held.map(|values| &values[0]));
            return;
        };
        let held: Vec<&Vec<Vec<f64>>> = samples.within(&network, (&low, &high), &splits).collect();
        let begins = random_lanes(stream, &network, &base, &values);
        let ascent = random_ascent(stream);
        let keep = Keep {
            duals: stream.below(2) == 0,
            gaps: stream.below(3),
            minimiser: stream.below(2) == 0,
            proof: stream.below(2) == 0,
        };
        let ended = engine.ascend(&base, Target::Outputs, &as_lanes(&begins), &ascent, keep).unwrap();
        let precise = engine.ascend_precisely(&base, &as_lanes(&begins), &ascent, Keep::default()).unwrap();
        for (begin, (ended, precise)) in begins.iter().zip(ended.iter().zip(&precise)) {
            let splits: Vec<Split> = begin.splits.iter().map(|(split, _)| *split).collect();
            counts.empty_lanes += u64::from(ended.is_empty);
            for values in held.iter().filter(|values| splits.iter().all(|split| is_held(&network, values, split))) {
                let y = values[values.len() - 1][begin.output as usize];
                let y = if begin.is_upper { -y } else { y };
                counts.checked += 1;
                counts.informative += u64::from(f64::from(ended.bound) > y - 0.1 * (1.0 + y.abs()));
                if low == high {
                    let error = f64::from(ended.bound) + f64::from(ended.slack) - y;
                    counts.share = counts.share.max(error / f64::from(ended.slack));
                }
                let place = format!("seed {seed}, generation {generation}, {splits:?}");
                assert!(!ended.is_empty && !precise.is_empty, "{place}: an empty lane holds {:?}", values[0]);
                assert!(f64::from(ended.bound) <= y, "{place}, f32: {y} is below {}", ended.bound);
                let error = 1e-12 * (1.0 + y.abs());
                assert!(precise.bound <= y + error, "{place}, f64: {y} is below {}", precise.bound);
            }
            if keep.duals && !ended.is_empty && !ended.alpha.is_empty() {
                assert_eq!(ended.beta.len(), begin.splits.len());
                assert!(ended.beta.iter().all(|&beta| beta >= 0.0 && beta.is_finite()), "{:?}", ended.beta);
            }
        }
        check_constrained(stream, (&network, &engine), base.clone(), &held, counts, seed);
        reverse::check(stream, (&network, &engine), &base, &held, &mut counts.reversed, seed);
        parent = Some(sharpened(stream, (&network, &engine), base, &held, counts, seed));
    }
    // Sigmoids have no kernel of lanes; nothing else may keep a device from them.
    if !matches!(device, Device::Host) {
        let is_smooth =
            |node: &network::Node| matches!(node.op, Op::Activation(Activation::Sigmoid | Activation::Tanh));
        let why = engine.fallback();
        counts.on_device += u64::from(why.is_none());
        let is_expected = why.is_none_or(|why| why.contains("optimised bounds only"));
        assert!(is_expected && (why.is_none() || network.nodes().iter().any(is_smooth)), "seed {seed}: {why:?}");
    }
}

/// Bounds undecided neurons where an output is not positive, and the outputs over what that leaves.
fn check_constrained(
    stream: &mut Stream,
    (network, engine): (&Network, &BoundEngine),
    mut base: Base,
    held: &[&Vec<Vec<f64>>],
    counts: &mut Counts,
    seed: u64,
) {
    let output = stream.below(network.n_outputs()) as u32;
    let value = |values: &[Vec<f64>]| values[values.len() - 1][output as usize];
    let below: Vec<&&Vec<Vec<f64>>> = held.iter().filter(|values| value(values) <= 0.0).collect();
    for _ in 0..=stream.below(2) {
        for (activation, neurons) in engine.constrainable(&base).unwrap() {
            let operand = network.node(NodeId(activation as usize)).inputs[0].0;
            // One of the points chooses the sides of some splits.
            let extra = match below.first() {
                Some(values) if stream.below(2) == 0 => random_splits(stream, network, values, 4),
                _ => Vec::new(),
            };
            let within: Vec<_> = below.iter().filter(|v| extra.iter().all(|s| is_held(network, v, s))).collect();
            let splits: Vec<Split> = base.splits().iter().copied().chain(extra.iter().copied()).collect();
            let splits: Vec<(Split, f32)> = splits.into_iter().map(|s| (s, stream.below(3) as f32 * 0.2)).collect();
            let weights = [0.0, 1e-30, 0.01, 0.3, 1.0, 20.0, 1e9, f32::MAX, f32::INFINITY, f32::NAN];
            let ends: Vec<(u32, f32, bool)> = neurons
                .iter()
                .flat_map(|&(neuron, ..)| [false, true].map(|is_upper| (neuron, weights[stream.below(10)], is_upper)))
                .collect();
            let lanes: Vec<Lane> = ends
                .iter()
                .map(|&(neuron, weight, is_upper)| Lane { neuron, is_upper, splits: &splits, alpha: &[], weight })
                .collect();
            let target = Target::Constrained { activation, output };
            let ended = engine.ascend(&base, target, &lanes, &random_ascent(stream), Keep::default()).unwrap();
            for ends in ended.chunks(2).zip(&neurons) {
                let (ended, &(neuron, lower, upper)) = ends;
                let (low, high) = (f64::from(ended[0].bound), -f64::from(ended[1].bound));
                counts.tighter += u64::from(low > f64::from(lower) || high < f64::from(upper));
                for values in &within {
                    let z = values[operand][neuron as usize];
                    counts.constrained += 1;
                    assert!(
                        low <= z && z <= high,
                        "seed {seed}: neuron {neuron} of {operand}: {z} outside [{low}, {high}], output {output}"
                    );
                }
            }
            let bounds: Vec<(u32, u32, f32, f32)> = ended
                .chunks(2)
                .zip(&neurons)
                .map(|(ended, &(neuron, ..))| (activation, neuron, ended[0].bound, -ended[1].bound))
                .collect();
            let Some(part) = engine.constrained(&base, &bounds, &extra).unwrap() else {
                counts.nothing_left += 1;
                assert!(within.is_empty(), "seed {seed}: a constrained base holds nothing, but {:?}", within[0][0]);
                return;
            };
            assert!(part.is_constrained());
            let lane = Lane { neuron: output, is_upper: false, splits: &[], alpha: &[], weight: 0.0 };
            let ascent = random_ascent(stream);
            let narrow = engine.ascend(&part, Target::Outputs, &[lane], &ascent, Keep::default()).unwrap();
            let precise = engine.ascend_precisely(&part, &[lane], &ascent, Keep::default()).unwrap();
            for values in &within {
                let y = value(values);
                assert!(f64::from(narrow[0].bound) <= y, "seed {seed}: {y} is below {}", narrow[0].bound);
                let error = 1e-12 * (1.0 + y.abs());
                assert!(precise[0].bound <= y + error, "seed {seed}: {y} is below {}", precise[0].bound);
            }
            // The points of the next layer need not satisfy this one's splits.
            if extra.is_empty() {
                base = part;
            }
        }
    }
}

/// Bounds both ends of some undecided neurons by lanes of their own, checks them, and gives them to the base.
fn sharpened(
    stream: &mut Stream,
    (network, engine): (&Network, &BoundEngine),
    mut base: Base,
    held: &[&Vec<Vec<f64>>],
    counts: &mut Counts,
    seed: u64,
) -> Base {
    for (activation, neurons) in engine.undecided(&base).unwrap() {
        let operand = network.node(NodeId(activation as usize)).inputs[0].0;
        let mut bounds = Vec::new();
        for neuron in neurons {
            if stream.below(2) == 0 {
                continue;
            }
            let splits: Vec<(Split, f32)> =
                base.splits().iter().map(|split| (*split, stream.below(3) as f32 * 0.2)).collect();
            let lane = |is_upper| Lane { neuron, is_upper, splits: &splits, alpha: &[], weight: 0.0 };
            let ascent = random_ascent(stream);
            let target = Target::Operand(activation);
            let ended = engine.ascend(&base, target, &[lane(false), lane(true)], &ascent, Keep::default()).unwrap();
            for values in held {
                let z = values[operand][neuron as usize];
                let (lower, upper) = (f64::from(ended[0].bound), -f64::from(ended[1].bound));
                counts.checked += 1;
                counts.informative += 1;
                assert!(
                    lower <= z && z <= upper,
                    "seed {seed}: neuron {neuron} of {operand}: {z} outside [{lower}, {upper}]"
                );
            }
            bounds.push((neuron, ended[0].bound, -ended[1].bound));
        }
        match engine.tightened(&base, activation, &bounds, random_ascent(stream)).unwrap() {
            Some(tighter) => base = tighter,
            None => assert!(held.is_empty(), "seed {seed}: a tightened base holds nothing, but {:?}", held[0][0]),
        }
    }
    base
}

#[test]
fn samples_lie_above_the_bounds_of_lanes() {
    let n_networks = std::env::var("DIADEM_LANES_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let mut counts = Counts::default();
    for seed in 0..n_networks {
        check(&Device::Host, seed, &mut counts);
    }
    // Nothing is checked in vain.
    let Counts { checked, empty_lanes, empty_bases, informative, constrained, tighter, nothing_left, share, .. } =
        counts;
    let [points, n_tighter, n_gone] = counts.reversed;
    assert!(
        points > 1_000 * n_networks && 10 * n_tighter > n_networks && 50 * n_gone > n_networks,
        "{points} values, {n_tighter} bases tightened by reverse propagation, {n_gone} empty"
    );
    assert!(
        constrained > 100 * n_networks && tighter > 2 * n_networks && 50 * nothing_left > n_networks,
        "{constrained} points of {tighter} tightened neurons, {nothing_left} empty parts"
    );
    assert!(
        checked > 500 * n_networks && 2 * informative > checked,
        "{checked} checked, {informative} of them informative"
    );
    assert!(
        empty_lanes > n_networks && 50 * empty_bases > n_networks,
        "{empty_lanes} empty lanes, {empty_bases} empty bases"
    );
    assert!((0.0..1.0).contains(&share), "rounding took {share} of a slack");
    println!("rounding took at most {share} of a slack");
}

#[test]
fn a_split_of_another_activation_changes_no_line() {
    // y = leaky(x), slope ½, on [−1, 1]: with x ≤ 0 given, no line of a ReLU may take over.
    let mut builder = Network::builder(&[1]).unwrap();
    let leaky = Op::Activation(Activation::LeakyRelu(Arc::from([0.5])));
    let h = builder.push("h", leaky, &[NodeId(0)], &[1]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[h], &[1]).unwrap();
    let y = builder.push("y", Op::Add, &[h, relu], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let region = BoxRegion::new(vec![-1.0], vec![1.0]).unwrap();
    let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
    let engine = BoundEngine::new(&Device::Host, Arc::new(network), &region, recipe).unwrap();
    let base = engine.base((&[-1.0], &[1.0]), None, &[], Ascent::default()).unwrap().unwrap();
    let splits = [(Split { node: 1, neuron: 0, is_active: false }, 0.5)];
    let lane = Lane { neuron: 0, is_upper: false, splits: &splits, alpha: &[], weight: 0.0 };
    let ended = engine.ascend(&base, Target::Outputs, &[lane], &Ascent::default(), Keep::default()).unwrap();
    // At x = −1.
    assert!(ended[0].bound <= -0.5, "{}", ended[0].bound);
}

#[test]
fn an_ascent_whose_time_is_up_keeps_what_it_starts_from() {
    let mut stream = Stream(77);
    let mut n_better = 0;
    for _ in 0..20 {
        let network = Arc::new(random::network(&mut stream));
        let n = network.n_inputs();
        let region = BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let engine = BoundEngine::new(&Device::Host, Arc::clone(&network), &region, recipe).unwrap();
        let lower = |steps: usize, until: Option<Instant>| {
            let ascent = Ascent { steps, until, ..Ascent::default() };
            engine.bound_optimised_precisely(&vec![-1.0; n], &vec![1.0; n], ascent).unwrap().lower
        };
        let (late, still, whole) = (lower(20, Some(Instant::now())), lower(0, None), lower(20, None));
        // Slopes travel as bytes, which is not how plain bounds have them.
        assert!(late.iter().zip(&still).all(|(a, b)| (a - b).abs() < 1e-6), "{late:?} {still:?}");
        n_better += usize::from(whole.iter().zip(&late).any(|(a, b)| *a > b + 1e-6));
    }
    assert!(n_better > 0);
}

#[cfg(feature = "gpu")]
#[test]
fn samples_lie_above_the_bounds_of_lanes_on_a_device() {
    let Some(device) = crate::adapter::device() else { return };
    let n_networks = std::env::var("DIADEM_GPU_LANES_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut counts = Counts::default();
    for seed in 0..n_networks {
        check(&device, 500_000 + seed, &mut counts);
    }
    let Counts { checked, empty_lanes, informative, share, on_device, .. } = counts;
    assert!(checked > 500 * n_networks && 3 * informative > checked, "{checked} checked, {informative} informative");
    assert!(2 * on_device > n_networks && empty_lanes > 0, "{on_device} on the device, {empty_lanes} empty lanes");
    assert!((0.0..1.0).contains(&share), "rounding took {share} of a slack");
    println!("rounding took at most {share} of a slack");
}
