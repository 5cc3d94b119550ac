//! What goes wrong around the program: it is killed, the disk is full, nothing can be written, memory is short, files are damaged.
//! Each ends in a clear error or a clean continuation, and nothing that was reported as done is lost.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::{Run, example, robustness, root, run, text};

/// A folder with a list of `n` quick rows in it.
fn list(n: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (network, folder_of) = (example("networks/parking.onnx"), example("properties"));
    let rows = (0..n).map(|k| {
        let property = folder_of.join(["parking_clear.vnnlib", "parking_corner.vnnlib"][k % 2]);
        format!("{},{}\n", text(&network), text(&property))
    });
    fs::write(folder.path().join("list.csv"), rows.collect::<String>()).unwrap();
    folder
}

/// The arguments of a list run.
fn arguments(folder: &Path, results: &Path) -> Vec<String> {
    let list = folder.join("list.csv");
    ["verify", "--instances", text(&list), "--results", text(results)].map(str::to_owned).to_vec()
}

fn spawn(arguments: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_diadem"))
        .env("NO_COLOR", "1")
        .current_dir(root())
        .args(["--device", "host"])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs the program under limits of the shell's `ulimit`, with these arguments.
fn limited(limits: &str, arguments: &[&str]) -> std::process::Output {
    Command::new("bash")
        .args(["-c", &format!("trap '' XFSZ; {limits}; exec \"$@\""), "bash", env!("CARGO_BIN_EXE_diadem")])
        .args(arguments)
        .env("DIADEM_DEVICE", "host")
        .env("NO_COLOR", "1")
        .env("RAYON_NUM_THREADS", "2")
        .current_dir(root())
        .output()
        .unwrap()
}

fn question(network: &str, property: &str) -> [PathBuf; 2] {
    [example(&format!("networks/{network}.onnx")), example(&format!("properties/{property}.vnnlib"))]
}

fn rows(results: &Path) -> Vec<String> {
    fs::read_to_string(results).unwrap().lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn a_list_run_that_is_killed_keeps_every_row_that_it_reported() {
    const N: usize = 60;
    let folder = list(N);
    let results = folder.path().join("results.csv");
    let arguments = arguments(folder.path(), &results);
    let (mut n_reported, mut n_kills) = (0, 0);
    // Killed again and again, each time after a few more rows.
    for n_rows in [1, 2, 5, 13] {
        let mut child = spawn(&arguments);
        let reported = BufReader::new(child.stdout.take().unwrap()).lines().take(n_rows).map_while(Result::ok).count();
        child.kill().unwrap();
        child.wait().unwrap();
        n_reported += reported;
        n_kills += 1;
        let text = fs::read_to_string(&results).unwrap();
        let n_whole = text.matches('\n').count() - 1;
        assert!(n_whole >= n_reported, "{n_reported} rows were reported, {n_whole} are in the file");
    }
    let Run { status, stdout, stderr } = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(status, 0, "{stderr}");
    assert!(n_kills == 4 && stdout.contains("of them by an earlier run"), "{stdout}");
    let rows = rows(&results);
    assert_eq!(rows.len(), N);
    assert_eq!(rows.iter().filter(|row| row.contains("parking_clear.vnnlib,verified,")).count(), N / 2);
    assert_eq!(rows.iter().filter(|row| row.contains("parking_corner.vnnlib,falsified,")).count(), N / 2);
}

#[test]
fn a_run_that_is_killed_while_it_writes_a_certificate_leaves_none() {
    let folder = tempfile::tempdir().unwrap();
    let (out, partial) = (folder.path().join("c"), folder.path().join("c.partial"));
    let network = example("networks/digits_conv.onnx");
    let property = folder.path().join("hard.vnnlib");
    robustness(0, 0.06, &property);
    let question = ["--network", text(&network), "--property", text(&property)];
    let arguments = [&["verify", "--certificate", text(&out)], &question[..]].concat();
    let mut child = spawn(&arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>());
    let start = Instant::now();
    // Something of it must be there.
    while !fs::metadata(&partial).is_ok_and(|file| file.len() > 0) {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing is ever written");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!out.exists(), "a certificate that is not whole has the name of a whole one");
    let Run { status, stderr, .. } = run(&[&["check", text(&partial)], &question[..]].concat());
    assert_eq!(status, 2, "{stderr}");
    // What was left does not stand in the way.
    let [network, property] = self::question("parking", "parking_clear");
    let question = ["--network", text(&network), "--property", text(&property)];
    assert_eq!(run(&[&["verify", "--certificate", text(&out)], &question[..]].concat()).status, 0);
    assert_eq!(run(&[&["check", text(&out)], &question[..]].concat()).status, 0);
    assert!(!partial.exists());
}

#[test]
fn a_disk_that_is_full_loses_no_row_that_was_reported() {
    let folder = list(40);
    let results = folder.path().join("results.csv");
    let arguments = arguments(folder.path(), &results);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Files end at 1024 bytes: in the middle of a row.
    let output = limited("ulimit -f 1", &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("results.csv: cannot be written"));
    let n_reported = String::from_utf8_lossy(&output.stdout).lines().count();
    let n_whole = fs::read_to_string(&results).unwrap().matches('\n').count() - 1;
    assert!(n_reported > 0 && n_whole >= n_reported, "{n_reported} reported, {n_whole} kept");
    let Run { status, stdout, .. } = run(&arguments);
    assert_eq!(status, 0);
    assert!(stdout.contains(&format!("{n_whole} of them by an earlier run")), "{stdout}");
    assert_eq!(rows(&results).len(), 40);
}

#[test]
fn results_that_cannot_be_written_are_an_error_that_keeps_the_verdict() {
    let [network, corner] = question("parking", "parking_corner");
    let question = ["verify", "--network", text(&network), "--property", text(&corner)];
    for (option, expected) in [("--counterexample", "the property is falsified, but"), ("--json", "cannot be written")]
    {
        for nowhere in ["/dev/full", "/proc/diadem", "no such folder/file"] {
            let Run { status, stderr, .. } = run(&[&question[..], &[option, nowhere]].concat());
            assert_eq!(status, 2, "{option} {nowhere}");
            assert!(stderr.contains(expected) && stderr.contains(nowhere), "{stderr}");
            assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        }
    }
    let folder = list(2);
    for nowhere in ["/dev/full", "/proc/diadem", "no such folder/file"] {
        let arguments = arguments(folder.path(), Path::new(nowhere));
        let Run { status, stdout, stderr } = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(status, 2, "{nowhere}");
        assert!(stdout.is_empty() && stderr.contains(nowhere), "{stdout}{stderr}");
    }
}

#[test]
fn memory_that_is_short_never_gives_a_wrong_verdict() {
    let mut ends = Vec::new();
    for (network, property, verdict) in
        [("digits_dense", "digits_dense_0_eps_0.076", 0), ("digits_dense", "digits_dense_0_eps_0.090", 1)]
    {
        let [network, property] = question(network, property);
        // Below this the program is not even loaded.
        for kilobytes in [40_000, 60_000, 80_000, 4_000_000] {
            let arguments = ["verify", "--network", text(&network), "--property", text(&property)];
            let output = limited(&format!("ulimit -v {kilobytes}"), &arguments);
            let stderr = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                Some(code) if code == verdict || code == 3 => {}
                // Not even loaded, out of threads or memory (said so), or ended by the allocator.
                Some(2 | 127) | None => {
                    assert!(!stderr.is_empty(), "{kilobytes} kB: {:?} without a word", output.status);
                    assert!(output.stdout.is_empty(), "{kilobytes} kB: {}", String::from_utf8_lossy(&output.stdout));
                }
                other => panic!("{kilobytes} kB: {other:?} instead of {verdict}: {stderr}"),
            }
            ends.push(output.status.code());
        }
    }
    assert!(ends.contains(&Some(0)) && ends.contains(&Some(1)), "{ends:?}");
}

#[test]
fn a_results_file_that_is_damaged_is_named_and_not_touched() {
    let folder = list(3);
    let results = folder.path().join("results.csv");
    let arguments = arguments(folder.path(), &results);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    assert_eq!(run(&arguments).status, 0);
    let good = fs::read_to_string(&results).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    for (damaged, expected) in [
        (good.replacen(",verified,", ",verif,", 1), "results.csv:2: the row has no verdict"),
        (good.replacen(lines[2], "\0\0\0\0\0\0\0\0", 1), "results.csv:3: expected"),
        (good.replacen(lines[0], "\"", 1), "results.csv"),
        ("precious notes without an end of line".into(), "not results of this list"),
    ] {
        fs::write(&results, &damaged).unwrap();
        let Run { status, stderr, stdout } = run(&arguments);
        assert_eq!((status, stdout.as_str()), (2, ""), "{damaged}");
        assert!(stderr.contains(expected), "{expected}: {stderr}");
        assert_eq!(fs::read_to_string(&results).unwrap(), damaged);
    }
    // A last row that was cut is done again.
    fs::write(&results, &good[..good.len() - 9]).unwrap();
    let Run { status, stdout, .. } = run(&arguments);
    assert!(status == 0 && stdout.contains("2 of them by an earlier run"), "{stdout}");
    assert_eq!(rows(&results).len(), 3);
}
