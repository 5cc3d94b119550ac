use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use network::{Image, onnx};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
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

/// Says loudly that a test was skipped; where this variable is set, that is a failure.
fn skipped(variable: &str, why: &str) {
    assert!(std::env::var_os(variable).is_none(), "{variable} is set, but: {why}");
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
    assert_eq!(page.matches("<figcaption>").count(), 3 * 3, "an image, a map and the worst patch of each");
    assert_eq!(page.matches("<tr>").count(), 2 + 3 + 147);
    // Nothing is fetched from anywhere: no address is named, and the browser is told to allow none.
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'; img-src data:;"));
    for address in ["http:", "https:", "src=\"/", "url(", "@import", "<link"] {
        assert!(!page.contains(address), "{address}");
    }
    for picture in page.split("src=\"").skip(1) {
        assert!(picture.starts_with("data:image/png;base64,"));
    }
}

#[test]
fn the_report_sorts_and_filters_in_a_browser() {
    let Some(browser) = browser() else {
        return skipped("DIADEM_REQUIRE_BROWSER", "no Chromium: the report was not opened (CHROMIUM names one)");
    };
    let job = Job::digits();
    let [store, html, shot] = ["store", "report.html", "report.png"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &store, &[]).status, 0);
    assert_eq!(job.sweep("report", &store, &["--html", text(&html)]).status, 0);
    let opened = |fragment: &str, more: &[&str]| {
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(&browser);
        // Nothing of its own may ask the network for anything, nor wait for it.
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--disable-dev-shm-usage", "--window-size=1200,1600", "--virtual-time-budget=5000"]);
        command.arg(format!("--user-data-dir={}", text(profile.path()))).args(more);
        command.arg(format!("file://{}{fragment}", html.display()));
        let output = command.output().expect("the browser starts");
        let dom = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{fragment}: {}", String::from_utf8_lossy(&output.stderr));
        dom
    };
    let dump = |fragment: &str| opened(fragment, &["--dump-dom"]);
    let dom = dump("");
    assert!(dom.contains("data-ready=\"true\""), "its script did not run: {dom}");
    // Every row of the placements, cell by cell.
    let rows = |dom: &str, table: &str| -> Vec<Vec<String>> {
        let body = dom.split(&format!("<table id=\"{table}\">")).nth(1).unwrap().split("</tbody>").next().unwrap();
        let cells = |row: &str| {
            let texts = row.split("<td").skip(1).map(|cell| &cell[cell.find('>').unwrap() + 1..]);
            texts.map(|cell| cell[..cell.find('<').unwrap()].to_owned()).collect()
        };
        body.split("<tr").skip(2).map(cells).collect()
    };
    let column = |dom: &str, table: &str, k: usize| -> Vec<String> {
        rows(dom, table).into_iter().map(|row| row[k].clone()).collect()
    };
    // By class, rising; then, by a second click, falling.
    assert_eq!(column(&dump("#sort=images,1"), "images", 1), ["0", "3", "4"]);
    assert_eq!(column(&dump("#sort=images,1,1"), "images", 1), ["4", "3", "0"]);
    // By their margins, as numbers; rows without one come last, either way.
    for (fragment, is_rising) in [("#sort=placements,6", true), ("#sort=placements,6,6", false)] {
        let dom = dump(fragment);
        let direction = if is_rising { "ascending" } else { "descending" };
        assert!(dom.contains(&format!("aria-sort=\"{direction}\"><button>margin")), "{fragment}");
        let margins = column(&dom, "placements", 6);
        let n = margins.iter().take_while(|margin| !margin.is_empty()).count();
        assert!(n == 10 && margins[n..].iter().all(String::is_empty), "{margins:?}");
        let mut numbers: Vec<f64> = margins[..n].iter().map(|margin| margin.parse().unwrap()).collect();
        if !is_rising {
            numbers.reverse();
        }
        assert!(numbers.is_sorted(), "{fragment}: {margins:?}");
    }
    let filtered = dump("#only=falsified%20digit_3");
    assert_eq!(filtered.matches("hidden=\"\"").count(), 147 - 6);
    assert!(filtered.contains("<output>6 of 147</output>"));
    // What a person sees: a page with the colours of both verdicts.
    opened("", &[&format!("--screenshot={}", text(&shot))]);
    let seen = image::open(&shot).unwrap().to_rgb8();
    assert_eq!(seen.dimensions(), (1200, 1600));
    let n_of = |colour: [u8; 3]| seen.pixels().filter(|pixel| pixel.0 == colour).count();
    for colour in [[0x4f, 0x99, 0xc7], [0xc9, 0x47, 0x41]] {
        assert!(n_of(colour) > 200, "{colour:?}: {}", n_of(colour));
    }
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

/// A Python that has a module of `configs/sweep/requirements.txt`, or `None` (said loudly).
fn python(module: &str) -> Option<OsString> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", &format!("import {module}")]).stderr(Stdio::null()).status();
    if has.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    let why = format!("no Python with {module} (configs/sweep/requirements.txt; PYTHON names another python3)");
    skipped("DIADEM_REQUIRE_PYTHON", &why);
    None
}

#[test]
fn shards_run_on_hyperqueue() {
    let Some(python) = python("hyperqueue") else { return };
    let job = Job::digits();
    let [whole, store] = ["whole", "store"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    for _ in 0..2 {
        // The second time nothing is left to do.
        let mut script = assert_cmd::Command::new(&python);
        script.arg(root().join("configs/sweep/hq_array.py")).args([text(&job.path), text(&store), "3", "--local"]);
        script.env("DIADEM", env!("CARGO_BIN_EXE_diadem")).env("DIADEM_DEVICE", "host");
        let ran = Run::of(script.current_dir(job.folder.path()).timeout(Duration::from_secs(120)));
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("147 placements known"), "{}", ran.stdout);
        assert_eq!(job.table(&store), job.table(&whole));
    }
    for shard in 1..=3 {
        let said = fs::read_to_string(store.join(format!("shard-{shard}.out"))).unwrap();
        assert!(said.contains("0 placements in this run"), "{said}");
    }
}

#[test]
fn a_slurm_array_is_shards_of_the_same_kind() {
    let script = root().join("configs/sweep/slurm.sh");
    let is_right = Command::new("bash").arg("-n").arg(&script).status().unwrap();
    assert!(is_right.success(), "bash cannot read it");
    let job = Job::digits();
    let [whole, store] = ["whole", "store"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    let ask = |arguments: &[&str], i: &str| {
        let mut command = assert_cmd::Command::new(&script);
        command.args(arguments).env("DIADEM", env!("CARGO_BIN_EXE_diadem")).env("DIADEM_DEVICE", "host");
        Run::of(command.env("SLURM_ARRAY_TASK_ID", i).env("SLURM_ARRAY_TASK_COUNT", "3"))
    };
    for i in ["1", "2", "3"] {
        assert_eq!(ask(&[text(&job.path), text(&store)], i).status, 0);
    }
    assert_eq!(job.table(&store), job.table(&whole));
    let lacking = ask(&[text(&job.path)], "1");
    assert!(lacking.status == 2 && lacking.stderr.contains("usage: sbatch --array=1-N"), "{}", lacking.stderr);
}

#[cfg(unix)]
#[test]
fn a_kubernetes_job_is_shards_of_the_same_kind() {
    let Some(python) = python("yaml") else { return };
    let script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut command = assert_cmd::Command::new(&python);
    let read = Run::of(command.args(["-c", script]).arg(root().join("configs/sweep/kubernetes.yaml")));
    assert_eq!(read.status, 0, "{}", read.stderr);
    let file: Value = serde_json::from_str(&read.stdout).unwrap();
    assert_eq!((&file["kind"], &file["apiVersion"]), (&"Job".into(), &"batch/v1".into()));
    let (spec, pod) = (&file["spec"], &file["spec"]["template"]["spec"]);
    assert_eq!((&spec["completionMode"], &pod["restartPolicy"]), (&"Indexed".into(), &"Never".into()));
    let container = &pod["containers"][0];
    let shards = &container["env"][0];
    assert_eq!(shards, &json!({ "name": "SHARDS", "value": spec["completions"].to_string() }));
    assert_eq!(container["volumeMounts"][0], json!({ "name": pod["volumes"][0]["name"], "mountPath": "/sweep" }));
    // What its containers run, three of them, in a folder instead of a volume.
    let job = Job::digits();
    let [whole, bin] = ["whole", "bin"].map(|name| job.store(name));
    assert_eq!(job.sweep("run", &whole, &[]).status, 0);
    fs::create_dir_all(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_diadem"), bin.join("diadem")).unwrap();
    let words = |key: &str| -> Vec<String> {
        let words = container[key].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
        words.map(|word| word.replace("/sweep/", &format!("{}/", text(job.folder.path())))).collect()
    };
    let [command, arguments] = ["command", "args"].map(words);
    for index in ["0", "1", "2"] {
        let mut pod = assert_cmd::Command::new(&command[0]);
        pod.args(&command[1..]).args(&arguments).env("JOB_COMPLETION_INDEX", index).env("SHARDS", "3");
        pod.env("DIADEM_DEVICE", "host").env("PATH", format!("{}:/usr/bin:/bin", text(&bin)));
        let ran = Run::of(&mut pod);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
    }
    assert_eq!(job.table(&job.store("store")), job.table(&whole));
}

/// Rewrites the lines of a log, their checksums as well.
fn rewritten(path: &Path, change: impl Fn(&mut Value)) {
    let mut lines = String::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let [_, key, record] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut record: Value = serde_json::from_str(record).unwrap();
        change(&mut record);
        let body = format!("{key} {record}");
        let digest = Sha256::digest(body.as_bytes());
        let sum = digest[..4].iter().fold(String::new(), |sum, byte| sum + &format!("{byte:02x}"));
        writeln!(lines, "{sum} {body}").unwrap();
    }
    fs::write(path, lines).unwrap();
}

#[test]
fn what_one_shard_spent_is_not_taken_from_another() {
    let image = json!([{ "image": example("images/digit_3.png"), "class": 3 }]);
    let job = Job::new(&json!({ "images": image, "size": [3, 3], "image_timeout_s": 1000, "max_subdomains": 1 }));
    let store = job.store("store");
    assert_eq!(job.sweep("run", &store, &["--shard", "1/2"]).status, 0);
    // Far more than the image may take.
    rewritten(&store.join("results-1-of-2.log"), |record| record["time_s"] = 1e6.into());
    assert_eq!(job.sweep("run", &store, &["--shard", "2/2"]).status, 0);
    let table = job.table(&store);
    assert!(table.contains(",unknown,subdomain limit,") && !table.contains("time limit"), "{table}");
    // One run over all goes on with what all have spent.
    let reasons = |store: &Path, shard: &[&str]| {
        assert_eq!(job.sweep("run", store, shard).status, 0);
        job.table(store).matches("time limit").count()
    };
    fs::remove_file(store.join("results-2-of-2.log")).unwrap();
    assert!(reasons(&store, &[]) > 0);
}

#[test]
fn what_makes_no_sense_is_said() {
    let image = |class: u64| json!([{ "image": example("images/digit_3.png"), "class": class }]);
    let folder = tempfile::tempdir().unwrap();
    let mask = folder.path().join("mask.json");
    fs::write(&mask, json!({ "shape": [1, 4, 4], "pixels": vec![1.0; 16] }).to_string()).unwrap();
    let patches = |patch: Value| json!({ "images": image(3), "size": null, "patches": [patch] });
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
        (json!({ "images": image(3), "channels": [5] }), "channel 5 of an image with 1: channels count from 0"),
        (json!({ "images": image(3), "epsilon": 0 }), "epsilon is 0: expected a positive number"),
        (json!({ "images": image(3), "contents": { "free": [1, 0] } }), "is [1, 0]: expected two numbers, the lower"),
        (
            json!({ "images": image(3), "contents": { "blend": { "colour": [1], "amount": [0, 1.5] } } }),
            "the amount of a blend is [0, 1.5]: expected a part of [0, 1]",
        ),
        (
            json!({ "images": image(3), "contents": { "blend": { "overlay": mask, "amount": [0, 1] } } }),
            "the overlay has shape 1 × 4 × 4, the image 1 × 8 × 8",
        ),
        (patches(json!({})), "one needs a rectangle, a mask, a polygon or a stroke"),
        (patches(json!({ "rectangle": [1, 1], "polygon": [[0, 0], [0, 4], [4, 0]] })), "expected one of them"),
        (patches(json!({ "rectangle": [1, 1], "stride": 1, "at": [[0, 0]] })), "one has a stride and places (`at`)"),
        (patches(json!({ "rectangle": [1, 1], "stride": 0 })), "the stride of patch 1 is zero"),
        (patches(json!({ "rectangle": [1, 1], "at": [] })), "patch 1 has no position"),
        (patches(json!({ "polygon": [[0, 0], [1, 1]] })), "a polygon has at least three corners, got 2"),
        (patches(json!({ "stroke": { "points": [[20, 20]], "width": 1 } })), "covers no pixel of the image"),
        (
            json!({ "images": image(3), "normalisation": { "mean": [0.5], "deviation": [0] } }),
            "a deviation of the normalisation is 0: expected a positive number",
        ),
        (json!({ "images": [image(3)[0], image(3)[0]] }), "two images are called 'digit_3'"),
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
