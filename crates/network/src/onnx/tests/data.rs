use std::path::{Path, PathBuf};

use crate::onnx::{read, read_with_input_shape};
use crate::{Network, Op};

/// Outputs of onnxruntime 1.31 (optimisations off) at [`probe`], by file below the data folder.
const RECORDED: &[(&str, &[f64])] = &[
    ("vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx", &[0.44355604, 0.6488841, 0.65692896, 0.84218514, 0.3585225]),
    ("vnncomp/marabou-cifar10/onnx/cifar10_small.onnx", &[-0.5717474, 3.2560954, -2.1989148, -1.5290997, -2.5553858, -3.0126188, 0.98745954, -2.3858764, -0.62617403, 0.6950456]),
    ("vnncomp/dist_shift/onnx/mnist_concat.onnx", &[-16.789413, -7.938203, 2.057374, -6.967831, -9.713603, -7.5542445, -35.53217, 16.606731, -6.8304586, 0.576006]),
    ("vnncomp/verivital/onnx/Convnet_avgpool.onnx", &[-47.4695, 10.333679, -2.8694348, -11.292957, -18.793077, -15.819863, -18.0091, -3.6964612, -30.51632, -46.8281]),
    ("vnncomp/verivital/onnx/Convnet_maxpool.onnx", &[-81.46597, 145.6533, 0.62266874, -38.30129, -21.47734, -22.953945, -38.144936, 64.123604, -120.86577, -78.33935]),
    ("vnncomp/collins_rul_cnn/onnx/NN_rul_small_window_20.onnx", &[82.845406]),
    ("vnncomp/collins_rul_cnn/onnx/NN_rul_full_window_40.onnx", &[170.47943]),
    ("vnncomp/sri_resnet_a/onnx/resnet_3b2_bn_mixup_adv_4.0_bs128_lr-1.onnx", &[1.1360095, -2.7450187, 0.99267966, 0.35946456, 2.0834558, -0.36838087, 1.9989545, -1.2146664, 0.44341514, -2.68572]),
    ("vnncomp/eran/onnx/ffnnSIGMOID__Point_6x200.onnx", &[-11.846164, -9.5705805, -11.156857, -4.078396, -10.657091, -0.8562926, -7.4026623, -8.664356, -7.1522784, -6.6794043]),
    ("vnncomp/eran/onnx/mnist_relu_9_200.onnx", &[0.0, 0.0, 0.0, 0.0, 2.1346183, 0.0, 0.0, 0.25415352, 0.11133571, 1.994243]),
    ("vnncomp/tllverifybench/onnx/tllBench_n=2_N=M=8_m=1_instance_0_0.onnx", &[-1.4516716]),
    ("vnncomp/tllverifybench/onnx/tllBench_n=2_N=M=40_m=1_instance_4_2.onnx.gz", &[-1.3022478]),
    ("vnncomp/oval21/onnx/cifar_deep_kw.onnx", &[0.53672165, -3.4080293, 2.6751401, 0.47806433, 2.7030385, 0.221208, 1.7143759, -0.2728997, -1.1396223, -3.5079978]),
    ("vnncomp/rl_benchmarks/onnx/dubinsrejoin.onnx", &[-0.6874499, -1.6858456, -0.05480425, 1.707805, -4.9060106, 1.8544006, -0.21513899, 2.645693]),
    ("preimage/models/vcas_21_1.onnx", &[34.30704, -299.76392, 29.527782, -101.70092, 11.225858, -58.426, -61.20161, -62.15685, -61.038383]),
    ("preimage/models/auto_park_20.onnx", &[4.0070467, -3.677554, 3.5573363, -3.8950622, -0.8942351, 5.43369, -5.7158213, 0.5117705]),
    ("vnncomp/test/onnx/test_small.onnx", &[45.11386]),
];

/// The benchmark networks, `$DIADEM_DATA` or the workspace's neighbour `shared/data`.
fn data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from);
    if !folder.is_dir() {
        eprintln!("SKIPPED: no benchmark networks at {} (set DIADEM_DATA)", folder.display());
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
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".onnx") || name.ends_with(".onnx.gz") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The input at which outputs were recorded, in f32 as the recording took it.
fn probe(n: usize) -> Vec<f64> {
    (0..n).map(|i| f64::from((((i * 37 + 11) % 101) as f64 / 101.0 - 0.5) as f32)).collect()
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
    for (file, expected) in RECORDED {
        let network = read(&data.join(file)).unwrap();
        let x = probe(network.n_inputs());
        // The recording summed in f32 (unit roundoff 6e-8), over up to some thousand terms.
        assert_close(&network.evaluate(&x).unwrap(), expected, 2e-5, file);
        assert_close(&network.simplify().unwrap().evaluate(&x).unwrap(), expected, 2e-5, file);
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
        eprintln!("{} -> {} nodes, errors {relative:.1e} {absolute:.1e}: {name}", network.nodes().len(), simple.nodes().len());
    }
}

#[test]
fn relu_networks_without_normalisation_simplify_exactly() {
    let Some(data) = data() else { return };
    for file in ["vnncomp/acasxu/onnx/ACASXU_run2a_1_1_batch_2000.onnx", "vnncomp/marabou-cifar10/onnx/cifar10_small.onnx"] {
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
