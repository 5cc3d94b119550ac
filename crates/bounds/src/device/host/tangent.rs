//! The linear functions that touch an output at points: what descents follow. Rounded as any execution is, and never part of a bound.

use network::{Activation, Network, NodeId, Op};
use rayon::prelude::*;

use crate::device::host::evaluate::{Run, WIDTH};
use crate::device::isa::{Isa, Vectorised};
use crate::kernels::{self, Block, Row, Terms};
use crate::program::{Backward, Program, Step, Walk};

/// Of each point, one output and how it changes there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tangents {
    /// The output: the one that was asked for, or the least.
    pub rows: Vec<u32>,
    /// Its value.
    pub values: Vec<f32>,
    /// Its slopes, `[n_points, n_inputs]`, if asked for.
    pub slopes: Vec<f32>,
}

/// The tangents at points `[n_points, n_inputs]`: of the output that `targets` names, or of the least.
///
/// All points share every product, and the walk is the outputs' own: only that each activation has the slope of its point.
pub fn tangents(
    program: &Program<f32>,
    network: &Network,
    points: &[f32],
    targets: &[Option<u32>],
    wants_slopes: bool,
) -> Tangents {
    let n = program.n_inputs.max(1);
    let Some(Step::Objective(backward)) = program.steps.last() else { return Tangents::default() };
    let state = vec![0.0; program.state_stride];
    let all: Vec<u32> = (0..program.slot_len.max(program.n_inputs) as u32).collect();
    let begin = || (Block::new(program.nodes.len()), Block::new(program.n_slots));
    let run = |(values, block): &mut (Block<f32>, Block<f32>), (points, targets): (&[f32], &[Option<u32>])| {
        let shared = (program, network, backward);
        Isa::detect().run(Touch { shared, points, targets, lists: (&state, &all), wants_slopes, values, block })
    };
    let chunks = points.par_chunks(WIDTH * n).zip(targets.par_chunks(WIDTH));
    let parts: Vec<Tangents> = chunks.map_init(begin, run).collect();
    let mut found = Tangents::default();
    for part in parts {
        found.rows.extend(part.rows);
        found.values.extend(part.values);
        found.slopes.extend(part.slopes);
    }
    found
}

/// The tangents at a few points, one in each lane.
struct Touch<'a> {
    shared: (&'a Program<f32>, &'a Network, &'a Backward),
    points: &'a [f32],
    targets: &'a [Option<u32>],
    /// Bounds of nothing, and all neurons.
    lists: (&'a [f32], &'a [u32]),
    wants_slopes: bool,
    /// Values of every node.
    values: &'a mut Block<f32>,
    block: &'a mut Block<f32>,
}

impl Vectorised for Touch<'_> {
    type Output = Tangents;

    #[inline(always)]
    fn run<const LEVEL: u8>(self) -> Tangents {
        let Self { shared: (program, network, backward), points, targets, lists, wants_slopes, values, block } = self;
        let (state, all) = lists;
        Run { program, network, points, block: values }.run::<LEVEL>();
        let width = values.width;
        let outputs = &values.slots[program.nodes.len() - 1];
        let at = |row: u32, lane: usize| outputs[row as usize * width + lane];
        let least = |lane: usize| (0..program.n_outputs as u32).min_by(|&a, &b| at(a, lane).total_cmp(&at(b, lane)));
        let mut found = Tangents::default();
        for (lane, target) in targets.iter().enumerate() {
            let row = target.or_else(|| least(lane)).unwrap_or(0);
            found.rows.push(row);
            found.values.push(at(row, lane));
        }
        if !wants_slopes {
            return found;
        }
        let rows: Vec<Row> = found.rows.iter().map(|&neuron| Row { neuron, is_upper: false }).collect();
        let nothing = vec![0.0; backward.seed.target_len as usize];
        let terms = Terms { bias: nothing.clone(), error: nothing, is_folded: false };
        block.reset(rows.len(), program.slot_len);
        kernels::seed(&backward.seed, &program.constants, (&all[..backward.seed.n as usize], &terms), &rows, block);
        for walk in &backward.walk {
            match walk {
                Walk::Terms(_) => {}
                Walk::Lines(params) => {
                    let node = params.node as usize;
                    let (slot, live) = (&mut block.slots[params.slot as usize], &block.live[params.slot as usize]);
                    let (z, h) = (&values.slots[program.operands[node][0]], &values.slots[node]);
                    let Op::Activation(activation) = &network.node(NodeId(node)).op else {
                        unreachable!("it has lines")
                    };
                    for &j in live {
                        for at in j as usize * width..(j as usize + 1) * width {
                            slot[at] *= slope(activation, j as usize, z[at], h[at]);
                        }
                    }
                }
                Walk::Dense(p) => {
                    kernels::back_dense::<f32, LEVEL>(p, &program.constants, &all[..p.n_in as usize], block);
                }
                Walk::Conv(p, shape) => {
                    kernels::back_conv::<f32, LEVEL>(p, shape, &program.constants, &all[..p.n_in as usize], block);
                }
                Walk::Sparse(p) => {
                    let (constants, tables) = (&program.constants, &program.tables);
                    kernels::back_sparse::<f32, LEVEL>(p, constants, tables, &all[..p.n_in as usize], block);
                }
                Walk::Merge(p) => kernels::back_merge::<f32, LEVEL>(p, state, block),
                Walk::MaxPool(p, _) => {
                    let node = program.node_at(p.bounds);
                    let Op::MaxPool(pool) = &network.node(NodeId(node)).op else { unreachable!("it has maxima") };
                    let operand = &values.slots[program.operands[node][0]];
                    let mut to = std::mem::take(&mut block.slots[p.to as usize]);
                    to[..p.n_in as usize * width].fill(0.0);
                    let from = &block.slots[p.from as usize];
                    for &o in &block.live[p.from as usize] {
                        for lane in 0..width {
                            let value = |i: &usize| operand[i * width + lane];
                            let chosen = pool.window(o as usize).max_by(|a, b| value(a).total_cmp(&value(b)));
                            if let Some(i) = chosen {
                                to[i * width + lane] += from[o as usize * width + lane];
                            }
                        }
                    }
                    block.slots[p.to as usize] = to;
                    block.live[p.to as usize].clear();
                    block.live[p.to as usize].extend_from_slice(&all[..p.n_in as usize]);
                }
            }
        }
        let n = program.n_inputs;
        let slot = backward.concretize.slot as usize;
        found.slopes.resize(rows.len() * n, 0.0);
        for &i in &block.live[slot] {
            for lane in 0..rows.len() {
                found.slopes[lane * n + i as usize] = block.slots[slot][i as usize * width + lane];
            }
        }
        found
    }
}

/// The slope of an activation at `z`, where its value is `h`.
#[inline(always)]
fn slope(activation: &Activation, j: usize, z: f32, h: f32) -> f32 {
    match activation {
        Activation::Relu => f32::from(u8::from(z > 0.0)),
        Activation::LeakyRelu(_) if z > 0.0 => 1.0,
        Activation::LeakyRelu(slopes) => (if slopes.len() == 1 { slopes[0] } else { slopes[j] }) as f32,
        Activation::Clip { lower, upper } => f32::from(u8::from(*lower < f64::from(z) && f64::from(z) < *upper)),
        Activation::Sigmoid => h * (1.0 - h),
        Activation::Tanh => 1.0 - h * h,
    }
}
