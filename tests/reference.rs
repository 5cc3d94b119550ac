//! Verdicts on published instances, where the reference data are.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use network::instances::{self, Instance};

use crate::support::{reference, run, text};

/// Runs instances; returns (name, verdict, expected verdict).
fn decide(chosen: &[Instance], timeout_s: &str) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let (list, results) = (folder.path().join("list.csv"), folder.path().join("results.csv"));
    let mut rows = String::from("onnx,vnnlib,timeout,expected\n");
    for instance in chosen {
        let expected = column(instance, "expected");
        writeln!(rows, "\"{}\",\"{}\",60,{expected}", instance.onnx.display(), instance.vnnlib.display()).unwrap();
    }
    fs::write(&list, rows).unwrap();
    let run = run(&["verify", "--instances", text(&list), "--results", text(&results), "--timeout-s", timeout_s]);
    assert_eq!(run.status, 0, "{}{}", run.stdout, run.stderr);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    instances::read(&results)
        .unwrap()
        .iter()
        .map(|row| {
            let expected = match column(row, "expected") {
                "sat" => "falsified",
                "unsat" => "verified",
                _ => "unknown",
            };
            (format!("{} {}", name(&row.onnx), name(&row.vnnlib)), column(row, "verdict").into(), expected.into())
        })
        .collect()
}

fn column<'a>(instance: &'a Instance, name: &str) -> &'a str {
    instance.extra.iter().find(|(column, _)| column == name).map_or("", |(_, value)| value)
}

fn list(data: &Path, benchmark: &str) -> Vec<Instance> {
    instances::read(&data.join("vnncomp").join(benchmark).join("instances.csv")).unwrap()
}

#[test]
fn the_test_instances_get_their_published_verdicts() {
    let Some(data) = reference() else { return };
    let decided = decide(&list(&data, "test"), "60");
    assert_eq!(decided.len(), 5);
    for (name, verdict, expected) in decided {
        assert_eq!(verdict, expected, "{name}");
    }
}

#[test]
fn quick_published_instances_are_never_contradicted() {
    let Some(data) = reference() else { return };
    // The quickest of some ACAS Xu properties, some of either verdict, and of reinforcement learning.
    let mut chosen = Vec::new();
    for (benchmark, part, verdict, n) in [
        ("acasxu", "prop_3", "unsat", 2),
        ("acasxu", "prop_4", "unsat", 2),
        ("acasxu", "prop_2", "sat", 2),
        ("rl_benchmarks", "cartpole", "unsat", 2),
        ("rl_benchmarks", "cartpole", "sat", 1),
        ("rl_benchmarks", "lunarlander", "unsat", 2),
        ("rl_benchmarks", "lunarlander", "sat", 1),
        ("rl_benchmarks", "dubinsrejoin", "sat", 2),
    ] {
        let mut fitting: Vec<Instance> = list(&data, benchmark)
            .into_iter()
            .filter(|row| row.vnnlib_as_written.contains(part) && column(row, "expected") == verdict)
            .collect();
        let time = |row: &Instance| column(row, "best_time_s").parse().unwrap_or(f64::INFINITY);
        fitting.sort_by(|a, b| f64::total_cmp(&time(a), &time(b)));
        chosen.extend(fitting.into_iter().take(n));
    }
    assert!(chosen.len() >= 12, "{} instances", chosen.len());
    let mut verdicts = BTreeMap::new();
    for (name, verdict, expected) in decide(&chosen, "20") {
        assert!(verdict == expected || verdict == "unknown", "{name}: {verdict}, published {expected}");
        *verdicts.entry(verdict).or_insert(0) += 1;
    }
    assert!(verdicts.get("unknown").copied().unwrap_or(0) * 2 < chosen.len(), "{verdicts:?}");
}

#[test]
fn a_network_that_declares_too_high_a_rank_is_read_as_the_box_means_it() {
    let Some(data) = reference() else { return };
    let network = data.join("preimage/models/auto_park_20.onnx");
    let folder = tempfile::tempdir().unwrap();
    let region = folder.path().join("box.json");
    fs::write(&region, r#"{"lower": [0, 0], "upper": [1, 1]}"#).unwrap();
    let run = run(&["bounds", "--network", text(&network), "--box", text(&region), "--json", "-"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    // It declares an input of [batch, 2, 2] and computes on pairs.
    assert_eq!(result["lower"].as_array().unwrap().len(), 4);
}
