use std::sync::Arc;

use bounds::{Batch, BoundEngine, Bounds, Device, Method, Recipe, Wanted};
use network::{Activation, Affine, BoxRegion, Dense, LinearMap, MaxPool, Network, NodeId, Op};

use crate::random::{self, Stream};

const METHODS: [Method; 3] = [Method::Ibp, Method::CrownIbp, Method::Crown];

/// `x ↦ relu(x) + relu(−x)`, from one input.
fn absolute_value() -> Network {
    let mut builder = Network::builder(&[1]).unwrap();
    let dense = |n_out, n_in, weight: &[f64]| {
        let map = LinearMap::Dense(Dense { n_out, n_in, weight: weight.to_vec() });
        Op::Affine(Arc::new(Affine::exact(map, vec![0.0; n_out])))
    };
    let z = builder.push("z", dense(2, 1, &[1.0, -1.0]), &[NodeId(0)], &[2]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[2]).unwrap();
    let y = builder.push("y", dense(1, 2, &[1.0, 1.0]), &[h], &[1]).unwrap();
    builder.build(y).unwrap()
}

fn bound(network: &Network, lower: &[f64], upper: &[f64], recipe: Recipe) -> Bounds {
    let region = BoxRegion::new(lower.to_vec(), upper.to_vec()).unwrap();
    let engine = BoundEngine::new(&Device::Host, Arc::new(network.clone()), &region, recipe).unwrap();
    engine.bound(&Batch::enclosing(lower, upper), Wanted::default()).unwrap()
}

#[test]
fn absolute_value_on_a_symmetric_interval_has_the_chord_above_and_zero_below() {
    // Both lines of each relu on [−1, 1] have slope ½ above; below, slope ½ is not above ½, so 0.
    let recipe = Recipe { both_ends: true, ..Recipe::default() };
    let bounds = bound(&absolute_value(), &[-1.0], &[1.0], recipe);
    assert!((-1e-5..=0.0).contains(&bounds.lower[0]), "{}", bounds.lower[0]);
    assert!((1.0..1.0 + 1e-5).contains(&bounds.upper[0]), "{}", bounds.upper[0]);
}

#[test]
fn stable_relu_is_exact() {
    let recipe = Recipe { both_ends: true, ..Recipe::default() };
    let bounds = bound(&absolute_value(), &[2.0], &[3.0], recipe);
    assert!((2.0 - 1e-5..=2.0).contains(&bounds.lower[0]) && (3.0..3.0 + 1e-5).contains(&bounds.upper[0]));
}

#[test]
fn empty_batch_has_no_bounds() {
    let region = BoxRegion::new(vec![-1.0], vec![1.0]).unwrap();
    let engine = BoundEngine::new(&Device::Host, Arc::new(absolute_value()), &region, Recipe::default()).unwrap();
    let bounds = engine.bound(&Batch::default(), Wanted::default()).unwrap();
    assert!(bounds.lower.is_empty() && bounds.upper.is_empty());
}

#[test]
fn boxes_outside_the_region_are_refused() {
    let region = BoxRegion::new(vec![-1.0], vec![1.0]).unwrap();
    let engine = BoundEngine::new(&Device::Host, Arc::new(absolute_value()), &region, Recipe::default()).unwrap();
    for (lower, upper) in [(-2.0, 0.0), (0.0, 2.0), (0.5, 0.25), (f32::NAN, 0.0), (0.0, f32::NAN)] {
        let batch = Batch { lower: vec![lower], upper: vec![upper] };
        assert!(engine.bound(&batch, Wanted::default()).is_err(), "[{lower}, {upper}] was accepted");
    }
}

#[test]
fn sampled_outputs_lie_inside_every_methods_bounds() {
    let n_networks = std::env::var("DIADEM_SOUNDNESS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600);
    for seed in 0..n_networks {
        let mut stream = Stream(seed);
        let network = random::network(&mut stream);
        let (lower, upper) = random::region(&mut stream, network.n_inputs());
        let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
        let method = METHODS[stream.below(3)];
        let recipe = Recipe {
            method,
            both_ends: true,
            keep_interval: stream.below(4) > 0,
            same_slope: stream.below(4) == 0,
            ..Recipe::default()
        };
        let engine = BoundEngine::new(&Device::Host, Arc::new(network.clone()), &region, recipe).unwrap();
        let bounds = engine.bound(&Batch::enclosing(&lower, &upper), Wanted::default()).unwrap();
        let precise = engine.bound_precisely(&lower, &upper, Wanted::default()).unwrap();
        for _ in 0..200 {
            let x = random::point(&mut stream, &lower, &upper);
            let y: Vec<f64> = network.evaluate(&x).unwrap();
            for (k, &y) in y.iter().enumerate() {
                // f64 evaluation errs by about 1e-15 of the magnitudes inside; the f64 bounds are allowed that much.
                let error = 1e-12 * (1.0 + y.abs());
                for (name, bounds, error) in [("f32", &bounds, 0.0), ("f64", &precise, error)] {
                    assert!(
                        bounds.lower[k] <= y + error && y - error <= bounds.upper[k],
                        "seed {seed}, {recipe:?}, {name}: output {k} is {y}, bounds [{}, {}]",
                        bounds.lower[k],
                        bounds.upper[k],
                    );
                }
            }
        }
    }
}

#[test]
fn methods_are_ordered_and_close_on_points() {
    for seed in 0..200 {
        let mut stream = Stream(seed + 77_000);
        let network = random::network(&mut stream);
        let x: Vec<f64> = (0..network.n_inputs()).map(|_| f64::from(stream.within(-1.0, 1.0) as f32)).collect();
        let y: Vec<f64> = network.evaluate(&x).unwrap();
        let bounds = bound(&network, &x, &x, Recipe { both_ends: true, ..Recipe::default() });
        for k in 0..y.len() {
            let width = bounds.upper[k] - bounds.lower[k];
            assert!(width < 2e-3 * (1.0 + y[k].abs()), "seed {seed}: a point has bounds of width {width} at {}", y[k]);
        }
    }
}

#[test]
fn a_batch_is_bounded_as_its_boxes_alone() {
    for seed in 0..40 {
        let mut stream = Stream(seed + 5_000);
        let network = random::network(&mut stream);
        let (lower, upper) = random::region(&mut stream, network.n_inputs());
        let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
        let engine = BoundEngine::new(&Device::Host, Arc::new(network.clone()), &region, Recipe::default()).unwrap();
        let mut batch = Batch::default();
        for _ in 0..9 {
            for (&l, &u) in lower.iter().zip(&upper) {
                let (a, b) = (stream.within(l, u.next_up()) as f32, stream.within(l, u.next_up()) as f32);
                let inside = |v: f32| v.clamp(l as f32, u as f32);
                batch.lower.push(inside(a.min(b)));
                batch.upper.push(inside(a.max(b)));
            }
        }
        // Without slopes, what does not vary becomes part of biases.
        for slopes in [true, false] {
            let wanted = Wanted { split: true, slopes };
            let together = engine.bound(&batch, wanted).unwrap();
            let n = network.n_inputs();
            for b in 0..9 {
                let ends = [&batch.lower, &batch.upper].map(|end| end[b * n..][..n].to_vec());
                let [lower, upper] = ends;
                let alone = engine.bound(&Batch { lower, upper }, wanted).unwrap();
                let n_out = network.n_outputs();
                assert_eq!(alone.lower, together.lower[b * n_out..][..n_out]);
                assert_eq!(alone.split[0], together.split[b]);
            }
        }
    }
}

fn dense(n_out: usize, n_in: usize, weight: Vec<f64>) -> Op {
    let map = LinearMap::Dense(Dense { n_out, n_in, weight });
    Op::Affine(Arc::new(Affine::exact(map, vec![0.0; n_out])))
}

#[test]
fn a_clip_without_an_end_never_clips_huge_values() {
    let ends = [(0.0, f64::INFINITY), (f64::NEG_INFINITY, f64::INFINITY), (0.0, f64::from(f32::MAX)), (-1e30, 1e60)];
    for scale in [1.0, 1e30, 1e37, 1e40, 1e80] {
        for (lower, upper) in ends {
            let mut builder = Network::builder(&[1]).unwrap();
            let z = builder.push("z", dense(1, 1, vec![scale]), &[NodeId(0)], &[1]).unwrap();
            let clip = Op::Activation(Activation::Clip { lower, upper });
            let h = builder.push("h", clip, &[z], &[1]).unwrap();
            let y = builder.push("y", dense(1, 1, vec![1.0]), &[h], &[1]).unwrap();
            let network = Arc::new(builder.build(y).unwrap());
            let region = BoxRegion::new(vec![1.0], vec![2.0]).unwrap();
            let recipe = Recipe { both_ends: true, ..Recipe::default() };
            // Magnitudes that nothing can bound are an error, which is no verdict.
            let Ok(engine) = BoundEngine::new(&Device::Host, Arc::clone(&network), &region, recipe) else { continue };
            let bounds = engine.bound(&Batch::enclosing(&[1.0], &[2.0]), Wanted::default()).unwrap();
            let y: f64 = network.evaluate(&[2.0_f64]).unwrap()[0];
            assert!(bounds.upper[0] >= y, "scale {scale:e}, clip to [{lower:e}, {upper:e}]: {} < {y}", bounds.upper[0]);
        }
    }
}

#[test]
fn a_clip_of_constant_zero_is_its_nearest_end() {
    for (lower, upper, expected) in [(0.0, 6.0, 0.0), (2.0, 6.0, 2.0), (-6.0, -1.0, -1.0)] {
        let mut builder = Network::builder(&[1]).unwrap();
        let h = builder.push("h", Op::Activation(Activation::Clip { lower, upper }), &[NodeId(0)], &[1]).unwrap();
        let network = builder.build(h).unwrap();
        let bounds = bound(&network, &[0.0], &[0.0], Recipe { both_ends: true, ..Recipe::default() });
        let (l, u) = (bounds.lower[0], bounds.upper[0]);
        assert!(l <= expected && expected <= u && u - l < 1e-5, "[{lower}, {upper}] gives [{l}, {u}]");
    }
}

#[test]
fn one_input_that_wins_many_windows_keeps_its_rounding_inside_the_bound() {
    // 400 windows choose the same pixel, and 399 of their weights are lost one by one in f32.
    let (k, side) = (20, 39);
    let pool = MaxPool {
        channels: 1,
        in_height: side,
        in_width: side,
        out_height: k,
        out_width: k,
        kernel: [k, k],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
    };
    let mut builder = Network::builder(&[1, side, side]).unwrap();
    let pooled = builder.push("pool", Op::MaxPool(Arc::new(pool)), &[NodeId(0)], &[1, k, k]).unwrap();
    let tiny = f64::from((0.999 * 2.0_f64.powi(-24)) as f32);
    let weight: Vec<f64> = (0..k * k).map(|i| if i == 0 { 1.0 } else { tiny }).collect();
    let truth: f64 = weight.iter().sum();
    let y = builder.push("y", dense(1, k * k, weight), &[pooled], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let mut x = vec![0.0; side * side];
    x[(k - 1) * side + k - 1] = 1.0;
    for method in METHODS {
        let bounds = bound(&network, &x, &x, Recipe { method, both_ends: true, ..Recipe::default() });
        assert!(bounds.lower[0] <= truth && truth <= bounds.upper[0], "{method:?}: {truth} above {}", bounds.upper[0]);
    }
}

#[test]
fn what_was_zero_in_one_box_is_not_fixed_in_the_next() {
    // max(ReLU(x), ReLU(y)) − x: on boxes where both are inactive the maximum is zero; in between, on x ≥ 1 and y ≤ 0, the output is.
    let pool = MaxPool {
        channels: 1,
        in_height: 1,
        in_width: 2,
        out_height: 1,
        out_width: 1,
        kernel: [1, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
    };
    let mut builder = Network::builder(&[1, 1, 2]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[NodeId(0)], &[1, 1, 2]).unwrap();
    let most = builder.push("pool", Op::MaxPool(Arc::new(pool)), &[relu], &[1, 1, 1]).unwrap();
    let scaled = builder.push("scaled", dense(1, 1, vec![1.0]), &[most], &[1]).unwrap();
    let less = builder.push("less", dense(1, 2, vec![-1.0, 0.0]), &[NodeId(0)], &[1]).unwrap();
    let output = builder.push("output", Op::Add, &[scaled, less], &[1]).unwrap();
    let network = builder.build(output).unwrap();
    let region = BoxRegion::new(vec![-2.0; 2], vec![2.0; 2]).unwrap();
    let recipe = Recipe { both_ends: true, ..Recipe::default() };
    let engine = BoundEngine::new(&Device::Host, Arc::new(network), &region, recipe).unwrap();
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    for b in 0..64 {
        let low = if b % 2 == 0 { -2.0 } else { 1.0 };
        lower.extend([low, -2.0]);
        upper.extend([low + 1.0, -1.0]);
    }
    let bounds = engine.bound(&Batch { lower, upper }, Wanted::default()).unwrap();
    for b in (1..64).step_by(2) {
        let (lower, upper) = (bounds.lower[b], bounds.upper[b]);
        assert!(lower.abs() < 1e-4 && upper.abs() < 1e-4, "box {b}: [{lower}, {upper}]");
    }
}

#[test]
fn what_a_patch_does_not_reach_costs_no_tightness() {
    let mut n_folded = 0;
    for seed in 0..200 {
        let mut stream = Stream(seed + 31_000);
        let network = random::network(&mut stream);
        let x: Vec<f64> = (0..network.n_inputs()).map(|_| f64::from(stream.within(-1.0, 1.0) as f32)).collect();
        // A window of 2 × 2 pixels in both channels of 5 × 4.
        let (row, column, radius) = (stream.below(4), stream.below(3), [1e-3, 0.1, 2.0][stream.below(3)]);
        let is_in = |i: &usize| (row..row + 2).contains(&(i % 20 / 4)) && (column..column + 2).contains(&(i % 4));
        let end = |sign: f64| -> Vec<f64> {
            let moved = |(i, &x): (usize, &f64)| if is_in(&i) { f64::from((x + sign * radius) as f32) } else { x };
            x.iter().enumerate().map(moved).collect()
        };
        let (lower, upper) = (end(-1.0), end(1.0));
        let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
        let method = [Method::CrownIbp, Method::Crown][stream.below(2)];
        let recipe = Recipe { method, both_ends: true, ..Recipe::default() };
        let engine = BoundEngine::new(&Device::Host, Arc::new(network.clone()), &region, recipe).unwrap();
        let batch = Batch::enclosing(&lower, &upper);
        // Who asks for slopes gets those of all inputs: then nothing becomes part of a bias.
        let whole = engine.bound(&batch, Wanted { slopes: true, split: false }).unwrap();
        let narrow = engine.bound(&batch, Wanted::default()).unwrap();
        let precise = engine.bound_precisely(&lower, &upper, Wanted::default()).unwrap();
        let samples: Vec<Vec<f64>> =
            (0..100).map(|_| network.evaluate(&random::point(&mut stream, &lower, &upper)).unwrap()).collect();
        for k in 0..network.n_outputs() {
            let scale = 1e-4 * (1.0 + whole.upper[k].abs() + whole.lower[k].abs());
            let ends = |bounds: &Bounds| [bounds.lower[k], bounds.upper[k]];
            for (one, other) in ends(&whole).into_iter().zip(ends(&narrow)) {
                assert!((one - other).abs() < scale, "seed {seed}, {recipe:?}: output {k}, {one} and {other}");
                n_folded += usize::from(one != other);
            }
            for y in samples.iter().map(|y| y[k]) {
                let error = 1e-12 * (1.0 + y.abs());
                assert!(narrow.lower[k] <= y && y <= narrow.upper[k], "seed {seed}, f32: output {k} is {y}");
                assert!(
                    precise.lower[k] <= y + error && y - error <= precise.upper[k],
                    "seed {seed}, f64: output {k} is {y}"
                );
            }
        }
    }
    assert!(n_folded > 100, "only {n_folded} bounds were found another way");
}

#[test]
fn tangents_are_the_linear_bounds_of_points() {
    // Where a kink lies between the roundings of both, slopes may be those of either side.
    let mut n_different = 0;
    for seed in 0..100 {
        let mut stream = Stream(seed + 53_000);
        let network = random::network(&mut stream);
        let n = network.n_inputs();
        let region = BoxRegion::new(vec![-2.0; n], vec![2.0; n]).unwrap();
        let recipe = Recipe { method: Method::CrownIbp, ..Recipe::default() };
        let engine = BoundEngine::new(&Device::Host, Arc::new(network.clone()), &region, recipe).unwrap();
        let points: Vec<f32> = (0..40 * n).map(|_| stream.within(-1.5, 1.5) as f32).collect();
        let n_outputs = network.n_outputs();
        let targets: Vec<Option<u32>> = (0..40).map(|p| (p % 2 == 1).then(|| stream.below(n_outputs) as u32)).collect();
        let found = engine.tangents(&points, &targets, true).unwrap();
        let batch = Batch { lower: points.clone(), upper: points.clone() };
        let bounds = engine.bound(&batch, Wanted { slopes: true, split: false }).unwrap();
        for p in 0..40 {
            let x: Vec<f64> = points[p * n..][..n].iter().map(|&x| f64::from(x)).collect();
            let y: Vec<f64> = network.evaluate(&x).unwrap();
            let row = found.rows[p] as usize;
            assert!(targets[p].is_none_or(|target| target as usize == row));
            let least = y.iter().copied().fold(f64::INFINITY, f64::min);
            let size = 1e-4 * (1.0 + y.iter().fold(0.0, |m: f64, y| m.max(y.abs())));
            assert!((f64::from(found.values[p]) - y[row]).abs() < size, "seed {seed}");
            assert!(targets[p].is_some() || y[row] < least + size, "seed {seed}");
            let expected = &bounds.slopes[(p * n_outputs + row) * n..][..n];
            let got = &found.slopes[p * n..][..n];
            let scale = 1e-3 * (1e-3 + expected.iter().fold(0.0, |m: f64, a| m.max(a.abs())));
            let differs = expected.iter().zip(got).filter(|(a, b)| (*a - f64::from(**b)).abs() > scale).count();
            n_different += usize::from(differs > 0);
        }
    }
    assert!(n_different < 80, "{n_different} of 4000 tangents are not those of the bounds");
}
