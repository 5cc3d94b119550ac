//! Lanes on the device of an engine: the same program once more, in the device's arithmetic.

use rayon::prelude::*;

use crate::device::gpu::{Gpu, GpuLanes, LaneTask, TaskLane};
use crate::device::host::{self, Ascent, Ended, Given, Goal, Keep, Scope, Split, Start};
use crate::dual::{Lane, Target};
use crate::error::Error;
use crate::kernels::Row;
use crate::program::{Program, Step};

/// A program whose lanes a device optimises.
#[derive(Debug)]
pub struct LaneDevice {
    program: Program<f32>,
    gpu: GpuLanes,
}

/// Lanes over one scope, the host's and the device's.
#[derive(Debug, Clone, Copy)]
pub struct LaneRequest<'a> {
    /// What is bounded.
    pub target: Target,
    /// The lanes.
    pub lanes: &'a [Lane<'a>],
    /// Per node, the neurons whose `α` the lanes list.
    pub entries: &'a [Vec<u32>],
    /// How to optimise, when a lane rests, and what to return.
    pub how: (&'a Ascent, Goal, Keep),
}

impl LaneDevice {
    /// Loads a program that was recorded in the device's arithmetic.
    ///
    /// # Errors
    /// As [`Gpu::load_lanes`].
    pub fn new(gpu: &Gpu, program: Program<f32>) -> Result<Self, Error> {
        Ok(Self { gpu: gpu.load_lanes(&program)?, program })
    }

    /// A subdomain with lines and errors in the device's arithmetic: those of nodes that the first `n_steps` steps bound.
    ///
    /// Bounds are taken over from the host's scope. Both programs are of one network, and lay out the state alike.
    fn translated(&self, scope: &Scope<f32>, splits: &[Split], n_steps: usize) -> Scope<f32> {
        let n = self.program.n_inputs;
        let ends = (&scope.state[..n], &scope.state[n..2 * n]);
        let given = Given { known: Some(&scope.state), splits, ..Given::nothing() };
        host::forward_scope_of(&self.program, n_steps, ends, &given)
    }

    /// A whole subdomain in the device's arithmetic.
    pub fn whole(&self, scope: &Scope<f32>, splits: &[Split]) -> Scope<f32> {
        self.translated(scope, splits, self.program.steps.len())
    }

    /// Optimises lanes over one subdomain, which is in the device's arithmetic; none if the host should.
    ///
    /// # Errors
    /// As [`GpuLanes::ascend`].
    pub fn ascend(&self, scope: &Scope<f32>, request: LaneRequest) -> Result<Option<Vec<Ended<f32>>>, Error> {
        let LaneRequest { target, lanes, entries, how: (ascent, goal, keep) } = request;
        let target = match target {
            Target::Outputs => self.program.nodes.len() - 1,
            Target::Operand(activation) => {
                let relax = self.program.activations.get(activation as usize).copied().flatten();
                let Some(relax) = relax else { return Ok(None) };
                self.program.node_at(relax.source)
            }
            // Probes have no kernel.
            Target::Constrained { .. } => return Ok(None),
        };
        let lanes: Vec<TaskLane> = lanes
            .iter()
            .map(|lane| TaskLane {
                subdomain: 0,
                row: Row { neuron: lane.neuron, is_upper: lane.is_upper },
                start: Start { splits: lane.splits, alpha: lane.alpha, probe: None },
            })
            .collect();
        let scopes = std::slice::from_ref(scope);
        self.gpu.ascend(&LaneTask { target, scopes, lanes: &lanes, entries, ascent, goal, keep })
    }

    /// Optimises rows of the target of a step of the host's program, each over one of its scopes; none if the host should.
    ///
    /// # Errors
    /// As [`GpuLanes::ascend`].
    pub fn refine(
        &self,
        step: usize,
        (scopes, splits): (&[&Scope<f32>], &[Split]),
        rows: &[(usize, Row)],
        (ascent, goal): (&Ascent, Goal),
    ) -> Result<Option<Vec<Ended<f32>>>, Error> {
        let (Step::Refine(_, backward) | Step::Objective(backward)) = &self.program.steps[step] else {
            return Ok(None);
        };
        let target = self.program.node_at(backward.concretize.target);
        if !self.gpu.takes(target, rows.len()) {
            return Ok(None);
        }
        let translated: Vec<Scope<f32>> = scopes.par_iter().map(|scope| self.translated(scope, splits, step)).collect();
        let lanes: Vec<TaskLane> =
            rows.iter().map(|&(subdomain, row)| TaskLane { subdomain, row, start: Start::default() }).collect();
        let keep = Keep::default();
        self.gpu.ascend(&LaneTask { target, scopes: &translated, lanes: &lanes, entries: &[], ascent, goal, keep })
    }
}
