use std::fs;

use serde_json::Value;

use crate::support::{Run, data, diadem, run, run_json, text};

const TASK: [&str; 5] =
    ["verify", "--network", "examples/networks/parking.onnx", "--property", "examples/properties/parking_clear.vnnlib"];

#[test]
fn global_options_go_before_and_after_the_command() {
    let options = ["--device", "host", "--seed", "3", "--threads", "1", "--timeout-s", "60", "--json", "-"];
    for arguments in [[&options[..], &TASK].concat(), [&TASK[..], &options].concat()] {
        let run = run(&arguments);
        assert_eq!(run.status, 0, "{}", run.stderr);
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!((&result["seed"], &result["device"]["threads"]), (&3.into(), &1.into()));
    }
}

#[test]
fn json_goes_to_a_file_while_people_read_stdout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("result.json");
    let run = run(&[&TASK[..], &["--json", text(&path)]].concat());
    assert!(run.stdout.starts_with("verified"));
    let result: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(result["verdict"], "verified");
    assert_eq!(run.stderr, "", "no progress where stderr is no terminal");
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let run = run(&[&TASK[..], &["--json", "no/such/folder/result.json"]].concat());
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("no/such/folder/result.json: the result cannot be written"), "{}", run.stderr);
}

#[test]
fn misuse_is_status_two() {
    for arguments in [
        &["verify"][..],
        &["frobnicate"],
        &["verify", "--network", "n.onnx"],
        &["verify", "--property", "p.vnnlib"],
        &["verify", "--instances", "i.csv", "--network", "n.onnx", "--property", "p"],
        &["verify", "--network", "n.onnx", "--property", "p", "--results", "r.csv"],
        &["bounds", "--network", "n.onnx"],
        &["bounds", "--network", "n.onnx", "--box", "b", "--property", "p"],
        &["bounds", "--network", "n.onnx", "--box", "b", "--method", "magic"],
        &["devices", "--timeout-s", "-1"],
        &["verify", "--network", "n", "--property", "p", "--memory-gib", "0"],
        &["devices", "--timeout-s", "soon"],
        &["devices", "-q", "-v"],
    ] {
        let run = run(arguments);
        assert_eq!(run.status, 2, "{arguments:?}");
        assert!(run.stderr.starts_with("error: ") && run.stdout.is_empty(), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn no_colours_are_used_where_nobody_sees_them() {
    assert!(!run(&TASK).stdout.contains('\x1b'));
}

#[test]
fn devices_are_listed_with_the_reason_for_the_choice() {
    let (status, result) = run_json(&["devices"]);
    assert_eq!(status, 0);
    assert_eq!(result["host"]["kind"], "host");
    assert!(result["host"]["threads"].as_u64().unwrap() > 0);
    assert!(result["adapters"].is_array());
    assert!(!result["auto_reason"].as_str().unwrap().is_empty());
    let said = run(&["devices"]).stdout;
    assert!(said.starts_with("host  ") && said.contains("\nauto  "), "{said}");
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for arguments in
        [&["devices", "--device", "no such thing"][..], &[&TASK[..], &["--device", "no such thing"]].concat()]
    {
        let run = run(arguments);
        assert_eq!(run.status, 2);
        assert!(run.stderr.contains("diadem devices"), "{}", run.stderr);
    }
}

#[test]
fn the_device_may_come_from_the_environment() {
    let run = Run::of(diadem(&TASK).env("DIADEM_DEVICE", "no such thing"));
    assert_eq!(run.status, 2);
    assert_eq!(Run::of(diadem(&TASK).env("DIADEM_DEVICE", "no such thing").args(["--device", "host"])).status, 0);
}

#[test]
fn networks_and_properties_are_inspected() {
    let (network, property) = (data("tiny.onnx"), data("tiny.vnnlib"));
    let task = ["inspect", "--network", text(&network), "--property", text(&property)];
    let (status, result) = run_json(&task);
    assert_eq!(status, 0);
    assert_eq!((&result["n_inputs"], &result["n_outputs"], &result["macs"]), (&2.into(), &2.into(), &4.into()));
    assert_eq!(result["operators"], serde_json::json!({ "input": 1, "dense": 1, "relu": 1 }));
    assert_eq!(result["layers"][1]["parameters"], 6);
    assert_eq!((&result["property"]["n_boxes"], &result["property"]["n_disjuncts"]), (&1.into(), &1.into()));
    let said = run(&task).stdout;
    assert!(said.contains("2 inputs, 2 outputs, 6 parameters") && said.contains("relu"), "{said}");
}

#[test]
fn inspection_names_the_operator_that_is_not_supported() {
    let run = run(&["inspect", "--network", "tests/data/unknown_operator.onnx"]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("node 'strange': operator Frobnicate is not supported"), "{}", run.stderr);
}

#[test]
fn nnet_networks_are_read_by_their_extension() {
    let folder = tempfile::tempdir().unwrap();
    let network = folder.path().join("tiny.nnet");
    // y = max(x_0 + x_1, 0) and max(x_0 − x_1, 0), then the identity.
    let text_of = "2,2,2,2,\n2,2,2,\n0,\n0,0,\n1,1,\n0,0,0,\n1,1,1,\n1,1,\n1,-1,\n0,\n0,\n1,0,\n0,1,\n0,\n0,\n";
    fs::write(&network, text_of).unwrap();
    let property = data("tiny.vnnlib");
    let (status, result) = run_json(&["verify", "--network", text(&network), "--property", text(&property)]);
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()));
}

#[test]
fn help_names_every_command() {
    let run = run(&["--help"]);
    assert_eq!(run.status, 0);
    for command in ["devices", "inspect", "bounds", "verify", "bench", "run"] {
        assert!(run.stdout.contains(&format!("\n  {command} ")), "{}", run.stdout);
    }
}
