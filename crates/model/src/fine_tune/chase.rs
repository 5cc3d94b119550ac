use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use super::region::Region;
use super::wanted::{Wanted, WantedBatch};
use super::{Example, Target};
use crate::Classifier;
use crate::classifier::{batch_of, floats};
use crate::random::Random;
use crate::robust::Threat;

/// Points of regions that look for where the classifier is wrong, while it changes.
#[derive(Debug)]
pub(super) struct Chase<'a> {
    targets: &'a [Target],
    points: Vec<Hunter>,
    random: Random,
}

/// One point: where it is, of which target, and which group it wants to violate.
#[derive(Debug)]
struct Hunter {
    x: Vec<f32>,
    target: usize,
    group: usize,
}

/// The length of a step as a share of the region's size.
const STEP: f64 = 0.25;

impl<'a> Chase<'a> {
    /// So many points for every target, spread over its groups.
    pub(super) fn new(targets: &'a [Target], n: usize, seed: u64) -> Self {
        let hunter = |target: usize, k: usize| Hunter {
            x: Vec::new(),
            target,
            group: k % targets[target].wanted.groups.len().max(1),
        };
        let points = (0..targets.len()).flat_map(|target| (0..n).map(move |k| hunter(target, k))).collect();
        Self { targets, points, random: Random::new(seed, 0xc4a5) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// Puts all points at random places, each at another group than before.
    pub(super) fn restart(&mut self) {
        for hunter in &mut self.points {
            let Target { region, wanted } = &self.targets[hunter.target];
            hunter.group = self.random.below(wanted.groups.len().max(1));
            hunter.x = match region {
                Region::Box { lower, upper } => {
                    let between = |(l, u): (&f32, &f32)| l + (u - l) * self.random.unit() as f32;
                    let x: Vec<f32> = lower.iter().zip(upper).map(between).collect();
                    x.iter().zip(lower.iter().zip(upper)).map(|(x, (l, u))| x.clamp(*l, *u)).collect()
                }
                Region::Similar { reference, threshold } => {
                    let threat = Threat::Ssim(*threshold);
                    let target = threat.target(reference, [1, 1, reference.len()], true, &mut self.random);
                    threat.start(&target, &mut self.random)
                }
            };
        }
    }

    /// Moves every point towards violating its group.
    pub(super) fn step(&mut self, classifier: &Classifier) {
        if self.is_empty() {
            return;
        }
        let device = classifier.training_device();
        let x = batch_of(&self.rows(), &device).require_grad();
        let scores = classifier.forward(&classifier.weights.valid(), x.clone(), None);
        let batch = self.wanted(classifier, &device);
        let groups: Vec<i64> = self.points.iter().map(|hunter| hunter.group as i64).collect();
        let n = groups.len();
        let groups = Tensor::<2, Int>::from_data(TensorData::new(groups, [n, 1]), &device);
        let margins = batch.groups(batch.rows(scores)).gather(1, groups);
        let gradients = margins.sum().backward();
        let Some(gradient) = x.grad(&gradients) else { return };
        let gradient = floats(gradient);
        let size = classifier.n_inputs();
        for (i, hunter) in self.points.iter_mut().enumerate() {
            let down: Vec<f32> = gradient[i * size..][..size].iter().map(|g| -g).collect();
            if !down.iter().all(|g| g.is_finite()) {
                continue;
            }
            match &self.targets[hunter.target].region {
                Region::Box { lower, upper } => {
                    for (k, x) in hunter.x.iter_mut().enumerate() {
                        let sign = if down[k] == 0.0 { 0.0 } else { down[k].signum() };
                        *x = (*x + STEP as f32 * (upper[k] - lower[k]) * sign).clamp(lower[k], upper[k]);
                    }
                }
                Region::Similar { reference, threshold } => {
                    let threat = Threat::Ssim(*threshold);
                    let target = threat.target(reference, [1, 1, size], true, &mut self.random);
                    threat.step(&target, &mut hunter.x, &down, 2.0 * STEP);
                }
            }
        }
    }

    /// The points as examples of what is wanted there.
    pub(super) fn examples(&self) -> Vec<Example> {
        let example =
            |hunter: &Hunter| Example { input: hunter.x.clone(), wanted: self.targets[hunter.target].wanted.clone() };
        self.points.iter().map(example).collect()
    }

    /// The target of every point.
    pub(super) fn targets(&self) -> Vec<usize> {
        self.points.iter().map(|hunter| hunter.target).collect()
    }

    /// Where the points are; nowhere before the first restart.
    pub(super) fn rows(&self) -> Vec<&[f32]> {
        self.points.iter().map(|hunter| hunter.x.as_slice()).collect()
    }

    fn wanted(&self, classifier: &Classifier, device: &burn::tensor::Device) -> WantedBatch {
        let wanted: Vec<&Wanted> = self.points.iter().map(|hunter| &self.targets[hunter.target].wanted).collect();
        WantedBatch::new(&wanted, classifier.n_classes(), device)
    }
}
