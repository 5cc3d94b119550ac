use std::ops::ControlFlow;

use model::{Architecture, Attack, Classifier, Ending, Event, LayerSpec, Recipe, Threat, Trainer};

use crate::support::{layers, recipe, shapes, train};

const CONV: &str = r#"[{"conv": {"channels": 6, "kernel": 4, "stride": 2, "padding": 1}}, "relu", {"dense": 16}, "relu", {"dense": 4}]"#;
const ADAM: &str = r#"{"epochs": 16, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}, "schedule": "cosine"}"#;

fn fresh() -> Classifier {
    Classifier::new(&layers(CONV), [1, 10, 10], 1).unwrap()
}

#[test]
fn shapes_are_learnt_by_either_optimizer() {
    let (data, test) = (shapes(1200, 1), shapes(200, 2));
    let sgd = r#"{"epochs": 16, "batch_size": 16, "optimizer": {"sgd": {"lr": 0.05, "momentum": 0.9}},
                  "schedule": {"one_cycle": {"warm_up": 0.2}}, "augment": {"shift": 0, "brightness": 0.1}}"#;
    for json in [ADAM, sgd] {
        let mut classifier = fresh();
        let before = classifier.score(&test).unwrap();
        let course = train(&mut classifier, &recipe(json), &data, Some(&test));
        let after = classifier.score(&test).unwrap();
        assert!(before.accuracy < 0.6 && after.accuracy > 0.85, "{json}: {before:?} {after:?}");
        assert_eq!(course.ending, Ending::Finished);
        assert_eq!(course.kept, course.epochs.len());
        assert!(course.epochs.last().unwrap().loss < 0.5 * course.epochs[0].loss);
    }
}

#[test]
fn the_same_seed_gives_the_same_weights_to_the_bit() {
    let data = shapes(96, 1);
    let json = r#"{"epochs": 2, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}, "augment": {"shift": 1},
                   "robust": {"adversarial": {"attack": {"threat": {"l_inf": 0.05}, "steps": 2}}}}"#;
    let states: Vec<_> = (0..2)
        .map(|_| {
            let mut classifier = fresh();
            train(&mut classifier, &recipe(json), &data, None);
            classifier.state()
        })
        .collect();
    assert_eq!(states[0], states[1]);
    let recipe = recipe(json);
    let mut other = fresh();
    let trainer = Trainer { recipe: &recipe, train: &data, validation: None, seed: 4 };
    trainer.run(&mut other, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_ne!(states[0], other.state());
}

#[test]
fn a_loss_that_is_not_finite_ends_training_with_the_last_good_weights() {
    let data = shapes(64, 1);
    let mut classifier = fresh();
    let start = classifier.state();
    let diverging = recipe(r#"{"epochs": 20, "batch_size": 8, "optimizer": {"sgd": {"lr": 1e12, "momentum": 0.9}}}"#);
    let course = train(&mut classifier, &diverging, &data, None);
    assert_eq!((course.ending, course.kept), (Ending::Diverged, 0));
    assert_eq!(classifier.state(), start);
    // A rate that explodes later leaves the weights of the last whole epoch.
    let later = recipe(
        r#"{"epochs": 20, "batch_size": 8, "optimizer": {"sgd": {"lr": 0.01}}, "schedule": {"step": {"every": 2, "factor": 1e14}}}"#,
    );
    let course = train(&mut classifier, &later, &data, None);
    assert_eq!((course.ending, course.kept), (Ending::Diverged, 2));
    assert!(classifier.score(&data).unwrap().loss.is_finite());
}

#[test]
fn training_stops_early_and_keeps_the_best_epoch() {
    let (data, validation) = (shapes(40, 1), shapes(100, 2));
    let mut classifier = fresh();
    let json =
        r#"{"epochs": 200, "batch_size": 8, "optimizer": {"adam": {"lr": 0.02}}, "early_stop": {"patience": 4}}"#;
    let course = train(&mut classifier, &recipe(json), &data, Some(&validation));
    assert_eq!(course.ending, Ending::Stopped);
    assert_eq!(course.kept + 4, course.epochs.len());
    let kept = course.epochs[course.kept - 1].validation_loss.unwrap();
    assert_eq!(classifier.score(&validation).unwrap().loss, kept);
    assert!(course.epochs.iter().all(|record| record.validation_loss.unwrap() >= kept));
}

#[test]
fn an_observer_interrupts_and_hears_of_every_step() {
    let data = shapes(40, 1);
    let recipe = recipe(r#"{"epochs": 3, "batch_size": 16, "optimizer": {"adam": {"lr": 0.01}}}"#);
    let trainer = Trainer { recipe: &recipe, train: &data, validation: None, seed: 0 };
    let mut steps = Vec::new();
    let mut observer = |event: Event<'_>| {
        if let Event::Step { step, n_steps, .. } = event {
            assert_eq!(n_steps, 9);
            steps.push(step);
        }
        if steps.len() == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let course = trainer.run(&mut fresh(), &mut observer).unwrap();
    assert_eq!(steps, [1, 2, 3, 4, 5]);
    // The second epoch was cut short: the weights are those of the first.
    assert_eq!((course.ending, course.kept, course.epochs.len()), (Ending::Interrupted, 1, 1));
}

#[test]
fn robust_training_widens_what_can_be_bounded_and_what_withstands_attacks() {
    let (data, test) = (shapes(400, 1), shapes(100, 2));
    let epsilon = 0.06;
    let attack = Attack { threat: Threat::LInf(epsilon), steps: 8, step: 0.25 };
    let measure = |robust: &str| {
        let mut classifier = fresh();
        let json = format!(
            r#"{{"epochs": 14, "batch_size": 32, "optimizer": {{"adam": {{"lr": 0.01}}}}, "schedule": "cosine"{robust}}}"#
        );
        train(&mut classifier, &recipe(&json), &data, None);
        let bounded = classifier.bounded_accuracy(&test, epsilon).unwrap();
        let attacked = classifier.attacked_accuracy(&test, &attack, 1).unwrap();
        // What is bounded withstands every attack.
        assert!(bounded <= attacked, "{bounded} {attacked}");
        (bounded, attacked)
    };
    let plain = measure("");
    let adversarial = measure(r#", "robust": {"adversarial": {"attack": {"threat": {"l_inf": 0.06}, "steps": 4}}}"#);
    assert!(adversarial.1 > plain.1, "{plain:?} {adversarial:?}");
    for method in ["ibp", "crown_ibp"] {
        let certified = measure(&format!(
            r#", "robust": {{"certified": {{"epsilon": 0.06, "method": "{method}", "warm_up": 2, "ramp": 8, "share": 0.7}}}}"#
        ));
        assert!(certified.0 > plain.0 + 0.1, "{method}: {plain:?} {certified:?}");
    }
    let small = measure(
        r#", "robust": {"certified": {"epsilon": 0.06, "warm_up": 2, "ramp": 8, "share": 0.7, "small_box": 0.4}}"#,
    );
    assert!(small.0 > plain.0, "{plain:?} {small:?}");
}

#[test]
fn normalised_and_clipped_networks_are_trained_on_bounds() {
    let (data, test) = (shapes(400, 1), shapes(100, 2));
    let architecture = layers(
        r#"[{"conv": {"channels": 6, "kernel": 4, "stride": 2, "padding": 1}}, "batch_norm", {"clip": [0, 1]}, {"dense": 4}]"#,
    );
    let measure = |share: f64| {
        let mut classifier = Classifier::new(&architecture, [1, 10, 10], 1).unwrap();
        let json = format!(
            r#"{{"epochs": 14, "batch_size": 32, "optimizer": {{"adam": {{"lr": 0.02}}}}, "schedule": "cosine", "robust":
                 {{"certified": {{"epsilon": 0.06, "warm_up": 2, "ramp": 6, "share": {share}, "sampled": 0.5}}}}}}"#
        );
        train(&mut classifier, &recipe(&json), &data, None);
        (classifier.score(&test).unwrap().accuracy, classifier.bounded_accuracy(&test, 0.06).unwrap())
    };
    let (plain, certified) = (measure(0.0), measure(0.6));
    assert!(plain.0 > 0.8 && certified.0 > 0.6 && certified.1 > plain.1 + 0.1, "{plain:?} {certified:?}");
}

#[test]
fn recipes_and_data_that_do_not_fit_are_refused() {
    let data = shapes(8, 1);
    let run = |json: &str, classifier: &mut Classifier| {
        let recipe = recipe(json);
        let trainer = Trainer { recipe: &recipe, train: &data, validation: None, seed: 0 };
        trainer.run(classifier, &mut |_| ControlFlow::Continue(())).unwrap_err().to_string()
    };
    let early = r#"{"epochs": 1, "optimizer": {"adam": {"lr": 0.01}}, "early_stop": {"patience": 1}}"#;
    assert!(run(early, &mut fresh()).contains("validation"));
    let zero = r#"{"epochs": 0, "optimizer": {"adam": {"lr": 0.01}}}"#;
    assert!(run(zero, &mut fresh()).contains("epochs"));
    let one = r#"{"epochs": 1, "optimizer": {"adam": {"lr": 0.01}}}"#;
    assert!(run(one, &mut Classifier::new(&layers(CONV), [1, 12, 12], 1).unwrap()).contains("[1, 10, 10]"));
    assert!(
        run(one, &mut Classifier::new(&layers(r#"[{"dense": 3}]"#), [1, 10, 10], 1).unwrap()).contains("4 classes")
    );
    let patch = r#"{"epochs": 1, "optimizer": {"adam": {"lr": 0.01}},
                    "robust": {"adversarial": {"attack": {"threat": {"patch": [0, 2]}}}}}"#;
    assert!(run(patch, &mut fresh()).contains("patch"));
}

#[test]
fn dropout_acts_while_training_alone() {
    let data = shapes(400, 1);
    let spec = |share: f64| layers(&format!(r#"[{{"dense": 24}}, "relu", {{"dropout": {share}}}, {{"dense": 4}}]"#));
    let fresh = |share| Classifier::new(&spec(share), [1, 10, 10], 1).unwrap();
    // The same weights give the same scores; they are trained to others.
    let scores = |classifier: &Classifier| classifier.scores(&[data.sample(3)]).unwrap();
    assert_eq!(scores(&fresh(0.0)), scores(&fresh(0.9)));
    let trained = |share| {
        let mut classifier = fresh(share);
        let course = train(&mut classifier, &recipe(ADAM), &data, None);
        (classifier, course.epochs.last().unwrap().loss)
    };
    let ((plain, loss), (dropped, loss_dropped)) = (trained(0.0), trained(0.5));
    assert_eq!(dropped.state(), trained(0.5).0.state());
    assert_ne!(plain.state(), dropped.state());
    // What is dropped is missed while training, by more than chance.
    assert!(loss_dropped > 1.2 * loss, "{loss_dropped} {loss}");
    for wrong in [1.0, -0.1, f64::NAN] {
        let wrong = Architecture { layers: vec![LayerSpec::Dropout(wrong), LayerSpec::Dense(4)] };
        assert!(Classifier::new(&wrong, [1, 10, 10], 1).unwrap_err().to_string().contains("dropout"));
    }
    let branch = layers(r#"[{"dense": 8}, {"residual": {"body": [{"dropout": 0.5}, "relu"]}}, {"dense": 4}]"#);
    assert!(Classifier::new(&branch, [1, 10, 10], 1).unwrap_err().to_string().contains("branch"));
}

#[test]
fn smoothed_labels_keep_scores_apart_by_less() {
    let data = shapes(300, 1);
    let mean_gap = |smoothing: f64| {
        let mut classifier = fresh();
        let recipe = Recipe { label_smoothing: smoothing, ..recipe(ADAM) };
        train(&mut classifier, &recipe, &data, None);
        let gap = |i: usize| {
            let mut scores = classifier.scores(&[data.sample(i)]).unwrap().remove(0);
            scores.sort_by(f32::total_cmp);
            scores[3] - scores[2]
        };
        (0..100).map(gap).sum::<f32>() / 100.0
    };
    let (plain, smoothed) = (mean_gap(0.0), mean_gap(0.2));
    assert!(smoothed > 0.0 && smoothed < 0.8 * plain, "{smoothed} {plain}");
    for wrong in [1.0, -0.1, f64::NAN] {
        assert!(Recipe { label_smoothing: wrong, ..recipe(ADAM) }.check().is_err());
    }
}

#[cfg(not(feature = "gpu"))]
#[test]
fn a_backend_that_this_build_lacks_is_refused() {
    let json = r#"{"epochs": 1, "optimizer": {"sgd": {"lr": 0.1}}, "backend": "gpu"}"#;
    let error = recipe(json).check().unwrap_err().to_string();
    assert!(error.contains("train-gpu"), "{error}");
}

/// Sums have another order on a GPU: the same course of training, but not to the bit.
#[cfg(feature = "gpu")]
#[test]
fn a_gpu_takes_the_course_that_the_cpu_takes() {
    let (data, test) = (shapes(96, 1), shapes(100, 2));
    let run = |backend: &str| {
        let json = format!(
            r#"{{"epochs": 2, "batch_size": 32, "optimizer": {{"adam": {{"lr": 0.01}}}}, "backend": "{backend}",
                 "robust": {{"certified": {{"epsilon": 0.02, "ramp": 1, "share": 0.5}}}}}}"#
        );
        let mut classifier = fresh();
        let course = train(&mut classifier, &recipe(&json), &data, Some(&test));
        (course, classifier.scores(&[data.sample(0), data.sample(1)]).unwrap())
    };
    let ((cpu, on_cpu), (gpu, on_gpu)) = (run("cpu"), run("gpu"));
    assert_eq!(gpu.ending, Ending::Finished);
    for (one, other) in cpu.epochs.iter().zip(&gpu.epochs) {
        assert!((one.loss - other.loss).abs() < 1e-3 * one.loss, "{one:?} {other:?}");
    }
    let pairs = on_cpu.iter().flatten().zip(on_gpu.iter().flatten());
    assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-2), "{on_cpu:?} {on_gpu:?}");
}
