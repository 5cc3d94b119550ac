use bytemuck::bytes_of;

use super::kernel::{Kernel, UNIFORM_STRIDE};
use super::planes::Planes;
use crate::error::{Error, ErrorKind};
use crate::program::{Backward, ConvShape, Forward, Program, Select, SsimBalls, Step, Walk};
use crate::set::InputSet;

/// Tiles per workgroup of the kernels that work on rows.
pub const TILES: u32 = 8;
/// Tiles and inputs per workgroup of [`Kernel::BackDenseTiled`].
pub const TILED: [u32; 2] = [16, 64];
/// Most workgroups along one dimension.
pub const MAX_WORKGROUPS: u32 = 65_535;

/// A program as kernels and their parameters, independent of the batch.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// In order, one per step of the program.
    pub tasks: Vec<Task>,
    /// Parameters, [`UNIFORM_STRIDE`] bytes each.
    pub params: Vec<u8>,
    /// The program's tables, and behind them the grids of every pass.
    pub tables: Vec<u32>,
    /// What lies behind the program's constants: the set that the inputs lie in.
    pub set: Vec<f32>,
}

/// One step.
#[derive(Debug, Clone)]
pub enum Task {
    /// A kernel over all subdomains.
    Forward(Launch),
    /// A backward pass over rows that the device counts.
    Pass(Pass),
}

/// A kernel with its parameters.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// Which kernel.
    pub kernel: Kernel,
    /// Offset of its parameters.
    pub params: u32,
    /// Forward: invocations per subdomain. Backward: which of the pass's grids.
    pub extent: u32,
}

/// A backward pass.
#[derive(Debug, Clone)]
pub struct Pass {
    /// Offset of the parameters of `select`; none for the objective, whose rows are known.
    pub select: Option<u32>,
    /// Marks: the list of undecided neurons.
    pub list: u32,
    /// Most neurons with rows, per subdomain.
    pub n_neurons: u32,
    /// Rows per neuron.
    pub n_ends: u32,
    /// Seed, walk and end.
    pub walk: Vec<Launch>,
    /// Tables: where the pass's grids lie.
    pub grids: u32,
    /// Number of grids.
    pub n_grids: u32,
    /// After the end: what bounds the rows over a set of inputs as well.
    pub over_set: Option<Launch>,
}

/// Which kernel multiplies full matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// Registers only: software adapters, whose barriers are slow.
    Direct,
    /// Through workgroup memory where the matrix is large enough.
    Tiled,
    /// Through workgroup memory always: for tests.
    #[cfg(test)]
    AlwaysTiled,
}

impl Products {
    pub fn is_tiled(self, n_out: u32, n_in: u32) -> bool {
        match self {
            Self::Direct => false,
            Self::Tiled => n_out >= 32 && n_in >= 48,
            #[cfg(test)]
            Self::AlwaysTiled => true,
        }
    }
}

/// What decides which kernels a pass takes.
struct Kinds {
    products: Products,
    planes: Planes,
    /// The set that the inputs lie in.
    set: Option<SsimBalls>,
}

impl Pass {
    /// Most tiles of one subdomain.
    pub fn tiles_each(&self) -> u64 {
        (u64::from(self.n_neurons) * u64::from(self.n_ends)).div_ceil(4)
    }

    /// The end of the walk.
    pub fn concretize(&self) -> Launch {
        *self.walk.last().expect("a pass has at least a seed and an end")
    }
}

impl Schedule {
    /// Lays out a program's parameters.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] if a parameter is not finite: WGSL has no infinities, so no slack would fail closed.
    pub fn new(program: &Program<f32>, products: Products) -> Result<Self, Error> {
        let mut schedule =
            Self { tasks: Vec::new(), params: Vec::new(), tables: program.tables.clone(), set: Vec::new() };
        let set = match program.set.as_deref().map(InputSet::table) {
            None => None,
            Some(None) => {
                let problem = "it has no kernel for this set of inputs: it bounds similarity in one window";
                return Err(ErrorKind::Device(problem.into()).into());
            }
            Some(Some(table)) => {
                schedule.set.extend(table.constants());
                Some(table.placed_at(program.constants.len() as u32))
            }
        };
        let kinds = Kinds { products, planes: Planes::of(program), set };
        for step in &program.steps {
            let task = match step {
                Step::Forward(forward) => Task::Forward(schedule.forward(forward)?),
                Step::Refine(select, backward) => schedule.refine(select, backward, &kinds)?,
                Step::Objective(backward) => Task::Pass(Pass {
                    select: None,
                    list: 0,
                    n_neurons: backward.seed.target_len,
                    n_ends: 1 + backward.seed.both_ends,
                    ..schedule.pass(backward, &kinds)?
                }),
            };
            schedule.tasks.push(task);
        }
        if schedule.tables.is_empty() {
            schedule.tables.push(0);
        }
        if schedule.params.is_empty() {
            schedule.params.resize(UNIFORM_STRIDE, 0);
        }
        Ok(schedule)
    }

    fn forward(&mut self, forward: &Forward) -> Result<Launch, Error> {
        let (kernel, params, extent) = match forward {
            Forward::Dense(params) => {
                check(&[params.gamma_interval, params.gamma_column, params.gamma_bias, params.underflow])?;
                (Kernel::IntervalDense, self.push(bytes_of(params)), params.n_out.div_ceil(4))
            }
            Forward::Conv(params, shape) => {
                check(&[params.gamma_interval, params.gamma_column, params.gamma_bias, params.underflow])?;
                let bytes = [bytes_of(params), bytes_of(shape)].concat();
                let quads = shape.groups * (shape.out_channels / shape.groups).div_ceil(4);
                (Kernel::IntervalConv, self.push(&bytes), quads * shape.out_height * shape.out_width)
            }
            Forward::Sparse(params) => {
                check(&[params.gamma_interval, params.gamma_column, params.gamma_bias, params.underflow])?;
                (Kernel::IntervalSparse, self.push(bytes_of(params)), params.n_out)
            }
            Forward::Add(params) => {
                check(&[params.gamma, params.underflow])?;
                (Kernel::IntervalAdd, self.push(bytes_of(params)), params.n)
            }
            Forward::Relax(params) => {
                check(&[
                    params.clip_lower,
                    params.clip_upper,
                    params.two_units,
                    params.gamma_intercept,
                    params.inexactness,
                ])?;
                (Kernel::Relax, self.push(bytes_of(params)), params.n)
            }
            Forward::MaxPool(params, shape) => {
                check(&[params.gamma])?;
                let bytes = [bytes_of(params), bytes_of(shape)].concat();
                (Kernel::IntervalMaxPool, self.push(&bytes), params.n_out)
            }
        };
        Ok(Launch { kernel, params, extent })
    }

    fn refine(&mut self, select: &Select, backward: &Backward, kinds: &Kinds) -> Result<Task, Error> {
        check(&select.breakpoints)?;
        let params = self.push(bytes_of(select));
        let pass = self.pass(backward, kinds)?;
        Ok(Task::Pass(Pass { select: Some(params), list: select.list, n_neurons: select.n, n_ends: 2, ..pass }))
    }

    /// Everything but the rows.
    fn pass(&mut self, backward: &Backward, Kinds { products, planes, set }: &Kinds) -> Result<Pass, Error> {
        let mut grids: Vec<[u32; 2]> = Vec::new();
        let mut walk = Vec::new();
        let mut add = |kernel, params, n_workgroups: u32| {
            let tiles = if kernel == Kernel::BackDenseTiled { TILED[0] } else { TILES };
            if n_workgroups > MAX_WORKGROUPS {
                return Err(ErrorKind::TooLarge { what: "one layer", needed: n_workgroups as usize });
            }
            let extent = grids.iter().position(|&grid| grid == [tiles, n_workgroups]).unwrap_or_else(|| {
                grids.push([tiles, n_workgroups]);
                grids.len() - 1
            });
            walk.push(Launch { kernel, params, extent: extent as u32 });
            Ok::<(), ErrorKind>(())
        };
        let seed = &backward.seed;
        check(&[seed.gamma_bias, seed.underflow])?;
        let plane = planes.get(backward.concretize.target);
        add(Kernel::Seed, self.push(&[bytes_of(seed), bytes_of(&plane)].concat()), 1)?;
        for step in &backward.walk {
            match step {
                Walk::Lines(params) => add(Kernel::BackLines, self.push(bytes_of(params)), 1)?,
                Walk::Terms(params) => add(Kernel::AffineTerms, self.push(bytes_of(params)), 1)?,
                Walk::Dense(params) if products.is_tiled(params.n_out, params.n_in) => {
                    add(Kernel::BackDenseTiled, self.push(bytes_of(params)), params.n_in.div_ceil(TILED[1]))?;
                }
                Walk::Dense(params) => {
                    add(Kernel::BackDense, self.push(bytes_of(params)), params.n_in.div_ceil(4).div_ceil(8))?;
                }
                Walk::Conv(params, shape) => {
                    let bytes = [bytes_of(params), bytes_of(shape)].concat();
                    add(Kernel::BackConv, self.push(&bytes), input_quads(shape).div_ceil(8))?;
                }
                Walk::Sparse(params) => add(Kernel::BackSparse, self.push(bytes_of(params)), params.n_in.div_ceil(8))?,
                Walk::MaxPool(params, shape) => {
                    check(&[params.gamma])?;
                    let bytes = [bytes_of(params), bytes_of(shape)].concat();
                    add(Kernel::BackMaxPool, self.push(&bytes), 1)?;
                }
                Walk::Merge(params) => {
                    check(&[params.two_units])?;
                    add(Kernel::BackMerge, self.push(bytes_of(params)), 1)?;
                }
            }
        }
        let end = &backward.concretize;
        check(&[end.gamma, end.inflation])?;
        add(Kernel::Concretize, self.push(bytes_of(end)), 1)?;
        if let Some(set) = set {
            check(&[set.gamma])?;
            // A workgroup per tile: those of eight tiles lie along the other dimension.
            add(Kernel::ConcretizeSsim, self.push(&[bytes_of(end), bytes_of(set)].concat()), TILES)?;
        }
        let over_set = if set.is_some() { walk.pop() } else { None };
        let place = self.tables.len() as u32;
        let n_grids = grids.len() as u32;
        self.tables.extend(grids.iter().flatten());
        Ok(Pass { select: None, list: 0, n_neurons: 0, n_ends: 0, walk, grids: place, n_grids, over_set })
    }

    fn push(&mut self, bytes: &[u8]) -> u32 {
        push(&mut self.params, bytes)
    }
}

/// Appends parameters and returns their offset.
pub fn push(params: &mut Vec<u8>, bytes: &[u8]) -> u32 {
    let place = params.len();
    params.extend_from_slice(bytes);
    params.resize(place + UNIFORM_STRIDE, 0);
    place as u32
}

/// Invocations per tile of a backward convolution: four input channels of one group at one position each.
pub fn input_quads(shape: &ConvShape) -> u32 {
    shape.groups * (shape.in_channels / shape.groups).div_ceil(4) * shape.in_height * shape.in_width
}

/// Fails if a parameter is not finite: WGSL has no infinities, so that no slack would fail closed.
pub fn check(values: &[f32]) -> Result<(), ErrorKind> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(())
    } else {
        Err(ErrorKind::Magnitude { node: "error terms".into(), magnitude: f64::INFINITY })
    }
}
