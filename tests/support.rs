//! What the tests share.

use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// The project's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the examples.
pub fn example(path: &str) -> PathBuf {
    root().join("examples").join(path)
}

/// A tiny input.
pub fn data(path: &str) -> PathBuf {
    root().join("tests/data").join(path)
}

/// The program, on the host, without colours, in the project's folder.
pub fn diadem(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diadem"));
    command.env("DIADEM_DEVICE", "host").env("NO_COLOR", "1").current_dir(root()).args(arguments);
    command
}

/// What a run left behind.
pub struct Run {
    /// Exit status.
    pub status: i32,
    /// What it said to people or programs.
    pub stdout: String,
    /// What it said about itself.
    pub stderr: String,
}

/// Runs the program.
pub fn run(arguments: &[&str]) -> Run {
    Run::of(&mut diadem(arguments))
}

/// Runs the program with its result as JSON.
pub fn run_json(arguments: &[&str]) -> (i32, Value) {
    let Run { status, stdout, stderr } = run(&[arguments, &["--json", "-"]].concat());
    let value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}\n{stderr}"));
    (status, value)
}

impl Run {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().expect("the program starts");
        Self {
            status: output.status.code().expect("the program ends by itself"),
            stdout: String::from_utf8(output.stdout).expect("it speaks UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("it speaks UTF-8"),
        }
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test paths are UTF-8")
}

/// The numbers of a JSON array.
pub fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("an array").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// Writes the property that every image within `epsilon` of an example digit stays that digit.
pub fn robustness(image: usize, epsilon: f64, path: &Path) {
    let images: Value =
        serde_json::from_str(&fs::read_to_string(example("networks/digits_images.json")).unwrap()).unwrap();
    let (pixels, label) = (numbers(&images["images"][image]), images["labels"][image].as_u64().unwrap());
    let mut text = String::new();
    for i in 0..pixels.len() {
        writeln!(text, "(declare-const X_{i} Real)").unwrap();
    }
    for k in 0..10 {
        writeln!(text, "(declare-const Y_{k} Real)").unwrap();
    }
    for (i, pixel) in pixels.iter().enumerate() {
        let (low, high) = ((pixel - epsilon).max(0.0), (pixel + epsilon).min(1.0));
        writeln!(text, "(assert (>= X_{i} {low}))\n(assert (<= X_{i} {high}))").unwrap();
    }
    let others: Vec<String> = (0..10).filter(|k| *k != label).map(|k| format!("(and (>= Y_{k} Y_{label}))")).collect();
    writeln!(text, "(assert (or {}))", others.join(" ")).unwrap();
    fs::write(path, text).unwrap();
}

/// The reference data, or `None` (said loudly) where they are not.
pub fn reference() -> Option<PathBuf> {
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    if folder.join("vnncomp").is_dir() {
        return Some(folder.canonicalize().unwrap());
    }
    // Straight to the terminal: the test harness hides what passing tests print.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no reference data at {}; set DIADEM_DATA to the folder that has them",
        folder.display()
    );
    None
}
