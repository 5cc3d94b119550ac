//! The GPU that tests run on: a real one if there is one, else a software adapter.

use bounds::device::gpu::Gpu;
use bounds::{Device, DeviceChoice};
use std::io::Write as _;

/// The device; without an adapter the test is skipped loudly, or fails where `DIADEM_REQUIRE_GPU=1` asks for one.
pub fn device() -> Option<Device> {
    let choice = Gpu::list().into_iter().min_by_key(|adapter| adapter.kind);
    let opened = choice.map(|adapter| Device::open(&DeviceChoice::Named(adapter.name)));
    match opened {
        Some(Ok(device)) => Some(device),
        other => {
            let why = other.map_or("no adapter".into(), |result| format!("{:?}", result.err()));
            assert!(std::env::var_os("DIADEM_REQUIRE_GPU").is_none(), "DIADEM_REQUIRE_GPU is set, but: {why}");
            // Straight to the terminal: the test harness hides what passing tests print.
            let _ = writeln!(std::io::stderr(), "SKIPPED: no GPU ({why}); GPU tests did not run");
            None
        }
    }
}
