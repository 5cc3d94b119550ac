//! Bounds against an independent implementation in f64 (`golden/*.json` of the reference data).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bounds::{Batch, BoundEngine, Bounds, Device, Method, Recipe, Wanted};
use network::{BoxRegion, Network};
use serde_json::Value;

/// Where the reference data lies; `None` (said loudly) where it does not.
fn data() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or(default, PathBuf::from);
    if folder.join("golden").is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: no reference data at {} (set DIADEM_DATA)", folder.display());
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
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("golden")).unwrap().map(|e| e.unwrap().path()).collect();
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

fn bound(device: &Device, network: &Arc<Network>, region: &BoxRegion, recipe: Recipe) -> Bounds {
    let engine = BoundEngine::new(device, Arc::clone(network), region, recipe).unwrap();
    engine.bound(&Batch::enclosing(&region.lower, &region.upper), Wanted::default()).unwrap()
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

/// Widest excess over the golden widths, as a share of their mean, before slack (in f64, whose slack is nothing).
fn excess(case: &Case, network: &Arc<Network>, recipe: Recipe, key: &str) -> (f64, f64) {
    let (lower, upper) = (floats(&case.golden[key]["lower"]), floats(&case.golden[key]["upper"]));
    let engine = BoundEngine::new(&Device::Host, Arc::clone(network), &case.region, recipe).unwrap();
    let bounds = engine.bound_precisely(&case.region.lower, &case.region.upper, Wanted::default()).unwrap();
    let scale = mean(lower.iter().zip(&upper).map(|(l, u)| u - l)).max(1e-9);
    let wider = (0..lower.len()).map(|k| (lower[k] - bounds.lower[k]).max(bounds.upper[k] - upper[k]));
    let apart = (0..lower.len()).map(|k| (lower[k] - bounds.lower[k]).abs().max((bounds.upper[k] - upper[k]).abs()));
    (wider.fold(0.0, f64::max) / scale, apart.fold(0.0, f64::max) / scale)
}

/// Mean share of the width that rounding costs: f32 with its slack against f64, whose slack is nothing.
fn cost_of_slack(case: &Case, device: &Device, recipe: Recipe) -> f64 {
    let engine = BoundEngine::new(device, Arc::clone(&case.network), &case.region, recipe).unwrap();
    let rounded = engine.bound(&Batch::enclosing(&case.region.lower, &case.region.upper), Wanted::default()).unwrap();
    let real = engine.bound_precisely(&case.region.lower, &case.region.upper, Wanted::default()).unwrap();
    let width = |bounds: &Bounds| mean(bounds.lower.iter().zip(&bounds.upper).map(|(l, u)| u - l));
    width(&rounded) / width(&real) - 1.0
}

#[test]
fn host_bounds_are_as_tight_as_the_golden_ones_and_contain_the_samples() {
    let Some(folder) = data() else { return };
    for case in cases(&folder) {
        let recipe = Recipe { both_ends: true, ..Recipe::default() };
        println!("{:22} slack costs {:.3} %", case.name, 100.0 * cost_of_slack(&case, &Device::Host, recipe));
    }
}
