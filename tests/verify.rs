use std::fs;

use network::{onnx, vnnlib};

use crate::support::{example, numbers, robustness, run, run_json, text};

fn verify<'a>(network: &'a str, property: &'a str) -> [&'a str; 5] {
    ["verify", "--network", network, "--property", property]
}

const CLEAR: [&str; 2] = ["examples/networks/parking.onnx", "examples/properties/parking_clear.vnnlib"];
const CORNER: [&str; 2] = ["examples/networks/parking.onnx", "examples/properties/parking_corner.vnnlib"];

#[test]
fn a_property_that_holds_is_verified_by_splitting() {
    let (status, result) = run_json(&verify(CLEAR[0], CLEAR[1]));
    assert_eq!(status, 0);
    assert_eq!(result["verdict"], "verified");
    assert_eq!((&result["job"], &result["diadem"]), (&"verify".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(result["subdomains"].as_u64().unwrap() > 1, "{result}");
    assert!(result["lower_bound"].as_f64().unwrap() >= 0.0);
    assert!(result["time_s"].as_f64().unwrap() > 0.0);
    assert_eq!(result["device"]["kind"], "host");
    assert!(result["counterexample"].is_null() && result["reason"].is_null());
}

#[test]
fn a_counterexample_violates_the_property_when_the_network_runs() {
    let (status, result) = run_json(&verify(CORNER[0], CORNER[1]));
    assert_eq!((status, &result["verdict"]), (1, &"falsified".into()));
    let found = &result["counterexample"];
    let input = numbers(&found["input"]);
    let network = onnx::read(&example("networks/parking.onnx")).unwrap();
    let property = vnnlib::read(&example("properties/parking_corner.vnnlib")).unwrap();
    let output = network.evaluate::<f64>(&input).unwrap();
    assert_eq!(output, numbers(&found["output"]));
    let (_, margin) = property.violated_at(&input, &output).expect("it violates");
    assert!(margin >= found["margin"].as_f64().unwrap());
}

#[test]
fn the_counterexample_file_holds_the_same_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counterexample.txt");
    let (_, result) = run_json(&[&verify(CORNER[0], CORNER[1])[..], &["--counterexample", text(&path)]].concat());
    let written = fs::read_to_string(path).unwrap();
    let inner = written.trim_end().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).expect("one list");
    let pairs: Vec<(String, f64)> = inner
        .lines()
        .map(|line| {
            let pair = line.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).expect("a pair");
            let (name, value) = pair.split_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().unwrap())
        })
        .collect();
    let names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["X_0", "X_1", "Y_0", "Y_1", "Y_2", "Y_3"]);
    let values: Vec<f64> = pairs.iter().map(|(_, value)| *value).collect();
    let found = &result["counterexample"];
    assert_eq!(values, [numbers(&found["input"]), numbers(&found["output"])].concat());
}

#[test]
fn a_verified_property_leaves_no_counterexample_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counterexample.txt");
    run(&[&verify(CLEAR[0], CLEAR[1])[..], &["--counterexample", text(&path)]].concat());
    assert!(!path.exists());
}

#[test]
fn digits_are_robust_to_small_changes_and_not_to_larger_ones() {
    for (network, robust, fragile) in [
        ("digits_dense", "digits_dense_0_eps_0.076", "digits_dense_0_eps_0.090"),
        ("digits_conv", "digits_conv_0_eps_0.052", "digits_conv_0_eps_0.070"),
    ] {
        let network = format!("examples/networks/{network}.onnx");
        let property = |name: &str| format!("examples/properties/{name}.vnnlib");
        let (status, result) = run_json(&verify(&network, &property(robust)));
        assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{network}");
        assert!(result["subdomains"].as_u64().unwrap() > 1, "{network} needs a split");
        let (status, result) = run_json(&verify(&network, &property(fragile)));
        assert_eq!((status, &result["verdict"]), (1, &"falsified".into()), "{network}");
    }
}

#[test]
fn a_limit_ends_with_unknown_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let property = folder.path().join("hard.vnnlib");
    robustness(0, 0.06, &property);
    // Pixels are far too many to be split one by one.
    let question = verify("examples/networks/digits_conv.onnx", text(&property));
    let task = [&question[..], &["--split", "inputs"]].concat();
    let (status, result) = run_json(&[&task[..], &["--max-subdomains", "3"]].concat());
    assert_eq!((status, &result["verdict"], &result["reason"]), (3, &"unknown".into(), &"subdomain limit".into()));
    assert!(result["lower_bound"].as_f64().unwrap() < 0.0);
    let (status, result) = run_json(&[&task[..], &["--timeout-s", "0.3"]].concat());
    assert_eq!((status, &result["reason"]), (3, &"time limit".into()));
    let said = run(&[&task[..], &["--max-subdomains", "3"]].concat()).stdout;
    assert!(said.starts_with("unknown") && said.contains("subdomain limit, lower bound -"), "{said}");
}

#[test]
fn relus_and_inputs_are_split_as_asked() {
    for (split, stage) in [("relus", "relu splits"), ("inputs", "input splits")] {
        let (status, result) = run_json(&[&verify(CLEAR[0], CLEAR[1])[..], &["--split", split]].concat());
        assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{split}");
        assert!(result["plan"].as_array().unwrap().contains(&stage.into()), "{split}: {}", result["plan"]);
    }
}

#[test]
fn a_memory_limit_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = folder.path().join("certificate");
    // With a certificate, boxes are only halved: there are many.
    let task = [&verify(CLEAR[0], CLEAR[1])[..], &["--certificate", text(&certificate)]].concat();
    let (status, mut result) = run_json(&task);
    assert!(result["subdomains"].as_u64().unwrap() > 50);
    // Some 300 bytes: two or three boxes.
    let (limited, mut again) = run_json(&[&task[..], &["--memory-gib", "3e-7"]].concat());
    for result in [&mut result, &mut again] {
        result.as_object_mut().unwrap().remove("time_s");
    }
    assert_eq!((limited, again), (status, result));
}

#[test]
fn the_same_seed_gives_the_same_answer() {
    for [network, property] in [CLEAR, CORNER] {
        let task = [&verify(network, property)[..], &["--seed", "7"]].concat();
        let answers = [run_json(&task).1, run_json(&task).1, run_json(&[&task[..], &["--threads", "1"]].concat()).1];
        for key in ["verdict", "subdomains", "lower_bound", "counterexample", "seed"] {
            assert!(answers.iter().all(|answer| answer[key] == answers[0][key]), "{key}");
        }
    }
}

#[test]
fn people_read_the_verdict_and_how_it_was_found() {
    let said = run(&verify(CLEAR[0], CLEAR[1])).stdout;
    assert!(said.starts_with("verified  ") && said.lines().count() == 2, "{said}");
    assert!(said.lines().nth(1).is_some_and(|line| line.starts_with("by attack, bounds")), "{said}");
    let said = run(&[&verify(CLEAR[0], CLEAR[1])[..], &["-q"]].concat()).stdout;
    assert!(said.starts_with("verified  ") && said.lines().count() == 1, "{said}");
    let said = run(&verify(CORNER[0], CORNER[1])).stdout;
    assert!(said.starts_with("falsified  ") && said.contains("margin"), "{said}");
}
