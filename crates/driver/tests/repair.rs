//! The schedule of repair, with a tuner that knows what to change.

use std::sync::Arc;

use bounds::Device;
use driver::repair::{
    CertifiedAccuracy, CertifiedCount, Effort, Question, Repair, RepairEvent, RepairLimits, RepairObserver, RepairStop,
    RepairVerdict, Requirement, Tuned, Tuner, Violation,
};
use driver::{Error, Interrupt, Limits, Observer, Progress};
use network::ssim::Similarity;
use network::{Affine, BoxRegion, Dense, Image, LinearMap, Network, NodeId, Op};

/// Two outputs of four inputs: the first is `bias`, the second the sum of the inputs.
fn network(bias: f64) -> Arc<Network> {
    let mut builder = Network::builder(&[4]).unwrap();
    let weight = vec![0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
    let map = LinearMap::Dense(Dense { n_out: 2, n_in: 4, weight });
    let affine = Op::Affine(Arc::new(Affine::exact(map, vec![bias, 0.0])));
    let node = builder.push("affine", affine, &[NodeId(0)], &[2]).unwrap();
    Arc::new(builder.build(node).unwrap())
}

/// Raises the first output's bias by a step whenever it is asked, as long as it may.
struct Raise {
    bias: f64,
    step: f64,
    most: f64,
    asked: Vec<(usize, usize, Vec<usize>)>,
}

impl Raise {
    fn new(bias: f64, step: f64) -> Self {
        Self { bias, step, most: f64::INFINITY, asked: Vec::new() }
    }
}

impl Tuner for Raise {
    type Error = Error;

    fn network(&mut self) -> Result<Arc<Network>, Error> {
        Ok(network(self.bias))
    }

    fn tune(&mut self, attempt: usize, violations: &[Violation], open: &[usize]) -> Result<Tuned, Error> {
        self.asked.push((attempt, violations.len(), open.to_vec()));
        // Whoever is told of a violation can see it.
        for violation in violations {
            assert!(violation.output[1] >= violation.output[0]);
            assert_eq!(violation.output[1], violation.input.iter().sum::<f64>());
        }
        let before = self.bias;
        self.bias = (self.bias + self.step).min(self.most);
        let has_changed = self.bias != before;
        Ok(Tuned { has_changed, n_repaired: violations.len(), epochs: 1, accuracy: 1.0, time_s: 0.0 })
    }
}

/// Counts what is told.
#[derive(Default)]
struct Count {
    begun: usize,
    answered: usize,
    tuned: usize,
}

impl Observer for Count {
    fn round(&mut self, _progress: Progress) {}
}

impl RepairObserver for Count {
    fn event(&mut self, event: &RepairEvent<'_>) {
        match event {
            RepairEvent::Begins { .. } => self.begun += 1,
            RepairEvent::Answered { .. } => self.answered += 1,
            RepairEvent::Tuned { .. } => self.tuned += 1,
        }
    }
}

fn limits() -> RepairLimits {
    RepairLimits {
        rounds: 10,
        time_s: None,
        answer_s: Some(20.0),
        subdomains: None,
        more: 2,
        seed: 1,
        interrupt: Interrupt::default(),
    }
}

/// Everything in a box, and everything similar to an image, is of class 0: true from biases of 2 and about 1.2 up.
fn requirements() -> Vec<Requirement> {
    let region = BoxRegion::new(vec![0.0; 4], vec![0.5; 4]).unwrap();
    let reference = Image::new([1, 2, 2], vec![0.1, 0.5, 0.2, 0.3]).unwrap();
    let question = Question::Similar { reference, class: 0, similarity: Similarity::Global, threshold: 0.98 };
    vec![Requirement::of_class("box", &region, 0, 2).unwrap(), Requirement { name: "image".into(), question }]
}

#[test]
fn verifying_and_changing_take_turns_until_all_is_proved() {
    let (requirements, limits, mut watch) = (requirements(), limits(), Count::default());
    let repair = Repair { requirements: &requirements, device: &Device::Host, limits: &limits };
    let (mut tuner, mut violations) = (Raise::new(0.5, 0.4), Vec::new());
    let outcome = repair.run(&mut tuner, &mut violations, &mut watch).unwrap();
    assert_eq!((outcome.verdict, outcome.stop), (RepairVerdict::Repaired, None));
    // 0.5, 0.9, 1.3, 1.7 fail, 2.1 holds.
    assert_eq!((outcome.rounds.len(), tuner.asked.len(), watch.tuned), (5, 4, 4));
    assert_eq!((watch.begun, watch.answered), (10, 10));
    assert!(outcome.rounds[4].checked.iter().all(|one| one.answer == "verified"));
    // Every counterexample is remembered, and of its requirement.
    let sizes: Vec<usize> = tuner.asked.iter().map(|asked| asked.1).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] < pair[1]) && sizes[3] == violations.len(), "{sizes:?}");
    for violation in &violations {
        match violation.requirement {
            0 => assert!(violation.similarity.is_none() && violation.input.iter().all(|x| (0.0..=0.5).contains(x))),
            _ => assert!(violation.similarity.unwrap() >= 0.98),
        }
    }
}

#[test]
fn what_holds_at_once_is_verified_and_nothing_is_changed() {
    let (requirements, limits) = (requirements(), limits());
    let repair = Repair { requirements: &requirements, device: &Device::Host, limits: &limits };
    let (mut tuner, mut violations) = (Raise::new(3.0, 0.4), Vec::new());
    let outcome = repair.run(&mut tuner, &mut violations, &mut Count::default()).unwrap();
    assert_eq!((outcome.verdict, outcome.rounds.len()), (RepairVerdict::Verified, 1));
    assert!(tuner.asked.is_empty() && violations.is_empty());
}

#[test]
fn limits_end_a_repair_without_a_proof() {
    let requirements = requirements();
    let run = |tuner: &mut Raise, limits: &RepairLimits| {
        let repair = Repair { requirements: &requirements, device: &Device::Host, limits };
        repair.run(tuner, &mut Vec::new(), &mut Count::default()).unwrap()
    };
    let outcome = run(&mut Raise::new(0.5, 0.4), &RepairLimits { rounds: 2, ..limits() });
    assert_eq!((outcome.verdict, outcome.stop), (RepairVerdict::Falsified, Some(RepairStop::RoundLimit)));
    assert_eq!(outcome.rounds.len(), 3);
    let mut stuck = Raise { most: 1.0, ..Raise::new(0.5, 0.5) };
    let outcome = run(&mut stuck, &limits());
    assert_eq!((outcome.verdict, outcome.stop), (RepairVerdict::Falsified, Some(RepairStop::Stuck)));
    let outcome = run(&mut Raise::new(0.5, 0.4), &RepairLimits { time_s: Some(0.0), ..limits() });
    assert_eq!(outcome.stop, Some(RepairStop::TimeLimit));
    let raised = limits();
    raised.interrupt.raise();
    assert_eq!(run(&mut Raise::new(0.5, 0.4), &raised).stop, Some(RepairStop::Interrupted));
}

#[test]
fn requirements_of_another_network_are_errors() {
    let region = BoxRegion::new(vec![0.0; 3], vec![0.5; 3]).unwrap();
    let wrong = [Requirement::of_class("box", &region, 0, 2).unwrap()];
    let limits = limits();
    let repair = Repair { requirements: &wrong, device: &Device::Host, limits: &limits };
    assert!(repair.run(&mut Raise::new(0.5, 0.4), &mut Vec::new(), &mut Count::default()).is_err());
    assert!(Requirement::of_class("box", &region, 2, 2).is_err());
}

#[test]
fn certified_accuracy_counts_what_is_proved() {
    let network = network(1.0);
    let image = |sum: f64| Image::new([1, 2, 2], vec![sum / 4.0; 4]).unwrap();
    // Sums of 0.4, 0.98 and 1.5 against a bias of 1: right and safe, right and not safe, wrong; and one of class 1.
    let images = [(image(0.4), 0), (image(0.98), 0), (image(1.5), 0), (image(2.0), 1)];
    let effort = Effort { limits: Limits::default(), seed: 1, interrupt: Interrupt::default(), more: 0 };
    let accuracy = CertifiedAccuracy { network: &network, device: &Device::Host, effort: &effort };
    let count = accuracy.within(&images, 0.01).unwrap();
    assert_eq!(count, CertifiedCount { samples: 4, right: 3, verified: 2, falsified: 2, unknown: 0 });
    // The mean of 0.245 may become 0.245/τ + √(0.245² (1 − τ²)/τ² + 1e-4 (1 − τ)/τ): sums up to 0.994, and up to 1.026.
    for (threshold, verified) in [(0.9999, 3), (0.999, 2)] {
        let count = accuracy.similar(&images, Similarity::Global, threshold).unwrap();
        assert_eq!(count, CertifiedCount { samples: 4, right: 3, verified, falsified: 4 - verified, unknown: 0 });
    }
}
