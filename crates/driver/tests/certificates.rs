//! Certificates of verified properties are accepted, and changed ones are not.

#[path = "certificates/exact.rs"]
mod exact;
#[path = "certificates/preimages.rs"]
mod preimages;
#[path = "certificates/support.rs"]
mod support;

use bounds::Device;
use checker::certificate::{Digest, Evaluation, FORMAT, Header};
use checker::{Arithmetic, Digests, Judgement, Progress, Question, SimilarImages};
use driver::ssim::{Ssim, SsimOptions, SsimVerdict};
use driver::{Limits, Recorder, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
use network::ssim::Similarity;
use network::{Activation, Image, Network, NodeId, Op, Property, vnnlib};
use support::{Certificate, Stream, dense, example, random_dense, sealed};

/// The digests of any files.
fn digests() -> Digests {
    Digests { network: Digest::of(b"network"), property: Digest::of(b"property") }
}

/// Searches, and returns the verdict with the certificate's bytes.
fn certify(network: &Network, property: &Property, split: SplitChoice) -> (Verdict, Vec<u8>) {
    certify_of(Evaluation::Real, network, property, split)
}

fn certify_of(
    evaluation: Evaluation,
    network: &Network,
    property: &Property,
    split: SplitChoice,
) -> (Verdict, Vec<u8>) {
    let header = Header {
        format: FORMAT,
        job: "verify".into(),
        tool: "test".into(),
        evaluation,
        device: "host".into(),
        arithmetic: "any".into(),
        network: digests().network,
        property: digests().property,
    };
    let limits = Limits { subdomains: Some(50_000), ..Limits::default() };
    let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
    let mut bytes = Vec::new();
    let mut recorder = Recorder::new(network, property, &mut bytes, &header).unwrap();
    let verify = Verify { network, property, device: &Device::Host };
    let outcome = verify.run_recorded(&options, &mut Silent, &mut recorder).unwrap();
    recorder.finish().unwrap();
    (outcome.verdict, bytes)
}

/// What the checker says; certificates that cannot be read are rejected as well.
fn judge(network: &Network, property: &Property, bytes: &[u8]) -> Result<checker::Census, String> {
    judge_in(Arithmetic::Outward, network, property, bytes)
}

fn judge_in(
    arithmetic: Arithmetic,
    network: &Network,
    property: &Property,
    bytes: &[u8],
) -> Result<checker::Census, String> {
    let question = Question::new(network, property).unwrap();
    match checker::check(&question, digests(), bytes, arithmetic, &Progress::default()) {
        Ok(Judgement::Accepted(census)) => Ok(census),
        Ok(Judgement::Rejected(rejection)) => Err(rejection.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn question(name: &str, property: &str) -> (Network, Property) {
    let network = network::onnx::read(&example(&format!("networks/{name}.onnx"))).unwrap();
    (network, vnnlib::read(&example(&format!("properties/{property}.vnnlib"))).unwrap())
}

#[test]
fn certificates_of_the_examples_are_accepted() {
    for (name, property, split) in [
        ("parking", "parking_clear", SplitChoice::Inputs),
        ("digits_dense", "digits_dense_0_eps_0.076", SplitChoice::Auto),
        ("digits_conv", "digits_conv_0_eps_0.052", SplitChoice::Auto),
    ] {
        let (network, property) = question(name, property);
        let (verdict, bytes) = certify(&network, &property, split);
        assert_eq!(verdict, Verdict::Verified, "{name} {split:?}");
        let census = judge(&network, &property, &bytes).unwrap();
        println!("{name} {split:?}: {census:?}, {} bytes", bytes.len());
        assert!(census.boxes + census.pieces > 0);
    }
}

#[test]
fn what_is_not_verified_has_no_certificate() {
    for (name, property) in [("parking", "parking_corner"), ("digits_dense", "digits_dense_0_eps_0.090")] {
        let (network, property) = question(name, property);
        let (verdict, bytes) = certify(&network, &property, SplitChoice::Auto);
        assert!(matches!(verdict, Verdict::Falsified(_)));
        assert!(judge(&network, &property, &bytes).is_err());
    }
}

/// A search by `ReLU`s that takes decisions, and one by inputs that halves boxes.
fn certified_examples() -> Vec<(Network, Property, Vec<u8>)> {
    let of = |name: &str, property: &str, split| {
        let (network, property) = question(name, property);
        let (verdict, bytes) = certify(&network, &property, split);
        assert_eq!(verdict, Verdict::Verified);
        (network, property, bytes)
    };
    vec![
        of("parking", "parking_clear", SplitChoice::Inputs),
        of("digits_dense", "digits_dense_0_eps_0.076", SplitChoice::Auto),
    ]
}

/// The network with one output's bias raised by so much.
fn raised(network: &Network, output: usize, by: f64) -> Network {
    let mut builder = network.to_builder();
    let n = network.n_outputs();
    let weight: Vec<f64> = (0..n * n).map(|e| if e / n == e % n { 1.0 } else { 0.0 }).collect();
    let bias = (0..n).map(|k| if k == output { by } else { 0.0 }).collect();
    let shifted = builder.push("shifted", dense(n, n, weight, bias), &[network.output()], &[n]).unwrap();
    builder.build(shifted).unwrap()
}

#[test]
fn a_thousand_mutated_certificates_are_rejected() {
    let examples = certified_examples();
    let mut stream = Stream(7);
    let mut n_of_kind = [0; 9];
    let mut n = 0;
    while n < 1000 {
        let (network, property, bytes) = &examples[stream.below(examples.len())];
        let mut mutated = Certificate::read(bytes);
        // Every one of these has a place in the proof: the searches gave nothing up.
        assert!(mutated.count(4) <= 1);
        let kind = stream.below(9);
        let result = match kind {
            // A leaf (or what proves a box) is removed.
            0 => {
                let leaves: Vec<usize> = mutated.of_tags(&[3, 9]);
                mutated.records.remove(leaves[stream.below(leaves.len())]);
                judge(network, property, &mutated.sealed())
            }
            // A leaf is there twice.
            1 => {
                let leaves = mutated.of_tags(&[3, 9]);
                let leaf = mutated.records[leaves[stream.below(leaves.len())]].clone();
                mutated.records.push(leaf);
                judge(network, property, &mutated.sealed())
            }
            // A claimed bound is raised.
            2 => {
                let claims = mutated.of_tags(&[5, 9]);
                if claims.is_empty() {
                    continue;
                }
                let which = claims[stream.below(claims.len())];
                let claim = mutated.claim(which);
                let by = (0.01 + stream.unit() as f32) * claim.abs().max(1e-3);
                mutated.set_claim(which, claim + by);
                judge(network, property, &mutated.sealed())
            }
            // A multiplier changes its sign, or a leaf's claim does.
            3 => {
                let leaves = mutated.of_tags(&[9]);
                if leaves.is_empty() {
                    continue;
                }
                let which = leaves[stream.below(leaves.len())];
                if !mutated.negate_multiplier(which, &mut stream) {
                    let claim = mutated.claim(which);
                    mutated.set_claim(which, -claim);
                }
                judge(network, property, &mutated.sealed())
            }
            // The box is widened to one that holds a violation: everywhere, any output may win.
            4 => {
                let mut wider = property.clone();
                let by = 50.0 + 100.0 * stream.unit();
                for disjunct in &mut wider.disjuncts {
                    let region = &mut disjunct.region;
                    for (lower, inner) in region.lower.iter_mut().zip(&mut region.inner_lower) {
                        (*lower, *inner) = (*lower - by, *inner - by);
                    }
                    for (upper, inner) in region.upper.iter_mut().zip(&mut region.inner_upper) {
                        (*upper, *inner) = (*upper + by, *inner + by);
                    }
                }
                judge(network, &wider, bytes)
            }
            // A weight is changed so that the violation is everywhere: with the digest of the old file, and as if of the new.
            5 => {
                let half_space = &property.disjuncts[0].half_spaces[0];
                let (output, _) = half_space.output.iter().find(|(_, [below, _])| *below < 0.0).unwrap();
                let changed = raised(network, *output, 200.0 + 100.0 * stream.unit());
                judge(&changed, property, bytes)
            }
            // A disjunct is left out, or turned around.
            6 => {
                let mut turned = property.clone();
                let which = stream.below(turned.disjuncts.len());
                for half_space in &mut turned.disjuncts[which].half_spaces {
                    half_space.output.iter_mut().for_each(|(_, [below, above])| (*below, *above) = (-*above, -*below));
                }
                if turned.disjuncts[which].half_spaces.len() > 1 {
                    // Turned around, one of them may still be excluded: keep the first.
                    turned.disjuncts[which].half_spaces.truncate(1);
                }
                let centre: Vec<f64> = {
                    let region = &turned.disjuncts[which].region;
                    region.lower.iter().zip(&region.upper).map(|(l, u)| 0.5 * l + 0.5 * u).collect()
                };
                let output = network.evaluate(&centre).unwrap();
                if turned.violated_at(&centre, &output).is_none() {
                    continue;
                }
                judge(network, &turned, bytes)
            }
            // It is cut short, anywhere.
            7 => judge(network, property, &bytes[..stream.below(bytes.len())]),
            // It is cut short between records, and ended as if it were whole.
            _ => {
                mutated.records.truncate(stream.below(mutated.records.len()));
                judge(network, property, &mutated.sealed())
            }
        };
        assert!(result.is_err(), "kind {kind}: {result:?}");
        n_of_kind[kind] += 1;
        n += 1;
    }
    println!("{n_of_kind:?}");
    assert!(n_of_kind.iter().all(|&n| n > 20), "{n_of_kind:?}");
}

#[test]
fn a_certificate_of_other_files_is_an_error() {
    let (network, property, bytes) = certified_examples().swap_remove(0);
    let question = Question::new(&network, &property).unwrap();
    for other in [
        Digests { network: Digest::of(b"another"), ..digests() },
        Digests { property: Digest::of(b"another"), ..digests() },
    ] {
        assert!(checker::check(&question, other, &bytes, Arithmetic::Outward, &Progress::default()).is_err());
    }
}

#[test]
fn hostile_bytes_are_rejected_without_a_panic() {
    let examples = certified_examples();
    let mut stream = Stream(11);
    for round in 0..1500 {
        let (network, property, bytes) = &examples[stream.below(2)];
        let mut changed = bytes.clone();
        for _ in 0..=stream.below(4) {
            let place = stream.below(changed.len());
            match stream.below(4) {
                0 => changed[place] = stream.next() as u8,
                1 => changed[place] ^= 1 << stream.below(8),
                2 => drop(changed.drain(place..(place + 1 + stream.below(8)).min(changed.len()))),
                _ => changed.insert(place, if stream.below(2) == 0 { 0xff } else { stream.next() as u8 }),
            }
        }
        // Once with a digest that gives it away, else as if it had been written so: then it may even be another proof.
        if round % 4 == 0 {
            assert!(changed == *bytes || judge(network, property, &changed).is_err());
        } else if changed.len() > 32 {
            let n = changed.len() - 32;
            drop(judge(network, property, &sealed(&changed[..n])));
        }
    }
    let (network, property, _) = &examples[0];
    for _ in 0..300 {
        let noise: Vec<u8> = (0..stream.below(400)).map(|_| stream.next() as u8).collect();
        assert!(judge(network, property, &noise).is_err());
    }
}

#[test]
fn random_networks_certified_by_either_search_are_accepted() {
    let mut stream = Stream(3);
    let mut n_certified = [0; 2];
    for seed in 0..24 {
        let network = support::random_network(&mut stream);
        let (property, _) = support::random_property(&mut stream, &network);
        for (which, split) in [SplitChoice::Inputs, SplitChoice::Relus].into_iter().enumerate() {
            let (verdict, bytes) = certify(&network, &property, split);
            if verdict == Verdict::Verified {
                let census = judge(&network, &property, &bytes);
                assert!(census.is_ok(), "network {seed}, {split:?}: {census:?}");
                n_certified[which] += 1;
            } else {
                assert!(judge(&network, &property, &bytes).is_err(), "network {seed}, {split:?}");
            }
        }
    }
    assert!(n_certified.iter().all(|&n| n > 4), "{n_certified:?}");
}

#[test]
fn relus_keep_their_names_whatever_is_merged_around_them() {
    // Scales, permutations and identities around each ReLU are merged away; a certificate by ReLU splits names neurons of the network
    // as it was read, or it would not be accepted.
    let mut stream = Stream(5);
    let mut n_certified = 0;
    for _ in 0..16 {
        let mut builder = Network::builder(&[2]).unwrap();
        let mut last = NodeId(0);
        for layer in 0..3 {
            let n = builder.node(last).len();
            let first = support::random_dense(&mut stream, 4, n);
            last = builder.push(format!("dense {layer}"), first, &[last], &[4]).unwrap();
            last = builder.push(format!("scale {layer}"), support::scale(&mut stream, 4), &[last], &[4]).unwrap();
            last = builder.push(format!("relu {layer}"), Op::Activation(Activation::Relu), &[last], &[4]).unwrap();
            last = builder.push(format!("turn {layer}"), support::permutation(4), &[last], &[4]).unwrap();
        }
        let output = support::random_dense(&mut stream, 2, 4);
        let output = builder.push("output", output, &[last], &[2]).unwrap();
        let network = builder.build(output).unwrap();
        assert!(network.simplify().unwrap().nodes().len() < network.nodes().len());
        let (property, _) = support::random_property(&mut stream, &network);
        let (verdict, bytes) = certify(&network, &property, SplitChoice::Relus);
        if verdict == Verdict::Verified {
            let census = judge(&network, &property, &bytes).unwrap();
            n_certified += usize::from(census.pieces > 1);
        }
    }
    assert!(n_certified > 1, "{n_certified}");
}

/// `y = (x + B) − B` over `[0, 1]`: in floats the huge bias swallows `x`, and whoever trusts them sees a constant.
///
/// Source: Jia and Rinard 2021 (arXiv 2003.03021), whose networks use this against verifiers that do not account for rounding.
#[test]
fn biases_that_cancel_do_not_fool_it() {
    for exponent in [20, 24, 30, 40, 52, 56, 60, 80, 100] {
        let bias = 2.0_f64.powi(exponent);
        let mut builder = Network::builder(&[1]).unwrap();
        let z = builder.push("z", dense(1, 1, vec![1.0], vec![bias]), &[NodeId(0)], &[1]).unwrap();
        let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[1]).unwrap();
        let y = builder.push("y", dense(1, 1, vec![1.0], vec![-bias]), &[h], &[1]).unwrap();
        let network = builder.build(y).unwrap();
        // In real arithmetic y = x, so that y ≥ 0.9 has members.
        let text = "(declare-const X_0 Real)(declare-const Y_0 Real)\
                    (assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 0.9))";
        let property = vnnlib::parse(text).unwrap();
        for split in [SplitChoice::Inputs, SplitChoice::Relus] {
            let limits = Limits { subdomains: Some(500), ..Limits::default() };
            let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
            let verify = Verify { network: &network, property: &property, device: &Device::Host };
            let plain = verify.run(&options, &mut Silent).unwrap();
            assert_ne!(plain.verdict, Verdict::Verified, "2^{exponent} {split:?}");
            let (verdict, bytes) = certify(&network, &property, split);
            assert_ne!(verdict, Verdict::Verified, "2^{exponent} {split:?}");
            assert!(judge(&network, &property, &bytes).is_err());
        }
        // The other way round: what floats call a violation holds in the reals. A counterexample says that it was only met by the
        // f32 and f64 runs, and is never called proved.
        let text = "(declare-const X_0 Real)(declare-const Y_0 Real)\
                    (assert (>= X_0 0.25))(assert (<= X_0 0.5))(assert (<= Y_0 0.1))";
        let (verdict, bytes) = certify(&network, &vnnlib::parse(text).unwrap(), SplitChoice::Inputs);
        assert!(!matches!(&verdict, Verdict::Falsified(found) if found.is_proved), "2^{exponent}: {verdict:?}");
        if verdict == Verdict::Verified {
            judge(&network, &vnnlib::parse(text).unwrap(), &bytes).unwrap();
        }
    }
}

#[test]
fn what_holds_in_the_reals_by_less_than_f32_rounds_is_not_verified_of_the_deployed_network() {
    // A sum of ten thousandths: in f32 it is off by up to 2⁻²⁴ times its length.
    let mut builder = Network::builder(&[1]).unwrap();
    let z = builder.push("z", dense(8, 1, vec![1.0; 8], vec![64.0; 8]), &[NodeId(0)], &[8]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[8]).unwrap();
    let y = builder.push("y", dense(1, 8, vec![1.0; 8], vec![-512.0]), &[h], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    // In the reals y = 8 x; the deployed network rounds each hidden value by up to 2⁻¹⁸ or so.
    for (bound, is_real, is_deployed) in [(8.1, true, true), (8.00001, true, false), (7.9, false, false)] {
        let text = format!(
            "(declare-const X_0 Real)(declare-const Y_0 Real)\
             (assert (>= X_0 0))(assert (<= X_0 1))(assert (>= Y_0 {bound}))"
        );
        let property = vnnlib::parse(&text).unwrap();
        for (evaluation, expected) in [(Evaluation::Real, is_real), (Evaluation::F32, is_deployed)] {
            let (verdict, bytes) = certify_of(evaluation, &network, &property, SplitChoice::Inputs);
            assert_eq!(verdict == Verdict::Verified, expected, "{bound} {evaluation:?}: {verdict:?}");
            assert_eq!(judge(&network, &property, &bytes).is_ok(), expected);
        }
    }
}

#[test]
fn deployed_bounds_contain_f32_evaluations_in_any_order() {
    let mut stream = Stream(17);
    for _ in 0..40 {
        let mut builder = Network::builder(&[2]).unwrap();
        let mut last = NodeId(0);
        // f32 weights.
        for layer in 0..3 {
            let n = builder.node(last).len();
            let weight = (0..8 * n).map(|_| f64::from((4.0 * stream.unit() - 2.0) as f32)).collect();
            let bias = (0..8).map(|_| f64::from((1000.0 * (stream.unit() - 0.5)) as f32)).collect();
            last = builder.push(format!("z{layer}"), dense(8, n, weight, bias), &[last], &[8]).unwrap();
            last = builder.push(format!("h{layer}"), Op::Activation(Activation::Relu), &[last], &[8]).unwrap();
        }
        let network = builder.build(last).unwrap();
        // A point: all width is rounding.
        let x = [f64::from(stream.unit() as f32), f64::from(stream.unit() as f32)];
        let scope = checker::Scope::of(&network, &x, &x, checker::Method::Tightest, checker::Rounding::Deployed);
        for order in 0..20 {
            let mut values: Vec<f32> = x.iter().map(|&x| x as f32).collect();
            for node in network.nodes() {
                values = match &node.op {
                    Op::Affine(affine) => support::f32_affine(affine, &values, order, &mut stream),
                    Op::Activation(_) => values.iter().map(|z| z.max(0.0)).collect(),
                    _ => values,
                };
            }
            let (lower, upper) = scope.bounds(network.nodes().len() - 1);
            for (k, &y) in values.iter().enumerate() {
                assert!(lower[k] <= f64::from(y) && f64::from(y) <= upper[k], "{} < {y} < {}", lower[k], upper[k]);
            }
        }
    }
}

/// Searches for a proof that images similar to one keep its class; the verdict, the certificate, and what it is about.
fn certify_similar(
    network: &Network,
    reference: &Image,
    threshold: f64,
) -> (SsimVerdict, Vec<u8>, SimilarImages, Property, Digests) {
    let output = network.evaluate(reference.pixels()).unwrap();
    let class = (0..output.len()).max_by(|&a, &b| output[a].total_cmp(&output[b])).unwrap();
    let set = SimilarImages::new(reference.pixels(), threshold).unwrap();
    let property = set.misclassified(class, network.n_outputs()).unwrap();
    let digests = Digests { property: set.digest(class), ..digests() };
    let header = Header {
        format: FORMAT,
        job: "ssim".into(),
        tool: "test".into(),
        evaluation: Evaluation::Real,
        device: "host".into(),
        arithmetic: "any".into(),
        network: digests.network,
        property: digests.property,
    };
    let options =
        SsimOptions { limits: Limits { subdomains: Some(5_000), ..Limits::default() }, ..SsimOptions::default() };
    let ssim = Ssim { network, reference, class, similarity: Similarity::Global };
    let mut bytes = Vec::new();
    let mut recorder = Recorder::new(network, &property, &mut bytes, &header).unwrap().over(&set).unwrap();
    let outcome = ssim.verify_recorded(threshold, &options, &mut Silent, &mut recorder).unwrap();
    recorder.finish().unwrap();
    (outcome.verdict, bytes, set, property, digests)
}

fn judge_similar(
    network: &Network,
    (set, property): (&SimilarImages, &Property),
    digests: Digests,
    bytes: &[u8],
) -> Result<checker::Census, String> {
    let question = Question::new(network, property).and_then(|question| question.over(set));
    let question = question.map_err(|error| error.to_string())?;
    match checker::check(&question, digests, bytes, Arithmetic::Outward, &Progress::default()) {
        Ok(Judgement::Accepted(census)) => Ok(census),
        Ok(Judgement::Rejected(rejection)) => Err(rejection.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn certificates_of_similar_images_are_accepted_and_changed_ones_are_not() {
    let mut stream = Stream(31);
    let (mut n_verified, mut n_falsified, mut n_split) = (0, 0, 0);
    for case in 0..36 {
        let mut builder = Network::builder(&[16]).unwrap();
        let z = random_dense(&mut stream, 10, 16);
        let z = builder.push("z", z, &[NodeId(0)], &[10]).unwrap();
        let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[10]).unwrap();
        let z = random_dense(&mut stream, 8, 10);
        let z = builder.push("z2", z, &[h], &[8]).unwrap();
        let h = builder.push("h2", Op::Activation(Activation::Relu), &[z], &[8]).unwrap();
        let y = random_dense(&mut stream, 3, 8);
        let y = builder.push("y", y, &[h], &[3]).unwrap();
        let network = builder.build(y).unwrap();
        let reference = Image::new([1, 4, 4], (0..16).map(|_| stream.unit()).collect()).unwrap();
        let threshold = [0.999, 0.99, 0.96, 0.92, 0.87, 0.7][case % 6];
        let (verdict, bytes, set, property, digests) = certify_similar(&network, &reference, threshold);
        match verdict {
            SsimVerdict::Falsified(_) => {
                n_falsified += 1;
                assert!(judge_similar(&network, (&set, &property), digests, &bytes).is_err());
            }
            SsimVerdict::Verified => {
                n_verified += 1;
                let census = judge_similar(&network, (&set, &property), digests, &bytes).unwrap();
                n_split += u32::from(census.pieces > 0);
                // About other images, another threshold, or no set at all.
                let pixels: Vec<f64> = reference.pixels().iter().map(|x| 1.0 - x).collect();
                for other in [
                    SimilarImages::new(&pixels, threshold).unwrap(),
                    SimilarImages::new(reference.pixels(), threshold - 0.01).unwrap(),
                ] {
                    let digests = Digests { property: other.digest(0), ..digests };
                    assert!(judge_similar(&network, (&other, &property), digests, &bytes).is_err());
                }
                assert!(judge(&network, &property, &bytes).is_err());
                // The same bytes, said to be about a set that holds a counterexample: far below any verified threshold.
                let wide = SimilarImages::new(reference.pixels(), 0.02).unwrap();
                let wide_property = wide.misclassified(0, 3).unwrap();
                if let Ok(census) = judge_similar(&network, (&wide, &wide_property), digests, &bytes) {
                    panic!("case {case}: accepted for nearly all images: {census:?}");
                }
                let mut mutated = Certificate::read(&bytes);
                for which in mutated.of_tags(&[5, 9]) {
                    let claim = mutated.claim(which);
                    mutated.set_claim(which, claim + 0.05 * claim.abs().max(1e-2));
                    assert!(
                        judge_similar(&network, (&set, &property), digests, &mutated.sealed()).is_err(),
                        "case {case}"
                    );
                    mutated.set_claim(which, claim);
                }
            }
            other => println!("case {case}, {threshold}: {other:?}"),
        }
    }
    println!("{n_verified} verified ({n_split} in pieces), {n_falsified} falsified");
    assert!(n_verified >= 10 && n_falsified >= 5 && n_split >= 2, "{n_verified} {n_falsified} {n_split}");
}
