//! Networks whose cells are enumerated: what is found is the preimage itself, in both directions.

use std::sync::Arc;

use bounds::Device;
use driver::preimage::{
    Cells, Certified, Mode, OutputPolytope, PreimageOptions, PreimageOutcome, PreimageProblem, PreimageSearch,
    PreimageStop,
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

    fn centred(&mut self) -> f64 {
        f64::from((2.0 * self.next() - 1.0) as f32)
    }
}

fn dense(n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

/// Layers of these widths; with `is_residual`, what enters the last hidden layer is added to what leaves it.
fn network(stream: &mut Stream, widths: &[usize], is_residual: bool) -> Network {
    let mut builder = Network::builder(&[widths[0]]).unwrap();
    let mut last = NodeId(0);
    for (layer, pair) in widths.windows(2).enumerate() {
        let (n_in, n_out) = (pair[0], pair[1]);
        let scale = (3.0 / n_in as f64).sqrt();
        let weight = (0..n_in * n_out).map(|_| f64::from((stream.centred() * scale) as f32)).collect();
        let bias = (0..n_out).map(|_| 0.3 * stream.centred()).collect();
        let before = last;
        last = builder.push(format!("{layer}"), dense(n_out, n_in, weight, bias), &[last], &[n_out]).unwrap();
        if layer + 2 < widths.len() {
            let relu = Op::Activation(Activation::Relu);
            last = builder.push(format!("relu {layer}"), relu, &[last], &[n_out]).unwrap();
            if is_residual && layer > 0 && n_in == n_out {
                last = builder.push(format!("sum {layer}"), Op::Add, &[before, last], &[n_out]).unwrap();
            }
        }
    }
    builder.build(last).unwrap()
}

/// A random problem; where there are several rows, the last is satisfied everywhere.
fn random(seed: u64, n_rows: usize, widths: &[usize], mode: Mode) -> PreimageProblem {
    let mut stream = Stream(seed);
    let network = network(&mut stream, widths, seed % 2 == 1);
    let n = widths[0];
    let region = BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
    let centre = network.evaluate(&vec![0.1; n]).unwrap();
    let (mut rows, mut rhs) = (Vec::new(), Vec::new());
    for k in 0..n_rows {
        let row: Vec<f64> = centre.iter().map(|_| stream.centred()).collect();
        let value: f64 = row.iter().zip(&centre).map(|(c, y)| c * y).sum();
        rhs.push(if k + 1 == n_rows && n_rows > 1 { -1e3 } else { value - 0.05 });
        rows.push(row);
    }
    PreimageProblem::new(network, region, OutputPolytope { rows, rhs }, mode)
}

fn options(cells: Cells) -> PreimageOptions {
    // A limit of subdomains holds for cells, too.
    let subdomains = (cells != Cells::Always).then_some(400);
    let limits = Limits { subdomains, ..Limits::default() };
    PreimageOptions { cells, limits, n_samples: Some(4096), n_report: 1 << 14, ..PreimageOptions::default() }
}

fn solve(problem: &PreimageProblem, options: &PreimageOptions) -> PreimageOutcome {
    PreimageSearch::new(problem, &Device::Host).unwrap().run(options, &mut |_| {}).unwrap()
}

/// Random points, and points on both sides of where the polytopes end: how many are held, and how many were bisected.
fn check(problem: &PreimageProblem, outcome: &PreimageOutcome, seed: u64) -> (usize, usize) {
    let mut stream = Stream(seed + 1000);
    let (lower, upper) = (&problem.region.lower, &problem.region.upper);
    let mut point = || -> Vec<f64> { lower.iter().zip(upper).map(|(l, u)| l + (u - l) * stream.next()).collect() };
    let is_held = |x: &[f64]| outcome.elements.iter().any(|element| element.contains(x));
    let contradicts = |x: &[f64]| match problem.mode {
        Mode::Under => is_held(x) && !problem.contains(x),
        Mode::Over => !is_held(x) && problem.contains(x),
    };
    let (mut n_held, mut n_facets) = (0, 0);
    let (mut held, mut outside): (Option<Vec<f64>>, Option<Vec<f64>>) = (None, None);
    for _ in 0..4000 {
        let x = point();
        assert!(!contradicts(&x), "{seed}, {:?}: {x:?}", problem.mode);
        let now = is_held(&x);
        n_held += usize::from(now);
        if now {
            held = Some(x);
        } else {
            outside = Some(x);
        }
        let (Some(from), Some(to)) = (&held, &outside) else { continue };
        let (mut low, mut high) = (from.clone(), to.clone());
        loop {
            let middle: Vec<f64> = low.iter().zip(&high).map(|(a, b)| 0.5 * (a + b)).collect();
            if middle == low || middle == high {
                break;
            }
            if is_held(&middle) { low = middle } else { high = middle }
        }
        n_facets += 1;
        assert!(!contradicts(&low) && !contradicts(&high), "{seed}, {:?}: a facet at {low:?}", problem.mode);
    }
    (n_held, n_facets)
}

#[test]
fn cells_are_the_preimage() {
    let (mut n_held, mut n_facets, mut n_cells) = (0, 0, 0);
    for seed in 0..16 {
        for mode in [Mode::Under, Mode::Over] {
            let n = 1 + seed as usize % 4;
            let problem = random(seed, 1 + seed as usize % 3, &[n, 7, 7, 3], mode);
            let outcome = solve(&problem, &options(Cells::Always));
            assert_eq!(outcome.stop, PreimageStop::Enumerated, "{seed}");
            let (held, facets) = check(&problem, &outcome, seed);
            (n_held, n_facets) = (n_held + held, n_facets + facets);
            n_cells += outcome.n_cells.unwrap();
            // No sample is on the wrong side, in either direction.
            assert!((outcome.coverage - 1.0).abs() < 1e-12, "{seed}, {mode:?}: {}", outcome.coverage);
            assert!(outcome.elements.len() as u64 <= outcome.n_cells.unwrap());
        }
    }
    assert!(n_held > 20_000 && n_facets > 20_000 && n_cells > 500, "{n_held}, {n_facets}, {n_cells}");
}

/// `y = 1 − 40 (|x_0 − 0.7| + |x_1 − 0.2|)` on the unit square.
fn diamond(mode: Mode) -> PreimageProblem {
    let mut builder = Network::builder(&[2]).unwrap();
    let first = dense(4, 2, vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, -1.0], vec![-0.7, 0.7, -0.2, 0.2]);
    let first = builder.push("first", first, &[NodeId(0)], &[4]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[first], &[4]).unwrap();
    let last = builder.push("last", dense(1, 4, vec![-40.0; 4], vec![1.0]), &[relu], &[1]).unwrap();
    let region = BoxRegion::new(vec![0.0; 2], vec![1.0; 2]).unwrap();
    let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![0.0] };
    PreimageProblem::new(builder.build(last).unwrap(), region, target, mode)
}

#[test]
fn a_diamond_is_four_triangles() {
    for mode in [Mode::Under, Mode::Over] {
        let problem = diamond(mode);
        let outcome = solve(&problem, &options(Cells::Always));
        // Each line is that of two ReLUs: an over-approximation keeps what rounding leaves between them.
        let n_elements = outcome.elements.len();
        assert!(n_elements == 4 || (n_elements > 4 && mode == Mode::Over), "{mode:?}: {n_elements}");
        let volume =
            |element: &driver::preimage::Element| element.exact_volume((&[0.0; 2], &[1.0; 2]), &[]).unwrap().value;
        let total: f64 = outcome.elements.iter().map(volume).sum();
        assert!((total - 2.0 / 1600.0).abs() < 1e-12, "{mode:?}: {total}");
        // Two lines through the middle and a side; a line may be there twice, an ulp apart.
        assert!(outcome.elements.iter().all(|element| element.planes.len() >= 3 || mode == Mode::Over), "{mode:?}");
    }
}

#[test]
fn neighbours_that_lie_inside_are_one_polytope() {
    // y = 1 + relu(x_0) + relu(x_1): six cells and more, all inside.
    let mut builder = Network::builder(&[2]).unwrap();
    let first = dense(3, 2, vec![1.0, 0.0, 0.0, 1.0, 1.0, -1.0], vec![0.0, 0.1, 0.2]);
    let first = builder.push("first", first, &[NodeId(0)], &[3]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[first], &[3]).unwrap();
    let last = builder.push("last", dense(1, 3, vec![1.0; 3], vec![1.0]), &[relu], &[1]).unwrap();
    let region = BoxRegion::new(vec![-1.0; 2], vec![1.0; 2]).unwrap();
    let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![0.0] };
    let problem = PreimageProblem::new(builder.build(last).unwrap(), region, target, Mode::Under);
    let outcome = solve(&problem, &options(Cells::Always));
    assert_eq!((outcome.elements.len(), outcome.elements[0].planes.len()), (1, 0), "{outcome:?}");
    assert!(outcome.n_cells.unwrap() >= 6);
}

#[test]
fn a_union_is_enumerated_without_overlap() {
    // Which of three outputs is largest is decided everywhere: three polytopes of outputs, and together they are everything.
    let mut problem = random(4, 1, &[2, 8, 6, 3], Mode::Under);
    problem.targets = OutputPolytope::class_set(&[0, 1], 3);
    let outcome = solve(&problem, &options(Cells::Always));
    check(&problem, &outcome, 4);
    assert!((outcome.coverage - 1.0).abs() < 1e-12 && outcome.is_disjoint);
    let mut stream = Stream(3);
    let mut n_held = 0;
    for _ in 0..4000 {
        let x = [2.0 * stream.next() - 1.0, 2.0 * stream.next() - 1.0];
        let count = outcome.elements.iter().filter(|element| element.contains(&x)).count();
        assert!(count <= 1, "{x:?} is in {count}");
        n_held += count;
    }
    assert!(n_held > 500, "{n_held}");
}

#[test]
fn a_coverage_of_one_is_certified() {
    for seed in [1, 2, 6, 9] {
        for mode in [Mode::Under, Mode::Over] {
            let problem = random(seed, 3, &[2 + seed as usize % 2, 8, 6, 3], mode);
            let mut problem = problem;
            // A real second row, besides the one that always holds.
            problem.targets[0].rhs[1] -= 0.2;
            let options = options(Cells::Always);
            let outcome = solve(&problem, &options);
            if outcome.preimage_volume < 0.01 {
                continue;
            }
            let certified = Certified::of(&problem, &outcome, &Device::Host, &options).unwrap();
            assert!((certified.coverage - 1.0).abs() < 1e-6, "{seed}, {mode:?}: {certified:?}");
            let sampled = outcome.preimage_interval;
            let value = certified.approximation.value;
            assert!(sampled.lower - 0.01 < value && value < sampled.upper + 0.01, "{seed}: {value}, {sampled:?}");
        }
    }
}

#[test]
fn what_cannot_be_enumerated_is_searched_or_refused() {
    let wide = random(3, 1, &[5, 6, 2], Mode::Under);
    let search = PreimageSearch::new(&wide, &Device::Host).unwrap();
    let error = search.run(&options(Cells::Always), &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("5 inputs vary"), "{error}");
    for cells in [Cells::Auto, Cells::Preferred, Cells::Never] {
        assert_eq!(solve(&wide, &options(cells)).n_cells, None);
    }
    // Few cells: enumerated unless that is unwanted. A run that time ends falls back on the search, whose result is valid.
    let small = diamond(Mode::Under);
    assert!(solve(&small, &options(Cells::Auto)).n_cells.is_some());
    assert_eq!(solve(&small, &options(Cells::Never)).n_cells, None);
    let interrupt = Interrupt::default();
    interrupt.raise();
    let outcome = solve(&small, &PreimageOptions { interrupt, ..options(Cells::Always) });
    assert_eq!((outcome.stop, outcome.n_cells), (PreimageStop::Interrupted, None));
    check(&small, &outcome, 0);
}

#[test]
fn numbers_that_overflow_are_never_enumerated() {
    let mut builder = Network::builder(&[2]).unwrap();
    let first =
        builder.push("first", dense(2, 2, vec![1e200, 0.0, 0.0, -1e200], vec![0.0; 2]), &[NodeId(0)], &[2]).unwrap();
    let relu = builder.push("relu", Op::Activation(Activation::Relu), &[first], &[2]).unwrap();
    let last = builder.push("last", dense(1, 2, vec![1e200, -1e200], vec![1.0]), &[relu], &[1]).unwrap();
    let network = builder.build(last).unwrap();
    let region = BoxRegion::new(vec![-1.0; 2], vec![1.0; 2]).unwrap();
    for mode in [Mode::Under, Mode::Over] {
        let target = OutputPolytope { rows: vec![vec![1.0]], rhs: vec![0.0] };
        let problem = PreimageProblem::new(network.clone(), region.clone(), target, mode);
        let Ok(search) = PreimageSearch::new(&problem, &Device::Host) else { continue };
        if let Ok(outcome) = search.run(&options(Cells::Always), &mut |_| {}) {
            assert!(outcome.stop != PreimageStop::Enumerated, "{mode:?}");
        }
    }
}
