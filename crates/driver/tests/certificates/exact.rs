//! The same certificates, in numbers that are not rounded.

use checker::certificate::{Evaluation, FORMAT, Header, Writer};
use checker::exact::{Dyadic, ExactScope};
use checker::{Arithmetic, Lane, Method, Question, Rounding, Row, Scope};
use driver::{SplitChoice, Verdict};
use network::{Activation, BoxRegion, Disjunct, HalfSpace, Network, NodeId, Op, Property};

use crate::support::{Certificate, Stream, dense, random_dense, random_network, random_property};
use crate::{certify, digests, judge, judge_in};

fn is_linear(network: &Network) -> bool {
    !network.nodes().iter().any(|node| matches!(node.op, Op::Activation(Activation::Sigmoid)))
}

#[test]
fn exact_bounds_are_inside_rounded_ones_by_no_more_than_rounding() {
    let mut stream = Stream(11);
    let mut n_networks = 0;
    while n_networks < 12 {
        let network = random_network(&mut stream);
        if !is_linear(&network) {
            continue;
        }
        n_networks += 1;
        let (property, _) = random_property(&mut stream, &network);
        let question = Question::new(&network, &property).unwrap();
        let region = &property.disjuncts[0].region;
        let (lower, upper) = (&region.lower, &region.upper);
        let rounded = Scope::of(&network, lower, upper, Method::Tightest, Rounding::Outward);
        let mut exact = ExactScope::start(&question, (lower, upper), &[]);
        while let Some(node) = exact.next() {
            exact.bound_operand(node, &[]);
            exact.settle(node, None);
        }
        let float = |values: &[Dyadic]| values.iter().map(Dyadic::float_below).collect::<Vec<f64>>();
        for node in 0..network.nodes().len() {
            let ((l, u), (exact_l, exact_u)) = (rounded.bounds(node), exact.bounds(node));
            for (rounded, exact, sign) in [(l, float(exact_l), 1.0), (u, float(exact_u), -1.0)] {
                for (rounded, exact) in rounded.iter().zip(exact) {
                    let inside = sign * (exact - rounded);
                    assert!((-1e-15..1e-11).contains(&inside), "node {node}: {rounded} and {exact}");
                }
            }
        }
        let output = network.output().0;
        let rows: Vec<Row> = property.disjuncts.iter().flat_map(|of| &of.half_spaces).map(Row::HalfSpace).collect();
        let lanes: Vec<Lane> = rows.into_iter().map(Lane::plain).collect();
        let (ours, theirs) = (checker::exact::bound(&exact, output, &lanes), checker::bound(&rounded, output, &lanes));
        for (exact, rounded) in ours.iter().zip(theirs) {
            assert!((0.0..1e-11).contains(&(exact - rounded)), "{exact} and {rounded}");
        }
    }
}

#[test]
fn exact_and_rounded_checks_agree_on_certificates_and_on_changed_ones() {
    let mut stream = Stream(5);
    let mut n_pieces = [0; 2];
    for _ in 0..16 {
        let network = random_network(&mut stream);
        let (property, _) = random_property(&mut stream, &network);
        for (which, split) in [SplitChoice::Inputs, SplitChoice::Relus].into_iter().enumerate() {
            let (verdict, bytes) = certify(&network, &property, split);
            if !is_linear(&network) {
                let refused = judge_in(Arithmetic::Exact, &network, &property, &bytes).unwrap_err();
                assert!(refused.contains("not piecewise linear"), "{refused}");
                continue;
            }
            let exact = judge_in(Arithmetic::Exact, &network, &property, &bytes);
            assert_eq!(exact.is_ok(), verdict == Verdict::Verified, "{split:?}: {exact:?}");
            assert_eq!(exact.as_ref().ok(), judge(&network, &property, &bytes).as_ref().ok());
            let Ok(census) = exact else { continue };
            n_pieces[which] += census.pieces + census.boxes;
            let mut mutated = Certificate::read(&bytes);
            for which in mutated.of_tags(&[5, 9]).into_iter().take(6) {
                let claim = mutated.claim(which);
                if !claim.is_finite() {
                    continue;
                }
                mutated.set_claim(which, claim + 0.01 * claim.abs().max(1e-3));
                assert!(judge_in(Arithmetic::Exact, &network, &property, &mutated.sealed()).is_err());
                mutated.set_claim(which, claim);
            }
        }
    }
    assert!(n_pieces.iter().all(|&n| n > 8), "{n_pieces:?}");
}

/// `max(x, 0) + max(−x, 0)` is at least `|x|`; half of `x` taken away leaves at least zero, which is what plain bounds show.
fn corner(constant: f64) -> (Network, Property) {
    let mut builder = Network::builder(&[1]).unwrap();
    let z = builder.push("z", dense(2, 1, vec![1.0, -1.0], vec![0.0, 0.0]), &[NodeId(0)], &[2]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[2]).unwrap();
    let y = builder.push("y", dense(1, 2, vec![0.7, 0.3], vec![constant]), &[h], &[1]).unwrap();
    let half_space = HalfSpace { input: Vec::new(), output: vec![(0, [1.0; 2])], constant: [0.0; 2] };
    let region = BoxRegion::new(vec![-1.0], vec![1.0]).unwrap();
    let disjuncts = vec![Disjunct { region, half_spaces: vec![half_space] }];
    (builder.build(y).unwrap(), Property { n_inputs: 1, n_outputs: 1, disjuncts })
}

/// So many boxes: two halves at zero, where every `ReLU` is decided, and nearer to zero ever more.
fn halved(n: usize) -> Vec<u8> {
    let header = Header {
        format: FORMAT,
        job: "verify".into(),
        tool: "test".into(),
        evaluation: Evaluation::Real,
        device: "none".into(),
        arithmetic: "none".into(),
        network: digests().network,
        property: digests().property,
    };
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &header);
    let root = writer.boxes(&[0]);
    let [mut left, right] = writer.halve(root, 0, 0.0);
    writer.plain(right);
    for k in 2..n {
        let [far, near] = writer.halve(left, 0, -1.0 / k as f64);
        writer.plain(far);
        left = near;
    }
    writer.plain(left);
    writer.finish().unwrap();
    bytes
}

#[test]
fn what_misses_zero_by_next_to_nothing_is_proved_exactly_and_a_tie_is_not() {
    let tiny = (-80.0_f64).exp2();
    for (constant, rounded, exact) in
        [(1e-3, true, true), (tiny, false, true), (0.0, false, false), (-tiny, false, false)]
    {
        let (network, property) = corner(constant);
        for (arithmetic, is_accepted) in [(Arithmetic::Outward, rounded), (Arithmetic::Exact, exact)] {
            let judged = judge_in(arithmetic, &network, &property, &halved(2));
            assert_eq!(judged.is_ok(), is_accepted, "{constant:e}, {arithmetic:?}: {judged:?}");
        }
    }
}

#[test]
fn the_exact_check_accepts_the_examples_and_refuses_what_is_too_large() {
    for (name, property, split) in [
        ("parking", "parking_clear", SplitChoice::Inputs),
        ("digits_conv", "digits_conv_0_eps_0.052", SplitChoice::Auto),
    ] {
        let (network, property) = crate::question(name, property);
        let (_, bytes) = certify(&network, &property, split);
        judge_in(Arithmetic::Exact, &network, &property, &bytes).unwrap();
    }
    // Four hundred boxes of a network with a thousand hidden neurons.
    let mut builder = Network::builder(&[1]).unwrap();
    let mut last = NodeId(0);
    let mut stream = Stream(2);
    for (n_in, n_out) in [(1, 500), (500, 500), (500, 1)] {
        last = builder.push("z", random_dense(&mut stream, n_out, n_in), &[last], &[n_out]).unwrap();
        if n_out > 1 {
            last = builder.push("h", Op::Activation(Activation::Relu), &[last], &[n_out]).unwrap();
        }
    }
    let network = builder.build(last).unwrap();
    let (_, property) = corner(0.0);
    let refused = judge_in(Arithmetic::Exact, &network, &property, &halved(400)).unwrap_err();
    assert!(refused.contains("exact bounds are for small networks"), "{refused}");
}
