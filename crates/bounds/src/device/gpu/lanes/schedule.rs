use bytemuck::bytes_of;

use super::params::{LaneEnd, LaneGaps, LaneNode};
use crate::device::gpu::kernel::Kernel;
use crate::device::gpu::planes::Planes;
use crate::device::gpu::schedule::{MAX_WORKGROUPS, Products, TILED, TILES, check, input_quads, push};
use crate::error::{Error, ErrorKind};
use crate::program::{ActivationKind, BackMerge, Backward, ConvShape, Program, Step, Walk};
use crate::sweep::{Onward, Sweep};

/// The optimised passes of a program as kernels and their parameters, independent of the lanes.
#[derive(Debug, Clone)]
pub struct LaneSchedule {
    /// Parameters, [`UNIFORM_STRIDE`](crate::device::gpu::kernel::UNIFORM_STRIDE) bytes each.
    pub params: Vec<u8>,
    /// By target.
    pub passes: Vec<LanePass>,
    /// Rows of the duals: neurons of all activations, then, for kept coefficients only, outputs of all max-pools.
    pub n_rows: u32,
    /// With the max-pools.
    pub n_kept: u32,
    /// Per node, its first row.
    pub firsts: Vec<u32>,
    /// Per node, where an activation's operand and lines lie in the state.
    pub activations: Vec<Option<Activation>>,
    /// Coefficient matrices, and with the matrices of values behind them.
    pub n_back_slots: u32,
    pub n_slots: u32,
}

/// An activation in the state: bounds of its operand, its lines, its length; whether it is a `ReLU`.
#[derive(Debug, Clone, Copy)]
pub struct Activation {
    pub source: usize,
    pub lines: usize,
    pub n: usize,
    pub is_relu: bool,
}

/// One pass and its way back.
#[derive(Debug, Clone)]
pub struct LanePass {
    /// The node whose neurons are bounded.
    pub target: usize,
    /// Start of the duals of every node on the way.
    pub start: Vec<LaneLaunch>,
    /// From the target to the input: seed, walk, end.
    pub down: Vec<LaneLaunch>,
    /// From the input to the last activation.
    pub up: Vec<LaneLaunch>,
    /// Keeping the best slopes of every activation on the way.
    pub store: Vec<LaneLaunch>,
    /// Packing the slopes of every `ReLU` on the way.
    pub pack: Vec<LaneLaunch>,
    /// Finding the largest gaps.
    pub gaps: LaneLaunch,
    /// Packing the minimiser's ends.
    pub ends: LaneLaunch,
    /// Per node: whether it is a `ReLU` on the way.
    pub is_relu: Vec<bool>,
    /// Per node, the largest multiplier.
    pub caps: Vec<f32>,
    /// Floating-point operations of one step (down and up) of one tile, about.
    pub flop: f64,
}

/// A kernel with its parameters and its grid: tiles per workgroup, and workgroups along the other dimension.
#[derive(Debug, Clone, Copy)]
pub struct LaneLaunch {
    pub kernel: Kernel,
    pub params: u32,
    pub tiles: u32,
    pub n_workgroups: u32,
}

impl LanePass {
    /// Every launch.
    pub fn launches(&self) -> impl Iterator<Item = &LaneLaunch> {
        let lists = [&self.start, &self.down, &self.up, &self.store, &self.pack];
        lists.into_iter().flatten().chain([&self.gaps, &self.ends])
    }
}

impl LaneSchedule {
    /// Lays out the optimised passes.
    ///
    /// # Errors
    /// [`ErrorKind::NoDevice`] if lanes of this program stay on the host; [`ErrorKind::Magnitude`] if a parameter is not finite.
    pub fn new(program: &Program<f32>, products: Products) -> Result<Self, Error> {
        let unfit = |why: &str| Err(ErrorKind::NoDevice(format!("for optimised bounds only: {why}")).into());
        if program.set.is_some() {
            return unfit("no kernel of lanes knows a set of inputs");
        }
        let is_smooth = |kind: u32| [ActivationKind::Sigmoid, ActivationKind::Tanh].iter().any(|&k| k as u32 == kind);
        if program.activations.iter().flatten().any(|relax| is_smooth(relax.kind)) {
            return unfit("no kernel moves the slopes of a sigmoid or tanh");
        }
        let mut schedule = Self {
            params: Vec::new(),
            passes: Vec::new(),
            n_rows: 0,
            n_kept: 0,
            firsts: vec![0; program.nodes.len()],
            activations: vec![None; program.nodes.len()],
            n_back_slots: program.n_slots as u32,
            n_slots: 0,
        };
        for (node, relax) in program.activations.iter().enumerate() {
            if let Some(relax) = relax {
                check(&[relax.two_units, relax.gamma_intercept])?;
                schedule.firsts[node] = schedule.n_rows;
                schedule.n_rows += relax.n;
                let [source, lines, n] = [relax.source, relax.lines, relax.n].map(|at| at as usize);
                schedule.activations[node] =
                    Some(Activation { source, lines, n, is_relu: relax.kind == ActivationKind::Relu as u32 });
            }
        }
        schedule.n_kept = schedule.n_rows;
        let n_values = program.sweeps.iter().flatten().map(|sweep| sweep.n_slots).max().unwrap_or(0);
        schedule.n_slots = (program.n_slots + n_values.max(1)) as u32;
        let pools = program.sweeps.iter().flatten().flat_map(|sweep| &sweep.onward).filter_map(|onward| match onward {
            Onward::MaxPool(params, _) => Some((params.node as usize, params.n_out)),
            _ => None,
        });
        let mut is_placed = vec![false; program.nodes.len()];
        for (node, n) in pools {
            if !std::mem::replace(&mut is_placed[node], true) {
                schedule.firsts[node] = schedule.n_kept;
                schedule.n_kept += n;
            }
        }
        let planes = Planes::of(program);
        for step in &program.steps {
            let (Step::Objective(backward) | Step::Refine(_, backward)) = step else { continue };
            let target = program.node_at(backward.concretize.target);
            if let Some(sweep) = &program.sweeps[target] {
                let pass = schedule.pass(program, (target, backward, sweep), (products, &planes))?;
                schedule.passes.push(pass);
            }
        }
        if schedule.passes.is_empty() {
            return unfit("nothing of it is optimised");
        }
        Ok(schedule)
    }

    /// The pass of a target.
    pub fn pass_of(&self, target: usize) -> Option<&LanePass> {
        self.passes.iter().find(|pass| pass.target == target)
    }

    fn pass(
        &mut self,
        program: &Program<f32>,
        (target, backward, sweep): (usize, &Backward, &Sweep),
        (products, planes): (Products, &Planes),
    ) -> Result<LanePass, Error> {
        let nodes = self.lane_nodes(program, backward, sweep);
        let node_params: Vec<u32> =
            nodes.iter().map(|node| node.map_or(0, |node| push(&mut self.params, bytes_of(&node)))).collect();
        let over_rows = |kernel, node: usize| {
            let n = nodes[node].map_or(0, |node| node.n);
            LaneLaunch { kernel, params: node_params[node], tiles: TILES, n_workgroups: n.div_ceil(8) }
        };
        let is_relu: Vec<bool> = nodes.iter().map(|node| node.is_some_and(|node| node.is_relu != 0)).collect();
        let placed = || (0..nodes.len()).filter(|&node| nodes[node].is_some());
        let relus = || (0..nodes.len()).filter(|&node| is_relu[node]);
        let ends = (0..target).filter_map(|node| Some(self.firsts[node] + self.activations[node]?.n as u32));
        let n_rows = ends.max().unwrap_or(0);
        let mut pass = LanePass {
            target,
            start: placed().map(|node| over_rows(Kernel::StartLanes, node)).collect(),
            down: Vec::new(),
            up: Vec::new(),
            store: relus().map(|node| over_rows(Kernel::StoreBest, node)).collect(),
            pack: relus().map(|node| over_rows(Kernel::PackSlopes, node)).collect(),
            gaps: LaneLaunch {
                kernel: Kernel::TakeGaps,
                params: push(&mut self.params, bytes_of(&LaneGaps { n_rows, padding: [0; 3] })),
                tiles: 1,
                n_workgroups: 1,
            },
            ends: LaneLaunch {
                kernel: Kernel::PackEnds,
                params: push(&mut self.params, bytes_of(&backward.concretize)),
                tiles: TILES,
                n_workgroups: backward.concretize.n.div_ceil(8).div_ceil(8),
            },
            caps: sweep.caps.clone(),
            is_relu: is_relu.clone(),
            flop: 0.0,
        };
        // Neurons that are not on the way have no gaps.
        for node in (0..target).filter(|&node| nodes[node].is_none()) {
            let Some(Activation { source, lines, n, .. }) = self.activations[node] else { continue };
            let [source, lines, n] = [source, lines, n].map(|at| at as u32);
            let (first, node) = (self.firsts[node], node as u32);
            let params = LaneNode { source, lines, n, first, node, is_relu: 1, ..LaneNode::default() };
            let params = push(&mut self.params, bytes_of(&params));
            let kernel = Kernel::StartLanes;
            pass.start.push(LaneLaunch { kernel, params, tiles: TILES, n_workgroups: n.div_ceil(8) });
        }
        // Four lanes, two operations.
        let flop = |n_terms: u32, n: u32| 8.0 * f64::from(n_terms) * f64::from(n);
        let seed = &backward.seed;
        check(&[seed.gamma_bias, seed.underflow])?;
        let plane = planes.get(backward.concretize.target);
        let mut add = |to: &mut Vec<LaneLaunch>, kernel, params: &[&[u8]], (tiles, n_workgroups): (u32, u32)| {
            to.push(LaneLaunch { kernel, params: push(&mut self.params, &params.concat()), tiles, n_workgroups });
        };
        let one = (TILES, 1);
        add(&mut pass.down, Kernel::SeedLanes, &[bytes_of(seed), bytes_of(&plane)], one);
        for walk in &backward.walk {
            let down = &mut pass.down;
            match walk {
                Walk::Lines(params) => {
                    let launch = over_rows(Kernel::BackLanes, params.node as usize);
                    down.push(LaneLaunch { n_workgroups: 1, ..launch });
                }
                Walk::Terms(params) => add(down, Kernel::AffineTerms, &[bytes_of(params)], one),
                Walk::Dense(params) => {
                    let (kernel, grid) = dense(products, params.n_out, params.n_in, false);
                    add(down, kernel, &[bytes_of(params)], grid);
                    pass.flop += flop(params.n_out, params.n_in);
                }
                Walk::Conv(params, shape) => {
                    let grid = (TILES, input_quads(shape).div_ceil(8));
                    add(down, Kernel::BackConv, &[bytes_of(params), bytes_of(shape)], grid);
                    pass.flop += flop(taps(shape), params.n_out);
                }
                Walk::Sparse(params) => {
                    add(down, Kernel::BackSparse, &[bytes_of(params)], (TILES, params.n_in.div_ceil(8)));
                    pass.flop += flop(4, params.n_in);
                }
                Walk::MaxPool(params, shape) => {
                    check(&[params.gamma])?;
                    let node = program.node_at(params.bounds);
                    if nodes[node].is_some() {
                        down.push(over_rows(Kernel::KeepSigns, node));
                    }
                    add(down, Kernel::BackMaxPool, &[bytes_of(params), bytes_of(shape)], one);
                }
                Walk::Merge(params) => {
                    check(&[params.two_units])?;
                    add(down, Kernel::BackMerge, &[bytes_of(params)], one);
                }
            }
        }
        let end = &backward.concretize;
        check(&[end.gamma, end.inflation])?;
        let values = program.n_slots as u32;
        let to = LaneEnd { to: values, padding: [0; 3] };
        add(&mut pass.down, Kernel::EndLanes, &[bytes_of(end), bytes_of(&to)], one);
        for onward in &sweep.onward {
            let up = &mut pass.up;
            match onward {
                Onward::Dense(params) => {
                    let params =
                        crate::sweep::OnwardAffine { from: values + params.from, to: values + params.to, ..*params };
                    let (kernel, grid) = dense(products, params.n_in, params.n_out, true);
                    add(up, kernel, &[bytes_of(&params)], grid);
                    pass.flop += flop(params.n_out, params.n_in);
                }
                Onward::Conv(params, shape) => {
                    let params =
                        crate::sweep::OnwardAffine { from: values + params.from, to: values + params.to, ..*params };
                    let quads = shape.groups * (shape.out_channels / shape.groups).div_ceil(4);
                    let grid = (TILES, (quads * shape.out_height * shape.out_width).div_ceil(8));
                    add(up, Kernel::OnwardConv, &[bytes_of(&params), bytes_of(shape)], grid);
                    pass.flop += flop(taps(shape), params.n_out);
                }
                Onward::Sparse(params) => {
                    let params =
                        crate::sweep::OnwardAffine { from: values + params.from, to: values + params.to, ..*params };
                    add(up, Kernel::OnwardSparse, &[bytes_of(&params)], (TILES, params.n_out.div_ceil(8)));
                    pass.flop += flop(4, params.n_out);
                }
                Onward::Lines(params) => up.push(over_rows(Kernel::OnwardLines, params.node as usize)),
                Onward::Merge(params) => {
                    // What it adds to the slack of rows that are done is of no concern.
                    let (from, to) = (values + params.from, values + params.to);
                    let params = BackMerge { from, to, n: params.n, adds: params.adds, ..BackMerge::default() };
                    add(up, Kernel::BackMerge, &[bytes_of(&params)], one);
                }
                Onward::MaxPool(params, _) => {
                    let lane = nodes[params.node as usize].expect("pools on the way back have a place");
                    let params =
                        crate::sweep::OnwardMaxPool { from: values + params.from, to: values + params.to, ..*params };
                    let grid = (TILES, params.n_out.div_ceil(8));
                    add(up, Kernel::OnwardMaxPool, &[bytes_of(&params), bytes_of(&lane)], grid);
                }
            }
        }
        let launches = [&pass.start, &pass.down, &pass.up].into_iter().flatten();
        if let Some(launch) =
            launches.max_by_key(|launch| launch.n_workgroups).filter(|l| l.n_workgroups > MAX_WORKGROUPS)
        {
            return Err(ErrorKind::TooLarge { what: "one layer", needed: launch.n_workgroups as usize }.into());
        }
        Ok(pass)
    }

    /// By node: the activations of a pass, and the max-pools of its way back.
    fn lane_nodes(&self, program: &Program<f32>, backward: &Backward, sweep: &Sweep) -> Vec<Option<LaneNode>> {
        let values = program.n_slots as u32;
        let mut nodes = vec![None; program.nodes.len()];
        for walk in &backward.walk {
            if let Walk::Lines(params) = walk {
                let node = params.node as usize;
                let relax = program.activations[node].as_ref().expect("an activation has lines");
                nodes[node] = Some(LaneNode {
                    slot: params.slot,
                    n: params.n,
                    lines: params.lines,
                    source: relax.source,
                    first: self.firsts[node],
                    node: params.node,
                    is_relu: u32::from(relax.kind == ActivationKind::Relu as u32),
                    two_units: relax.two_units,
                    cap: sweep.caps[node],
                    ..LaneNode::default()
                });
            }
        }
        for onward in &sweep.onward {
            match onward {
                Onward::Lines(params) => {
                    let node = nodes[params.node as usize].as_mut().expect("the walk has the same activations");
                    (node.from, node.to) = (values + params.from, values + params.to);
                }
                Onward::MaxPool(params, _) => {
                    let slot = backward.walk.iter().find_map(|walk| match walk {
                        Walk::MaxPool(walk, _) if walk.bounds == params.bounds => Some(walk.from),
                        _ => None,
                    });
                    let node = params.node as usize;
                    nodes[node] = Some(LaneNode {
                        slot: slot.expect("the walk has the same max-pools"),
                        n: params.n_out,
                        first: self.firsts[node],
                        node: params.node,
                        ..LaneNode::default()
                    });
                }
                _ => {}
            }
        }
        nodes
    }
}

/// The kernel of a product with a full matrix, and its grid.
fn dense(products: Products, n_terms: u32, n: u32, is_onward: bool) -> (Kernel, (u32, u32)) {
    if products.is_tiled(n_terms, n) {
        let kernel = if is_onward { Kernel::OnwardDenseTiled } else { Kernel::BackDenseTiled };
        (kernel, (TILED[0], n.div_ceil(TILED[1])))
    } else {
        let kernel = if is_onward { Kernel::OnwardDense } else { Kernel::BackDense };
        (kernel, (TILES, n.div_ceil(4).div_ceil(8)))
    }
}

/// Terms of one output of a convolution, at most.
fn taps(shape: &ConvShape) -> u32 {
    shape.in_channels / shape.groups * shape.kernel_height * shape.kernel_width
}
