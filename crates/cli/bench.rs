use std::fmt::Write;
use std::time::Instant;

use anyhow::{Result, bail};
use bounds::Recipe;
use driver::{BoundsBench, BoundsRate};
use serde::Serialize;

use crate::arguments::BenchTask;
use crate::bounds::regions;
use crate::session::Session;
use crate::status::Status;
use crate::{console, input};

/// A measurement as JSON.
#[derive(Debug, Serialize)]
struct BenchResult {
    reached: bool,
    method: &'static str,
    batch: usize,
    scale: f64,
    repeat: usize,
    time_s: f64,
    batch_time_s: f64,
    cpu_s: f64,
    subdomains_per_s: f64,
    subdomains_per_core_s: f64,
    flop_per_subdomain: f64,
    flop_per_s: f64,
    peak_flop_per_s: Option<f64>,
    fraction_of_peak: Option<f64>,
    unstable_per_subdomain: f64,
    rows_per_subdomain: f64,
    mean_width: f64,
    slack_share: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

/// Measures bounds.
pub fn run(task: &BenchTask, session: &Session) -> Result<Status> {
    if task.batch == 0 || task.repeat == 0 || !(task.scale >= 1.0 && task.scale.is_finite()) {
        bail!("a measurement needs a batch of at least 1, a repeat of at least 1 and a scale of at least 1");
    }
    let start = Instant::now();
    let (network, property) = input::question(&task.network, &task.property)?;
    let regions = regions(&property);
    let Some(region) = regions.first() else {
        bail!("{}: the property has no box", task.property.display());
    };
    let bench = BoundsBench {
        network: &network,
        region,
        device: session.device()?,
        recipe: Recipe { method: task.method.method(), both_ends: true, ..Recipe::default() },
        batch: task.batch,
        scale: task.scale,
        repeat: task.repeat,
        seed: session.seed,
    };
    let rate = bench.run(&session.interrupt)?;
    session.note_fallback(rate.fallback.as_deref());
    let result = BenchResult::new(task, rate, start.elapsed().as_secs_f64());
    session.print(&text(&result));
    session.write_json("bench bounds", &result)?;
    Ok(if result.reached { Status::Done } else { Status::Unknown })
}

impl BenchResult {
    fn new(task: &BenchTask, rate: BoundsRate, time_s: f64) -> Self {
        let flop_per_s = rate.flop_per_subdomain * rate.subdomains_per_s;
        Self {
            reached: rate.n_repeats == task.repeat,
            method: task.method.name(),
            batch: task.batch,
            scale: task.scale,
            repeat: rate.n_repeats,
            time_s,
            batch_time_s: rate.batch_time_s,
            cpu_s: rate.cpu_s,
            subdomains_per_s: rate.subdomains_per_s,
            subdomains_per_core_s: rate.subdomains_per_core_s,
            flop_per_subdomain: rate.flop_per_subdomain,
            flop_per_s,
            peak_flop_per_s: rate.peak_flop_per_s,
            fraction_of_peak: rate.peak_flop_per_s.map(|peak| flop_per_s / peak),
            unstable_per_subdomain: rate.unstable_per_subdomain,
            rows_per_subdomain: rate.rows_per_subdomain,
            mean_width: rate.mean_width,
            slack_share: rate.slack_share,
            fallback: rate.fallback,
        }
    }
}

fn text(result: &BenchResult) -> String {
    let BenchResult { method, batch, scale, repeat, .. } = result;
    let per_second = console::with_prefix(result.flop_per_s, "FLOP/s");
    let peak = match (result.peak_flop_per_s, result.fraction_of_peak) {
        (Some(peak), Some(share)) => {
            format!("{per_second}, {:.1} % of {} measured", 100.0 * share, console::with_prefix(peak, "FLOP/s"))
        }
        _ => format!("{per_second} (the peak of this device is not measured)"),
    };
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<24}{value}");
    };
    row("method", format!("{method}, batch {batch}, sides 1/{scale}, median of {repeat}"));
    row("subdomains per second", console::number(result.subdomains_per_s));
    row("  per core-second", console::number(result.subdomains_per_core_s));
    row("useful work", format!("{} per subdomain", console::with_prefix(result.flop_per_subdomain, "FLOP")));
    row("  rate", peak);
    row("undecided neurons", format!("{} per subdomain", console::number(result.unstable_per_subdomain)));
    row("backward rows", format!("{} per subdomain", console::number(result.rows_per_subdomain)));
    let width = console::number(result.mean_width);
    row("mean output width", format!("{width}, of which rounding {:.2e}", result.slack_share));
    text
}
