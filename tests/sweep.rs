use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use network::{Image, onnx};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Run, diadem, example, numbers, root, run, run_json, text};

const NETWORK: &str = "examples/networks/digits_conv.onnx";
const THREE: &str = "examples/images/digit_3.png";

/// A job about example digits, in a folder of its own.
struct Job {
    folder: TempDir,
    path: PathBuf,
}

impl Job {
    fn new(fields: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.json");
        let mut job = json!({ "job": "patch", "network": example("networks/digits_conv.onnx"), "size": [2, 2], "max_subdomains": 300 });
        for (key, value) in fields.as_object().unwrap() {
            job[key] = value.clone();
        }
        fs::write(&path, job.to_string()).unwrap();
        Self { folder, path }
    }

    /// Three digits, 147 placements.
    fn digits() -> Self {
        let image = |file: &str, class: u64| json!({ "image": example(file), "class": class });
        let images = [image("images/digit_0.png", 0), image("images/digit_3.png", 3), image("images/digit_4.npy", 4)];
        Self::new(&json!({ "images": images }))
    }

    fn store(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sweep(&self, command: &str, store: &Path, more: &[&str]) -> Run {
        run(&[&["sweep", command, text(&self.path), "--store", text(store)], more].concat())
    }

    /// Every placement as a line, without times.
    fn table(&self, store: &Path) -> String {
        let csv = self.store("table.csv");
        let run = self.sweep("report", store, &["--csv", text(&csv)]);
        assert!(run.status == 0 || run.status == 3, "{}", run.stderr);
        fs::read_to_string(csv).unwrap()
    }
}

/// The network's input of a counterexample.
fn input(found: &Value, image: &Image) -> Vec<f64> {
    let mut input = image.pixels().to_vec();
    for pair in found["inputs"].as_array().unwrap() {
        input[pair[0].as_u64().unwrap() as usize] = f64::from(pair[1].as_f64().unwrap() as f32);
    }
    input
}

/// Says loudly that a test was skipped; `DIADEM_REQUIRE_SWEEP` makes that a failure.
fn skipped(why: &str) {
    assert!(std::env::var_os("DIADEM_REQUIRE_SWEEP").is_none(), "DIADEM_REQUIRE_SWEEP is set, but: {why}");
    // Straight to the terminal: the test harness hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

#[test]
fn counterexamples_are_on_the_patch_and_change_the_class() {
    let (status, result) =
        run_json(&["patch", "--network", NETWORK, "--image", THREE, "--class", "3", "--size", "2x2"]);
    assert_eq!((status, &result["verdict"], &result["job"]), (1, &"falsified".into(), &"patch".into()));
    let network = onnx::read(&root().join(NETWORK)).unwrap();
    let three = Image::from_8_bit([1, 8, 8], &gray(&root().join(THREE))).unwrap();
    let placements = result["images"][0]["placements"].as_array().unwrap();
    assert_eq!(placements.len(), 49);
    let mut counts = HashMap::<&str, usize>::new();
    for placement in placements {
        *counts.entry(placement["verdict"].as_str().unwrap()).or_default() += 1;
        let found = &placement["counterexample"];
        if found.is_null() {
            continue;
        }
        let at = numbers(&placement["at"][0]);
        let x = input(found, &three);
        for (i, (new, old)) in x.iter().zip(three.pixels()).enumerate() {
            let (row, column) = ((i / 8) as f64, (i % 8) as f64);
            let is_on = row >= at[0] && row < at[0] + 2.0 && column >= at[1] && column < at[1] + 2.0;
            assert!((is_on || new == old) && (0.0..=1.0).contains(new));
        }
        let y = network.evaluate::<f64>(&x).unwrap();
        let predicted = found["predicted"].as_u64().unwrap() as usize;
        assert!(predicted != 3 && y[predicted] - y[3] >= found["margin"].as_f64().unwrap() && y[predicted] > y[3]);
    }
    let summary = &result["summary"];
    for verdict in ["verified", "falsified"] {
        assert_eq!(summary[verdict].as_u64().unwrap() as usize, counts[verdict]);
        assert!(counts[verdict] > 0);
    }
    assert_eq!(summary["certified_accuracy"], 0.0);
    assert_eq!(summary["attack_success_rate"], 1.0);
}

/// The pixels of a gray PNG, as the program itself reads them.
fn gray(path: &Path) -> Vec<u8> {
    let images: Value =
        serde_json::from_str(&fs::read_to_string(example("networks/digits_images.json")).unwrap()).unwrap();
    let label: u64 = path.file_stem().unwrap().to_str().unwrap().trim_start_matches("digit_").parse().unwrap();
    let place = images["labels"].as_array().unwrap().iter().position(|found| *found == label).unwrap();
    numbers(&images["images"][place]).iter().map(|pixel| (pixel * 255.0).round() as u8).collect()
}

#[test]
fn a_sweep_goes_on_where_it_was_stopped() {
    let job = Job::digits();
    let [whole, parts] = ["whole", "parts"].map(|name| job.store(name));
    let first = job.sweep("run", &whole, &[]);
    assert_eq!(first.status, 0, "{}", first.stderr);
    assert!(first.stdout.contains("147 placements in this run"), "{}", first.stdout);
    let log = fs::read(whole.join("results.log")).unwrap();
    let again = job.sweep("run", &whole, &[]);
    assert!(again.stdout.contains("0 placements in this run"), "{}", again.stdout);
    assert_eq!(fs::read(whole.join("results.log")).unwrap(), log, "nothing is done twice");
    // Cut off in the middle of a line, as a full disk or a crash would.
    fs::create_dir_all(&parts).unwrap();
    fs::write(parts.join("results.log"), &log[..log.len() / 3]).unwrap();
    let status = job.sweep("status", &parts, &[]);
    assert_eq!(status.status, 3);
    assert!(status.stdout.contains("left (the same command goes on)"), "{}", status.stdout);
    assert_eq!(job.sweep("run", &parts, &[]).status, 0);
    assert_eq!(job.sweep("status", &parts, &[]).status, 0);
    assert_eq!(job.table(&parts), job.table(&whole));
}

#[test]
fn shards_merged_are_the_sweep() {
    let job = Job::digits();
    let [whole, first, second, together, merged] =
        ["whole", "first", "second", "together", "merged"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    for (shard, own) in [("1/2", &first), ("2/2", &second)] {
        assert_eq!(job.sweep("run", own, &["--shard", shard]).status, 0);
        assert_eq!(job.sweep("status", own, &["--shard", shard]).status, 0);
        assert_eq!(job.sweep("status", own, &[]).status, 3);
        // Or in one folder, each in a log of its own.
        assert_eq!(job.sweep("run", &together, &["--shard", shard]).status, 0);
    }
    assert_eq!(job.table(&together), job.table(&whole));
    for _ in 0..2 {
        let run = run(&["sweep", "merge", "--into", text(&merged), text(&first), text(&second)]);
        assert!(run.status == 0 && run.stdout.starts_with("147 placements known"), "{} {}", run.stdout, run.stderr);
        assert_eq!(job.table(&merged), job.table(&whole));
    }
    assert!(job.sweep("run", &merged, &[]).stdout.contains("0 placements in this run"));
}

/// Starts a sweep that writes results in small batches.
fn start(job: &Job, store: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diadem"));
    command.env("DIADEM_DEVICE", "host").args(["sweep", "run", text(&job.path), "--store", text(store)]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn a_kill_at_any_moment_loses_nothing_and_repeats_nothing() {
    let image = |file: &str, class: u64| json!({ "image": example(file), "class": class });
    let images = [image("images/digit_0.png", 0), image("images/digit_3.png", 3), image("images/digit_4.npy", 4)];
    let job = Job::new(&json!({ "images": images, "batch": 4 }));
    let [whole, killed] = ["whole", "killed"].map(|name| job.store(name));
    let begin = Instant::now();
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    let whole_s = begin.elapsed().as_secs_f64();
    let known = |lines: &[u8]| -> HashMap<String, Vec<String>> {
        let mut known = HashMap::<String, Vec<String>>::new();
        for line in String::from_utf8_lossy(lines).split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            let mut words = line.splitn(3, ' ');
            let (_, key, record) = (words.next(), words.next().unwrap(), words.next().unwrap());
            let record: Value = serde_json::from_str(record).unwrap();
            known.entry(key.into()).or_default().push(record["verdict"].as_str().unwrap().into());
        }
        known
    };
    let log = killed.join("results.log");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut before = HashMap::<String, Vec<String>>::new();
    for _ in 0..20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = (state >> 40) as f64 / (1_u64 << 24) as f64;
        let mut child = start(&job, &killed);
        thread::sleep(Duration::from_secs_f64(0.3 * whole_s * share));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        let after = known(&fs::read(&log).unwrap_or_default());
        for (key, verdicts) in &before {
            assert!(after.get(key).is_some_and(|now| now.starts_with(verdicts)), "{key} was lost");
        }
        before = after;
    }
    assert_eq!(job.sweep("run", &killed, &[]).status, 0);
    for (key, verdicts) in known(&fs::read(&log).unwrap()) {
        let last = verdicts.iter().filter(|verdict| *verdict != "open").count();
        assert!(last == 1 && verdicts.len() <= 2, "{key}: {verdicts:?}");
    }
    assert_eq!(job.table(&killed), job.table(&whole));
}

#[test]
fn one_writer_for_each_log() {
    let job = Job::digits();
    let store = job.store("store");
    fs::create_dir_all(&store).unwrap();
    let file = fs::File::create(store.join("results.log")).unwrap();
    file.lock().unwrap();
    let run = job.sweep("run", &store, &[]);
    assert!(run.status == 2 && run.stderr.contains("another run is writing it"), "{}", run.stderr);
    assert_eq!(job.sweep("status", &store, &[]).status, 3);
}

#[test]
fn more_effort_is_spent_only_on_what_was_left_unknown() {
    let image = json!({ "image": example("images/digit_3.png"), "class": 3 });
    let little = Job::new(&json!({ "images": [image], "size": [3, 3], "max_subdomains": 1 }));
    let store = little.store("store");
    assert_eq!(little.sweep("run", &store, &[]).status, 0);
    let unknown = little.table(&store).matches(",unknown,").count();
    let more = Job::new(&json!({ "images": [image], "size": [3, 3], "max_subdomains": 4000 }));
    let run = more.sweep("run", &store, &[]);
    assert!(run.stdout.contains(&format!("{unknown} placements in this run")), "{unknown}: {}", run.stdout);
    assert!(unknown > 0 && more.table(&store).matches(",unknown,").count() < unknown);
}

#[test]
fn a_misclassified_image_needs_no_patch() {
    let (status, result) =
        run_json(&["patch", "--network", NETWORK, "--image", THREE, "--class", "7", "--size", "2x2"]);
    assert_eq!((status, &result["summary"]["misclassified"]), (3, &1.into()));
    let said = run(&["patch", "--network", NETWORK, "--image", THREE, "--class", "7", "--size", "2x2"]).stdout;
    assert!(said.contains("digit_3 is class 3 as it is, not 7"), "{said}");
}

#[test]
fn shapes_contents_and_normalisation_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mask = folder.path().join("mask.json");
    let marked: Vec<f64> = (0..64).map(|p| f64::from(u8::from(p == 9 || p == 18))).collect();
    fs::write(&mask, json!({ "shape": [1, 8, 8], "pixels": marked }).to_string()).unwrap();
    let image = json!({ "image": example("images/digit_3.png"), "class": 3 });
    let result = |fields: Value| {
        let mut job = fields;
        job["images"] = json!([image]);
        job["size"] = Value::Null;
        let job = Job::new(&job);
        run_json(&["patch", text(&job.path)]).1
    };
    let n = |result: &Value| result["summary"]["placements"].as_u64().unwrap();
    assert_eq!(n(&result(json!({ "patches": [{ "mask": mask }] }))), 1);
    assert_eq!(n(&result(json!({ "patches": [{ "mask": mask, "stride": 2 }] }))), 16);
    let pair = json!([{ "rectangle": [1, 1], "stride": 4 }, { "rectangle": [1, 1], "at": [[0, 0], [7, 7]] }]);
    assert_eq!(n(&result(json!({ "patches": pair }))), 8);
    let stroke = json!([{ "stroke": { "points": [[1, 1], [6, 6]], "width": 1 } }]);
    let blend = json!({ "blend": { "colour": [1], "amount": [0, 1] } });
    let one =
        result(json!({ "patches": stroke, "contents": blend, "mode": "coverage", "coverage_of_falsified": true }));
    let share = &one["images"][0]["certified_share"];
    assert!(numbers(share)[0] > 0.05 && numbers(share)[0] <= numbers(share)[1], "{one}");
    let spot = json!([{ "rectangle": [1, 1], "at": [[3, 3]] }]);
    let plain = result(json!({ "patches": spot, "contents": { "near": { "epsilon": 0.25 } } }));
    assert_eq!(plain["verdict"], "verified", "{plain}");
    // Inputs that are halves of pixels are another image to the network.
    let halved = json!({ "mean": [0], "deviation": [2] });
    let halved = result(json!({ "patches": spot, "normalisation": halved }));
    assert_ne!(halved["images"][0]["placements"][0]["lower_bound"], plain["images"][0]["placements"][0]["lower_bound"]);
}

#[test]
fn pictures_and_report_show_what_was_found() {
    let job = Job::digits();
    let store = job.store("store");
    assert_eq!(job.sweep("run", &store, &[]).status, 0);
    let [html, drawn] = ["report.html", "pictures"].map(|name| job.store(name));
    let run = job.sweep("report", &store, &["--html", text(&html), "--pictures", text(&drawn)]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    for name in ["digit_0", "digit_3", "digit_4"] {
        assert_eq!(&fs::read(drawn.join(format!("{name}.png"))).unwrap()[..8], b"\x89PNG\r\n\x1a\n");
        let svg = fs::read_to_string(drawn.join(format!("{name}.svg"))).unwrap();
        assert!(svg.contains(" of 49 verified</text>") && svg.matches("<image ").count() >= 2);
    }
    let page = fs::read_to_string(&html).unwrap();
    assert_eq!(page.matches("<img ").count(), 3);
    assert_eq!(page.matches("<tr>").count(), 2 + 3 + 147);
    // Nothing is fetched from anywhere.
    for scheme in ["http:", "https:", "src=\"/", "@import", "<link"] {
        assert!(!page.contains(scheme), "{scheme}");
    }
    let Some(browser) = browser() else {
        return skipped("no Chromium: the report was not opened (CHROMIUM names one)");
    };
    let opened = |hash: &str| {
        let url = format!("file://{}{hash}", html.display());
        let mut command = Command::new(&browser);
        let profile = job.store("profile");
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]);
        command.arg(format!("--user-data-dir={}", profile.display())).arg(&url);
        let output = command.output().expect("the browser starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let dom = opened("");
    assert!(dom.contains("data-ready=\"true\""), "its script did not run: {dom}");
    // Sorted by class, rising; then, by a second click, falling.
    let order = |dom: &str| -> Vec<usize> {
        ["digit_0", "digit_3", "digit_4"].iter().map(|id| dom.find(&format!("<td>{id}</td>")).unwrap()).collect()
    };
    assert!(order(&opened("#sort=images,1")).is_sorted());
    assert!(order(&opened("#sort=images,1,1")).iter().rev().is_sorted());
}

/// A Chromium, if there is one.
fn browser() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM") {
        return Some(named.into());
    }
    ["chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell"].iter().find_map(program)
}

/// Where a program is.
fn program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name.as_ref())).find(|path| path.is_file())
}

#[test]
fn shards_run_on_hyperqueue() {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", "import hyperqueue"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        return skipped(
            "no HyperQueue (`pip install hyperqueue`; PYTHON names another python3): shards ran on no cluster",
        );
    }
    let job = Job::digits();
    let [whole, store] = ["whole", "store"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    let mut script = assert_cmd::Command::new(&python);
    script.arg(root().join("configs/sweep/hyperqueue.py")).args([text(&job.path), text(&store), "3", "--local"]);
    script.env("DIADEM", env!("CARGO_BIN_EXE_diadem")).env("DIADEM_DEVICE", "host").current_dir(job.folder.path());
    let ran = Run::of(&mut script);
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("147 placements known"), "{}", ran.stdout);
    assert_eq!(job.table(&store), job.table(&whole));
}

#[test]
fn a_slurm_array_is_shards_of_the_same_kind() {
    let job = Job::digits();
    let [whole, store] = ["whole", "store"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    for i in ["1", "2", "3"] {
        let mut script = assert_cmd::Command::new(root().join("configs/sweep/slurm.sh"));
        script.args([text(&job.path), text(&store)]).env("DIADEM", env!("CARGO_BIN_EXE_diadem"));
        script.env("DIADEM_DEVICE", "host").env("SLURM_ARRAY_TASK_ID", i).env("SLURM_ARRAY_TASK_COUNT", "3");
        assert_eq!(Run::of(&mut script).status, 0);
    }
    assert_eq!(job.table(&store), job.table(&whole));
}

#[test]
fn what_makes_no_sense_is_said() {
    let image = |class: u64| json!([{ "image": example("images/digit_3.png"), "class": class }]);
    let folder = tempfile::tempdir().unwrap();
    let mask = folder.path().join("mask.json");
    fs::write(&mask, json!({ "shape": [1, 4, 4], "pixels": vec![1.0; 16] }).to_string()).unwrap();
    for (fields, expected) in [
        (
            json!({ "images": image(3), "size": [9, 1] }),
            "patch 1 has 9 rows and 1 columns, more than the image (8 × 8)",
        ),
        (
            json!({ "images": image(3), "size": null, "patches": [{ "rectangle": [2, 2], "at": [[7, 0]] }] }),
            "patch 1 (2 × 2) at row 7, column 0 leaves the image of 8 rows and 8 columns",
        ),
        (json!({ "images": image(3), "size": null, "mask": mask }), "the mask has 4 × 4 pixels, the image 8 × 8"),
        (json!({ "images": image(12) }), "class 12 of a network with 10 outputs: classes count from 0"),
        (
            json!({ "images": image(3), "against": { "target": 10 } }),
            "the target is class 10 of a network with 10 outputs",
        ),
        (
            json!({ "images": image(3), "normalisation": { "mean": [0.1, 0.1, 0.1], "deviation": [1, 1, 1] } }),
            "the normalisation speaks of 3 channels, but the image has 1",
        ),
        (
            json!({ "images": image(3), "network": example("networks/parking.onnx") }),
            "the network's input has shape [2], which is no image of 1 × 8 × 8",
        ),
        (json!({ "images": image(3), "size": null }), "either a rectangle (--size HxW) or a mask"),
        (json!({ "size": [2, 2] }), "either an image (and its class), or a job file"),
        (json!({ "images": image(3), "epsilon": 0.1, "contents": { "colour": [0, 1] } }), "either `contents`, or"),
        (
            json!({ "images": image(3), "contents": { "blend": { "colour": [1, 1], "amount": [0, 1] } } }),
            "the colour has 2 values, the image 1 channels",
        ),
        (json!({ "images": image(3), "patchs": [] }), "unknown field `patchs`"),
    ] {
        let job = Job::new(&fields);
        let run = run(&["patch", text(&job.path)]);
        assert_eq!(run.status, 2, "{fields}: {}", run.stdout);
        assert!(run.stderr.contains(expected), "{fields}: {}", run.stderr);
    }
    let bad = |arguments: &[&str], expected: &str| {
        let run = run(arguments);
        assert!(run.status == 2 && run.stderr.contains(expected), "{arguments:?}: {}", run.stderr);
    };
    bad(&["patch", "--network", NETWORK, "--image", THREE, "--class", "3", "--size", "3"], "as in 3x3");
    bad(&["sweep", "run", "configs/patch/digits.json", "--store", "s", "--shard", "3/2"], "expected i/N");
    bad(&["sweep", "merge", "--into", text(folder.path()), "no such store"], "there is no such store");
    bad(&["sweep", "run", "configs/verify/parking_clear.json", "--store", "s"], "a job of another kind");
    // A run without a terminal says nothing to stdout but its result.
    assert!(Run::of(diadem(&["patch", "--help"]).arg("-q")).stdout.contains("--size"));
}
