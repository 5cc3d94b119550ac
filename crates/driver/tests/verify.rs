//! Verdicts on networks small enough to know the truth.

use std::fmt::Write as _;
use std::sync::Arc;

use bounds::Device;
use driver::{Limits, Outcome, Silent, SplitChoice, Stage, StopReason, Verdict, Verify, VerifyOptions};
use network::{Activation, Affine, Dense, LinearMap, Network, NodeId, Op, Property, vnnlib};

fn dense(n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

/// `y = x` on one input.
fn identity() -> Network {
    let mut builder = Network::builder(&[1]).unwrap();
    let y = builder.push("y", dense(1, 1, vec![1.0], vec![0.0]), &[NodeId(0)], &[1]).unwrap();
    builder.build(y).unwrap()
}

fn verify(network: &Network, property: &Property) -> Outcome {
    let limits = Limits { subdomains: Some(200_000), ..Limits::default() };
    let options = VerifyOptions { limits, ..VerifyOptions::default() };
    Verify { network, property, device: &Device::Host }.run(&options, &mut Silent).unwrap()
}

fn of_identity(constraints: &str) -> Verdict {
    let text = format!("(declare-const X_0 Real)\n(declare-const Y_0 Real)\n{constraints}");
    verify(&identity(), &vnnlib::parse(&text).unwrap()).verdict
}

#[test]
fn a_property_without_disjuncts_cannot_be_violated() {
    let property = Property { n_inputs: 1, n_outputs: 1, disjuncts: Vec::new() };
    assert_eq!(verify(&identity(), &property).verdict, Verdict::Verified);
}

#[test]
fn a_disjunct_without_half_spaces_is_violated_everywhere() {
    assert_eq!(of_identity("(assert (>= X_0 0))\n(assert (<= X_0 1))").name(), "falsified");
}

#[test]
fn a_half_space_that_only_touches_is_a_violation() {
    assert_eq!(of_identity("(assert (>= X_0 0))(assert (<= X_0 1))(assert (<= Y_0 0))").name(), "falsified");
    assert_eq!(of_identity("(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 1))").name(), "falsified");
}

#[test]
fn a_half_space_just_outside_is_excluded() {
    assert_eq!(of_identity("(assert (>= X_0 0))(assert (<= X_0 1))(assert (<= Y_0 -1e-9))"), Verdict::Verified);
    assert_eq!(of_identity("(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 1.000000001))"), Verdict::Verified);
}

#[test]
fn an_input_pinned_to_a_decimal_that_is_no_float_is_decided() {
    let pinned = |constraint: &str| of_identity(&format!("(assert (>= X_0 0.1))(assert (<= X_0 0.1)){constraint}"));
    assert_eq!(pinned("(assert (<= Y_0 0.2))").name(), "falsified");
    assert_eq!(pinned("(assert (<= Y_0 0.05))"), Verdict::Verified);
    // It touches, in the reals; floats cannot tell, and must not say that they can.
    assert_eq!(pinned("(assert (<= Y_0 0.1))"), Verdict::Unknown(StopReason::Precision));
}

#[test]
fn half_spaces_over_inputs_and_outputs_are_decided() {
    let both = |constraint: &str| of_identity(&format!("(assert (>= X_0 0))(assert (<= X_0 1)){constraint}"));
    assert_eq!(both("(assert (<= (+ X_0 Y_0) 0.5))").name(), "falsified");
    assert_eq!(both("(assert (>= (+ X_0 Y_0) 2.5))"), Verdict::Verified);
    assert_eq!(both("(assert (>= Y_0 (+ X_0 0.001)))"), Verdict::Verified);
}

#[test]
fn disjuncts_over_different_boxes_are_all_decided() {
    let text = "(assert (or (and (>= X_0 0) (<= X_0 1) (>= Y_0 5)) (and (>= X_0 2) (<= X_0 3) (>= Y_0 2.5))))";
    let Verdict::Falsified(found) = of_identity(text) else { panic!("the second box holds violations") };
    assert_eq!(found.disjunct, 1);
    assert!(found.input[0] >= 2.5 && found.margin >= 0.0);
    let text = "(assert (or (and (>= X_0 0) (<= X_0 1) (>= Y_0 5)) (and (>= X_0 2) (<= X_0 3) (>= Y_0 3.5))))";
    assert_eq!(of_identity(text), Verdict::Verified);
}

/// A reproducible stream of numbers in `[−1, 1)`.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((self.0 >> 33) as f64 / f64::from(1_u32 << 30) - 1.0) as f32)
    }
}

/// A 2-8-8-1 network of `ReLU`s.
fn random_network(stream: &mut Stream) -> Network {
    let mut builder = Network::builder(&[2]).unwrap();
    let mut node = NodeId(0);
    for (layer, (n_out, n_in)) in [(8, 2), (8, 8), (1, 8)].into_iter().enumerate() {
        let weight = (0..n_out * n_in).map(|_| stream.next()).collect();
        let bias = (0..n_out).map(|_| 0.5 * stream.next()).collect();
        node = builder.push(format!("z{layer}"), dense(n_out, n_in, weight, bias), &[node], &[n_out]).unwrap();
        if layer < 2 {
            node = builder.push(format!("h{layer}"), Op::Activation(Activation::Relu), &[node], &[n_out]).unwrap();
        }
    }
    builder.build(node).unwrap()
}

#[test]
fn verdicts_on_random_networks_agree_with_a_fine_grid() {
    let (mut n_verified, mut n_falsified) = (0, 0);
    for seed in 0..150 {
        let mut stream = Stream(seed);
        let network = random_network(&mut stream);
        let n_points = 60_i32;
        let at = |i: i32| -1.0 + 2.0 * f64::from(i) / f64::from(n_points);
        let value = |i: i32, j: i32| network.evaluate(&[at(i), at(j)]).unwrap()[0];
        let all = (0..=n_points).flat_map(|i| (0..=n_points).map(move |j| (i, j)));
        let least = all.map(|(i, j)| value(i, j)).fold(f64::INFINITY, f64::min);
        // Thresholds on both sides of the least value on the grid, some of them very near.
        for offset in [-0.5, -0.05, -1e-3, 1e-6, 0.1] {
            let threshold = least + offset;
            let text = format!(
                "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\
                 (assert (>= X_0 -1))(assert (<= X_0 1))(assert (>= X_1 -1))(assert (<= X_1 1))(assert (<= Y_0 {threshold:?}))"
            );
            let property = vnnlib::parse(&text).unwrap();
            match verify(&network, &property).verdict {
                Verdict::Verified => {
                    n_verified += 1;
                    assert!(least > threshold, "seed {seed}: verified, but {least} on the grid is at most {threshold}");
                }
                Verdict::Falsified(found) => {
                    n_falsified += 1;
                    let y: f64 = network.evaluate(&found.input).unwrap()[0];
                    assert!(y <= threshold && found.input.iter().all(|x| x.abs() <= 1.0), "seed {seed}: {found:?}");
                }
                Verdict::Unknown(reason) => panic!("seed {seed}, offset {offset}: {reason:?}"),
            }
        }
    }
    assert!(n_verified > 250 && n_falsified > 250, "{n_verified} verified, {n_falsified} falsified");
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    let mut stream = Stream(11);
    let network = random_network(&mut stream);
    let text = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\
                (assert (>= X_0 -1))(assert (<= X_0 1))(assert (>= X_1 -1))(assert (<= X_1 1))(assert (<= Y_0 0.2))";
    let property = vnnlib::parse(text).unwrap();
    assert_eq!(verify(&network, &property), verify(&network, &property));
}

#[test]
fn the_answer_does_not_depend_on_the_memory() {
    let (mut n_decided, mut n_subdomains) = (0, 0);
    for split in [SplitChoice::Inputs, SplitChoice::Relus] {
        for seed in 0..12 {
            let network = random_network(&mut Stream(seed));
            let n_points = 40;
            let at = |i: i32| -1.0 + 2.0 * f64::from(i) / f64::from(n_points);
            let all = (0..=n_points).flat_map(|i| (0..=n_points).map(move |j| (i, j)));
            let least = all.map(|(i, j)| network.evaluate(&[at(i), at(j)]).unwrap()[0]).fold(f64::INFINITY, f64::min);
            let text = format!(
                "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(assert (>= X_0 -1))\
                 (assert (<= X_0 1))(assert (>= X_1 -1))(assert (<= X_1 1))(assert (<= Y_0 {:?}))",
                least - 0.01
            );
            let property = vnnlib::parse(&text).unwrap();
            let within = |memory_bytes: u64| {
                let limits = Limits { subdomains: Some(20_000), memory_bytes, ..Limits::default() };
                let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
                let task = Verify { network: &network, property: &property, device: &Device::Host };
                task.run(&options, &mut Silent).unwrap()
            };
            let all = within(u64::MAX);
            // None at all, that of a few boxes, that of a few pieces with their multipliers.
            for memory_bytes in [0, 300, 3000] {
                assert_eq!(within(memory_bytes), all, "{split:?}, seed {seed}, {memory_bytes} bytes");
            }
            n_decided += usize::from(all.verdict == Verdict::Verified);
            n_subdomains += all.subdomains;
        }
    }
    assert!(n_decided > 12 && n_subdomains > 500, "{n_decided} verified, {n_subdomains} subdomains");
}

/// A chain of activations and scalar maps `w z + b` on one input.
fn chain(parts: &[(f64, f64, Option<Activation>)]) -> Network {
    let mut builder = Network::builder(&[1]).unwrap();
    let mut node = NodeId(0);
    for (i, (w, b, activation)) in parts.iter().enumerate() {
        node = builder.push(format!("z{i}"), dense(1, 1, vec![*w], vec![*b]), &[node], &[1]).unwrap();
        if let Some(activation) = activation {
            node = builder.push(format!("h{i}"), Op::Activation(activation.clone()), &[node], &[1]).unwrap();
        }
    }
    builder.build(node).unwrap()
}

fn on_one_to_two(network: &Network, constraint: &str) -> Verdict {
    let text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 1))(assert (<= X_0 2))";
    verify(network, &vnnlib::parse(&format!("{text}{constraint}")).unwrap()).verdict
}

#[test]
fn values_that_overflow_f32_are_never_verified_wrongly() {
    let clip = Some(Activation::Clip { lower: 0.0, upper: f64::INFINITY });
    let network = chain(&[(1e20, 0.0, clip.clone()), (1e20, 0.0, clip)]);
    // Every input violates; an f32 run overflows and cannot confirm it.
    assert_ne!(on_one_to_two(&network, "(assert (>= Y_0 5e39))"), Verdict::Verified);
}

#[test]
fn a_violation_that_rounding_made_is_not_called_proved() {
    // y = (x + 1e17) − 1e17 is x, but every float loses it.
    let network = chain(&[(1.0, 1e17, Some(Activation::Relu)), (1.0, -1e17, None)]);
    match on_one_to_two(&network, "(assert (<= Y_0 0.5))") {
        Verdict::Falsified(found) => assert!(!found.is_proved),
        Verdict::Unknown(_) => {}
        Verdict::Verified => panic!("nothing can verify this in f64"),
    }
}

#[test]
fn a_plain_violation_is_proved_in_real_arithmetic() {
    let network = chain(&[(2.0, 0.0, Some(Activation::Relu)), (1.0, 0.0, None)]);
    let Verdict::Falsified(found) = on_one_to_two(&network, "(assert (>= Y_0 2.5))") else { panic!("x = 2 violates") };
    assert!(found.is_proved);
}

#[test]
fn a_search_over_relus_that_runs_long_ends_without_an_error() {
    // Forty ReLUs that read twenty inputs: no turn of the search ends it, and there is no second layer to sharpen.
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0) as f32)
    };
    let mut list = |n: usize| (0..n).map(|_| next()).collect::<Vec<_>>();
    let mut builder = Network::builder(&[20]).unwrap();
    let z = builder.push("z", dense(40, 20, list(800), list(40)), &[NodeId(0)], &[40]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[40]).unwrap();
    let y = builder.push("y", dense(1, 40, list(40), vec![0.0]), &[h], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    let mut text = String::from("(declare-const Y_0 Real)(assert (<= Y_0 -14.0))\n");
    for i in 0..20 {
        write!(text, "(declare-const X_{i} Real)(assert (>= X_{i} -1.0))(assert (<= X_{i} 1.0))").unwrap();
    }
    let property = vnnlib::parse(&text).unwrap();
    let limits = Limits { subdomains: Some(6_000), ..Limits::default() };
    let options = VerifyOptions { limits, split: SplitChoice::Relus, ..VerifyOptions::default() };
    let outcome =
        Verify { network: &network, property: &property, device: &Device::Host }.run(&options, &mut Silent).unwrap();
    assert!(outcome.plan.contains(&Stage::ReluSplits), "{:?}", outcome.plan);
    assert!(outcome.subdomains > 2_048 || outcome.verdict == Verdict::Verified, "{outcome:?}");
    // What is verified was bounded away from the violation everywhere, whatever was stuck on the way.
    let least = outcome.lower_bound.unwrap_or(f64::INFINITY);
    assert!(outcome.verdict != Verdict::Verified || least > 0.0, "{outcome:?}");
}
