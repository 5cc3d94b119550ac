//! What campaigns of random networks share: the methods, the searches, and what is asked of their answers.

#[cfg(feature = "gpu")]
#[path = "../../../bounds/tests/it/adapter.rs"]
mod adapter;

use std::fmt;
use std::sync::Arc;

use bounds::{Ascent, Batch, BoundEngine, Bounds, Device, Method, Optimised, Recipe, Wanted};
use driver::{Counterexample, Limits, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
use network::{Activation, BoxRegion, Network, Op, Property};

/// One network in so many is bounded and verified on the GPU as well; a new shape costs a software adapter a compilation.
pub const GPU_SHARE: u64 = 10;

const METHODS: [(&str, Method); 3] = [("ibp", Method::Ibp), ("crown-ibp", Method::CrownIbp), ("crown", Method::Crown)];

/// How subdomains are made.
pub const SPLITS: [(&str, SplitChoice); 3] =
    [("relu splits", SplitChoice::Relus), ("input splits", SplitChoice::Inputs), ("auto", SplitChoice::Auto)];

/// A number from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

/// The GPU, where there is one.
#[cfg(feature = "gpu")]
pub fn gpu() -> Option<Device> {
    adapter::device()
}

/// The GPU, where there is one.
#[cfg(not(feature = "gpu"))]
pub fn gpu() -> Option<Device> {
    None
}

/// How often each verdict was given.
#[derive(Default)]
pub struct Counts {
    /// By device and search: verified, falsified, unknown.
    pub rows: Vec<(String, [u64; 3])>,
    /// Outputs whose bounds were compared with what they reach.
    pub bounds: u64,
}

impl Counts {
    /// Counts a verdict.
    pub fn add(&mut self, what: &str, verdict: &Verdict) {
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

    /// Fails where a search leaves most questions open, or gives only one answer.
    pub fn check_that_much_is_decided(&self) {
        for (what, [verified, falsified, unknown]) in &self.rows {
            let all = verified + falsified + unknown;
            assert!(
                all < 20 || (*verified > 0 && *falsified > 0 && 4 * unknown < 3 * all),
                "{what} decides too little: {self}"
            );
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, [verified, falsified, unknown]) in &self.rows {
            let share = 100.0 * *unknown as f64 / (verified + falsified + unknown) as f64;
            writeln!(f, "{what}: {verified} verified, {falsified} falsified, {unknown} unknown ({share:.1} %)")?;
        }
        writeln!(f, "{} bounds of outputs compared with what they reach", self.bounds)
    }
}

/// The verdict of a search of so many subdomains.
pub fn decide(device: &Device, network: &Network, property: &Property, split: SplitChoice, subdomains: u64) -> Verdict {
    let limits = Limits { subdomains: Some(subdomains), ..Limits::default() };
    let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
    let outcome = Verify { network, property, device }.run(&options, &mut Silent).unwrap();
    if let Device::Gpu(_) = device {
        assert!(is_expected(outcome.fallback.as_deref(), network), "{:?}", outcome.fallback);
    }
    outcome.verdict
}

/// Sigmoid and tanh, which have no kernel of lanes and no linear pieces.
pub fn is_smooth(network: &Network) -> bool {
    network.nodes().iter().any(|node| matches!(node.op, Op::Activation(Activation::Sigmoid | Activation::Tanh)))
}

/// Nothing but sigmoid and tanh may keep a device from a search.
fn is_expected(fallback: Option<&str>, network: &Network) -> bool {
    fallback.is_none_or(|why| why.contains("optimised bounds only") && is_smooth(network))
}

/// A counterexample lies in its region, and the network violates the property there in f64 and in f32.
pub fn check_counterexample(network: &Network, property: &Property, found: &Counterexample, place: &str) {
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

/// What evaluation in f64 may itself be off by.
pub fn room(y: f64) -> f64 {
    1e-10 * (1.0 + y.abs())
}

fn compare(bounds: &Bounds, [least, most]: [&[f64]; 2], place: &str, counts: &mut Counts) {
    for k in 0..least.len() {
        assert!(bounds.lower[k] <= least[k] + room(least[k]), "{place}: {} is above {}", bounds.lower[k], least[k]);
        assert!(bounds.upper[k] >= most[k] - room(most[k]), "{place}: {} is below {}", bounds.upper[k], most[k]);
    }
    counts.bounds += least.len() as u64;
}

/// Bounds of the outputs over a box by every method on every device, against the least and the largest values that were reached.
pub fn compare_bounds(
    network: &Arc<Network>,
    region: &BoxRegion,
    reached: [&[f64]; 2],
    devices: &[(&str, &Device)],
    place: &str,
    counts: &mut Counts,
) {
    let batch = Batch::enclosing(&region.lower, &region.upper);
    for (name, device) in devices {
        for (method_name, method) in METHODS {
            let recipe = Recipe { method, both_ends: true, ..Recipe::default() };
            let engine = BoundEngine::new(device, Arc::clone(network), region, recipe).unwrap();
            let place = format!("{place}, {name}, {method_name}");
            compare(&engine.bound(&batch, Wanted::default()).unwrap(), reached, &place, counts);
            if let Device::Gpu(_) = device {
                assert_eq!(engine.fallback(), None, "{place}");
            }
        }
    }
    for (name, device) in devices {
        let recipe = Recipe { both_ends: true, optimised: Optimised::Everything, ..Recipe::default() };
        let engine = BoundEngine::new(device, Arc::clone(network), region, recipe).unwrap();
        let ascent = Ascent { steps: 5, ..Ascent::default() };
        let place = format!("{place}, {name}, alpha-crown");
        compare(&engine.bound_optimised(&batch, ascent).unwrap(), reached, &place, counts);
        assert!(is_expected(engine.fallback(), network), "{place}: {:?}", engine.fallback());
    }
}
