//! Backward passes: the steps that rows and lanes share, and the walk of a block of rows.

use crate::device::isa::Vectorised;
use crate::kernels::{self, Block, Row};
use crate::logistic::Logistic;
use crate::program::{Backward, Program, Walk};

use super::scope::Scope;

/// The first coefficients of a pass.
#[inline(always)]
pub fn seed<T: Logistic>(
    backward: &Backward,
    program: &Program<T>,
    scope: &Scope<T>,
    rows: &[Row],
    block: &mut Block<T>,
) {
    let target = program.node_at(backward.concretize.target);
    let wanted = program.operands[target].first().map_or(&[][..], |&operand| scope.alive[operand].as_slice());
    kernels::seed(&backward.seed, &program.constants, (wanted, &scope.terms[target]), rows, block);
}

/// One step of a backward pass.
#[inline(always)]
pub fn step<T: Logistic, const LEVEL: u8>(walk: &Walk, program: &Program<T>, scope: &Scope<T>, block: &mut Block<T>) {
    let Program { constants, tables, .. } = program;
    let Scope { state, marks, alive, terms, .. } = scope;
    match walk {
        Walk::Lines(params) => kernels::back_lines::<T, LEVEL>(params, state, block),
        Walk::Terms(params) => {
            // Errors come after both ends of the bounds.
            let node = program.node_at(params.error - 2 * params.n);
            kernels::affine_terms::<T, LEVEL>(params, &terms[node], block);
        }
        Walk::Dense(params) => {
            kernels::back_dense::<T, LEVEL>(params, constants, &alive[params.operand as usize], block);
        }
        Walk::Conv(params, shape) => {
            kernels::back_conv::<T, LEVEL>(params, shape, constants, &alive[params.operand as usize], block);
        }
        Walk::Sparse(params) => {
            kernels::back_sparse::<T, LEVEL>(params, constants, tables, &alive[params.operand as usize], block);
        }
        Walk::MaxPool(params, _) => kernels::back_max_pool::<T, LEVEL>(params, state, marks, block),
        Walk::Merge(params) => kernels::back_merge::<T, LEVEL>(params, state, block),
    }
}

/// A block of rows of one subdomain, walked to the input.
pub struct WalkBlock<'a, T> {
    pub program: &'a Program<T>,
    pub backward: &'a Backward,
    pub rows: &'a [Row],
    pub scope: &'a Scope<T>,
    pub block: &'a mut Block<T>,
}

impl<T: Logistic> Vectorised for WalkBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { program, backward, rows, scope, block } = self;
        seed(backward, program, scope, rows, block);
        for walk in &backward.walk {
            step::<T, LEVEL>(walk, program, scope, block);
        }
        kernels::conclude::<T, LEVEL>(&backward.concretize, program.set.as_deref(), &scope.state, rows.len(), block);
    }
}
