use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::augment::Augment;
use crate::backend::Backend;
use crate::robust::Robust;

/// How a classifier is trained.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Times that every sample is seen
    pub epochs: usize,
    /// Samples of a step
    #[serde(default = "default_batch_size")]
    pub batch_size: usize,
    /// How steps follow from gradients
    pub optimizer: OptimizerSpec,
    /// How the learning rate changes
    #[serde(default)]
    pub schedule: Schedule,
    /// Ends training when the validation samples stop gaining
    #[serde(default)]
    pub early_stop: Option<EarlyStop>,
    /// Random changes of training images
    #[serde(default)]
    pub augment: Option<Augment>,
    /// The share of a label that all classes have alike (Szegedy et al. 2016)
    #[serde(default)]
    pub label_smoothing: f64,
    /// Training for robustness
    #[serde(default)]
    pub robust: Option<Robust>,
    /// What computes
    #[serde(default)]
    pub backend: Backend,
}

/// An optimizer and its rates.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OptimizerSpec {
    /// Stochastic gradient descent
    Sgd {
        /// The learning rate
        lr: f64,
        /// What remains of the last step's direction
        #[serde(default)]
        momentum: f64,
        /// L2 penalty
        #[serde(default)]
        weight_decay: f64,
    },
    /// Adam (Kingma and Ba 2015)
    Adam {
        /// The learning rate
        lr: f64,
        /// L2 penalty
        #[serde(default)]
        weight_decay: f64,
    },
}

/// The learning rate over the course of training, as a factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Always 1
    #[default]
    Constant,
    /// Multiplied by `factor` after every so many epochs
    Step {
        /// Epochs
        every: usize,
        /// The factor
        factor: f64,
    },
    /// Half a cosine from 1 to 0
    Cosine,
    /// Up to 1 in a straight line over the first `warm_up` (a share of all steps), then half a cosine to 0
    OneCycle {
        /// A share of all steps, between 0 and 1
        warm_up: f64,
    },
}

/// When to stop early; the weights of the best epoch are kept.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// Epochs without a lower validation loss
    pub patience: usize,
}

impl Recipe {
    /// Checks every number.
    ///
    /// # Errors
    /// Naming the first that has no meaning.
    pub fn check(&self) -> Result<(), Error> {
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        let (lr, momentum, decay) = match self.optimizer {
            OptimizerSpec::Sgd { lr, momentum, weight_decay } => (lr, momentum, weight_decay),
            OptimizerSpec::Adam { lr, weight_decay } => (lr, 0.0, weight_decay),
        };
        let problem = if self.epochs == 0 || self.batch_size == 0 {
            "'epochs' and 'batch_size' are at least 1"
        } else if !(lr > 0.0 && lr.is_finite()) {
            "'lr' is a positive number"
        } else if !(0.0..1.0).contains(&momentum) {
            "'momentum' is at least 0 and below 1"
        } else if !(decay >= 0.0 && decay.is_finite()) {
            "'weight_decay' is not negative"
        } else if matches!(self.schedule, Schedule::Step { every, factor } if every == 0 || !(factor > 0.0 && factor.is_finite()))
        {
            "a step schedule has 'every' of at least 1 and a positive 'factor'"
        } else if matches!(self.schedule, Schedule::OneCycle { warm_up } if !is_share(warm_up)) {
            "'warm_up' is between 0 and 1"
        } else if !(0.0..1.0).contains(&self.label_smoothing) {
            "'label_smoothing' is at least 0 and below 1"
        } else {
            self.backend.device()?;
            self.augment.as_ref().map_or(Ok(()), Augment::check)?;
            return self.robust.as_ref().map_or(Ok(()), Robust::check);
        };
        Err(Error::invalid(format!("training: {problem}")))
    }

    /// The learning rate before it is scheduled.
    pub(crate) fn base_rate(&self) -> f64 {
        match self.optimizer {
            OptimizerSpec::Sgd { lr, .. } | OptimizerSpec::Adam { lr, .. } => lr,
        }
    }

    /// The learning rate at step `step` of `n_steps`, in epoch `epoch` (from 0).
    pub(crate) fn rate(&self, epoch: usize, step: usize, n_steps: usize) -> f64 {
        let progress = step as f64 / n_steps.max(1) as f64;
        let cosine = |t: f64| 0.5 * (1.0 + (std::f64::consts::PI * t.clamp(0.0, 1.0)).cos());
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => factor.powi((epoch / every) as i32),
            Schedule::Cosine => cosine(progress),
            Schedule::OneCycle { warm_up } if progress < warm_up => {
                (step + 1) as f64 / (warm_up * n_steps as f64).max(1.0)
            }
            Schedule::OneCycle { warm_up } => cosine((progress - warm_up) / (1.0 - warm_up).max(1e-9)),
        };
        self.base_rate() * factor.min(f64::MAX)
    }
}

fn default_batch_size() -> usize {
    32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(schedule: Schedule) -> Recipe {
        let optimizer = OptimizerSpec::Sgd { lr: 2.0, momentum: 0.0, weight_decay: 0.0 };
        Recipe {
            epochs: 4,
            batch_size: 1,
            optimizer,
            schedule,
            early_stop: None,
            augment: None,
            label_smoothing: 0.0,
            robust: None,
            backend: Backend::Cpu,
        }
    }

    #[test]
    fn schedules_start_and_end_where_they_should() {
        assert_eq!(recipe(Schedule::Constant).rate(3, 99, 100), 2.0);
        assert_eq!(recipe(Schedule::Step { every: 2, factor: 0.1 }).rate(1, 30, 100), 2.0);
        assert!((recipe(Schedule::Step { every: 2, factor: 0.1 }).rate(2, 50, 100) - 0.2).abs() < 1e-12);
        assert_eq!(recipe(Schedule::Cosine).rate(0, 0, 100), 2.0);
        assert!((recipe(Schedule::Cosine).rate(2, 50, 100) - 1.0).abs() < 1e-12);
        let cycle = recipe(Schedule::OneCycle { warm_up: 0.1 });
        assert!((cycle.rate(0, 4, 100) - 1.0).abs() < 1e-12 && (cycle.rate(0, 10, 100) - 2.0).abs() < 1e-12);
        assert!(cycle.rate(3, 99, 100) < 0.01);
    }

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        for lr in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let optimizer = OptimizerSpec::Adam { lr, weight_decay: 0.0 };
            assert!(Recipe { optimizer, ..recipe(Schedule::Constant) }.check().is_err());
        }
        assert!(Recipe { epochs: 0, ..recipe(Schedule::Constant) }.check().is_err());
        assert!(recipe(Schedule::OneCycle { warm_up: 1.5 }).check().is_err());
        assert!(recipe(Schedule::Cosine).check().is_ok());
    }
}
