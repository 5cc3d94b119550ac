use std::sync::Arc;

use network::{Activation, Affine, Conv, Dense, LinearMap, Network, NodeId, Op};

use super::*;
use crate::device::host::{self, Given};
use crate::program::Step;
use crate::record::{Optimised, Recipe, record};
use crate::slack::Arithmetic;

/// A reproducible stream in `[−1, 1)`.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    fn list(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

fn affine(map: LinearMap, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(map, bias)))
}

/// A convolution, a residual sum and three layers of `ReLU`s.
fn network(stream: &mut Stream) -> Network {
    let mut builder = Network::builder(&[1, 3, 3]).unwrap();
    let conv = Conv {
        in_channels: 1,
        in_height: 3,
        in_width: 3,
        out_channels: 3,
        out_height: 2,
        out_width: 2,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
        groups: 1,
        weight: stream.list(12),
    };
    let mut dense = |n_out: usize, n_in: usize| {
        let weight = stream.list(n_out * n_in);
        affine(LinearMap::Dense(Dense { n_out, n_in, weight }), stream.list(n_out))
    };
    let relu = || Op::Activation(Activation::Relu);
    let layers = [dense(8, 12), dense(8, 8), dense(1, 8)];
    let [first, second, last] = layers;
    let conv = builder.push("conv", affine(LinearMap::Conv(conv), vec![0.1; 12]), &[NodeId(0)], &[3, 2, 2]).unwrap();
    let conv = builder.push("relu 0", relu(), &[conv], &[3, 2, 2]).unwrap();
    let first = builder.push("first", first, &[conv], &[8]).unwrap();
    let first = builder.push("relu 1", relu(), &[first], &[8]).unwrap();
    let second = builder.push("second", second, &[first], &[8]).unwrap();
    let second = builder.push("relu 2", relu(), &[second], &[8]).unwrap();
    let sum = builder.push("sum", Op::Add, &[first, second], &[8]).unwrap();
    let last = builder.push("last", last, &[sum], &[1]).unwrap();
    builder.build(last).unwrap()
}

/// The bound of the one lane, slack left out, for what the block's lines are now.
fn bound(block: &mut LaneBlock<f64>, shared: &Shared<f64>) -> f64 {
    let rows = [Row { neuron: 0, is_upper: false }];
    block.down(shared, &rows);
    block.block.bias[0] + block.block.slack[0]
}

/// Derivatives: which node, which of its entries or splits, how much.
type Gradient = Vec<(usize, usize, f64)>;

/// The gradients of `α` (node, entry, gradient) and of `β` (node, split, gradient) in the one lane.
fn gradients(block: &mut LaneBlock<f64>, shared: &Shared<f64>) -> (Gradient, Gradient) {
    bound(block, shared);
    block.place = vec![0];
    block.is_resting = vec![false];
    // A step too short to move anything, whose first moment, without memory, is the gradient.
    block.set_rates(1, [1e-300, 1e-300]);
    block.up(shared, false);
    let width = block.block.width;
    let (mut of_alpha, mut of_beta) = (Vec::new(), Vec::new());
    for (node, lines) in block.lines.iter().enumerate() {
        for entry in 0..lines.low.len() / width {
            if !lines.splits.iter().any(|split| split.entry as usize == entry) {
                of_alpha.push((node, entry, lines.moments[0][entry * width]));
            }
        }
        for (place, split) in lines.splits.iter().enumerate() {
            of_beta.push((node, place, split.moments[0]));
        }
    }
    (of_alpha, of_beta)
}

#[test]
fn gradients_agree_with_finite_differences() {
    let mut n_checked = 0;
    for seed in 0..20 {
        let mut stream = Stream(seed);
        let network = network(&mut stream);
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let (lower, upper) = (vec![-0.6; 9], vec![0.7; 9]);
        let program = record::<f64>(&network, &lower, &upper, recipe, Arithmetic::HOST_F64).unwrap();
        let scope = host::scope(&program, (&lower, &upper), &Given::nothing());
        let Some(Step::Objective(backward)) = program.steps.last() else { panic!("the objective comes last") };
        let sweep = program.sweeps.last().unwrap().as_ref().unwrap();
        let shared = Shared { program: &program, backward, sweep, scope: &scope };
        let mut splits = Vec::new();
        for (node, entries) in scope.entries.iter().enumerate() {
            for (place, &neuron) in entries.iter().enumerate().filter(|(place, _)| place % 4 == 1) {
                splits.push((Split { node: node as u32, neuron, is_active: place % 8 == 1 }, 0.3));
            }
        }
        let mut block = LaneBlock::<f64>::new(&program);
        block.set_lines(&shared, 1, LANES, &[Start { splits: &splits, ..Start::default() }]);
        for lines in &mut block.lines {
            let is_split: Vec<u32> = lines.splits.iter().map(|split| split.entry).collect();
            for (entry, low) in lines.low.chunks_mut(LANES).enumerate() {
                if !is_split.contains(&(entry as u32)) {
                    low[0] = 0.5 + 0.4 * stream.next();
                }
            }
        }
        let (of_alpha, of_beta) = gradients(&mut block, &shared);
        let h = 1e-7;
        let mut check = |what: &str, gradient: f64, set: &mut dyn FnMut(&mut LaneBlock<f64>, f64)| {
            set(&mut block, h);
            let above = bound(&mut block, &shared);
            set(&mut block, -2.0 * h);
            let below = bound(&mut block, &shared);
            set(&mut block, h);
            let difference = (above - below) / (2.0 * h);
            let error = (difference - gradient).abs() / (1.0 + gradient.abs());
            assert!(error < 1e-6, "seed {seed}, {what}: gradient {gradient}, differences {difference}");
            n_checked += 1;
        };
        for (node, entry, gradient) in of_alpha {
            check("alpha", gradient, &mut |block, by| block.lines[node].low[entry * LANES] += by);
        }
        for (node, place, gradient) in of_beta {
            check("beta", gradient, &mut |block, by| block.lines[node].splits[place].beta += by);
        }
    }
    assert!(n_checked > 200, "only {n_checked} derivatives were checked");
}

/// What a cloud's objective is in exact arithmetic: the weighted sum of sigmoids of the soft minimum (or maximum) over lanes.
fn objective(block: &mut LaneBlock<f64>, shared: &Shared<f64>, rows: &[Row], cloud: &Cloud<f64>, scale: f64) -> f64 {
    block.down(shared, rows);
    let slot = shared.backward.concretize.slot as usize;
    let n_points = cloud.weights.len();
    let sign = if cloud.is_union { -1.0 } else { 1.0 };
    let value = |lane: usize, s: usize| {
        let terms = block.block.live[slot]
            .iter()
            .map(|&i| block.block.slots[slot][i as usize * LANES + lane] * cloud.points[i as usize * n_points + s]);
        terms.sum::<f64>() + block.constants[lane] - block.block.slack[lane]
    };
    let of_point = |s: usize| {
        let sum: f64 = (0..rows.len()).map(|lane| (-sign * value(lane, s) / scale).exp()).sum();
        let inside = 1.0 / (1.0 + sum);
        cloud.weights[s] * if cloud.is_union { 1.0 - inside } else { inside }
    };
    (0..n_points).map(of_point).sum()
}

#[test]
fn gradients_of_a_cloud_agree_with_finite_differences() {
    let mut n_checked = 0;
    for seed in 0..8 {
        let mut stream = Stream(seed + 77);
        let network = network(&mut stream);
        // Two rows of different heights, so that both decide some samples.
        let mut builder = network.to_builder();
        let rows = affine(LinearMap::Dense(Dense { n_out: 2, n_in: 1, weight: vec![1.0, -0.7] }), vec![0.3, 0.9]);
        let last = builder.push("rows", rows, &[network.output()], &[2]).unwrap();
        let network = builder.build(last).unwrap().simplify().unwrap();
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let (lower, upper) = (vec![-0.6; 9], vec![0.7; 9]);
        let program = record::<f64>(&network, &lower, &upper, recipe, Arithmetic::HOST_F64).unwrap();
        let scope = host::scope(&program, (&lower, &upper), &Given::nothing());
        let Some(Step::Objective(backward)) = program.steps.last() else { panic!("the objective comes last") };
        let sweep = program.sweeps.last().unwrap().as_ref().unwrap();
        let shared = Shared { program: &program, backward, sweep, scope: &scope };
        let rows = [0, 1].map(|neuron| Row { neuron, is_upper: false });
        let points: Vec<f64> = (0..9 * 32).map(|_| 0.05 + 0.65 * stream.next()).collect();
        let weights: Vec<f64> = (0..32).map(|s| f64::from(s % 3)).collect();
        for is_union in [false, true] {
            let cloud = Cloud { points: &points, weights: &weights, is_union };
            let mut block = LaneBlock::<f64>::new(&program);
            block.set_lines(&shared, 2, LANES, &[Start::default(); 2]);
            for lines in &mut block.lines {
                lines
                    .low
                    .chunks_mut(LANES)
                    .for_each(|low| low[..2].iter_mut().for_each(|a| *a = 0.5 + 0.4 * stream.next()));
            }
            block.place = vec![0, 1];
            block.is_resting = vec![false; 2];
            block.down(&shared, &rows);
            let (totals, scale) = block.weigh(&shared, 2, &cloud, 1.3);
            block.set_rates(2, [1e-300, 1e-300]);
            let means = block.means.clone();
            block.up_from(&shared, false, Some(&means));
            let gradients: Vec<(usize, usize, usize, f64)> = block
                .lines
                .iter()
                .enumerate()
                .flat_map(|(node, lines)| {
                    let own = lines.moments[0].iter().enumerate().filter(|(at, _)| at % LANES < 2);
                    own.map(move |(at, m)| (node, at, at % LANES, *m)).collect::<Vec<_>>()
                })
                .collect();
            let h = 1e-6;
            for (node, at, lane, gradient) in gradients {
                let gradient = gradient * totals[lane] / scale;
                block.lines[node].low[at] += h;
                let above = objective(&mut block, &shared, &rows, &cloud, scale);
                block.lines[node].low[at] -= 2.0 * h;
                let below = objective(&mut block, &shared, &rows, &cloud, scale);
                block.lines[node].low[at] += h;
                let difference = (above - below) / (2.0 * h);
                // The slack has slopes of its own, of the size of rounding; the exponential of the weights errs by 1e-4.
                let error = (difference - gradient).abs() / (1e-3 + gradient.abs());
                assert!(error < 1e-3, "seed {seed}, union {is_union}: gradient {gradient}, differences {difference}");
                n_checked += usize::from(gradient.abs() > 1e-4);
            }
        }
    }
    assert!(n_checked > 100, "only {n_checked} derivatives were checked");
}
