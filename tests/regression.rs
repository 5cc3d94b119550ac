//! Mistakes that were made once, each named by its cause.

use std::fs;

use crate::support::{data, run, run_json, text};

#[test]
fn a_job_file_in_the_current_folder_finds_its_neighbours() {
    // The folder of `job.json` is the empty path: joining must not make paths absolute or lose them.
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny.onnx", "tiny.vnnlib"] {
        fs::copy(data(name), folder.path().join(name)).unwrap();
    }
    let job = r#"{"job": "verify", "network": "tiny.onnx", "property": "tiny.vnnlib"}"#;
    fs::write(folder.path().join("job.json"), job).unwrap();
    crate::support::diadem(&["run", "job.json"]).current_dir(folder.path()).assert().code(0);
}

#[test]
fn a_bound_that_is_not_finite_is_null_in_json() {
    // JSON knows no infinity; a reader must not take an unbounded end for a number.
    let folder = tempfile::tempdir().unwrap();
    let region = folder.path().join("box.json");
    fs::write(&region, r#"{"lower": [-3e38, -3e38], "upper": [3e38, 3e38]}"#).unwrap();
    let (network, region) = (data("tiny.onnx"), region);
    let (status, result) = run_json(&["bounds", "--network", text(&network), "--box", text(&region)]);
    assert_eq!(status, 0);
    for key in ["lower", "upper"] {
        for value in result[key].as_array().unwrap() {
            assert!(value.is_null() || value.as_f64().is_some_and(f64::is_finite), "{result}");
        }
    }
}

#[test]
fn an_empty_list_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let (list, results) = (folder.path().join("list.csv"), folder.path().join("results.csv"));
    fs::write(&list, "onnx,vnnlib,timeout\n").unwrap();
    let run = run(&["verify", "--instances", text(&list), "--results", text(&results)]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(run.stdout.starts_with("0 verified"), "{}", run.stdout);
}
