//! Inputs that are wrong: each ends with status 2 and a message that says where and why.

use std::fs;

use crate::support::{data, run, text};

fn message(network: &str, property: &str) -> String {
    let run = run(&["verify", "--network", network, "--property", property]);
    assert_eq!(run.status, 2, "{network} {property}: {}", run.stdout);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.starts_with("error: ") && run.stderr.trim_end().lines().count() == 1, "{}", run.stderr);
    run.stderr
}

#[test]
fn networks_that_are_wrong_are_refused() {
    let property = data("tiny.vnnlib");
    for (name, expected) in [
        ("truncated", "the file is truncated"),
        ("not_a_model", "not an ONNX model"),
        ("missing_initialiser", "node 'dense': its operand 'b' is neither"),
        ("shape_mismatch", "node 'dense': expected matrices that fit, got [1, 2] and [2, 3]"),
        ("unknown_operator", "node 'strange': operator Frobnicate is not supported"),
        ("nan_weight", "node 'dense': the tensor 'w' holds a value that is not finite"),
        ("dynamic_shape", "the input 'x' has no fixed size along axis 1"),
        ("no_such_file", "there is no such network"),
    ] {
        let file = format!("{name}.onnx");
        let message = message(text(&data(&file)), text(&property));
        assert!(message.contains(expected) && message.contains(&file), "{message}");
    }
}

#[test]
fn properties_that_are_wrong_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let property = folder.path().join("wrong.vnnlib");
    let good = fs::read_to_string(data("tiny.vnnlib")).unwrap();
    let network = data("tiny.onnx");
    for (from, to, expected) in [
        ("<= X_1 1.0", "<= X_7 1.0", ":12: 'X_7' is not declared"),
        ("(assert (<= X_1 1.0))", "", "X_1 is declared here but has no upper bound"),
        ("<= X_0 1.0", "<= X_0 -1.0", ":10: X_0: the lower bound 0 (line 9) is above the upper bound -1 (line 10)"),
        ("(assert (>= Y_0 2.5))", "(assert (>= Y_0 2.5)", ":15: unbalanced parentheses"),
        ("(declare-const Y_1 Real)", "", "the property declares 1 outputs but the network has 2"),
        ("2.5", "two", "wrong.vnnlib:15"),
        (">= Y_0", "> (* Y_0 Y_1)", "wrong.vnnlib:15"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&property, good.replacen(from, to, 1)).unwrap();
        let message = message(text(&network), text(&property));
        assert!(message.contains(expected) && message.contains("wrong.vnnlib"), "{message}");
    }
    fs::write(&property, b"\xff\xfe").unwrap();
    assert!(message(text(&network), text(&property)).contains("not UTF-8"));
}

#[test]
fn the_property_of_another_network_is_refused_before_any_work() {
    let message = message("examples/networks/digits_conv.onnx", "examples/properties/parking_clear.vnnlib");
    assert!(message.contains("the property declares 2 inputs but the network has 64"), "{message}");
}

#[test]
fn deep_nesting_is_refused_and_does_not_crash() {
    let folder = tempfile::tempdir().unwrap();
    let property = folder.path().join("deep.vnnlib");
    let good = fs::read_to_string(data("tiny.vnnlib")).unwrap();
    let n = 200_000;
    let nested = format!("{}(>= Y_0 2.5){}", "(and ".repeat(n), ")".repeat(n));
    fs::write(&property, good.replace("(>= Y_0 2.5)", &nested)).unwrap();
    let run = run(&["verify", "--network", text(&data("tiny.onnx")), "--property", text(&property)]);
    assert!(run.status == 0 || run.status == 2, "{}", run.stderr);
}

#[test]
fn lists_that_are_wrong_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.csv");
    for (content, expected) in [
        ("a.onnx,b.vnnlib,soon\n", "list.csv:1: the timeout 'soon' is not a positive number of seconds"),
        ("a.onnx\n", "list.csv:1: a row needs a network and a property"),
        ("onnx,vnnlib\na.onnx,\"b\n", "never ends"),
    ] {
        fs::write(&list, content).unwrap();
        let run = run(&["verify", "--instances", text(&list)]);
        assert_eq!(run.status, 2);
        assert!(run.stderr.contains(expected), "{}", run.stderr);
    }
    let run = run(&["verify", "--instances", "no_such_list.csv"]);
    assert!(run.status == 2 && run.stderr.contains("there is no such list"), "{}", run.stderr);
}
