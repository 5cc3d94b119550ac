//! Bounds against an independent implementation in f64 (`golden/*.json` of the reference data).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bounds::{Ascent, Batch, BoundEngine, Bounds, Device, Method, Optimised, Recipe, Wanted};
use network::{Activation, BoxRegion, Network, Op};
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

struct Case {
    name: String,
    network: Arc<Network>,
    raw: Arc<Network>,
    region: BoxRegion,
    golden: Value,
}

fn cases(folder: &Path) -> Vec<Case> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder.join("golden")).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    let only = std::env::var("DIADEM_GOLDEN").unwrap_or_default();
    files
        .iter()
        .filter(|file| file.to_string_lossy().contains(&only))
        .map(|file| {
            let golden: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
            let raw = network::onnx::read(&folder.join(golden["model"].as_str().unwrap())).unwrap();
            let region = BoxRegion::new(floats(&golden["input_lower"]), floats(&golden["input_upper"])).unwrap();
            let name = golden["name"].as_str().unwrap().to_owned();
            Case { name, network: Arc::new(raw.simplify().unwrap()), raw: Arc::new(raw), region, golden }
        })
        .collect()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// How far ours are outside the golden bounds, and how far from them at all, as shares of the mean golden width; before slack
/// (in f64, whose slack is nothing). Of several recipes the best bound of each output counts: each of them is sound.
fn difference(case: &Case, network: &Arc<Network>, recipes: &[Recipe], key: &str) -> (f64, f64) {
    let (lower, upper) = (floats(&case.golden[key]["lower"]), floats(&case.golden[key]["upper"]));
    let (mut ours_lower, mut ours_upper) = (vec![f64::MIN; lower.len()], vec![f64::MAX; lower.len()]);
    for &recipe in recipes {
        let engine = BoundEngine::new(&Device::Host, Arc::clone(network), &case.region, recipe).unwrap();
        let bounds = engine.bound_precisely(&case.region.lower, &case.region.upper, Wanted::default()).unwrap();
        ours_lower.iter_mut().zip(&bounds.lower).for_each(|(best, &bound)| *best = best.max(bound));
        ours_upper.iter_mut().zip(&bounds.upper).for_each(|(best, &bound)| *best = best.min(bound));
    }
    let scale = mean(lower.iter().zip(&upper).map(|(l, u)| u - l));
    let signed = |k: usize| [lower[k] - ours_lower[k], ours_upper[k] - upper[k]];
    let all: Vec<f64> = (0..lower.len()).flat_map(signed).collect();
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max) / scale;
    (largest(&mut all.iter().copied()), largest(&mut all.iter().map(|v| v.abs())))
}

fn recipe(method: Method) -> Recipe {
    Recipe { method, both_ends: true, ..Recipe::default() }
}

/// No wider than this share of the mean width: the golden files themselves are good to about 1e-9.
const TOLERANCE: f64 = 1e-4;

#[test]
fn host_bounds_agree_with_the_golden_ones_before_slack() {
    let Some(folder) = data() else { return };
    let mut wrong = Vec::new();
    for case in cases(&folder) {
        let floor = recipe(Method::Crown);
        let plain = Recipe { keep_interval: false, ..floor };
        let is_piecewise = case.raw.nodes().iter().all(|node| !is_smooth(&node.op));
        // With merging and the interval floor off, the same computation. Sigmoid tangents are chosen otherwise, a little tighter.
        let (wider, apart) = difference(&case, &case.raw, &[plain], "crown");
        // Lattice networks have affine nodes in a row, and which node's interval counts as "the previous layer's" decides which
        // neurons stay unrefined: ours is the tighter there.
        let is_same = is_piecewise && !case.name.starts_with("tll");
        if wider > TOLERANCE || is_same && apart > TOLERANCE {
            wrong.push(format!("{}: crown as theirs is {wider:.1e} wider, {apart:.1e} apart", case.name));
        }
        let (wider, apart) = difference(&case, &case.raw, &[recipe(Method::Ibp)], "ibp");
        if wider > TOLERANCE || is_piecewise && apart > TOLERANCE {
            wrong.push(format!("{}: ibp as theirs is {wider:.1e} wider, {apart:.1e} apart", case.name));
        }
        // As shipped. Tighter intermediate bounds may turn an adaptive slope and so widen an output; the plain pass bounds it then.
        let (wider, _) = difference(&case, &case.network, &[floor, plain], "crown");
        if wider > TOLERANCE {
            wrong.push(format!("{}: crown is {wider:.1e} wider", case.name));
        }
        let (wider, _) = difference(&case, &case.network, &[recipe(Method::Ibp)], "ibp");
        if wider > TOLERANCE {
            wrong.push(format!("{}: ibp is {wider:.1e} wider", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_smooth(op: &Op) -> bool {
    matches!(op, Op::Activation(Activation::Sigmoid | Activation::Tanh))
}

/// Checks that a device's bounds contain the samples, and what their slack costs; returns what is wrong.
fn check_device(case: &Case, device: &Device, most: f64) -> Vec<String> {
    let mut wrong = Vec::new();
    let sampled = (floats(&case.golden["sampled"]["lower"]), floats(&case.golden["sampled"]["upper"]));
    let batch = Batch::enclosing(&case.region.lower, &case.region.upper);
    for method in [Method::Ibp, Method::Crown] {
        let engine = BoundEngine::new(device, Arc::clone(&case.network), &case.region, recipe(method)).unwrap();
        let rounded = engine.bound(&batch, Wanted::default()).unwrap();
        assert_eq!(engine.fallback(), None, "{}: the device was given up", case.name);
        for k in 0..rounded.lower.len() {
            let (l, u) = (rounded.lower[k], rounded.upper[k]);
            if !(l <= sampled.0[k] && sampled.1[k] <= u) {
                let range = [sampled.0[k], sampled.1[k]];
                wrong.push(format!("{} {method:?}: output {k} in [{l}, {u}] loses samples {range:?}", case.name));
            }
        }
        let real = engine.bound_precisely(&case.region.lower, &case.region.upper, Wanted::default()).unwrap();
        let width = |bounds: &Bounds| mean(bounds.lower.iter().zip(&bounds.upper).map(|(l, u)| u - l));
        let cost = width(&rounded) / width(&real) - 1.0;
        println!("{:22} {method:?} on {}: slack costs {:.3} %", case.name, device.describe().kind, 100.0 * cost);
        if method == Method::Crown
            && (case.name.starts_with("acas") || case.name.starts_with("mnist_256"))
            && cost > most
        {
            wrong.push(format!("{}: slack costs {:.2} %", case.name, 100.0 * cost));
        }
    }
    wrong
}

#[test]
fn host_bounds_contain_the_samples_and_their_slack_costs_under_one_percent() {
    let Some(folder) = data() else { return };
    let wrong: Vec<String> = cases(&folder).iter().flat_map(|case| check_device(case, &Device::Host, 0.01)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[cfg(feature = "gpu")]
#[test]
fn gpu_bounds_contain_the_samples_and_their_slack_costs_under_two_percent() {
    let (Some(folder), Some(device)) = (data(), crate::adapter::device()) else { return };
    let wrong: Vec<String> = cases(&folder).iter().flat_map(|case| check_device(case, &device, 0.02)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Mean width of both ends.
fn mean_width(bounds: &Bounds) -> f64 {
    mean(bounds.lower.iter().zip(&bounds.upper).map(|(l, u)| u - l))
}

/// At most this much wider than the golden α-CROWN, before slack.
const MOST_WIDER: f64 = 1.05;

#[test]
fn alpha_crown_at_twenty_steps_is_as_tight_as_the_golden_one_and_never_wider_than_crown() {
    let Some(folder) = data() else { return };
    let mut wrong = Vec::new();
    for case in cases(&folder) {
        // Where the golden file has none, nothing is compared; the largest of these take minutes.
        let Some(theirs) = case.golden.get("alpha_crown").filter(|bounds| bounds["lower"].is_array()) else { continue };
        let theirs = mean(floats(&theirs["upper"]).iter().zip(&floats(&theirs["lower"])).map(|(u, l)| u - l));
        let floor = recipe(Method::Crown);
        let optimised = Recipe { optimised: Optimised::Everything, ..floor };
        let engine = BoundEngine::new(&Device::Host, Arc::clone(&case.network), &case.region, optimised).unwrap();
        let alpha =
            engine.bound_optimised_precisely(&case.region.lower, &case.region.upper, Ascent::default()).unwrap();
        let crown = engine.bound_precisely(&case.region.lower, &case.region.upper, Wanted::default()).unwrap();
        let (width, before) = (mean_width(&alpha), mean_width(&crown));
        println!("{:22} crown {before:.4}, α-CROWN {width:.4}, golden {theirs:.4}", case.name);
        // One part in 10⁹ for the order of sums.
        if (0..alpha.lower.len()).any(|k| {
            let tolerance = 1e-9 * (crown.upper[k] - crown.lower[k]);
            alpha.lower[k] < crown.lower[k] - tolerance || alpha.upper[k] > crown.upper[k] + tolerance
        }) {
            wrong.push(format!("{}: wider than CROWN in some output", case.name));
        }
        if width > theirs * MOST_WIDER {
            wrong.push(format!("{}: mean width {width} against {theirs}", case.name));
        }
        // In f32 too, samples stay inside.
        let batch = Batch::enclosing(&case.region.lower, &case.region.upper);
        let rounded = engine.bound_optimised(&batch, Ascent::default()).unwrap();
        let sampled = (floats(&case.golden["sampled"]["lower"]), floats(&case.golden["sampled"]["upper"]));
        for bounds in [&alpha, &rounded] {
            let contains = |k: usize| bounds.lower[k] <= sampled.0[k] && sampled.1[k] <= bounds.upper[k];
            // f64 slack is smaller than what the samples were rounded by.
            let nearly = |k: usize| {
                bounds.lower[k] - 1e-9 * theirs <= sampled.0[k] && sampled.1[k] <= bounds.upper[k] + 1e-9 * theirs
            };
            if !(0..bounds.lower.len()).all(|k| contains(k) || nearly(k)) {
                wrong.push(format!("{}: loses samples", case.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
