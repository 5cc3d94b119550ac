//! Running the network itself on many points at once, with the kernels of the relaxed forward pass.

use network::{Activation, Network, Op, Real};
use rayon::prelude::*;

use crate::device::isa::{Isa, Vectorised};
use crate::kernels::{self, Block};
use crate::logistic::Logistic;
use crate::program::{ConvShape, Forward, IntervalAffine, Program, Step};
use crate::scalar::Scalar;
use crate::sweep::OnwardAffine;

/// Points that are run together.
pub(super) const WIDTH: usize = 32;

/// The values of some nodes at points `[n_points, n_inputs]`: for each node `[n_points, length]`.
///
/// Rounded as any execution of the network is: for samples, never for bounds.
pub fn evaluate<T: Logistic + Real>(
    program: &Program<T>,
    network: &Network,
    points: &[T],
    nodes: &[usize],
) -> Vec<Vec<T>> {
    let n = program.n_inputs;
    let run = |block: &mut Block<T>, chunk: &[T]| {
        Isa::detect().run(Run { program, network, points: chunk, block });
        let n_points = chunk.len() / n;
        let width = block.width;
        let of_node = |&node: &usize| -> Vec<T> {
            let length = program.nodes[node].1;
            let slot = &block.slots[node];
            (0..n_points).flat_map(|p| (0..length).map(move |j| slot[j * width + p])).collect()
        };
        nodes.iter().map(of_node).collect::<Vec<Vec<T>>>()
    };
    let blocks: Vec<Vec<Vec<T>>> =
        points.par_chunks(WIDTH * n).map_init(|| Block::new(program.nodes.len()), run).collect();
    let mut found: Vec<Vec<T>> =
        nodes.iter().map(|&node| Vec::with_capacity(points.len() / n * program.nodes[node].1)).collect();
    for block in blocks {
        found.iter_mut().zip(block).for_each(|(all, part)| all.extend(part));
    }
    found
}

/// Runs a few points, one in each lane; slot by slot, the values of every node.
pub(super) struct Run<'a, T> {
    pub program: &'a Program<T>,
    pub network: &'a Network,
    pub points: &'a [T],
    pub block: &'a mut Block<T>,
}

impl<T: Logistic + Real> Vectorised for Run<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { program, network, points, block } = self;
        let n = program.n_inputs;
        block.width = (points.len() / n).next_multiple_of(kernels::LANES);
        let width = block.width;
        for (slot, &(_, length)) in block.slots.iter_mut().zip(&program.nodes) {
            if slot.len() < length * WIDTH {
                slot.resize(length * WIDTH, <T as Scalar>::ZERO);
            }
        }
        block.slots[0].fill(<T as Scalar>::ZERO);
        for (p, point) in points.chunks_exact(n).enumerate() {
            point.iter().enumerate().for_each(|(i, &x)| block.slots[0][i * width + p] = x);
        }
        let bias = |params: &OnwardAffine| &program.constants[params.bias as usize..][..params.n_out as usize];
        let mut wanted: Vec<u32> = Vec::new();
        let mut id = 0;
        for step in &program.steps {
            let Step::Forward(forward) = step else { continue };
            id += 1;
            let node = network.node(network::NodeId(id));
            wanted.clear();
            wanted.extend(0..node.len() as u32);
            let source = node.inputs[0].0;
            // Products read the neurons that are listed as live.
            let n_source = program.nodes[source].1 as u32;
            block.live[source].clear();
            block.live[source].extend(0..n_source);
            match (forward, &node.op) {
                (Forward::Dense(params), _) => {
                    let params = onward(params, (source, id), params.transposed);
                    kernels::onward_dense::<T, LEVEL>(&params, (&program.constants, bias(&params)), &wanted, block);
                }
                (Forward::Conv(params, shape), _) => {
                    let (params, shape): (_, &ConvShape) = (onward(params, (source, id), params.transposed), shape);
                    kernels::onward_conv::<T, LEVEL>(
                        &params,
                        shape,
                        (&program.constants, bias(&params)),
                        &wanted,
                        block,
                    );
                }
                (Forward::Sparse(params), _) => {
                    let params = onward(params, (source, id), params.weight);
                    let constants = (program.constants.as_slice(), bias(&params));
                    kernels::onward_sparse::<T, LEVEL>(&params, constants, &program.tables, &wanted, block);
                }
                (Forward::Add(_), _) => {
                    let mut sum = std::mem::take(&mut block.slots[id]);
                    for (place, input) in node.inputs.iter().enumerate() {
                        let operand = &block.slots[input.0];
                        for at in 0..node.len() * width {
                            sum[at] = if place == 0 { operand[at] } else { sum[at] + operand[at] };
                        }
                    }
                    block.slots[id] = sum;
                }
                (Forward::Relax(_), Op::Activation(activation)) => {
                    let mut values = std::mem::take(&mut block.slots[id]);
                    let operand = &block.slots[source][..node.len() * width];
                    match activation {
                        Activation::Relu => {
                            values.iter_mut().zip(operand).for_each(|(h, &z)| *h = z.larger(<T as Scalar>::ZERO));
                        }
                        other => {
                            for (at, &z) in operand.iter().enumerate() {
                                values[at] = other.evaluate(at / width, z);
                            }
                        }
                    }
                    block.slots[id] = values;
                }
                (Forward::MaxPool(..), Op::MaxPool(pool)) => {
                    let mut values = std::mem::take(&mut block.slots[id]);
                    let operand = &block.slots[source];
                    for o in 0..node.len() {
                        for r in 0..width {
                            let max = |a: T, b: T| a.larger(b);
                            let window = pool.window(o).map(|i| operand[i * width + r]);
                            values[o * width + r] = window.reduce(max).unwrap_or(<T as Scalar>::ZERO);
                        }
                    }
                    block.slots[id] = values;
                }
                (Forward::Relax(_) | Forward::MaxPool(..), _) => unreachable!("steps follow the network's nodes"),
            }
        }
    }
}

fn onward(params: &IntervalAffine, (from, to): (usize, usize), weight: u32) -> OnwardAffine {
    OnwardAffine {
        from: from as u32,
        to: to as u32,
        n_out: params.n_out,
        n_in: params.n_in,
        weight,
        bias: params.bias,
        rows: params.rows,
        wanted: to as u32,
    }
}
