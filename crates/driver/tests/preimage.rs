//! Preimages: every claim of a result against the network itself, and the peer's failures as tests of their own.

use std::sync::Arc;

use bounds::Device;
use driver::preimage::{
    Audit, AuditOptions, Cells, Certified, Marginal, Mode, OutputPolytope, PreimageOptions, PreimageOutcome,
    PreimageProblem, PreimageSearch, PreimageStop, Prior,
};
use driver::{Interrupt, Limits};
use network::{Activation, Affine, BoxRegion, Dense, LinearMap, Network, NodeId, Op};

/// A reproducible stream in `[0, 1)`.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.next()).sum::<f64>() - 6.0
    }
}

fn dense(n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

/// `ReLU` layers of these widths with normal weights that f32 holds.
fn network(stream: &mut Stream, widths: &[usize]) -> Network {
    let mut builder = Network::builder(&[widths[0]]).unwrap();
    let mut last = NodeId(0);
    for (layer, pair) in widths.windows(2).enumerate() {
        let (n_in, n_out) = (pair[0], pair[1]);
        let scale = (2.0 / n_in as f64).sqrt();
        let weight = (0..n_in * n_out).map(|_| f64::from((stream.normal() * scale) as f32)).collect();
        let bias = (0..n_out).map(|_| f64::from((stream.normal() * 0.1) as f32)).collect();
        last = builder.push(format!("{layer}"), dense(n_out, n_in, weight, bias), &[last], &[n_out]).unwrap();
        if layer + 2 < widths.len() {
            let relu = Op::Activation(Activation::Relu);
            last = builder.push(format!("relu {layer}"), relu, &[last], &[n_out]).unwrap();
        }
    }
    builder.build(last).unwrap()
}

fn options(coverage: f64, subdomains: u64) -> PreimageOptions {
    let limits = Limits { subdomains: Some(subdomains), ..Limits::default() };
    // The search itself is tested here; networks as small as these would be enumerated.
    PreimageOptions { coverage, limits, n_report: 1 << 14, cells: Cells::Never, ..PreimageOptions::default() }
}

fn solve(problem: &PreimageProblem, options: &PreimageOptions) -> PreimageOutcome {
    PreimageSearch::new(problem, &Device::Host).unwrap().run(options, &mut |_| {}).unwrap()
}

/// The full input of a point in the inputs that vary.
fn full(problem: &PreimageProblem, outcome: &PreimageOutcome, x: &[f64]) -> Vec<f64> {
    let mut full = problem.region.lower.clone();
    outcome.free.iter().zip(x).for_each(|(&i, &x)| full[i] = x);
    full
}

fn point(stream: &mut Stream, problem: &PreimageProblem, outcome: &PreimageOutcome) -> Vec<f64> {
    let region = &problem.region;
    outcome.free.iter().map(|&i| region.lower[i] + (region.upper[i] - region.lower[i]) * stream.next()).collect()
}

/// Fresh points, and points bisected onto the facets of polytopes: none may contradict what the outcome claims.
fn check(problem: &PreimageProblem, outcome: &PreimageOutcome, n_points: usize, place: &str) -> (usize, usize) {
    let mut stream = Stream(99);
    let is_held = |x: &[f64]| outcome.elements.iter().any(|element| element.contains(x));
    let is_inside = |x: &[f64]| problem.contains(&full(problem, outcome, x));
    let (mut n_held, mut n_facets) = (0, 0);
    let (mut outside, mut held): (Option<Vec<f64>>, Option<Vec<f64>>) = (None, None);
    for _ in 0..n_points {
        let x = point(&mut stream, problem, outcome);
        let now = is_held(&x);
        n_held += usize::from(now);
        match problem.mode {
            Mode::Under => assert!(!now || is_inside(&x), "{place}: {x:?} is held and not in the preimage"),
            Mode::Over => assert!(now || !is_inside(&x), "{place}: {x:?} is in the preimage and not held"),
        }
        if now {
            held = Some(x);
        } else {
            outside = Some(x);
        }
        let (Some(from), Some(to)) = (&held, &outside) else { continue };
        if n_facets >= n_points / 4 {
            continue;
        }
        // The last point that is held, and the first that is not.
        let (mut low, mut high) = (from.clone(), to.clone());
        loop {
            let middle: Vec<f64> = low.iter().zip(&high).map(|(a, b)| 0.5 * (a + b)).collect();
            if middle == low || middle == high {
                break;
            }
            if is_held(&middle) { low = middle } else { high = middle }
        }
        n_facets += 1;
        match problem.mode {
            Mode::Under => assert!(is_inside(&low), "{place}: the facet point {low:?} is not in the preimage"),
            Mode::Over => assert!(!is_inside(&high), "{place}: {high:?}, just outside, is in the preimage"),
        }
    }
    (n_held, n_facets)
}

/// A random problem with so many rows; the last is satisfied everywhere, as is common among classes.
fn random(seed: u64, n_rows: usize, widths: &[usize], mode: Mode) -> PreimageProblem {
    let mut stream = Stream(seed);
    let network = network(&mut stream, widths);
    let n = widths[0];
    let region = BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
    let n_out = *widths.last().unwrap();
    let mut rows = Vec::new();
    let mut rhs = Vec::new();
    let centre = network.evaluate(&vec![0.0; n]).unwrap();
    for k in 0..n_rows {
        let row: Vec<f64> = (0..n_out).map(|_| stream.normal()).collect();
        let value: f64 = row.iter().zip(&centre).map(|(c, y)| c * y).sum();
        rhs.push(if k + 1 == n_rows && n_rows > 1 { -1e3 } else { value - 0.1 });
        rows.push(row);
    }
    PreimageProblem::new(network, region, OutputPolytope { rows, rhs }, mode)
}

#[test]
fn nothing_that_random_networks_do_contradicts_a_result() {
    let (mut n_held, mut n_facets, mut n_elements) = (0, 0, 0);
    for seed in 0..16 {
        for mode in [Mode::Under, Mode::Over] {
            let n_rows = 1 + seed as usize % 5;
            let problem = random(seed, n_rows, &[2 + seed as usize % 3, 12, 10, 4], mode);
            let outcome = solve(&problem, &options(if mode == Mode::Under { 0.95 } else { 1.05 }, 400));
            let (held, facets) = check(&problem, &outcome, 4_000, &format!("seed {seed}, {mode:?}"));
            n_held += held;
            n_facets += facets;
            n_elements += outcome.elements.len();
        }
    }
    assert!(n_held > 10_000 && n_facets > 5_000 && n_elements > 64, "{n_held} held, {n_facets} facets, {n_elements}");
}

#[test]
fn splits_of_relus_and_corners_that_are_cut_off_are_sound() {
    // More than eight inputs vary: ReLUs are split, and polytopes derived layer by layer.
    let (mut n_held, mut n_planes) = (0, 0);
    for seed in 100..106 {
        for mode in [Mode::Under, Mode::Over] {
            let problem = random(seed, 1 + seed as usize % 2, &[9, 14, 12, 3], mode);
            let mut options = options(if mode == Mode::Under { 0.9 } else { 1.1 }, 300);
            options.n_samples = Some(4096);
            let outcome = solve(&problem, &options);
            n_held += check(&problem, &outcome, 3_000, &format!("seed {seed}, {mode:?}")).0;
            n_planes += outcome.elements.iter().map(|element| element.planes.len()).sum::<usize>();
        }
    }
    assert!(n_held > 2_000 && n_planes > 100, "{n_held} held, {n_planes} planes");
}

#[test]
fn a_row_that_is_always_satisfied_does_not_verify_the_others() {
    // The peer takes the bound of the first row for that of all, and reports coverages of 1.19.
    for seed in 40..46 {
        let mut problem = random(seed, 3, &[3, 16, 3], Mode::Under);
        let target = &mut problem.targets[0];
        target.rows.rotate_right(1);
        target.rhs.rotate_right(1);
        let outcome = solve(&problem, &options(0.9, 600));
        check(&problem, &outcome, 4_000, &format!("seed {seed}"));
        assert!(outcome.coverage <= 1.0 && outcome.approximation_volume <= outcome.preimage_volume);
    }
}

#[test]
fn an_over_approximation_loses_nothing_that_samples_missed() {
    // A pocket of a hundredth of the box and 32 samples: y = 1 − 40 (|x − 0.7| + |y − 0.2|) ≥ 0.
    let mut builder = Network::builder(&[2]).unwrap();
    let first = dense(4, 2, vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], vec![-0.7, 0.7, -0.2, 0.2]);
    let first = builder.push("first", first, &[NodeId(0)], &[4]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[first], &[4]).unwrap();
    let last = builder.push("last", dense(1, 4, vec![-40.0; 4], vec![1.0]), &[relu], &[1]).unwrap();
    let region = BoxRegion::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
    let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![0.0] };
    let problem = PreimageProblem::new(builder.build(last).unwrap(), region, target, Mode::Over);
    let mut missed_at_first = 0;
    for seed in 0..8 {
        let options = PreimageOptions { n_samples: Some(32), seed, ..options(1.2, 200) };
        let outcome = solve(&problem, &options);
        missed_at_first += usize::from(outcome.rounds[0].coverage.is_infinite());
        assert!(outcome.elements.iter().any(|element| element.contains(&[0.7, 0.2])), "seed {seed}");
        check(&problem, &outcome, 20_000, &format!("seed {seed}"));
    }
    assert!(missed_at_first > 0, "some run should have started without a sample in the pocket");
}

/// `y = 1 − x_0 − x_1` on the unit square and a bend far away: the preimage of `y ≥ 0` is half of it.
fn half() -> PreimageProblem {
    let mut builder = Network::builder(&[2]).unwrap();
    let first = builder.push("first", dense(1, 2, vec![1.0, 1.0], vec![0.0]), &[NodeId(0)], &[1]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[first], &[1]).unwrap();
    let last = builder.push("last", dense(1, 1, vec![-1.0], vec![1.0]), &[relu], &[1]).unwrap();
    let region = BoxRegion::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
    let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![0.0] };
    PreimageProblem::new(builder.build(last).unwrap(), region, target, Mode::Under)
}

#[test]
fn a_half_square_is_one_polytope() {
    for mode in [Mode::Under, Mode::Over] {
        let problem = PreimageProblem { mode, ..half() };
        let outcome = solve(&problem, &options(if mode == Mode::Under { 0.99 } else { 1.01 }, 50));
        assert!(outcome.is_reached && outcome.is_disjoint, "{outcome:?}");
        assert_eq!((outcome.elements.len(), outcome.stop), (1, PreimageStop::Target));
        assert!((outcome.preimage_volume - 0.5).abs() < 0.02);
        let plane = &outcome.elements[0].planes[0];
        assert!((plane.a[0] / plane.a[1] - 1.0).abs() < 1e-6 && (plane.b / plane.a[0] + 1.0).abs() < 1e-5);
    }
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    let problem = half();
    let search = PreimageSearch::new(&problem, &Device::Host).unwrap();
    let (mut n_volume, mut n_coverage) = (0, 0);
    for seed in 0..300 {
        let options = PreimageOptions { seed, n_report: 1000, n_samples: Some(64), ..options(0.5, 1) };
        let outcome = search.run(&options, &mut |_| {}).unwrap();
        let [volume, coverage] = [outcome.preimage_interval, outcome.coverage_interval];
        n_volume += usize::from(volume.lower <= 0.5 && 0.5 <= volume.upper);
        n_coverage += usize::from(coverage.lower <= 1.0 && 1.0 <= coverage.upper + 1e-5);
    }
    // 93 % of 300.
    assert!(n_volume >= 279 && n_coverage >= 279, "{n_volume} and {n_coverage} of 300");
}

#[test]
fn a_union_of_outputs_is_the_union_of_preimages() {
    // y = x_0 + x_1 − 1: at least 0.5 away from zero, on either side.
    let mut problem = half();
    let row = |sign: f64| OutputPolytope { rows: vec![vec![sign]], rhs: vec![0.5] };
    problem.targets = vec![row(1.0), row(-1.0)];
    for mode in [Mode::Under, Mode::Over] {
        let problem = PreimageProblem { mode, ..problem.clone() };
        let outcome = solve(&problem, &options(if mode == Mode::Under { 0.9 } else { 1.1 }, 400));
        assert!(outcome.is_reached, "{outcome:?}");
        assert!((outcome.preimage_volume - 0.25).abs() < 0.02 && !outcome.is_disjoint);
        assert!(outcome.elements.iter().any(|e| e.target == 0) && outcome.elements.iter().any(|e| e.target == 1));
        check(&problem, &outcome, 4_000, "union");
    }
}

#[test]
fn a_prior_weighs_volumes() {
    // All mass of both inputs below one half: the whole of it lies in the preimage.
    let low = || Marginal::Histogram { edges: vec![0.0, 0.5, 1.0], masses: vec![1.0, 0.0] };
    let prior = Prior::uniform().with(0, low()).with(1, low());
    let outcome = solve(&PreimageProblem { prior, ..half() }, &options(0.9, 50));
    assert_eq!(outcome.preimage_volume, 1.0);
    assert!(outcome.is_reached);
}

#[test]
fn the_same_seed_gives_the_same_result() {
    let problem = random(3, 2, &[3, 12, 10, 3], Mode::Under);
    let first = solve(&problem, &options(0.95, 300));
    let second = solve(&problem, &options(0.95, 300));
    assert_eq!(first.elements, second.elements);
    assert_eq!(first.coverage_interval, second.coverage_interval);
}

#[test]
fn what_stops_a_search_leaves_a_valid_result() {
    let problem = random(5, 2, &[4, 20, 20, 3], Mode::Under);
    let interrupt = Interrupt::default();
    interrupt.raise();
    let interrupted = PreimageOptions { interrupt, ..options(1.0, 10_000) };
    let outcome = solve(&problem, &interrupted);
    assert_eq!(outcome.stop, PreimageStop::Interrupted);
    check(&problem, &outcome, 2_000, "interrupted");
    let limits = Limits { time_s: Some(1e-9), ..Limits::default() };
    let outcome = solve(&problem, &PreimageOptions { limits, ..options(1.0, 10_000) });
    assert_eq!(outcome.stop, PreimageStop::TimeLimit);
    assert!(!outcome.is_reached);
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    let problem = half();
    for (targets, message) in [
        (vec![], "no output polytope"),
        (vec![OutputPolytope { rows: vec![vec![1.0, 2.0]], rhs: vec![0.0] }], "2 coefficients"),
        (vec![OutputPolytope { rows: vec![vec![1.0]], rhs: vec![] }], "0 right-hand sides"),
        (vec![OutputPolytope { rows: vec![vec![f64::NAN]], rhs: vec![0.0] }], "not finite"),
    ] {
        let problem = PreimageProblem { targets, ..problem.clone() };
        let error = PreimageSearch::new(&problem, &Device::Host).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn an_audit_finds_what_is_wrong_and_nothing_else() {
    let options_of = |seed| AuditOptions { points: 40_000, facets: 400, seed, interrupt: Interrupt::default() };
    for mode in [Mode::Under, Mode::Over] {
        let problem = random(7, 2, &[3, 12, 10, 3], mode);
        let outcome = solve(&problem, &options(if mode == Mode::Under { 0.9 } else { 1.1 }, 300));
        let audit = Audit::of(&problem, &outcome.elements, &options_of(1)).unwrap();
        assert_eq!((audit.n_points, audit.n_contradictions), (40_000, 0), "{audit:?}");
        assert!(audit.n_facets > 100 && audit.n_inside > 1_000, "{audit:?}");
        // Planes that are moved by a little, the wrong way.
        let mut wrong = outcome.elements.clone();
        let by = if mode == Mode::Under { 0.2 } else { -0.2 };
        wrong.iter_mut().flat_map(|element| &mut element.planes).for_each(|plane| plane.b += by);
        let audit = Audit::of(&problem, &wrong, &options_of(2)).unwrap();
        assert!(audit.n_contradictions > 0 && !audit.contradictions.is_empty(), "{mode:?}: {audit:?}");
        wrong[0].lower.push(0.0);
        assert!(Audit::of(&problem, &wrong, &options_of(3)).is_err());
    }
}

#[test]
fn a_coverage_is_certified_by_volumes() {
    // The half square: everything is known.
    for mode in [Mode::Under, Mode::Over] {
        let problem = PreimageProblem { mode, ..half() };
        let options = options(if mode == Mode::Under { 0.99 } else { 1.01 }, 50);
        let outcome = solve(&problem, &options);
        let certified = Certified::of(&problem, &outcome, &Device::Host, &options).unwrap();
        assert!((certified.coverage - 1.0).abs() < 1e-4, "{certified:?}");
        assert!((certified.approximation.value - 0.5).abs() < 1e-4 && certified.approximation.error < 1e-9);
    }
    // Random networks with up to three rows: on the safe side of the sampled interval.
    for seed in 60..66 {
        for mode in [Mode::Under, Mode::Over] {
            let problem = random(seed, 1 + seed as usize % 3, &[2 + seed as usize % 3, 12, 8, 3], mode);
            let options = options(if mode == Mode::Under { 0.9 } else { 1.1 }, 300);
            let outcome = solve(&problem, &options);
            let Certified { coverage, approximation, .. } =
                Certified::of(&problem, &outcome, &Device::Host, &options).unwrap();
            let interval = outcome.coverage_interval;
            let width = interval.upper - interval.lower;
            match mode {
                Mode::Under => assert!(coverage > 0.0 && coverage <= interval.upper + width, "{seed}: {coverage}"),
                Mode::Over => assert!(coverage >= interval.lower - width, "{seed}: {coverage}"),
            }
            let sampled = outcome.approximation_interval;
            let slack = sampled.upper - sampled.lower;
            let value = approximation.value;
            assert!(sampled.lower - slack <= value && value <= sampled.upper + slack, "{seed}: {value}, {sampled:?}");
        }
    }
    let wide = random(1, 1, &[7, 6, 2], Mode::Under);
    assert!(Certified::check(&wide).unwrap_err().to_string().contains("7 inputs vary"));
}

#[test]
fn a_run_goes_on_from_what_another_found() {
    for mode in [Mode::Under, Mode::Over] {
        for (seed, widths) in [(3, &[3, 12, 10, 3][..]), (101, &[9, 10, 8, 3])] {
            let problem = random(seed, 1, widths, mode);
            let goal = if mode == Mode::Under { 0.97 } else { 1.03 };
            let first = solve(&problem, &options(goal, 40));
            let known = first.elements.clone();
            let next = PreimageOptions { known, seed: 1, ..options(goal, 400) };
            let second = solve(&problem, &next);
            check(&problem, &second, 3_000, &format!("{seed}, {mode:?}"));
            // Both figures are sampled.
            match mode {
                Mode::Under => {
                    assert!(second.coverage_interval.upper >= first.coverage_interval.lower, "{seed}");
                    let is_kept = first.elements.iter().zip(&second.elements).all(|(a, b)| a.planes == b.planes);
                    assert!(is_kept && second.elements.len() >= first.elements.len(), "{seed}");
                }
                Mode::Over => assert!(second.coverage_interval.lower <= first.coverage_interval.upper, "{seed}"),
            }
        }
    }
}
