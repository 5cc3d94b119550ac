use std::fmt::Write;

use anyhow::Result;
#[cfg(feature = "gpu")]
use bounds::device::gpu::{AdapterChoice, AdapterKind, Gpu};
use bounds::{Device, DeviceChoice};
use serde::Serialize;

use crate::session::{DeviceFields, Session};
use crate::status::Status;

/// What there is to compute on, as JSON.
#[derive(Debug, Serialize)]
struct DevicesResult {
    reached: bool,
    host: DeviceFields,
    adapters: Vec<Adapter>,
    /// What `auto` takes, and why.
    auto: DeviceFields,
    auto_reason: String,
}

/// An adapter as JSON.
#[derive(Debug, Serialize)]
struct Adapter {
    name: String,
    kind: String,
    backend: String,
    driver: String,
    /// Whether it passed the numeric self-test.
    is_usable: bool,
    /// The largest buffer that a kernel can see.
    largest_buffer_bytes: Option<u64>,
    /// Why it is not usable.
    problem: Option<String>,
}

/// Lists devices and tests them.
pub fn run(session: &Session) -> Result<Status> {
    let adapters = adapters();
    let auto = Device::open(&DeviceChoice::Auto)?;
    let chosen = DeviceFields::of(&auto);
    let auto_reason = if chosen.kind == "host" {
        why_host(&adapters)
    } else {
        "the best adapter that is hardware and passed the self-test".into()
    };
    let host = DeviceFields::of(&Device::Host);
    // An explicit choice must be there.
    let choice = session.choice();
    if *choice != DeviceChoice::Auto {
        session.device()?;
    }
    let result = DevicesResult { reached: true, host, adapters, auto: chosen, auto_reason };
    session.print(&text(&result));
    session.write_json("devices", &result)?;
    Ok(Status::Done)
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Adapter> {
    let test = |summary: bounds::device::gpu::AdapterSummary| {
        let opened = Gpu::open(&AdapterChoice::Named(summary.name.clone()));
        Adapter {
            kind: match summary.kind {
                AdapterKind::Discrete => "discrete",
                AdapterKind::Integrated => "integrated",
                AdapterKind::Virtual => "virtual",
                AdapterKind::Software => "software",
                _ => "other",
            }
            .into(),
            name: summary.name,
            backend: summary.backend,
            driver: summary.driver,
            is_usable: opened.is_ok(),
            largest_buffer_bytes: opened.as_ref().ok().map(Gpu::largest_buffer),
            problem: opened.err().map(|error| error.to_string()),
        }
    };
    Gpu::list().into_iter().map(test).collect()
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// Whether there is any GPU, a software one included.
#[cfg(feature = "train")]
pub fn has_adapter() -> bool {
    #[cfg(feature = "gpu")]
    return !Gpu::list().is_empty();
    #[cfg(not(feature = "gpu"))]
    false
}

fn why_host(adapters: &[Adapter]) -> String {
    if cfg!(not(feature = "gpu")) {
        "this build has no GPU support: build it with the feature 'gpu'".into()
    } else if adapters.is_empty() {
        "no adapter was found; a GPU needs a driver for Vulkan, Metal or DirectX 12".into()
    } else if adapters.iter().all(|adapter| adapter.kind == "software") {
        "all adapters are software: the host is faster (name one with --device to use it all the same)".into()
    } else {
        "no hardware adapter passed the self-test".into()
    }
}

fn text(result: &DevicesResult) -> String {
    let DevicesResult { host, adapters, auto, auto_reason, .. } = result;
    let mut text = format!("host     {}, {} threads\n", host.name, host.threads);
    for adapter in adapters {
        let Adapter { name, kind, backend, driver, .. } = adapter;
        let state = match (&adapter.problem, adapter.largest_buffer_bytes) {
            (Some(problem), _) => format!("not usable: {problem}"),
            (None, Some(bytes)) => format!("self-test passed, buffers up to {} MiB", bytes >> 20),
            (None, None) => "self-test passed".into(),
        };
        let _ = writeln!(text, "adapter  {name} ({kind}, {backend}, {driver}): {state}");
    }
    if adapters.is_empty() {
        text.push_str("adapter  none\n");
    }
    let _ = writeln!(text, "auto     {} ({}): {auto_reason}", auto.name, auto.backend);
    text
}
