use std::fs;

use serde_json::{Value, json};

use crate::support::{example, numbers, run, run_json, text};

/// Whether a polytope of a result holds a point, by what the result says alone.
fn holds(polytope: &Value, x: &[f64]) -> bool {
    let (lower, upper, b) = (numbers(&polytope["lower"]), numbers(&polytope["upper"]), numbers(&polytope["b"]));
    let rows: Vec<Vec<f64>> = polytope["a"].as_array().unwrap().iter().map(numbers).collect();
    let value = |row: &[f64], b: f64| row.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() + b;
    x.iter().zip(lower.iter().zip(&upper)).all(|(x, (l, u))| l <= x && x <= u)
        && rows.iter().zip(b).all(|(row, b)| value(row, b) >= 0.0)
}

#[test]
fn a_preimage_is_all_that_its_users_need() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("parking.json");
    let problem = example("preimages/parking.json");
    let (status, result) = run_json(&["preimage", text(&problem), "--out", text(&out), "--seed", "3"]);
    assert_eq!((status, &result["reached"], &result["job"]), (0, &true.into(), &"preimage".into()), "{result}");
    let interval = numbers(&result["coverage_interval"]);
    assert!(interval[0] >= 0.95 && interval[0] <= result["coverage"].as_f64().unwrap() && interval[1] <= 1.0);
    assert_eq!(numbers(&result["region"]["lower"]), [0.0, 0.0]);
    let polytopes = result["polytopes"].as_array().unwrap();
    assert!(!polytopes.is_empty() && !result["rounds"].as_array().unwrap().is_empty());

    // Membership, by the file and by hand; inside, the network agrees.
    let points: Vec<Vec<f64>> =
        (0..400).map(|k| vec![f64::from(k % 20) / 19.0 * 2.0, f64::from(k / 20) / 19.0 * 2.0]).collect();
    let list = folder.path().join("points.json");
    fs::write(&list, json!({ "points": points }).to_string()).unwrap();
    let (status, found) = run_json(&["preimage", "contains", "--preimage", text(&out), "--points", text(&list)]);
    assert_eq!((status, &found["job"]), (0, &"preimage contains".into()));
    let network = network::onnx::read(&example("networks/parking.onnx")).unwrap();
    let mut n_held = 0;
    for (x, is_held) in points.iter().zip(found["contains"].as_array().unwrap()) {
        assert_eq!(is_held.as_bool().unwrap(), polytopes.iter().any(|polytope| holds(polytope, x)), "{x:?}");
        if is_held.as_bool().unwrap() {
            let y = network.evaluate(x).unwrap();
            assert!([0, 2, 3].iter().all(|&k| y[1] >= y[k]), "{x:?} is no preimage");
            n_held += 1;
        }
    }
    assert!(n_held > 10 && found["n_contained"] == n_held, "{n_held}");
}

#[test]
fn an_unreached_target_is_unknown() {
    let problem = example("preimages/parking.json");
    let (status, result) = run_json(&["preimage", text(&problem), "--coverage", "0.9999999", "--max-subdomains", "2"]);
    assert_eq!((status, &result["reached"], &result["reason"]), (3, &false.into(), &"subdomain limit".into()));
}

#[test]
fn a_property_is_a_question_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let problem = folder.path().join("problem.json");
    let network = example("networks/parking.onnx");
    let property = example("properties/parking_corner.vnnlib");
    for (complement, id) in [(false, "set"), (true, "complement")] {
        let file = json!({ "id": id, "network": network, "property": property, "complement": complement, "coverage_target": 0.9 });
        fs::write(&problem, file.to_string()).unwrap();
        let (status, result) = run_json(&["preimage", text(&problem)]);
        assert!(status == 0 || status == 3, "{result}");
        assert_eq!(result["id"], id);
    }
}

#[test]
fn mistakes_in_a_problem_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let problem = folder.path().join("problem.json");
    let network = example("networks/parking.onnx");
    let ends = json!({ "network": network, "input_lower": [0, 0], "input_upper": [1, 1] });
    let with = |key: &str, value: Value| {
        let mut file = ends.clone();
        file[key] = value;
        file.to_string()
    };
    for (content, expected) in [
        ("{".into(), "expected a preimage problem"),
        ("[]".into(), "a JSON object"),
        (with("outptu_rows", json!([])), "unknown field `outptu_rows`"),
        (ends.to_string(), "one of output_rows, output_polytopes and robustness"),
        (with("output_rows", json!([[1, 2]])), "2 coefficients but the network 4 outputs"),
        (with("robustness", json!({ "target": 9 })), "classes"),
        (
            json!({ "network": network, "image": [0, 0], "output_rows": [[1, 0, 0, 0]] }).to_string(),
            "either a patch or a mask",
        ),
        (
            json!({ "network": network, "image": [0, 0], "mask": [7], "output_rows": [[1, 0, 0, 0]] }).to_string(),
            "value 7 of 2",
        ),
        (json!({ "problems": [{ "id": "a" }] }).to_string(), "choose one with --id, of a"),
        (
            json!({ "network": network, "input_lower": [2, 0], "input_upper": [1, 1], "output_rows": [[1, 0, 0, 0]] })
                .to_string(),
            "above upper bound",
        ),
    ] {
        let content: String = content;
        fs::write(&problem, &content).unwrap();
        let run = run(&["preimage", text(&problem)]);
        assert_eq!(run.status, 2, "{content}: {}", run.stdout);
        assert!(run.stderr.contains(expected) && run.stderr.contains("problem.json"), "{content}: {}", run.stderr);
    }
}

#[test]
fn a_written_preimage_is_checked_exported_and_gone_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let [out, more, wrong, set] = ["a.json", "b.json", "c.json", "a.vnnlib"].map(|name| folder.path().join(name));
    let problem = example("preimages/parking.json");
    let few = ["preimage", text(&problem), "--coverage", "0.999", "--max-subdomains", "30", "--out", text(&out)];
    let (status, first) = run_json(&few);
    assert_eq!((status, &first["reason"]), (3, &"subdomain limit".into()), "{first}");

    // What was written so far is valid, and a run goes on from it.
    let check =
        |file, points| run_json(&["preimage", "check", "--preimage", file, "--points", points, "--facets", "500"]);
    let (status, checked) = check(text(&out), "100000");
    assert_eq!((status, &checked["contradictions"], &checked["points"]), (0, &0.into(), &100_000.into()), "{checked}");
    assert!(checked["facets"].as_u64().unwrap() > 100);
    let go_on = ["preimage", text(&problem), "--continue", text(&out), "--out", text(&more), "--coverage", "0.95"];
    let (status, second) = run_json(&go_on);
    assert_eq!((status, &second["reached"]), (0, &true.into()), "{second}");
    let polytopes = |result: &Value| result["polytopes"].as_array().unwrap().clone();
    assert!(polytopes(&second).len() > polytopes(&first).len());
    assert_eq!(check(text(&more), "100000").0, 0);
    let other = ["preimage", text(&problem), "--continue", text(&out), "--mode", "over", "--coverage", "1.1"];
    let run_of_other = run(&other);
    assert!(run_of_other.status == 2 && run_of_other.stderr.contains("its mode is not"), "{}", run_of_other.stderr);

    // A file that claims too much is rejected.
    let mut claimed = second.clone();
    let ends = claimed["region"].clone();
    claimed["polytopes"] = json!([{ "lower": ends["lower"], "upper": ends["upper"], "a": [], "b": [] }]);
    fs::write(&wrong, claimed.to_string()).unwrap();
    let (status, rejected) = check(text(&wrong), "2000");
    assert!(status == 1 && rejected["contradictions"].as_u64().unwrap() > 1000, "{rejected}");

    // The exported set is the union.
    let export = run(&["preimage", "export", "--preimage", text(&more), "--vnnlib", text(&set)]);
    assert_eq!(export.status, 0, "{}", export.stderr);
    let property = network::vnnlib::read(&set).unwrap();
    let mut n_held = 0;
    for k in 0..2500 {
        let x = [f64::from(k % 50) * 0.04 + 0.0123, f64::from(k / 50) * 0.04 + 0.0077];
        let is_held = polytopes(&second).iter().any(|polytope| holds(polytope, &x));
        assert_eq!(property.violated_at(&x, &[]).is_some(), is_held, "{x:?}");
        n_held += usize::from(is_held);
    }
    assert!(n_held > 100, "{n_held}");
}

#[test]
fn a_coverage_is_certified() {
    let problem = example("preimages/parking.json");
    for (mode, coverage) in [("under", "0.95"), ("over", "1.1")] {
        let (status, result) = run_json(&[
            "preimage",
            text(&problem),
            "--mode",
            mode,
            "--coverage",
            coverage,
            "--certify",
            "--max-subdomains",
            "3000",
        ]);
        assert_eq!(status, 0, "{result}");
        let (certified, goal) = (result["certified"]["coverage"].as_f64().unwrap(), coverage.parse::<f64>().unwrap());
        let interval = numbers(&result["coverage_interval"]);
        // The second search has a margin of its own.
        let is_near = if mode == "under" {
            certified > 0.6 * goal && certified < interval[1] + 0.01
        } else {
            certified < 1.6 * goal && certified > interval[0] - 0.01
        };
        assert!(is_near, "{mode}: {certified}, {interval:?}");
    }
    let refused = run(&["preimage", text(&example("preimages/digits_patch.json")), "--certify"]);
    assert!(refused.status == 2 && refused.stderr.contains("9 inputs vary"), "{}", refused.stderr);
}

#[test]
fn a_written_preimage_is_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (out, drawn, again, pixels) = (path("p.json"), path("a.svg"), path("b.svg"), path("c.png"));
    let problem = example("preimages/parking.json");
    let (status, result) = run_json(&["preimage", text(&problem), "--out", text(&out), "--plot", text(&drawn)]);
    assert_eq!(status, 0, "{result}");
    let plot = |picture, more: &[&str]| {
        run(&[&["preimage", "plot", "--preimage", text(&out), "--out", picture], more].concat())
    };
    assert_eq!(plot(text(&again), &[]).status, 0);
    let svg = fs::read_to_string(&again).unwrap();
    assert!(svg == fs::read_to_string(&drawn).unwrap() && svg.contains("coverage over time") && svg.contains("<image"));

    // Every colour is what the file and the network say of the middle of the pixel; edges are dark.
    assert_eq!(plot(text(&pixels), &["--axes", "1,0"]).status, 0);
    let image = image::open(&pixels).unwrap().to_rgb8();
    let network = network::onnx::read(&example("networks/parking.onnx")).unwrap();
    let (side, n) = (image.width(), f64::from(image.width()));
    let mut seen = [0; 3];
    for pixel in (0..side * side).step_by(37) {
        let (row, column) = (pixel / side, pixel % side);
        let x = [2.0 - 2.0 * (f64::from(row) + 0.5) / n, 2.0 * (f64::from(column) + 0.5) / n];
        let y = network.evaluate(&x).unwrap();
        let is_held = result["polytopes"].as_array().unwrap().iter().any(|polytope| holds(polytope, &x));
        let is_inside = [0, 2, 3].iter().all(|&k| y[1] >= y[k]);
        let [red, green, blue] = image.get_pixel(column, row).0;
        if red == green && green == blue && red < 100 {
            continue;
        }
        let is_blue = blue > red;
        let place = match (is_held, is_inside) {
            (true, true) if is_blue => 0,
            (false, true) if red > blue => 1,
            (false, false) if red == blue => 2,
            _ => panic!("{x:?}: {:?}, held {is_held}, inside {is_inside}", [red, green, blue]),
        };
        seen[place] += 1;
    }
    assert!(seen.iter().all(|&count| count > 5), "{seen:?}");
}

#[test]
fn a_plane_of_a_wider_preimage_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let out = path("p.json");
    let problem = example("preimages/dense_all_others.json");
    let search = ["preimage", text(&problem), "--out", text(&out), "--max-subdomains", "1"];
    assert!([0, 3].contains(&run(&search).status));
    let plot = |picture: &str, more: &[&str]| {
        let picture = path(picture);
        run(&[&["preimage", "plot", "--preimage", text(&out), "--out", text(&picture)], more].concat())
    };
    let here = ["--axes", "3,4", "--at", "0=0.34", "--at", "2=0.8"];
    assert_eq!(plot("a.svg", &here).status, 0);
    let svg = fs::read_to_string(path("a.svg")).unwrap();
    let label = "input 0: 0.3400, input 2: 0.8000; 16 others in the middle of the region";
    assert!(svg.contains(label) && svg.contains(">input 3<") && svg.contains(">input 4<"), "{svg}");

    let no_result = path("no_result.json");
    fs::write(&no_result, r#"{"polytopes": []}"#).unwrap();
    let of_another = ["preimage", "plot", "--preimage", text(&no_result), "--out", "x.svg"];
    let missing = ["preimage", "plot", "--preimage", "missing.json", "--out", "x.svg"];
    for (run, expected) in [
        (run(&of_another), "expected a preimage, as `diadem preimage --out` writes it"),
        (run(&missing), "missing.json"),
        (plot("a.gif", &[]), "ending in .svg or .png"),
        (plot("a.png", &["--axes", "0"]), "two different inputs"),
        (plot("a.png", &["--axes", "0,20"]), "input 20 does not vary"),
        (plot("a.png", &["--at", "1=0.6"]), "is an axis"),
        (plot("a.png", &["--at", "2"]), "as 2=0.5"),
        (plot("a.png", &["--at", "2=0.9"]), "is outside"),
        (plot("a.png", &["--network", "missing.onnx"]), "missing.onnx"),
        (plot("missing/a.png", &[]), "cannot be written"),
    ] {
        assert!(run.status == 2 && run.stderr.contains(expected), "{expected}: {} {}", run.status, run.stderr);
    }
    assert!(!path("a.png").exists());
}
