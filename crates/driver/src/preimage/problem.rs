use std::sync::Arc;

use network::{BoxRegion, HalfSpace, Network, Property};

use crate::error::Error;
use crate::preimage::prior::Prior;

/// Which side the approximation is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Every polytope lies inside the preimage.
    #[default]
    Under,
    /// The polytopes together contain the preimage.
    Over,
}

/// A polytope of outputs, `{y : rows · y ≥ rhs}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OutputPolytope {
    /// One coefficient per output in each row.
    pub rows: Vec<Vec<f64>>,
    /// One value per row.
    pub rhs: Vec<f64>,
}

/// What is asked: the inputs of a region that a network maps into one of several polytopes.
#[derive(Debug, Clone)]
pub struct PreimageProblem {
    /// The network.
    pub network: Arc<Network>,
    /// Where inputs lie.
    pub region: BoxRegion,
    /// The outputs that are asked for: the union of these.
    pub targets: Vec<OutputPolytope>,
    /// Inside or around.
    pub mode: Mode,
    /// How inputs are distributed over the region: volumes are probabilities. Uniform unless told.
    pub prior: Prior,
}

impl Mode {
    /// Its name in files and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Under => "under",
            Self::Over => "over",
        }
    }
}

impl OutputPolytope {
    /// Outputs at which `label` is at least as large as every other one.
    pub fn all_others(label: usize, n_outputs: usize) -> Self {
        Self::class_set(&[label], n_outputs).pop().unwrap_or_default()
    }

    /// Outputs at which `label` is at least as large as `other`.
    pub fn against(label: usize, other: usize, n_outputs: usize) -> Self {
        Self { rows: vec![difference(label, other, n_outputs)], rhs: vec![0.0] }
    }

    /// One polytope for each of these labels: where it is at least as large as every output that is not in the set.
    pub fn class_set(labels: &[usize], n_outputs: usize) -> Vec<Self> {
        let others: Vec<usize> = (0..n_outputs).filter(|k| !labels.contains(k)).collect();
        labels
            .iter()
            .map(|&label| Self {
                rows: others.iter().map(|&other| difference(label, other, n_outputs)).collect(),
                rhs: vec![0.0; others.len()],
            })
            .collect()
    }

    /// Outputs at which `label` is at least as large as the largest other one at the input `x`.
    ///
    /// # Errors
    /// When `x` is no input of the network, or `label` none of at least two outputs.
    pub fn runner_up(network: &Network, x: &[f64], label: usize) -> Result<Self, Error> {
        let y = network.evaluate(x)?;
        let other = (0..y.len()).filter(|&k| k != label).max_by(|&a, &b| y[a].total_cmp(&y[b]).then(b.cmp(&a)));
        match other {
            Some(other) if label < y.len() => Ok(Self::against(label, other, y.len())),
            _ => Err(Error::question(format!("class {label} of {} outputs has no runner-up", y.len()))),
        }
    }
}

impl PreimageProblem {
    /// A problem with one polytope and uniform inputs.
    pub fn new(network: impl Into<Arc<Network>>, region: BoxRegion, target: OutputPolytope, mode: Mode) -> Self {
        Self { network: network.into(), region, targets: vec![target], mode, prior: Prior::uniform() }
    }

    /// The region of a property, and the outputs that violate it within, or with `complement` those that do not.
    ///
    /// # Errors
    /// When the property has several regions, or rows over inputs, or coefficients that are no floats, or a complement of too many parts.
    pub fn parts_of(property: &Property, complement: bool) -> Result<(BoxRegion, Vec<OutputPolytope>), Error> {
        /// More polytopes than a complement should have.
        const MOST: usize = 4096;
        let Some(first) = property.disjuncts.first() else {
            return Err(Error::question("the property has no disjunct: there is no region"));
        };
        if property.disjuncts.iter().any(|disjunct| disjunct.region != first.region) {
            return Err(Error::question("the property has several regions: a preimage has one"));
        }
        let row = |half_space: &HalfSpace, sign: f64| -> Result<(Vec<f64>, f64), Error> {
            let is_exact = |pair: &[f64; 2]| pair[0] == pair[1];
            if !half_space.input.is_empty() {
                return Err(Error::question("the property has a row over inputs: a preimage's rows speak of outputs"));
            }
            if !half_space.output.iter().all(|(_, pair)| is_exact(pair)) || !is_exact(&half_space.constant) {
                return Err(Error::question("the property has a coefficient that is no float; write it as one"));
            }
            let mut row = vec![0.0; property.n_outputs];
            // `c y + d ≤ 0` is `−c y ≥ d`.
            half_space.output.iter().for_each(|(k, pair)| row[*k] = -sign * pair[0]);
            Ok((row, sign * half_space.constant[0]))
        };
        let mut targets = Vec::new();
        if !complement {
            for disjunct in &property.disjuncts {
                let rows: Result<Vec<_>, Error> = disjunct.half_spaces.iter().map(|row_of| row(row_of, 1.0)).collect();
                let (rows, rhs) = rows?.into_iter().unzip();
                targets.push(OutputPolytope { rows, rhs });
            }
            return Ok((first.region.clone(), targets));
        }
        // Not any disjunct: of each one half-space fails, in every combination. Closed: the boundary belongs to both.
        targets.push(OutputPolytope::default());
        for disjunct in &property.disjuncts {
            let mut next = Vec::new();
            for target in &targets {
                for half_space in &disjunct.half_spaces {
                    let (row, rhs) = row(half_space, -1.0)?;
                    let mut longer = target.clone();
                    longer.rows.push(row);
                    longer.rhs.push(rhs);
                    next.push(longer);
                }
            }
            if next.len() > MOST {
                return Err(Error::question(format!("the complement has more than {MOST} parts")));
            }
            targets = next;
        }
        Ok((first.region.clone(), targets))
    }

    /// Checks that all parts fit each other.
    ///
    /// # Errors
    /// When they do not; the message has both numbers.
    pub fn check(&self) -> Result<(), Error> {
        let (n_in, n_out) = (self.network.n_inputs(), self.network.n_outputs());
        if self.region.n_inputs() != n_in {
            let n = self.region.n_inputs();
            return Err(Error::question(format!("the region has {n} inputs but the network has {n_in}")));
        }
        if self.targets.is_empty() {
            return Err(Error::question("there is no output polytope: at least one is needed"));
        }
        for target in &self.targets {
            if target.rows.is_empty() || target.rows.len() != target.rhs.len() {
                let (rows, rhs) = (target.rows.len(), target.rhs.len());
                return Err(Error::question(format!("an output polytope has {rows} rows and {rhs} right-hand sides")));
            }
            if let Some(row) = target.rows.iter().find(|row| row.len() != n_out) {
                let n = row.len();
                return Err(Error::question(format!(
                    "an output row has {n} coefficients but the network {n_out} outputs"
                )));
            }
            if target.rows.iter().flatten().chain(&target.rhs).any(|value| !value.is_finite()) {
                return Err(Error::question("an output row is not finite"));
            }
        }
        self.prior.check(n_in)
    }

    /// Whether the network, run in f64, maps `x` into one of the polytopes; wrong lengths and NaN are outside.
    pub fn contains(&self, x: &[f64]) -> bool {
        let Ok(y) = self.network.evaluate(x) else { return false };
        let holds = |(row, rhs): (&Vec<f64>, &f64)| row.iter().zip(&y).map(|(c, y)| c * y).sum::<f64>() >= *rhs;
        self.targets.iter().any(|target| target.rows.iter().zip(&target.rhs).all(holds))
    }
}

fn difference(label: usize, other: usize, n_outputs: usize) -> Vec<f64> {
    (0..n_outputs).map(|k| f64::from(u8::from(k == label)) - f64::from(u8::from(k == other))).collect()
}
