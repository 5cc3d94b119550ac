//! Backward passes: the steps that rows and lanes share, and the walk of a block of rows.

use crate::device::isa::Vectorised;
use crate::kernels::{self, Block, Row};
use crate::logistic::Logistic;
use crate::program::{Backward, Program, Walk};

/// What a subdomain's steps read: its state, its marks, and the neurons of every node that are not constant zero.
pub type Parts<'a, T> = (&'a [T], &'a [u32], &'a [Vec<u32>]);

/// One step of a backward pass.
#[inline(always)]
pub fn step<T: Logistic, const LEVEL: u8>(walk: &Walk, program: &Program<T>, parts: Parts<T>, block: &mut Block<T>) {
    let Program { constants, tables, .. } = program;
    let (state, marks, alive) = parts;
    match walk {
        Walk::Lines(params) => kernels::back_lines::<T, LEVEL>(params, state, block),
        Walk::Terms(params) => kernels::affine_terms::<T, LEVEL>(params, constants, state, block),
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
    pub parts: Parts<'a, T>,
    pub block: &'a mut Block<T>,
}

impl<T: Logistic> Vectorised for WalkBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { program, backward, rows, parts, block } = self;
        kernels::seed(&backward.seed, &program.constants, parts.0, rows, block);
        for walk in &backward.walk {
            step::<T, LEVEL>(walk, program, parts, block);
        }
        kernels::conclude::<T, LEVEL>(&backward.concretize, program.set.as_deref(), parts.0, rows.len(), block);
    }
}
