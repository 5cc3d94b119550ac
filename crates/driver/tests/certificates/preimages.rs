//! Certificates of preimages are accepted, and changed ones are not.

use bounds::Device;
use checker::certificate::{Bundle, BundleWriter, Digest, Evaluation, FORMAT, Header};
use checker::preimage::Part;
use checker::{Arithmetic, Census, Judgement, Progress};
use driver::preimage::{Mode, OutputPolytope, PreimageOptions, PreimageOutcome, PreimageProblem, PreimageSearch};
use driver::{CertifiedPreimage, Interrupt, Limits, PreimageCertificate};
use network::{Activation, BoxRegion, Network, NodeId, Op};

use crate::support::{Stream, random_dense};

fn network(stream: &mut Stream, widths: &[usize]) -> Network {
    let mut builder = Network::builder(&[widths[0]]).unwrap();
    let mut last = NodeId(0);
    for pair in widths.windows(2) {
        if last != NodeId(0) {
            let n = pair[0];
            last = builder.push("relu", Op::Activation(Activation::Relu), &[last], &[n]).unwrap();
        }
        let op = random_dense(stream, pair[1], pair[0]);
        last = builder.push("affine", op, &[last], &[pair[1]]).unwrap();
    }
    builder.build(last).unwrap()
}

fn solve(problem: &PreimageProblem, coverage: f64, subdomains: u64) -> PreimageOutcome {
    let limits = Limits { subdomains: Some(subdomains), ..Limits::default() };
    let options = PreimageOptions { coverage, limits, n_report: 1 << 12, ..PreimageOptions::default() };
    PreimageSearch::new(problem, &Device::Host).unwrap().run(&options, &mut |_| {}).unwrap()
}

fn header(certificate: &PreimageCertificate) -> Header {
    Header {
        format: FORMAT,
        job: "preimage".into(),
        tool: "test".into(),
        evaluation: Evaluation::Real,
        device: "host".into(),
        arithmetic: "any".into(),
        network: Digest::of(b"network"),
        property: certificate.preimage().digest(),
    }
}

fn certify(problem: &PreimageProblem, outcome: &PreimageOutcome) -> (CertifiedPreimage, Vec<u8>) {
    let certificate = PreimageCertificate::new(problem, Interrupt::default()).unwrap();
    let header = header(&certificate);
    let mut bytes = Vec::new();
    let certified = certificate.write((&outcome.elements, &outcome.free), &header, &mut bytes).unwrap();
    (certified, bytes)
}

fn judge(problem: &PreimageProblem, bytes: &[u8], arithmetic: Arithmetic) -> Result<(Census, Vec<Part>), String> {
    let certificate = PreimageCertificate::new(problem, Interrupt::default()).unwrap();
    match certificate.preimage().check(Digest::of(b"network"), bytes, arithmetic, &Progress::default()) {
        Ok((Judgement::Accepted(census), parts)) => Ok((census, parts)),
        Ok((Judgement::Rejected(rejection), _)) => Err(rejection.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The same bundle of other items.
fn rewritten(problem: &PreimageProblem, items: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let certificate = PreimageCertificate::new(problem, Interrupt::default()).unwrap();
    let mut bytes = Vec::new();
    let mut writer = BundleWriter::new(&mut bytes, &header(&certificate)).unwrap();
    items.iter().for_each(|(what, records)| writer.item(what, records).unwrap());
    writer.finish().unwrap();
    bytes
}

fn items(bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bundle = Bundle::read(bytes, "preimage").unwrap();
    bundle.items.iter().map(|(what, records)| (what.to_vec(), records.to_vec())).collect()
}

fn problems() -> Vec<(PreimageProblem, f64)> {
    let mut stream = Stream(41);
    let mut problems = Vec::new();
    for case in 0..6 {
        let n = 2 + case % 2;
        let network = network(&mut stream, &[n, 8, 6, 3]);
        let region = BoxRegion::new(vec![-0.6; n], vec![0.6; n]).unwrap();
        let centre: Vec<f64> = network.evaluate(&vec![0.0; n]).unwrap();
        let label = (0..3).max_by(|&a, &b| centre[a].total_cmp(&centre[b])).unwrap();
        let target = OutputPolytope::all_others(label, 3);
        let (mode, coverage) = if case % 2 == 0 { (Mode::Under, 0.9) } else { (Mode::Over, 1.15) };
        problems.push((PreimageProblem::new(network, region, target, mode), coverage));
    }
    problems
}

#[test]
fn polytopes_inside_and_around_are_certified_and_samples_agree() {
    let mut stream = Stream(3);
    let mut n_polytopes = [0; 2];
    for (case, (problem, coverage)) in problems().into_iter().enumerate() {
        let outcome = solve(&problem, coverage, 400);
        let (certified, bytes) = certify(&problem, &outcome);
        let (census, parts) =
            judge(&problem, &bytes, Arithmetic::Outward).unwrap_or_else(|why| panic!("case {case}: {why}"));
        println!(
            "case {case}: {} of {} polytopes, {} dropped, {} boxes of nothing, {} bytes, {census:?}",
            certified.elements.len(),
            outcome.elements.len(),
            certified.n_dropped,
            certified.n_empty,
            bytes.len()
        );
        assert_eq!(parts.len(), certified.elements.len() + certified.n_empty);
        n_polytopes[case % 2] += certified.elements.len();
        // What is certified is nearly all of what was found, and holds at points.
        let (mut before, mut after) = (0, 0);
        for _ in 0..20_000 {
            let x: Vec<f64> = (0..problem.region.n_inputs()).map(|_| 1.2 * stream.unit() - 0.6).collect();
            let is_held = certified.elements.iter().any(|element| element.contains(&x));
            before += usize::from(outcome.elements.iter().any(|element| element.contains(&x)));
            after += usize::from(is_held);
            match problem.mode {
                Mode::Under => assert!(!is_held || problem.contains(&x), "case {case}: {x:?}"),
                Mode::Over => assert!(is_held || !problem.contains(&x), "case {case}: {x:?}"),
            }
        }
        let ratio = after as f64 / (before as f64).max(1.0);
        assert!((0.97..1.03).contains(&ratio), "case {case}: {ratio} of what was found");
    }
    assert!(n_polytopes.iter().all(|&n| n > 5), "{n_polytopes:?}");
}

#[test]
fn the_exact_check_agrees() {
    let (problem, coverage) = problems().swap_remove(0);
    let outcome = solve(&problem, coverage, 60);
    let (_, bytes) = certify(&problem, &outcome);
    judge(&problem, &bytes, Arithmetic::Exact).unwrap();
}

#[test]
fn changed_preimage_certificates_are_rejected() {
    let mut stream = Stream(17);
    let (mut n, mut n_kinds) = (0, [0; 6]);
    let examples: Vec<(PreimageProblem, Vec<u8>)> = problems()
        .into_iter()
        .take(4)
        .map(|(problem, coverage)| {
            let outcome = solve(&problem, coverage, 200);
            let bytes = certify(&problem, &outcome).1;
            (problem, bytes)
        })
        .collect();
    while n < 600 {
        let (problem, bytes) = &examples[stream.below(examples.len())];
        let mut items = items(bytes);
        let which = stream.below(items.len());
        let kind = stream.below(6);
        match kind {
            // A plane is moved the wrong way, by a tenth of a unit or more: facets touch the relaxation, which touches the network.
            0 => {
                let what = &mut items[which].0;
                let count = |at: usize| u32::from_le_bytes(what[at..at + 4].try_into().unwrap()) as usize;
                let (n_planes, n_inputs) = (count(8), count(12));
                if n_planes == 0 {
                    continue;
                }
                let plane = stream.below(n_planes);
                let at = 16 + 8 * (2 * n_inputs + plane * (n_inputs + 1) + n_inputs);
                let b = f64::from_le_bytes(what[at..at + 8].try_into().unwrap());
                let by = 0.5 + stream.unit();
                let moved = if problem.mode == Mode::Under { b + by } else { b - by };
                what[at..at + 8].copy_from_slice(&moved.to_le_bytes());
                // It may still hold, where the plane is no facet: then no point contradicts it.
                let changed = rewritten(problem, &items);
                if let Ok((_, parts)) = judge(problem, &changed, Arithmetic::Outward) {
                    assert_points_agree(problem, &parts, &mut stream);
                    continue;
                }
                n += 1;
                n_kinds[kind] += 1;
                continue;
            }
            // A box around a preimage is left out.
            1 => {
                if problem.mode == Mode::Under {
                    continue;
                }
                items.remove(which);
            }
            // Records are left out.
            2 => {
                if items[which].1.len() <= 2 {
                    continue;
                }
                items[which].1 = vec![15, 0];
            }
            // Records of another polytope.
            3 => {
                let other = stream.below(items.len());
                if items[other].1 == items[which].1 || items[other].0 == items[which].0 {
                    continue;
                }
                items[which].1 = items[other].1.clone();
                let changed = rewritten(problem, &items);
                if let Ok((_, parts)) = judge(problem, &changed, Arithmetic::Outward) {
                    assert_points_agree(problem, &parts, &mut stream);
                    continue;
                }
                n += 1;
                n_kinds[kind] += 1;
                continue;
            }
            // A byte of the file.
            4 => {
                let mut changed = bytes.clone();
                let at = stream.below(changed.len());
                changed[at] ^= 1 << stream.below(8);
                assert!(judge(problem, &changed, Arithmetic::Outward).is_err());
                n += 1;
                n_kinds[kind] += 1;
                continue;
            }
            // Another problem: rows turned around, with the digest of the file and as if it were of this one.
            _ => {
                let mut turned = problem.clone();
                turned.targets[0].rows.iter_mut().flatten().for_each(|c| *c = 0.0 - *c);
                assert!(judge(&turned, bytes, Arithmetic::Outward).unwrap_err().contains("SHA-256"));
                // Boxes may be proved for either.
                if let Ok((_, parts)) = judge(&turned, &rewritten(&turned, &items), Arithmetic::Outward) {
                    assert_points_agree(&turned, &parts, &mut stream);
                    continue;
                }
                n += 1;
                n_kinds[kind] += 1;
                continue;
            }
        }
        assert!(judge(problem, &rewritten(problem, &items), Arithmetic::Outward).is_err(), "kind {kind}");
        n += 1;
        n_kinds[kind] += 1;
    }
    assert!(n_kinds.iter().all(|&n| n > 10), "{n_kinds:?}");
}

/// What is accepted although it was changed holds at points.
fn assert_points_agree(problem: &PreimageProblem, parts: &[Part], stream: &mut Stream) {
    let holds = |part: &Part, x: &[f64]| {
        let polytope = &part.polytope;
        let is_inside = x.iter().zip(polytope.lower.iter().zip(&polytope.upper)).all(|(x, (l, u))| l <= x && x <= u);
        let value = |(a, b): &(Vec<f64>, f64)| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() + b;
        !part.is_nothing && is_inside && polytope.planes.iter().all(|plane| value(plane) >= 0.0)
    };
    for _ in 0..3000 {
        let x: Vec<f64> = (0..problem.region.n_inputs()).map(|_| 1.2 * stream.unit() - 0.6).collect();
        let is_held = parts.iter().any(|part| holds(part, &x));
        match problem.mode {
            Mode::Under => assert!(!is_held || problem.contains(&x)),
            Mode::Over => assert!(is_held || !problem.contains(&x)),
        }
    }
}

#[test]
fn many_inputs_are_certified_inside_and_refused_around() {
    let mut stream = Stream(23);
    let network = network(&mut stream, &[12, 10, 3]);
    let centre: Vec<f64> = network.evaluate(&[0.0; 12]).unwrap();
    let label = (0..3).max_by(|&a, &b| centre[a].total_cmp(&centre[b])).unwrap();
    let region = BoxRegion::new(vec![-0.4; 12], vec![0.4; 12]).unwrap();
    let target = OutputPolytope::all_others(label, 3);
    let mut problem = PreimageProblem::new(network, region, target, Mode::Under);
    let outcome = solve(&problem, 0.8, 60);
    let n_planes = outcome.elements.iter().map(|element| element.planes.len()).max();
    assert!(n_planes > Some(2), "ReLUs were split or corners cut off: {n_planes:?}");
    let (certified, bytes) = certify(&problem, &outcome);
    let (census, _) = judge(&problem, &bytes, Arithmetic::Outward).unwrap();
    println!("{} of {} polytopes, {census:?}, {} bytes", certified.elements.len(), outcome.elements.len(), bytes.len());
    let (mut before, mut after) = (0, 0);
    for _ in 0..20_000 {
        let x: Vec<f64> = (0..12).map(|_| 0.8 * stream.unit() - 0.4).collect();
        before += usize::from(outcome.elements.iter().any(|element| element.contains(&x)));
        after += usize::from(certified.elements.iter().any(|element| element.contains(&x)));
    }
    println!("{after} of {before} samples");
    assert!(after as f64 > 0.9 * before as f64, "{after} of {before} samples");
    problem.mode = Mode::Over;
    let refused = PreimageCertificate::new(&problem, Interrupt::default()).unwrap_err().to_string();
    assert!(refused.contains("at most 8"), "{refused}");
}
