//! The wgpu executor: replays a [`Program`] over batches of subdomains on any GPU that wgpu reaches.

mod adapter;
mod arrangement;
mod faults;
mod frame;
mod fused;
mod kernel;
mod lanes;
mod loaded;
#[cfg(test)]
mod mischief;
mod planes;
#[cfg(test)]
mod samples;
mod schedule;
mod self_test;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use adapter::{AdapterChoice, AdapterKind, AdapterSummary};
pub use lanes::{GpuLanes, LaneTask, TaskLane};

use crate::branch::{Branched, Budget, Piece, Rule};
use crate::device::DeviceWork;
use crate::device::host::{Raw, Request};
use crate::error::{Error, ErrorKind};
use crate::program::Program;
use faults::Faults;
use fused::{Fused, FusedPipelines};
use kernel::Pipelines;
use loaded::{Stepwise, check_lengths};
use schedule::Products;

/// A device that has passed the arithmetic test, with its compiled kernels.
///
/// Cheap to clone; clones share the device.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

/// What all programs on a device share.
struct Shared {
    adapter: AdapterSummary,
    device: wgpu::Device,
    queue: wgpu::Queue,
    faults: Faults,
    pipelines: Pipelines,
    fused: FusedPipelines,
    tickets: AtomicU32,
    tally: Tally,
}

/// Counts of what was done.
#[derive(Debug, Default)]
struct Tally {
    rounds: AtomicU64,
    boxes: AtomicU64,
    lanes: AtomicU64,
}

impl Shared {
    /// A number that goes to the device with the boxes and must come back with their results.
    fn next_ticket(&self) -> u32 {
        // Odd products: neighbours differ in many bits, and none is the zero of an empty buffer for four billion submissions.
        self.tickets.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b1)
    }
}

/// A program on a device.
///
/// Any number of threads may call it; they take turns.
#[derive(Debug)]
pub struct GpuProgram {
    n_inputs: usize,
    executor: Executor,
}

#[derive(Debug)]
enum Executor {
    /// As a whole, in one dispatch: what is small enough.
    Fused(Box<Fused>),
    /// A dispatch per step.
    Stepwise(Box<Stepwise>),
}

impl Gpu {
    /// Every adapter that wgpu can see, software ones included.
    pub fn list() -> Vec<AdapterSummary> {
        adapter::all().iter().map(|adapter| AdapterSummary::new(&adapter.get_info())).collect()
    }

    /// Opens an adapter and tests its arithmetic.
    ///
    /// # Errors
    /// [`ErrorKind::NoDevice`] if no adapter matches or none offers what WebGPU promises; [`ErrorKind::Device`] if the device
    /// fails or computes sums, differences, products or quotients less exactly than WGSL promises.
    pub fn open(choice: &AdapterChoice) -> Result<Self, Error> {
        let adapter = adapter::choose(choice)?;
        let summary = AdapterSummary::new(&adapter.get_info());
        let offered = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("diadem"),
            // The WebGPU defaults, except for sizes: larger batches and fused programs if there is room.
            required_limits: wgpu::Limits {
                max_buffer_size: offered.max_buffer_size,
                max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
                max_compute_workgroup_storage_size: offered.max_compute_workgroup_storage_size,
                ..wgpu::Limits::default()
            },
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..wgpu::DeviceDescriptor::default()
        };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
            .map_err(|error| ErrorKind::NoDevice(format!("{} cannot be used: {error}", summary.name)))?;
        let faults = Faults::watch(&device);
        self_test::run(&device, &queue, &faults)?;
        let pipelines = faults.catch(&device, || Pipelines::new(&device))?;
        Ok(Self {
            shared: Arc::new(Shared {
                adapter: summary,
                device,
                queue,
                faults,
                pipelines,
                fused: FusedPipelines::default(),
                tickets: AtomicU32::new(1),
                tally: Tally::default(),
            }),
        })
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.shared.adapter
    }

    /// What it has done since it was opened.
    pub fn work(&self) -> DeviceWork {
        let Shared { faults, tally, .. } = &*self.shared;
        let [rounds, boxes, lanes] =
            [&tally.rounds, &tally.boxes, &tally.lanes].map(|count| count.load(Ordering::Relaxed));
        DeviceWork { rounds, boxes, lanes, round_trips: faults.n_reads() }
    }

    /// The largest buffer that a kernel can see, in bytes: it decides how many subdomains share a submission.
    pub fn largest_buffer(&self) -> u64 {
        let limits = self.shared.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Compiles a program's kernels and uploads its weights.
    ///
    /// # Errors
    /// [`ErrorKind::Magnitude`] if its error terms are not finite, [`ErrorKind::TooLarge`] or [`ErrorKind::OutOfMemory`] if the
    /// network exceeds the device, [`ErrorKind::Device`] if the device fails.
    pub fn load(&self, program: &Program<f32>) -> Result<GpuProgram, Error> {
        let n_inputs = program.n_inputs;
        // What runs as a whole knows boxes only.
        let fused = if program.set.is_some() { Ok(None) } else { Fused::load(Arc::clone(&self.shared), program) };
        let executor = match fused {
            Ok(Some(fused)) => Executor::Fused(Box::new(fused)),
            // What fails as a whole may still do step by step.
            Ok(None) | Err(_) => Executor::Stepwise(Box::new(self.load_stepwise(program)?)),
        };
        Ok(GpuProgram { n_inputs, executor })
    }

    fn load_stepwise(&self, program: &Program<f32>) -> Result<Stepwise, Error> {
        // The barriers of a software adapter are many times dearer than what they save.
        let is_software = self.shared.adapter.kind == AdapterKind::Software;
        let products = if is_software { Products::Direct } else { Products::Tiled };
        Stepwise::new(Arc::clone(&self.shared), program, products)
    }
}

impl GpuProgram {
    /// Bounds every box of a batch; one submission for as many as the device holds.
    ///
    /// # Errors
    /// [`ErrorKind::Region`] if the request's lengths do not fit; [`ErrorKind::OutOfMemory`] if a single box exceeds the device;
    /// [`ErrorKind::Device`] if the device fails or is lost.
    pub fn bound(&self, request: Request<f32>) -> Result<Raw<f32>, Error> {
        check_lengths(self.n_inputs, request)?;
        match &self.executor {
            Executor::Fused(fused) => fused.bound(request),
            Executor::Stepwise(stepwise) => stepwise.bound(request),
        }
    }

    /// See [`crate::BoundEngine::branch`]; none if the program runs step by step.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`] if the pieces exceed the device; [`ErrorKind::Device`] if it fails or is lost.
    pub fn branch(&self, pieces: &[Piece], rule: &Rule, budget: Budget) -> Result<Option<Branched>, Error> {
        match &self.executor {
            Executor::Fused(fused) => fused.branch(pieces, rule, budget).map(Some),
            Executor::Stepwise(_) => Ok(None),
        }
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}
