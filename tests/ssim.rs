use std::fs;
use std::path::{Path, PathBuf};

use network::ssim::Similarity;
use network::{Image, Network, onnx};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, diadem, example, numbers, reference, root, run, run_json, text};

const DENSE: &str = "examples/networks/digits_dense.onnx";
const THREE: &str = "examples/images/digit_3.png";

/// The question whether images this similar to a digit keep its class.
fn digit<'a>(image: &'a str, class: &'a str, threshold: &'a str) -> [&'a str; 9] {
    ["ssim", "--network", DENSE, "--image", image, "--class", class, "--threshold", threshold]
}

fn dense() -> Network {
    onnx::read(&root().join(DENSE)).unwrap()
}

/// Checks a counterexample as somebody would who trusts nothing but the network and the formula.
fn check_counterexample(found: &Value, network: &Network, reference: &Image, class: usize, threshold: f64) {
    let image = Image::new(reference.shape(), numbers(&found["image"])).unwrap();
    let similarity = Similarity::Global;
    let (x, r, shape) = (image.pixels(), reference.pixels(), image.shape());
    assert!(similarity.lower_bound(shape, x, r).unwrap() >= threshold);
    assert_eq!(found["ssim"].as_f64().unwrap(), similarity.value(shape, x, r).unwrap());
    let output = network.evaluate::<f64>(x).unwrap();
    assert_eq!(output, numbers(&found["output"]));
    let predicted = found["predicted"].as_u64().unwrap() as usize;
    assert!(predicted != class && output[predicted] > output[class], "{output:?}");
    assert!(output[predicted] - output[class] >= found["margin"].as_f64().unwrap());
}

fn image_json(image: &Image) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reference.json");
    fs::write(&path, image.to_json()).unwrap();
    (folder, path)
}

#[test]
fn images_that_are_similar_enough_keep_their_class() {
    let (status, result) = run_json(&digit("examples/images/digit_0.png", "0", "0.99"));
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{result}");
    assert_eq!(
        (&result["job"], &result["threshold"], &result["similarity"]),
        (&"ssim".into(), &json!(0.99), &"global".into())
    );
    assert!(result["counterexample"].is_null() && result["lower_bound"].as_f64().unwrap() > 0.0, "{result}");
}

#[test]
fn a_counterexample_is_similar_and_of_another_class() {
    let folder = tempfile::tempdir().unwrap();
    let [exact, drawn] = ["found.npy", "pictures"].map(|name| folder.path().join(name));
    let task =
        [&digit(THREE, "3", "0.6")[..], &["--counterexample", text(&exact), "--pictures", text(&drawn)]].concat();
    let (status, result) = run_json(&task);
    assert_eq!((status, &result["verdict"]), (1, &"falsified".into()), "{result}");
    let three = Image::from_8_bit([1, 8, 8], &digit_bytes(3)).unwrap();
    check_counterexample(&result["counterexample"], &dense(), &three, 3, 0.6);
    let written = Image::read_npy(&exact).unwrap();
    assert_eq!(written.pixels(), numbers(&result["counterexample"]["image"]));
    // Four panels of 8 × 8 pixels, each a square of 28, with spaces of 12.
    let png = fs::read(drawn.join("digit_3.png")).unwrap();
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((&png[..8], side(16), side(20)), (&b"\x89PNG\r\n\x1a\n"[..], 4 * 224 + 5 * 12, 224 + 2 * 12));
    let svg = fs::read_to_string(drawn.join("digit_3.svg")).unwrap();
    assert_eq!(svg.matches("<image ").count(), 4);
    for label in [">reference<", ">class ", ">difference, ±", ">local SSIM, "] {
        assert!(svg.contains(label), "{label}");
    }
    let said = run(&task).stdout;
    assert!(
        said.starts_with("falsified  ") && said.contains("SSIM 0.") && said.contains("counterexample written to"),
        "{said}"
    );
}

/// An example digit as its PNG has it.
fn digit_bytes(label: u64) -> Vec<u8> {
    let images: Value =
        serde_json::from_str(&fs::read_to_string(example("networks/digits_images.json")).unwrap()).unwrap();
    let place = images["labels"].as_array().unwrap().iter().position(|found| *found == label).unwrap();
    numbers(&images["images"][place]).iter().map(|pixel| (pixel * 255.0).round() as u8).collect()
}

#[test]
fn a_counterexample_may_have_to_survive_being_saved() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("found.png");
    let task = [&digit(THREE, "3", "0.6")[..], &["--png-safe", "--counterexample", text(&saved)]].concat();
    let (status, result) = run_json(&task);
    assert_eq!((status, &result["verdict"]), (1, &"falsified".into()), "{result}");
    let three = Image::from_8_bit([1, 8, 8], &digit_bytes(3)).unwrap();
    let image = Image::new([1, 8, 8], numbers(&result["counterexample"]["image"])).unwrap();
    let rounded = image.rounded_to_8_bit();
    assert!(Similarity::Global.lower_bound([1, 8, 8], rounded.pixels(), three.pixels()).unwrap() >= 0.6);
    let output = dense().evaluate::<f64>(rounded.pixels()).unwrap();
    assert!(output.iter().any(|other| *other > output[3]), "{output:?}");
    // The file is that image: asked as a reference, it is misclassified at once.
    let (status, result) = run_json(&digit(text(&saved), "3", "0.99"));
    assert_eq!((status, &result["reason"]), (1, &"misclassified reference".into()));
    assert_eq!(numbers(&result["counterexample"]["image"]), rounded.pixels());
}

#[test]
fn a_misclassified_reference_is_said_at_once() {
    let (status, result) = run_json(&digit(THREE, "7", "0.99"));
    assert_eq!((status, &result["verdict"]), (1, &"falsified".into()));
    assert_eq!((&result["reason"], &result["subdomains"]), (&"misclassified reference".into(), &json!(0)));
    let found = &result["counterexample"];
    assert_eq!((&found["predicted"], &found["ssim"]), (&json!(3), &json!(1.0)));
    let said = run(&digit(THREE, "7", "0.99")).stdout;
    assert!(said.contains("the reference itself is class 3, not 7"), "{said}");
}

#[test]
fn a_constant_reference_is_legal() {
    let gray = Image::new([1, 8, 8], vec![0.5; 64]).unwrap();
    let output = dense().evaluate::<f64>(gray.pixels()).unwrap();
    let class = (0..10).max_by(|&a, &b| output[a].total_cmp(&output[b])).unwrap().to_string();
    let (_folder, path) = image_json(&gray);
    let (status, result) = run_json(&digit(text(&path), &class, "0.9999"));
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{result}");
}

#[test]
fn the_smallest_verified_threshold_is_found_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let search =
        ["ssim", "--network", DENSE, "--image", THREE, "--class", "3", "--find-threshold", "--tolerance", "0.01"];
    let (status, result) = run_json(&[&search[..], &["--pictures", text(folder.path())]].concat());
    assert_eq!((status, &result["reached"]), (0, &json!(true)), "{result}");
    let [verified, falsified] = ["verified_threshold", "falsified_threshold"].map(|key| result[key].as_f64().unwrap());
    assert!(falsified < verified && verified - falsified <= 0.01, "{falsified} {verified}");
    let three = Image::from_8_bit([1, 8, 8], &digit_bytes(3)).unwrap();
    check_counterexample(&result["counterexample"], &dense(), &three, 3, falsified);
    // What was found stands on its own; a search for one more image at the very edge may fail.
    let alone = |threshold: f64| run(&digit(THREE, "3", &threshold.to_string())).status;
    assert_eq!([alone(verified), alone(falsified - 1e-3)], [0, 1]);
    assert!(fs::read_to_string(folder.path().join("thresholds.svg")).unwrap().contains(">digit_3<"));
    assert!(folder.path().join("digit_3.png").exists());
}

#[test]
fn several_references_stream_and_end_in_a_table() {
    let job = root().join("configs/ssim/digits.json");
    let said = run(&["ssim", text(&job)]);
    assert_eq!(said.status, 0, "{}", said.stderr);
    let lines: Vec<&str> = said.stdout.lines().collect();
    assert!(lines[0].trim_start().starts_with("[1/7] ") && lines[0].contains("digit_0"), "{}", said.stdout);
    assert!(said.stdout.contains("threshold  verified  falsified") && lines.last().unwrap().contains(" 0 error;"));
    let (status, result) = run_json(&["run", text(&job)]);
    assert_eq!((status, result["rows"].as_array().unwrap().len()), (0, 7));
    // One of them by its name.
    let (_, result) = run_json(&["ssim", text(&job), "--id", "digit_4"]);
    assert_eq!((result["rows"].as_array().unwrap().len(), &result["rows"][0]["class"]), (1, &json!(4)));
    let said = run(&["ssim", text(&job), "--id", "digit_5"]);
    assert!(said.status == 2 && said.stderr.contains("no reference 'digit_5'"), "{}", said.stderr);
}

#[test]
fn one_bad_reference_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.json");
    let three = json!({ "image": root().join(THREE), "class": 3 });
    let images = json!([{ "image": "no_such.png", "class": 3 }, { "image": root().join(THREE), "class": 12 }, three]);
    let network = root().join(DENSE);
    fs::write(&job, json!({ "job": "ssim", "network": network, "threshold": 0.999, "images": images }).to_string())
        .unwrap();
    let (status, result) = run_json(&["ssim", text(&job)]);
    assert_eq!((status, &result["error"], &result["verified"]), (2, &json!(2), &json!(1)), "{result}");
    let messages = [0, 1].map(|row: usize| result["rows"][row]["message"].as_str().unwrap().to_owned());
    assert!(messages[0].contains("no_such.png: there is no such image"), "{}", messages[0]);
    assert!(messages[1].contains("class 12: the network has the classes 0 to 9"), "{}", messages[1]);
}

#[test]
fn images_of_another_size_are_resized_only_when_the_job_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let large = folder.path().join("large.json");
    // Each pixel twice as high and wide: resampled, nearly the digit again.
    let small = digit_bytes(3);
    let pixels: Vec<u8> = (0..256).map(|p| small[p / 32 * 8 + p % 16 / 2]).collect();
    fs::write(&large, Image::from_8_bit([1, 16, 16], &pixels).unwrap().to_json()).unwrap();
    let said = run(&digit(text(&large), "3", "0.99"));
    let expected = "large.json: the image is 1×16×16 (channels × height × width), but the network takes";
    assert!(said.status == 2 && said.stderr.contains(expected) && said.stderr.contains("dimension"), "{}", said.stderr);
    let job = folder.path().join("job.json");
    let fields = |dimension: [usize; 3]| json!({ "job": "ssim", "network": root().join(DENSE), "image": "large.json", "class": 3, "threshold": 0.9999, "dimension": dimension });
    fs::write(&job, fields([1, 8, 8]).to_string()).unwrap();
    let (status, result) = run_json(&["run", text(&job)]);
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{result}");
    fs::write(&job, fields([3, 8, 8]).to_string()).unwrap();
    let said = run(&["run", text(&job)]);
    assert!(said.stderr.contains("the image has 1 channels, but `dimension` asks for 3"), "{}", said.stderr);
}

#[test]
fn bad_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let bright = write("bright.json", br#"{"shape": [1, 1, 2], "pixels": [0.5, 255]}"#);
    let broken = write("broken.png", b"\x89PNG\r\n\x1a\nnothing");
    let unknown = write("image.tiff", b"II");
    let array = write("array.npy", b"\x93NUMPY\x01\x00");
    let out = text(&folder.path().join("found.txt")).to_owned();
    for (extra, expected) in [
        (vec!["--image", THREE, "--class", "3", "--threshold", "0"], "expected a number in (0, 1], got 0"),
        (vec!["--image", THREE, "--class", "3", "--threshold", "1.5"], "expected a number in (0, 1], got 1.5"),
        (vec!["--image", THREE, "--class", "3", "--threshold", "NaN"], "expected a number in (0, 1], got NaN"),
        (vec!["--image", THREE, "--class", "3"], "needs a threshold"),
        (vec!["--image", THREE, "--threshold", "0.9"], "needs the class"),
        (vec!["--image", THREE, "--class", "10", "--threshold", "0.9"], "class 10: the network has the classes 0 to 9"),
        (vec!["--class", "3", "--threshold", "0.9"], "either an image"),
        (
            vec!["--image", &bright, "--class", "3", "--threshold", "0.9"],
            "bright.json: pixel 1 is 255: expected a number in [0, 1]",
        ),
        (vec!["--image", &broken, "--class", "3", "--threshold", "0.9"], "broken.png: this is no PNG or JPEG"),
        (
            vec!["--image", &unknown, "--class", "3", "--threshold", "0.9"],
            "image.tiff: expected an image by its extension",
        ),
        (vec!["--image", &array, "--class", "3", "--threshold", "0.9"], "array.npy: the file ends inside its header"),
        (vec!["--image", "none.png", "--class", "3", "--threshold", "0.9"], "none.png: there is no such image"),
        (
            vec!["--image", THREE, "--class", "3", "--threshold", "0.9", "--similarity", "windowed"],
            "needs images of 11×11 pixels or more, got 8×8",
        ),
        (
            vec!["--image", THREE, "--class", "3", "--threshold", "0.9", "--counterexample", &out],
            "written as .npy, .json or .png",
        ),
        (
            vec!["--image", THREE, "--class", "3", "--find-threshold", "--tolerance", "0"],
            "expected a number in (0, 1), got 0",
        ),
    ] {
        let said = run(&[&["ssim", "--network", DENSE][..], &extra].concat());
        assert_eq!((said.status, said.stdout.as_str()), (2, ""), "{extra:?}");
        assert!(said.stderr.contains(expected), "{extra:?}: {}", said.stderr);
    }
}

#[test]
fn files_that_are_no_ssim_job_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.json");
    for (content, expected) in [
        ("{}", "expected a job (\"job\": \"ssim\"), a list of problems"),
        ("[", "expected a job or a list of problems"),
        (r#"{"job": "bounds", "network": "n", "box": "b"}"#, "a job of another kind"),
        (r#"{"job": "ssim", "network": "n", "pixels": []}"#, "unknown field `pixels`"),
        (
            r#"{"job": "ssim", "network": "n", "image": "i.png", "class": 0, "threshold": 2}"#,
            "expected a number in (0, 1], got 2",
        ),
        (
            r#"{"job": "ssim", "network": "n", "image": "i.png", "class": 0, "images": [{"image": "j", "class": 1}]}"#,
            "either an image",
        ),
        (
            r#"{"problems": [{"shape": [1, 1, 1], "reference": [0.5], "class": 0, "threshold": 0.9}]}"#,
            "needs a network",
        ),
        (r#"{"problems": [{"shape": [1, 1], "reference": [0.5], "class": 0}]}"#, "job.json"),
        (r#"{"minlp": {"threshold": 0.9}}"#, "expected parameters of semantic-robustness-verification"),
    ] {
        fs::write(&job, content).unwrap();
        let said = run(&["ssim", text(&job)]);
        assert_eq!(said.status, 2, "{content}");
        assert!(said.stderr.contains(expected), "{content}: {}", said.stderr);
    }
}

/// A copy of a parameter file of the peer, changed, with the reference image where it says.
fn peer_job(data: &Path, change: impl Fn(&mut Value)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut fields: Value =
        serde_json::from_str(&fs::read_to_string(data.join("ssim/peer/params_mnist.json")).unwrap()).unwrap();
    change(&mut fields);
    let image = folder.path().join(fields["ri"]["path"].as_str().unwrap());
    fs::create_dir_all(image.parent().unwrap()).unwrap();
    fs::copy(data.join("ssim/peer/ri/mnist").join(image.file_name().unwrap()), image).unwrap();
    let job = folder.path().join("params.json");
    fs::write(&job, fields.to_string()).unwrap();
    (folder, job)
}

#[test]
fn parameter_files_of_the_peer_are_understood() {
    let Some(data) = reference() else { return };
    let (folder, job) = peer_job(&data, |fields| {
        fields["ri"] = json!({ "path": "./data/ri/mnist/3.png", "class_idx": 1 });
        fields["minlp"]["threshold"] = json!(0.99);
    });
    let models = folder.path().join("data/models/mnist");
    fs::create_dir_all(&models).unwrap();
    let said = run(&["ssim", text(&job)]);
    assert!(
        said.status == 2 && said.stderr.contains("model_i1x4x4_l6-6-6_o5.onnx: there is no such network"),
        "{}",
        said.stderr
    );
    fs::copy(data.join("ssim/m4_666/model.pt"), models.join("model_i1x4x4_l6-6-6_o5.pt")).unwrap();
    let said = run(&["ssim", text(&job)]);
    assert!(said.status == 2 && said.stderr.contains("only the PyTorch model"), "{}", said.stderr);
    fs::copy(data.join("ssim/m4_666/model.onnx"), models.join("model_i1x4x4_l6-6-6_o5.onnx")).unwrap();
    // The image is resized as the peer resizes it: the verdict at this threshold is the peer's.
    let (status, result) = run_json(&["ssim", text(&job)]);
    assert_eq!((status, &result["verdict"]), (0, &"verified".into()), "{result}");
    let said = run(&["ssim", text(&job)]);
    for key in ["path", "model.dataset", "model.epochs", "minlp.tolerance", "repair.lr"] {
        assert!(said.stderr.contains(key), "{key}: {}", said.stderr);
    }
    assert!(!said.stderr.contains("minlp.threshold") && !said.stderr.contains("ri.class_idx"), "{}", said.stderr);
    // Options go before the file.
    let network = data.join("ssim/m6_666/model.onnx");
    let said = run(&["ssim", text(&job), "--network", text(&network), "-q"]);
    assert!(
        said.status == 2 && said.stderr.contains("the image is 1×4×4") && !said.stderr.contains("note:"),
        "{}",
        said.stderr
    );
    let (_folder, job) = peer_job(&data, |fields| fields["minlp"]["distance"] = json!("l2"));
    assert!(run(&["ssim", text(&job)]).stderr.contains("minlp.distance: expected \"ssim\", got \"l2\""));
}

#[test]
fn resized_references_are_the_peers_own() {
    let Some(data) = reference() else { return };
    let problems: Value = serde_json::from_str(&fs::read_to_string(data.join("ssim/problems.json")).unwrap()).unwrap();
    for (id, side) in [("m4_666-ref3_tau0.99", 4), ("m6_666-ref3_tau0.99", 6), ("m8_666-ref3_tau0.99", 8)] {
        let problem = problems["problems"].as_array().unwrap().iter().find(|problem| problem["id"] == id).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let job = folder.path().join("job.json");
        // Asked for another class, the reference comes back as it was read.
        let fields = json!({
            "job": "ssim", "network": data.join("ssim").join(problem["network"].as_str().unwrap()),
            "image": data.join("ssim/peer/ri/mnist/3.png"), "class": 0, "threshold": 1.0, "dimension": [1, side, side],
        });
        fs::write(&job, fields.to_string()).unwrap();
        let (_, result) = run_json(&["run", text(&job)]);
        assert_eq!(numbers(&result["counterexample"]["image"]), numbers(&problem["reference"]), "{id}");
    }
}

#[test]
fn verdicts_are_those_of_the_peer() {
    let Some(data) = reference() else { return };
    let path = data.join("ssim/problems.json");
    let problems: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let mut n = 0;
    for problem in problems["problems"].as_array().unwrap() {
        let expected = match problem["peer"]["verdict"].as_str() {
            Some("verified") => "verified",
            Some("counterexample") => "falsified",
            _ => continue,
        };
        let id = problem["id"].as_str().unwrap();
        // The peer counts a tie as a counterexample.
        let mut command = diadem(&["ssim", text(&path), "--id", id, "--ties", "--json", "-"]);
        let result: Value = serde_json::from_str(&Run::of(&mut command).stdout).unwrap();
        assert_eq!(result["rows"][0]["verdict"], expected, "{id}: {result}");
        n += 1;
    }
    assert!(n >= 8, "{n}");
}
