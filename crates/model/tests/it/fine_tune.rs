use std::ops::ControlFlow;

use model::{
    Augment, Classifier, Dataset, Example, FineTune, FineTuneSettings, OutputRow, Region, Target, TuneEnding, Wanted,
};

use crate::support::{layers, recipe, shapes, train};

/// A trained classifier, its data, and samples that it gets wrong once they are moved.
fn wronged() -> (Classifier, Dataset, Dataset, Vec<Example>) {
    let (data, validation) = (shapes(400, 1), shapes(100, 2));
    let mut classifier = Classifier::new(&layers(r#"[{"dense": 16}, "relu", {"dense": 4}]"#), [1, 10, 10], 1).unwrap();
    let recipe =
        recipe(r#"{"epochs": 15, "batch_size": 32, "optimizer": {"adam": {"lr": 0.01}}, "schedule": "cosine"}"#);
    train(&mut classifier, &recipe, &data, None);
    let mut found = Vec::new();
    for i in 0..validation.len() {
        let input: Vec<f32> = validation
            .sample(i)
            .iter()
            .enumerate()
            .map(|(k, v)| (v + if k % 3 == 0 { 0.15 } else { -0.1 }).clamp(0.0, 1.0))
            .collect();
        let scores = &classifier.scores(&[&input]).unwrap()[0];
        let class = validation.labels()[i];
        if scores.iter().any(|score| *score > scores[class]) && found.len() < 5 {
            found.push(Example { input, wanted: Wanted::class(class, 4) });
        }
    }
    assert!(found.len() == 5, "{}", found.len());
    (classifier, data, validation, found)
}

fn right(classifier: &Classifier, examples: &[Example]) -> usize {
    let margin = |example: &&Example| {
        let scores = &classifier.scores(&[&example.input]).unwrap()[0];
        let value = |row: &OutputRow| row.coefficients.iter().zip(scores).map(|(a, y)| a * y).sum::<f32>();
        example.wanted.groups.iter().all(|group| group.iter().any(|row| value(row) > 0.0))
    };
    examples.iter().filter(margin).count()
}

#[test]
fn counterexamples_are_repaired_and_accuracy_is_kept() {
    let (classifier, data, validation, examples) = wronged();
    let before = classifier.score(&validation).unwrap().accuracy;
    let peer = FineTuneSettings { epochs: 60, ..FineTuneSettings::default() };
    let ours = FineTuneSettings { margin: 0.2, proximity: 0.01, floor: before - 0.05, ..peer.clone() };
    for settings in [peer, ours] {
        let tune = |mut classifier: Classifier| {
            let tune = FineTune { settings: &settings, train: &data, validation: &validation, seed: 2 };
            let outcome = tune.run(&mut classifier, &examples, &[], &mut |_| ControlFlow::Continue(())).unwrap();
            (outcome, classifier)
        };
        let ((ending, record), tuned) = tune(classifier.clone());
        assert_eq!((ending, record.repaired), (TuneEnding::Repaired, 5), "{settings:?}");
        assert_eq!(right(&tuned, &examples), 5);
        assert_eq!(record.accuracy, tuned.score(&validation).unwrap().accuracy);
        assert!(record.accuracy >= settings.floor);
        assert_eq!(tuned.state(), tune(classifier.clone()).1.state());
    }
}

#[test]
fn bounds_over_regions_are_raised() {
    let (classifier, data, validation, _) = wronged();
    let sample = validation.sample(0).to_vec();
    let class = validation.labels()[0];
    let region = |epsilon: f32| Region::Box {
        lower: sample.iter().map(|v| (v - epsilon).max(0.0)).collect(),
        upper: sample.iter().map(|v| (v + epsilon).min(1.0)).collect(),
    };
    let regions = [Target { region: region(0.08), wanted: Wanted::class(class, 4) }];
    let settings = FineTuneSettings { bound_weight: 2.0, epochs: 60, lr: 0.005, ..FineTuneSettings::default() };
    let mut tuned = classifier.clone();
    let tune = FineTune { settings: &settings, train: &data, validation: &validation, seed: 2 };
    let mut first = None;
    let mut observer = |record: &model::TuneRecord| {
        first.get_or_insert(record.bounded);
        ControlFlow::Continue(())
    };
    let (ending, record) = tune.run(&mut tuned, &[], &regions, &mut observer).unwrap();
    assert!(first.is_some(), "the region was open at the start");
    assert_eq!((ending, record.bounded), (TuneEnding::Repaired, 1));
}

#[test]
fn weights_below_the_floor_are_not_kept() {
    let (classifier, data, validation, _) = wronged();
    let before = classifier.score(&validation).unwrap().accuracy;
    // Every sample of the class is to become another one: accuracy cannot stay.
    let wrong: Vec<Example> = (0..validation.len())
        .filter(|&i| validation.labels()[i] == 0)
        .map(|i| Example { input: validation.sample(i).to_vec(), wanted: Wanted::class(1, 4) })
        .collect();
    let settings = FineTuneSettings { epochs: 8, penalty_increase: 2.0, floor: before, ..FineTuneSettings::default() };
    let mut tuned = classifier.clone();
    let tune = FineTune { settings: &settings, train: &data, validation: &validation, seed: 2 };
    let (ending, record) = tune.run(&mut tuned, &wrong, &[], &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(ending, TuneEnding::Finished);
    assert!(record.accuracy >= before && tuned.score(&validation).unwrap().accuracy >= before);
    assert!(record.repaired < wrong.len());
}

#[test]
fn settling_begins_at_the_latest_when_as_many_epochs_are_left() {
    let (classifier, data, validation, examples) = wronged();
    let run = |settle: usize| {
        let settings = FineTuneSettings { epochs: 40, settle, margin: 0.2, ..FineTuneSettings::default() };
        let tune = FineTune { settings: &settings, train: &data, validation: &validation, seed: 2 };
        let mut tuned = classifier.clone();
        let mut epochs = 0;
        let mut count = |_: &model::TuneRecord| {
            epochs += 1;
            ControlFlow::Continue(())
        };
        let (ending, record) = tune.run(&mut tuned, &examples, &[], &mut count).unwrap();
        assert_eq!((ending, record.repaired), (TuneEnding::Repaired, 5), "{settle}");
        (epochs, tuned.state())
    };
    // Without settling the first repaired state ends it; with little, so many epochs after that; with much, all epochs are taken.
    let (first, _) = run(0);
    let (with_three, _) = run(3);
    let (all, settled) = run(40);
    assert!(first + 3 < 40 && with_three == first + 3, "{first} {with_three}");
    assert_eq!(all, 40);
    assert!(run(1000) == (all, settled.clone()) && run(39).1 != settled);
}

#[test]
fn what_is_repaired_already_stays_as_it_is() {
    let (classifier, data, validation, examples) = wronged();
    let mut tuned = classifier.clone();
    let settings = FineTuneSettings::default();
    let tune = FineTune { settings: &settings, train: &data, validation: &validation, seed: 2 };
    let (ending, record) = tune.run(&mut tuned, &[], &[], &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((ending, record.epoch), (TuneEnding::Repaired, 0));
    assert_eq!(tuned.state(), classifier.state());
    let short = [Example { input: vec![0.0; 3], wanted: Wanted::class(0, 4) }];
    assert!(tune.run(&mut tuned, &short, &[], &mut |_| ControlFlow::Continue(())).is_err());
    let none = [Example { wanted: Wanted::class(9, 10), ..examples[0].clone() }];
    assert!(tune.run(&mut tuned, &none, &[], &mut |_| ControlFlow::Continue(())).is_err());
    let diverging = FineTuneSettings { lr: 1e30, ..settings };
    let tune = FineTune { settings: &diverging, ..tune };
    let (ending, _) = tune.run(&mut tuned, &examples, &[], &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(ending, TuneEnding::Diverged);
    assert_eq!(tuned.state(), classifier.state());
}

#[test]
fn rehearsal_and_locality_keep_what_was_said_elsewhere() {
    let (classifier, data, validation, examples) = wronged();
    let middle = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(a, b)| 0.5 * (a + b)).collect::<Vec<f32>>();
    let between: Vec<Vec<f32>> = (0..100).map(|i| middle(data.sample(i), data.sample(i + 100))).collect();
    let darkened = (0..validation.len()).map(|i| validation.sample(i).iter().map(|v| 0.6 * v).collect()).collect();
    let around: Vec<Vec<f32>> =
        (0..100).map(|i| middle(&examples[i % examples.len()].input, data.sample(200 + i))).collect();
    // How far outputs move where training samples say nothing.
    let moved = |settings: &FineTuneSettings, rows: &Vec<Vec<f32>>| {
        let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut tuned = classifier.clone();
        let tune = FineTune { settings, train: &data, validation: &validation, seed: 2 };
        let (ending, _) = tune.run(&mut tuned, &examples, &[], &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(ending, TuneEnding::Repaired, "{settings:?}");
        let [before, after] = [&classifier, &tuned].map(|classifier| classifier.scores(&rows).unwrap());
        let pairs = before.iter().flatten().zip(after.iter().flatten());
        pairs.map(|(a, b)| f64::from((a - b).powi(2))).sum::<f64>()
    };
    let without = FineTuneSettings { epochs: 60, margin: 0.2, settle: 4, lr: 0.005, ..FineTuneSettings::default() };
    let rehearsed = FineTuneSettings { rehearsal: 3.0, ..without.clone() };
    let local = FineTuneSettings { locality: 3.0, ..without.clone() };
    for (settings, rows) in [(&rehearsed, &between), (&rehearsed, &darkened), (&local, &around)] {
        let (with, without) = (moved(settings, rows), moved(&without, rows));
        assert!(with < 0.8 * without, "{with} with {settings:?}, {without} without");
    }
}

#[test]
fn samples_may_be_changed_at_random_while_counterexamples_are_learnt() {
    let (classifier, data, validation, examples) = wronged();
    let augment = Some(Augment { brightness: 0.5, ..Augment::default() });
    let settings = FineTuneSettings { augment, epochs: 60, ..FineTuneSettings::default() };
    let tuned = |settings: &FineTuneSettings| {
        let mut tuned = classifier.clone();
        let tune = FineTune { settings, train: &data, validation: &validation, seed: 2 };
        let (ending, _) = tune.run(&mut tuned, &examples, &[], &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(ending, TuneEnding::Repaired);
        tuned.state()
    };
    assert_eq!(tuned(&settings), tuned(&settings));
    assert_ne!(tuned(&settings), tuned(&FineTuneSettings { augment: None, ..settings.clone() }));
    let wrong = Some(Augment { brightness: -1.0, ..Augment::default() });
    assert!(FineTuneSettings { augment: wrong, ..settings }.check().is_err());
}

#[test]
fn settling_takes_fewer_steps_where_they_cost_more() {
    // A hundred steps an epoch.
    let settle = |multiply_adds: usize| FineTuneSettings::thorough(3_200, multiply_adds).settle;
    assert_eq!([settle(1_000), settle(10_000_000), settle(usize::MAX)], [160, 40, 40]);
    let half_way = settle(125_000);
    assert!(half_way > 40 && half_way < 160, "{half_way}");
    // Few samples, many samples.
    assert_eq!(FineTuneSettings::thorough(10, 1_000).settle, 400);
    assert_eq!(FineTuneSettings::thorough(10_000_000, 1_000).settle, 6);
}
