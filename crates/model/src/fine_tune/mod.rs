//! Changing weights until given inputs, and regions of inputs, have the outputs that are wanted.

mod chase;
mod region;
mod wanted;

use std::ops::ControlFlow;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{log_softmax, relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::augment::Augment;
use crate::classifier::{Weights, batch_of, cross_entropy, floats, samples};
use crate::random::Random;
use crate::{Classifier, Dataset, Error};

use chase::Chase;
use region::RegionBatch;
use wanted::WantedBatch;

pub use region::Region;
pub use wanted::{OutputRow, Wanted};

/// An input and what is wanted of the outputs there.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// The values of the input.
    pub input: Vec<f32>,
    /// What is wanted.
    pub wanted: Wanted,
}

/// Inputs, and what is wanted of the outputs at all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The inputs.
    pub region: Region,
    /// What is wanted.
    pub wanted: Wanted,
}

/// How weights are changed so that examples and regions have what is wanted of them.
///
/// By default this is the penalty method of *semantic-robustness-verification*, but that ties do not count as repaired and epochs are
/// limited: all else goes past it; [`Self::thorough`] is what repairs best.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuneSettings {
    /// Adam's learning rate
    pub lr: f64,
    /// Training samples of a step
    pub batch_size: usize,
    /// An example's weight is multiplied by this after every epoch in which it was not repaired
    pub penalty_increase: f64,
    /// Most epochs
    pub epochs: usize,
    /// The last epochs, with a learning rate that falls to zero: from the first in which everything is repaired, or as many as are
    /// left of `epochs`
    pub settle: usize,
    /// Random changes of training images
    pub augment: Option<Augment>,
    /// By how much what is wanted must hold at an example: for a class, by how much its score exceeds all others
    pub margin: f64,
    /// Points of every region that look for violations while the weights change; what they find is learnt as examples are
    pub attacks: usize,
    /// The share, between 0 and 1, that the outputs at the start have in what training samples teach, their labels have the rest
    pub memory: f64,
    /// The weight of what the outputs at the start were between training samples, at random mixtures of two, darkened or lightened
    pub rehearsal: f64,
    /// The weight of what the outputs at the start were around the regions: at random mixtures of training samples with examples and
    /// attacks, but for those that lie in a region
    pub locality: f64,
    /// The weight of the squared distance from the weights at the start
    pub proximity: f64,
    /// The weight of what the bounds over regions lack
    pub bound_weight: f64,
    /// The least accuracy on the validation samples; weights below it are not kept
    pub floor: f64,
}

/// Fine-tunes a classifier on examples, regions and training samples together.
#[derive(Debug, Clone, Copy)]
pub struct FineTune<'a> {
    /// How.
    pub settings: &'a FineTuneSettings,
    /// What must not be forgotten.
    pub train: &'a Dataset,
    /// What accuracy is measured on.
    pub validation: &'a Dataset,
    /// Where randomness starts: the same seed gives the same weights, to the bit.
    pub seed: u64,
}

/// Multiply-adds of forward passes that settling may take for more than its least number of steps.
const SETTLE_MACS: usize = 40_000_000_000;

/// Steps of the attacks that a state of the weights has to withstand.
const ATTACK_STEPS: usize = 12;

/// Why fine-tuning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneEnding {
    /// Every example and every attack has what is wanted with the margin, every region's bound is positive where bounds are weighted,
    /// and accuracy is at or above the floor.
    Repaired,
    /// All epochs are done; the weights are the best that were seen.
    Finished,
    /// A loss was not finite; the weights are the best that were seen.
    Diverged,
    /// The observer asked for it; the weights are the best that were seen.
    Interrupted,
}

/// A point of fine-tuning in numbers; also what its end leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TuneRecord {
    /// Epochs done; 0 is the start.
    pub epoch: usize,
    /// Examples that have what is wanted with the margin.
    pub repaired: usize,
    /// Regions in which no attack found less than the margin; all of them where there are no attacks.
    pub held: usize,
    /// Regions whose bound is positive (rounding not counted: the engine proves).
    pub bounded: usize,
    /// Share of the validation samples that are classified correctly.
    pub accuracy: f64,
}

impl Default for FineTuneSettings {
    fn default() -> Self {
        Self {
            lr: 0.01,
            batch_size: 32,
            penalty_increase: 1.1,
            epochs: 100,
            settle: 0,
            augment: None,
            margin: 0.0,
            attacks: 0,
            memory: 0.0,
            rehearsal: 0.0,
            locality: 0.0,
            proximity: 0.0,
            bound_weight: 0.0,
            floor: 0.0,
        }
    }
}

impl FineTuneSettings {
    /// A small margin, attacks, some memory, and training goes on with changed samples besides the penalties; the floor and the bounds'
    /// weight are the caller's.
    ///
    /// For so many training samples, and a network of so many multiply-adds: settling takes sixteen thousand steps, four thousand where
    /// a step costs much, but between 6 and 400 epochs.
    pub fn thorough(n_samples: usize, multiply_adds: usize) -> Self {
        let augment = Augment { brightness: 1.5, contrast: 1.0, ..Augment::default() };
        let base = Self::default();
        let steps = (SETTLE_MACS / base.batch_size.saturating_mul(multiply_adds.max(1))).clamp(4_000, 16_000);
        let settle = steps.div_ceil(n_samples.div_ceil(base.batch_size).max(1)).clamp(6, 400);
        let augment = Some(augment);
        Self { lr: 0.005, epochs: 2 * settle, settle, augment, margin: 0.02, attacks: 16, memory: 0.3, ..base }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// Naming the rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        self.augment.as_ref().map_or(Ok(()), Augment::check)?;
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = [self.margin, self.rehearsal, self.locality, self.proximity, self.bound_weight];
        let problem = if !is_positive(self.lr) {
            "'lr' is a positive number"
        } else if self.batch_size == 0 || self.epochs == 0 {
            "'batch_size' and 'epochs' are at least 1"
        } else if !(self.penalty_increase >= 1.0 && self.penalty_increase.is_finite()) {
            "'penalty_increase' is at least 1"
        } else if !not_negative.iter().all(|value| *value >= 0.0 && value.is_finite()) {
            "'margin', 'rehearsal', 'locality', 'proximity' and 'bound_weight' are not negative"
        } else if !(0.0..=1.0).contains(&self.floor) || !(0.0..=1.0).contains(&self.memory) {
            "'floor' and 'memory' are between 0 and 1"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("fine-tuning: {problem}")))
    }
}

impl FineTune<'_> {
    /// Fine-tunes the classifier in place; batch normalisations keep their statistics.
    ///
    /// What is kept is, among the states after each epoch with accuracy at or above the floor (and the start), one with most examples
    /// repaired, then most regions held, then most regions bounded if bounds have a weight: the most accurate of these and, while
    /// settling, the last within one standard error of it. The record says what that is.
    ///
    /// # Errors
    /// When settings have no meaning, or data, examples or targets do not fit the classifier.
    pub fn run(
        &self,
        classifier: &mut Classifier,
        examples: &[Example],
        targets: &[Target],
        observer: &mut dyn FnMut(&TuneRecord) -> ControlFlow<()>,
    ) -> Result<(TuneEnding, TuneRecord), Error> {
        self.settings.check()?;
        classifier.check_data(self.train)?;
        classifier.check_data(self.validation)?;
        check_wishes(classifier, examples, targets)?;
        let start = classifier.weights.valid();
        let mut penalties = vec![1.0_f32; examples.len()];
        let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        let mut shuffle = Random::new(self.seed, 0xf17e);
        let mut mixing = Random::new(self.seed, 0x313c);
        let mut drawing = Random::new(self.seed, 0xd4a3);
        let mut chase = Chase::new(targets, self.settings.attacks, self.seed);
        let mut best = (self.record(classifier, (examples, targets), &mut chase, 0)?, classifier.clone());
        let mut highest = best.0.accuracy;
        let mut ending = if self.is_repaired(&best.0, examples, targets) {
            return Ok((TuneEnding::Repaired, best.0));
        } else {
            TuneEnding::Finished
        };
        let mut settled_from: Option<usize> = None;
        let settle = self.settings.settle.min(self.settings.epochs);
        let forced = self.settings.epochs - settle;
        'epochs: for epoch in 1..=self.settings.epochs {
            if settle > 0 && epoch > forced {
                settled_from.get_or_insert(forced);
            }
            shuffle.shuffle(&mut order);
            let share = settled_from.map_or(0.0, |from| (epoch - from) as f64 / (settle + 1) as f64);
            let lr = self.settings.lr * 0.5 * (1.0 + (std::f64::consts::PI * share).cos());
            for batch in order.chunks(self.settings.batch_size) {
                chase.step(classifier);
                let loss = self.loss(
                    classifier,
                    self.drawn(classifier, batch, &mut drawing),
                    &start,
                    (examples, &penalties),
                    (targets, &chase),
                ) + self.forgotten(classifier, batch, &start, &mut mixing)
                    + self.spread(classifier, batch, &start, (examples, targets, &chase), &mut mixing);
                if !floats(loss.clone().inner())[0].is_finite() {
                    ending = if ending == TuneEnding::Repaired { ending } else { TuneEnding::Diverged };
                    break 'epochs;
                }
                let gradients = GradientsParams::from_grads(loss.backward(), &classifier.weights);
                classifier.weights = optimizer.step(lr, classifier.weights.clone(), gradients);
            }
            if !classifier.is_finite() {
                ending = if ending == TuneEnding::Repaired { ending } else { TuneEnding::Diverged };
                break;
            }
            let record = self.record(classifier, (examples, targets), &mut chase, epoch)?;
            if record.accuracy >= self.settings.floor {
                let order = self.rank(&record).cmp(&self.rank(&best.0));
                // The start is left for what is better, not for what is as good by chance.
                let by_chance = if best.0.epoch > 0 && settled_from.is_some() { self.chance(highest) } else { 0.0 };
                let is_as_good =
                    record.accuracy > highest || (by_chance > 0.0 && record.accuracy >= highest - by_chance);
                if order.is_gt() || (order.is_eq() && is_as_good) {
                    highest = if order.is_gt() { record.accuracy } else { highest.max(record.accuracy) };
                    best = (record, classifier.clone());
                }
            }
            let heard = observer(&record);
            if self.is_repaired(&record, examples, targets) {
                ending = TuneEnding::Repaired;
                settled_from.get_or_insert(epoch);
            }
            if settled_from.is_some_and(|from| epoch >= from + settle) {
                break;
            }
            if heard.is_break() {
                ending = if ending == TuneEnding::Repaired { ending } else { TuneEnding::Interrupted };
                break;
            }
            let margins = margins(classifier, examples)?;
            for (penalty, margin) in penalties.iter_mut().zip(margins) {
                if !self.is_enough(margin) {
                    *penalty *= self.settings.penalty_increase as f32;
                }
            }
        }
        *classifier = best.1;
        Ok((ending, best.0))
    }

    /// What a state is preferred for, before its accuracy.
    fn rank(&self, record: &TuneRecord) -> (bool, usize, usize, usize) {
        let bounded = if self.settings.bound_weight > 0.0 { record.bounded } else { 0 };
        (record.accuracy >= self.settings.floor, record.repaired, record.held, bounded)
    }

    /// The standard error of an accuracy on the validation samples.
    fn chance(&self, accuracy: f64) -> f64 {
        (accuracy * (1.0 - accuracy) / self.validation.len() as f64).sqrt()
    }

    fn is_enough(&self, margin: f64) -> bool {
        margin > 0.0 && margin >= self.settings.margin
    }

    fn is_repaired(&self, record: &TuneRecord, examples: &[Example], targets: &[Target]) -> bool {
        let is_bounded = self.settings.bound_weight == 0.0 || record.bounded == targets.len();
        let is_held = record.repaired == examples.len() && record.held == targets.len();
        is_held && is_bounded && record.accuracy >= self.settings.floor
    }

    fn record(
        &self,
        classifier: &Classifier,
        (examples, targets): (&[Example], &[Target]),
        chase: &mut Chase,
        epoch: usize,
    ) -> Result<TuneRecord, Error> {
        let n_right = |margins: Vec<f64>| margins.into_iter().filter(|&margin| self.is_enough(margin)).count();
        let repaired = n_right(margins(classifier, examples)?);
        let mut is_held = vec![true; targets.len()];
        chase.restart();
        for step in 0..=ATTACK_STEPS {
            let found = margins(classifier, &chase.examples())?;
            let pairs = found.into_iter().zip(chase.targets());
            pairs.filter(|(margin, _)| !self.is_enough(*margin)).for_each(|(_, target)| is_held[target] = false);
            if step < ATTACK_STEPS {
                chase.step(classifier);
            }
        }
        let bounds = least_bounds(classifier, &classifier.weights.valid(), targets, classifier.device());
        let bounded = bounds.map_or(0, |bounds| floats(bounds).iter().filter(|bound| **bound > 0.0).count());
        let held = is_held.into_iter().filter(|is_held| *is_held).count();
        Ok(TuneRecord { epoch, repaired, held, bounded, accuracy: classifier.score(self.validation)?.accuracy })
    }

    /// Training samples, changed at random where that is asked for, and their labels.
    fn drawn(&self, classifier: &Classifier, batch: &[usize], random: &mut Random) -> (Tensor<2>, Vec<usize>) {
        let device = classifier.training_device();
        let Some(augment) = self.settings.augment.filter(|_| self.train.is_image()) else {
            return samples(self.train, batch, &device);
        };
        let rows: Vec<Vec<f32>> = batch.iter().map(|&i| augment.draw(self.train, i, random)).collect();
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        (batch_of(&rows, &device), batch.iter().map(|&i| self.train.labels()[i]).collect())
    }

    /// Cross-entropy of a batch, plus the weighted shortfalls of examples, attacks and regions, plus the distance from the start.
    fn loss(
        &self,
        classifier: &Classifier,
        (x, labels): (Tensor<2>, Vec<usize>),
        start: &Weights,
        (examples, penalties): (&[Example], &[f32]),
        (targets, chase): (&[Target], &Chase),
    ) -> Tensor<1> {
        let device = classifier.training_device();
        let scores = classifier.forward(&classifier.weights, x.clone(), None);
        let mut loss = cross_entropy(scores.clone(), &labels).mul_scalar(1.0 - self.settings.memory);
        if self.settings.memory > 0.0 {
            // Forgetting shows where labels do not.
            loss = loss + distance(scores, classifier.forward(start, x, None)).mul_scalar(self.settings.memory);
        }
        let lacking = |examples: &[Example]| {
            let (x, wanted) = wishes(examples, classifier.n_classes(), &device);
            let margins = wanted.margins(classifier.forward(&classifier.weights, x, None));
            relu(margins.neg().add_scalar(self.settings.margin))
        };
        if !examples.is_empty() {
            let weights = Tensor::<1>::from_data(TensorData::new(penalties.to_vec(), [penalties.len()]), &device);
            loss = loss + (lacking(examples) * weights).sum();
        }
        if !chase.is_empty() {
            loss = loss + lacking(&chase.examples()).sum().div_scalar(self.settings.attacks as f32);
        }
        if self.settings.bound_weight > 0.0
            && let Some(bounds) = least_bounds(classifier, &classifier.weights, targets, &device)
        {
            let lacking = relu(bounds.neg().add_scalar(self.settings.margin.max(1e-3)));
            loss = loss + lacking.mean().mul_scalar(self.settings.bound_weight);
        }
        if self.settings.proximity > 0.0 {
            loss = loss + classifier.weights.squared_distance(start).mul_scalar(self.settings.proximity);
        }
        loss
    }
}

impl FineTune<'_> {
    /// What the outputs between samples are now, against what they were at the start.
    ///
    /// Samples of other origin than the training samples lie between them rather than at them.
    fn forgotten(&self, classifier: &Classifier, batch: &[usize], start: &Weights, random: &mut Random) -> Tensor<1> {
        let device = classifier.training_device();
        if self.settings.rehearsal == 0.0 {
            return Tensor::zeros([1], &device);
        }
        let mixture = |k: usize, random: &mut Random| {
            let [one, other] = [batch[k], batch[(k + 1) % batch.len()]].map(|i| self.train.sample(i));
            self.mixture(one, other, random)
        };
        let rows: Vec<Vec<f32>> = (0..batch.len()).map(|k| mixture(k, random)).collect();
        moved(classifier, start, &rows).mul_scalar(self.settings.rehearsal)
    }

    /// What the outputs around the regions are now, against what they were at the start.
    ///
    /// What is learnt in a region spreads beyond it, first to samples that resemble it.
    fn spread(
        &self,
        classifier: &Classifier,
        batch: &[usize],
        start: &Weights,
        (examples, targets, chase): (&[Example], &[Target], &Chase),
        random: &mut Random,
    ) -> Tensor<1> {
        let nothing = || Tensor::zeros([1], &classifier.training_device());
        if self.settings.locality == 0.0 {
            return nothing();
        }
        let mut inside = chase.rows();
        inside.extend(examples.iter().map(|example| example.input.as_slice()));
        if inside.is_empty() {
            return nothing();
        }
        let around = |&i: &usize| self.mixture(inside[random.below(inside.len())], self.train.sample(i), random);
        let mut rows: Vec<Vec<f32>> = batch.iter().map(around).collect();
        rows.retain(|row| !targets.iter().any(|target| target.region.contains(row)));
        if rows.is_empty() {
            return nothing();
        }
        moved(classifier, start, &rows).mul_scalar(self.settings.locality)
    }

    /// A random point between two, darkened or lightened.
    fn mixture(&self, one: &[f32], other: &[f32], random: &mut Random) -> Vec<f32> {
        let (share, light) = (random.unit() as f32, random.between(-0.7, 0.7).exp() as f32);
        let value = |(a, b): (&f32, &f32)| light * (a + share * (b - a));
        let values = one.iter().zip(other).map(value);
        if self.train.is_image() { values.map(|v| v.clamp(0.0, 1.0)).collect() } else { values.collect() }
    }
}

/// How far what is said of inputs has moved from what was said at the start.
fn moved(classifier: &Classifier, start: &Weights, rows: &[Vec<f32>]) -> Tensor<1> {
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let x = batch_of(&rows, &classifier.training_device());
    let scores = classifier.forward(&classifier.weights, x.clone(), None);
    distance(scores, classifier.forward(start, x, None))
}

/// Mean cross-entropy of scores to what others say.
fn distance(scores: Tensor<2>, others: Tensor<2>) -> Tensor<1> {
    let said = softmax(others.detach(), 1);
    (log_softmax(scores, 1) * said).sum_dim(1).mean().neg()
}

/// By how much what is wanted holds at every example.
fn margins(classifier: &Classifier, examples: &[Example]) -> Result<Vec<f64>, Error> {
    if examples.is_empty() {
        return Ok(Vec::new());
    }
    let device = classifier.device();
    let inputs: Vec<&[f32]> = examples.iter().map(|example| example.input.as_slice()).collect();
    let scores = classifier.scores(&inputs)?;
    let (_, wanted) = wishes(examples, classifier.n_classes(), device);
    let scores: Vec<&[f32]> = scores.iter().map(Vec::as_slice).collect();
    Ok(floats(wanted.margins(batch_of(&scores, device))).into_iter().map(f64::from).collect())
}

/// Examples as rows of values, and what is wanted of each.
fn wishes(examples: &[Example], n_outputs: usize, device: &Device) -> (Tensor<2>, WantedBatch) {
    let inputs: Vec<&[f32]> = examples.iter().map(|example| example.input.as_slice()).collect();
    let wanted: Vec<&Wanted> = examples.iter().map(|example| &example.wanted).collect();
    (batch_of(&inputs, device), WantedBatch::new(&wanted, n_outputs, device))
}

/// A lower bound of the least margin over every target's region, `[targets]`; `None` without targets.
fn least_bounds(classifier: &Classifier, weights: &Weights, targets: &[Target], device: &Device) -> Option<Tensor<1>> {
    if targets.is_empty() {
        return None;
    }
    let regions: Vec<&Region> = targets.iter().map(|target| &target.region).collect();
    let bounds = RegionBatch::of(&regions, device).into_iter().map(|(places, regions)| {
        let wanted: Vec<&Wanted> = places.iter().map(|&place| &targets[place].wanted).collect();
        let wanted = WantedBatch::new(&wanted, classifier.n_classes(), device);
        wanted.least(classifier.bounds_over(weights, &regions, wanted.coefficients.clone()))
    });
    Some(Tensor::cat(bounds.collect(), 0))
}

fn check_wishes(classifier: &Classifier, examples: &[Example], targets: &[Target]) -> Result<(), Error> {
    let (n, n_classes) = (classifier.n_inputs(), classifier.n_classes());
    for (i, example) in examples.iter().enumerate() {
        let name = |error: Error| Error::invalid(format!("example {i}: {error}"));
        if example.input.len() != n || !example.input.iter().all(|v| v.is_finite()) {
            let message = format!("expected {n} finite values, got {}", example.input.len());
            return Err(name(Error::invalid(message)));
        }
        example.wanted.check(n_classes).map_err(name)?;
    }
    for (i, target) in targets.iter().enumerate() {
        let name = |error: Error| Error::invalid(format!("target {i}: {error}"));
        target.region.check(n).map_err(name)?;
        target.wanted.check(n_classes).map_err(name)?;
    }
    Ok(())
}
