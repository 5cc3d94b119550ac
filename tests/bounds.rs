use std::fs;
use std::path::Path;

use network::onnx;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::{data, example, numbers, run, run_json, text};

fn bounds(network: &Path, region: &[&str], method: &str) -> Value {
    let (status, result) = run_json(&[&["bounds", "--network", text(network), "--method", method], region].concat());
    assert_eq!(status, 0);
    assert_eq!(result["method"], method);
    result
}

#[test]
fn interval_bounds_of_a_tiny_network_are_those_worked_out_by_hand() {
    let property = data("tiny.vnnlib");
    let result = bounds(&data("tiny.onnx"), &["--property", text(&property)], "ibp");
    // y_0 = max(x_0 + x_1, 0) and y_1 = max(x_0 − x_1, 0) over the unit square; rounding may cost some 1e-6.
    let expected = [("lower", [0.0, 0.0]), ("upper", [2.0, 1.0])];
    for (key, values) in expected {
        for (got, want) in numbers(&result[key]).iter().zip(values) {
            assert!((got - want).abs() < 1e-5, "{key}: {got}, {want}");
        }
    }
}

#[test]
fn sampled_outputs_lie_inside_the_bounds_of_every_method() {
    let folder = tempfile::tempdir().unwrap();
    let region = folder.path().join("box.json");
    fs::write(&region, r#"{"lower": [0.1, 0.2], "upper": [0.7, 0.9]}"#).unwrap();
    let path = example("networks/parking.onnx");
    let network = onnx::read(&path).unwrap();
    for method in ["ibp", "crown-ibp", "crown", "alpha-crown"] {
        let result = bounds(&path, &["--box", text(&region)], method);
        let (lower, upper) = (numbers(&result["lower"]), numbers(&result["upper"]));
        TestRunner::default()
            .run(&(0.1..0.7, 0.2..0.9), |(x, y): (f64, f64)| {
                let output = network.evaluate(&[x, y]).unwrap();
                for (i, value) in output.iter().enumerate() {
                    prop_assert!(lower[i] <= *value && *value <= upper[i], "{}: output {}", method, i);
                }
                Ok(())
            })
            .unwrap();
    }
}

#[test]
fn linear_bounds_are_no_looser_than_intervals() {
    let property = example("properties/digits_dense_0_eps_0.076.vnnlib");
    let of = |method| bounds(&example("networks/digits_dense.onnx"), &["--property", text(&property)], method);
    let width = |result: &Value| -> f64 {
        numbers(&result["upper"]).iter().zip(numbers(&result["lower"])).map(|(upper, lower)| upper - lower).sum()
    };
    let (ibp, crown_ibp, crown) = (of("ibp"), of("crown-ibp"), of("crown"));
    assert!(width(&crown) <= width(&crown_ibp) && width(&crown_ibp) < width(&ibp));
    assert_eq!(crown["slack"].as_array().unwrap().len(), 10);
}

#[test]
fn people_see_every_output() {
    let (network, property) = (data("tiny.onnx"), data("tiny.vnnlib"));
    let said = run(&["bounds", "--network", text(&network), "--property", text(&property)]).stdout;
    assert!(said.contains("lower") && said.contains("slack"), "{said}");
    assert!(said.lines().count() == 4 && said.contains("crown: "), "{said}");
}

#[test]
fn boxes_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let region = folder.path().join("box.json");
    let network = example("networks/parking.onnx");
    for (content, expected) in [
        (r#"{"lower": [0], "upper": [1]}"#, "the box has 1 inputs but the network has 2"),
        (r#"{"lower": [0, 2], "upper": [1, 1]}"#, "input 1: lower bound 2 is above upper bound 1"),
        (r#"{"lower": [0, 0], "upper": [1]}"#, "2 lower bounds but 1 upper bounds"),
        (r#"{"lower": [0, 0], "upper": [1, 1], "width": 3}"#, "unknown field `width`"),
        ("[]", "expected a box"),
        ("{\"lower\": [0, 0],\n \"upper\": [1e999, 1]}", "line 2"),
    ] {
        fs::write(&region, content).unwrap();
        let run = run(&["bounds", "--network", text(&network), "--box", text(&region)]);
        assert_eq!(run.status, 2);
        assert!(run.stderr.contains(expected) && run.stderr.contains("box.json"), "{}", run.stderr);
    }
}

#[test]
fn optimised_bounds_are_tighter() {
    let (network, region) = (example("networks/parking.onnx"), example("boxes/parking.json"));
    let width = |method: &str| -> f64 {
        let result = bounds(&network, &["--box", text(&region)], method);
        numbers(&result["upper"]).iter().sum::<f64>() - numbers(&result["lower"]).iter().sum::<f64>()
    };
    assert!(width("alpha-crown") < width("crown"), "{} against {}", width("alpha-crown"), width("crown"));
}
