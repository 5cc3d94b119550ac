use std::fmt::Write;

use driver::preimage::{Certified, Element, Interval, OutputPolytope, PreimageOutcome};
use serde::{Deserialize, Deserializer, Serialize};

use crate::console;
use crate::preimage::problem::Question;

/// A preimage as JSON: all that is needed to use it. A polytope is `{x : lower ≤ x ≤ upper, a x + b ≥ 0}` over all inputs.
#[derive(Debug, Serialize)]
pub struct PreimageResult {
    reached: bool,
    reason: &'static str,
    time_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    network: String,
    mode: &'static str,
    coverage_target: f64,
    coverage: f64,
    coverage_interval: [f64; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    certified: Option<CertifiedFields>,
    preimage_volume: f64,
    preimage_volume_interval: [f64; 2],
    approximation_volume: f64,
    approximation_volume_interval: [f64; 2],
    /// Fresh samples behind the volumes.
    samples: u64,
    /// Whether polytopes share no volume.
    disjoint: bool,
    subdomains: u64,
    /// Cells of the network, if these were enumerated.
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<u64>,
    search_seed: u64,
    region: RegionFields,
    output_polytopes: Vec<OutputFields>,
    /// The inputs that vary.
    free_inputs: Vec<usize>,
    polytopes: Vec<PolytopeFields>,
    rounds: Vec<RoundFields>,
}

/// A coverage from computed volumes.
#[derive(Debug, Serialize)]
struct CertifiedFields {
    /// At least this (mode under), or at most (mode over).
    coverage: f64,
    approximation_volume: f64,
    approximation_volume_error: f64,
    /// What lies outside the preimage (mode under) or inside (mode over).
    opposite_volume: f64,
    opposite_volume_error: f64,
}

/// A box.
#[derive(Debug, Serialize)]
struct RegionFields {
    lower: Vec<f64>,
    upper: Vec<f64>,
}

/// Outputs that were asked for: `rows · y ≥ rhs`.
#[derive(Debug, Serialize)]
struct OutputFields {
    rows: Vec<Vec<f64>>,
    rhs: Vec<f64>,
}

/// A polytope of inputs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PolytopeFields {
    /// Lower ends.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
    /// Coefficients.
    pub a: Vec<Vec<f64>>,
    /// Constants.
    pub b: Vec<f64>,
    /// Share of the region.
    #[serde(default)]
    pub volume: f64,
    /// Which output polytope it belongs to.
    #[serde(default)]
    pub output_polytope: usize,
}

/// A record of one round.
#[derive(Debug, Serialize, Deserialize)]
pub struct RoundFields {
    /// Seconds since the start.
    pub time_s: f64,
    /// Estimated coverage; JSON has no infinity, and none is read back as one.
    #[serde(deserialize_with = "number")]
    pub coverage: f64,
    /// Polytopes.
    pub polytopes: usize,
}

/// A number, or null for what is none.
fn number<'de, D: Deserializer<'de>>(reader: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(reader)?.unwrap_or(f64::INFINITY))
}

impl PreimageResult {
    /// The result of a search that took this long.
    pub fn new(question: &Question, outcome: &PreimageOutcome, seed: u64, time_s: f64) -> Self {
        let problem = &question.problem;
        let ends = |interval: Interval| [interval.lower, interval.upper];
        let (lower, upper) = (problem.region.lower.clone(), problem.region.upper.clone());
        let polytopes = outcome.elements.iter().map(|element| full(element, &outcome.free, &lower, &upper)).collect();
        let output = |target: &OutputPolytope| OutputFields { rows: target.rows.clone(), rhs: target.rhs.clone() };
        Self {
            reached: outcome.is_reached,
            reason: outcome.stop.name(),
            time_s,
            id: question.id.clone(),
            network: question.network.display().to_string(),
            mode: problem.mode.name(),
            coverage_target: question.coverage,
            coverage: outcome.coverage,
            coverage_interval: ends(outcome.coverage_interval),
            certified: None,
            preimage_volume: outcome.preimage_volume,
            preimage_volume_interval: ends(outcome.preimage_interval),
            approximation_volume: outcome.approximation_volume,
            approximation_volume_interval: ends(outcome.approximation_interval),
            samples: outcome.n_samples,
            disjoint: outcome.is_disjoint,
            subdomains: outcome.subdomains,
            cells: outcome.n_cells,
            search_seed: seed,
            region: RegionFields { lower, upper },
            output_polytopes: problem.targets.iter().map(output).collect(),
            free_inputs: outcome.free.clone(),
            polytopes,
            rounds: outcome
                .rounds
                .iter()
                .map(|round| RoundFields { time_s: round.time_s, coverage: round.coverage, polytopes: round.polytopes })
                .collect(),
        }
    }

    /// Adds the coverage that was computed, not sampled.
    pub fn certify(&mut self, certified: &Certified) {
        self.certified = Some(CertifiedFields {
            coverage: certified.coverage,
            approximation_volume: certified.approximation.value,
            approximation_volume_error: certified.approximation.error,
            opposite_volume: certified.opposite.value,
            opposite_volume_error: certified.opposite.error,
        });
    }

    /// The result for people.
    pub fn text(&self, is_quiet: bool) -> String {
        let verdict = if self.reached { "reached" } else { "missed" };
        let [low, high] = self.coverage_interval;
        let mut text = format!(
            "{verdict}  {:.3} s, coverage {:.4} in [{low:.4}, {high:.4}], {} polytopes\n",
            self.time_s,
            self.coverage,
            console::count(self.polytopes.len() as u64)
        );
        if let Some(certified) = &self.certified {
            let side = if self.mode == "under" { "at least" } else { "at most" };
            let _ = writeln!(text, "coverage {side} {:.6}, computed from volumes", certified.coverage);
        }
        if !is_quiet {
            let [low, high] = self.preimage_volume_interval;
            let _ = writeln!(
                text,
                "preimage {:.4} of the region, in [{low:.4}, {high:.4}]; {}-approximation {:.4}; {} subdomains; {}",
                self.preimage_volume,
                self.mode,
                self.approximation_volume,
                console::count(self.subdomains),
                self.reason
            );
        }
        text
    }
}

/// A polytope over all inputs: those that do not vary have one value.
fn full(element: &Element, free: &[usize], lower: &[f64], upper: &[f64]) -> PolytopeFields {
    let (mut lower, mut upper) = (lower.to_vec(), upper.to_vec());
    for (at, &i) in free.iter().enumerate() {
        (lower[i], upper[i]) = (element.lower[at], element.upper[at]);
    }
    let n = lower.len();
    let row = |a: &[f64]| {
        let mut full = vec![0.0; n];
        free.iter().zip(a).for_each(|(&i, &a)| full[i] = a);
        full
    };
    PolytopeFields {
        lower,
        upper,
        a: element.planes.iter().map(|plane| row(&plane.a)).collect(),
        b: element.planes.iter().map(|plane| plane.b).collect(),
        volume: element.volume,
        output_polytope: element.target,
    }
}
