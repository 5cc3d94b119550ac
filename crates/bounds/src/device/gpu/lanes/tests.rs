use std::time::{Duration, Instant};

use network::Network;

use super::schedule::LaneSchedule;
use super::*;
use crate::device::gpu::samples::{Chain, Numbers, networks};
use crate::device::gpu::tests::{assert_close, boxes, gpu, unfolded};
use crate::device::host;
use crate::device::host::{Given, LaneBlock, Shared as HostShared};
use crate::kernels::{self, Block, LANES, LaneLines, Terms};
use crate::program::{ActivationKind, Backward, Step, Walk};
use crate::simd::level;
use crate::sweep::{Onward, OnwardAffine, Sweep};
use crate::{Arithmetic, Optimised, Recipe, record};

/// The memory spaces at some point.
struct Snapshot {
    frame: Frame,
    coefficients: Vec<f32>,
    rows: Vec<f32>,
    duals: Vec<f32>,
    book: Vec<u32>,
    n_tiles: usize,
}

impl Snapshot {
    /// The coefficient or value of a lane; nothing has rested yet.
    fn coefficient(&self, slot: u32, neuron: usize, lane: usize) -> f32 {
        let place = self.frame.reaches as usize + 4 * (slot as usize * self.frame.tile_capacity as usize + lane / 4);
        let halves = |i: usize| (self.book[place + i] as usize & 0xffff, self.book[place + i] as usize >> 16);
        let (height, width) = halves(3);
        if let Some(line) = neuron.checked_div(width) {
            let at = [line / height, line % height, neuron % width];
            if !(0..3).all(|i| (halves(i).0..halves(i).1).contains(&at[i])) {
                return 0.0;
            }
        }
        let element = slot as usize * self.frame.slot_size as usize + neuron * self.n_tiles + lane / 4;
        self.coefficients[4 * element + lane % 4]
    }

    /// Array 0: bias, 1: slack, 2: best bound, 3: its slack.
    fn row(&self, array: usize, lane: usize) -> f32 {
        self.rows[4 * (array * self.frame.tile_capacity as usize + lane / 4) + lane % 4]
    }

    fn dual(&self, array: u32, row: usize, lane: usize) -> f32 {
        let element = array as usize + row * self.frame.tile_capacity as usize + lane / 4;
        self.duals[4 * element + lane % 4]
    }
}

impl GpuLanes {
    /// Runs whole looks and the first kernels of one more, and returns the memory spaces.
    fn inspect(&self, task: &LaneTask, n_looks: usize, n_kernels: usize) -> Snapshot {
        let pass = self.schedule.pass_of(task.target).unwrap();
        let tiles = tiles_of(task, |_| true);
        let mut room = self.room.lock().unwrap();
        room.plan = None;
        let layout = self.layout(task, pass, &tiles).unwrap();
        assert_eq!(layout.capacity(), tiles.len(), "an inspection needs one submission");
        let plan = self.prepare(&mut room, &layout).unwrap();
        poison(&self.shared.queue, plan);
        let batch = Batch::new(task, pass, &self.schedule, &tiles);
        self.upload((plan, &layout), task, &batch, 1).unwrap();
        let Shared { device, queue, faults, .. } = &*self.shared;
        let mut recording = Recording::new(self, (plan, &layout), &batch);
        recording.start(pass);
        for look in 0..n_looks {
            recording.step(pass, look, (false, false));
        }
        recording.part_of_step(pass, n_looks, n_kernels);
        queue.submit([recording.finish()]);
        let download = |source: &wgpu::Buffer| -> Vec<u32> {
            let copy = device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: source.size(),
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            encoder.copy_buffer_to_buffer(source, 0, &copy, 0, source.size());
            queue.submit([encoder.finish()]);
            bytemuck::pod_collect_to_vec(&faults.read(device, &copy, source.size()).unwrap())
        };
        let floats = |source: &wgpu::Buffer| download(source).into_iter().map(f32::from_bits).collect();
        Snapshot {
            frame: layout.frame,
            book: download(&plan.book),
            coefficients: floats(&plan.coefficients),
            rows: floats(&plan.rows),
            duals: floats(&plan.duals),
            n_tiles: tiles.len(),
        }
    }
}

/// Fills what kernels must not read before they write it with what would ruin every result.
fn poison(queue: &wgpu::Queue, plan: &Plan) {
    for buffer in [&plan.coefficients, &plan.rows, &plan.book, &plan.duals, &plan.state, &plan.marks] {
        // Bytes 0x60: 6e19 as a float.
        queue.write_buffer(buffer, 0, &vec![0x60; buffer.size() as usize]);
    }
}

fn program_of(network: &Network) -> Program<f32> {
    let n = network.n_inputs();
    let recipe = Recipe { optimised: Optimised::Everything, both_ends: true, ..Recipe::default() };
    record(network, &vec![-1.0; n], &vec![1.0; n], recipe, Arithmetic::DEVICE_F32).unwrap()
}

/// Networks whose lanes a device takes, more of what only they use among them.
fn samples() -> Vec<(&'static str, Network)> {
    let odd = Chain::new(&[3], 31).dense(130).relu().dense(67).relu().dense(70).relu().dense(3).build();
    let all = networks().into_iter().chain([("odd", odd)]);
    all.filter(|(_, network)| {
        let smooth = [ActivationKind::Sigmoid as u32, ActivationKind::Tanh as u32];
        !program_of(network).activations.iter().flatten().any(|relax| smooth.contains(&relax.kind))
    })
    .collect()
}

fn optimised_passes(program: &Program<f32>) -> Vec<(usize, &Backward, &Sweep)> {
    let passes = program.steps.iter().filter_map(|step| match step {
        Step::Refine(_, backward) | Step::Objective(backward) => {
            let target = program.node_at(backward.concretize.target);
            Some((target, backward, program.sweeps[target].as_ref()?))
        }
        Step::Forward(_) => None,
    });
    passes.collect()
}

/// What lanes own: rows, splits, slopes.
struct Owned {
    rows: Vec<Row>,
    splits: Vec<Vec<(Split, f32)>>,
    alphas: Vec<Vec<u8>>,
}

impl Owned {
    /// Lanes of all sorts over a scope.
    fn new(program: &Program<f32>, scope: &Scope<f32>, n_target: usize, n: usize, has_splits: bool) -> Self {
        let mut numbers = Numbers(0x5eed_5eed_5eed_0001 + n as u64);
        let mut below = |n: usize| (numbers.next() * n as f64) as usize;
        let n_entries: usize = scope.entries.iter().map(Vec::len).sum();
        let is_relu = |node: usize| program.activations[node].is_some_and(|r| r.kind == ActivationKind::Relu as u32);
        let mut owned = Self { rows: Vec::new(), splits: Vec::new(), alphas: Vec::new() };
        for lane in 0..n {
            owned.rows.push(Row { neuron: below(n_target) as u32, is_upper: lane % 3 == 1 });
            let mut splits = Vec::new();
            for (node, entries) in scope.entries.iter().enumerate().filter(|(node, _)| has_splits && is_relu(*node)) {
                for &neuron in entries {
                    if below(5) == 0 {
                        let split = Split { node: node as u32, neuron, is_active: below(2) == 0 };
                        splits.push((split, below(3) as f32 * 0.2));
                    }
                }
            }
            owned.splits.push(splits);
            let alpha = if lane % 4 == 2 { Vec::new() } else { (0..n_entries).map(|_| below(256) as u8).collect() };
            owned.alphas.push(alpha);
        }
        owned
    }

    fn starts(&self) -> Vec<Start<'_>> {
        self.splits.iter().zip(&self.alphas).map(|(splits, alpha)| Start { splits, alpha, probe: None }).collect()
    }

    fn lanes(&self) -> Vec<TaskLane<'_>> {
        let starts = self.starts().into_iter().zip(&self.rows);
        starts.map(|(start, &row)| TaskLane { subdomain: 0, row, start }).collect()
    }
}

/// The native twins, one kernel after the other.
struct Twins<'a> {
    program: &'a Program<f32>,
    scope: &'a Scope<f32>,
    backward: &'a Backward,
    sweep: &'a Sweep,
    rows: &'a [Row],
    all: Vec<u32>,
    lines: Vec<LaneLines<f32>>,
    block: Block<f32>,
    values: Block<f32>,
}

/// What a kernel has written.
enum Written {
    Coefficients(u32, u32),
    Signs(usize, u32),
    Bounds,
    Values(u32),
    Lines(usize, u32),
}

const BASELINE: u8 = level::BASELINE;

/// As a device has them: without what fixed operands add.
fn terms(constants: &[f32], state: &[f32], (bias, error, n): (u32, u32, u32)) -> Terms<f32> {
    Terms::unfolded(&constants[bias as usize..], &state[error as usize..], n)
}

impl<'a> Twins<'a> {
    fn new(
        program: &'a Program<f32>,
        scope: &'a Scope<f32>,
        (backward, sweep): (&'a Backward, &'a Sweep),
        owned: &'a Owned,
    ) -> Self {
        let width = owned.rows.len().next_multiple_of(LANES);
        let mut lines = vec![LaneLines::new(); program.nodes.len()];
        let mut first = 0;
        for (node, relax) in program.activations.iter().enumerate() {
            let Some(relax) = relax else { continue };
            let n = relax.n as usize;
            let shared = &scope.state[relax.lines as usize..][..5 * n];
            let source = &scope.state[relax.source as usize..][..2 * n];
            let entries = &scope.entries[node];
            let own = &mut lines[node];
            own.reset(shared, entries, width);
            for (lane, start) in owned.starts().iter().enumerate() {
                if relax.kind != ActivationKind::Relu as u32 {
                    continue;
                }
                for (e, &j) in entries.iter().enumerate().filter(|_| !start.alpha.is_empty()) {
                    if source[j as usize] < 0.0 && source[n + j as usize] > 0.0 {
                        own.low[e * width + lane] = f32::from(start.alpha[first + e]) / 255.0;
                    }
                }
                for (split, beta) in start.splits.iter().filter(|(split, _)| split.node as usize == node) {
                    let entry = entries.binary_search(&split.neuron).unwrap();
                    let sign = if split.is_active { 1.0 } else { -1.0 };
                    own.split((shared, entries, width), (lane, entry), (sign, beta.min(sweep.caps[node])));
                }
            }
            own.seal();
            first += entries.len();
        }
        let (mut block, mut values) = (Block::new(program.n_slots), Block::new(sweep.n_slots));
        block.reset(owned.rows.len(), program.slot_len);
        values.reset(owned.rows.len(), program.slot_len);
        let all = (0..program.slot_len as u32).collect();
        Self { program, scope, backward, sweep, rows: &owned.rows, all, lines, block, values }
    }

    /// The kernels of one look, in the order of the schedule.
    fn kernels(&self) -> Vec<Kernel> {
        let mut kernels = vec![Kernel::SeedLanes];
        for walk in &self.backward.walk {
            if let Walk::MaxPool(params, _) = walk
                && self.is_kept(self.program.node_at(params.bounds))
            {
                kernels.push(Kernel::KeepSigns);
            }
            kernels.push(match walk {
                Walk::Lines(_) => Kernel::BackLanes,
                Walk::Terms(_) => Kernel::AffineTerms,
                Walk::Dense(_) => Kernel::BackDense,
                Walk::Conv(..) => Kernel::BackConv,
                Walk::Sparse(_) => Kernel::BackSparse,
                Walk::MaxPool(..) => Kernel::BackMaxPool,
                Walk::Merge(_) => Kernel::BackMerge,
            });
        }
        kernels.push(Kernel::EndLanes);
        kernels
    }

    fn is_kept(&self, pool: usize) -> bool {
        self.sweep
            .onward
            .iter()
            .any(|onward| matches!(onward, Onward::MaxPool(params, _) if params.node as usize == pool))
    }

    /// Makes every coefficient of a slot live, as on a device: where paths meet, the slack counts what is added.
    fn complete(&mut self, written: &Written) {
        if let Written::Coefficients(slot, n) = *written {
            let (slot, n, width) = (slot as usize, n as usize, self.block.width);
            for j in (0..n).filter(|&j| self.block.live[slot].binary_search(&(j as u32)).is_err()) {
                self.block.slots[slot][j * width..][..width].fill(0.0);
            }
            self.block.live[slot] = self.all[..n].to_vec();
        }
    }

    fn down(&mut self, walk: &Walk) -> Written {
        let Self { program: Program { constants, tables, .. }, scope, all, lines, block, .. } = self;
        let (state, marks) = (scope.state.as_slice(), scope.marks.as_slice());
        match walk {
            Walk::Lines(p) => {
                let node = p.node as usize;
                let relax = self.program.activations[node].as_ref().unwrap();
                let bounds = &state[relax.source as usize..][..2 * relax.n as usize];
                let entries = &scope.entries[node];
                let two_units = relax.two_units;
                kernels::back_lanes::<f32, BASELINE>(p, state, entries, (bounds, two_units), &mut lines[node], block);
                Written::Coefficients(p.slot, p.n)
            }
            Walk::Terms(p) => {
                kernels::affine_terms::<f32, BASELINE>(p, &terms(constants, state, (p.bias, p.error, p.n)), block);
                Written::Coefficients(p.slot, p.n)
            }
            Walk::Dense(p) => {
                kernels::back_dense::<f32, BASELINE>(p, constants, &all[..p.n_in as usize], block);
                Written::Coefficients(p.to, p.n_in)
            }
            Walk::Conv(p, shape) => {
                kernels::back_conv::<f32, BASELINE>(p, shape, constants, &all[..p.n_in as usize], block);
                Written::Coefficients(p.to, p.n_in)
            }
            Walk::Sparse(p) => {
                kernels::back_sparse::<f32, BASELINE>(p, constants, tables, &all[..p.n_in as usize], block);
                Written::Coefficients(p.to, p.n_in)
            }
            Walk::MaxPool(p, _) => {
                kernels::back_max_pool::<f32, BASELINE>(p, state, marks, block);
                Written::Coefficients(p.to, p.n_in)
            }
            Walk::Merge(p) => {
                kernels::back_merge::<f32, BASELINE>(p, state, block);
                Written::Coefficients(p.to, p.n)
            }
        }
    }

    fn up(&mut self, onward: &Onward, (rates, momentum): ([f32; 2], f32)) -> Written {
        let Self { program: Program { constants, tables, .. }, scope, all, lines, values, .. } = self;
        let state = scope.state.as_slice();
        let bias = |p: &OnwardAffine| &constants[p.bias as usize..][..p.n_out as usize];
        match onward {
            Onward::Dense(p) => {
                kernels::onward_dense::<f32, BASELINE>(p, (constants, bias(p)), &all[..p.n_out as usize], values);
                Written::Values(p.to)
            }
            Onward::Conv(p, shape) => {
                kernels::onward_conv::<f32, BASELINE>(p, shape, (constants, bias(p)), &all[..p.n_out as usize], values);
                Written::Values(p.to)
            }
            Onward::Sparse(p) => {
                kernels::onward_sparse::<f32, BASELINE>(
                    p,
                    (constants, bias(p)),
                    tables,
                    &all[..p.n_out as usize],
                    values,
                );
                Written::Values(p.to)
            }
            Onward::Lines(p) => {
                let node = p.node as usize;
                let relax = self.program.activations[node].as_ref().unwrap();
                let rates = rates.map(|rate| vec![rate; values.width]);
                let update = kernels::Update {
                    alpha_rates: &rates[0],
                    beta_rates: &rates[1],
                    momentum,
                    cap: self.sweep.caps[node],
                    bounds: &self.block.bias,
                    is_relu: relax.kind == ActivationKind::Relu as u32,
                    smooth: None,
                    wants_gaps: false,
                };
                let lists = (scope.entries[node].as_slice(), &scope.alive[node][..]);
                let shared = &state[relax.lines as usize..][..5 * relax.n as usize];
                kernels::onward_lines::<f32, BASELINE>(p, shared, lists, &mut lines[node], &update, values);
                Written::Lines(node, p.to)
            }
            Onward::Merge(p) => {
                kernels::onward_merge(p, values);
                Written::Values(p.to)
            }
            Onward::MaxPool(p, _) => {
                let signs = &lines[p.node as usize].is_negative;
                kernels::onward_max_pool(p, state, &scope.marks, signs, values);
                Written::Values(p.to)
            }
        }
    }

    fn compare(&self, what: &str, written: &Written, snapshot: &Snapshot, schedule: &LaneSchedule) {
        let width = self.block.width;
        for lane in 0..self.rows.len() {
            let what = format!("{what}, lane {lane}");
            let of = |block: &Block<f32>, slot: u32, neurons: &[u32]| -> Vec<f32> {
                neurons.iter().map(|&j| block.slots[slot as usize][j as usize * width + lane]).collect()
            };
            match *written {
                Written::Coefficients(slot, n) => {
                    let mut expected = vec![0.0; n as usize];
                    let live = &self.block.live[slot as usize];
                    for (&j, a) in live.iter().zip(of(&self.block, slot, live)) {
                        expected[j as usize] = a;
                    }
                    let got: Vec<f32> = (0..n as usize).map(|j| snapshot.coefficient(slot, j, lane)).collect();
                    assert_close(&format!("{what}: coefficients"), &got, &expected);
                    let (bias, slack) = (self.block.bias[lane], self.block.slack[lane]);
                    assert_close(&format!("{what}: bias"), &[snapshot.row(0, lane), 1.0], &[bias, 1.0]);
                    assert_close(&format!("{what}: slack"), &[snapshot.row(1, lane)], &[slack]);
                }
                Written::Signs(node, n) => {
                    let first = schedule.firsts[node] as usize;
                    for o in 0..n as usize {
                        let kept = snapshot.dual(snapshot.frame.kept, first + o, lane);
                        let expected = self.lines[node].is_negative[o * width + lane];
                        assert!((kept < 0.0) == expected || kept.abs() < 1e-5, "{what}: sign of output {o}: {kept}");
                    }
                }
                Written::Bounds => {
                    let (bound, slack) = (self.block.bias[lane], self.block.slack[lane]);
                    assert_close(&format!("{what}: bound"), &[snapshot.row(2, lane), 1.0], &[bound, 1.0]);
                    assert_close(&format!("{what}: slack"), &[snapshot.row(3, lane)], &[slack]);
                }
                Written::Values(slot) | Written::Lines(_, slot) => {
                    let live = &self.values.live[slot as usize];
                    let at = self.program.n_slots as u32 + slot;
                    let got: Vec<f32> = live.iter().map(|&j| snapshot.coefficient(at, j as usize, lane)).collect();
                    assert_close(&format!("{what}: values"), &got, &of(&self.values, slot, live));
                }
            }
            if let Written::Lines(node, ..) = *written {
                self.compare_duals(&what, node, lane, snapshot, schedule.firsts[node] as usize);
            }
        }
    }

    fn compare_duals(&self, what: &str, node: usize, lane: usize, snapshot: &Snapshot, first: usize) {
        let (width, own) = (self.block.width, &self.lines[node]);
        let relax = self.program.activations[node].unwrap();
        if relax.kind != ActivationKind::Relu as u32 {
            return;
        }
        let scale = own.moments[0].iter().fold(1e-6_f32, |m, x| m.max(x.abs()));
        for (e, &j) in self.scope.entries[node].iter().enumerate() {
            let row = first + j as usize;
            let split = own.splits.iter().find(|split| (split.lane as usize, split.entry as usize) == (lane, e));
            let (moment, got) = match split {
                Some(split) => (split.moments[0], snapshot.dual(snapshot.frame.beta, row, lane)),
                None => (own.moments[0][e * width + lane], snapshot.dual(snapshot.frame.low, row, lane)),
            };
            let got_moment = snapshot.dual(snapshot.frame.first_moment, row, lane);
            assert!((got_moment - moment).abs() < 1e-3 * scale, "{what}: moment of {j}: {got_moment}, not {moment}");
            let expected = split.map_or(own.low[e * width + lane], |split| split.beta);
            // The sign of a gradient that is about zero is anybody's.
            if moment.abs() > 1e-3 * scale {
                let error = (got - expected).abs();
                assert!(error < 1e-3 * (1.0 + expected), "{what}: multiplier of {j}: {got}, not {expected}");
            }
        }
    }
}

#[test]
fn every_kernel_of_lanes_agrees_with_its_twin() {
    let Some(gpu) = gpu() else { return };
    for (name, network) in samples() {
        let program = unfolded(&program_of(&network));
        for products in [Products::Direct, Products::AlwaysTiled] {
            let lanes = GpuLanes::new(Arc::clone(&gpu.shared), &program, products).unwrap();
            let (lower, upper) = boxes(network.n_inputs(), 3, 0.5);
            let n = network.n_inputs();
            // The last one: neither a point nor flat.
            let scope = host::scope(&program, (&lower[2 * n..], &upper[2 * n..]), &Given::nothing());
            for (target, backward, sweep) in optimised_passes(&program) {
                for has_splits in [false, true] {
                    let what = format!("{name}, {products:?}, target {target}, splits {has_splits}");
                    let owned = Owned::new(&program, &scope, program.nodes[target].1, 6, has_splits);
                    check_kernels(&what, &lanes, (&program, &scope), (target, backward, sweep), &owned);
                }
            }
        }
    }
}

fn check_kernels(
    what: &str,
    lanes: &GpuLanes,
    (program, scope): (&Program<f32>, &Scope<f32>),
    (target, backward, sweep): (usize, &Backward, &Sweep),
    owned: &Owned,
) {
    let ascent = Ascent { steps: 1, ..Ascent::default() };
    let task = LaneTask {
        target,
        scopes: std::slice::from_ref(scope),
        lanes: &owned.lanes(),
        entries: &scope.entries,
        ascent: &ascent,
        goal: Goal::Tightest,
        keep: Keep::default(),
    };
    let mut twins = Twins::new(program, scope, (backward, sweep), owned);
    let rates = [ascent.alpha_rate, ascent.beta_rate]
        .map(|rate| (rate * kernels::Update::<f32>::correction(1, ascent.momentum)) as f32);
    let mut walks = backward.walk.iter();
    for (place, kernel) in twins.kernels().into_iter().enumerate() {
        let written = match kernel {
            Kernel::SeedLanes => {
                let seed = &backward.seed;
                let n = if seed.kind == 1 { seed.target_len } else { 0 };
                let own = terms(&program.constants, &scope.state, (seed.bias, seed.error, n));
                let wanted = &twins.all[..seed.n as usize];
                kernels::seed(seed, &program.constants, (wanted, &own), twins.rows, &mut twins.block);
                Written::Coefficients(backward.seed.slot, backward.seed.n)
            }
            Kernel::KeepSigns => {
                let Some(Walk::MaxPool(p, _)) = walks.clone().next() else { unreachable!("before a max-pool") };
                let node = program.node_at(p.bounds);
                let (slot, live) = (&twins.block.slots[p.from as usize], &twins.block.live[p.from as usize]);
                let signs = &mut twins.lines[node].is_negative;
                kernels::note_signs(slot, live, p.n_out as usize, twins.block.width, signs);
                Written::Signs(node, p.n_out)
            }
            Kernel::EndLanes => {
                let n_rows = twins.rows.len();
                let (slot, values) = (backward.concretize.slot as usize, &mut twins.values);
                let from = (&twins.block.slots[slot][..], &twins.block.live[slot][..]);
                let all = &twins.all[..program.n_inputs];
                kernels::minimiser(&scope.state, program.n_inputs, from, all, values);
                let params = &backward.concretize;
                kernels::conclude::<f32, BASELINE>(params, None, &scope.state, n_rows, &mut twins.block);
                Written::Bounds
            }
            _ => twins.down(walks.next().unwrap()),
        };
        let snapshot = lanes.inspect(&task, 0, place + 1);
        twins.complete(&written);
        twins.compare(&format!("{what}, kernel {place} ({})", kernel.label()), &written, &snapshot, &lanes.schedule);
        if kernel == Kernel::EndLanes {
            let written = Written::Values(0);
            twins.compare(&format!("{what}, the minimiser"), &written, &snapshot, &lanes.schedule);
        }
    }
    let n_down = twins.kernels().len();
    for (place, onward) in sweep.onward.iter().enumerate() {
        let written = twins.up(onward, (rates, ascent.momentum as f32));
        let snapshot = lanes.inspect(&task, 0, n_down + place + 1);
        twins.compare(&format!("{what}, {onward:?}"), &written, &snapshot, &lanes.schedule);
    }
}

/// The host's bounds of the same lanes by the same program.
fn on_host(program: &Program<f32>, task: &LaneTask, parts: (&Backward, &Sweep)) -> Vec<Ended<f32>> {
    let shared = HostShared { program, backward: parts.0, sweep: parts.1, scope: &task.scopes[0] };
    let rows: Vec<Row> = task.lanes.iter().map(|lane| lane.row).collect();
    let starts: Vec<Start> = task.lanes.iter().map(|lane| lane.start).collect();
    let mut block = LaneBlock::new(program);
    block.keeps_proofs = task.keep.proof;
    block.ascend(&shared, &rows, &starts, task.ascent, task.goal);
    block.ended(&shared, &starts, task.keep)
}

#[test]
fn lanes_end_where_the_host_does() {
    let Some(gpu) = gpu() else { return };
    let (mut gained, mut n_open) = (0.0, 0);
    for (name, network) in samples() {
        let program = program_of(&network);
        let lanes = GpuLanes::new(Arc::clone(&gpu.shared), &program, Products::Direct).unwrap();
        let (lower, upper) = boxes(network.n_inputs(), 3, 0.5);
        let n = network.n_inputs();
        let scope = host::scope(&program, (&lower[2 * n..], &upper[2 * n..]), &Given::nothing());
        for (target, backward, sweep) in optimised_passes(&program) {
            for has_splits in [false, true] {
                let owned = Owned::new(&program, &scope, program.nodes[target].1, 11, has_splits);
                let ascent = Ascent { steps: 12, ..Ascent::default() };
                let keep = Keep { duals: true, gaps: 5, minimiser: true, proof: true };
                let task = LaneTask {
                    target,
                    scopes: std::slice::from_ref(&scope),
                    lanes: &owned.lanes(),
                    entries: &scope.entries,
                    ascent: &ascent,
                    goal: Goal::Tightest,
                    keep,
                };
                let expected = on_host(&program, &task, (backward, sweep));
                let got = lanes.ascend(&task).unwrap().unwrap();
                let still = Ascent { steps: 0, ..ascent };
                let first = on_host(&program, &LaneTask { ascent: &still, ..task }, (backward, sweep));
                for (lane, ((got, expected), first)) in got.iter().zip(&expected).zip(&first).enumerate() {
                    let what = format!("{name}, target {target}, splits {has_splits}, lane {lane}");
                    assert_eq!(got.is_empty, expected.is_empty, "{what}");
                    let moved = expected.bound - first.bound;
                    // Gradients about zero have either sign, and so have their steps: that costs a little of what is gained.
                    let room = 2e-3 * (1.0 + expected.bound.abs()) + 0.1 * moved;
                    assert!(
                        (got.bound - expected.bound).abs() <= room,
                        "{what}: {} after {}, the host {}",
                        got.bound,
                        first.bound,
                        expected.bound
                    );
                    (gained, n_open) = (gained + moved / (1.0 + first.bound.abs()), n_open + 1);
                    assert_eq!(got.alpha.len(), expected.alpha.len(), "{what}");
                    assert_eq!(got.beta.len(), expected.beta.len(), "{what}");
                    assert_eq!(got.minimiser.len(), expected.minimiser.len(), "{what}");
                    assert_eq!(got.gaps.len(), expected.gaps.len(), "{what}");
                    assert!(got.gaps.windows(2).all(|pair| pair[0].1 >= pair[1].1), "{what}: {:?}", got.gaps);
                    let (proof, other) = (got.proof.as_ref().unwrap(), expected.proof.as_ref().unwrap());
                    assert_eq!((proof.alpha.len(), proof.beta.len()), (other.alpha.len(), other.beta.len()), "{what}");
                    let is_slope = |alpha: &f32| (0.0..=1.0).contains(alpha);
                    assert!(proof.alpha.iter().all(is_slope) && proof.beta.iter().all(|&beta| beta >= 0.0), "{what}");
                }
            }
        }
    }
    assert!(gained > 0.05 * f64::from(n_open) as f32, "{n_open} lanes gained {gained} only: nothing was optimised");
}

#[test]
fn what_a_lane_starts_from_comes_back() {
    let Some(gpu) = gpu() else { return };
    let (_, network) = samples().into_iter().find(|(name, _)| *name == "odd").unwrap();
    let program = program_of(&network);
    let lanes = GpuLanes::new(Arc::clone(&gpu.shared), &program, Products::Direct).unwrap();
    let n = network.n_inputs();
    let scope = host::scope(&program, (&vec![-0.7; n], &vec![0.6; n]), &Given::nothing());
    let target = program.nodes.len() - 1;
    let owned = Owned::new(&program, &scope, program.n_outputs, 9, true);
    let ascent = Ascent { steps: 0, ..Ascent::default() };
    let keep = Keep { duals: true, gaps: usize::MAX, minimiser: true, proof: true };
    let task = LaneTask {
        target,
        scopes: std::slice::from_ref(&scope),
        lanes: &owned.lanes(),
        entries: &scope.entries,
        ascent: &ascent,
        goal: Goal::Tightest,
        keep,
    };
    let (_, backward, sweep) = optimised_passes(&program).into_iter().find(|pass| pass.0 == target).unwrap();
    let expected = on_host(&program, &task, (backward, sweep));
    // A few are chosen there, all of them are sorted here.
    let few = lanes.ascend(&LaneTask { keep: Keep { gaps: 7, ..keep }, ..task }).unwrap().unwrap();
    for (few, all) in few.iter().zip(lanes.ascend(&task).unwrap().unwrap()) {
        assert_eq!(few.gaps[..], all.gaps[..7]);
    }
    for (lane, (got, expected)) in lanes.ascend(&task).unwrap().unwrap().iter().zip(&expected).enumerate() {
        assert_eq!(got.alpha, expected.alpha, "lane {lane}");
        assert_eq!(got.beta, expected.beta, "lane {lane}");
        assert_close("the minimiser", &got.minimiser, &expected.minimiser);
        let (proof, other) = (got.proof.as_ref().unwrap(), expected.proof.as_ref().unwrap());
        assert_close("the best slopes", &proof.alpha, &other.alpha);
        assert_eq!(proof.beta, other.beta, "lane {lane}");
        assert_eq!(got.gaps.len(), expected.gaps.len(), "lane {lane}");
        let sorted = |gaps: &[(Split, f32)]| {
            let mut gaps = gaps.to_vec();
            gaps.sort_by_key(|gap| gap.0);
            gaps
        };
        for (got, expected) in sorted(&got.gaps).iter().zip(sorted(&expected.gaps)) {
            assert_eq!(got.0, expected.0, "lane {lane}");
            assert!((got.1 - expected.1).abs() < 1e-3 * (expected.1 + 1e-3), "lane {lane}: {got:?}, not {expected:?}");
        }
    }
}

#[test]
fn lanes_that_rest_drop_out() {
    let Some(gpu) = gpu() else { return };
    let (_, network) = samples().into_iter().find(|(name, _)| *name == "odd").unwrap();
    let program = program_of(&network);
    let mut lanes = GpuLanes::new(Arc::clone(&gpu.shared), &program, Products::Direct).unwrap();
    // A submission for every step.
    lanes.most_flop = 1.0;
    let n = network.n_inputs();
    let points: Vec<f32> = (0..8).map(|b| 0.1 * b as f32 - 0.4).collect();
    let scope = |x: &f32| host::scope(&program, (&vec![*x; n], &vec![*x + 0.05; n]), &Given::nothing());
    let scopes: Vec<Scope<f32>> = points.iter().map(scope).collect();
    let ascent = Ascent { steps: 6, ..Ascent::default() };
    let target = program.nodes.len() - 1;
    let row = |neuron: usize, is_upper| Row { neuron: neuron as u32, is_upper };
    let of = |b: usize| {
        let rows = (0..program.n_outputs).flat_map(|k| [row(k, false), row(k, true)]);
        rows.map(move |row| TaskLane { subdomain: b, row, start: Start::default() })
    };
    let all: Vec<TaskLane> = (0..scopes.len()).flat_map(of).collect();
    let task = |goal, lanes| LaneTask {
        target,
        scopes: &scopes,
        lanes,
        entries: &[],
        ascent: &ascent,
        goal,
        keep: Keep::default(),
    };
    let until_positive = lanes.ascend(&task(Goal::Positive, &all)).unwrap().unwrap();
    let tightest = lanes.ascend(&task(Goal::Tightest, &all)).unwrap().unwrap();
    let mut n_positive = 0;
    for (lane, (early, late)) in until_positive.iter().zip(&tightest).enumerate() {
        assert_eq!(early.bound > 0.0, late.bound > 0.0, "lane {lane}: {} and {}", early.bound, late.bound);
        assert!(early.bound <= late.bound, "lane {lane}: {} and {}", early.bound, late.bound);
        n_positive += usize::from(early.bound > 0.0);
        // An output cannot be positive and negative.
        let partner = &until_positive[lane ^ 1];
        assert!(!(early.bound > 0.0 && partner.bound > 0.0), "lane {lane}");
    }
    assert!(n_positive > 8 && n_positive < all.len(), "{n_positive} of {}", all.len());
    // Little room: many submissions, the same bounds.
    lanes.room.lock().unwrap().most = 1;
    let apart = lanes.ascend(&task(Goal::Tightest, &all)).unwrap().unwrap();
    for (lane, (apart, together)) in apart.iter().zip(&tightest).enumerate() {
        assert!((apart.bound - together.bound).abs() < 1e-4 * (1.0 + together.bound.abs()), "lane {lane}");
    }
    // Once the time is up, a look is all there is, and it is that of no steps; between two submissions, something between.
    let with = |ascent: &Ascent| lanes.ascend(&LaneTask { ascent, ..task(Goal::Tightest, &all) }).unwrap().unwrap();
    let looked = with(&Ascent { steps: 0, ..ascent });
    let late = with(&Ascent { until: Some(Instant::now()), ..ascent });
    let begun = with(&Ascent { until: Some(Instant::now() + Duration::from_millis(20)), ..ascent });
    for (lane, looked) in looked.iter().enumerate() {
        let [least, most] = [looked, &tightest[lane]].map(|end| (end.bound, 1e-4 * (1.0 + end.bound.abs())));
        assert!((late[lane].bound - least.0).abs() < least.1, "lane {lane}: {} without time", late[lane].bound);
        assert!(
            (least.0 - least.1..=most.0 + most.1).contains(&begun[lane].bound),
            "lane {lane}: {}",
            begun[lane].bound
        );
    }
}
