use rayon::prelude::*;

use super::{Given, Workspace, both_ends, write_back};
use crate::kernels::{self, Row};
use crate::logistic::Logistic;
use crate::program::{Program, Step};

use super::scope::Scope;

/// Bounds rows of a step's target, each over one of these scopes, together; none if that has to be done here.
pub type Refiner<'a, T> = dyn Fn(usize, &[&Scope<T>], &[(usize, Row)]) -> Option<Vec<T>> + 'a;

/// As [`super::scope`] for several boxes, all of them at the same step at the same time, so that the undecided neurons of all can be
/// bounded together where their bounds are optimised.
pub fn scopes<T: Logistic>(
    program: &Program<T>,
    boxes: &[(&[T], &[T])],
    given: &Given<T>,
    refiner: &Refiner<T>,
) -> Vec<Scope<T>> {
    let begin = |&(lower, upper): &(&[T], &[T])| {
        let mut workspace = Workspace::new(program);
        workspace.scope.enter(program, lower, upper, true);
        workspace
    };
    let mut workspaces: Vec<Workspace<T>> = boxes.iter().map(begin).collect();
    let mut node = 0;
    for (place, step) in program.steps.iter().enumerate() {
        match step {
            Step::Forward(forward) => {
                node += 1;
                let open = workspaces.par_iter_mut().filter(|workspace| !workspace.scope.is_empty);
                open.for_each(|workspace| workspace.forward(program, forward, node, given));
            }
            Step::Refine(..) if node < given.settled => {}
            Step::Refine(select, backward) => {
                let list = select.list as usize;
                for workspace in &mut workspaces {
                    kernels::select(select, &workspace.scope.state, &mut workspace.scope.marks);
                }
                let is_optimised =
                    given.ascent.steps > 0 && program.sweeps[program.node_at(backward.concretize.target)].is_some();
                if is_optimised && refine(&mut workspaces, (place, step), refiner) {
                    continue;
                }
                let spread = workspaces.len() < rayon::current_num_threads();
                let refine = |workspace: &mut Workspace<T>| {
                    if !workspace.scope.is_empty {
                        workspace.refine(program, backward, list, (false, given.ascent), spread);
                    }
                };
                if spread {
                    workspaces.iter_mut().for_each(refine);
                } else {
                    workspaces.par_iter_mut().for_each(refine);
                }
            }
            Step::Objective(_) => {}
        }
    }
    workspaces.into_iter().map(|workspace| workspace.scope).collect()
}

/// Both ends of every listed neuron of every box, by the refiner; whether it did.
fn refine<T: Logistic>(workspaces: &mut [Workspace<T>], (place, step): (usize, &Step), refiner: &Refiner<T>) -> bool {
    let Step::Refine(select, backward) = step else { return false };
    let list = select.list as usize;
    let mut rows: Vec<(usize, Row)> = Vec::new();
    for (b, workspace) in workspaces.iter().enumerate().filter(|(_, workspace)| !workspace.scope.is_empty) {
        let count = workspace.scope.marks[list] as usize;
        // Neighbours and both of their ends side by side: what they reach overlaps.
        for neurons in workspace.scope.marks[list + 1..list + 1 + count].chunks(2) {
            rows.extend(both_ends(neurons).into_iter().map(|row| (b, row)));
        }
    }
    if rows.is_empty() {
        return true;
    }
    let scopes: Vec<&Scope<T>> = workspaces.iter().map(|workspace| &workspace.scope).collect();
    let Some(bounds) = refiner(place, &scopes, &rows) else { return false };
    let (at, n) = (backward.concretize.target as usize, backward.concretize.target_len as usize);
    for ((b, row), bound) in rows.iter().zip(bounds) {
        write_back(&mut workspaces[*b].scope.state, at, n, true, &[*row], &[bound]);
    }
    true
}
