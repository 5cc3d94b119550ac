use std::collections::BTreeMap;

use bytemuck::{Pod, Zeroable};

use crate::device::gpu::schedule::{Products, Schedule};
use crate::program::{Backward, Concretize, Forward, IntervalAffine, Program, Relax, Seed, Select, Step, Walk};

/// Where things lie: see `shaders/shared/fused.wgsl`, whose words these are.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FusedFrame {
    pub n_subdomains: u32,
    pub n_inputs: u32,
    pub n_steps: u32,
    pub n_rows: u32,
    pub result: u32,
    pub wants_split: u32,
    pub wants_slopes: u32,
    pub inputs: u32,
    pub lower: u32,
    pub slack: u32,
    pub split: u32,
    pub undecided: u32,
    pub slopes: u32,
    pub zero: u32,
    pub padding: [u32; 2],
}

/// One step of the program.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FusedStep {
    pub kind: u32,
    pub params: u32,
    pub list: u32,
    pub n: u32,
}

/// A backward pass.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Pod, Zeroable)]
pub struct FusedPass {
    pub choice: Select,
    pub seed: Seed,
    pub end: Concretize,
    pub is_objective: u32,
    pub first_stage: u32,
    pub n_stages: u32,
    pub padding: u32,
}

/// Part of a walk.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct FusedStage {
    pub n: u32,
    pub lines: u32,
    pub bias: u32,
    pub error: u32,
    pub weight: u32,
    pub list: u32,
    pub n_columns: u32,
    pub padding: u32,
}

const NONE: u32 = u32::MAX;
const DENSE: u32 = 0;
const ACTIVATION: u32 = 1;
const PASS: u32 = 2;
/// Most tiles of a chunk, and words of a mask, in the shader.
const MOST_TILES: u32 = 16;
const MOST_NEURONS: u32 = 1024;
/// Tiles of a chunk that suffice: more invocations per workgroup would wait for each other rather than work.
const ENOUGH_TILES: u32 = 12;
/// Bytes of workgroup memory apart from state, lists and slot.
const OTHER_BYTES: u64 = 64 * 4 + 64 * 4 + 64;

/// What a workgroup may take.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Most invocations.
    pub invocations: u32,
    /// Most bytes of workgroup memory.
    pub bytes: u64,
    /// Most tiles of a chunk.
    pub tiles: u32,
}

impl Allowance {
    /// What a device allows, within reason.
    pub fn of(limits: &wgpu::Limits) -> Self {
        let invocations = limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x);
        let bytes = u64::from(limits.max_compute_workgroup_storage_size);
        Self { invocations: invocations.min(256), bytes, tiles: ENOUGH_TILES }
    }
}

/// The constants that a pipeline is specialised with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Owners: a quarter of the longest node.
    pub quads: u32,
    /// Rows of a chunk, by four; an invocation has those of two.
    pub tiles: u32,
    /// Elements of the workgroup memories.
    pub state: u32,
    pub lists: u32,
    pub slot: u32,
}

impl Shape {
    /// The largest that fits; none if nothing does.
    fn new(quads: u32, needed: u32, [state, lists, n_inputs]: [u32; 3], allowance: Allowance) -> Option<Self> {
        let most = needed.div_ceil(2).min(allowance.tiles.min(MOST_TILES) / 2).min(allowance.invocations / quads);
        let with = |tiles: u32| {
            let slot = (4 * quads * (tiles | 1)).max(quads * tiles + n_inputs);
            Self { quads, tiles, state, lists, slot }
        };
        (1..=most).rev().map(|pairs| with(2 * pairs)).find(|shape| shape.bytes() <= allowance.bytes)
    }

    /// Bytes of workgroup memory.
    pub fn bytes(&self) -> u64 {
        4 * u64::from(self.state) + 4 * u64::from(self.lists) + 16 * u64::from(self.slot) + OTHER_BYTES
    }

    /// Names and values for the shader.
    pub fn constants(&self) -> [(&'static str, f64); 7] {
        [
            ("QUADS", f64::from(self.quads)),
            ("TILES", f64::from(self.tiles)),
            ("STRIDE", f64::from(self.tiles | 1)),
            ("SIZE", f64::from(self.quads * self.tiles / 2)),
            ("STATE", f64::from(self.state)),
            ("LISTS", f64::from(self.lists)),
            ("SLOT", f64::from(self.slot)),
        ]
    }
}

/// A program as the fused kernel reads it.
#[derive(Debug, Clone)]
pub struct Tables {
    pub shape: Shape,
    pub n_inputs: u32,
    /// Rows of the result.
    pub n_rows: u32,
    /// State: the result.
    pub result: u32,
    pub steps: Vec<FusedStep>,
    pub affines: Vec<IntervalAffine>,
    pub activations: Vec<Relax>,
    pub passes: Vec<FusedPass>,
    pub stages: Vec<FusedStage>,
    /// The program's, and behind them the packed matrices.
    pub constants: Vec<f32>,
}

impl Tables {
    /// Lays out a program; none if it is not a chain of full matrices and activations that fits the allowance.
    pub fn new(program: &Program<f32>, allowance: Allowance) -> Option<Self> {
        // Refuses what is not finite.
        Schedule::new(program, Products::Direct).ok()?;
        let longest = program.nodes.iter().map(|&(_, n)| n as u32).max()?;
        if longest >= MOST_NEURONS {
            return None;
        }
        // One more than the neurons: there is always a row of zeros.
        let quads = longest / 4 + 1;
        // A term of the bias meets one rounding as a product, at most `n` within its node, one per node that follows (at most
        // `L`), and at the end those of the owners, in four groups, and two more: `n + L + quads/4 + 4`. The program pays for
        // `n + P`, `P = 2 L + 4` (see `record`).
        if quads.div_ceil(4) as usize > program.nodes.len() {
            return None;
        }
        let Some(Step::Objective(objective)) = program.steps.last() else { return None };
        let mut layout = Layout {
            program,
            quads,
            // All neurons, and the undecided ones of the pass at hand.
            n_lists: 2 * (1 + 4 * quads),
            live: BTreeMap::new(),
            operands: BTreeMap::new(),
            packed: BTreeMap::new(),
            tables: Self {
                shape: Shape { quads, tiles: 0, state: 0, lists: 0, slot: 0 },
                n_inputs: program.n_inputs as u32,
                n_rows: objective.seed.target_len * (1 + objective.seed.both_ends),
                result: program.state_stride as u32,
                steps: Vec::new(),
                affines: Vec::new(),
                activations: Vec::new(),
                passes: Vec::new(),
                stages: Vec::new(),
                constants: program.constants.clone(),
            },
        };
        let mut most_rows = layout.tables.n_rows;
        for step in &program.steps {
            match step {
                Step::Forward(forward) => layout.forward(forward)?,
                Step::Refine(select, backward) => {
                    most_rows = most_rows.max(2 * select.n);
                    layout.pass(Some(*select), backward)?;
                }
                Step::Objective(backward) => layout.pass(None, backward)?,
            }
        }
        let mut tables = layout.tables;
        // Rounded, so that more programs share a kernel.
        let n_state = (tables.result + 2 * tables.n_rows).next_multiple_of(64);
        let sizes = [n_state, layout.n_lists.next_multiple_of(16), tables.n_inputs];
        tables.shape = Shape::new(quads, most_rows.div_ceil(4), sizes, allowance)?;
        tables.constants.resize(tables.constants.len().next_multiple_of(4).max(4), 0.0);
        Some(tables)
    }

    /// Where things lie, but for the batch.
    pub fn frame(&self) -> FusedFrame {
        FusedFrame {
            n_inputs: self.n_inputs,
            n_steps: self.steps.len() as u32,
            n_rows: self.n_rows,
            result: self.result,
            ..FusedFrame::default()
        }
    }
}

/// Tables in the making.
struct Layout<'a> {
    program: &'a Program<f32>,
    quads: u32,
    n_lists: u32,
    /// Lists of live neurons, by their activation's lines.
    live: BTreeMap<u32, u32>,
    /// The same, by their activation's bounds.
    operands: BTreeMap<u32, u32>,
    /// Packed matrices, by their place among the constants.
    packed: BTreeMap<u32, u32>,
    tables: Tables,
}

impl Layout<'_> {
    fn forward(&mut self, forward: &Forward) -> Option<()> {
        match forward {
            Forward::Dense(params) => {
                let list = self.operands.get(&params.source).copied().unwrap_or(0);
                self.step(DENSE, self.tables.affines.len(), list, params.n_out);
                self.tables.affines.push(*params);
            }
            Forward::Relax(params) => {
                let list = self.n_lists;
                self.n_lists += 1 + params.n.next_multiple_of(4);
                self.live.insert(params.lines, list);
                self.operands.insert(params.target, list);
                self.step(ACTIVATION, self.tables.activations.len(), list, params.n);
                self.tables.activations.push(*params);
            }
            _ => return None,
        }
        Some(())
    }

    fn step(&mut self, kind: u32, params: usize, list: u32, n: u32) {
        self.tables.steps.push(FusedStep { kind, params: params as u32, list, n });
    }

    fn pass(&mut self, select: Option<Select>, backward: &Backward) -> Option<()> {
        let Backward { seed, walk, concretize } = backward;
        let first_stage = self.tables.stages.len();
        let next =
            |n| FusedStage { n, lines: NONE, bias: NONE, error: 0, weight: 0, list: 0, n_columns: 0, padding: 0 };
        let mut stage = next(seed.n);
        let mut slot = seed.slot;
        for step in walk {
            match step {
                Walk::Lines(p) if (p.slot, p.n, stage.lines, stage.bias) == (slot, stage.n, NONE, NONE) => {
                    stage.lines = p.lines;
                    stage.list = *self.live.get(&p.lines)?;
                }
                Walk::Terms(p) if (p.slot, p.n, stage.bias) == (slot, stage.n, NONE) => {
                    (stage.bias, stage.error) = (p.bias, p.error);
                }
                Walk::Dense(p) if (p.from, p.n_out) == (slot, stage.n) && stage.bias != NONE => {
                    stage.n_columns = if p.n_in <= self.quads { 1 } else { 4 };
                    stage.weight = self.pack(p.weight, p.n_out, p.n_in, stage.n_columns);
                    self.tables.stages.push(stage);
                    stage = next(p.n_in);
                    slot = p.to;
                }
                _ => return None,
            }
        }
        let is_at_input = (concretize.slot, concretize.n) == (slot, stage.n) && stage.n == self.tables.n_inputs;
        if !is_at_input || stage.bias != NONE {
            return None;
        }
        if stage.lines != NONE {
            self.tables.stages.push(stage);
        }
        // The second list.
        let list = if select.is_some() { 1 + 4 * self.quads } else { 0 };
        self.step(PASS, self.tables.passes.len(), list, seed.target_len);
        self.tables.passes.push(FusedPass {
            choice: select.unwrap_or_default(),
            seed: *seed,
            end: *concretize,
            is_objective: u32::from(select.is_none()),
            first_stage: first_stage as u32,
            n_stages: (self.tables.stages.len() - first_stage) as u32,
            padding: 0,
        });
        Some(())
    }

    /// A matrix `[n_out, n_in]` by owner: row `k`, owner `q`, column `q + c · quads`; with a row of zeros at `n_out`, and as many
    /// more as make their number a multiple of four. Returns its place in elements of four.
    fn pack(&mut self, weight: u32, n_out: u32, n_in: u32, n_columns: u32) -> u32 {
        let (program, constants, quads) = (self.program, &mut self.tables.constants, self.quads);
        *self.packed.entry(weight).or_insert_with(|| {
            constants.resize(constants.len().next_multiple_of(4), 0.0);
            let place = constants.len() / 4;
            for k in 0..(n_out + 1).next_multiple_of(4) {
                for (q, c) in (0..quads).flat_map(|q| (0..n_columns).map(move |c| (q, c))) {
                    let i = q + c * quads;
                    let is_inside = k < n_out && i < n_in;
                    constants.push(if is_inside { program.constants[(weight + k * n_in + i) as usize] } else { 0.0 });
                }
            }
            place as u32
        })
    }
}
