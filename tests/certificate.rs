//! `verify --certificate` and `check`.

use std::fs;

use checker::certificate::Digest;

use crate::support::{Run, diadem, example, run, run_json, text};

#[test]
fn a_certificate_is_written_and_accepted() {
    let folder = tempfile::tempdir().unwrap();
    for (network, property) in [("parking", "parking_clear"), ("digits_dense", "digits_dense_0_eps_0.076")] {
        let out = folder.path().join(property);
        let (network, property) =
            (example(&format!("networks/{network}.onnx")), example(&format!("properties/{property}.vnnlib")));
        let question = ["--network", text(&network), "--property", text(&property)];
        let Run { status, stdout, stderr } = run(&[&["verify", "--certificate", text(&out)], &question[..]].concat());
        assert_eq!(status, 0, "{stdout}{stderr}");
        assert!(stdout.contains("certificate written to"), "{stdout}");
        let (status, found) = run_json(&[&["check", text(&out)], &question[..]].concat());
        assert_eq!((status, found["judgement"].as_str()), (0, Some("accepted")), "{found}");
        assert!(found["tool"].as_str().unwrap().starts_with("diadem "));
        let Run { status, stdout, .. } = run(&[&["check", text(&out)], &question[..]].concat());
        assert_eq!(status, 0);
        assert!(stdout.starts_with("accepted"), "{stdout}");
    }
    assert!(fs::read_dir(folder.path()).unwrap().count() == 2, "nothing else is left behind");
}

#[test]
fn what_is_missing_is_named_and_other_files_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificate");
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    let question = ["--network", text(&network), "--property", text(&property)];
    assert_eq!(run(&[&["verify", "--certificate", text(&out)], &question[..]].concat()).status, 0);
    let whole = fs::read(&out).unwrap();

    // The file of another question.
    let other = example("properties/parking_corner.vnnlib");
    let swapped = ["check", text(&out), "--network", text(&network), "--property", text(&other)];
    let Run { status, stderr, .. } = run(&swapped);
    assert_eq!(status, 2);
    assert!(stderr.contains("SHA-256"), "{stderr}");

    // Cut short.
    fs::write(&out, &whole[..whole.len() - 1]).unwrap();
    let Run { status, stderr, .. } = run(&[&["check", text(&out)], &question[..]].concat());
    assert_eq!(status, 2);
    assert!(stderr.contains("cut short"), "{stderr}");

    // All proofs left out, and sealed again: a region that nothing settles.
    let header = 23 + u32::from_le_bytes(whole[19..23].try_into().unwrap()) as usize;
    assert_eq!(whole[header], 1, "the first record is a region");
    let n_disjuncts = usize::from(whole[header + 1]);
    let mut bare = whole[..header + 2 + n_disjuncts].to_vec();
    bare.extend([15, 1]);
    bare.extend(Digest::of(&bare).0);
    fs::write(&out, &bare).unwrap();
    let Run { status, stdout, .. } = run(&[&["check", text(&out)], &question[..]].concat());
    assert_eq!(status, 1);
    assert!(stdout.contains("rejected") && stdout.contains("box 0"), "{stdout}");

    let none = folder.path().join("none");
    assert_eq!(run(&[&["check", text(&none)], &question[..]].concat()).status, 2);
}

#[test]
fn no_certificate_appears_where_nothing_was_proved_or_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificate");
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_corner.vnnlib"));
    let question = ["--network", text(&network), "--property", text(&property)];
    assert_eq!(run(&[&["verify", "--certificate", text(&out)], &question[..]].concat()).status, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let nowhere = folder.path().join("no such folder/certificate");
    let property = example("properties/parking_clear.vnnlib");
    let question = ["--network", text(&network), "--property", text(&property)];
    let Run { status, stderr, .. } = run(&[&["verify", "--certificate", text(&nowhere)], &question[..]].concat());
    assert_eq!(status, 2);
    assert!(stderr.contains("the certificate cannot be written"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_and_not_a_certificate() {
    // Whatever is written there does not fit.
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificate");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("certificate.partial")).unwrap();
    let arguments = ["verify", "--certificate", text(&out), "--network", text(&network), "--property", text(&property)];
    let Run { status, stderr, .. } = Run::of(&mut diadem(&arguments));
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("verified, but"), "{stderr}");
    assert!(!out.exists());
}

#[test]
fn a_certificate_of_similar_images_is_written_and_accepted_for_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("similar");
    let (network, image) = (example("networks/digits_dense.onnx"), example("images/digit_3.png"));
    let question = |threshold: &'static str, class: &'static str| {
        ["--network", text(&network), "--image", text(&image), "--class", class, "--threshold", threshold]
            .map(str::to_owned)
    };
    let with = |first: &[&str], question: [String; 8]| -> Run {
        let rest: Vec<&str> = question.iter().map(String::as_str).collect();
        run(&[first, &rest].concat())
    };
    let Run { status, stdout, stderr } = with(&["ssim", "--certificate", text(&out)], question("0.99", "3"));
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stdout.contains("certificate written to"), "{stdout}");
    let Run { status, stdout, stderr } = with(&["check", text(&out)], question("0.99", "3"));
    assert_eq!(status, 0, "{stdout}{stderr}");
    assert!(stdout.starts_with("accepted"), "{stdout}");
    for (threshold, class) in [("0.98", "3"), ("0.99", "2")] {
        let Run { status, stderr, .. } = with(&["check", text(&out)], question(threshold, class));
        assert_eq!(status, 2, "{stderr}");
        assert!(stderr.contains("SHA-256"), "{stderr}");
    }
    let property = example("properties/digits_dense_0_eps_0.076.vnnlib");
    let Run { status, stderr, .. } =
        run(&["check", text(&out), "--network", text(&network), "--property", text(&property)]);
    assert_eq!(status, 2);
    assert!(stderr.contains("give image, class and threshold"), "{stderr}");
    // Not of other similarities, and nothing for what is not verified.
    let windowed = folder.path().join("mean");
    let Run { status, stderr, .. } =
        with(&["ssim", "--similarity", "channel-mean", "--certificate", text(&windowed)], question("0.99", "3"));
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("only of global"), "{stderr}");
    let falsified = folder.path().join("falsified");
    let Run { status, .. } = with(&["ssim", "--certificate", text(&falsified)], question("0.9", "3"));
    assert_eq!(status, 1);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
}

#[test]
fn certificates_of_preimages_are_written_accepted_and_of_their_problem_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("preimage");
    let problem = example("preimages/parking.json");
    for mode in ["under", "over"] {
        let target = if mode == "under" { "0.9" } else { "1.2" };
        let arguments = ["preimage", text(&problem), "--mode", mode, "--coverage", target, "--certificate", text(&out)];
        let Run { status, stdout, stderr } = run(&arguments);
        assert_eq!(status, 0, "{stdout}{stderr}");
        assert!(stdout.contains("certificate of"), "{stdout}");
        for exact in [&[][..], &["--exact"]] {
            let arguments = ["check", text(&out), "--preimage", text(&problem), "--mode", mode];
            let (status, found) = run_json(&[&arguments[..], exact].concat());
            assert_eq!((status, found["judgement"].as_str()), (0, Some("accepted")), "{found}");
            assert!(found["polytopes"].as_u64() > Some(0), "{found}");
        }
        let other = if mode == "under" { "over" } else { "under" };
        let Run { status, stderr, .. } = run(&["check", text(&out), "--preimage", text(&problem), "--mode", other]);
        assert_eq!(status, 2);
        assert!(stderr.contains("SHA-256"), "{stderr}");
    }
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    let Run { status, stderr, .. } =
        run(&["check", text(&out), "--network", text(&network), "--property", text(&property)]);
    assert_eq!(status, 2);
    assert!(stderr.contains("give --preimage"), "{stderr}");
}

#[test]
fn certificates_of_patches_are_written_accepted_and_of_their_job_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (out, job) = (folder.path().join("patches"), folder.path().join("job.json"));
    let (network, image) = (example("networks/digits_dense.onnx"), example("images/digit_3.png"));
    let write = |size: [usize; 2]| {
        let text = serde_json::json!({
            "job": "patch", "network": text(&network), "image": text(&image), "class": 3,
            "patches": [{"rectangle": size}]
        });
        fs::write(&job, text.to_string()).unwrap();
    };
    write([1, 2]);
    let Run { stdout, stderr, .. } = run(&["patch", text(&job), "--certificate", text(&out)]);
    assert!(stdout.contains("verified placements written to"), "{stdout}{stderr}");
    let (status, found) = run_json(&["check", text(&out), "--patch", text(&job)]);
    assert_eq!((status, found["judgement"].as_str()), (0, Some("accepted")), "{found}");
    let [n, all] = [0, 1].map(|which| found["placements"][which].as_u64().unwrap());
    assert!(n > 0 && n <= all, "{found}");
    // A byte, and another job.
    let mut bytes = fs::read(&out).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let changed = folder.path().join("changed");
    fs::write(&changed, bytes).unwrap();
    assert_eq!(run(&["check", text(&changed), "--patch", text(&job)]).status, 2);
    write([2, 1]);
    let Run { status, stderr, .. } = run(&["check", text(&out), "--patch", text(&job)]);
    assert_eq!(status, 2);
    assert!(stderr.contains("SHA-256"), "{stderr}");
}

#[test]
fn the_exact_check_accepts_and_says_what_has_no_exact_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificate");
    let (network, property) = (example("networks/parking.onnx"), example("properties/parking_clear.vnnlib"));
    let question = ["--network", text(&network), "--property", text(&property)];
    assert_eq!(run(&[&["verify", "--certificate", text(&out)], &question[..]].concat()).status, 0);
    let Run { status, stdout, .. } = run(&[&["check", "--exact", text(&out)], &question[..]].concat());
    assert_eq!(status, 0);
    assert!(stdout.starts_with("accepted"), "{stdout}");
    let deployed = [&["verify", "--deployed", "f32", "--certificate", text(&out)], &question[..]].concat();
    assert_eq!(run(&deployed).status, 0);
    let Run { status, stderr, .. } = run(&[&["check", "--exact", text(&out)], &question[..]].concat());
    assert_eq!(status, 2);
    assert!(stderr.contains("no exact bounds"), "{stderr}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_no_certificate_of_a_preimage() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("certificate");
    std::os::unix::fs::symlink("/dev/full", folder.path().join("certificate.partial")).unwrap();
    let problem = example("preimages/parking.json");
    let Run { status, stderr, .. } = Run::of(&mut diadem(&["preimage", text(&problem), "--certificate", text(&out)]));
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("the certificate cannot be written"), "{stderr}");
    assert!(!out.exists());
}
