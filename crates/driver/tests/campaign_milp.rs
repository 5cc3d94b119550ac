//! Random networks of every piecewise linear operator against their truth as mixed-integer programs, by every method and on both
//! devices: exact where sampling only comes near, and larger than what enumeration can do.
//!
//! The networks are those of `campaign.rs` without sigmoid and tanh. `HiGHS` gives a point, at which the network itself is
//! evaluated, and a proof that nothing is less, up to its tolerances: "verified" and bounds are held against the first, "falsified"
//! against the second. Every second question is one whose pieces are enumerated, where both oracles must agree.
//!
//! `DIADEM_CAMPAIGN_NETWORKS=1000 cargo test --release -p diadem-driver --features oracle-highs --test campaign_milp` is the long
//! run; `DIADEM_CAMPAIGN_SEED` starts elsewhere. Building `HiGHS` takes cmake, a C++ compiler and libclang.

mod enumeration;
mod milp;
#[path = "../../bounds/tests/it/random.rs"]
mod random;
mod trial;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bounds::Device;
use driver::Verdict;
use milp::{Truth, least_margin, margin};
use network::{BoxRegion, Disjunct, HalfSpace, Property};
use random::Stream;
use trial::{Counts, GPU_SHARE, SPLITS, check_counterexample, compare_bounds, decide, is_smooth, number, room};

/// Networks in a run that no variable makes longer.
const SHORT: u64 = 30;

/// Points that the oracle itself is compared with, for each network.
const SAMPLES: usize = 300;

/// Seconds for each program.
const SECONDS: f64 = 2.0;

/// How far from the truth thresholds are put, in units of the outputs' width.
const OFFSETS: [f64; 10] = [-0.3, -0.05, -1e-2, -1e-3, -1e-4, 1e-4, 1e-3, 1e-2, 0.05, 0.3];

/// What the oracle did.
#[derive(Default)]
struct Oracle {
    programs: u64,
    exact: u64,
    /// Programs that were said to have no value as small as one that the network takes.
    refuted: u64,
    binaries: u64,
    most_binaries: usize,
    seconds: f64,
    /// Programs whose least value no sample came near.
    unsampled: u64,
    /// Questions that were enumerated as well, and the largest difference.
    enumerated: u64,
    difference: f64,
    /// Verdicts that an exact truth, clear of the threshold, confirmed.
    confirmed: u64,
}

impl Oracle {
    fn ask(&mut self, network: &network::Network, region: &BoxRegion, half_spaces: &[HalfSpace], place: &str) -> Truth {
        let start = Instant::now();
        let mut truth = least_margin(network, region, half_spaces, SECONDS);
        self.seconds += start.elapsed().as_secs_f64();
        self.programs += 1;
        self.exact += u64::from(truth.is_exact());
        self.binaries += truth.n_binaries as u64;
        self.most_binaries = self.most_binaries.max(truth.n_binaries);
        if truth.below > truth.above + truth.tolerance {
            // The network itself is the judge: it takes the value `above`, so that the solver's claim is wrong.
            let _ = writeln!(std::io::stderr(), "{place}: the network refutes the solver: {truth:?}");
            self.refuted += 1;
            truth.below = f64::NEG_INFINITY;
        }
        truth
    }
}

impl fmt::Display for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            programs, exact, refuted, most_binaries, seconds, unsampled, enumerated, difference, confirmed, ..
        } = self;
        let mean = self.binaries as f64 / *programs as f64;
        writeln!(
            f,
            "{programs} programs, {exact} exact, {refuted} wrong; {mean:.1} binaries, at most {most_binaries}; {seconds:.0} s"
        )?;
        writeln!(f, "{unsampled} where {SAMPLES} samples miss the least value by a hundredth of the outputs' width")?;
        writeln!(f, "{enumerated} enumerated disjuncts, the largest difference {difference:.1e}")?;
        writeln!(f, "{confirmed} verdicts confirmed by a truth that is exact and clear of the threshold")
    }
}

/// Both oracles on an enumerated question.
fn enumerated(seed: u64, oracle: &mut Oracle) {
    let enumeration::Question { network, property, margins: [least, _] } = enumeration::question(seed);
    let mut truth = [f64::INFINITY; 2];
    let mut tolerance = 0.0_f64;
    for Disjunct { region, half_spaces } in &property.disjuncts {
        let found = oracle.ask(&network, region, half_spaces, &format!("enumerated, seed {seed}"));
        truth = [truth[0].min(found.below), truth[1].min(found.above)];
        tolerance = tolerance.max(found.tolerance);
        oracle.enumerated += 1;
    }
    // A busy machine may leave a program open: then the truth is between its ends.
    let [below, above] = truth;
    assert!(below <= least + tolerance, "seed {seed}: {truth:?} by programs, {least} by enumeration");
    assert!(above >= least - tolerance, "seed {seed}: {truth:?} by programs, {least} by enumeration");
    if above - below <= tolerance {
        oracle.difference = oracle.difference.max((below - least).abs().max((above - least).abs()));
    }
}

/// Bounds and verdicts against the programs; says whether the network is piecewise linear.
fn solved(seed: u64, devices: &[(&str, &Device)], counts: &mut Counts, oracle: &mut Oracle) -> bool {
    let mut stream = Stream(seed.wrapping_mul(0x1234_5678_9abc_def1));
    let network = random::network(&mut stream);
    if is_smooth(&network) {
        return false;
    }
    let (lower, upper) = random::region(&mut stream, network.n_inputs());
    let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
    let n_outputs = network.n_outputs();
    let samples: Vec<Vec<f64>> = (0..SAMPLES).map(|_| random::point(&mut stream, &lower, &upper)).collect();
    let place = format!("seed {seed}");
    let output_by = |k: usize, c: f64| [HalfSpace { input: vec![], output: vec![(k, [c; 2])], constant: [0.0; 2] }];
    // The least and the largest value of every output.
    let mut reached = [vec![], vec![]];
    let mut gaps = Vec::new();
    for k in 0..n_outputs {
        for (c, reached) in [1.0, -1.0].into_iter().zip(&mut reached) {
            let row = output_by(k, c);
            let truth = oracle.ask(&network, &region, &row, &place);
            let sampled = samples.iter().map(|x| margin(&network, &row, x)).fold(f64::INFINITY, f64::min);
            assert!(sampled >= truth.below - truth.tolerance, "{place}: {sampled} was sampled, {truth:?}");
            gaps.push(sampled - truth.above);
            reached.push(c * sampled.min(truth.above));
        }
    }
    let width = (0..n_outputs).map(|k| reached[1][k] - reached[0][k]).fold(0.0, f64::max);
    oracle.unsampled += gaps.iter().filter(|&&gap| width > 0.0 && gap > 0.01 * width).count() as u64;
    compare_bounds(&Arc::new(network.clone()), &region, [&reached[0], &reached[1]], devices, &place, counts);

    // One or two rows, with thresholds around the truth.
    let mut half_spaces: Vec<HalfSpace> = (0..=stream.below(2))
        .map(|_| {
            let output = (0..n_outputs).map(|j| (j, [f64::from(stream.within(-1.0, 1.0) as f32); 2]));
            let output = output.collect();
            let input = if stream.below(4) == 0 { vec![(stream.below(lower.len()), [0.5; 2])] } else { vec![] };
            HalfSpace { input, output, constant: [stream.within(-0.2, 0.2); 2] }
        })
        .collect();
    let truth = oracle.ask(&network, &region, &half_spaces, &place);
    let sampled = samples.iter().map(|x| margin(&network, &half_spaces, x)).fold(f64::INFINITY, f64::min);
    assert!(sampled >= truth.below - truth.tolerance, "{place}: {sampled} was sampled, {truth:?}");
    let offset = OFFSETS[stream.below(OFFSETS.len())] * if width > 0.0 { width } else { 1.0 };
    for half_space in &mut half_spaces {
        half_space.constant = [half_space.constant[0] + (offset - truth.above); 2];
    }
    // The margin is `offset` at the point that was found, and nowhere less than this.
    let below = offset - (truth.above - truth.below) - truth.tolerance;
    let is_clear = truth.is_exact() && offset.abs() > truth.tolerance;
    let disjuncts = vec![Disjunct { region, half_spaces }];
    let property = Property { n_inputs: network.n_inputs(), n_outputs, disjuncts };
    for (name, device) in devices {
        for (split_name, split) in SPLITS {
            let place = format!("{place}, {name}, {split_name}");
            let verdict = decide(device, &network, &property, split, 100);
            counts.add(&format!("{name}, {split_name}"), &verdict);
            match &verdict {
                Verdict::Verified => {
                    assert!(offset > -room(truth.above), "{place}: verified, but the margin is {offset:e}");
                }
                Verdict::Falsified(found) => {
                    check_counterexample(&network, &property, found, &place);
                    assert!(below <= 0.0, "{place}: falsified, but no margin is below {below:e}: {truth:?}");
                }
                Verdict::Unknown(_) => continue,
            }
            oracle.confirmed += u64::from(is_clear);
        }
    }
    true
}

#[test]
fn no_random_network_contradicts_its_programs() {
    let (n, start) = (number("DIADEM_CAMPAIGN_NETWORKS").unwrap_or(SHORT), number("DIADEM_CAMPAIGN_SEED").unwrap_or(0));
    let (host, gpu) = (Device::Host, trial::gpu());
    let (mut counts, mut oracle) = (Counts::default(), Oracle::default());
    let (mut seed, mut done) = (start, 0);
    while done < n {
        let mut devices = vec![("host", &host)];
        devices.extend(gpu.as_ref().filter(|_| done % GPU_SHARE == 0).map(|gpu| ("gpu", gpu)));
        if solved(seed, &devices, &mut counts, &mut oracle) {
            enumerated(1_000_000 + seed, &mut oracle);
            done += 1;
            if done % 100 == 0 || done == n {
                // Straight to the terminal: the test harness hides what passing tests print.
                let _ = writeln!(std::io::stderr(), "{done} of {n} networks, to seed {seed}\n{counts}{oracle}");
            }
        }
        seed += 1;
    }
    counts.check_that_much_is_decided();
    assert!(2 * oracle.exact > oracle.programs, "few programs are solved: {oracle}");
    assert!(100 * oracle.refuted <= oracle.programs, "the solver is often wrong: {oracle}");
}
