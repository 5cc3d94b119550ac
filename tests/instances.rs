use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::support::{Run, diadem, example, robustness, run, run_json, text};

/// A folder with a list in it.
struct List {
    folder: TempDir,
}

impl List {
    fn new(content: &str) -> Self {
        let list = Self { folder: tempfile::tempdir().unwrap() };
        for name in ["parking.onnx", "digits_conv.onnx"] {
            fs::copy(example("networks").join(name), list.path(name)).unwrap();
        }
        for name in ["parking_clear.vnnlib", "parking_corner.vnnlib"] {
            fs::copy(example("properties").join(name), list.path(name)).unwrap();
        }
        fs::write(list.path("list.csv"), content).unwrap();
        list
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, more: &[&str]) -> Run {
        let (list, results) = (self.path("list.csv"), self.path("results.csv"));
        run(&[&["verify", "--instances", text(&list), "--results", text(&results)], more].concat())
    }

    /// Onnx, vnnlib and verdict of every row of the results.
    fn results(&self) -> Vec<[String; 3]> {
        rows(&self.path("results.csv"))
    }
}

fn rows(path: &Path) -> Vec<[String; 3]> {
    let text = fs::read_to_string(path).unwrap();
    let cells = |line: &str| line.split(',').take(3).map(str::to_owned).collect::<Vec<_>>().try_into().unwrap();
    text.lines().skip(1).map(cells).collect()
}

const CLEAR: &str = "parking.onnx,parking_clear.vnnlib";
const CORNER: &str = "parking.onnx,parking_corner.vnnlib";

#[test]
fn every_row_is_decided_and_extra_columns_are_kept() {
    let list =
        List::new(&format!("onnx,vnnlib,timeout,expected,verdict\n{CLEAR},60,unsat,old\n{CORNER},60,sat,\"o,l\"\n"));
    let run = list.run(&[]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let text = fs::read_to_string(list.path("results.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("onnx,vnnlib,verdict,time_s,subdomains,"));
    assert!(lines[0].ends_with(",expected,list_verdict"), "{}", lines[0]);
    assert!(lines[1].starts_with(&format!("{CLEAR},verified,")) && lines[1].ends_with(",unsat,old"), "{}", lines[1]);
    assert!(
        lines[2].starts_with(&format!("{CORNER},falsified,")) && lines[2].ends_with(",sat,\"o,l\""),
        "{}",
        lines[2]
    );
    assert!(run.stdout.contains("1 verified, 1 falsified, 0 unknown, 0 error"), "{}", run.stdout);
}

#[test]
fn a_list_needs_no_header_and_no_results_file() {
    let list = List::new(&format!("{CLEAR},60\n{CORNER}\n"));
    let (status, result) = run_json(&["verify", "--instances", text(&list.path("list.csv"))]);
    assert_eq!(status, 0);
    assert_eq!((&result["verified"], &result["falsified"]), (&1.into(), &1.into()));
    assert!(result["rows"][1]["counterexample"]["margin"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_row_that_fails_says_so_and_the_rest_runs() {
    let list = List::new(&format!("{CLEAR}\nmissing.onnx,parking_clear.vnnlib\nparking.onnx,bad.vnnlib\n{CORNER}\n"));
    fs::write(list.path("bad.vnnlib"), "(declare-const X_0 Real\n").unwrap();
    let run = list.run(&[]);
    assert_eq!(run.status, 2);
    let verdicts: Vec<String> = list.results().into_iter().map(|[_, _, verdict]| verdict).collect();
    assert_eq!(verdicts, ["verified", "error", "error", "falsified"]);
    let text = fs::read_to_string(list.path("results.csv")).unwrap();
    assert!(text.contains("missing.onnx: there is no such network"), "{text}");
    assert!(text.contains("bad.vnnlib:1: unbalanced parentheses"), "{text}");
    assert!(run.stdout.contains("1 verified, 1 falsified, 0 unknown, 2 error"));
}

#[test]
fn a_rerun_resumes_after_a_line_that_was_cut() {
    let list = List::new(&format!("{CLEAR}\n{CORNER}\n{CLEAR}\n"));
    assert_eq!(list.run(&[]).status, 0);
    let whole = fs::read_to_string(list.path("results.csv")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    // The first row bears a mark, so that doing it again would show; the second is cut in half.
    let kept = lines[1].replace("verified", "unknown");
    fs::write(list.path("results.csv"), format!("{}\n{kept}\n{}", lines[0], &lines[2][..20])).unwrap();
    let run = list.run(&[]);
    assert_eq!(run.status, 0);
    assert!(run.stdout.contains("1 of them by an earlier run"), "{}", run.stdout);
    let verdicts: Vec<String> = list.results().into_iter().map(|[_, _, verdict]| verdict).collect();
    assert_eq!(verdicts, ["unknown", "falsified", "verified"]);
    let before = fs::read_to_string(list.path("results.csv")).unwrap();
    assert!(list.run(&[]).stdout.contains("3 of them by an earlier run"));
    assert_eq!(fs::read_to_string(list.path("results.csv")).unwrap(), before);
}

#[test]
fn results_of_something_else_are_not_overwritten() {
    let list = List::new(&format!("{CLEAR}\n"));
    fs::write(list.path("results.csv"), "precious,data\n1,2\n").unwrap();
    let run = list.run(&[]);
    assert_eq!(run.status, 2);
    assert!(run.stderr.contains("not results of this list"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(list.path("results.csv")).unwrap(), "precious,data\n1,2\n");
}

#[test]
fn the_timeout_is_the_smaller_of_row_and_option() {
    let list = List::new("digits_conv.onnx,hard.vnnlib,0.2\ndigits_conv.onnx,hard.vnnlib,60\n");
    robustness(0, 0.06, &list.path("hard.vnnlib"));
    let start = std::time::Instant::now();
    assert_eq!(list.run(&["--timeout-s", "0.5"]).status, 0);
    assert!(start.elapsed().as_secs() < 30);
    assert!(list.results().iter().all(|[_, _, verdict]| verdict == "unknown"));
    assert!(fs::read_to_string(list.path("results.csv")).unwrap().contains("time limit"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_is_done_and_a_rerun_goes_on() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let list = List::new(&format!("{CORNER}\ndigits_conv.onnx,hard.vnnlib,600\n{CLEAR}\n"));
    robustness(0, 0.06, &list.path("hard.vnnlib"));
    let (instances, results) = (list.path("list.csv"), list.path("results.csv"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_diadem"))
        .args(["--device", "host", "verify", "--instances", text(&instances), "--results", text(&results)])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    let is_row_written = || fs::read_to_string(&results).is_ok_and(|text| text.lines().count() == 2);
    while !is_row_written() {
        assert!(start.elapsed() < Duration::from_secs(60), "the first row is never written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert_eq!(list.results().len(), 1);
    // Quick this time: the rows left are done, the first is not done again.
    let run = Run::of(
        diadem(&["verify", "--instances", text(&instances), "--results", text(&results)]).args(["--timeout-s", "1"]),
    );
    assert_eq!(run.status, 0, "{}", run.stderr);
    let verdicts: Vec<String> = list.results().into_iter().map(|[_, _, verdict]| verdict).collect();
    assert_eq!(verdicts, ["falsified", "unknown", "verified"]);
}
