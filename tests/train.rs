//! Training: run folders, formats, reproducibility, a peer's files, and what is refused before it begins.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Run, diadem, reference, root, run, run_json, text};

/// A job that takes a moment, and changes to it.
fn job(folder: &Path, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let mut job = json!({
        "job": "train",
        "data": { "source": { "shapes": { "n": 200, "size": 8, "seed": 1 } }, "test_share": 0.2 },
        "network": { "hidden": [12] },
        "training": { "epochs": 8, "batch_size": 16, "optimizer": { "adam": { "lr": 0.01 } } },
        "measure": { "epsilons": [0.01], "samples": 20 },
        "out": "runs"
    });
    change(&mut job);
    let path = folder.join("job.json");
    fs::write(&path, job.to_string()).unwrap();
    path
}

#[test]
fn a_run_leaves_a_network_that_can_be_verified_and_never_overwrites_another() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), |_| {});
    let (status, first) = run_json(&["train", text(&job), "--seed", "5"]);
    assert_eq!((status, &first["job"], &first["reached"]), (0, &"train".into(), &true.into()), "{first}");
    let (_, second) = run_json(&["run", text(&job), "--seed", "5"]);
    let place = |result: &Value, name: &str| Path::new(result["folder"].as_str().unwrap()).join(name);
    assert_ne!(first["folder"], second["folder"]);
    // The same seed, the same weights.
    let names =
        ["network.onnx", "weights.safetensors", "metrics.jsonl", "plot.svg", "result.json", "weights.bpk", "job.json"];
    for name in names {
        assert!(place(&first, name).is_file(), "{name}");
    }
    assert!(place(&first, "model_i1x8x8_l12_o4.pt").is_file());
    let [a, b] = [&first, &second].map(|result| fs::read(place(result, "network.onnx")).unwrap());
    assert_eq!(a, b);
    let (_, third) = run_json(&["train", text(&job), "--seed", "6", "--epochs", "2"]);
    assert_ne!(a, fs::read(place(&third, "network.onnx")).unwrap());
    assert_eq!(third["epochs"], 2);

    let metrics = fs::read_to_string(place(&first, "metrics.jsonl")).unwrap();
    let epochs: Vec<Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(epochs.len(), 8);
    assert!(epochs[7]["loss"].as_f64() < epochs[0]["loss"].as_f64());
    let robust = &first["robust"][0];
    assert!(robust["bounded_accuracy"].as_f64() <= robust["attacked_accuracy"].as_f64(), "{robust}");
    let network = place(&first, "network.onnx");
    let run = run(&["inspect", "--network", text(&network)]);
    assert_eq!(run.status, 0, "{}", run.stderr);
}

#[test]
fn training_goes_on_from_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (_, first) = run_json(&["train", text(&job(folder.path(), |_| {}))]);
    let weights = Path::new(first["folder"].as_str().unwrap()).join("model_i1x8x8_l12_o4.pt");
    let further = job(folder.path(), |job| {
        job["weights"] = text(&weights).into();
        job["training"]["epochs"] = 1.into();
        job["training"]["optimizer"]["adam"]["lr"] = 1e-9.into();
    });
    let (_, second) = run_json(&["train", text(&further)]);
    assert_eq!(first["test"]["accuracy"], second["test"]["accuracy"]);
}

/// What is expected in the message, and the edit of a job that causes it.
type Mistake = (&'static str, Box<dyn FnOnce(&mut Value)>);

#[test]
fn what_cannot_be_trained_is_said_before_training_begins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let cases: [Mistake; 10] = [
        ("--out", Box::new(|job| job["out"] = "file/runs".into())),
        ("train-images-idx3-ubyte", Box::new(|job| job["data"]["source"] = json!({ "mnist": "nowhere" }))),
        ("unknown variant `mnits`", Box::new(|job| job["data"]["source"] = json!({ "mnits": "x" }))),
        ("'lr' is a positive number", Box::new(|job| job["training"]["optimizer"]["adam"]["lr"] = (-1).into())),
        ("class 4 is empty", Box::new(|job| job["data"]["classes"] = json!([0, 4]))),
        ("give 'test' or 'test_share'", Box::new(|job| job["data"]["test_share"] = Value::Null)),
        ("last layer must be dense", Box::new(|job| job["network"] = json!({ "layers": ["relu"] }))),
        ("unknown field `netwrok`", Box::new(|job| job["netwrok"] = 1.into())),
        ("'epsilons' are positive", Box::new(|job| job["measure"]["epsilons"] = json!([-0.1]))),
        ("none.pt", Box::new(|job| job["weights"] = "none.pt".into())),
    ];
    for (expected, change) in cases {
        let run = run(&["train", text(&job(folder.path(), change))]);
        assert_eq!(run.status, 2, "{expected}: {}", run.stdout);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
    assert!(!folder.path().join("runs").exists(), "a run that cannot begin leaves no folder");
    let verify = root().join("configs/verify/parking_clear.json");
    assert!(run(&["train", text(&verify)]).stderr.contains("no job of training"));
}

#[test]
fn a_loss_that_is_not_finite_is_no_success() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), |job| {
        job["training"]["optimizer"] = json!({ "sgd": { "lr": 1e20, "momentum": 0.9 } });
    });
    let (status, result) = run_json(&["train", text(&job)]);
    assert_eq!((status, &result["reached"], &result["reason"]), (3, &false.into(), &"diverged".into()));
    assert!(Path::new(result["network"].as_str().unwrap()).is_file());
}

#[test]
fn a_peers_parameters_are_taken_as_they_are() {
    let Some(data) = reference() else { return };
    let folder = tempfile::tempdir().unwrap();
    let params = data.join("ssim/peer/params_mnist.json");
    // Without the data at the peer's place, the files to place are named.
    let missing = Run::of(diadem(&["train", text(&params)]).current_dir(folder.path()));
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("__data__") && missing.stderr.contains("train-images-idx3"), "{}", missing.stderr);

    let datasets = data.join("datasets");
    let arguments = ["train", text(&params), "--data", text(&datasets), "--epochs", "2", "--json", "-"];
    let run = Run::of(diadem(&arguments).current_dir(folder.path()));
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert!(
        run.stderr.contains("not used by training: ri, minlp, repair, model.load_model, model.path"),
        "{}",
        run.stderr
    );
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    let place = folder.path().join(result["folder"].as_str().unwrap());
    assert!(place.join("model_i1x4x4_l6-6-6_o5.pt").is_file());
    assert!(result["test"]["accuracy"].as_f64().unwrap() > 0.2);

    // All classes where none are selected; what is no class is an error.
    let text_of = fs::read_to_string(&params).unwrap();
    let mut changed: Value = serde_json::from_str(&text_of).unwrap();
    for (classes, outputs) in [(json!([]), 10), (Value::Null, 10), (json!([4, 2]), 2)] {
        changed["model"]["selected_classes"] = classes;
        let path = folder.path().join("params.json");
        fs::write(&path, changed.to_string()).unwrap();
        let arguments = ["train", text(&path), "--data", text(&datasets), "--epochs", "1", "--json", "-"];
        let run = Run::of(diadem(&arguments).current_dir(folder.path()));
        let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
        let place = folder.path().join(result["folder"].as_str().unwrap());
        assert!(place.join(format!("model_i1x4x4_l6-6-6_o{outputs}.pt")).is_file());
    }
}

#[test]
fn every_job_of_the_folder_trains_or_names_the_data_to_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut n_trained = 0;
    for entry in fs::read_dir(root().join("configs/train")).unwrap() {
        let job = entry.unwrap().path();
        let run = run(&["train", text(&job), "--out", text(folder.path()), "--json", "-"]);
        if run.status == 2 {
            assert!(run.stderr.contains("is not here: place"), "{}: {}", job.display(), run.stderr);
            continue;
        }
        let result: Value = serde_json::from_str(&run.stdout).unwrap();
        assert!(result["test"]["accuracy"].as_f64().unwrap() > 0.8, "{}: {result}", job.display());
        n_trained += 1;
    }
    assert!(n_trained > 0);
}
