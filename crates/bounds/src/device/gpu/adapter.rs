use std::fmt;

use crate::error::{Error, ErrorKind};

/// Which adapter to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best piece of hardware: discrete before integrated before any other; never a software adapter.
    Best,
    /// The first adapter, software ones included, whose name contains this (case does not matter).
    Named(String),
}

/// An adapter, as a person chooses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterSummary {
    /// The product's name.
    pub name: String,
    /// What it is made of.
    pub kind: AdapterKind,
    /// The interface it is reached by, such as `vulkan`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
}

/// What an adapter is made of; the better ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AdapterKind {
    /// A graphics card with its own memory.
    Discrete,
    /// A graphics unit that shares the processor's memory.
    Integrated,
    /// A card seen through a virtual machine.
    Virtual,
    /// Unknown.
    Other,
    /// The processor: correct, but slower than the host executor.
    Software,
}

impl AdapterSummary {
    pub(super) fn new(info: &wgpu::AdapterInfo) -> Self {
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => AdapterKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => AdapterKind::Integrated,
            wgpu::DeviceType::VirtualGpu => AdapterKind::Virtual,
            wgpu::DeviceType::Cpu => AdapterKind::Software,
            wgpu::DeviceType::Other => AdapterKind::Other,
        };
        let driver = format!("{} {}", info.driver, info.driver_info).trim().to_owned();
        Self { name: info.name.clone(), kind, backend: info.backend.to_string(), driver }
    }
}

impl fmt::Display for AdapterSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {})", self.name, format!("{:?}", self.kind).to_lowercase(), self.backend)
    }
}

/// Every adapter of the backends that this build knows.
pub fn all() -> Vec<wgpu::Adapter> {
    if wgpu::Instance::enabled_backend_features().is_empty() {
        return Vec::new();
    }
    let descriptor = wgpu::InstanceDescriptor {
        backends: wgpu::Backends::all(),
        // Dispatch arguments come from our own kernel, which keeps them within the limits: no need to check each again.
        flags: wgpu::InstanceFlags::empty().with_env(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    };
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(wgpu::Backends::all()))
}

/// The adapter that a person asked for.
pub fn choose(choice: &AdapterChoice) -> Result<wgpu::Adapter, Error> {
    let mut adapters: Vec<_> =
        all().into_iter().map(|adapter| (AdapterSummary::new(&adapter.get_info()), adapter)).collect();
    let names: Vec<_> = adapters.iter().map(|(summary, _)| summary.to_string()).collect();
    let names = if names.is_empty() { "none".to_owned() } else { names.join("; ") };
    // Stable: the first of equals stays first.
    adapters.sort_by_key(|(summary, _)| summary.kind);
    let found = adapters.into_iter().find(|(summary, _)| match choice {
        AdapterChoice::Best => summary.kind != AdapterKind::Software,
        AdapterChoice::Named(part) => summary.name.to_lowercase().contains(&part.to_lowercase()),
    });
    let wanted = match choice {
        AdapterChoice::Best => "no hardware adapter was found".to_owned(),
        AdapterChoice::Named(part) => format!("no adapter is called '{part}'"),
    };
    found.map(|(_, adapter)| adapter).ok_or_else(|| ErrorKind::NoDevice(format!("{wanted}; adapters: {names}")).into())
}
