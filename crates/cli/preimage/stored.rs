use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use driver::preimage::{Element, Mode, OutputPolytope, Plane, PreimageProblem, Round};
use network::BoxRegion;
use serde::Deserialize;

use crate::input;
use crate::preimage::result::{PolytopeFields, RoundFields};

/// A preimage file, as far as it is read again: what it says of the problem, and its polytopes.
#[derive(Debug, Deserialize)]
pub struct Stored {
    /// Where the network was read.
    pub network: PathBuf,
    /// Inside or around.
    mode: String,
    /// The box of all inputs.
    pub region: Ends,
    output_polytopes: Vec<Output>,
    /// The inputs that vary.
    pub free_inputs: Vec<usize>,
    /// The polytopes, over all inputs.
    pub polytopes: Vec<PolytopeFields>,
    /// The coverage that was asked for.
    pub coverage_target: Option<f64>,
    #[serde(default)]
    rounds: Vec<RoundFields>,
}

/// A box.
#[derive(Debug, Deserialize)]
pub struct Ends {
    /// Lower ends.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Output {
    rows: Vec<Vec<f64>>,
    rhs: Vec<f64>,
}

impl Stored {
    /// Reads a file that `--out` or `--json` wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let place = path.display();
        let stored: Self = serde_json::from_str(&input::text(path)?)
            .with_context(|| format!("{place}: expected a preimage, as `diadem preimage --out` writes it"))?;
        let n = stored.region.lower.len();
        if stored.region.upper.len() != n || stored.free_inputs.iter().any(|&i| i >= n) {
            bail!("{place}: the region's ends and free_inputs do not fit each other");
        }
        if !stored.free_inputs.is_sorted_by(|a, b| a < b) {
            bail!("{place}: free_inputs must rise");
        }
        for (k, polytope) in stored.polytopes.iter().enumerate() {
            polytope.check(n).with_context(|| format!("{place}: polytope {k}"))?;
        }
        Ok(stored)
    }

    /// How many outputs the rows speak of.
    pub fn n_outputs(&self) -> usize {
        self.output_polytopes.iter().flat_map(|output| &output.rows).map(Vec::len).max().unwrap_or(0)
    }

    /// The problem that was asked, with uniform inputs; the network from elsewhere if it has moved.
    pub fn problem(&self, network: Option<&Path>) -> Result<PreimageProblem> {
        let mode = match self.mode.as_str() {
            "under" => Mode::Under,
            "over" => Mode::Over,
            other => bail!("mode '{other}': expected 'under' or 'over'"),
        };
        let path = network.unwrap_or(&self.network);
        let network = input::network_of_inputs(path, self.region.lower.len())?;
        let region = BoxRegion::new(self.region.lower.clone(), self.region.upper.clone())?;
        let mut problem = PreimageProblem::new(network, region, OutputPolytope::default(), mode);
        let target = |output: &Output| OutputPolytope { rows: output.rows.clone(), rhs: output.rhs.clone() };
        problem.targets = self.output_polytopes.iter().map(target).collect();
        problem.check()?;
        Ok(problem)
    }

    /// The polytopes, if they are of this problem.
    pub fn elements_of(&self, problem: &PreimageProblem) -> Result<Vec<Element>> {
        let is_same = |output: &Output, target: &OutputPolytope| output.rows == target.rows && output.rhs == target.rhs;
        let outputs = self.output_polytopes.len() == problem.targets.len()
            && self.output_polytopes.iter().zip(&problem.targets).all(|(output, target)| is_same(output, target));
        let region = self.region.lower == problem.region.lower && self.region.upper == problem.region.upper;
        for (is_equal, what) in
            [(self.mode == problem.mode.name(), "mode"), (region, "region"), (outputs, "output polytopes")]
        {
            if !is_equal {
                bail!("its {what} is not that of the problem: a run goes on with the same problem only");
            }
        }
        Ok(self.elements())
    }

    /// Checks that the inputs of the file that vary are those of its region.
    pub fn check_free(&self, free: &[usize]) -> Result<()> {
        if self.free_inputs != free {
            bail!("free_inputs has {} inputs; of its region {} vary", self.free_inputs.len(), free.len());
        }
        Ok(())
    }

    /// How the search went.
    pub fn rounds(&self) -> Vec<Round> {
        let round =
            |round: &RoundFields| Round { time_s: round.time_s, coverage: round.coverage, polytopes: round.polytopes };
        self.rounds.iter().map(round).collect()
    }

    /// The polytopes in the inputs that vary.
    pub fn elements(&self) -> Vec<Element> {
        let chosen = |all: &[f64]| -> Vec<f64> { self.free_inputs.iter().map(|&i| all[i]).collect() };
        let element = |polytope: &PolytopeFields| Element {
            lower: chosen(&polytope.lower),
            upper: chosen(&polytope.upper),
            planes: polytope.a.iter().zip(&polytope.b).map(|(a, &b)| Plane { a: chosen(a), b }).collect(),
            target: polytope.output_polytope,
            volume: polytope.volume,
        };
        self.polytopes.iter().map(element).collect()
    }
}
