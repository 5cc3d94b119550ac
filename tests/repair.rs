//! Repair: verify, learn, verify again; what is left behind, going on, a peer's files, and what is refused before it begins.

use std::fs;
use std::path::{Path, PathBuf};

use network::ssim::Similarity;
use network::{Image, onnx};
use serde_json::{Value, json};

use crate::support::{Run, diadem, reference, root, run, run_json, text};

/// A job that takes a moment, and changes to it.
fn job(folder: &Path, change: impl FnOnce(&mut Value)) -> PathBuf {
    let mut job = json!({
        "job": "repair",
        "data": {
            "source": { "shapes": { "n": 240, "size": 8, "seed": 1 } },
            "test": { "shapes": { "n": 100, "size": 8, "seed": 2 } }
        },
        "start": { "train": {
            "network": { "hidden": [12] },
            "training": { "epochs": 12, "batch_size": 16, "optimizer": { "adam": { "lr": 0.01 } } }
        } },
        "requirements": [
            { "similar": { "image": { "test_sample": 0 }, "threshold": 0.97 } },
            { "patch": { "image": { "test_sample": 1 }, "corner": [3, 3], "size": [2, 2] } },
            { "ball": { "image": { "test_sample": 3 }, "epsilon": 0.02 } }
        ],
        "tuning": { "epochs": 40 },
        "certify": { "epsilons": [0.01], "thresholds": [0.99], "samples": 5 },
        "out": "runs"
    });
    change(&mut job);
    let path = folder.join("job.json");
    fs::write(&path, job.to_string()).unwrap();
    path
}

fn place(result: &Value, name: &str) -> PathBuf {
    Path::new(result["folder"].as_str().unwrap()).join(name)
}

#[test]
fn everything_that_is_required_is_proved_of_the_network_that_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), |_| {});
    let (status, result) = run_json(&["repair", text(&job), "--seed", "1"]);
    assert_eq!((status, &result["verdict"]), (0, &"repaired".into()), "{result}");
    for one in result["requirements"].as_array().unwrap() {
        assert_eq!(one["verdict"], "verified");
        assert!(one["lower_bound"].as_f64().unwrap() >= 0.0, "{one}");
    }
    // The keys of semantic-robustness-verification.
    let first = &result["iterations"]["1"];
    for key in ["max_deviation", "stable_relu", "runtime", "status", "accuracy_before", "accuracy_after"] {
        assert!(!first[key].is_null(), "{key}: {first}");
    }
    assert_eq!(first["status"], "falsified");
    assert!(first["max_deviation"].as_f64().unwrap() < 1e-4);
    let fall = result["before"]["test_accuracy"].as_f64().unwrap() - result["after"]["test_accuracy"].as_f64().unwrap();
    assert!(fall < 0.1, "{fall}");
    assert_eq!(result["after"]["certified"][0]["samples"], 5);
    let names = ["network.onnx", "start.onnx", "evaluation.json", "weights.safetensors", "model_i1x8x8_l12_o4.pt"];
    names.iter().for_each(|name| assert!(place(&result, name).is_file(), "{name}"));

    // Another command of ours says the same of the written network, and otherwise of the one before.
    let image = place(&result, "reference_01.npy");
    let class = result["classes"][0].as_u64().unwrap().to_string();
    for (network, expected) in [("network.onnx", "verified"), ("start.onnx", "falsified")] {
        let network = place(&result, network);
        let question = ["ssim", "--network", text(&network), "--image", text(&image), "--class", &class];
        let (_, answer) = run_json(&[&question[..], &["--threshold", "0.97"]].concat());
        assert_eq!(answer["verdict"], expected, "{answer}");
    }
    let certificates = result["certificates"].as_array().unwrap();
    assert_eq!(certificates.len(), 3);
    let network = place(&result, "network.onnx");
    let similar = certificates[0].as_str().unwrap();
    let about = ["--network", text(&network), "--image", text(&image), "--class", &class, "--threshold", "0.97"];
    let checked = run(&[&["check", similar], &about[..]].concat());
    assert_eq!(checked.status, 0, "{}{}", checked.stdout, checked.stderr);
    for (certificate, number) in certificates[1..].iter().zip([2, 3]) {
        let property = place(&result, &format!("requirement_{number:02}.vnnlib"));
        let checked =
            run(&["check", certificate.as_str().unwrap(), "--network", text(&network), "--property", text(&property)]);
        assert_eq!(checked.status, 0, "{}{}", checked.stdout, checked.stderr);
    }

    // Counterexamples are what they say: similar, and of another class before the repair.
    let found: Vec<&Value> = result["counterexamples"].as_array().unwrap().iter().collect();
    let of_images: Vec<_> = found.iter().filter(|found| found["requirement"] == 1).collect();
    assert!(!of_images.is_empty());
    let reference = Image::read_npy(&image).unwrap();
    let repaired = onnx::read(&network).unwrap();
    let class: usize = class.parse().unwrap();
    for found in of_images {
        let number = found["number"].as_u64().unwrap();
        let image = Image::read_npy(&place(&result, &format!("counterexamples/{number:04}.npy"))).unwrap();
        assert!(place(&result, &format!("counterexamples/{number:04}.png")).is_file());
        let similarity = Similarity::Global.lower_bound([1, 8, 8], image.pixels(), reference.pixels()).unwrap();
        assert!(similarity >= 0.97, "{similarity}");
        let output = repaired.evaluate::<f64>(image.pixels()).unwrap();
        assert!((0..4).all(|k| k == class || output[class] > output[k]), "{output:?}");
    }

    // The same seed, the same weights; and no run overwrites another.
    let (_, second) = run_json(&["run", text(&job), "--seed", "1"]);
    assert_ne!(result["folder"], second["folder"]);
    let [a, b] = [&result, &second].map(|result| fs::read(place(result, "network.onnx")).unwrap());
    assert_eq!(a, b);
}

#[test]
fn a_run_that_was_cut_short_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), |_| {});
    let (status, cut) = run_json(&["repair", text(&job), "--rounds", "0", "--seed", "1"]);
    assert_eq!((status, &cut["verdict"], &cut["reason"]), (1, &"falsified".into(), &"round limit".into()), "{cut}");
    let root = cut["folder"].as_str().unwrap();
    let known = cut["counterexamples"].as_array().unwrap().len();
    let (status, rest) = run_json(&["repair", "--resume", root, "--rounds", "20"]);
    assert_eq!((status, &rest["verdict"]), (0, &"repaired".into()), "{rest}");
    assert_eq!((rest["folder"].as_str().unwrap(), &rest["seed"]), (root, &1.into()));
    assert!(rest["counterexamples"].as_array().unwrap().len() >= known && known > 0);
}

#[test]
fn a_network_that_holds_already_and_a_property_file() {
    let folder = tempfile::tempdir().unwrap();
    // Digits are eight by eight, as the shapes are: what they are trained on does not matter where nothing is changed.
    let job = job(folder.path(), |job| {
        job["start"] = json!({ "onnx": root().join("examples/networks/digits_dense.onnx") });
        job["requirements"] =
            json!([{ "property": root().join("examples/properties/digits_dense_0_eps_0.076.vnnlib") }]);
        job["certify"] = json!({});
    });
    let (status, result) = run_json(&["repair", text(&job)]);
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{result}");
    assert_eq!(result["iterations"].as_object().unwrap().len(), 1);
    assert_eq!(result["certificates"].as_array().unwrap().len(), 1);
}

/// What is expected in the message, and the edit of a job that causes it.
type Mistake = (&'static str, Box<dyn FnOnce(&mut Value)>);

#[test]
fn what_cannot_be_repaired_is_said_before_training_begins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let similar = |key: &'static str, value: Value| -> Box<dyn FnOnce(&mut Value)> {
        Box::new(move |job: &mut Value| job["requirements"][0]["similar"][key] = value)
    };
    let cases: [Mistake; 11] = [
        ("--out", Box::new(|job| job["out"] = "file/runs".into())),
        ("train-images-idx3-ubyte", Box::new(|job| job["data"]["source"] = json!({ "mnist": "nowhere" }))),
        ("nothing to be proved", Box::new(|job| job["requirements"] = json!([]))),
        ("'threshold' is in (0, 1]", similar("threshold", 1.5.into())),
        ("there are 100", similar("image", json!({ "test_sample": 100 }))),
        ("its class is missing", similar("image", json!({ "file": root().join("examples/images/digit_0.png") }))),
        ("unknown field `treshold`", similar("treshold", 1.into())),
        ("'lr' is a positive number", Box::new(|job| job["tuning"]["lr"] = 0.into())),
        ("'accuracy_loss' is a share", Box::new(|job| job["limits"] = json!({ "accuracy_loss": 2 }))),
        ("leaves the image", Box::new(|job| job["requirements"][1]["patch"]["corner"] = json!([7, 7]))),
        ("there is no such property", Box::new(|job| job["requirements"] = json!([{ "property": "none.vnnlib" }]))),
    ];
    for (expected, change) in cases {
        let run = run(&["repair", text(&job(folder.path(), change))]);
        assert_eq!(run.status, 2, "{expected}: {}", run.stdout);
        assert!(run.stderr.contains(expected), "{expected}: {}", run.stderr);
    }
    assert!(!folder.path().join("runs").exists(), "a run that cannot begin leaves no folder");
    let train = root().join("configs/train/shapes.json");
    assert!(run(&["repair", text(&train)]).stderr.contains("no job of repair"));
    let empty = tempfile::tempdir().unwrap();
    assert!(run(&["repair", "--resume", text(empty.path())]).stderr.contains("job.json"));
    assert_eq!(run(&["repair"]).status, 2);
}

#[test]
fn a_peers_parameters_are_repaired_as_they_are() {
    let Some(data) = reference() else { return };
    let folder = tempfile::tempdir().unwrap();
    let params = data.join("ssim/peer/params_mnist.json");
    let (datasets, image) = (data.join("datasets"), data.join("ssim/peer/ri/mnist/2.png"));
    let arguments = ["repair", text(&params), "--data", text(&datasets), "--image", text(&image), "--json", "-"];
    let run = || Run::of(diadem(&arguments).current_dir(folder.path()));
    let first = run();
    assert_eq!(first.status, 0, "{}", first.stderr);
    assert!(first.stderr.contains("not used: minlp.tolerance"), "{}", first.stderr);
    let result: Value = serde_json::from_str(&first.stdout).unwrap();
    // The glyph is none of the classes: it is itself the first counterexample.
    assert_eq!(result["verdict"], "repaired");
    assert_eq!(result["counterexamples"][0]["similarity"], 1.0);
    let fall = result["before"]["test_accuracy"].as_f64().unwrap() - result["after"]["test_accuracy"].as_f64().unwrap();
    assert!(fall < 0.02, "{fall}");
    // `load_model`: the trained weights are found again.
    assert!(folder.path().join("data/models/mnist/model_i1x4x4_l6-6-6_o5.pt").is_file());
    let second: Value = serde_json::from_str(&run().stdout).unwrap();
    assert!(second["training_s"].as_f64() < result["training_s"].as_f64());
    assert_eq!(second["after"]["test_accuracy"], result["after"]["test_accuracy"]);
}
