use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{probe, recorded};
use crate::onnx::{read, read_with_input_shape};
use crate::{Network, Op};

/// The benchmark networks, `$DIADEM_DATA` or the workspace's neighbour `shared/data`.
fn data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from);
    if !folder.is_dir() {
        // Straight to the terminal: the test harness hides what passing tests print.
        let _ = writeln!(std::io::stderr(), "SKIPPED: no benchmark networks at {} (set DIADEM_DATA)", folder.display());
        return None;
    }
    Some(folder)
}

/// Every `.onnx` and `.onnx.gz` below a folder, in order.
fn models(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.file_name().unwrap().to_str().unwrap().split('.').any(|part| part == "onnx") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The bytes of the smallest benchmark networks.
pub(super) fn small_models() -> Vec<Vec<u8>> {
    let files = data().map(|folder| models(&folder)).unwrap_or_default();
    files.iter().map(|file| std::fs::read(file).unwrap()).filter(|bytes| bytes.len() < 4000).collect()
}

/// Equal but for `tolerance`, relative to the largest output.
fn assert_close(left: &[f64], right: &[f64], tolerance: f64, what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let scale = right.iter().fold(1.0, |max: f64, y| max.max(y.abs()));
    for (a, b) in left.iter().zip(right) {
        assert!((a - b).abs() <= tolerance * scale, "{what}: {left:?} against {right:?}");
    }
}

/// The largest relative and the largest absolute error of any affine map.
fn largest_errors(network: &Network) -> (f64, f64) {
    let mut largest = (0f64, 0f64);
    for node in network.nodes() {
        if let Op::Affine(affine) = &node.op {
            largest.0 = largest.0.max(affine.error.relative);
            largest.1 = affine.error.absolute.iter().chain(&affine.error.bias).copied().fold(largest.1, f64::max);
        }
    }
    largest
}

#[test]
fn recorded_outputs_are_reproduced() {
    let Some(data) = data() else { return };
    for (file, expected) in recorded(include_str!("recorded_networks.txt")) {
        let network = read(&data.join(&file)).unwrap();
        let x = probe(network.n_inputs());
        // The recording summed in f32 (unit roundoff 6e-8), over up to some thousand terms.
        assert_close(&network.evaluate(&x).unwrap(), &expected, 2e-5, &file);
        assert_close(&network.simplify().unwrap().evaluate(&x).unwrap(), &expected, 2e-5, &file);
    }
}

#[test]
fn every_benchmark_network_survives_simplification() {
    let Some(data) = data() else { return };
    let files = models(&data);
    assert!(files.len() > 50, "only {} networks", files.len());
    for file in files {
        let name = file.display().to_string();
        let network = read(&file).unwrap_or_else(|error| panic!("{error}"));
        let simple = network.simplify().unwrap();
        assert!(simple.nodes().len() <= network.nodes().len(), "{name}");
        let n_stored = |network: &Network| -> usize {
            let stored = network.nodes().iter().map(|node| match &node.op {
                Op::Affine(affine) => affine.map.coefficients().len(),
                _ => 0,
            });
            stored.sum()
        };
        assert!(n_stored(&simple) <= n_stored(&network), "{name}");
        let (relative, absolute) = largest_errors(&simple);
        assert!(relative <= 1e-14 && absolute <= 1e-12, "{name}: errors {relative:e} and {absolute:e}");
        for shift in 0..2 {
            let x: Vec<f64> = probe(network.n_inputs() + 7 * shift).split_off(7 * shift);
            let (raw, merged) = (network.evaluate(&x).unwrap(), simple.evaluate(&x).unwrap());
            // Both sum in f64, in different orders.
            assert_close(&merged, &raw, 1e-9, &name);
        }
        eprintln!(
            "{} -> {} nodes, errors {relative:.1e} {absolute:.1e}: {name}",
            network.nodes().len(),
            simple.nodes().len()
        );
    }
}

#[test]
fn relu_networks_without_normalisation_simplify_exactly() {
    let Some(data) = data() else { return };
    for file in
        ["vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx", "vnncomp/marabou-cifar10/onnx/cifar10_small.onnx"]
    {
        let simple = read(&data.join(file)).unwrap().simplify().unwrap();
        assert_eq!(largest_errors(&simple), (0.0, 0.0), "{file}");
    }
    // One affine map before each of the six ReLU layers, and one after.
    let acas = read(&data.join("vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx")).unwrap().simplify().unwrap();
    assert_eq!(acas.nodes().len(), 1 + 6 * 2 + 1);
}

#[test]
fn a_wrong_declared_input_shape_can_be_overruled() {
    let Some(data) = data() else { return };
    let file = data.join("preimage/models/auto_park_20.onnx");
    // Declared [batch, 2, 2]: the layers apply to each of two rows.
    let declared = read(&file).unwrap();
    assert_eq!((declared.n_inputs(), declared.n_outputs()), (4, 8));
    let real = read_with_input_shape(&file, &[1, 2]).unwrap();
    assert_eq!((real.n_inputs(), real.n_outputs()), (2, 4));
    let x = [0.25, -0.5, 0.125, 0.375];
    let rows = [real.evaluate(&x[..2]).unwrap(), real.evaluate(&x[2..]).unwrap()].concat();
    assert_close(&declared.evaluate(&x).unwrap(), &rows, 1e-12, "auto_park");
}
