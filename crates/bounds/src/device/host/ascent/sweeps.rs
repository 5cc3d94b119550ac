//! The two sweeps of an optimisation step: backward to the bounds, forward to the gradients.

use crate::device::host::ascent::Shared;
use crate::device::host::walk::{seed, step};
use crate::device::isa::Vectorised;
use crate::kernels::{self, Block, LaneLines, Row, Smooth, Update};
use crate::logistic::Logistic;
use crate::program::{ActivationKind, Program, Relax, Walk};
use crate::sweep::{Onward, OnwardAffine};

/// What a sigmoid or a tanh needs for lines of its own in every lane.
#[inline(always)]
pub(super) fn smooth<'a, T: Logistic>(relax: &Relax, constants: &'a [T], bounds: &'a [T]) -> Option<Smooth<'a, T>> {
    let is_tanh = relax.kind == ActivationKind::Tanh as u32;
    (is_tanh || relax.kind == ActivationKind::Sigmoid as u32).then(|| Smooth {
        is_tanh,
        bounds,
        table: &constants[relax.table as usize..],
        two_units: T::of(f64::from(relax.two_units)),
        gamma: T::of(f64::from(relax.gamma_intercept)),
    })
}

/// One backward sweep.
pub(super) struct Down<'a, T> {
    pub shared: &'a Shared<'a, T>,
    pub rows: &'a [Row],
    pub block: &'a mut Block<T>,
    pub lines: &'a mut [LaneLines<T>],
    pub constants: &'a mut Vec<T>,
}

impl<T: Logistic> Vectorised for Down<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { shared: Shared { program, backward, scope, .. }, rows, block, lines, constants: kept } = self;
        let state = scope.state.as_slice();
        seed(backward, program, scope, rows, block);
        for walk in &backward.walk {
            if let Walk::MaxPool(params, _) = walk {
                let (slot, live) = (&block.slots[params.from as usize], &block.live[params.from as usize]);
                let signs = &mut lines[program.node_at(params.bounds)].is_negative;
                kernels::note_signs(slot, live, params.n_out as usize, block.width, signs);
            }
            let Walk::Lines(params) = walk else {
                step::<T, LEVEL>(walk, program, scope, block);
                continue;
            };
            let node = params.node as usize;
            let relax = program.activations[node].as_ref().expect("an activation has lines");
            let bounds = &state[relax.source as usize..][..2 * relax.n as usize];
            let two_units = T::of(f64::from(relax.two_units));
            let entries = &scope.entries[node];
            kernels::back_lanes::<T, LEVEL>(params, state, entries, (bounds, two_units), &mut lines[node], block);
        }
        kept.clone_from(&block.bias);
        kernels::conclude::<T, LEVEL>(&backward.concretize, program.set.as_deref(), state, rows.len(), block);
    }
}

/// One relaxed forward sweep.
pub(super) struct Up<'a, T> {
    pub shared: &'a Shared<'a, T>,
    pub wants_gaps: bool,
    /// Where to start, if not at the minimisers.
    pub points: Option<&'a [T]>,
    /// The share of an activation's largest multiplier that one multiplier may have.
    pub share: f64,
    pub rates: [&'a [T]; 2],
    /// Adam's memory of the gradient.
    pub momentum: T,
    pub block: &'a Block<T>,
    pub values: &'a mut Block<T>,
    pub lines: &'a mut [LaneLines<T>],
}

impl<T: Logistic> Vectorised for Up<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { shared, wants_gaps, points, share, rates, momentum, block, values, lines } = self;
        let Shared { program, backward, sweep, scope } = shared;
        let Program { constants, tables, .. } = program;
        let slot = backward.concretize.slot as usize;
        let state = scope.state.as_slice();
        if let Some(points) = points {
            values.slots[0][..points.len()].copy_from_slice(points);
            values.live[0].clear();
            values.live[0].extend_from_slice(&scope.alive[0]);
        } else if program.set.is_some() {
            kernels::minimiser_in_set(program.n_inputs, &block.points, &scope.alive[0], values);
        } else {
            let from = (&block.slots[slot][..], &block.live[slot][..]);
            kernels::minimiser(state, program.n_inputs, from, &scope.alive[0], values);
        }
        let bias = |params: &OnwardAffine| {
            let wanted = params.wanted as usize;
            let node = if program.activations[wanted].is_some() { program.operands[wanted][0] } else { wanted };
            scope.terms[node].bias.as_slice()
        };
        for onward in &sweep.onward {
            match onward {
                Onward::Dense(params) => {
                    let wanted = &scope.alive[params.wanted as usize];
                    kernels::onward_dense::<T, LEVEL>(params, (constants, bias(params)), wanted, values);
                }
                Onward::Conv(params, shape) => {
                    let wanted = &scope.alive[params.wanted as usize];
                    kernels::onward_conv::<T, LEVEL>(params, shape, (constants, bias(params)), wanted, values);
                }
                Onward::Sparse(params) => {
                    let wanted = &scope.alive[params.wanted as usize];
                    kernels::onward_sparse::<T, LEVEL>(params, (constants, bias(params)), tables, wanted, values);
                }
                Onward::Lines(params) => {
                    let node = params.node as usize;
                    let relax = program.activations[node].as_ref().expect("an activation has lines");
                    let update = Update {
                        alpha_rates: rates[0],
                        beta_rates: rates[1],
                        momentum,
                        cap: T::of(f64::from(sweep.caps[node]) * share),
                        bounds: &block.bias,
                        is_relu: relax.kind == ActivationKind::Relu as u32,
                        smooth: smooth(relax, constants, &state[relax.source as usize..][..2 * relax.n as usize]),
                        wants_gaps,
                    };
                    let n = params.n as usize;
                    let lists = (scope.entries[node].as_slice(), scope.alive[node].as_slice());
                    let shared_lines = &state[relax.lines as usize..][..5 * n];
                    kernels::onward_lines::<T, LEVEL>(params, shared_lines, lists, &mut lines[node], &update, values);
                }
                Onward::Merge(params) => kernels::onward_merge(params, values),
                Onward::MaxPool(params, _) => {
                    let signs = &lines[params.node as usize].is_negative;
                    kernels::onward_max_pool(params, state, &scope.marks, signs, values);
                }
            }
        }
    }
}
