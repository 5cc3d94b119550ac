use crate::support::{run, run_json};

const TASK: [&str; 10] = [
    "bench",
    "bounds",
    "--network",
    "examples/networks/parking.onnx",
    "--property",
    "examples/properties/parking_clear.vnnlib",
    "--batch",
    "64",
    "--repeat",
    "2",
];

#[test]
fn a_measurement_has_every_figure() {
    let (status, result) = run_json(&TASK);
    assert_eq!((status, &result["job"], &result["reached"]), (0, &"bench bounds".into(), &true.into()));
    for key in [
        "subdomains_per_s",
        "subdomains_per_core_s",
        "cpu_s",
        "scale",
        "flop_per_subdomain",
        "flop_per_s",
        "peak_flop_per_s",
        "rows_per_subdomain",
        "mean_width",
    ] {
        assert!(result[key].as_f64().unwrap_or(-1.0) > 0.0, "{key}: {result}");
    }
    assert!(result["unstable_per_subdomain"].as_f64().unwrap() >= 0.0);
    assert!((0.0..1.0).contains(&result["slack_share"].as_f64().unwrap()));
    // 2·(2·48 + …) at least for intervals, and no more than every row through the whole network of 720 multiply-adds.
    let rows = result["rows_per_subdomain"].as_f64().unwrap();
    assert!(result["flop_per_subdomain"].as_f64().unwrap() <= 2.0 * 720.0 * (rows + 2.0));
}

#[test]
fn what_is_measured_depends_on_seed_and_scale_alone() {
    let figures = |more: &[&str]| {
        let result = run_json(&[&TASK, more].concat()).1;
        ["mean_width", "rows_per_subdomain", "unstable_per_subdomain"].map(|key| result[key].as_f64().unwrap())
    };
    assert_eq!(figures(&["--seed", "1"]), figures(&["--seed", "1", "--threads", "1"]));
    assert_ne!(figures(&["--seed", "1"]), figures(&["--seed", "2"]));
    let ([narrow, ..], [wide, ..]) = (figures(&["--scale", "64"]), figures(&["--scale", "4"]));
    assert!(narrow < wide);
}

#[test]
fn people_see_the_rate_and_its_share_of_the_machine() {
    let said = run(&TASK).stdout;
    for expected in ["subdomains per second", "per core-second", "FLOP per subdomain", "% of", "mean output width"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn impossible_measurements_are_refused() {
    for more in [["--batch", "0"], ["--scale", "0.5"], ["--repeat", "0"]] {
        let run = run(&[&TASK[..6], &more].concat());
        assert_eq!(run.status, 2);
        assert!(run.stderr.contains("at least 1"), "{}", run.stderr);
    }
}
