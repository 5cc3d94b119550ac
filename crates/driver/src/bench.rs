//! How fast bounds are: subdomains per second over random sub-boxes of a region.

use std::sync::Arc;
use std::time::Instant;

use bounds::{Batch, BoundEngine, Device, Recipe, Wanted, flop_per_box, host_peak_flop_per_s};
use cpu_time::ProcessTime;
use network::{BoxRegion, Network};

use crate::error::Error;
use crate::search::{Interrupt, random::Random};

/// Bounds a batch of random sub-boxes again and again.
#[derive(Debug, Clone, Copy)]
pub struct BoundsBench<'a> {
    /// The network; it is simplified first.
    pub network: &'a Network,
    /// Where the boxes lie.
    pub region: &'a BoxRegion,
    /// Where bounds are computed.
    pub device: &'a Device,
    /// Which bounds.
    pub recipe: Recipe,
    /// Number of boxes.
    pub batch: usize,
    /// How much smaller than the region's their sides are.
    pub scale: f64,
    /// Measurements; the median counts.
    pub repeat: usize,
    /// Chooses the boxes.
    pub seed: u64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BoundsRate {
    /// Boxes divided by the median time of a batch.
    pub subdomains_per_s: f64,
    /// Boxes divided by the processor time (all threads, user and system) of all measurements.
    pub subdomains_per_core_s: f64,
    /// Median time of a batch, seconds.
    pub batch_time_s: f64,
    /// Processor time of all measurements, seconds.
    pub cpu_s: f64,
    /// Measurements.
    pub n_repeats: usize,
    /// Useful operations: see [`bounds::flop_per_box`].
    pub flop_per_subdomain: f64,
    /// What the host reaches at best; `None` for another device.
    pub peak_flop_per_s: Option<f64>,
    /// Undecided neurons.
    pub unstable_per_subdomain: f64,
    /// Backward rows.
    pub rows_per_subdomain: f64,
    /// Mean over boxes and outputs of upper minus lower end.
    pub mean_width: f64,
    /// The share of that width that only rounding takes.
    pub slack_share: f64,
    /// Why the host computed instead of the device.
    pub fallback: Option<String>,
}

impl BoundsBench<'_> {
    /// Measures: once to warm up, then `repeat` times, or fewer if interrupted.
    ///
    /// # Errors
    /// When the network and the region do not fit, or the device fails.
    pub fn run(&self, interrupt: &Interrupt) -> Result<BoundsRate, Error> {
        let network = Arc::new(self.network.simplify()?);
        let engine = BoundEngine::new(self.device, network, self.region, self.recipe)?;
        let batch = sub_boxes(engine.region(), self.batch, self.scale, self.seed);
        let wanted = Wanted { split: true, slopes: false };
        let bounds = engine.bound(&batch, wanted)?;
        let mut times = Vec::new();
        let cpu = ProcessTime::now();
        while times.len() < self.repeat.max(1) && (times.is_empty() || !interrupt.is_raised()) {
            let start = Instant::now();
            engine.bound(&batch, wanted)?;
            times.push(start.elapsed().as_secs_f64());
        }
        let cpu_s = cpu.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        let batch_time_s = times[times.len() / 2];
        let n = self.batch as f64;
        let widths: f64 = bounds.upper.iter().zip(&bounds.lower).map(|(upper, lower)| upper - lower).sum();
        let slacks: f64 = bounds.lower_slack.iter().chain(&bounds.upper_slack).sum();
        let is_host = engine.fallback().is_some() || self.device.describe().kind == "host";
        Ok(BoundsRate {
            subdomains_per_s: n / batch_time_s,
            subdomains_per_core_s: n * times.len() as f64 / cpu_s,
            batch_time_s,
            cpu_s,
            n_repeats: times.len(),
            flop_per_subdomain: flop_per_box(&engine, &batch)?,
            peak_flop_per_s: is_host.then(host_peak_flop_per_s),
            unstable_per_subdomain: bounds.n_unstable as f64 / n,
            rows_per_subdomain: bounds.n_rows as f64 / n,
            mean_width: widths / bounds.lower.len() as f64,
            slack_share: slacks / widths,
            fallback: engine.fallback().map(str::to_owned),
        })
    }
}

/// Random boxes inside a region whose sides are `scale` times shorter, their places uniform.
fn sub_boxes(region: &Batch, n_boxes: usize, scale: f64, seed: u64) -> Batch {
    let mut random = Random::new(seed);
    let mut batch = Batch::default();
    for _ in 0..n_boxes {
        for (&low, &high) in region.lower.iter().zip(&region.upper) {
            let side = (f64::from(high) - f64::from(low)) / scale;
            let start = f64::from(low) + f64::from(random.unit()) * (f64::from(high) - f64::from(low) - side);
            // Rounding may leave the region by an ulp.
            let start = (start as f32).clamp(low, high);
            batch.lower.push(start);
            batch.upper.push(((f64::from(start) + side) as f32).clamp(start, high));
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sub_boxes_lie_inside_and_have_the_asked_sides() {
        let region = Batch { lower: vec![-1.0, 0.25], upper: vec![1.0, 0.25] };
        let boxes = sub_boxes(&region, 100, 8.0, 3);
        for (lower, upper) in boxes.lower.chunks(2).zip(boxes.upper.chunks(2)) {
            assert!(-1.0 <= lower[0] && upper[0] <= 1.0 && (upper[0] - lower[0] - 0.25).abs() < 1e-6);
            assert_eq!((lower[1], upper[1]), (0.25, 0.25));
        }
        assert_eq!(boxes, sub_boxes(&region, 100, 8.0, 3));
        assert_ne!(boxes, sub_boxes(&region, 100, 8.0, 4));
    }
}
