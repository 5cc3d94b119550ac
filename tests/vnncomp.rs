//! The scripts of `configs/vnncomp`, as a competition calls them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use network::{onnx, vnnlib};
use tempfile::TempDir;

use crate::support::{Run, example, robustness, root, text};

/// A folder for one instance after another, from which the scripts run.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new("bash");
        command
            .arg(root().join("configs/vnncomp").join(name))
            .args(arguments)
            .env("DIADEM", env!("CARGO_BIN_EXE_diadem"))
            .env("DIADEM_DEVICE", "host")
            .env("DIADEM_STATE", self.path("state"))
            .current_dir(self.folder.path());
        command
    }

    fn script(&self, name: &str, arguments: &[&str]) -> Run {
        Run::of(&mut Command::from_std(self.command(name, arguments)))
    }

    /// Prepares and runs; returns the status of either, and the results.
    fn decide(&self, network: &Path, property: &Path, timeout: &str) -> (i32, i32, String) {
        let (network, property) = (text(network), text(property));
        let prepare = self.script("prepare_instance.sh", &["v1", "examples", network, property]);
        let run = self.script("run_instance.sh", &["v1", "examples", network, property, "results.txt", timeout]);
        assert_eq!(fs::read_dir(self.path("state")).unwrap().count(), 0, "a mark is left");
        (prepare.status, run.status, fs::read_to_string(self.path("results.txt")).unwrap())
    }
}

#[test]
fn a_sat_instance_gives_its_counterexample() {
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_corner.vnnlib"));
    let (prepared, status, results) = Place::new().decide(&network, &property, "60");
    assert_eq!((prepared, status), (0, 0));
    let assignments = results.strip_prefix("sat\n(").expect("the verdict, then a list").trim_end();
    let values = |letter: char| -> Vec<f64> {
        let lines = assignments.strip_suffix(')').unwrap().lines().map(|line| line.trim().trim_matches(['(', ')']));
        let found = lines.filter_map(|line| line.strip_prefix(letter)?.split_once(' '));
        found
            .enumerate()
            .map(|(i, (index, value))| {
                assert_eq!(index, format!("_{i}"));
                value.parse().unwrap()
            })
            .collect()
    };
    let (inputs, outputs) = (values('X'), values('Y'));
    assert_eq!((inputs.len(), outputs.len()), (2, 4));
    let property = vnnlib::read(&property).unwrap();
    let evaluated = onnx::read(&network).unwrap().evaluate(&inputs).unwrap();
    assert!(outputs.iter().zip(&evaluated).all(|(y, expected)| (y - expected).abs() < 1e-6));
    assert!(property.violated_at(&inputs, &outputs).is_some());
}

#[test]
fn an_unsat_instance_says_nothing_else() {
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    assert_eq!(Place::new().decide(&network, &property, "60"), (0, 0, "unsat\n".into()));
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let place = Place::new();
    let property = example("properties/parking_clear.vnnlib");
    let (prepared, status, results) = place.decide(&place.path("missing.onnx"), &property, "60");
    assert_eq!((prepared, status, results.as_str()), (2, 0, "error\n"));
    fs::write(place.path("bad.vnnlib"), "(declare-const X_0 Real\n").unwrap();
    let (prepared, status, results) = place.decide(&example("networks/parking.onnx"), &place.path("bad.vnnlib"), "60");
    assert_eq!((prepared, status, results.as_str()), (2, 0, "error\n"));
    let (_, _, results) = place.decide(&example("networks/parking.onnx"), &property, "soon");
    assert_eq!(results, "error\n");
}

#[test]
fn a_timeout_is_told_from_unknown() {
    let place = Place::new();
    robustness(0, 0.06, &place.path("hard.vnnlib"));
    let (prepared, status, results) =
        place.decide(&example("networks/digits_conv.onnx"), &place.path("hard.vnnlib"), "0.3");
    assert_eq!((prepared, status, results.as_str()), (0, 0, "timeout\n"));
}

#[test]
fn files_may_lie_there_compressed() {
    let place = Place::new();
    for (from, to) in [("networks/parking.onnx", "n.onnx.gz"), ("properties/parking_clear.vnnlib", "p.vnnlib.gz")] {
        let compressed = Command::new("gzip").arg("-c").arg(example(from)).output().unwrap();
        fs::write(place.path(to), compressed.stdout).unwrap();
    }
    assert_eq!(place.decide(&place.path("n.onnx"), &place.path("p.vnnlib"), "60"), (0, 0, "unsat\n".into()));
}

#[test]
fn a_run_that_is_ended_leaves_a_timeout_and_nothing_that_runs() {
    let place = Place::new();
    let (network, property) = (example("networks/digits_conv.onnx"), place.path("hard.vnnlib"));
    robustness(0, 0.06, &property);
    let start = Instant::now();
    // `-KILL` leaves the search running, for prepare_instance.sh to end; `-TERM` takes it along.
    for signal in ["-KILL", "-TERM"] {
        let arguments = ["v1", "examples", text(&network), text(&property), "results.txt", "600"];
        let mut child = place.command("run_instance.sh", &arguments).stdout(Stdio::null()).spawn().unwrap();
        let mark = loop {
            assert!(start.elapsed() < Duration::from_secs(60), "no mark");
            std::thread::sleep(Duration::from_millis(20));
            let marks = fs::read_dir(place.path("state")).into_iter().flatten().map(|entry| entry.unwrap().path());
            if let Some(mark) =
                marks.into_iter().find(|mark| fs::read_to_string(mark).is_ok_and(|text| !text.is_empty()))
            {
                break mark;
            }
        };
        let pid = mark.file_stem().unwrap().to_str().unwrap();
        assert!(is_running(pid));
        Command::new("kill").args([signal, &child.id().to_string()]).assert().success();
        child.wait().unwrap();
        assert_eq!(is_running(pid), signal == "-KILL");
        assert_eq!(fs::read_to_string(place.path("results.txt")).unwrap(), "timeout\n");
        let prepare = ["v1", "examples", text(&network), text(&property)];
        assert_eq!(place.script("prepare_instance.sh", &prepare).status, 0);
        assert!(!mark.exists());
        while is_running(pid) {
            assert!(start.elapsed() < Duration::from_secs(60), "{pid} goes on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether a process exists and is no mere entry that nobody has collected yet.
fn is_running(pid: &str) -> bool {
    let output = std::process::Command::new("ps").args(["-o", "stat=", "-p", pid]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

#[test]
fn a_mark_of_another_process_ends_nothing() {
    let place = Place::new();
    fs::create_dir(place.path("state")).unwrap();
    let own = std::process::id();
    let mark = place.path("state").join(format!("{own}.pid"));
    fs::write(&mark, "Thu Jan  1 00:00:00 1970\n").unwrap();
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    assert_eq!(place.script("prepare_instance.sh", &["v1", "examples", text(&network), text(&property)]).status, 0);
    assert!(!mark.exists());
}

#[test]
fn another_version_is_refused() {
    for name in ["install_tool.sh", "prepare_instance.sh", "run_instance.sh"] {
        let run = Place::new().script(name, &["v2"]);
        assert_eq!(run.status, 2);
        assert!(run.stderr.starts_with(&format!("usage: {name} v1")), "{}", run.stderr);
    }
}
