//! A campaign of random networks and regions against the truth, by every method and on both devices.
//!
//! Two kinds of questions: small `ReLU` networks whose pieces are enumerated, so that the truth is known, and networks of every
//! operator (convolutions, pools, residual sums, all activations), whose truth is sampled: thresholds lie around the least value
//! that samples reach. A wrong "verified", a "falsified" without a violation, or a bound inside a sampled value fails.
//!
//! `DIADEM_CAMPAIGN_NETWORKS=20000 cargo test --release -p diadem-driver --test campaign` is the long run;
//! `DIADEM_CAMPAIGN_SEED` starts elsewhere.

mod enumeration;
#[path = "../../bounds/tests/it/random.rs"]
mod random;
mod trial;

use std::io::Write as _;
use std::sync::Arc;

use bounds::Device;
use driver::Verdict;
use network::{BoxRegion, Disjunct, HalfSpace, Property};
use random::Stream;
use trial::{Counts, GPU_SHARE, SPLITS, check_counterexample, compare_bounds, decide, number, room};

/// Networks in the tests that always run.
const SHORT: u64 = 60;

/// Points whose outputs are compared with the bounds, for each network.
const SAMPLES: usize = 300;

/// Verdicts against the enumerated truth.
fn enumerated(seed: u64, devices: &[(&str, &Device)], counts: &mut Counts) {
    let enumeration::Question { network, property, margins: [truth, _] } = enumeration::question(seed);
    for (name, device) in devices {
        for (split_name, split) in SPLITS {
            let place = format!("enumerated, seed {seed}, {name}, {split_name}");
            let verdict = decide(device, &network, &property, split, 500);
            counts.add(&format!("enumerated, {name}, {split_name}"), &verdict);
            match &verdict {
                Verdict::Verified => assert!(truth > -1e-9, "{place}: verified, but the margin is {truth:e}"),
                Verdict::Falsified(found) => {
                    assert!(truth < 1e-9, "{place}: falsified, but the margin is {truth:e}");
                    check_counterexample(&network, &property, found, &place);
                }
                Verdict::Unknown(_) => {}
            }
        }
    }
}

/// Bounds and verdicts against samples.
fn sampled(seed: u64, devices: &[(&str, &Device)], counts: &mut Counts) {
    let mut stream = Stream(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let network = random::network(&mut stream);
    let (lower, upper) = random::region(&mut stream, network.n_inputs());
    let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
    let n_outputs = network.n_outputs();
    let (mut least, mut most) = (vec![f64::INFINITY; n_outputs], vec![f64::NEG_INFINITY; n_outputs]);
    for _ in 0..SAMPLES {
        let x = random::point(&mut stream, &lower, &upper);
        let y: Vec<f64> = network.evaluate(&x).unwrap();
        for (k, &y) in y.iter().enumerate() {
            (least[k], most[k]) = (least[k].min(y), most[k].max(y));
        }
    }
    let place = format!("sampled, seed {seed}");
    compare_bounds(&Arc::new(network.clone()), &region, [&least, &most], devices, &place, counts);
    // Can an output be as small as this? Below what samples reach, at it, or above.
    let output = stream.below(n_outputs);
    let width = most[output] - least[output];
    let offset = [-2.0, -0.5, -0.05, -1e-3, -1e-6, 0.0, 1e-6, 0.05][stream.below(8)];
    let threshold = least[output] + offset * if width > 0.0 { width } else { 1.0 };
    let row = HalfSpace { input: vec![], output: vec![(output, [1.0; 2])], constant: [-threshold; 2] };
    let disjuncts = vec![Disjunct { region, half_spaces: vec![row] }];
    let property = Property { n_inputs: network.n_inputs(), n_outputs, disjuncts };
    for (name, device) in devices {
        for (split_name, split) in SPLITS {
            let place = format!("sampled, seed {seed}, {name}, {split_name}");
            let verdict = decide(device, &network, &property, split, 60);
            counts.add(&format!("sampled, {name}, {split_name}"), &verdict);
            match &verdict {
                Verdict::Verified => assert!(
                    least[output] > threshold - room(threshold),
                    "{place}: verified above {threshold}, but {} was sampled",
                    least[output]
                ),
                Verdict::Falsified(found) => check_counterexample(&network, &property, found, &place),
                Verdict::Unknown(_) => {}
            }
        }
    }
}

#[test]
fn no_random_network_is_verified_wrongly() {
    let (n, start) = (number("DIADEM_CAMPAIGN_NETWORKS").unwrap_or(SHORT), number("DIADEM_CAMPAIGN_SEED").unwrap_or(0));
    let (host, gpu) = (Device::Host, trial::gpu());
    let mut counts = Counts::default();
    for seed in start..start + n {
        let mut devices = vec![("host", &host)];
        devices.extend(gpu.as_ref().filter(|_| (seed / 2) % GPU_SHARE == 0).map(|gpu| ("gpu", gpu)));
        if seed % 2 == 0 {
            enumerated(1_000_000 + seed, &devices, &mut counts);
        } else {
            sampled(seed, &devices, &mut counts);
        }
        if n > SHORT && seed % 500 == 499 {
            // Straight to the terminal: the test harness hides what passing tests print.
            let _ = writeln!(std::io::stderr(), "{} of {n} networks\n{counts}", seed - start + 1);
        }
    }
    let _ = writeln!(std::io::stderr(), "{n} networks\n{counts}");
    counts.check_that_much_is_decided();
}
