//! The checker's own bounds against an independent implementation in f64 (`golden/*.json` of the reference data).

use std::io::Write as _;
use std::path::{Path, PathBuf};

use checker::{Lane, Method, Rounding, Row, Scope, bound};
use network::{Activation, Network, Op};
use serde_json::Value;

/// Where the reference data lies; `None` (said loudly) where it does not.
fn data() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or(default, PathBuf::from);
    if folder.join("golden").is_dir() {
        return Some(folder);
    }
    // Straight to the terminal: the test harness hides what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED: no reference data at {} (set DIADEM_DATA)", folder.display());
    None
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// Both ends of every output: of its interval, or of its linear bounds.
fn outputs(
    network: &Network,
    lower: &[f64],
    upper: &[f64],
    method: Method,
    rounding: Rounding,
) -> (Vec<f64>, Vec<f64>) {
    let scope = Scope::of(network, lower, upper, method, rounding);
    let node = network.nodes().len() - 1;
    if method == Method::Intervals {
        let (lower, upper) = scope.bounds(node);
        return (lower.to_vec(), upper.to_vec());
    }
    let n = network.n_outputs();
    let lanes: Vec<Lane> = (0..n).map(Row::Lower).chain((0..n).map(Row::Upper)).map(Lane::plain).collect();
    let bounds = bound(&scope, node, &lanes);
    (bounds[..n].to_vec(), bounds[n..].iter().map(|bound| -bound).collect())
}

/// Of the mean width.
const TOLERANCE: f64 = 1e-9;

#[test]
fn intervals_and_linear_bounds_agree_with_the_golden_ones_before_rounding_and_contain_them_after() {
    let Some(folder) = data() else { return };
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let only = std::env::var("DIADEM_GOLDEN").unwrap_or_default();
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| file.to_string_lossy().contains(&only)) {
        let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let name = golden["name"].as_str().unwrap();
        let network = network::onnx::read(&folder.join(golden["model"].as_str().unwrap())).unwrap();
        let (lower, upper) = (floats(&golden["input_lower"]), floats(&golden["input_upper"]));
        for (key, method) in [("ibp", Method::Intervals), ("crown", Method::Crown)] {
            let theirs = (floats(&golden[key]["lower"]), floats(&golden[key]["upper"]));
            let n = theirs.0.len();
            let scale = theirs.0.iter().zip(&theirs.1).map(|(l, u)| u - l).sum::<f64>() / n as f64;
            let ours = outputs(&network, &lower, &upper, method, Rounding::Ignored);
            let rounded = outputs(&network, &lower, &upper, method, Rounding::Outward);
            let most = |f: &dyn Fn(usize) -> [f64; 2]| {
                (0..n)
                    .flat_map(f)
                    .fold(0.0, |most: f64, value| if value > most || value.is_nan() { value } else { most })
                    / scale
            };
            let apart = most(&|k| [(ours.0[k] - theirs.0[k]).abs(), (ours.1[k] - theirs.1[k]).abs()]);
            let lost = most(&|k| [rounded.0[k] - theirs.0[k], theirs.1[k] - rounded.1[k]]);
            let paid = most(&|k| [ours.0[k] - rounded.0[k], rounded.1[k] - ours.1[k]]);
            println!("{name:24} {key:6} apart {apart:.1e}, paid {paid:.1e}, lost {lost:.1e}");
            // Where to touch a sigmoid is a choice: theirs and ours differ, and are about as tight.
            let is_curved = network.nodes().iter().any(|node| is_smooth(&node.op));
            // Lattice networks have affine nodes in a row, and neurons with `u = −l` exactly, whose slope rounding decides.
            let is_free = key == "crown" && (is_curved || name == "tll_8");
            if is_free {
                let width =
                    |(lower, upper): &(Vec<f64>, Vec<f64>)| lower.iter().zip(upper).map(|(l, u)| u - l).sum::<f64>();
                let ratio = width(&rounded) / width(&theirs);
                if !(ratio > 0.9 && ratio < 1.03) {
                    wrong.push(format!("{name} {key}: {ratio:.3} times as wide"));
                }
            } else if apart > TOLERANCE || lost > 0.0 {
                wrong.push(format!("{name} {key}: {apart:.1e} apart, {lost:.1e} inside"));
            }
            let contains = |k: usize| {
                let sampled = |end: &str| golden["sampled"][end][k].as_f64().unwrap();
                rounded.0[k] <= sampled("lower") && sampled("upper") <= rounded.1[k]
            };
            if !(0..n).all(contains) {
                wrong.push(format!("{name} {key}: loses samples"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_smooth(op: &Op) -> bool {
    matches!(op, Op::Activation(Activation::Sigmoid | Activation::Tanh))
}
