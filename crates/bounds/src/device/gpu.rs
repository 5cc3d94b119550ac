//! The wgpu executor: replays a [`Program`] over batches of subdomains on any GPU that wgpu reaches.

mod adapter;
mod arrangement;
mod faults;
mod frame;
mod kernel;
mod loaded;
mod planes;
#[cfg(test)]
mod samples;
mod schedule;
mod self_test;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub use adapter::{AdapterChoice, AdapterKind, AdapterSummary};
pub use loaded::GpuProgram;

use crate::error::{Error, ErrorKind};
use crate::program::Program;
use faults::Faults;
use kernel::Pipelines;
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
            // The WebGPU defaults, except for sizes: larger batches if there is room.
            required_limits: wgpu::Limits {
                max_buffer_size: offered.max_buffer_size,
                max_storage_buffer_binding_size: offered.max_storage_buffer_binding_size,
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
        Ok(Self { shared: Arc::new(Shared { adapter: summary, device, queue, faults, pipelines }) })
    }

    /// The adapter in use.
    pub fn adapter(&self) -> &AdapterSummary {
        &self.shared.adapter
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
        // The barriers of a software adapter are many times dearer than what they save.
        let is_software = self.shared.adapter.kind == AdapterKind::Software;
        let products = if is_software { Products::Direct } else { Products::Tiled };
        GpuProgram::new(Arc::clone(&self.shared), program, products)
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("adapter", &self.shared.adapter).finish_non_exhaustive()
    }
}
