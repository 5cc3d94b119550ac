use std::path::Path;

use anyhow::{Context, Result, bail};
use driver::Limits;
use driver::repair::{CertifiedAccuracy, CertifiedCount, Effort};
use model::Dataset;
use network::ssim::Similarity;
use network::{Image, onnx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::session::Session;

/// Certified accuracy: for how many of the first test samples it is proved that everything near them gets their label.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CertifySpec {
    /// Largest changes of every value
    pub epsilons: Vec<f64>,
    /// Structural similarities, by one window over all values
    pub thresholds: Vec<f64>,
    /// Samples
    pub samples: usize,
    /// Seconds for one sample
    pub answer_s: f64,
}

/// Certified accuracy over one kind of sets, in numbers of samples.
#[derive(Debug, Clone, Serialize)]
pub struct Certified {
    /// Largest change of every value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Structural similarity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Samples that were looked at.
    pub samples: usize,
    /// Those that are classified correctly.
    pub right: usize,
    /// Those of which it is proved.
    pub verified: usize,
    /// Those of which it is wrong, misclassified ones included.
    pub falsified: usize,
    /// The others.
    pub unknown: usize,
}

impl Certified {
    /// A line about it.
    pub fn text(&self) -> String {
        let set = match (self.epsilon, self.threshold) {
            (Some(epsilon), _) => format!("±{epsilon:.5}"),
            (None, threshold) => format!("SSIM ≥ {}", threshold.unwrap_or(1.0)),
        };
        let Self { samples, verified, falsified, unknown, .. } = self;
        let share = 100.0 * *verified as f64 / (*samples).max(1) as f64;
        format!("{set}: {share:.1} % of {samples} proved ({falsified} falsified, {unknown} open)")
    }
}

impl Default for CertifySpec {
    fn default() -> Self {
        Self { epsilons: Vec::new(), thresholds: Vec::new(), samples: 50, answer_s: 2.0 }
    }
}

impl CertifySpec {
    /// Checks every number.
    pub fn check(&self) -> Result<()> {
        let is_share = |value: &f64| *value > 0.0 && *value <= 1.0;
        if !self.epsilons.iter().all(|epsilon| *epsilon > 0.0 && epsilon.is_finite())
            || !self.thresholds.iter().all(is_share)
            || self.samples == 0
            || self.answer_s.is_nan()
            || self.answer_s <= 0.0
        {
            bail!(
                "certify: 'epsilons' and 'answer_s' are positive numbers, 'thresholds' in (0, 1], 'samples' at least 1"
            );
        }
        Ok(())
    }

    /// Certified accuracy of a network's file on the first test samples.
    pub fn measure(&self, path: &Path, test: &Dataset, session: &Session) -> Result<Vec<Certified>> {
        if self.epsilons.is_empty() && self.thresholds.is_empty() {
            return Ok(Vec::new());
        }
        let network = onnx::read(path)?;
        let test = test.truncated(self.samples);
        let image = |i: usize| -> Result<(Image, usize)> {
            let pixels = test.sample(i).iter().map(|&v| f64::from(v)).collect();
            Ok((Image::new(test.shape(), pixels).context("certify: the samples are no images")?, test.labels()[i]))
        };
        let images: Vec<(Image, usize)> = (0..test.len()).map(image).collect::<Result<_>>()?;
        let effort = Effort {
            limits: Limits { time_s: Some(self.answer_s), ..Limits::default() },
            seed: session.seed,
            interrupt: session.interrupt.clone(),
            more: 0,
        };
        let accuracy = CertifiedAccuracy { network: &network, device: session.device()?, effort: &effort };
        let mut certified = Vec::new();
        let row = |epsilon, threshold, count: CertifiedCount| Certified {
            epsilon,
            threshold,
            samples: count.samples,
            right: count.right,
            verified: count.verified,
            falsified: count.falsified,
            unknown: count.unknown,
        };
        for &epsilon in &self.epsilons {
            certified.push(row(Some(epsilon), None, accuracy.within(&images, epsilon)?));
        }
        for &threshold in &self.thresholds {
            let similarity = Similarity::Global;
            certified.push(row(None, Some(threshold), accuracy.similar(&images, similarity, threshold)?));
        }
        Ok(certified)
    }
}
