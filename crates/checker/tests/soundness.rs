//! Bounds never lie inside what samples reach, whatever the slopes, the splits and the multipliers.

use std::sync::Arc;

use checker::{Lane, Method, Rounding, Row, Scope, SimilarImages, Split, bound};
use network::{Activation, Affine, Conv, Dense, LinearMap, MaxPool, Network, NodeId, Op, WeightError};
use proptest::prelude::*;

/// A reproducible stream of numbers (splitmix64).
struct Stream(u64);

impl Stream {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn within(&mut self, scale: f64) -> f64 {
        scale * (2.0 * self.unit() - 1.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

fn dense(stream: &mut Stream, n_out: usize, n_in: usize) -> Op {
    let weight = (0..n_out * n_in).map(|_| stream.within(1.0)).collect();
    let bias = (0..n_out).map(|_| stream.within(0.5)).collect();
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

fn activation(stream: &mut Stream) -> Activation {
    match stream.below(7) {
        0 => Activation::LeakyRelu(vec![stream.within(1.5)].into()),
        1 => Activation::Clip { lower: -0.5, upper: stream.unit() },
        2 => Activation::Sigmoid,
        3 => Activation::Tanh,
        _ => Activation::Relu,
    }
}

/// Images of 2 × 4 × 4 through a convolution, a residual sum, a pool and a matrix.
fn network(stream: &mut Stream) -> Network {
    let mut builder = Network::builder(&[2, 4, 4]).unwrap();
    let conv = |stream: &mut Stream| {
        let weight = (0..3 * 2 * 9).map(|_| stream.within(0.6)).collect();
        let conv = Conv {
            in_channels: 2,
            in_height: 4,
            in_width: 4,
            out_channels: 3,
            out_height: 4,
            out_width: 4,
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [1, 1],
            groups: 1,
            weight,
        };
        let bias = (0..48).map(|_| stream.within(0.3)).collect();
        Op::Affine(Arc::new(Affine::exact(LinearMap::Conv(conv), bias)))
    };
    let shape = [3, 4, 4];
    let first = conv(stream);
    let z = builder.push("z", first, &[NodeId(0)], &shape).unwrap();
    let h = builder.push("h", Op::Activation(activation(stream)), &[z], &shape).unwrap();
    // The sum meets coefficients that another path has left.
    let beside = dense(stream, 48, 32);
    let beside = builder.push("beside", beside, &[NodeId(0)], &shape).unwrap();
    let sum = builder.push("sum", Op::Add, &[h, beside, z], &shape).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[sum], &shape).unwrap();
    let pool = MaxPool {
        channels: 3,
        in_height: 4,
        in_width: 4,
        out_height: 3,
        out_width: 3,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
    };
    let pooled = builder.push("pool", Op::MaxPool(Arc::new(pool)), &[relu], &[3, 3, 3]).unwrap();
    let second = dense(stream, 6, 27);
    let second = builder.push("second", second, &[pooled], &[6]).unwrap();
    let last = builder.push("last", Op::Activation(activation(stream)), &[second], &[6]).unwrap();
    let output = dense(stream, 3, 6);
    let output = builder.push("output", output, &[last], &[3]).unwrap();
    builder.build(output).unwrap()
}

/// Values of all nodes at random points of a box, corners more often than not.
fn samples(stream: &mut Stream, network: &Network, lower: &[f64], upper: &[f64], n: usize) -> Vec<Vec<Vec<f64>>> {
    (0..n)
        .map(|_| {
            let is_corner = stream.below(2) == 0;
            let point: Vec<f64> = (0..lower.len())
                .map(|i| {
                    let t = stream.unit();
                    let t = if is_corner { t.round() } else { t };
                    (lower[i] + t * (upper[i] - lower[i])).clamp(lower[i], upper[i])
                })
                .collect();
            network.evaluate_all(&point).unwrap()
        })
        .collect()
}

/// What the evaluation of a sample may itself be off by.
const ROOM: f64 = 1e-11;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn samples_lie_inside_every_bound(seed: u64, width in prop_oneof![Just(0.0), Just(1e-9), 0.01..0.6f64]) {
        let stream = &mut Stream(seed);
        let network = network(stream);
        let lower: Vec<f64> = (0..32).map(|_| stream.within(1.0)).collect();
        let upper: Vec<f64> = lower.iter().map(|l| l + width * stream.unit()).collect();
        let samples = samples(stream, &network, &lower, &upper, 60);
        for method in [Method::Intervals, Method::Crown, Method::Tightest] {
            let scope = Scope::of(&network, &lower, &upper, method, Rounding::Outward);
            for node in 0..network.nodes().len() {
                let (below, above) = scope.bounds(node);
                for sample in &samples {
                    for (k, &value) in sample[node].iter().enumerate() {
                        let room = ROOM * (1.0 + value.abs());
                        prop_assert!(below[k] <= value + room && value <= above[k] + room, "{method:?}, node {node}");
                    }
                }
            }
            // Rows with any slopes over pieces that any splits define.
            let mut scope = Scope::start(&network, &lower, &upper, &[], Rounding::Outward);
            let mut n_relus = 0;
            let mut of_relu = Vec::new();
            while let Some(node) = scope.next() {
                if matches!(network.nodes()[node].op, Op::Activation(Activation::Relu)) {
                    let n = network.nodes()[node].len();
                    let neurons: Vec<u32> = (0..n as u32).filter(|_| stream.below(3) > 0).collect();
                    scope.declare_slopes(n_relus, &neurons, n);
                    of_relu.push((network.nodes()[node].inputs[0].0, n));
                    n_relus += 1;
                }
                scope.bound_operand(node, method, &[]);
                scope.settle(node, None);
            }
            let alphas: Vec<u16> = (0..scope.n_slopes()).map(|_| (65535.0 * stream.unit()).round() as u16).collect();
            let splits: Vec<Vec<(Split, f32)>> = (0..20)
                .map(|_| {
                    (0..stream.below(4))
                        .map(|_| {
                            let relu = stream.below(of_relu.len());
                            let neuron = stream.below(of_relu[relu].1) as u32;
                            let split = Split { relu: relu as u32, neuron, is_active: stream.below(2) == 0 };
                            (split, stream.unit() as f32)
                        })
                        .collect()
                })
                .collect();
            let lanes: Vec<Lane> = splits
                .iter()
                .enumerate()
                .map(|(r, splits)| {
                    let row = if r % 2 == 0 { Row::Lower(r % 3) } else { Row::Upper(r % 3) };
                    Lane { row, alpha: if r % 4 < 2 { &alphas } else { &[] }, splits }
                })
                .collect();
            let bounds = bound(&scope, network.output().0, &lanes);
            for (r, lane) in lanes.iter().enumerate() {
                for sample in &samples {
                    let holds = |(split, _): &(Split, f32)| {
                        let z = sample[of_relu[split.relu as usize].0][split.neuron as usize];
                        if split.is_active { z >= 0.0 } else { z <= 0.0 }
                    };
                    if lane.splits.iter().all(holds) {
                        let y = sample[network.output().0][r % 3];
                        let value = if r % 2 == 0 { y } else { -y };
                        prop_assert!(bounds[r] <= value + ROOM * (1.0 + y.abs()), "row {r}: {} > {value}", bounds[r]);
                    }
                }
            }
        }
    }
}

#[test]
fn multipliers_that_are_none_and_what_overflows_prove_nothing() {
    let mut builder = Network::builder(&[1]).unwrap();
    let identity = |w: f64| {
        let map = LinearMap::Dense(Dense { n_out: 1, n_in: 1, weight: vec![w] });
        Op::Affine(Arc::new(Affine::exact(map, vec![0.0])))
    };
    let z = builder.push("z", identity(1.0), &[NodeId(0)], &[1]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[1]).unwrap();
    let y = builder.push("y", identity(1.0), &[h], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let scope = Scope::of(&network, &[-1.0], &[1.0], Method::Tightest, Rounding::Outward);
    let split = Split { relu: 0, neuron: 0, is_active: true };
    for (split, beta, is_known) in [
        (split, 0.5, true),
        (split, -0.5, false),
        (split, f32::NAN, false),
        (split, f32::INFINITY, false),
        (Split { relu: 1, ..split }, 0.5, false),
        (Split { neuron: 1, ..split }, 0.5, false),
    ] {
        let lane = Lane { row: Row::Lower(0), alpha: &[], splits: &[(split, beta)] };
        assert_eq!(bound(&scope, 3, &[lane])[0] > f64::NEG_INFINITY, is_known, "{split:?} {beta}");
    }
    // z > 1 is held: no input is left.
    let away = Scope::of(&network, &[-2.0], &[-1.0], Method::Tightest, Rounding::Outward);
    let lane = Lane { row: Row::Lower(0), alpha: &[], splits: &[(split, 0.0)] };
    assert_eq!(bound(&away, 3, &[lane]), [f64::INFINITY]);
    // 1e200 twice.
    let mut builder = Network::builder(&[1]).unwrap();
    let z = builder.push("z", identity(1e200), &[NodeId(0)], &[1]).unwrap();
    let y = builder.push("y", identity(1e200), &[z], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let scope = Scope::of(&network, &[1.0], &[2.0], Method::Tightest, Rounding::Outward);
    assert_eq!(bound(&scope, 2, &[Lane::plain(Row::Lower(0))]), [f64::NEG_INFINITY]);
}

#[test]
fn errors_of_folded_coefficients_are_paid() {
    // y = (1 ± 0.25) x ± 0.5, x in [1, 2].
    let mut builder = Network::builder(&[1]).unwrap();
    let affine = Affine {
        map: LinearMap::Dense(Dense { n_out: 1, n_in: 1, weight: vec![1.0] }),
        bias: vec![0.0],
        error: WeightError { relative: 0.125, absolute: vec![0.125], bias: vec![0.5] },
    };
    let y = builder.push("y", Op::Affine(Arc::new(affine)), &[NodeId(0)], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let scope = Scope::of(&network, &[1.0], &[2.0], Method::Tightest, Rounding::Outward);
    let bounds = bound(&scope, 1, &[Lane::plain(Row::Lower(0)), Lane::plain(Row::Upper(0))]);
    for (low, high) in [(scope.bounds(1).0[0], scope.bounds(1).1[0]), (bounds[0], -bounds[1])] {
        assert!(low <= 0.25 && high >= 3.0, "[{low}, {high}]");
    }
}

#[test]
fn no_threshold_is_too_small_for_the_box_around_similar_images() {
    for threshold in [1.0, 0.5, 1e-3, 1e-100, 1e-160, 1e-170, 1e-200, 1e-300, f64::MIN_POSITIVE, 1e-310, 5e-324] {
        for reference in [vec![0.25, 0.75], vec![0.5, 0.5], vec![0.0], vec![1.0], vec![0.56], vec![0.0, 1.0, 5e-324]] {
            let set = SimilarImages::new(&reference, threshold).unwrap();
            let (lower, upper) = set.enclosure();
            for i in 0..reference.len() {
                assert!(
                    lower[i] <= reference[i] && reference[i] <= upper[i],
                    "{threshold}: {reference:?} leaves its box"
                );
            }
            set.misclassified(0, 2).unwrap();
            for scale in [1e-300, 1.0, 1e300] {
                let a: Vec<f64> = (0..reference.len()).map(|i| scale * (i as f64 - 0.5)).collect();
                let at: f64 = a.iter().zip(&reference).map(|(a, r)| a * r).sum();
                assert!(set.least(&a, &lower, &upper) <= at);
            }
        }
    }
    assert!(SimilarImages::new(&[0.5], 0.9).unwrap().misclassified(0, 1).is_err());
}
