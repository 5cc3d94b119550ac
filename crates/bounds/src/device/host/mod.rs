//! Replaying a program on the processor: subdomains, or the row blocks of one subdomain, spread over all cores.

use rayon::prelude::*;

use crate::device::isa::{Isa, Vectorised};
use crate::kernels::{self, Block, Fold, Operand, Row};
use crate::logistic::Logistic;
use crate::program::{Backward, Forward, Program, Step, Walk};
use crate::sweep::Sweep;

mod ascent;
mod evaluate;
#[cfg(feature = "gpu")]
mod lockstep;
mod sample;
mod scope;
mod tangent;
mod walk;

pub use crate::kernels::LANES;
pub use ascent::{Ascent, Cloud, Ended, Goal, Keep, LaneBlock, Planes, Proof, Shared, Start};
pub use evaluate::evaluate;
#[cfg(feature = "gpu")]
pub use lockstep::scopes;
pub use sample::{least_values, plane_values};
pub use scope::{Scope, Split};
pub use tangent::{Tangents, tangents};
use walk::WalkBlock;

/// Most rows that are propagated together: four vectors, what the registers hold.
const BLOCK_ROWS: usize = 64;

/// How much more the undecided neurons count than the outputs when an input is chosen for splitting: where bounds are loose, the
/// outputs' own coefficients say little (measured on ACAS Xu property 1: 4 halves the tree against 0.3, and 0 never ends).
pub const INNER_WEIGHT: f64 = 4.0;

/// Bounds of a batch, as an executor returns them.
#[derive(Debug, Clone, PartialEq)]
pub struct Raw<T> {
    /// Lower ends, `[batch, n_rows]`; where upper ends are recorded, `n_rows = 2 n_outputs` and the second half holds bounds of
    /// the negatives.
    pub lower: Vec<T>,
    /// What rounding may have cost each, already inside, `[batch, n_rows]`.
    pub slack: Vec<T>,
    /// The input along which each subdomain is best split, if asked for: the one with the largest share (the
    /// kernel `split_score`) of the intermediate rows, [`INNER_WEIGHT`] times, and of the outputs' rows.
    pub split: Vec<u32>,
    /// The linear function below each output over its box, without the constant, `[batch, n_rows, n_inputs]`, if asked for.
    pub coefficients: Vec<T>,
    /// Rows that were propagated, all subdomains and passes together.
    pub n_rows: u64,
    /// Neurons that were undecided after the last bounds, all subdomains together.
    pub n_unstable: u64,
}

/// A request: boxes and what to return.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a, T> {
    /// Lower ends of the inputs, `[batch, n_inputs]`.
    pub lower: &'a [T],
    /// Upper ends of the inputs, `[batch, n_inputs]`.
    pub upper: &'a [T],
    /// Whether to return where to split.
    pub wants_split: bool,
    /// Whether to return the coefficients of every row at the input.
    pub wants_coefficients: bool,
}

/// Bounds one batch.
pub fn bound<T: Logistic>(program: &Program<T>, request: Request<T>) -> Raw<T> {
    let n = program.n_inputs;
    let batch = request.lower.len() / n.max(1);
    // With a subdomain for every core each runs alone; else the blocks of each are spread.
    let is_wide = batch >= rayon::current_num_threads();
    let one =
        |b: usize| Request { lower: &request.lower[b * n..][..n], upper: &request.upper[b * n..][..n], ..request };
    let nothing = Given::nothing();
    let outcomes: Vec<Outcome<T>> = if is_wide {
        let run =
            |workspace: &mut Workspace<T>, b| workspace.run(program, program.steps.iter(), &one(b), (&nothing, false));
        (0..batch).into_par_iter().with_min_len(1).map_init(|| Workspace::new(program), run).collect()
    } else {
        let mut workspace = Workspace::new(program);
        (0..batch).map(|b| workspace.run(program, program.steps.iter(), &one(b), (&nothing, true))).collect()
    };
    let mut raw = Raw::empty();
    for outcome in outcomes {
        raw.lower.extend(outcome.lower);
        raw.slack.extend(outcome.slack);
        raw.coefficients.extend(outcome.coefficients);
        if request.wants_split {
            raw.split.push(outcome.split);
        }
        raw.n_rows += outcome.n_rows;
        raw.n_unstable += outcome.n_unstable;
    }
    raw
}

/// The state of one subdomain after a run: for tests, and for whoever wants intermediate bounds.
pub fn state<T: Logistic>(program: &Program<T>, lower: &[T], upper: &[T]) -> (Vec<T>, Vec<u32>) {
    let mut workspace = Workspace::new(program);
    let request = Request { lower, upper, wants_split: false, wants_coefficients: false };
    workspace.run(program, program.steps.iter(), &request, (&Given::nothing(), true));
    (workspace.scope.state, workspace.scope.marks)
}

/// What holds in a subdomain besides its box, and how hard to bound it.
#[derive(Debug)]
pub struct Given<'a, T> {
    /// Bounds of every node that are known to hold, laid out as the state.
    pub known: Option<&'a [T]>,
    /// Splits that hold, sorted.
    pub splits: &'a [Split],
    /// How intermediate bounds are optimised (where the program can).
    pub ascent: Ascent,
    /// Nodes before this one are not refined: what is known of them is as good.
    pub settled: usize,
}

impl<T> Given<'_, T> {
    /// Nothing but the box, and nothing optimised.
    pub fn nothing() -> Self {
        Self { known: None, splits: &[], ascent: Ascent { steps: 0, ..Ascent::default() }, settled: 0 }
    }

    /// The splits of one activation.
    fn splits_of(&self, node: usize) -> &[Split] {
        let start = self.splits.partition_point(|split| (split.node as usize) < node);
        let end = self.splits.partition_point(|split| (split.node as usize) <= node);
        &self.splits[start..end]
    }
}

/// Bounds every node of one subdomain.
pub fn scope<T: Logistic>(program: &Program<T>, (lower, upper): (&[T], &[T]), given: &Given<T>) -> Scope<T> {
    let mut workspace = Workspace::new(program);
    let steps = program.steps.iter().filter(|step| !matches!(step, Step::Objective(_)));
    workspace.replay(program, (lower, upper), steps, given);
    workspace.scope
}

/// As [`scope`], by intervals and what is given alone.
pub fn forward_scope<T: Logistic>(program: &Program<T>, ends: (&[T], &[T]), given: &Given<T>) -> Scope<T> {
    forward_scope_of(program, program.steps.len(), ends, given)
}

/// As [`forward_scope`], by the first steps of a program only.
pub fn forward_scope_of<T: Logistic>(
    program: &Program<T>,
    n_steps: usize,
    (lower, upper): (&[T], &[T]),
    given: &Given<T>,
) -> Scope<T> {
    let mut workspace = Workspace::new(program);
    let steps = program.steps[..n_steps].iter().filter(|step| matches!(step, Step::Forward(_)));
    workspace.replay(program, (lower, upper), steps, given);
    workspace.scope
}

struct Outcome<T> {
    lower: Vec<T>,
    slack: Vec<T>,
    coefficients: Vec<T>,
    split: u32,
    n_rows: u64,
    n_unstable: u64,
}

impl<T> Raw<T> {
    /// Bounds of no subdomain.
    pub fn empty() -> Self {
        Self {
            lower: Vec::new(),
            slack: Vec::new(),
            split: Vec::new(),
            coefficients: Vec::new(),
            n_rows: 0,
            n_unstable: 0,
        }
    }
}

impl<T> Outcome<T> {
    fn empty() -> Self {
        Self { lower: Vec::new(), slack: Vec::new(), coefficients: Vec::new(), split: 0, n_rows: 0, n_unstable: 0 }
    }
}

/// Everything that one subdomain needs, allocated once per worker.
struct Workspace<T> {
    isa: Isa,
    scope: Scope<T>,
    operand: Operand<T>,
    block: Block<T>,
    rows: Vec<Row>,
    /// Shares of each input: of intermediate rows, then of output rows.
    scores: Vec<T>,
}

impl<T: Logistic> Workspace<T> {
    fn new(program: &Program<T>) -> Self {
        Self {
            isa: Isa::detect(),
            scope: Scope::new(program),
            operand: Operand::new(),
            block: Block::new(program.n_slots),
            rows: Vec::new(),
            scores: vec![T::ZERO; 2 * program.n_inputs],
        }
    }

    /// Runs steps without asking for anything but the scope.
    fn replay<'p>(
        &mut self,
        program: &'p Program<T>,
        (lower, upper): (&[T], &[T]),
        steps: impl Iterator<Item = &'p Step>,
        given: &Given<T>,
    ) {
        let request = Request { lower, upper, wants_split: false, wants_coefficients: false };
        self.run(program, steps, &request, (given, true));
    }

    fn run<'p>(
        &mut self,
        program: &'p Program<T>,
        steps: impl Iterator<Item = &'p Step>,
        request: &Request<T>,
        (given, spread): (&Given<T>, bool),
    ) -> Outcome<T> {
        // Who asks for slopes wants those of inputs that do not vary as well.
        self.scope.enter(program, request.lower, request.upper, !request.wants_coefficients);
        self.scores.fill(T::ZERO);
        let mut outcome = Outcome::empty();
        let mut node = 0;
        for step in steps {
            match step {
                Step::Forward(forward) => {
                    node += 1;
                    self.forward(program, forward, node, given);
                    if self.scope.is_empty {
                        return outcome;
                    }
                }
                Step::Refine(..) if node < given.settled => {}
                Step::Refine(select, backward) => {
                    kernels::select(select, &self.scope.state, &mut self.scope.marks);
                    let list = &self.scope.marks[select.list as usize..];
                    outcome.n_unstable += u64::from(list[0]);
                    self.refine(program, backward, select.list as usize, (request.wants_split, given.ascent), spread);
                    outcome.n_rows += 2 * u64::from(self.scope.marks[select.list as usize]);
                }
                Step::Objective(backward) => {
                    let rows = objective_rows(backward);
                    outcome.n_rows += rows.len() as u64;
                    self.objective(program, backward, &rows, request, spread, &mut outcome);
                }
            }
        }
        if !matches!(program.steps.last(), Some(Step::Objective(_))) {
            let (at, n) = program.nodes[program.nodes.len() - 1];
            outcome.lower = self.scope.state[at..at + n].to_vec();
            outcome.lower.extend(self.scope.state[at + n..at + 2 * n].iter().map(|&u| -u));
            outcome.slack = vec![T::ZERO; 2 * n];
        }
        outcome
    }

    /// Bounds one node by intervals and what is given.
    fn forward(&mut self, program: &Program<T>, forward: &Forward, node: usize, given: &Given<T>) {
        let splits = given.splits_of(node);
        self.scope.clip(forward, splits);
        self.isa.run(ForwardStep { program, forward, node, workspace: ForwardParts::of(self) });
        if let Some(known) = given.known {
            self.scope.intersect(program, node, known);
        }
        self.scope.list(program, node, splits);
    }

    /// Bounds both ends of every listed neuron and writes them into the state.
    fn refine(
        &mut self,
        program: &Program<T>,
        backward: &Backward,
        list: usize,
        (wants_split, ascent): (bool, Ascent),
        spread: bool,
    ) {
        let count = self.scope.marks[list] as usize;
        if count == 0 {
            return;
        }
        let sweep = &program.sweeps[program.node_at(backward.concretize.target)];
        if let (Some(sweep), 1..) = (sweep, ascent.steps) {
            self.refine_optimised(program, (backward, sweep), list, ascent);
            return;
        }
        // Both ends of a neuron share a block, and blocks are of equal size.
        let n_blocks = (2 * count).div_ceil(BLOCK_ROWS);
        let per_block = count.div_ceil(n_blocks);
        let at = backward.concretize.target as usize;
        let n = backward.concretize.target_len as usize;
        let keep = backward.concretize.keep_interval != 0;
        if spread && n_blocks > 1 {
            let neurons: Vec<u32> = self.scope.marks[list + 1..list + 1 + count].to_vec();
            let run = |block: &mut Block<T>, chunk: &[u32]| {
                let rows = both_ends(chunk);
                self.walk(program, backward, &rows, block);
                let mut scores = vec![T::ZERO; if wants_split { program.n_inputs } else { 0 }];
                if wants_split {
                    self.score(backward, block, rows.len(), &mut scores);
                }
                (rows, block.bias.clone(), scores)
            };
            let found: Vec<_> = neurons.par_chunks(per_block).map_init(|| Block::new(program.n_slots), run).collect();
            for (rows, bounds, scores) in found {
                write_back(&mut self.scope.state, at, n, keep, &rows, &bounds);
                self.scores.iter_mut().zip(scores).for_each(|(total, score)| *total += score);
            }
            return;
        }
        let mut block = std::mem::replace(&mut self.block, Block::new(0));
        let mut rows = std::mem::take(&mut self.rows);
        let mut found = std::mem::take(&mut self.operand.values);
        let mut scores = std::mem::take(&mut self.scores);
        found.clear();
        // All blocks read the same state: no block may see another's results, whatever the number of cores.
        for start in (0..count).step_by(per_block) {
            let chunk = &self.scope.marks[list + 1 + start..list + 1 + count.min(start + per_block)];
            rows.clear();
            rows.extend(chunk.iter().map(|&neuron| Row { neuron, is_upper: false }));
            rows.extend(chunk.iter().map(|&neuron| Row { neuron, is_upper: true }));
            self.walk(program, backward, &rows, &mut block);
            if wants_split {
                self.score(backward, &block, rows.len(), &mut scores[..program.n_inputs]);
            }
            let half = chunk.len();
            found.extend((0..half).map(|r| [block.bias[r], block.bias[half + r], T::ZERO]));
        }
        for (place, values) in found.iter().enumerate() {
            let neuron = self.scope.marks[list + 1 + place];
            let rows = [Row { neuron, is_upper: false }, Row { neuron, is_upper: true }];
            write_back(&mut self.scope.state, at, n, keep, &rows, &values[..2]);
        }
        self.block = block;
        self.rows = rows;
        self.operand.values = found;
        self.scores = scores;
    }

    /// As [`Self::refine`], with lines of their own for both ends of every neuron.
    fn refine_optimised(
        &mut self,
        program: &Program<T>,
        (backward, sweep): (&Backward, &Sweep),
        list: usize,
        ascent: Ascent,
    ) {
        let count = self.scope.marks[list] as usize;
        let mut neurons = self.scope.marks[list + 1..list + 1 + count].to_vec();
        if let Some(plane) = plane(backward) {
            // All channels of a pixel see the same part of the input.
            neurons.sort_unstable_by_key(|neuron| (neuron % plane, *neuron));
        }
        let per_block = count.div_ceil((2 * count).div_ceil(BLOCK_ROWS));
        let shared = Shared { program, backward, sweep, scope: &self.scope };
        let run = |block: &mut LaneBlock<T>, chunk: &[u32]| {
            let rows = both_ends(chunk);
            let bounds = block.ascend(&shared, &rows, &[], &ascent, Goal::Decided);
            let bounds: Vec<T> = bounds.iter().map(|[bound, _]| *bound).collect();
            (rows, bounds)
        };
        let found: Vec<_> = neurons.par_chunks(per_block).map_init(|| LaneBlock::new(program), run).collect();
        let at = backward.concretize.target as usize;
        let n = backward.concretize.target_len as usize;
        for (rows, bounds) in found {
            write_back(&mut self.scope.state, at, n, true, &rows, &bounds);
        }
    }

    fn objective(
        &mut self,
        program: &Program<T>,
        backward: &Backward,
        rows: &[Row],
        request: &Request<T>,
        spread: bool,
        outcome: &mut Outcome<T>,
    ) {
        let n = program.n_inputs;
        let mut scores = std::mem::take(&mut self.scores);
        let own_block = std::mem::replace(&mut self.block, Block::new(0));
        let coefficients = &mut outcome.coefficients;
        let mut collect = |block: &Block<T>, n_rows: usize| {
            let slot = &block.slots[backward.concretize.slot as usize];
            let live = &block.live[backward.concretize.slot as usize];
            if request.wants_coefficients {
                let first = coefficients.len();
                coefficients.resize(first + n_rows * n, T::ZERO);
                for &i in live {
                    for r in 0..n_rows {
                        coefficients[first + r * n + i as usize] = slot[i as usize * block.width + r];
                    }
                }
            }
            if request.wants_split {
                self.score(backward, block, n_rows, &mut scores[n..]);
            }
        };
        let n_blocks = rows.len().div_ceil(BLOCK_ROWS).max(1);
        let per_block = rows.len().div_ceil(n_blocks).max(1);
        let mut kept = None;
        if spread && n_blocks > 1 {
            let run = |chunk: &[Row]| {
                let mut block = Block::new(program.n_slots);
                self.walk(program, backward, chunk, &mut block);
                block
            };
            let blocks: Vec<_> = rows.par_chunks(per_block).map(run).collect();
            for (chunk, block) in rows.chunks(per_block).zip(&blocks) {
                outcome.lower.extend_from_slice(&block.bias[..chunk.len()]);
                outcome.slack.extend_from_slice(&block.slack[..chunk.len()]);
                collect(block, chunk.len());
            }
        } else {
            let mut block = own_block;
            for chunk in rows.chunks(per_block) {
                self.walk(program, backward, chunk, &mut block);
                outcome.lower.extend_from_slice(&block.bias[..chunk.len()]);
                outcome.slack.extend_from_slice(&block.slack[..chunk.len()]);
                collect(&block, chunk.len());
            }
            kept = Some(block);
        }
        let total = |scores: &[T]| scores.iter().fold(T::LEAST_SLOPE, |sum, &score| sum + score);
        let (inner, outer) = scores.split_at(n);
        let weight = T::of(INNER_WEIGHT) / total(inner);
        let outer_weight = T::ONE / total(outer);
        let mut best = (0, T::ZERO);
        for i in 0..n {
            let score = inner[i] * weight + outer[i] * outer_weight;
            if score > best.1 {
                best = (i, score);
            }
        }
        outcome.split = best.0 as u32;
        self.scores = scores;
        self.block = kept.unwrap_or_else(|| Block::new(program.n_slots));
    }

    fn score(&self, backward: &Backward, block: &Block<T>, n_rows: usize, scores: &mut [T]) {
        self.isa.run(ScoreBlock { backward, state: &self.scope.state, block, n_rows, scores });
    }

    fn walk(&self, program: &Program<T>, backward: &Backward, rows: &[Row], block: &mut Block<T>) {
        block.reset(rows.len(), program.slot_len);
        self.isa.run(WalkBlock { program, backward, rows, scope: &self.scope, block });
    }
}

/// The rows of the result: lower ends of all outputs, then, if recorded, bounds of their negatives.
fn objective_rows(backward: &Backward) -> Vec<Row> {
    let outputs = 0..backward.seed.target_len;
    let mut rows: Vec<Row> = outputs.clone().map(|neuron| Row { neuron, is_upper: false }).collect();
    if backward.seed.both_ends != 0 {
        rows.extend(outputs.map(|neuron| Row { neuron, is_upper: true }));
    }
    rows
}

/// Pixels of the target of a pass, where it is a convolution.
fn plane(backward: &Backward) -> Option<u32> {
    let shape = backward.walk.iter().take(2).find_map(|walk| match walk {
        Walk::Conv(params, shape) if params.n_out == backward.concretize.target_len => Some(shape),
        _ => None,
    });
    shape.map(|shape| shape.out_height * shape.out_width)
}

fn both_ends(neurons: &[u32]) -> Vec<Row> {
    let end = |is_upper: bool| neurons.iter().map(move |&neuron| Row { neuron, is_upper });
    end(false).chain(end(true)).collect()
}

/// Stores the bounds of rows into a node's bounds; a bound that is not finite stores nothing.
fn write_back<T: Logistic>(state: &mut [T], at: usize, n: usize, keep: bool, rows: &[Row], bounds: &[T]) {
    for (row, &bound) in rows.iter().zip(bounds) {
        if !bound.is_finite() {
            continue;
        }
        let j = row.neuron as usize;
        if row.is_upper {
            let upper = &mut state[at + n + j];
            *upper = if keep { upper.smaller(-bound) } else { -bound };
        } else {
            let lower = &mut state[at + j];
            *lower = if keep { lower.larger(bound) } else { bound };
        }
    }
}

/// What a forward step needs of a workspace.
struct ForwardParts<'a, T> {
    scope: &'a mut Scope<T>,
    operand: &'a mut Operand<T>,
}

impl<'a, T> ForwardParts<'a, T> {
    fn of(workspace: &'a mut Workspace<T>) -> Self {
        Self { scope: &mut workspace.scope, operand: &mut workspace.operand }
    }
}

struct ForwardStep<'a, T> {
    program: &'a Program<T>,
    forward: &'a Forward,
    node: usize,
    workspace: ForwardParts<'a, T>,
}

impl<T: Logistic> Vectorised for ForwardStep<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        let Self { program: Program { constants, tables, operands, .. }, forward, node, workspace } = self;
        let ForwardParts { scope: Scope { state, marks, fixed, terms, .. }, operand } = workspace;
        // Operands come before the node.
        let (before, from) = fixed.split_at_mut(node);
        let source = &before[operands[node][0]];
        let fold = &mut Fold { operands: source, neurons: &mut from[0], terms: &mut terms[node] };
        match forward {
            Forward::Dense(params) => kernels::interval_dense::<T, LEVEL>(params, constants, state, operand, fold),
            Forward::Conv(params, shape) => {
                kernels::interval_conv::<T, LEVEL>(params, shape, constants, state, operand, fold);
            }
            Forward::Sparse(params) => {
                kernels::interval_sparse::<T, LEVEL>(params, constants, tables, state, operand, fold);
            }
            Forward::Add(params) => {
                fold.neurons.clear();
                kernels::interval_add(params, tables, state);
            }
            Forward::Relax(params) => kernels::relax(params, constants, state),
            Forward::MaxPool(params, shape) => {
                fold.neurons.clear();
                kernels::interval_max_pool(params, shape, state, marks);
            }
        }
    }
}

struct ScoreBlock<'a, T> {
    backward: &'a Backward,
    state: &'a [T],
    block: &'a Block<T>,
    n_rows: usize,
    scores: &'a mut [T],
}

impl<T: Logistic> Vectorised for ScoreBlock<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<const LEVEL: u8>(self) {
        kernels::split_score::<T, LEVEL>(&self.backward.concretize, self.state, self.block, self.n_rows, self.scores);
    }
}
