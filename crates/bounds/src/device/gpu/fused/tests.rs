#![allow(clippy::single_range_in_vec_init, reason = "a rule of one disjunct")]

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use network::{Activation, Affine, Dense, LinearMap, Network, Op, WeightError};

use super::Fused;
use super::tables::{Allowance, Tables};
use crate::device::gpu::Gpu;
use crate::device::gpu::samples::{Chain, Numbers, networks};
use crate::device::gpu::tests::{assert_close, assert_same_results, boxes, gpu, recipes, recorded, request};
use crate::device::host::{self, Raw, Request};
use crate::program::{Program, Step};
use crate::{Arithmetic, Batch, BoundEngine, Branched, Budget, Device, ErrorKind, Method, Piece, Recipe, Rule, record};

/// What the test device allows, with at most this many tiles.
fn allowance(gpu: &Gpu, tiles: u32) -> Allowance {
    Allowance { tiles, ..Allowance::of(&gpu.shared.device.limits()) }
}

fn fused(gpu: &Gpu, program: &Program<f32>, tiles: u32) -> Option<Fused> {
    let tables = Tables::new(program, allowance(gpu, tiles))?;
    Some(Fused::new(Arc::clone(&gpu.shared), tables).unwrap())
}

/// Chains of full matrices, with what the other samples lack.
fn chains() -> Vec<(&'static str, Network)> {
    let slopes: Vec<f64> = (0..17).map(|i| -0.5 + 0.15 * f64::from(i)).collect();
    let mixed = Chain::new(&[6], 51)
        .dense(21)
        .activation(Activation::Sigmoid)
        .dense(17)
        .activation(Activation::LeakyRelu(slopes.into()))
        .dense(9)
        .activation(Activation::Tanh)
        .dense(10)
        .activation(Activation::Clip { lower: -0.25, upper: 0.75 })
        .folded(2)
        .build();
    let wide_input = Chain::new(&[67], 52).dense(12).relu().dense(16).relu().dense(3).build();
    let fours = Chain::new(&[4], 53).dense(8).relu().dense(8).relu().dense(4).build();
    let unseparated = Chain::new(&[5], 54).dense(9).dense(11).relu().dense(7).relu().dense(7).dense(2).build();
    let first = Chain::new(&[6], 55).relu().dense(9).relu().dense(4).build();
    let one = Chain::new(&[3], 56).dense(1).relu().dense(1).build();
    vec![
        ("mixed", mixed),
        ("wide input", wide_input),
        ("fours", fours),
        ("unseparated", unseparated),
        ("first", first),
        ("one", one),
    ]
}

#[test]
fn fused_results_agree_with_the_steps_and_the_host() {
    let Some(gpu) = gpu() else { return };
    let mut qualified = Vec::new();
    for (name, network) in networks().into_iter().chain(chains()) {
        // Each shape is compiled anew, which takes most of the time.
        let is_first = name == "deep";
        for recipe in recipes().into_iter().filter(|recipe| is_first || *recipe == recipes()[1]) {
            let program = recorded(&network, recipe);
            let (lower, upper) = boxes(network.n_inputs(), 6, 0.3);
            let expected = host::bound(&program, request(&lower, &upper));
            for &tiles in if is_first || name == "mixed" { &[12, 2, 6][..] } else { &[12] } {
                let Some(fused) = fused(&gpu, &program, tiles) else { continue };
                assert!(fused.n_tiles() <= tiles);
                let what = format!("{name}, {recipe:?}, {tiles} tiles");
                let got = fused.bound(request(&lower, &upper)).unwrap();
                assert_same_results(&what, &got, &expected);
                if tiles == 12 {
                    let steps = gpu.load_stepwise(&program).unwrap().bound(request(&lower, &upper)).unwrap();
                    assert_same_results(&format!("{what}, steps"), &got, &steps);
                    qualified.push((name, recipe.method));
                }
            }
        }
    }
    for name in ["deep", "folded", "activation last"].into_iter().chain(chains().into_iter().map(|(name, _)| name)) {
        assert!(qualified.contains(&(name, Method::Crown)), "{name} must qualify");
    }
    assert!(qualified.contains(&("deep", Method::CrownIbp)));
    assert!(qualified.iter().all(|&(_, method)| method != Method::Ibp), "there is nothing to fuse");
}

#[test]
fn sampled_outputs_lie_above_fused_bounds() {
    let Some(gpu) = gpu() else { return };
    let mut numbers = Numbers(78);
    let mut n_judged = 0;
    for (name, network) in networks().into_iter().chain(chains()) {
        let program = recorded(&network, Recipe { both_ends: true, ..Recipe::default() });
        let Some(fused) = fused(&gpu, &program, 12) else { continue };
        let (lower, upper) = boxes(network.n_inputs(), 40, 0.3);
        let raw = fused.bound(request(&lower, &upper)).unwrap();
        n_judged += assert_sound(name, &network, (&lower, &upper), &raw.lower, &mut numbers);
    }
    assert!(n_judged > 10_000);
}

/// Compares the bounds of both ends with outputs at random points and corners; returns how many were looked at.
#[track_caller]
fn assert_sound(
    name: &str,
    network: &Network,
    (lower, upper): (&[f32], &[f32]),
    bounds: &[f32],
    numbers: &mut Numbers,
) -> usize {
    let (n, n_out) = (network.n_inputs(), network.n_outputs());
    let mut n_judged = 0;
    for (b, rows) in bounds.chunks_exact(2 * n_out).enumerate() {
        for _ in 0..60 {
            let ends = lower[b * n..][..n].iter().zip(&upper[b * n..][..n]);
            let x: Vec<f64> = ends
                .map(|(&l, &u)| match numbers.next() {
                    t if t < 0.3 => f64::from(l),
                    t if t > 0.7 => f64::from(u),
                    t => f64::from(l) + (f64::from(u) - f64::from(l)) * (t - 0.3) / 0.4,
                })
                .collect();
            for (k, value) in network.evaluate(&x).unwrap().into_iter().enumerate() {
                let row = |r: usize| f64::from(rows[r]);
                assert!(value >= row(k) && -value >= row(n_out + k), "{name}, box {b}, output {k}: {value} escapes");
                n_judged += 1;
            }
        }
    }
    n_judged
}

#[test]
fn fused_bounds_that_overflow_prove_nothing() {
    let Some(gpu) = gpu() else { return };
    let (_, network) = networks().swap_remove(3);
    let (lower, upper) = boxes(network.n_inputs(), 4, 0.3);
    let mut program = recorded(&network, Recipe::default());
    for step in &mut program.steps {
        if let Step::Refine(_, backward) | Step::Objective(backward) = step {
            (backward.concretize.gamma, backward.concretize.inflation) = (3e38, 3e38);
        }
    }
    let raw = fused(&gpu, &program, 12).expect("it qualifies").bound(request(&lower, &upper)).unwrap();
    assert!(raw.lower.iter().all(|&bound| bound == -3e38) && raw.slack.iter().all(|&slack| slack == 3e38));
    // Where only the refinements fail, the intervals are still there.
    let mut program = recorded(&network, Recipe { keep_interval: false, ..Recipe::default() });
    for step in &mut program.steps {
        if let Step::Refine(_, backward) = step {
            (backward.concretize.gamma, backward.concretize.inflation) = (3e38, 3e38);
        }
    }
    let raw = fused(&gpu, &program, 12).expect("it qualifies").bound(request(&lower, &upper)).unwrap();
    let intervals = recorded(&network, Recipe { method: Method::CrownIbp, ..Recipe::default() });
    let expected = host::bound(&intervals, request(&lower, &upper));
    assert_close("lower", &raw.lower, &expected.lower);
}

#[test]
fn thousands_of_subdomains_agree_with_the_host_whatever_the_submissions() {
    let Some(gpu) = gpu() else { return };
    let network = Chain::new(&[3], 21).dense(10).relu().dense(10).relu().dense(6).relu().dense(2).build();
    let program = recorded(&network, Recipe::default());
    let fused = fused(&gpu, &program, 12).expect("it qualifies");
    let (lower, upper) = boxes(3, 3000, 0.2);
    let got = fused.bound(request(&lower, &upper)).unwrap();
    let expected = host::bound(&program, request(&lower, &upper));
    assert_close("lower", &got.lower, &expected.lower);
    assert_close("slack", &got.slack, &expected.slack);
    assert_eq!(got.n_unstable, expected.n_unstable);
    // Rounding may tip a score or two that are nearly equal.
    let n_same = got.split.iter().zip(&expected.split).filter(|(g, e)| g == e).count();
    assert!(n_same >= 2990, "{n_same} of 3000 splits agree");
    fused.limit(700);
    assert_eq!(fused.bound(request(&lower, &upper)).unwrap(), got);
    // Smaller batches share the buffers.
    for n in [1, 500, 3, 0] {
        let part = fused.bound(request(&lower[..3 * n], &upper[..3 * n])).unwrap();
        assert_eq!(part.lower, got.lower[..2 * n]);
        assert_eq!(part.split, got.split[..n]);
    }
}

/// Boxes per second: run by hand, in release.
#[test]
#[ignore = "it measures"]
fn throughput_on_acas_xu() {
    let Some(gpu) = gpu() else { return };
    let Some((network, lower, upper)) = acas() else { return };
    let program =
        record(&network, &lower.map(|x| x - 1e-6), &upper.map(|x| x + 1e-6), Recipe::default(), Arithmetic::DEVICE_F32);
    let program = program.unwrap();
    let (lower, upper) = pieces(&lower, &upper, 1024, 0.1);
    let wanted = Request { wants_coefficients: false, ..request(&lower, &upper) };
    let report = |what: &str, bound: &dyn Fn() -> Raw<f32>| {
        let rows = bound().n_rows;
        let start = std::time::Instant::now();
        bound();
        let rate = 1024.0 / start.elapsed().as_secs_f64();
        writeln!(std::io::stderr(), "{what}: {rate:.0} boxes/s, {} rows each", rows / 1024).unwrap();
    };
    for tiles in [2, 6, 8, 12, 16] {
        let fused = fused(&gpu, &program, tiles).unwrap();
        report(&format!("{tiles} tiles, {} bytes", fused.tables.shape.bytes()), &|| fused.bound(wanted).unwrap());
    }
    let steps = gpu.load_stepwise(&program).unwrap();
    let fused = fused(&gpu, &program, 12).unwrap();
    let piece = |b: usize| {
        let ends = [&lower[5 * b..][..5], &upper[5 * b..][..5]].concat().into();
        Piece { ends, depth: 0, score: 0.0 }
    };
    let pieces: Vec<_> = (0..1024).map(piece).collect();
    let start = std::time::Instant::now();
    let rule = Rule { disjuncts: vec![0..5] };
    let got = fused.branch(&pieces, &rule, Budget { rounds: 1, open: 4096 }).unwrap();
    let rate = got.bounded as f64 / start.elapsed().as_secs_f64();
    writeln!(std::io::stderr(), "branching: {rate:.0} boxes/s, compiling inside").unwrap();
    report("steps", &|| steps.bound(wanted).unwrap());
    report("host", &|| host::bound(&program, wanted));
}

#[test]
fn a_program_past_the_allowance_does_not_qualify() {
    let (_, network) = networks().swap_remove(3);
    let program = recorded(&network, Recipe::default());
    let most = Allowance { invocations: 256, bytes: 32 << 10, tiles: 12 };
    let shape = |allowance| Tables::new(&program, allowance).map(|tables| tables.shape);
    assert_eq!(shape(most).unwrap().tiles, 12);
    // The same network, fewer rows at a time.
    assert_eq!(shape(Allowance { invocations: 64, ..most }).unwrap().tiles, 8);
    let smallest = shape(Allowance { tiles: 2, ..most }).unwrap();
    assert_eq!(shape(Allowance { bytes: smallest.bytes(), ..most }).unwrap().tiles, 2);
    assert_eq!(shape(Allowance { bytes: smallest.bytes() - 1, ..most }), None);
    assert_eq!(shape(Allowance { invocations: 12, ..most }), None);
}

/// A folder of the reference data; none, said aloud, if they are absent.
fn reference(path: &str) -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let found = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from).join(path);
    if found.exists() {
        return Some(found);
    }
    writeln!(std::io::stderr(), "\n*** SKIPPED: {} is absent; set DIADEM_DATA ***", found.display())
        .expect("the terminal accepts text");
    None
}

/// An ACAS Xu network and the middle of its first property's region.
pub fn acas() -> Option<(Network, [f64; 5], [f64; 5])> {
    let path = reference("vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx")?;
    let network = network::onnx::read(&path).unwrap().simplify().unwrap();
    let lower = [0.6, -0.5, -0.5, 0.45, -0.5];
    let upper = [0.679_857_769, 0.5, 0.5, 0.5, -0.45];
    Some((network, lower, upper))
}

/// Boxes of about this share of a region's sides, anywhere in it.
pub fn pieces(lower: &[f64], upper: &[f64], n_boxes: usize, share: f64) -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers(0x5eed_5eed_5eed_5eed);
    let mut ends = (Vec::new(), Vec::new());
    for _ in 0..n_boxes {
        for (l, u) in lower.iter().zip(upper) {
            let width = share * (u - l);
            let start = numbers.between(*l, u - width);
            ends.0.push((start as f32).max(*l as f32));
            ends.1.push(((start + width) as f32).min(*u as f32));
        }
    }
    ends
}

#[test]
fn fused_bounds_of_acas_xu_agree_with_the_steps_and_the_host() {
    let Some(gpu) = gpu() else { return };
    let Some((network, lower, upper)) = acas() else { return };
    let recipe = Recipe { both_ends: true, ..Recipe::default() };
    let program = record(&network, &lower.map(|x| x - 1e-6), &upper.map(|x| x + 1e-6), recipe, Arithmetic::DEVICE_F32);
    let program = program.unwrap();
    let fused = fused(&gpu, &program, 12).expect("ACAS Xu qualifies");
    for share in [1.0, 0.2, 0.01] {
        let (lower, upper) = pieces(&lower, &upper, 40, share);
        let what = format!("{share} of the region");
        let got = fused.bound(request(&lower, &upper)).unwrap();
        let expected = host::bound(&program, request(&lower, &upper));
        assert_close(&format!("{what}: lower"), &got.lower, &expected.lower);
        assert_close(&format!("{what}: slack"), &got.slack, &expected.slack);
        let steps = gpu.load_stepwise(&program).unwrap().bound(request(&lower, &upper)).unwrap();
        assert_same_results(&format!("{what}, steps"), &got, &steps);
        assert_sound(&what, &network, (&lower, &upper), &got.lower, &mut Numbers(79));
    }
}

/// A small network whose outputs are positive on most of `[-1, 1]^3`: the larger the bias the more of it.
fn mostly_positive(bias: f64) -> Network {
    let chain = Chain::new(&[3], 61).dense(10).relu().dense(10).relu().dense(6).relu();
    let weight = Numbers(62).values(3 * 6, 0.5);
    let last = LinearMap::Dense(Dense { n_out: 3, n_in: 6, weight });
    chain.affine(last, vec![bias; 3], WeightError::default(), &[3]).build()
}

/// One piece: `[-1, 1]^n`.
fn whole(n: usize) -> Piece {
    let ends = [vec![-1.0; n], vec![1.0; n]].concat().into();
    Piece { ends, depth: 0, score: f32::NEG_INFINITY }
}

/// A float strictly between two, about half way: as in the search on the host.
fn middle(low: f32, high: f32) -> Option<f32> {
    let middle = 0.5 * low + 0.5 * high;
    (low < middle && middle < high).then_some(middle)
}

fn splittable(piece: &Piece, asked: usize) -> Option<usize> {
    let n = piece.ends.len() / 2;
    let width = |i: usize| piece.ends[n + i] - piece.ends[i];
    let can_split = |i: &usize| middle(piece.ends[*i], piece.ends[n + *i]).is_some();
    Some(asked)
        .filter(can_split)
        .or_else(|| (0..n).filter(can_split).max_by(|&a, &b| width(a).total_cmp(&width(b)).then(b.cmp(&a))))
}

/// What the device does, on the host but for the bounds.
fn branched(fused: &Fused, pieces: &[Piece], rule: &Rule, budget: Budget) -> Branched {
    let mut result = Branched { open: pieces.to_vec(), least_decided: f64::INFINITY, ..Branched::default() };
    let n_rows = fused.tables.n_rows as usize;
    while result.rounds < budget.rounds && !result.open.is_empty() && 2 * result.open.len() <= budget.open {
        let open = std::mem::take(&mut result.open);
        let n = open[0].ends.len() / 2;
        let half =
            |start: usize| -> Vec<f32> { open.iter().flat_map(|piece| piece.ends[start..][..n].to_vec()).collect() };
        let (lower, upper) = (half(0), half(n));
        let raw = fused.bound(Request { wants_coefficients: false, ..request(&lower, &upper) }).unwrap();
        result.rounds += 1;
        result.bounded += open.len() as u64;
        result.n_rows += raw.n_rows;
        for (b, mut piece) in open.into_iter().enumerate() {
            let (bounds, slacks) = (&raw.lower[b * n_rows..][..n_rows], &raw.slack[b * n_rows..][..n_rows]);
            let worst = |value: &dyn Fn(usize) -> f32| {
                let best = |rows: &std::ops::Range<usize>| rows.clone().map(value).fold(-3e38, f32::max);
                rule.disjuncts.iter().map(best).fold(3e38, f32::min)
            };
            piece.score = worst(&|row| bounds[row]);
            let asked = raw.split[b] as usize;
            let dimension = splittable(&piece, asked);
            if piece.score > 0.0 {
                result.decided += 0.5_f64.powi(piece.depth as i32);
                result.least_decided = result.least_decided.min(f64::from(piece.score));
                continue;
            }
            let Some(dimension) = dimension.filter(|_| worst(&|row| bounds[row] + slacks[row]) <= 0.0) else {
                result.doubtful.push((piece, asked));
                continue;
            };
            let cut = middle(piece.ends[dimension], piece.ends[n + dimension]).unwrap();
            for end in [n + dimension, dimension] {
                let mut half = Piece { depth: piece.depth + 1, ..piece.clone() };
                half.ends[end] = cut;
                result.open.push(half);
            }
        }
    }
    result.open.sort_by(Piece::by_ends);
    result.doubtful.sort_by(|(a, _), (b, _)| a.by_ends(b));
    result
}

/// The volume of what is left, where a box of depth `d` has `2^-d`.
fn left(branched: &Branched) -> f64 {
    let pieces = branched.open.iter().chain(branched.doubtful.iter().map(|(piece, _)| piece));
    pieces.map(|piece| 0.5_f64.powi(piece.depth as i32)).sum()
}

#[test]
fn the_device_branches_as_the_host_does() {
    let Some(gpu) = gpu() else { return };
    let rules = [Rule { disjuncts: vec![0..1, 1..3] }, Rule { disjuncts: vec![0..3] }];
    let mut n_left = [0; 2];
    for (bias, rule) in [(0.2, &rules[0]), (0.5, &rules[0]), (0.9, &rules[1])] {
        let network = mostly_positive(bias);
        let fused = fused(&gpu, &recorded(&network, Recipe::default()), 12).expect("it qualifies");
        for budget in
            [Budget { rounds: 12, open: 100_000 }, Budget { rounds: 100, open: 40 }, Budget { rounds: 3, open: 9 }]
        {
            let pieces = [whole(3)];
            let got = fused.branch(&pieces, rule, budget).unwrap();
            assert_eq!(got, branched(&fused, &pieces, rule, budget), "bias {bias}, {budget:?}");
            assert_eq!(got, fused.branch(&pieces, rule, budget).unwrap(), "the same again");
            assert!(got.open.len() <= budget.open);
            assert_eq!(got.decided + left(&got), 1.0, "a partition");
            n_left[usize::from(got.open.is_empty())] += 1;
            // Whatever violates the property is still there.
            let mut numbers = Numbers(63);
            for _ in 0..2000 {
                let x: Vec<f64> = (0..3).map(|_| numbers.between(-1.0, 1.0)).collect();
                let y = network.evaluate(&x).unwrap();
                let is_inside = |piece: &Piece| {
                    (0..3).all(|i| f64::from(piece.ends[i]) <= x[i] && x[i] <= f64::from(piece.ends[3 + i]))
                };
                if rule.disjuncts.iter().any(|rows| y[rows.clone()].iter().all(|&y| y <= 0.0)) {
                    let mut pieces = got.open.iter().chain(got.doubtful.iter().map(|(piece, _)| piece));
                    assert!(pieces.any(is_inside), "{x:?} is lost");
                }
            }
            // In two calls as in one.
            let first = fused.branch(&pieces, rule, Budget { rounds: 2, ..budget }).unwrap();
            let second =
                fused.branch(&first.open, rule, Budget { rounds: budget.rounds - first.rounds, ..budget }).unwrap();
            assert_eq!(second.open, got.open);
            assert_eq!(first.decided + second.decided, got.decided);
        }
    }
    assert!(n_left[0] > 0 && n_left[1] > 0, "some searches must end and some not: {n_left:?}");
}

#[test]
fn what_cannot_be_split_or_started_comes_back() {
    let Some(gpu) = gpu() else { return };
    let fused = fused(&gpu, &recorded(&mostly_positive(-5.0), Recipe::default()), 12).expect("it qualifies");
    let rule = Rule { disjuncts: vec![0..1] };
    let budget = Budget { rounds: 40, open: 100 };
    // A point, and a box with a single float strictly inside.
    let (low, mid) = (0.5_f32, 0.5_f32.next_up());
    let point = Piece { ends: [0.25; 6].into(), depth: 7, score: 0.0 };
    let sliver = Piece { ends: [low, 0.0, 0.0, mid.next_up(), 0.0, 0.0].into(), depth: 3, score: 0.0 };
    let got = fused.branch(&[point.clone(), sliver], &rule, budget).unwrap();
    assert!(got.open.is_empty());
    let ends: Vec<_> = got.doubtful.iter().map(|(piece, _)| (&piece.ends[..], piece.depth)).collect();
    let halves = [[low, 0.0, 0.0, mid, 0.0, 0.0], [mid, 0.0, 0.0, mid.next_up(), 0.0, 0.0]];
    assert_eq!(ends, [(&point.ends[..], 7), (&halves[0][..], 4), (&halves[1][..], 4)]);
    assert_eq!((got.bounded, got.rounds, got.decided), (4, 2, 0.0));
    // No room for a round: everything as it was.
    let pieces = vec![whole(3); 7];
    let got = fused.branch(&pieces, &rule, Budget { rounds: 4, open: 13 }).unwrap();
    assert_eq!((got.rounds, got.open), (0, pieces));
    // Nothing to do; and a rule that nothing can be excluded by, and one that excludes everything.
    assert_eq!(fused.branch(&[], &rule, budget).unwrap().rounds, 0);
    let never = Rule { disjuncts: vec![0..1, 2..2] };
    assert_eq!(fused.branch(&[whole(3)], &never, Budget { rounds: 3, ..budget }).unwrap().open.len(), 8);
    assert_eq!(fused.branch(&[whole(3)], &Rule::default(), budget).unwrap().decided, 1.0);
}

/// The first property: `y_0 < 3.99` on its region, as a row that must be positive.
fn first_property() -> Option<(Network, Piece)> {
    let (network, lower, upper) = acas()?;
    let mut builder = network.to_builder();
    let map = LinearMap::Dense(Dense { n_out: 1, n_in: 5, weight: vec![-1.0, 0.0, 0.0, 0.0, 0.0] });
    let affine = Affine { map, bias: vec![3.991_125_645_861_615], error: WeightError::default() };
    let node = builder.push("property", Op::Affine(affine.into()), &[network.output()], &[1]).unwrap();
    let region = Batch::enclosing(&lower, &upper);
    let ends = [region.lower, region.upper].concat().into();
    Some((builder.build(node).unwrap().simplify().unwrap(), Piece { ends, depth: 0, score: f32::NEG_INFINITY }))
}

#[test]
fn the_device_decides_a_property_of_acas_xu_as_the_host_does() {
    let Some(gpu) = gpu() else { return };
    let Some((network, whole)) = first_property() else { return };
    let (lower, upper): (Vec<f64>, Vec<f64>) =
        (0..5).map(|i| (f64::from(whole.ends[i]), f64::from(whole.ends[5 + i]))).collect();
    let program = record(&network, &lower, &upper, Recipe::default(), Arithmetic::DEVICE_F32).unwrap();
    let fused = fused(&gpu, &program, 12).expect("ACAS Xu qualifies");
    let (rule, budget) = (Rule { disjuncts: vec![0..1] }, Budget { rounds: 40, open: 4000 });
    let got = fused.branch(std::slice::from_ref(&whole), &rule, budget).unwrap();
    assert_eq!(got, branched(&fused, &[whole], &rule, budget));
    assert!(got.open.is_empty() && got.doubtful.is_empty(), "it holds: {} left", got.open.len());
    assert_eq!(got.decided, 1.0);
    assert!(got.bounded > 20);
}

#[test]
fn an_engine_branches_on_the_device_and_says_where_it_cannot() {
    let Some(gpu) = gpu() else { return };
    let network = Arc::new(mostly_positive(0.9));
    let region = network::BoxRegion::new(vec![-1.0; 3], vec![1.0; 3]).unwrap();
    let engine = |device: &Device, recipe| BoundEngine::new(device, Arc::clone(&network), &region, recipe).unwrap();
    let gpu = engine(&Device::Gpu(gpu), Recipe::default());
    let (rule, budget) = (Rule { disjuncts: vec![0..3] }, Budget { rounds: 2, open: 100 });
    let got = gpu.branch(&[whole(3)], &rule, budget).unwrap().expect("it qualifies");
    assert!(got.bounded > 0);
    assert_eq!(engine(&Device::Host, Recipe::default()).branch(&[whole(3)], &rule, budget).unwrap(), None);
    let outside = Piece { ends: [-1.0, -1.0, -1.0, 1.0, 1.0, 1.5].into(), depth: 0, score: 0.0 };
    assert!(matches!(gpu.branch(&[outside], &rule, budget).unwrap_err().kind, ErrorKind::Region { .. }));
    let past = Rule { disjuncts: vec![0..4] };
    assert!(matches!(gpu.branch(&[whole(3)], &past, budget).unwrap_err().kind, ErrorKind::Region { .. }));
    // Too much for the device is no fault of it.
    assert_eq!(gpu.fallback(), None);
}
