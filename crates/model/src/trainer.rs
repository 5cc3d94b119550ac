use std::ops::ControlFlow;
use std::time::Instant;

use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;
use serde::Serialize;

use crate::classifier::{Interval, batch_of, cross_entropy, floats, right};
use crate::random::Random;
use crate::recipe::{Augment, OptimizerSpec, Recipe};
use crate::robust::{Attack, BoundMethod, Certified, Depth, Robust, Threat};
use crate::{Classifier, Dataset, Error, Score};

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

/// A step's loss and how many samples were classified correctly before it.
struct Step {
    loss: Tensor<1>,
    n_right: usize,
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
        let start = Instant::now();
        let batch_size = self.recipe.batch_size.min(self.train.len());
        let steps_of_epoch = self.train.len().div_ceil(batch_size);
        let n_steps = steps_of_epoch * self.recipe.epochs;
        let mut optimizer = optimizer(&self.recipe.optimizer);
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        let mut shuffle = Random::new(self.seed, 0x5417);
        let mut random = Random::new(self.seed, 0x57e9);
        let mut course = Course { epochs: Vec::new(), ending: Ending::Finished, kept: 0 };
        let mut good = classifier.clone();
        let mut best: Option<(f64, Classifier)> = None;
        'epochs: for epoch in 0..self.recipe.epochs {
            shuffle.shuffle(&mut order);
            let (mut loss_sum, mut n_right, mut lr) = (0.0, 0, 0.0);
            for (k, batch) in order.chunks(batch_size).enumerate() {
                let step = epoch * steps_of_epoch + k;
                let progress = epoch as f64 + k as f64 / steps_of_epoch as f64;
                let Step { loss, n_right: right } = self.step(classifier, batch, progress, &mut random);
                let value = f64::from(floats(loss.clone().inner())[0]);
                if !value.is_finite() {
                    course.ending = Ending::Diverged;
                    break 'epochs;
                }
                loss_sum += value * batch.len() as f64;
                n_right += right;
                lr = self.recipe.rate(epoch, step, n_steps);
                let gradients = GradientsParams::from_grads(loss.backward(), &classifier.weights);
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

    /// The loss of a batch at a point of training that is counted in epochs.
    fn step(&self, classifier: &mut Classifier, batch: &[usize], progress: f64, random: &mut Random) -> Step {
        let labels: Vec<usize> = batch.iter().map(|&i| self.train.labels()[i]).collect();
        let samples: Vec<Vec<f32>> = batch.iter().map(|&i| self.augmented(i, random)).collect();
        let rows: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
        let x = batch_of(&rows, &Classifier::device());
        let mut statistics = Vec::new();
        let scores = classifier.forward(&classifier.weights, x.clone(), Some(&mut statistics));
        classifier.update_statistics(&statistics);
        let n_right = right(&floats(scores.clone().inner()), &labels);
        let clean = cross_entropy(scores, &labels);
        let loss = match &self.recipe.robust {
            None => clean,
            Some(Robust::Adversarial { attack, share }) => {
                let points = attack.run(classifier, &classifier.weights, self.train, &rows, &labels, random);
                let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
                let x = batch_of(&points, &Classifier::device());
                let mut of_attack = Vec::new();
                let scores = classifier.forward(&classifier.weights, x, Some(&mut of_attack));
                cross_entropy(scores, &labels).mul_scalar(*share) + clean.mul_scalar(1.0 - share)
            }
            Some(Robust::Certified(certified)) => {
                let ramp = certified.ramp_at(progress);
                if ramp == 0.0 {
                    clean
                } else {
                    let share = certified.share * ramp;
                    let bounded = self.bounded_loss(classifier, certified, ramp, &rows, &labels, random);
                    bounded.mul_scalar(share) + clean.mul_scalar(1.0 - share)
                }
            }
        };
        Step { loss, n_right }
    }

    /// The cross-entropy of the worst scores that bounds allow.
    fn bounded_loss(
        &self,
        classifier: &Classifier,
        certified: &Certified,
        ramp: f64,
        rows: &[&[f32]],
        labels: &[usize],
        random: &mut Random,
    ) -> Tensor<1> {
        let epsilon = certified.epsilon * ramp;
        let is_image = self.train.is_image();
        let region = match certified.small_box {
            None if certified.patch.is_some() => self.patches(certified, epsilon, rows, random),
            None => Interval::around(batch_of(rows, &Classifier::device()), epsilon, is_image),
            Some(share) => {
                let attack = Attack { threat: Threat::LInf(epsilon * (1.0 - share).max(1e-6)), steps: 4, step: 0.5 };
                let points = attack.run(classifier, &classifier.weights, self.train, rows, labels, random);
                let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
                Interval::around(batch_of(&points, &Classifier::device()), epsilon * share, is_image)
            }
        };
        let weights = &classifier.weights;
        let worst =
            |region: Interval, depth| cross_entropy(classifier.margins(weights, region, labels, depth).neg(), labels);
        match certified.method {
            BoundMethod::Ibp => worst(region, Depth::Last),
            // As the box grows, intervals take over: they can be made tight by training, linear bounds less so.
            BoundMethod::CrownIbp if ramp >= 1.0 => worst(region, Depth::Last),
            BoundMethod::CrownIbp => {
                worst(region.clone(), Depth::Last).mul_scalar(ramp) + worst(region, Depth::Input).mul_scalar(1.0 - ramp)
            }
        }
    }

    /// The boxes in which a rectangle at a random place of every sample changes.
    fn patches(&self, certified: &Certified, epsilon: f64, rows: &[&[f32]], random: &mut Random) -> Interval {
        let [_, height, width] = self.train.shape();
        let [rows_of_patch, columns_of_patch] = certified.patch.unwrap_or([height, width]);
        let mut ends = [-epsilon as f32, epsilon as f32].map(|step| (step, Vec::with_capacity(rows.len())));
        for row in rows {
            let top = random.below((height + 1).saturating_sub(rows_of_patch).max(1));
            let left = random.below((width + 1).saturating_sub(columns_of_patch).max(1));
            let is_covered = |i: usize| {
                let (y, x) = (i / width % height, i % width);
                (top..top + rows_of_patch).contains(&y) && (left..left + columns_of_patch).contains(&x)
            };
            for (step, list) in &mut ends {
                let end = |(i, &v): (usize, &f32)| match (is_covered(i), self.train.is_image()) {
                    (false, _) => v,
                    (true, true) => (v + *step).clamp(0.0, 1.0),
                    (true, false) => v + *step,
                };
                list.push(row.iter().enumerate().map(end).collect::<Vec<f32>>());
            }
        }
        let [lower, upper] = ends.map(|(_, list)| {
            let list: Vec<&[f32]> = list.iter().map(Vec::as_slice).collect();
            batch_of(&list, &Classifier::device())
        });
        Interval { lower, upper }
    }

    /// A training sample, changed at random where the recipe says so.
    fn augmented(&self, i: usize, random: &mut Random) -> Vec<f32> {
        let sample = self.train.sample(i);
        let Some(Augment { shift, brightness }) = self.recipe.augment else { return sample.to_vec() };
        let [_, height, width] = self.train.shape();
        let [down, right] = [(); 2].map(|()| random.below(2 * shift + 1) as isize - shift as isize);
        let factor = (random.between(-1.0, 1.0) * (1.0 + brightness).ln()).exp() as f32;
        (0..sample.len())
            .map(|k| {
                let (plane, y, x) = (k / (height * width), k / width % height, k % width);
                let y = (y as isize - down).clamp(0, height as isize - 1) as usize;
                let x = (x as isize - right).clamp(0, width as isize - 1) as usize;
                let value = sample[(plane * height + y) * width + x] * factor;
                if self.train.is_image() { value.clamp(0.0, 1.0) } else { value }
            })
            .collect()
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
