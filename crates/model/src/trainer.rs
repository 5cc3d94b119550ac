use std::ops::ControlFlow;
use std::time::Instant;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, ModuleOptimizer, SgdConfig};
use serde::Serialize;

use crate::random::Random;
use crate::recipe::{OptimizerSpec, Recipe};
use crate::robust::Robust;
use crate::step::Step;
use crate::{Backend, Classifier, Dataset, Error, Score};

/// Trains classifiers by a recipe.
#[derive(Debug, Clone, Copy)]
pub struct Trainer<'a> {
    /// How.
    pub recipe: &'a Recipe,
    /// What is learnt from.
    pub train: &'a Dataset,
    /// What is watched after every epoch; early stopping goes by it.
    pub validation: Option<&'a Dataset>,
    /// Where randomness starts: the same seed gives the same weights, to the bit.
    pub seed: u64,
}

/// What is told while training runs.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A step is done.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Steps done, of all epochs.
        step: usize,
        /// Steps of all epochs.
        n_steps: usize,
    },
    /// An epoch is done.
    Epoch(&'a EpochRecord),
}

/// One epoch in numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// The learning rate of its last step.
    pub lr: f64,
    /// Mean of what was minimised.
    pub loss: f64,
    /// Share of training samples that were classified correctly while it ran (before each step).
    pub accuracy: f64,
    /// Mean cross-entropy of the validation samples after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Share of the validation samples that are classified correctly after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    /// Half side of the boxes that were bounded, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Seconds since training began.
    pub time_s: f64,
}

/// Why training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// All epochs are done.
    Finished,
    /// The validation samples stopped gaining.
    Stopped,
    /// A loss was not finite: the learning rate is too high. The weights are those of the last good epoch.
    Diverged,
    /// The observer asked for it.
    Interrupted,
}

/// What training leaves behind besides weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Course {
    /// Every whole epoch.
    pub epochs: Vec<EpochRecord>,
    /// Why it ended.
    pub ending: Ending,
    /// The epoch whose weights were kept, from 1; 0: the weights at the start.
    pub kept: usize,
}

impl Trainer<'_> {
    /// Trains the classifier in place.
    ///
    /// The observer hears of every step and every epoch, and ends training by [`ControlFlow::Break`].
    ///
    /// # Errors
    /// When the recipe has no meaning or the data do not fit the classifier.
    pub fn run(
        &self,
        classifier: &mut Classifier,
        observer: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Course, Error> {
        self.recipe.check()?;
        classifier.check_data(self.train)?;
        self.validation.map_or(Ok(()), |data| classifier.check_data(data))?;
        if self.recipe.early_stop.is_some() && self.validation.is_none() {
            return Err(Error::invalid("training: early stopping needs validation samples"));
        }
        if self.recipe.backend != Backend::Cpu {
            *classifier = classifier.moved_to(self.recipe.backend)?;
        }
        let start = Instant::now();
        let batch_size = self.recipe.batch_size.min(self.train.len());
        let steps_of_epoch = self.train.len().div_ceil(batch_size);
        let n_steps = steps_of_epoch * self.recipe.epochs;
        let mut optimizer = optimizer(&self.recipe.optimizer);
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        let mut shuffle = Random::new(self.seed, 0x5417);
        let mut course = Course { epochs: Vec::new(), ending: Ending::Finished, kept: 0 };
        let mut good = classifier.clone();
        let mut best: Option<(f64, Classifier)> = None;
        'epochs: for epoch in 0..self.recipe.epochs {
            shuffle.shuffle(&mut order);
            let (mut loss_sum, mut n_right, mut lr) = (0.0, 0, 0.0);
            for (k, batch) in order.chunks(batch_size).enumerate() {
                let step = epoch * steps_of_epoch + k;
                let progress = epoch as f64 + k as f64 / steps_of_epoch as f64;
                let Step { loss, n_right: right, gradients, statistics } = self.step(classifier, batch, progress, step);
                if !loss.is_finite() {
                    course.ending = Ending::Diverged;
                    break 'epochs;
                }
                classifier.update_statistics(&statistics);
                loss_sum += loss * batch.len() as f64;
                n_right += right;
                lr = self.recipe.rate(epoch, step, n_steps);
                classifier.weights = optimizer.step(lr, classifier.weights.clone(), gradients);
                if observer(Event::Step { epoch: epoch + 1, step: step + 1, n_steps }).is_break() {
                    course.ending = Ending::Interrupted;
                    break 'epochs;
                }
            }
            let score = self.validation.map(|data| classifier.score(data)).transpose()?;
            if !classifier.is_finite() || score.is_some_and(|score| !score.loss.is_finite()) {
                course.ending = Ending::Diverged;
                break;
            }
            let record = self.record(epoch, lr, loss_sum, n_right, score, start.elapsed().as_secs_f64());
            let heard = observer(Event::Epoch(&record));
            course.epochs.push(record);
            course.kept = epoch + 1;
            good = classifier.clone();
            if let (Some(early_stop), Some(score)) = (self.recipe.early_stop, score) {
                if best.as_ref().is_none_or(|(loss, _)| score.loss < *loss) {
                    best = Some((score.loss, classifier.clone()));
                }
                if epochs_since_best(&course.epochs) >= early_stop.patience {
                    course.ending = Ending::Stopped;
                    break;
                }
            }
            if heard.is_break() {
                course.ending = Ending::Interrupted;
                break;
            }
        }
        // An epoch that was cut short is dropped, so that what is kept is the state of a whole epoch.
        *classifier = good;
        if let Some((_, best)) = best {
            *classifier = best;
            course.kept = course.epochs.len() - epochs_since_best(&course.epochs);
        }
        if self.recipe.backend != Backend::Cpu {
            *classifier = classifier.moved_to(Backend::Cpu)?;
        }
        Ok(course)
    }

    fn record(
        &self,
        epoch: usize,
        lr: f64,
        loss_sum: f64,
        n_right: usize,
        score: Option<Score>,
        time_s: f64,
    ) -> EpochRecord {
        let n = self.train.len() as f64;
        let epsilon = match &self.recipe.robust {
            Some(Robust::Certified(certified)) => Some(certified.epsilon * certified.ramp_at((epoch + 1) as f64)),
            _ => None,
        };
        EpochRecord {
            epoch: epoch + 1,
            lr,
            loss: loss_sum / n,
            accuracy: n_right as f64 / n,
            validation_loss: score.map(|score| score.loss),
            validation_accuracy: score.map(|score| score.accuracy),
            epsilon,
            time_s,
        }
    }
}

impl Classifier {
    /// Whether every trained value is finite.
    pub(crate) fn is_finite(&self) -> bool {
        self.state().tensors().iter().all(|tensor| tensor.values.iter().all(|value| value.is_finite()))
    }
}

/// Epochs after the one with the lowest validation loss.
fn epochs_since_best(epochs: &[EpochRecord]) -> usize {
    let loss = |i: usize| epochs[i].validation_loss.unwrap_or(f64::INFINITY);
    let best = (0..epochs.len()).fold(0, |best, i| if loss(i) < loss(best) { i } else { best });
    epochs.len() - 1 - best
}

fn optimizer(spec: &OptimizerSpec) -> ModuleOptimizer {
    let decay = |penalty: f64| (penalty > 0.0).then(|| WeightDecayConfig::new(penalty as f32));
    match *spec {
        OptimizerSpec::Sgd { momentum, weight_decay, .. } => {
            // PyTorch's momentum: nothing is taken off the new gradient.
            let momentum = (momentum > 0.0).then(|| MomentumConfig::new().with_momentum(momentum).with_dampening(0.0));
            SgdConfig::new().with_weight_decay(decay(weight_decay)).with_momentum(momentum).init()
        }
        OptimizerSpec::Adam { weight_decay, .. } => {
            AdamConfig::new().with_epsilon(1e-8).with_weight_decay(decay(weight_decay)).init()
        }
    }
}
