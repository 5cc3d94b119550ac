use std::ops::ControlFlow;

use burn::module::Module;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::classifier::{Interval, Weights, argmax, batch_of, cross_entropy, floats, samples};
use crate::random::Random;
use crate::robust::Depth;
use crate::{Classifier, Dataset, Error};

/// An input and the class that it must have.
#[derive(Debug, Clone, PartialEq)]
pub struct Counterexample {
    /// The values of the input.
    pub input: Vec<f32>,
    /// Its class.
    pub class: usize,
}

/// A box in which every input must have one class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRegion {
    /// Smallest values.
    pub lower: Vec<f32>,
    /// Largest values.
    pub upper: Vec<f32>,
    /// The class.
    pub class: usize,
}

/// How weights are changed so that counterexamples get their class.
///
/// With its defaults for `margin`, `proximity`, `bound_weight` and `floor` this is the penalty method of *semantic-robustness-verification*,
/// but that ties do not count as repaired and epochs are limited.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FineTuneSettings {
    /// Adam's learning rate
    pub lr: f64,
    /// Training samples of a step
    pub batch_size: usize,
    /// A counterexample's weight is multiplied by this after every epoch in which it was not repaired
    pub penalty_increase: f64,
    /// Most epochs
    pub epochs: usize,
    /// By how much the class's score must exceed all others at a counterexample
    pub margin: f64,
    /// The weight of the squared distance from the weights at the start
    pub proximity: f64,
    /// The weight of what the bounds over regions lack
    pub bound_weight: f64,
    /// The least accuracy on the validation samples; weights below it are not kept
    pub floor: f64,
}

/// Fine-tunes a classifier on counterexamples, region bounds and training samples together.
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

/// Why fine-tuning ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TuneEnding {
    /// Every counterexample has its class with the margin, every region's bound is positive where bounds are weighted, and accuracy is
    /// at or above the floor.
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
    /// Counterexamples that have their class with the margin.
    pub repaired: usize,
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
            margin: 0.0,
            proximity: 0.0,
            bound_weight: 0.0,
            floor: 0.0,
        }
    }
}

impl FineTuneSettings {
    /// Checks every number.
    ///
    /// # Errors
    /// Naming the rule that is broken.
    pub fn check(&self) -> Result<(), Error> {
        let is_positive = |value: f64| value > 0.0 && value.is_finite();
        let not_negative = [self.margin, self.proximity, self.bound_weight];
        let problem = if !is_positive(self.lr) {
            "'lr' is a positive number"
        } else if self.batch_size == 0 || self.epochs == 0 {
            "'batch_size' and 'epochs' are at least 1"
        } else if !(self.penalty_increase >= 1.0 && self.penalty_increase.is_finite()) {
            "'penalty_increase' is at least 1"
        } else if !not_negative.iter().all(|value| *value >= 0.0 && value.is_finite()) {
            "'margin', 'proximity' and 'bound_weight' are not negative"
        } else if !(0.0..=1.0).contains(&self.floor) {
            "'floor' is between 0 and 1"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("fine-tuning: {problem}")))
    }
}

impl FineTune<'_> {
    /// Fine-tunes the classifier in place; batch normalisations keep their statistics.
    ///
    /// What is kept is, among the states after each epoch with accuracy at or above the floor (and the start), the one with most
    /// counterexamples repaired, then most regions bounded, then the highest accuracy. The record says what that is.
    ///
    /// # Errors
    /// When settings have no meaning, or data, counterexamples or regions do not fit the classifier.
    pub fn run(
        &self,
        classifier: &mut Classifier,
        counterexamples: &[Counterexample],
        regions: &[ClassRegion],
        observer: &mut dyn FnMut(&TuneRecord) -> ControlFlow<()>,
    ) -> Result<(TuneEnding, TuneRecord), Error> {
        self.settings.check()?;
        classifier.check_data(self.train)?;
        classifier.check_data(self.validation)?;
        check_targets(classifier, counterexamples, regions)?;
        let start = classifier.weights.valid();
        let mut penalties = vec![1.0_f32; counterexamples.len()];
        let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
        let mut order: Vec<usize> = (0..self.train.len()).collect();
        let mut shuffle = Random::new(self.seed, 0xf17e);
        let mut best = (self.record(classifier, counterexamples, regions, 0)?, classifier.clone());
        let mut ending = if self.is_repaired(&best.0, counterexamples, regions) {
            return Ok((TuneEnding::Repaired, best.0));
        } else {
            TuneEnding::Finished
        };
        'epochs: for epoch in 1..=self.settings.epochs {
            shuffle.shuffle(&mut order);
            for batch in order.chunks(self.settings.batch_size) {
                let loss = self.loss(classifier, batch, &start, counterexamples, &penalties, regions);
                if !floats(loss.clone().inner())[0].is_finite() {
                    ending = TuneEnding::Diverged;
                    break 'epochs;
                }
                let gradients = GradientsParams::from_grads(loss.backward(), &classifier.weights);
                classifier.weights = optimizer.step(self.settings.lr, classifier.weights.clone(), gradients);
            }
            if !classifier.is_finite() {
                ending = TuneEnding::Diverged;
                break;
            }
            let record = self.record(classifier, counterexamples, regions, epoch)?;
            if record.accuracy >= self.settings.floor && is_better(&record, &best.0, self.settings.floor) {
                best = (record, classifier.clone());
            }
            let heard = observer(&record);
            if self.is_repaired(&record, counterexamples, regions) {
                ending = TuneEnding::Repaired;
                break;
            }
            if heard.is_break() {
                ending = TuneEnding::Interrupted;
                break;
            }
            let margins = margins(classifier, counterexamples)?;
            for (penalty, margin) in penalties.iter_mut().zip(margins) {
                if !self.is_enough(margin) {
                    *penalty *= self.settings.penalty_increase as f32;
                }
            }
        }
        *classifier = best.1;
        Ok((ending, best.0))
    }

    fn is_enough(&self, margin: f64) -> bool {
        margin > 0.0 && margin >= self.settings.margin
    }

    fn is_repaired(&self, record: &TuneRecord, counterexamples: &[Counterexample], regions: &[ClassRegion]) -> bool {
        let is_bounded = self.settings.bound_weight == 0.0 || record.bounded == regions.len();
        record.repaired == counterexamples.len() && is_bounded && record.accuracy >= self.settings.floor
    }

    fn record(
        &self,
        classifier: &Classifier,
        counterexamples: &[Counterexample],
        regions: &[ClassRegion],
        epoch: usize,
    ) -> Result<TuneRecord, Error> {
        let repaired =
            margins(classifier, counterexamples)?.into_iter().filter(|&margin| self.is_enough(margin)).count();
        let bounds = worst_bounds(classifier, &classifier.weights.valid(), regions, &Device::flex());
        let bounded = bounds.map_or(0, |bounds| floats(bounds).iter().filter(|bound| **bound > 0.0).count());
        Ok(TuneRecord { epoch, repaired, bounded, accuracy: classifier.score(self.validation)?.accuracy })
    }

    /// Cross-entropy of a batch, plus the weighted shortfalls of counterexamples and regions, plus the distance from the start.
    fn loss(
        &self,
        classifier: &Classifier,
        batch: &[usize],
        start: &Weights,
        counterexamples: &[Counterexample],
        penalties: &[f32],
        regions: &[ClassRegion],
    ) -> Tensor<1> {
        let device = Classifier::device();
        let (x, labels) = samples(self.train, batch, &device);
        let mut loss = cross_entropy(classifier.forward(&classifier.weights, x, None), &labels);
        if !counterexamples.is_empty() {
            let inputs: Vec<&[f32]> = counterexamples.iter().map(|example| example.input.as_slice()).collect();
            let classes: Vec<usize> = counterexamples.iter().map(|example| example.class).collect();
            let scores = classifier.forward(&classifier.weights, batch_of(&inputs, &device), None);
            let lacking = relu(least_margins(scores, &classes).neg().add_scalar(self.settings.margin));
            let weights = Tensor::<1>::from_data(TensorData::new(penalties.to_vec(), [penalties.len()]), &device);
            loss = loss + (lacking * weights).sum();
        }
        if self.settings.bound_weight > 0.0
            && let Some(bounds) = worst_bounds(classifier, &classifier.weights, regions, &device)
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

/// Whether a state that is at or above the floor is to be preferred.
fn is_better(record: &TuneRecord, best: &TuneRecord, floor: f64) -> bool {
    let key = |record: &TuneRecord| (record.accuracy >= floor, record.repaired, record.bounded);
    key(record) > key(best) || (key(record) == key(best) && record.accuracy > best.accuracy)
}

/// By how much the class's score exceeds the next one, for every counterexample.
fn margins(classifier: &Classifier, counterexamples: &[Counterexample]) -> Result<Vec<f64>, Error> {
    let inputs: Vec<&[f32]> = counterexamples.iter().map(|example| example.input.as_slice()).collect();
    let scores = classifier.scores(&inputs)?;
    let margin = |scores: &Vec<f32>, class: usize| {
        let mut others = scores.clone();
        others[class] = f32::NEG_INFINITY;
        f64::from(scores[class]) - f64::from(others[argmax(&others)])
    };
    Ok(scores.iter().zip(counterexamples).map(|(scores, example)| margin(scores, example.class)).collect())
}

/// The same as a tensor, `[batch]`.
fn least_margins(scores: Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let [n, n_classes] = scores.dims();
    let mut own = vec![0.0_f32; n * n_classes];
    classes.iter().enumerate().for_each(|(i, &class)| own[i * n_classes + class] = 1.0);
    let own = Tensor::<2>::from_data(TensorData::new(own, [n, n_classes]), &scores.device());
    let score = (scores.clone() * own.clone()).sum_dim(1);
    // No score is as low as this.
    let others = (scores - own.mul_scalar(1e30)).max_dim(1);
    (score - others).reshape([n])
}

/// The least bound of every region's margins, `[regions]`.
fn worst_bounds(
    classifier: &Classifier,
    weights: &Weights,
    regions: &[ClassRegion],
    device: &Device,
) -> Option<Tensor<1>> {
    if regions.is_empty() {
        return None;
    }
    let classes: Vec<usize> = regions.iter().map(|region| region.class).collect();
    let [lower, upper] = [|region: &ClassRegion| region.lower.clone(), |region: &ClassRegion| region.upper.clone()]
        .map(|end| {
            let rows: Vec<Vec<f32>> = regions.iter().map(end).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            batch_of(&rows, device)
        });
    let margins = classifier.margins(weights, Interval { lower, upper }, &classes, Depth::Input);
    let [n, n_classes] = margins.dims();
    // The class's own row is 0 and must not be the least.
    let mut own = vec![0.0_f32; n * n_classes];
    classes.iter().enumerate().for_each(|(i, &class)| own[i * n_classes + class] = 1e30);
    let own = Tensor::<2>::from_data(TensorData::new(own, [n, n_classes]), device);
    Some((margins + own).min_dim(1).reshape([n]))
}

fn check_targets(
    classifier: &Classifier,
    counterexamples: &[Counterexample],
    regions: &[ClassRegion],
) -> Result<(), Error> {
    let (n, n_classes) = (classifier.n_inputs(), classifier.n_classes());
    for (i, example) in counterexamples.iter().enumerate() {
        if example.input.len() != n || example.class >= n_classes || !example.input.iter().all(|v| v.is_finite()) {
            return Err(Error::invalid(format!(
                "counterexample {i}: expected {n} finite values and a class below {n_classes}, got {} and class {}",
                example.input.len(),
                example.class
            )));
        }
    }
    for (i, region) in regions.iter().enumerate() {
        let is_box = region.lower.len() == n
            && region.upper.len() == n
            && region.lower.iter().zip(&region.upper).all(|(lower, upper)| lower <= upper)
            && region.lower.iter().chain(&region.upper).all(|v| v.is_finite());
        if !is_box || region.class >= n_classes {
            let expected = format!("{n} finite lower and upper values in order, and a class below {n_classes}");
            return Err(Error::invalid(format!("region {i}: expected {expected}")));
        }
    }
    Ok(())
}
