use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Run, diadem, reference, root, run, run_json, text};

/// Every job of `configs/`, by kind.
fn jobs(kind: &str) -> Vec<PathBuf> {
    let mut jobs: Vec<PathBuf> =
        fs::read_dir(root().join("configs").join(kind)).unwrap().map(|entry| entry.unwrap().path()).collect();
    jobs.sort();
    assert!(!jobs.is_empty());
    jobs
}

#[test]
fn every_verify_job_reaches_a_verdict() {
    for job in jobs("verify") {
        let (status, result) = run_json(&["run", text(&job)]);
        assert!(status == 0 || status == 1, "{}: {result}", job.display());
        assert_eq!(result["job"], "verify");
        assert!(result["error"].as_u64().is_none_or(|n| n == 0));
    }
}

#[test]
fn every_bounds_job_bounds() {
    for job in jobs("bounds") {
        let (status, result) = run_json(&["run", text(&job)]);
        assert_eq!((status, &result["job"]), (0, &"bounds".into()), "{}", job.display());
    }
}

#[test]
fn every_bench_job_measures() {
    for job in jobs("bench") {
        let (status, result) = run_json(&["run", text(&job)]);
        assert_eq!((status, &result["job"]), (0, &"bench bounds".into()), "{}", job.display());
    }
}

#[test]
fn every_preimage_job_reaches_its_target() {
    for job in jobs("preimage") {
        let value: Value = serde_json::from_str(&fs::read_to_string(&job).unwrap()).unwrap();
        let problem = value["problem"].as_str().unwrap();
        // Some speak of data that are not ours: those are found by the environment, or skipped loudly.
        let is_ours = problem.starts_with("../../examples");
        let (status, result) = if is_ours {
            run_json(&["run", text(&job)])
        } else {
            let Some(data) = reference() else { continue };
            let problems = data.join("preimage/problems.json");
            let id = value["id"].as_str().unwrap();
            // A round of wide patches takes many seconds: their first polytopes are enough here.
            let most = if id.starts_with("mnist") { "1" } else { "40" };
            let few = ["--max-subdomains", most, "--search-samples", "8192", "--report-samples", "8192"];
            run_json(&[&["preimage", text(&problems), "--id", id][..], &few].concat())
        };
        assert_eq!(result["job"], "preimage");
        assert!(status == 0 || (!is_ours && status == 3), "{}: {result}", job.display());
    }
}

#[test]
fn every_ssim_job_reaches_a_verdict() {
    for job in jobs("ssim") {
        let (status, result) = run_json(&["run", text(&job)]);
        assert_eq!((status, &result["job"]), (0, &"ssim".into()), "{}: {result}", job.display());
        assert!(result["unknown"].as_u64().is_none_or(|n| n == 0), "{}: {result}", job.display());
    }
}

#[test]
fn every_patch_job_reaches_verdicts() {
    for job in jobs("patch") {
        let value: Value = serde_json::from_str(&fs::read_to_string(&job).unwrap()).unwrap();
        // Those about data sets need them; they are run by hand.
        if value.get("data").is_some() {
            let run = run(&["patch", text(&job)]);
            assert!(run.status == 2 && run.stderr.contains("data"), "{}: {}", job.display(), run.stderr);
            continue;
        }
        let (status, result) = run_json(&["run", text(&job)]);
        assert!(status < 2 && result["job"] == "patch", "{}: {result}", job.display());
        assert_eq!(result["summary"]["left"], 0);
    }
}

#[test]
fn every_job_names_its_kind_and_every_kind_has_a_schema() {
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let kind = entry.unwrap().file_name().into_string().unwrap();
        // Neither schemas nor scripts are jobs.
        if ["schema", "vnncomp", "sweep"].contains(&kind.as_str()) {
            continue;
        }
        assert!(root().join("configs/schema").join(format!("{kind}.json")).exists(), "{kind} has no schema");
        for job in jobs(&kind) {
            let value: Value = serde_json::from_str(&fs::read_to_string(&job).unwrap()).unwrap();
            assert_eq!(value["job"], kind.as_str(), "{}", job.display());
        }
    }
}

#[test]
fn the_schemas_are_those_of_the_program() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(&["schema", text(folder.path())]).status, 0);
    let mut n = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let committed = root().join("configs/schema").join(entry.file_name());
        assert_eq!(
            fs::read_to_string(entry.path()).unwrap(),
            fs::read_to_string(&committed).unwrap().replace("\r\n", "\n"),
            "{}: write it again with `diadem schema configs/schema`",
            committed.display()
        );
        n += 1;
    }
    assert_eq!(n, jobs("schema").len(), "a schema without a job");
}

#[test]
fn mistakes_in_a_job_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let job = folder.path().join("job.json");
    for (content, expected) in [
        ("{\"job\": \"verify\",\n \"netwrok\": \"n.onnx\"}", "job.json:2: unknown field `netwrok`"),
        (r#"{"job": "verify", "timeout": 3}"#, "unknown field `timeout`"),
        (
            r#"{"job": "dance"}"#,
            "the key 'job' says 'dance'; expected 'verify', 'bounds', 'preimage', 'patch', 'bench', 'ssim', 'train' or 'repair'",
        ),
        (r#"{"network": "n.onnx"}"#, "the key 'job' says nothing"),
        (r#"{"job": "verify", "network": "n.onnx"}"#, "either network and property"),
        (r#"{"job": "bounds", "network": "n.onnx"}"#, "either a property or a box"),
        (r#"{"job": "preimage", "mode": "under"}"#, "preimage needs a problem"),
        (r#"{"job": "preimage", "problem": "p", "trim": 2}"#, "trim: expected a share"),
        (r#"{"job": "bounds", "property": "p"}"#, "missing field `network`"),
        (r#"{"job": "bench", "network": "n", "property": "p", "batch": -3}"#, "invalid value"),
        (r#"{"job": "verify", "memory_gib": 0, "instances": "i.csv"}"#, "expected a positive number of GiB"),
        (r#"{"job": "verify", "timeout_s": -1, "instances": "i.csv"}"#, "expected a positive number of seconds"),
        ("{\"job\": \"verify\",\n", "line 2"),
        ("[]", "expected a job"),
    ] {
        fs::write(&job, content).unwrap();
        let run = run(&["run", text(&job)]);
        assert_eq!(run.status, 2, "{content}");
        assert!(run.stderr.contains(expected) && run.stderr.contains("job.json"), "{content}: {}", run.stderr);
    }
}

#[test]
fn the_command_line_goes_before_the_job_file() {
    let job = root().join("configs/verify/parking_clear.json");
    let (_, result) = run_json(&["run", text(&job), "--seed", "11"]);
    assert_eq!(result["seed"], 11);
    assert_eq!(Run::of(diadem(&["run", text(&job)]).args(["--device", "no such thing"])).status, 2);
}

#[test]
fn paths_in_a_job_start_at_its_folder() {
    let job = root().join("configs/verify/parking_clear.json");
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Run::of(diadem(&["run", text(&job)]).current_dir(folder.path())).status, 0);
}
