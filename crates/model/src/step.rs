use std::thread;

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};

use crate::classifier::{
    Interval, Statistics, Training, batch_of, cross_entropy, floats, right, smoothed_cross_entropy,
};
use crate::random::Random;
use crate::robust::{Attack, BoundMethod, Certified, Depth, Robust, Threat};
use crate::{Backend, Classifier, Trainer};

/// What a batch says about the weights.
#[derive(Debug)]
pub(crate) struct Step {
    /// The mean of what is minimised.
    pub loss: f64,
    /// How many samples were classified correctly.
    pub n_right: usize,
    pub gradients: GradientsParams,
    /// The batch's statistics for every batch normalisation.
    pub statistics: Vec<Statistics>,
}

/// Multiply-adds of a forward pass over a batch from which on a second thread is worth its start.
const WORTH_A_THREAD: usize = 1 << 21;

impl Trainer<'_> {
    /// The loss of a batch and its gradients at a point of training that is counted in epochs; `number` counts steps.
    ///
    /// On the CPU, large batches are computed in two halves, one thread each, whatever the number of cores: the same halves, the same sums. Each half
    /// draws its own random numbers and, as where batches are spread over devices, is normalised by its own statistics.
    pub(crate) fn step(&self, classifier: &Classifier, batch: &[usize], progress: f64, number: usize) -> Step {
        let random = |half: usize| Random::new(self.seed, 0x57e9 | ((2 * number + half) as u64) << 16);
        let is_small = batch.len() * classifier.multiply_adds() < WORTH_A_THREAD;
        if batch.len() < 2 || is_small || self.recipe.backend == Backend::Gpu {
            return self.part(classifier, batch, (1.0, progress), random(0));
        }
        let (first, second) = batch.split_at(batch.len().div_ceil(2));
        let share = |half: &[usize]| half.len() as f64 / batch.len() as f64;
        // Leaves of their own: graphs that share one would be locked together.
        let [ours, theirs] = [(); 2].map(|()| classifier.forked());
        let [a, b] = thread::scope(|scope| {
            let theirs = scope.spawn(|| self.part(&{ theirs }, second, (share(second), progress), random(1)));
            let ours = self.part(&ours, first, (share(first), progress), random(0));
            [ours, theirs.join().expect("a panic here is one of the program")]
        });
        let mut sum = GradientsAccumulator::new();
        sum.accumulate(&classifier.weights, a.gradients);
        sum.accumulate(&classifier.weights, b.gradients);
        let mix = |(one, other): (&Statistics, &Statistics)| one.mixed(other, share(second) as f32);
        Step {
            loss: a.loss + b.loss,
            n_right: a.n_right + b.n_right,
            gradients: sum.grads(),
            statistics: a.statistics.iter().zip(&b.statistics).map(mix).collect(),
        }
    }

    /// A part of a batch, whose loss counts by its share.
    fn part(
        &self,
        classifier: &Classifier,
        batch: &[usize],
        (share, progress): (f64, f64),
        mut random: Random,
    ) -> Step {
        let labels: Vec<usize> = batch.iter().map(|&i| self.train.labels()[i]).collect();
        let samples: Vec<Vec<f32>> = batch.iter().map(|&i| self.sample(i, &mut random)).collect();
        let rows: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
        let mut training = Training::new(Random::new(self.seed, random.draw()));
        let scores = classifier.forward(
            &classifier.weights,
            batch_of(&rows, &classifier.training_device()),
            Some(&mut training),
        );
        let n_right = right(&floats(scores.clone().inner()), &labels);
        let clean = smoothed_cross_entropy(scores, &labels, self.recipe.label_smoothing);
        let ours = (classifier, &training);
        let loss = self.robust_loss(ours, clean, (&rows, &labels), progress, &mut random).mul_scalar(share);
        let value = f64::from(floats(loss.clone().inner())[0]);
        let gradients = GradientsParams::from_grads(loss.backward(), &classifier.weights);
        Step { loss: value, n_right, gradients, statistics: training.statistics }
    }

    /// A training sample, changed at random where the recipe says so.
    fn sample(&self, i: usize, random: &mut Random) -> Vec<f32> {
        match &self.recipe.augment {
            None => self.train.sample(i).to_vec(),
            Some(augment) => augment.draw(self.train, i, random),
        }
    }

    /// The loss of the samples, mixed with that of what is done to them.
    fn robust_loss(
        &self,
        (classifier, training): (&Classifier, &Training),
        clean: Tensor<1>,
        (rows, labels): (&[&[f32]], &[usize]),
        progress: f64,
        random: &mut Random,
    ) -> Tensor<1> {
        match &self.recipe.robust {
            None => clean,
            Some(Robust::Adversarial { attack, share }) => {
                let points = attack.run(classifier, &classifier.weights, self.train, rows, labels, random);
                let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
                let x = batch_of(&points, &classifier.training_device());
                let mut again = Training::new(Random::new(self.seed, random.draw()));
                let scores = classifier.forward(&classifier.weights, x, Some(&mut again));
                let attacked = smoothed_cross_entropy(scores, labels, self.recipe.label_smoothing);
                attacked.mul_scalar(*share) + clean.mul_scalar(1.0 - share)
            }
            Some(Robust::Certified(certified)) => {
                let ramp = certified.ramp_at(progress);
                if ramp == 0.0 {
                    return clean;
                }
                let share = certified.share * ramp;
                let n = ((rows.len() as f64 * certified.sampled).ceil() as usize).clamp(1, rows.len());
                let (rows, labels) = (&rows[..n], &labels[..n]);
                let bounded = self.bounded_loss((classifier, training), (certified, ramp), rows, labels, random);
                bounded.mul_scalar(share) + clean.mul_scalar(1.0 - share)
            }
        }
    }

    /// The cross-entropy of the worst scores that bounds allow.
    fn bounded_loss(
        &self,
        (classifier, training): (&Classifier, &Training),
        (certified, ramp): (&Certified, f64),
        rows: &[&[f32]],
        labels: &[usize],
        random: &mut Random,
    ) -> Tensor<1> {
        let epsilon = certified.epsilon * ramp;
        let is_image = self.train.is_image();
        let region = match certified.small_box {
            None if certified.patch.is_some() => {
                self.patches(certified, epsilon, rows, (random, &classifier.training_device()))
            }
            None => Interval::around(batch_of(rows, &classifier.training_device()), epsilon, is_image),
            Some(share) => {
                let attack = Attack { threat: Threat::LInf(epsilon * (1.0 - share).max(1e-6)), steps: 4, step: 0.5 };
                let points = attack.run(classifier, &classifier.weights, self.train, rows, labels, random);
                let points: Vec<&[f32]> = points.iter().map(Vec::as_slice).collect();
                Interval::around(batch_of(&points, &classifier.training_device()), epsilon * share, is_image)
            }
        };
        let (classifier, weights) = (classifier.of_batch(training), &classifier.weights);
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
    fn patches(
        &self,
        certified: &Certified,
        epsilon: f64,
        rows: &[&[f32]],
        (random, device): (&mut Random, &Device),
    ) -> Interval {
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
            batch_of(&list, device)
        });
        Interval { lower, upper }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Architecture, ConvSpec, Dataset, LayerSpec, Recipe};

    fn classifier(has_norm: bool) -> Classifier {
        let conv = ConvSpec { channels: 12, kernel: 5, stride: 1, padding: 2 };
        let mut layers = vec![LayerSpec::Conv(conv), LayerSpec::Relu, LayerSpec::Dense(24), LayerSpec::Dense(3)];
        if has_norm {
            layers.insert(1, LayerSpec::BatchNorm);
        }
        Classifier::new(&Architecture { layers }, [1, 12, 12], 1).unwrap()
    }

    fn data(n: usize) -> Dataset {
        let mut random = Random::new(8, 0);
        let values = (0..n * 144).map(|_| random.unit() as f32).collect();
        Dataset::new([1, 12, 12], values, (0..n).map(|i| i % 3).collect(), 3).unwrap()
    }

    #[test]
    fn smoothed_labels_share_what_they_give_away() {
        // Scores 0 and ln 3: probabilities of a quarter and three quarters.
        let scores = || batch_of(&[&[0.0, 3.0_f32.ln()]], &Device::flex().autodiff());
        let loss = |smoothing| f64::from(floats(smoothed_cross_entropy(scores(), &[1], smoothing).inner())[0]);
        let (right, wrong) = ((4.0_f64 / 3.0).ln(), 4.0_f64.ln());
        assert!((loss(0.0) - right).abs() < 1e-6);
        assert!((loss(0.2) - (0.9 * right + 0.1 * wrong)).abs() < 1e-6);
    }

    #[test]
    fn two_halves_have_the_loss_and_the_gradients_of_the_whole() {
        let recipe: Recipe =
            serde_json::from_str(r#"{"epochs": 1, "optimizer": {"sgd": {"lr": 1.0}}, "label_smoothing": 0.1}"#)
                .unwrap();
        let data = data(65);
        let trainer = Trainer { recipe: &recipe, train: &data, validation: None, seed: 3 };
        let classifier = classifier(false);
        let batch: Vec<usize> = (0..65).collect();
        assert!(batch.len() * classifier.multiply_adds() > WORTH_A_THREAD);
        let halves = trainer.step(&classifier, &batch, 0.0, 5);
        let whole = trainer.part(&classifier, &batch, (1.0, 0.0), Random::new(1, 0));
        assert!((halves.loss - whole.loss).abs() < 1e-5 && halves.n_right == whole.n_right);
        let again = trainer.step(&classifier, &batch, 0.0, 5);
        let kernels = |step: &Step| floats(step.gradients.get::<4>(classifier.weights.kernels[0].id).unwrap());
        let (one, other) = (kernels(&halves), kernels(&whole));
        assert!(one.iter().any(|g| g.abs() > 1e-4));
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5));
        assert_eq!(one, kernels(&again));
        assert_eq!(halves.gradients.len(), 6);
    }

    #[test]
    fn statistics_of_halves_are_those_of_the_whole_together() {
        let recipe: Recipe = serde_json::from_str(r#"{"epochs": 1, "optimizer": {"sgd": {"lr": 1.0}}}"#).unwrap();
        let data = data(64);
        let trainer = Trainer { recipe: &recipe, train: &data, validation: None, seed: 3 };
        let classifier = classifier(true);
        let batch: Vec<usize> = (0..64).collect();
        let halves = trainer.step(&classifier, &batch, 0.0, 0);
        let whole = trainer.part(&classifier, &batch, (1.0, 0.0), Random::new(1, 0));
        let [one, other] = [&halves, &whole].map(|step| step.statistics[0].means());
        assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} {other:?}");
    }

    #[test]
    fn trained_bounds_go_by_the_moments_of_the_batch() {
        let data = data(8);
        let rows: Vec<&[f32]> = (0..8).map(|i| data.sample(i)).collect();
        let labels: Vec<usize> = (0..8).map(|i| i % 3).collect();
        // Kernels twice as large: a batch's moments grow with them, running statistics do not.
        let margins = |factor: f64| {
            let mut classifier = classifier(true);
            let kernels = &mut classifier.weights.kernels;
            let device = kernels[0].val().device();
            let larger = kernels[0].val().mul_scalar(factor).into_data();
            kernels[0] = burn::module::Param::from_data(larger, &device);
            let x = || batch_of(&rows, &classifier.training_device());
            let mut training = Training::new(Random::new(1, 0));
            let scores = floats(classifier.forward(&classifier.weights, x(), Some(&mut training)));
            let region = Interval::around(x(), 0.0, true);
            let of = |classifier: &Classifier| {
                floats(classifier.margins(&classifier.weights, region.clone(), &labels, Depth::Last))
            };
            (scores, of(&classifier.of_batch(&training)), of(&classifier))
        };
        let ((scores, by_batch, by_running), (_, larger_by_batch, larger_by_running)) = (margins(1.0), margins(2.0));
        for (i, &label) in labels.iter().enumerate() {
            for k in 0..3 {
                assert!((by_batch[3 * i + k] - (scores[3 * i + label] - scores[3 * i + k])).abs() < 1e-4);
            }
        }
        let differ = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-2);
        assert!(!differ(&by_batch, &larger_by_batch));
        assert!(differ(&by_running, &larger_by_running));
    }
}
