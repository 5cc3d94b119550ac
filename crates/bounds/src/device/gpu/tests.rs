use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use network::{Activation, Affine, Dense, LinearMap, Network, NodeId, Op, WeightError};

use super::arrangement::{Arrangement, Needs};
use super::kernel::{Kernel, shaders};
use super::loaded::Stepwise;
use super::loaded::Stop;
use super::planes::Planes;
use super::samples::{CONV, Chain, Numbers, named, networks};
use super::schedule::{Products, Schedule, Task};
use super::{AdapterChoice, AdapterKind, Gpu};
use crate::device::host::{self, Raw, Request};
use crate::kernels::{self, Block, Row, Terms};
use crate::program::{Backward, Forward, Program, Step, Walk};
use crate::set::{InputSet, SsimSet};
use crate::simd::level;
use crate::{Arithmetic, BoundEngine, Device, ErrorKind, Method, Recipe, Wanted, record};

/// The best adapter, or else a software one; none if the machine has none at all.
pub(super) fn gpu() -> Option<Gpu> {
    static OPENED: OnceLock<Option<Gpu>> = OnceLock::new();
    let opened = OPENED.get_or_init(|| {
        let software = Gpu::list().into_iter().find(|adapter| adapter.kind == AdapterKind::Software);
        let choices = [Some(AdapterChoice::Best), software.map(|adapter| AdapterChoice::Named(adapter.name))];
        let attempts: Vec<_> = choices.into_iter().flatten().map(|choice| Gpu::open(&choice)).collect();
        let problems: Vec<_> =
            attempts.iter().filter_map(|attempt| Some(attempt.as_ref().err()?.to_string())).collect();
        let opened = attempts.into_iter().find_map(Result::ok);
        // Straight to the terminal: the test harness hides what passing tests print.
        let mut terminal = std::io::stderr();
        let note = match &opened {
            Some(gpu) => format!("GPU tests run on {}", gpu.adapter()),
            None => format!("GPU TESTS ARE SKIPPED: no adapter ({})", problems.join("; ")),
        };
        writeln!(terminal, "\n*** {note} ***").expect("the terminal accepts text");
        opened
    });
    let is_required = std::env::var("DIADEM_REQUIRE_GPU").is_ok_and(|value| value == "1");
    assert!(opened.is_some() || !is_required, "DIADEM_REQUIRE_GPU=1, but no adapter can be used");
    opened.clone()
}

pub(super) fn recipes() -> [Recipe; 4] {
    let crown = Recipe::default();
    [
        crown,
        Recipe { both_ends: true, keep_interval: false, same_slope: true, ..crown },
        Recipe { method: Method::CrownIbp, ..crown },
        Recipe { method: Method::Ibp, ..crown },
    ]
}

pub(super) fn recorded(network: &Network, recipe: Recipe) -> Program<f32> {
    let n = network.n_inputs();
    record(network, &vec![-1.0; n], &vec![1.0; n], recipe, Arithmetic::DEVICE_F32).unwrap()
}

/// The same program where nothing that does not vary becomes part of biases, as on a device.
pub(super) fn unfolded(program: &Program<f32>) -> Program<f32> {
    Program { folds: vec![false; program.folds.len()], ..program.clone() }
}

/// Boxes inside `[-1, 1]`; the first is a point, the second has some inputs of no width.
pub(super) fn boxes(n_inputs: usize, n_boxes: usize, width: f64) -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let mut ends = (Vec::new(), Vec::new());
    for b in 0..n_boxes {
        for i in 0..n_inputs {
            let radius = if b == 0 || (b == 1 && i % 3 == 0) { 0.0 } else { width * numbers.next() };
            let centre = numbers.between(-0.5, 0.5);
            ends.0.push((centre - radius).max(-1.0) as f32);
            ends.1.push((centre + radius).min(1.0) as f32);
        }
    }
    ends
}

pub(super) fn request<'a>(lower: &'a [f32], upper: &'a [f32]) -> Request<'a, f32> {
    Request { lower, upper, wants_split: true, wants_coefficients: true }
}

/// Fails unless two arrays agree up to the rounding of their own magnitudes.
#[track_caller]
pub(super) fn assert_close(what: &str, got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}: length");
    let scale = expected.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        // Sums of hundreds of f32 terms in another order.
        let tolerance = 1e-4 * g.abs().max(e.abs()) + 1e-5 * scale;
        assert!((g - e).abs() <= tolerance, "{what}: element {i} is {g:e} instead of {e:e} (scale {scale:e})");
    }
}

#[track_caller]
pub(super) fn assert_same_results(what: &str, got: &Raw<f32>, expected: &Raw<f32>) {
    assert_close(&format!("{what}: lower"), &got.lower, &expected.lower);
    assert_close(&format!("{what}: slack"), &got.slack, &expected.slack);
    assert_eq!(got.n_unstable, expected.n_unstable, "{what}: undecided neurons");
    assert_eq!(got.n_rows, expected.n_rows, "{what}: rows");
    assert_close(&format!("{what}: slopes"), &got.coefficients, &expected.coefficients);
    // No two scores of these networks are so close that rounding could swap them.
    assert_eq!(got.split, expected.split, "{what}: splits");
}

#[test]
fn results_agree_with_the_host() {
    let Some(gpu) = gpu() else { return };
    for (name, network) in networks() {
        for recipe in recipes() {
            let what = format!("{name}, {recipe:?}");
            let program = recorded(&network, recipe);
            let loaded = gpu.load_stepwise(&program).unwrap();
            let (lower, upper) = boxes(network.n_inputs(), 6, 0.3);
            let got = loaded.bound(request(&lower, &upper)).unwrap();
            let expected = host::bound(&program, request(&lower, &upper));
            assert_same_results(&what, &got, &expected);
        }
    }
}

#[test]
fn equal_scores_split_at_the_first_input() {
    // More inputs than lanes, all alike.
    const N: usize = 150;
    let Some(gpu) = gpu() else { return };
    let chain = Chain::new(&[N], 1);
    let dense = Dense { n_out: 2, n_in: N, weight: vec![0.5; 2 * N] };
    let network = chain.affine(LinearMap::Dense(dense), vec![0.0; 2], WeightError::default(), &[2]).build();
    let loaded = gpu.load_stepwise(&recorded(&network, Recipe::default())).unwrap();
    let (mut lower, mut upper) = (vec![-0.5; 3 * N], vec![0.5; 3 * N]);
    // The second box is a point; in the third, inputs below 70 are.
    upper[N..2 * N].fill(-0.5);
    lower[2 * N..2 * N + 70].fill(0.5);
    assert_eq!(loaded.bound(request(&lower, &upper)).unwrap().split, [0, 0, 70]);
}

#[test]
fn a_breakpoint_at_an_end_leaves_nothing_undecided() {
    let Some(gpu) = gpu() else { return };
    let mut program = recorded(&named("deep"), Recipe::default());
    let step = program.steps.iter().position(|step| matches!(step, Step::Refine(..))).unwrap();
    let Step::Refine(select, _) = &mut program.steps[step] else { unreachable!("just found") };
    // The five inputs instead of the node.
    (select.source, select.n, select.n_breakpoints, select.breakpoints) = (0, 5, 2, [-0.5, 0.25, 0.0, 0.0]);
    let list = select.list as usize;
    let loaded = gpu.load_stepwise(&program).unwrap();
    let lower = [-0.5, -0.75, 0.25, -1.0, 0.0, -0.5, 0.25, -0.4, -0.5, -0.75];
    let upper = [0.25, -0.5, 0.25, 1.0, 0.5, -0.5, 0.5, 0.2, 0.3, 0.25];
    let snapshot = loaded.inspect(request(&lower, &upper), Stop { n_steps: step + 1, n_kernels: 1 }).unwrap();
    let marks = |b: usize| &snapshot.marks[b * program.mark_stride + list..];
    assert_eq!(marks(0)[..3], [2, 3, 4]);
    assert_eq!(marks(1)[..3], [2, 3, 4]);
}

#[test]
fn tiled_products_agree_with_the_host() {
    let Some(gpu) = gpu() else { return };
    let odd = Chain::new(&[3], 31).dense(130).relu().dense(67).relu().dense(70).relu().dense(3).build();
    let networks = networks().into_iter().chain([("odd", odd)]);
    for (name, network) in networks {
        let program = recorded(&network, Recipe::default());
        let loaded = Stepwise::new(Arc::clone(&gpu.shared), &program, Products::AlwaysTiled).unwrap();
        let (lower, upper) = boxes(network.n_inputs(), 4, 0.3);
        let got = loaded.bound(request(&lower, &upper)).unwrap();
        let expected = host::bound(&program, request(&lower, &upper));
        assert_same_results(name, &got, &expected);
    }
}

#[test]
fn every_state_agrees_with_the_host() {
    let Some(gpu) = gpu() else { return };
    for (name, network) in networks() {
        let program = recorded(&network, Recipe::default());
        let loaded = gpu.load_stepwise(&program).unwrap();
        let n = network.n_inputs();
        let (lower, upper) = boxes(n, 5, 0.3);
        let stop = Stop { n_steps: program.steps.len(), n_kernels: 1 };
        let snapshot = loaded.inspect(request(&lower, &upper), stop).unwrap();
        for b in 0..5 {
            let (state, marks) = host::state(&unfolded(&program), &lower[b * n..][..n], &upper[b * n..][..n]);
            let got = &snapshot.state[b * program.state_stride..][..program.state_stride];
            let got_marks = &snapshot.marks[b * program.mark_stride..][..program.mark_stride];
            let compare = |what: &str, at: u32, n: u32| {
                let range = at as usize..(at + n) as usize;
                assert_close(&format!("{name}, box {b}: {what} at {at}"), &got[range.clone()], &state[range]);
            };
            for &(at, n) in &program.nodes {
                compare("bounds", at as u32, 2 * n as u32);
            }
            for step in &program.steps {
                match step {
                    Step::Forward(Forward::Dense(p) | Forward::Conv(p, _) | Forward::Sparse(p)) => {
                        compare("error", p.error, p.n_out);
                    }
                    Step::Forward(Forward::Relax(p)) => {
                        for i in 0..5 {
                            compare("lines", p.lines + i * p.n, p.n);
                        }
                    }
                    Step::Forward(Forward::MaxPool(p, _)) => {
                        let range = p.choice as usize..(p.choice + p.n_out) as usize;
                        assert_eq!(got_marks[range.clone()], marks[range], "{name}, box {b}: choices");
                    }
                    Step::Forward(Forward::Add(_)) | Step::Objective(_) => {}
                    Step::Refine(select, _) => {
                        let list = select.list as usize;
                        let range = list..list + 1 + marks[list] as usize;
                        assert_eq!(got_marks[range.clone()], marks[range], "{name}, box {b}: undecided neurons");
                    }
                }
            }
        }
    }
}

/// The rows of a pass, as the host lists them.
fn rows_of(step: &Step, marks: &[u32]) -> Vec<Row> {
    let (neurons, n_ends): (Vec<u32>, _) = match step {
        Step::Refine(select, _) => {
            let list = &marks[select.list as usize..];
            (list[1..=list[0] as usize].to_vec(), 2)
        }
        Step::Objective(backward) => ((0..backward.seed.target_len).collect(), 1 + backward.seed.both_ends),
        Step::Forward(_) => unreachable!("a forward step has no rows"),
    };
    let end = |is_upper: bool| neurons.iter().map(move |&neuron| Row { neuron, is_upper });
    end(false).chain(end(true)).take(neurons.len() * n_ends as usize).collect()
}

/// The twins of a seed and of the first kernels of a walk; returns the slot written last and its length.
fn walk_twins(
    program: &Program<f32>,
    backward: &Backward,
    n_kernels: usize,
    state: &[f32],
    marks: &[u32],
    rows: &[Row],
    block: &mut Block<f32>,
) -> (u32, u32) {
    let Program { constants, tables, .. } = program;
    block.reset(rows.len(), program.slot_len);
    let all: Vec<u32> = (0..program.slot_len as u32).collect();
    let terms =
        |bias: u32, error: u32, n: u32| Terms::unfolded(&constants[bias as usize..], &state[error as usize..], n);
    let seed = &backward.seed;
    let own = terms(seed.bias, seed.error, if seed.kind == 1 { seed.target_len } else { 0 });
    kernels::seed(seed, constants, (&all[..seed.n as usize], &own), rows, block);
    let mut written = (seed.slot, seed.n);
    for walk in &backward.walk[..(n_kernels - 1).min(backward.walk.len())] {
        written = match walk {
            Walk::Lines(p) => {
                kernels::back_lines::<f32, { level::BASELINE }>(p, state, block);
                (p.slot, p.n)
            }
            Walk::Terms(p) => {
                kernels::affine_terms::<f32, { level::BASELINE }>(p, &terms(p.bias, p.error, p.n), block);
                (p.slot, p.n)
            }
            Walk::Dense(p) => {
                kernels::back_dense::<f32, { level::BASELINE }>(p, constants, &all[..p.n_in as usize], block);
                (p.to, p.n_in)
            }
            Walk::Conv(p, shape) => {
                kernels::back_conv::<f32, { level::BASELINE }>(p, shape, constants, &all[..p.n_in as usize], block);
                (p.to, p.n_in)
            }
            Walk::Sparse(p) => {
                kernels::back_sparse::<f32, { level::BASELINE }>(p, constants, tables, &all[..p.n_in as usize], block);
                (p.to, p.n_in)
            }
            Walk::MaxPool(p, _) => {
                kernels::back_max_pool::<f32, { level::BASELINE }>(p, state, marks, block);
                (p.to, p.n_in)
            }
            Walk::Merge(p) => {
                kernels::back_merge::<f32, { level::BASELINE }>(p, state, block);
                (p.to, p.n)
            }
        };
    }
    written
}

#[test]
fn every_backward_kernel_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    for (name, network) in networks() {
        let program = recorded(&network, Recipe { both_ends: true, ..Recipe::default() });
        let loaded = gpu.load_stepwise(&program).unwrap();
        let (lower, upper) = boxes(network.n_inputs(), 3, 0.3);
        let passes = program.steps.iter().enumerate().filter(|(_, step)| !matches!(step, Step::Forward(_)));
        for (step, pass) in passes {
            let (Step::Refine(_, backward) | Step::Objective(backward)) = pass else { unreachable!("filtered") };
            for n_kernels in 1..=backward.walk.len() + 1 {
                let snapshot = loaded.inspect(request(&lower, &upper), Stop { n_steps: step + 1, n_kernels }).unwrap();
                assert_eq!(snapshot.n_tiles(), snapshot.book[0] as usize, "the test needs one chunk");
                let mut block = Block::new(program.n_slots);
                for b in 0..3 {
                    let what = format!("{name}, box {b}, step {step}, kernel {n_kernels}");
                    // The device's own state: each kernel is judged apart from what came before.
                    let state = &snapshot.state[b * program.state_stride..][..program.state_stride];
                    let marks = &snapshot.marks[b * program.mark_stride..][..program.mark_stride];
                    let rows = rows_of(pass, marks);
                    if rows.is_empty() {
                        continue;
                    }
                    let (slot, n) = walk_twins(&program, backward, n_kernels, state, marks, &rows, &mut block);
                    let live = &block.live[slot as usize];
                    for r in 0..rows.len() {
                        let mut expected = vec![0.0; n as usize];
                        for &j in live {
                            expected[j as usize] = block.slots[slot as usize][j as usize * block.width + r];
                        }
                        let got: Vec<f32> = (0..n as usize).map(|j| snapshot.coefficient(slot, j, b, r)).collect();
                        assert_close(&format!("{what}, row {r}: coefficients"), &got, &expected);
                        let (bias, slack) = snapshot.row(b, r);
                        assert_close(&format!("{what}, row {r}: bias"), &[bias, 1.0], &[block.bias[r], 1.0]);
                        assert_close(&format!("{what}, row {r}: slack"), &[slack], &[block.slack[r]]);
                    }
                }
            }
        }
    }
}

#[test]
fn sampled_outputs_lie_above_the_bounds() {
    let Some(gpu) = gpu() else { return };
    let mut numbers = Numbers(77);
    for (name, network) in networks() {
        let recipe = Recipe { both_ends: true, ..Recipe::default() };
        let loaded = gpu.load_stepwise(&recorded(&network, recipe)).unwrap();
        let (n, n_out) = (network.n_inputs(), network.n_outputs());
        let (lower, upper) = boxes(n, 4, 0.3);
        let raw = loaded.bound(request(&lower, &upper)).unwrap();
        for b in 0..4 {
            for _ in 0..200 {
                let ends = lower[b * n..][..n].iter().zip(&upper[b * n..][..n]);
                let x: Vec<f64> = ends
                    .map(|(&l, &u)| match numbers.next() {
                        t if t < 0.3 => f64::from(l),
                        t if t > 0.7 => f64::from(u),
                        t => f64::from(l) + (f64::from(u) - f64::from(l)) * (t - 0.3) / 0.4,
                    })
                    .collect();
                let y = network.evaluate(&x).unwrap();
                for (k, value) in y.into_iter().enumerate() {
                    let row = |r: usize| f64::from(raw.lower[b * 2 * n_out + r]);
                    assert!(
                        value >= row(k) && -value >= row(n_out + k),
                        "{name}, box {b}, output {k}: {value} escapes"
                    );
                }
            }
        }
    }
}

/// Ends of magnitudes from 1e-6 to 1e4, on either side of zero and around it; some intervals are points.
fn intervals(n: usize) -> (Vec<f32>, Vec<f32>) {
    let mut numbers = Numbers(0x0bad_cafe_0bad_cafe);
    let mut ends = (Vec::new(), Vec::new());
    for i in 0..n {
        let mut end = || {
            let magnitude = 10_f64.powf(numbers.between(-6.0, 4.0));
            (if numbers.next() < 0.5 { -magnitude } else { magnitude }) as f32
        };
        let (a, b) = (end(), end());
        let b = if i % 17 == 0 { a } else { b };
        ends.0.push(a.min(b));
        ends.1.push(a.max(b));
    }
    ends
}

#[test]
fn device_lines_enclose_their_activation() {
    const N: usize = 64;
    const N_BOXES: usize = 60;
    let Some(gpu) = gpu() else { return };
    let slopes: Vec<f64> = (0..N).map(|i| -1.0 + 0.05 * i as f64).collect();
    let activations = [
        Activation::Relu,
        Activation::LeakyRelu(slopes.into()),
        Activation::Clip { lower: -0.25, upper: 6.0 },
        Activation::Clip { lower: 0.1, upper: 0.7 },
        Activation::Sigmoid,
        Activation::Tanh,
    ];
    let (lower, upper) = intervals(N * N_BOXES);
    let mut numbers = Numbers(5);
    for activation in activations {
        let network = Chain::new(&[N], 1).activation(activation.clone()).dense(1).build();
        let arithmetic = Arithmetic::DEVICE_F32;
        let program = record(&network, &[-1e4; N], &[1e4; N], Recipe::default(), arithmetic).unwrap();
        let Some(Step::Forward(Forward::Relax(params))) = program.steps.first() else { unreachable!("one activation") };
        let loaded = gpu.load_stepwise(&program).unwrap();
        let snapshot = loaded.inspect(request(&lower, &upper), Stop { n_steps: 1, n_kernels: 1 }).unwrap();
        for e in 0..N * N_BOXES {
            let (b, j) = (e / N, e % N);
            let at = |place: u32, array: usize| {
                f64::from(snapshot.state[b * program.state_stride + place as usize + array * N + j])
            };
            let (l, u) = (f64::from(lower[e]), f64::from(upper[e]));
            let [low, low_at, up, up_at] = [0, 1, 2, 3].map(|array| at(params.lines, array));
            let inside = (0..20).map(|_| numbers.between(l, u));
            let small = [-0.25, 0.0, 0.1, 0.7, 6.0, 2.0, -2.0].into_iter().filter(|z| (l..=u).contains(z));
            for z in [l, u].into_iter().chain(inside.collect::<Vec<_>>()).chain(small) {
                let value = activation.evaluate(j, z);
                // What f64 itself may err by here.
                let room = 1e-15 * (1.0 + value.abs() + (up * z).abs() + up_at.abs() + (low * z).abs() + low_at.abs());
                let what = format!("{activation:?} {j} on [{l:e}, {u:e}] at {z:e}: {value:e}");
                assert!(up * z + up_at >= value - room, "{what}, upper line {up:e} z + {up_at:e}");
                assert!(low * z + low_at <= value + room, "{what}, lower line {low:e} z + {low_at:e}");
                assert!(
                    at(params.target, 0) <= value + room && value - room <= at(params.target, 1),
                    "{what}, interval"
                );
            }
        }
    }
}

/// The matrix of a map, row by row.
fn matrix(affine: &Affine) -> Vec<Vec<f64>> {
    let linear = Affine { bias: vec![0.0; affine.n_out()], ..affine.clone() };
    let unit = |i: usize| (0..affine.n_in()).map(|other| f64::from(u8::from(other == i))).collect::<Vec<_>>();
    let columns: Vec<Vec<f64>> = (0..affine.n_in()).map(|i| linear.evaluate(&unit(i))).collect();
    (0..affine.n_out()).map(|k| columns.iter().map(|column| column[k]).collect()).collect()
}

#[test]
fn device_intervals_enclose_the_exact_ones() {
    let Some(gpu) = gpu() else { return };
    // No backward bounds: every node keeps its interval.
    let recipe = Recipe { method: Method::CrownIbp, ..Recipe::default() };
    for (name, network) in networks() {
        let program = recorded(&network, recipe);
        let loaded = gpu.load_stepwise(&program).unwrap();
        let (lower, upper) = boxes(network.n_inputs(), 6, 0.01);
        let stop = Stop { n_steps: program.steps.len(), n_kernels: 1 };
        let snapshot = loaded.inspect(request(&lower, &upper), stop).unwrap();
        for b in 0..6 {
            let bounds = |id: NodeId| {
                let (at, n) = program.nodes[id.0];
                let state = &snapshot.state[b * program.state_stride + at..][..2 * n];
                let ends = |range: &[f32]| range.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                (ends(&state[..n]), ends(&state[n..]))
            };
            for (id, node) in network.nodes().iter().enumerate() {
                let (got_lower, got_upper) = bounds(NodeId(id));
                let exact: Vec<(f64, f64)> = match &node.op {
                    Op::Affine(affine) => {
                        let (l, u) = bounds(node.inputs[0]);
                        let end = |row: &[f64], b: f64, low: &[f64], high: &[f64]| {
                            row.iter()
                                .enumerate()
                                .fold(b, |sum, (i, &w)| sum + w * if w >= 0.0 { low[i] } else { high[i] })
                        };
                        let rows = matrix(affine).into_iter().zip(&affine.bias);
                        rows.map(|(row, &bias)| (end(&row, bias, &l, &u), end(&row, bias, &u, &l))).collect()
                    }
                    Op::Add => {
                        let operands: Vec<_> = node.inputs.iter().map(|&input| bounds(input)).collect();
                        let sum = |j: usize| operands.iter().fold((0.0, 0.0), |s, (l, u)| (s.0 + l[j], s.1 + u[j]));
                        (0..node.len()).map(sum).collect()
                    }
                    _ => continue,
                };
                for (k, (l, u)) in exact.into_iter().enumerate() {
                    // Far below an f32's unit: what f64 errs by.
                    let room = 1e-13 * (1.0 + l.abs() + u.abs());
                    assert!(
                        got_lower[k] <= l + room && u - room <= got_upper[k],
                        "{name}, box {b}, node {id}, value {k}: [{l}, {u}] escapes [{}, {}]",
                        got_lower[k],
                        got_upper[k]
                    );
                }
            }
        }
    }
}

#[test]
fn a_bound_that_overflows_proves_nothing() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let intervals =
        gpu.load_stepwise(&recorded(&network, Recipe { method: Method::CrownIbp, ..Recipe::default() })).unwrap();
    let (lower, upper) = boxes(network.n_inputs(), 4, 0.3);
    let stop = |n_steps| Stop { n_steps, n_kernels: usize::MAX };
    let expected = intervals.inspect(request(&lower, &upper), stop(8)).unwrap();
    for keep_interval in [true, false] {
        let mut program = recorded(&network, Recipe { keep_interval, ..Recipe::default() });
        for step in &mut program.steps {
            if let Step::Refine(_, backward) | Step::Objective(backward) = step {
                (backward.concretize.gamma, backward.concretize.inflation) = (3e38, 3e38);
            }
        }
        let loaded = gpu.load_stepwise(&program).unwrap();
        let raw = loaded.bound(request(&lower, &upper)).unwrap();
        assert!(raw.lower.iter().all(|&bound| bound == -3e38) && raw.slack.iter().all(|&slack| slack == 3e38));
        // The intervals that could not be refined are still there.
        let got = loaded.inspect(request(&lower, &upper), stop(program.steps.len())).unwrap();
        let n = 4 * program.state_stride;
        assert_eq!(got.state[..n], expected.state[..n]);
    }
}

#[test]
fn chunks_of_rows_change_nothing() {
    let Some(gpu) = gpu() else { return };
    for (name, network) in networks() {
        let program = recorded(&network, Recipe { both_ends: true, ..Recipe::default() });
        let mut loaded = gpu.load_stepwise(&program).unwrap();
        let (lower, upper) = boxes(network.n_inputs(), 9, 0.3);
        let expected = loaded.bound(request(&lower, &upper)).unwrap();
        for n_tiles in [1, 3, 20] {
            loaded.limit(usize::MAX, 16 * n_tiles * (program.slot_len * program.n_slots) as u64);
            let got = loaded.bound(request(&lower, &upper)).unwrap();
            let (capacity, n_chunks) = loaded.capacity();
            assert!(n_chunks.iter().any(|&n| n > 1) || capacity < 9, "{name}: {n_chunks:?} for {capacity}");
            assert_same_results(&format!("{name}, {n_tiles} tiles"), &got, &expected);
        }
    }
}

#[test]
fn submissions_change_nothing() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let program = recorded(&network, Recipe::default());
    let mut loaded = gpu.load_stepwise(&program).unwrap();
    let (lower, upper) = boxes(network.n_inputs(), 11, 0.3);
    let expected = loaded.bound(request(&lower, &upper)).unwrap();
    loaded.limit(4, 1 << 30);
    let got = loaded.bound(request(&lower, &upper)).unwrap();
    assert_eq!(got, expected);
    // Smaller and larger batches share the buffers.
    for n in [1, 11, 3, 0] {
        let part = loaded.bound(request(&lower[..5 * n], &upper[..5 * n])).unwrap();
        assert_eq!(part.lower, expected.lower[..5 * n]);
        assert_eq!(part.split, expected.split[..n]);
    }
}

#[test]
fn thousands_of_small_subdomains_agree_with_the_host() {
    let Some(gpu) = gpu() else { return };
    let network = Chain::new(&[3], 21).dense(10).relu().dense(10).relu().dense(6).relu().dense(2).build();
    let program = recorded(&network, Recipe::default());
    let loaded = gpu.load_stepwise(&program).unwrap();
    let (lower, upper) = boxes(3, 5000, 0.2);
    let got = loaded.bound(request(&lower, &upper)).unwrap();
    assert_eq!(loaded.capacity().0, 8192, "one submission");
    let expected = host::bound(&program, request(&lower, &upper));
    assert_close("lower", &got.lower, &expected.lower);
    assert_close("slack", &got.slack, &expected.slack);
    // Rounding may tip a score or two that are nearly equal.
    let n_same = got.split.iter().zip(&expected.split).filter(|(g, e)| g == e).count();
    assert!(n_same >= 4990, "{n_same} of 5000 splits agree");
}

#[test]
fn one_wide_convolution_agrees_with_the_host() {
    let Some(gpu) = gpu() else { return };
    let network = Chain::new(&[1, 16, 16], 22)
        .conv([1, 16, 16], 8, CONV)
        .relu()
        .conv([8, 16, 16], 8, CONV)
        .relu()
        .dense(2)
        .build();
    let program = recorded(&network, Recipe::default());
    let mut loaded = gpu.load_stepwise(&program).unwrap();
    // Room for 256 of the up to 4096 rows of one box.
    loaded.limit(usize::MAX, 16 * 64 * (program.slot_len * program.n_slots) as u64);
    let (lower, upper) = boxes(256, 3, 0.2);
    let got = loaded.bound(request(&lower, &upper)).unwrap();
    assert_eq!(loaded.capacity(), (1, vec![16, 1]));
    let expected = host::bound(&program, request(&lower, &upper));
    assert!(expected.n_rows > 1500, "the boxes must leave neurons undecided: {}", expected.n_rows);
    assert_same_results("wide", &got, &expected);
}

#[test]
fn more_workgroups_than_one_dimension_holds() {
    let Some(gpu) = gpu() else { return };
    let network = Chain::new(&[2048], 23).dense(3).build();
    let program = recorded(&network, Recipe { method: Method::Ibp, ..Recipe::default() });
    let loaded = gpu.load_stepwise(&program).unwrap();
    // 64 · 65,535 < 2 · 2048 · 1100 input values.
    let (lower, upper) = boxes(2048, 1100, 0.1);
    let got = loaded.bound(request(&lower, &upper)).unwrap();
    assert!(loaded.capacity().0 >= 1100, "one submission");
    let expected = host::bound(&program, request(&lower, &upper));
    assert_close("lower", &got.lower, &expected.lower);
}

#[test]
fn a_program_that_no_buffer_holds_is_an_error() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let mut program = recorded(&network, Recipe::default());
    program.state_stride = usize::try_from(gpu.largest_buffer() / 4).unwrap() + 1;
    assert!(matches!(gpu.load_stepwise(&program).unwrap_err().kind, ErrorKind::OutOfMemory(_)));
}

#[test]
fn too_little_memory_means_smaller_submissions() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let mut loaded = gpu.load_stepwise(&recorded(&network, Recipe::default())).unwrap();
    let (lower, upper) = boxes(network.n_inputs(), 11, 0.3);
    let expected = loaded.bound(request(&lower, &upper)).unwrap();
    loaded.pretended = 3;
    loaded.limit(usize::MAX, 1 << 30);
    let got = loaded.bound(request(&lower, &upper)).unwrap();
    assert_eq!(loaded.capacity().0, 2, "16, 8, 4, 2");
    assert_eq!(got, expected);
    loaded.pretended = 0;
    loaded.limit(usize::MAX, 1 << 30);
    let error = loaded.bound(request(&lower, &upper)).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::OutOfMemory(_)), "{error}");
}

#[test]
fn a_lost_device_is_an_error() {
    let Some(gpu) = gpu() else { return };
    // A device of its own: the others live on.
    let gpu = Gpu::open(&AdapterChoice::Named(gpu.adapter().name.clone())).unwrap();
    let network = named("deep");
    let program = recorded(&network, Recipe::default());
    let loaded = gpu.load_stepwise(&program).unwrap();
    let (lower, upper) = boxes(network.n_inputs(), 2, 0.3);
    loaded.bound(request(&lower, &upper)).unwrap();
    gpu.shared.device.destroy();
    for _ in 0..2 {
        let error = loaded.bound(request(&lower, &upper)).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Device(_)), "{error}");
    }
    assert!(matches!(gpu.load_stepwise(&program).unwrap_err().kind, ErrorKind::Device(_)));
}

#[test]
fn an_engine_whose_device_is_lost_goes_on_on_the_host_and_says_so() {
    let Some(gpu) = gpu() else { return };
    let gpu = Gpu::open(&AdapterChoice::Named(gpu.adapter().name.clone())).unwrap();
    let network = Arc::new(named("deep"));
    let n = network.n_inputs();
    let region = network::BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
    let engine = |device: &Device| BoundEngine::new(device, Arc::clone(&network), &region, Recipe::default()).unwrap();
    let (ours, host) = (engine(&Device::Gpu(gpu.clone())), engine(&Device::Host));
    ours.bound(ours.region(), Wanted::default()).unwrap();
    assert_eq!(ours.fallback(), None);
    gpu.shared.device.destroy();
    let expected = host.bound(host.region(), Wanted::default()).unwrap();
    assert_eq!(ours.bound(ours.region(), Wanted::default()).unwrap().lower, expected.lower);
    assert!(ours.fallback().is_some());
}

#[test]
fn an_infinite_error_term_is_refused() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let mut program = recorded(&network, Recipe::default());
    for step in &mut program.steps {
        if let Step::Objective(backward) = step {
            backward.concretize.gamma = f32::INFINITY;
        }
    }
    assert!(matches!(gpu.load_stepwise(&program).unwrap_err().kind, ErrorKind::Magnitude { .. }));
}

#[test]
fn a_request_of_the_wrong_size_is_an_error() {
    let Some(gpu) = gpu() else { return };
    let network = named("deep");
    let loaded = gpu.load_stepwise(&recorded(&network, Recipe::default())).unwrap();
    assert!(matches!(loaded.bound(request(&[0.0; 6], &[0.0; 6])).unwrap_err().kind, ErrorKind::Region { .. }));
    assert!(matches!(loaded.bound(request(&[0.0; 5], &[0.0; 10])).unwrap_err().kind, ErrorKind::Region { .. }));
}

#[test]
fn an_unknown_adapter_is_an_error() {
    let error = Gpu::open(&AdapterChoice::Named("no such adapter".into())).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::NoDevice(_)), "{error}");
}

#[test]
fn arrangements_fit_and_hold_every_row() {
    for (name, network) in networks() {
        let program = recorded(&network, Recipe::default());
        let schedule = Schedule::new(&program, Products::Tiled).unwrap();
        for (largest_buffer, has_slopes) in [(1 << 18, false), (1 << 20, true), (128 << 20, true), (4 << 30, false)] {
            let needs = Needs::new(&program, &schedule, largest_buffer);
            let arrangement = needs.arrange(5000, has_slopes).unwrap_or_else(|| panic!("{name}: nothing fits"));
            let Arrangement { state, marks, coefficients, rows, book, exchange, .. } = arrangement;
            let largest = state.max(marks).max(coefficients).max(rows).max(book).max(exchange);
            assert!(largest <= largest_buffer, "{name}: {largest} of {largest_buffer} bytes");
            let passes = schedule.tasks.iter().filter_map(|task| match task {
                Task::Pass(pass) => Some(pass),
                Task::Forward(_) => None,
            });
            for (pass, place) in passes.zip(&arrangement.passes) {
                let frame = arrangement.frames[place.frame];
                let n_held = u64::from(frame.chunk_tiles) * u64::from(place.n_chunks);
                assert!(n_held >= arrangement.capacity as u64 * pass.tiles_each(), "{name}");
                assert!(frame.chunk_tiles <= frame.tile_capacity);
            }
        }
    }
}

#[test]
fn planes_spread_through_elementwise_nodes() {
    let network = named("residual");
    let program = recorded(&network, Recipe::default());
    let planes = Planes::of(&program);
    // Everything up to the first dense layer is an image of 6 by 6.
    let is_image: Vec<bool> = program.nodes.iter().map(|&(at, _)| planes.get(at as u32) == [6, 6]).collect();
    assert_eq!(is_image, [true, true, true, true, true, true, true, true, true, true, true, false, false, false]);
}

#[test]
fn disagreeing_planes_are_none() {
    let reshaped =
        Chain::new(&[1, 6, 6], 41).conv([1, 6, 6], 2, CONV).relu().conv([2, 4, 9], 3, CONV).relu().dense(2).build();
    let program = recorded(&reshaped, Recipe::default());
    assert_eq!(Planes::of(&program), Planes::default());
    let generated = Chain::new(&[4], 42).dense(36).relu().conv([1, 6, 6], 2, CONV).relu().dense(2).build();
    let program = recorded(&generated, Recipe::default());
    assert_eq!(Planes::of(&program), Planes::default());
}

#[test]
fn every_kernel_compiles_on_the_device() {
    let Some(gpu) = gpu() else { return };
    for &kernel in Kernel::ALL {
        let compiled = gpu.shared.pipelines.get(&gpu.shared.device, &gpu.shared.faults, kernel);
        compiled.unwrap_or_else(|error| panic!("{}: {error}", kernel.label()));
    }
}

#[test]
fn every_shader_translates_to_every_language() {
    use naga::back::{hlsl, msl, spv};
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    for (stem, source) in shaders::ALL {
        let module = naga::front::wgsl::parse_str(source).unwrap();
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module).unwrap();
        // Sizes that are chosen when a kernel is compiled: here their defaults.
        let sizes = naga::back::PipelineConstants::default();
        let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, None, &sizes).unwrap();
        let words = spv::write_vec(&module, &info, &spv::Options::default(), None);
        assert!(!words.unwrap_or_else(|error| panic!("{stem}: {error}")).is_empty());
        let options = msl::Options { fake_missing_bindings: true, ..msl::Options::default() };
        let text = msl::write_string(&module, &info, &options, &msl::PipelineOptions::default());
        assert!(!text.unwrap_or_else(|error| panic!("{stem}: {error}")).0.is_empty());
        let mut text = String::new();
        let options = hlsl::Options { fake_missing_bindings: true, ..hlsl::Options::default() };
        let pipeline = hlsl::PipelineOptions::default();
        let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(&module, &info, None);
        written.unwrap_or_else(|error| panic!("{stem}: {error}"));
        assert!(!text.is_empty());
    }
}

/// A network over images of five by five, and one of a single layer.
fn image_networks() -> [(&'static str, Network); 2] {
    let flat = Chain::new(&[1, 5, 5], 51).dense(6).build();
    [("stacked", named("stacked")), ("flat", flat)]
}

/// A dark image with a few bright values.
fn dark_image(n: usize, numbers: &mut Numbers) -> Vec<f64> {
    (0..n).map(|_| if numbers.next() < 0.6 { 0.0 } else { numbers.next() }).collect()
}

fn images_like(reference: &[f64], threshold: f64) -> Arc<InputSet> {
    Arc::new(InputSet::Ssim(SsimSet::new(reference, threshold, [0.0, 1.0])))
}

fn recorded_over(network: &Network, set: Option<&Arc<InputSet>>) -> Program<f32> {
    let n = network.n_inputs();
    let recipe = Recipe { both_ends: true, over_set: true, ..Recipe::default() };
    let mut program = record(network, &vec![0.0; n], &vec![1.0; n], recipe, Arithmetic::DEVICE_F32).unwrap();
    program.set = set.cloned();
    program
}

/// Boxes in `[0, 1]`: everything, and smaller ones around a point.
fn boxes_around(point: &[f64], n_boxes: usize) -> (Vec<f32>, Vec<f32>) {
    let radius = |b: usize| [1.0, 0.5, 0.1][b % 3];
    let ends = |b: usize| point.iter().map(move |x| ((x - radius(b)).max(0.0) as f32, (x + radius(b)).min(1.0) as f32));
    (0..n_boxes).flat_map(ends).unzip()
}

#[test]
fn every_row_over_a_set_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    let mut numbers = Numbers(91);
    let (mut n_rows, mut n_gained) = (0, 0);
    for (name, network) in image_networks() {
        for threshold in [0.995, 0.9, 0.6] {
            let n = network.n_inputs();
            let reference = dark_image(n, &mut numbers);
            let set = images_like(&reference, threshold);
            let program = recorded_over(&network, Some(&set));
            let loaded = gpu.load_stepwise(&program).unwrap();
            let table = set.table().unwrap();
            let constants: Vec<f32> = program.constants.iter().copied().chain(table.constants()).collect();
            let params = table.placed_at(program.constants.len() as u32);
            let (lower, upper) = boxes_around(&reference, 3);
            let raw = loaded.bound(request(&lower, &upper)).unwrap();
            for (step, pass) in program.steps.iter().enumerate() {
                let (Step::Refine(_, backward) | Step::Objective(backward)) = pass else { continue };
                let inspect =
                    |n_kernels| loaded.inspect(request(&lower, &upper), Stop { n_steps: step + 1, n_kernels }).unwrap();
                // Seed and walk; everything.
                let (before, after) = (inspect(backward.walk.len() + 1), inspect(usize::MAX));
                let mut block = Block::new(program.n_slots);
                for b in 0..3 {
                    let of_box = |state: &'_ [f32]| state[b * program.state_stride..][..program.state_stride].to_vec();
                    let (state, reached) = (of_box(&before.state), of_box(&after.state));
                    let marks = &before.marks[b * program.mark_stride..][..program.mark_stride];
                    let rows = rows_of(pass, marks);
                    walk_twins(&program, backward, backward.walk.len() + 1, &state, marks, &rows, &mut block);
                    let end = &backward.concretize;
                    let over_set = kernels::concretize_ssim(end, &params, &constants, &state, &block, rows.len());
                    kernels::conclude::<f32, { level::BASELINE }>(end, None, &state, rows.len(), &mut block);
                    let scale = block.bias[..rows.len()].iter().fold(0.0_f32, |scale, bound| scale.max(bound.abs()));
                    for (r, (row, over_set)) in rows.iter().zip(over_set).enumerate() {
                        let (over_set, _) = over_set.expect("these rows are small");
                        let place = end.target as usize + row.neuron as usize;
                        let place = if row.is_upper { place + end.target_len as usize } else { place };
                        let sign = if row.is_upper { -1.0 } else { 1.0 };
                        let mut expected = block.bias[r].max(over_set);
                        let got = if let Step::Objective(_) = pass {
                            raw.lower[b * raw.lower.len() / 3 + r]
                        } else {
                            expected = expected.max(sign * state[place]);
                            sign * reached[place]
                        };
                        let what = format!("{name}, threshold {threshold}, step {step}, box {b}, row {r}");
                        let off = (got - expected).abs();
                        assert!(off <= 2e-3 * scale, "{what}: {got} instead of {expected} (scale {scale})");
                        n_rows += 1;
                        n_gained += usize::from(over_set > block.bias[r] + 0.05 * scale);
                    }
                }
            }
        }
    }
    assert!(n_gained > n_rows / 4, "the set tightens only {n_gained} of {n_rows} rows");
}

#[test]
fn bounds_over_a_set_lie_between_the_box_and_the_members() {
    let Some(gpu) = gpu() else { return };
    let mut numbers = Numbers(92);
    for (name, network) in image_networks() {
        for threshold in [0.999, 0.95, 0.87, 0.5] {
            let (n, n_out) = (network.n_inputs(), network.n_outputs());
            let reference = dark_image(n, &mut numbers);
            let set = images_like(&reference, threshold);
            let (lower, upper) = boxes_around(&reference, 3);
            let bound = |set| {
                let program = recorded_over(&network, set);
                gpu.load_stepwise(&program).unwrap().bound(request(&lower, &upper)).unwrap()
            };
            let (raw, over_box) = (bound(Some(&set)), bound(None));
            if name == "flat" {
                // The same rows, and on top of them the set.
                let pairs = || raw.lower.iter().zip(&over_box.lower);
                assert!(pairs().all(|(set, over_box)| set >= over_box), "{name}, {threshold}");
                assert!(pairs().any(|(set, over_box)| set > over_box), "{name}, {threshold}");
            }
            let similar = |x: &[f64]| network::ssim::Similarity::Global.value([1, 1, n], x, &reference).unwrap();
            let mut n_members = 0;
            for _ in 0..600 {
                let (scale, shift, noise) =
                    (numbers.between(0.7, 1.3), numbers.between(-0.05, 0.05), 0.3 * numbers.next());
                let mut x = Vec::with_capacity(n);
                x.extend(
                    reference.iter().map(|r| (scale * r + shift + numbers.between(-noise, noise)).clamp(0.0, 1.0)),
                );
                // Onto the way from the reference to it, as far as it is similar enough.
                let (mut inside, mut outside) = (0.0, 1.0);
                let at = |t: f64| reference.iter().zip(&x).map(|(r, x)| r + t * (x - r)).collect::<Vec<f64>>();
                for _ in 0..40 {
                    let middle = 0.5 * (inside + outside);
                    if similar(&at(middle)) >= threshold { inside = middle } else { outside = middle }
                }
                let member = at(inside);
                let y = network.evaluate(&member).unwrap();
                for b in 0..3 {
                    let ends = lower[b * n..][..n].iter().zip(&upper[b * n..][..n]);
                    if !ends.zip(&member).all(|((&l, &u), &x)| f64::from(l) <= x && x <= f64::from(u)) {
                        continue;
                    }
                    n_members += 1;
                    for (k, value) in y.iter().enumerate() {
                        let row = |r: usize| f64::from(raw.lower[b * 2 * n_out + r]);
                        let is_inside = *value >= row(k) && -value >= row(n_out + k);
                        assert!(is_inside, "{name}, threshold {threshold}, box {b}, output {k}: {value} escapes");
                    }
                }
            }
            assert!(n_members > 600, "{name}, threshold {threshold}: {n_members} members");
        }
    }
}

#[test]
fn an_engine_over_a_set_uses_the_device_or_says_why_not() {
    let Some(gpu) = gpu() else { return };
    let device = Device::Gpu(gpu);
    let network = Arc::new(Chain::new(&[1, 8, 8], 52).dense(30).relu().dense(20).relu().dense(4).build());
    let mut numbers = Numbers(93);
    let reference = dark_image(64, &mut numbers);
    let engine = |device: &Device, set: &Arc<InputSet>| {
        let (lower, upper) = set.enclosure().unwrap();
        let region = network::BoxRegion::new(lower, upper).unwrap();
        BoundEngine::over_set(device, Arc::clone(&network), &region, Arc::clone(set), Recipe::default()).unwrap()
    };
    let bounds = |engine: &BoundEngine| engine.bound(engine.region(), Wanted::default()).unwrap();
    for threshold in [0.999, 0.98, 0.9] {
        let set = images_like(&reference, threshold);
        let (ours, host) = (engine(&device, &set), engine(&Device::Host, &set));
        assert_eq!(ours.fallback(), None);
        let (got, expected) = (bounds(&ours), bounds(&host));
        let y = network.evaluate(&reference).unwrap();
        for (k, y) in y.iter().enumerate() {
            let width = y - expected.lower[k];
            let off = (got.lower[k] - expected.lower[k]).abs();
            assert!(off < 0.03 * width, "threshold {threshold}: {} for {}", got.lower[k], expected.lower[k]);
        }
    }
    let channels = Arc::new(InputSet::Ssim(SsimSet::of_channels(&reference, 2, 0.98)));
    let (ours, host) = (engine(&device, &channels), engine(&Device::Host, &channels));
    assert!(ours.fallback().is_some_and(|reason| reason.contains("one window")), "{:?}", ours.fallback());
    assert_eq!(bounds(&ours), bounds(&host));
}
