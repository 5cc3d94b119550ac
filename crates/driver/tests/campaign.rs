//! A campaign of random networks and regions against the truth, by every method and on both devices.
//!
//! Two kinds of questions: small `ReLU` networks whose pieces are enumerated, so that the truth is known, and networks of every
//! operator (convolutions, pools, residual sums, all activations), whose truth is sampled: thresholds lie around the least value
//! that samples reach. A wrong "verified", a "falsified" without a violation, or a bound inside a sampled value fails.
//!
//! `DIADEM_CAMPAIGN_NETWORKS=20000 cargo test --release -p diadem-driver --test campaign` is the long run;
//! `DIADEM_CAMPAIGN_SEED` starts elsewhere.

#[cfg(feature = "gpu")]
#[path = "../../bounds/tests/it/adapter.rs"]
mod adapter;
mod enumeration;
#[path = "../../bounds/tests/it/random.rs"]
mod random;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;

use bounds::{Ascent, Batch, BoundEngine, Bounds, Device, Method, Optimised, Recipe, Wanted};
use driver::{Counterexample, Limits, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
use network::{Activation, BoxRegion, Disjunct, HalfSpace, Network, Op, Property};
use random::Stream;

/// Networks in the tests that always run.
const SHORT: u64 = 60;

/// One network in so many is bounded and verified on the GPU as well; a new shape costs a software adapter a compilation.
const GPU_SHARE: u64 = 10;

/// Points whose outputs are compared with the bounds, for each network.
const SAMPLES: usize = 300;

const METHODS: [(&str, Method); 3] = [("ibp", Method::Ibp), ("crown-ibp", Method::CrownIbp), ("crown", Method::Crown)];
const SPLITS: [(&str, SplitChoice); 3] =
    [("relu splits", SplitChoice::Relus), ("input splits", SplitChoice::Inputs), ("auto", SplitChoice::Auto)];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

/// How often each verdict was given.
#[derive(Default)]
struct Counts {
    rows: Vec<(String, [u64; 3])>,
    bounds: u64,
}

impl Counts {
    fn add(&mut self, what: &str, verdict: &Verdict) {
        let place = self.rows.iter().position(|(name, _)| name == what).unwrap_or_else(|| {
            self.rows.push((what.to_owned(), [0; 3]));
            self.rows.len() - 1
        });
        let column = match verdict {
            Verdict::Verified => 0,
            Verdict::Falsified(_) => 1,
            Verdict::Unknown(_) => 2,
        };
        self.rows[place].1[column] += 1;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, [verified, falsified, unknown]) in &self.rows {
            let share = 100.0 * *unknown as f64 / (verified + falsified + unknown) as f64;
            writeln!(f, "{what}: {verified} verified, {falsified} falsified, {unknown} unknown ({share:.1} %)")?;
        }
        writeln!(f, "{} bounds of outputs compared with {SAMPLES} samples each", self.bounds)
    }
}

fn decide(device: &Device, network: &Network, property: &Property, split: SplitChoice, subdomains: u64) -> Verdict {
    let limits = Limits { subdomains: Some(subdomains), ..Limits::default() };
    let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
    let outcome = Verify { network, property, device }.run(&options, &mut Silent).unwrap();
    if let Device::Gpu(_) = device {
        assert!(is_expected(outcome.fallback.as_deref(), network), "{:?}", outcome.fallback);
    }
    outcome.verdict
}

/// Sigmoid and tanh have no kernel of lanes; nothing else may keep a device from a search.
fn is_expected(fallback: Option<&str>, network: &Network) -> bool {
    let is_smooth = |node: &network::Node| matches!(node.op, Op::Activation(Activation::Sigmoid | Activation::Tanh));
    let is_excused = || network.nodes().iter().any(is_smooth);
    fallback.is_none_or(|why| why.contains("optimised bounds only") && is_excused())
}

/// A counterexample lies in its region, and the network violates the property there in f64 and in f32.
fn check_counterexample(network: &Network, property: &Property, found: &Counterexample, place: &str) {
    let region = &property.disjuncts[found.disjunct].region;
    let is_inside =
        (0..property.n_inputs).all(|i| region.lower[i] <= found.input[i] && found.input[i] <= region.upper[i]);
    assert!(is_inside, "{place}: a counterexample outside its region: {found:?}");
    let y: Vec<f64> = network.evaluate(&found.input).unwrap();
    assert!(property.violated_at(&found.input, &y).is_some(), "{place}: no violation: {found:?}");
    let x: Vec<f32> = found.input.iter().map(|&x| x as f32).collect();
    let y: Vec<f64> = network.evaluate(&x).unwrap().into_iter().map(f64::from).collect();
    assert!(property.violated_at(&found.input, &y).is_some(), "{place}: no violation in f32: {found:?}");
}

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

/// What evaluation in f64 may itself be off by.
fn room(y: f64) -> f64 {
    1e-10 * (1.0 + y.abs())
}

fn compare(bounds: &Bounds, [least, most]: [&[f64]; 2], place: &str, counts: &mut Counts) {
    for k in 0..least.len() {
        assert!(bounds.lower[k] <= least[k] + room(least[k]), "{place}: {} is above {}", bounds.lower[k], least[k]);
        assert!(bounds.upper[k] >= most[k] - room(most[k]), "{place}: {} is below {}", bounds.upper[k], most[k]);
    }
    counts.bounds += least.len() as u64;
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
    let shared = Arc::new(network.clone());
    let batch = Batch::enclosing(&lower, &upper);
    for (name, device) in devices {
        for (method_name, method) in METHODS {
            let recipe = Recipe { method, both_ends: true, ..Recipe::default() };
            let engine = BoundEngine::new(device, Arc::clone(&shared), &region, recipe).unwrap();
            let place = format!("sampled, seed {seed}, {name}, {method_name}");
            compare(&engine.bound(&batch, Wanted::default()).unwrap(), [&least, &most], &place, counts);
            if let Device::Gpu(_) = device {
                assert_eq!(engine.fallback(), None, "{place}");
            }
        }
    }
    for (name, device) in devices {
        let recipe = Recipe { both_ends: true, optimised: Optimised::Everything, ..Recipe::default() };
        let engine = BoundEngine::new(device, Arc::clone(&shared), &region, recipe).unwrap();
        let ascent = Ascent { steps: 5, ..Ascent::default() };
        let place = format!("sampled, seed {seed}, {name}, alpha-crown");
        compare(&engine.bound_optimised(&batch, ascent).unwrap(), [&least, &most], &place, counts);
        assert!(is_expected(engine.fallback(), &network), "{place}: {:?}", engine.fallback());
    }
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

#[cfg(feature = "gpu")]
fn gpu() -> Option<Device> {
    adapter::device()
}

#[cfg(not(feature = "gpu"))]
fn gpu() -> Option<Device> {
    None
}

#[test]
fn no_random_network_is_verified_wrongly() {
    let (n, start) = (number("DIADEM_CAMPAIGN_NETWORKS").unwrap_or(SHORT), number("DIADEM_CAMPAIGN_SEED").unwrap_or(0));
    let (host, gpu) = (Device::Host, gpu());
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
    for (what, [verified, falsified, unknown]) in &counts.rows {
        let all = verified + falsified + unknown;
        assert!(
            all < 20 || (*verified > 0 && *falsified > 0 && 4 * unknown < 3 * all),
            "{what} decides too little: {counts}"
        );
    }
}
