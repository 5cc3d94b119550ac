use burn::module::Module;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::threat::Threat;
use crate::classifier::{Weights, batch_of, cross_entropy, floats};
use crate::random::Random;
use crate::{Classifier, Dataset, Error};

/// Projected gradient ascent of the loss (Madry et al. 2018).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// What the adversary may do
    pub threat: Threat,
    /// Steps
    #[serde(default = "default_steps")]
    pub steps: usize,
    /// The length of a step as a share of the threat's size
    #[serde(default = "default_step")]
    pub step: f64,
}

impl Attack {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(problem) = self.threat.problem() {
            return Err(Error::invalid(format!("attack: {problem}")));
        }
        if self.steps == 0 || !(self.step > 0.0 && self.step.is_finite()) {
            return Err(Error::invalid("attack: 'steps' is at least 1 and 'step' positive"));
        }
        Ok(())
    }

    /// Samples (rows of a data set) moved to where the classifier's loss is high.
    pub(crate) fn run(
        &self,
        classifier: &Classifier,
        weights: &Weights,
        data: &Dataset,
        samples: &[&[f32]],
        labels: &[usize],
        random: &mut Random,
    ) -> Vec<Vec<f32>> {
        let weights = weights.valid();
        let targets: Vec<_> =
            samples.iter().map(|sample| self.threat.target(sample, data.shape(), data.is_image(), random)).collect();
        let mut points: Vec<Vec<f32>> = targets.iter().map(|target| self.threat.start(target, random)).collect();
        for _ in 0..self.steps {
            let rows: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
            let x = batch_of(&rows, &classifier.training_device()).require_grad();
            let loss = cross_entropy(classifier.forward(&weights, x.clone(), None), labels);
            let gradients = loss.backward();
            let Some(gradient) = x.grad(&gradients) else { break };
            let gradient = floats(gradient);
            let n = data.size();
            for (i, (point, target)) in points.iter_mut().zip(&targets).enumerate() {
                self.threat.step(target, point, &gradient[i * n..(i + 1) * n], self.step);
            }
        }
        points
    }
}

impl Classifier {
    /// The share of samples that are classified correctly before and after an attack; an upper bound of robust accuracy.
    ///
    /// # Errors
    /// When the data do not fit the classifier, or the attack's numbers have no meaning.
    pub fn attacked_accuracy(&self, data: &Dataset, attack: &Attack, seed: u64) -> Result<f64, Error> {
        self.check_data(data)?;
        attack.check()?;
        let mut random = Random::new(seed, 0xa77c);
        let indices: Vec<usize> = (0..data.len()).collect();
        let mut n_right = 0;
        for batch in indices.chunks(64) {
            let samples: Vec<&[f32]> = batch.iter().map(|&i| data.sample(i)).collect();
            let labels: Vec<usize> = batch.iter().map(|&i| data.labels()[i]).collect();
            let points = attack.run(self, &self.weights, data, &samples, &labels, &mut random);
            let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
            let (before, after) = (self.scores(&samples)?, self.scores(&points)?);
            n_right += (0..batch.len())
                .filter(|&i| {
                    [&before[i], &after[i]].iter().all(|scores| crate::classifier::argmax(scores) == labels[i])
                })
                .count();
        }
        Ok(n_right as f64 / data.len() as f64)
    }
}

fn default_steps() -> usize {
    10
}

fn default_step() -> f64 {
    0.25
}
