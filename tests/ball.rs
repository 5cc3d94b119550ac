//! `diadem verify --image`: images near an image.

use std::fs;

use crate::support::{data, numbers, run, run_json, text};

const DIGIT: [&str; 5] =
    ["verify", "--network", "examples/networks/digits_conv.onnx", "--image", "examples/images/digit_3.png"];

fn ask(more: &[&str]) -> (i32, serde_json::Value) {
    run_json(&[&DIGIT[..], more].concat())
}

#[test]
fn a_small_ball_keeps_the_class_and_a_large_one_does_not() {
    let (status, result) = ask(&["--epsilon", "8/255"]);
    assert_eq!((status, &result["verdict"], &result["class"]), (0, &"verified".into(), &3.into()), "{result}");
    assert!((result["epsilon"].as_f64().unwrap() - 8.0 / 255.0).abs() < 1e-15);
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("found.npy");
    let (status, result) = ask(&["--class", "3", "--epsilon", "0.2", "--counterexample", text(&picture)]);
    assert_eq!((status, &result["verdict"]), (1, &"falsified".into()), "{result}");
    let output = numbers(&result["counterexample"]["output"]);
    let predicted = result["predicted"].as_u64().unwrap() as usize;
    assert!(predicted != 3 && output[predicted] >= output[3] && result["distance"].as_f64().unwrap() <= 0.2);
    // The image that was written is the one that was found.
    let again = run(&[&DIGIT[..3], &["--image", text(&picture), "--class", "3", "--epsilon", "0.001"]].concat());
    assert_eq!(again.status, 1, "{}", again.stderr);
}

#[test]
fn the_largest_ball_lies_between_a_proof_and_a_counterexample() {
    let network = ["--network", "examples/networks/digits_dense.onnx"];
    let (status, result) =
        run_json(&[&["verify", "--image", "examples/images/digit_3.png", "--find-epsilon"], &network[..]].concat());
    assert_eq!(status, 0, "{result}");
    let value = |key: &str| result[key].as_f64().unwrap();
    let (verified, falsified) = (value("verified_epsilon"), value("falsified_epsilon"));
    assert!(0.0 < verified && verified < falsified && falsified < 1.0);
    for (epsilon, expected) in [(verified, 0), (falsified, 1)] {
        let epsilon = epsilon.to_string();
        let question = ["verify", "--image", "examples/images/digit_3.png", "--epsilon", &epsilon];
        assert_eq!(run(&[&question[..], &network].concat()).status, expected);
    }
}

#[test]
fn the_question_is_written_as_a_property_that_certificates_are_about() {
    let folder = tempfile::tempdir().unwrap();
    let (property, certificate) = (folder.path().join("ball.vnnlib"), folder.path().join("ball.certificate"));
    let (status, asked) =
        ask(&["--epsilon", "0.05", "--save-property", text(&property), "--certificate", text(&certificate)]);
    assert_eq!((status, &asked["verdict"]), (0, &"verified".into()), "{asked}");
    let (status, read) = run_json(&[&DIGIT[..3], &["--property", text(&property)]].concat());
    assert_eq!((status, &read["verdict"]), (0, &"verified".into()), "{read}");
    let check = ["check", text(&certificate), "--network", DIGIT[2], "--property", text(&property)];
    assert_eq!(run(&check).status, 0);
}

#[test]
fn normalisation_is_applied() {
    // Dark pixels become negative inputs.
    let (status, result) = ask(&["--epsilon", "0.5", "--mean", "0.5", "--std", "0.5"]);
    assert_eq!(status, 1, "{result}");
    let input = numbers(&result["counterexample"]["input"]);
    assert!(input.iter().any(|&x| x < -0.5) && input.iter().all(|x| (-1.0..=1.0).contains(x)));
    let distance = result["distance"].as_f64().unwrap();
    assert!(distance > 0.0 && distance <= 0.5);
}

#[test]
fn what_makes_no_sense_is_said() {
    let flat = data("images/none.png");
    for (arguments, expected) in [
        (&["--epsilon", "0"][..], "above 0 and at most 1"),
        (&["--epsilon", "1/0"], "above 0 and at most 1"),
        (&["--epsilon", "0.1", "--class", "10"], "classes 0 to 9"),
        (&["--epsilon", "0.1", "--mean", "0.5,0.5", "--deviation", "1,1"], "2 channels"),
        (&["--epsilon", "0.1", "--mean", "0.5"], "--deviation"),
        (&["--epsilon", "0.1", "--certificate", "x"], "--save-property"),
        (&["--find-epsilon", "--certificate", "x"], "--save-property"),
        (&["--epsilon", "0.1", "--find-epsilon"], "cannot be used with"),
        (&[], "--epsilon"),
    ] {
        let run = run(&[&DIGIT[..], arguments].concat());
        assert_eq!(run.status, 2, "{arguments:?}");
        assert!(run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    }
    let gone = run(&[&DIGIT[..3], &["--image", text(&flat), "--epsilon", "0.1"]].concat());
    assert!(gone.status == 2 && gone.stderr.contains("no such image"), "{}", gone.stderr);
    let other = ["verify", "--network", "examples/networks/parking.onnx", "--image", "examples/images/digit_3.png"];
    let other = run(&[&other[..], &["--epsilon", "0.1"]].concat());
    assert!(other.status == 2 && other.stderr.contains("64"), "{}", other.stderr);
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.json");
    fs::write(&job, r#"{"job": "verify", "network": "n.onnx", "image": "i.png"}"#).unwrap();
    let run = run(&["run", text(&job)]);
    assert!(run.status == 2 && run.stderr.contains("find_epsilon"), "{}", run.stderr);
}
