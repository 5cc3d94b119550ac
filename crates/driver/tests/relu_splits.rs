//! Verdicts on small networks against the truth, found by enumerating the linear pieces of the network (`enumeration`).

#[cfg(feature = "gpu")]
#[path = "../../bounds/tests/it/adapter.rs"]
mod adapter;
mod enumeration;

use std::sync::Arc;

use bounds::{Ascent, BoundEngine, Device, DeviceWork, Optimised, Recipe};
use driver::search::{Clock, End, Falsifier, Objective, Parts};
use driver::{Interrupt, Limits, Outcome, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
use enumeration::{Question, question};

fn verify(question: &Question, split: SplitChoice) -> Verdict {
    verify_on(&Device::Host, question, split).verdict
}

fn verify_on(device: &Device, question: &Question, split: SplitChoice) -> Outcome {
    let limits = Limits { subdomains: Some(3_000), ..Limits::default() };
    let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
    let Question { network, property, .. } = question;
    Verify { network, property, device }.run(&options, &mut Silent).unwrap()
}

#[test]
fn verdicts_agree_with_the_enumerated_truth() {
    let n_questions = std::env::var("DIADEM_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    // Verified, falsified, unknown; for each choice.
    let mut counts = [[0; 3]; 3];
    let mut n_unexplained = 0;
    for seed in 0..n_questions {
        let question = question(seed);
        let Question { network, property, margins: [truth, by_relus] } = &question;
        for (choice, split) in [SplitChoice::Relus, SplitChoice::Inputs, SplitChoice::Auto].into_iter().enumerate() {
            let verdict = verify(&question, split);
            match &verdict {
                Verdict::Verified => {
                    counts[choice][0] += 1;
                    assert!(*truth > -1e-9, "seed {seed}, {split:?}: verified, but the margin is {truth:e}");
                }
                Verdict::Falsified(found) => {
                    counts[choice][1] += 1;
                    assert!(*truth < 1e-9, "seed {seed}, {split:?}: falsified, but the margin is {truth:e}");
                    let y: Vec<f64> = network.evaluate(&found.input).unwrap();
                    assert!(property.violated_at(&found.input, &y).is_some(), "seed {seed}, {split:?}: {found:?}");
                }
                Verdict::Unknown(reason) => {
                    counts[choice][2] += 1;
                    // Attacks may miss a region of violations that is as small as this, and nothing else.
                    assert!(*truth > -0.02, "seed {seed}, {split:?}: {reason:?}, but the margin is {truth:e}");
                    if split == SplitChoice::Relus {
                        // Where every row of a conjunction can be violated alone, no piece is excluded by one row; nor is a
                        // near-tie by multipliers that are not optimal yet.
                        n_unexplained += u64::from(*by_relus > 2e-5);
                    } else {
                        // Towards a tie the number of boxes grows as a power of the margin, and conjunctions tie twice.
                        assert!(*truth < 0.02, "seed {seed}, {split:?}: {reason:?}, but the margin is {truth:e}");
                    }
                }
            }
        }
    }
    let [relus, inputs, _] = counts;
    assert!(
        counts.iter().all(|[verified, falsified, _]| 3 * verified > n_questions && 3 * falsified > n_questions),
        "{counts:?}"
    );
    assert!(10 * inputs[2] <= n_questions && 6 * relus[2] <= n_questions, "too many unknown: {counts:?}");
    // Leaves are linear programs that a first-order method sometimes leaves undecided.
    assert!(33 * n_unexplained <= n_questions, "{n_unexplained} unexplained of {counts:?}");
}

/// All gaps of one of its pieces vanish at a minimiser that is not yet the best, while `ReLU`s are undecided.
#[test]
fn a_piece_is_split_on_although_its_minimiser_touches_every_relaxation() {
    assert_eq!(verify(&question(54), SplitChoice::Relus), Verdict::Verified);
}

/// Optimised bounds of a search by `ReLU` splits run on the device, and so do those inside of a search by input splits.
#[cfg(feature = "gpu")]
#[test]
fn a_device_decides_what_the_host_does() {
    let Some(device) = adapter::device() else { return };
    let (mut n_decided, mut n_different, mut n_lanes) = (0, 0, 0);
    for seed in (0..200).step_by(17) {
        let question = question(seed);
        for split in [SplitChoice::Relus, SplitChoice::Inputs] {
            let host = verify(&question, split);
            let Outcome { verdict, fallback, on_device, .. } = verify_on(&device, &question, split);
            n_lanes += on_device.lanes;
            assert_eq!(fallback, None, "seed {seed}, {split:?}");
            let kind = |verdict: &Verdict| match verdict {
                Verdict::Verified => 0,
                Verdict::Falsified(_) => 1,
                Verdict::Unknown(_) => 2,
            };
            match (kind(&host), kind(&verdict)) {
                (0, 1) | (1, 0) => panic!("seed {seed}, {split:?}: {verdict:?}, the host says {host:?}"),
                (a, b) => n_different += u32::from(a != b),
            }
            n_decided += u32::from(kind(&verdict) < 2);
        }
    }
    // Near-ties may be decided by one and not by the other.
    assert!(n_lanes > 100, "only {n_lanes} rows were optimised on the device");
    assert!(n_decided > 18 && n_different <= 1, "{n_decided} decided, {n_different} otherwise than on the host");
}

/// Every disjunct by parts whose searches are so short that most parts are split, at `ReLU`s and along inputs.
fn verify_by_parts(question: &Question) -> (Verdict, u64) {
    let Question { network, property, .. } = question;
    let clock = Clock::start(Limits { subdomains: Some(3_000), ..Limits::default() }, Interrupt::default());
    let mut outcome = Outcome {
        verdict: Verdict::Verified,
        subdomains: 0,
        rebounded: 0,
        lower_bound: None,
        plan: Vec::new(),
        fallback: None,
        on_device: DeviceWork::default(),
    };
    for objective in Objective::of(network, property).unwrap() {
        let falsifier = Falsifier::new(&Device::Host, network, property, &objective).unwrap();
        let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
        let engine =
            BoundEngine::new(&Device::Host, Arc::clone(&objective.network), &objective.region, recipe).unwrap();
        let region = engine.region();
        let base = engine.base((&region.lower, &region.upper), None, &[], Ascent::default()).unwrap();
        let base = base.expect("a region holds points");
        for disjunct in 0..objective.disjuncts.len() {
            let parts = Parts::new(&objective, &engine, &falsifier, disjunct).with_pieces(2);
            match parts.run(base.clone(), &clock, &mut Silent, &mut outcome).unwrap() {
                End::Verified => {}
                End::Falsified(found) => return (Verdict::Falsified(*found), outcome.subdomains),
                End::Stopped(reason) => outcome.verdict = Verdict::Unknown(reason),
            }
        }
    }
    (outcome.verdict, outcome.subdomains)
}

#[test]
fn verdicts_by_parts_agree_with_the_enumerated_truth() {
    let n_questions = std::env::var("DIADEM_ORACLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let mut counts = [0; 3];
    let mut n_subdomains = 0;
    for seed in 0..n_questions {
        let question = question(seed);
        let truth = question.margins[0];
        let (verdict, subdomains) = verify_by_parts(&question);
        n_subdomains += subdomains;
        match verdict {
            Verdict::Verified => {
                counts[0] += 1;
                assert!(truth > -1e-9, "seed {seed}: verified, but the margin is {truth:e}");
            }
            Verdict::Falsified(_) => {
                counts[1] += 1;
                assert!(truth < 1e-9, "seed {seed}: falsified, but the margin is {truth:e}");
            }
            Verdict::Unknown(_) => counts[2] += 1,
        }
    }
    println!("{counts:?}, {n_subdomains} subdomains");
    assert!(3 * counts[0] > n_questions && 4 * counts[2] <= n_questions, "{counts:?}");
}
