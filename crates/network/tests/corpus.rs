//! Every file of the shared data (`DIADEM_DATA`, by default `../shared/data` beside the workspace) is read as it is meant.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use network::{instances, nnet, vnnlib};

/// The folder of this name in the shared data; says loudly when it is absent.
fn data(name: &str) -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from).join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    // Straight to the terminal: the test harness hides what passing tests print.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: {} is absent; set DIADEM_DATA to the folder of the shared data",
        folder.display()
    );
    None
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

#[test]
fn every_property_has_the_sizes_that_its_list_states() {
    let Some(folder) = data("vnncomp") else { return };
    let lists: Vec<PathBuf> = files_below(&folder).into_iter().filter(|path| path.ends_with("instances.csv")).collect();
    assert!(!lists.is_empty());
    let mut seen = BTreeSet::new();
    for list in lists {
        for instance in instances::read(&list).unwrap() {
            assert!(instance.timeout_s.is_some() && instance.onnx.is_file(), "{}:{}", list.display(), instance.line);
            let column = |name: &str| -> usize {
                let (_, value) = instance.extra.iter().find(|(column, _)| column == name).unwrap();
                value.parse().unwrap()
            };
            let property = vnnlib::read(&instance.vnnlib).unwrap();
            let name = instance.vnnlib.display();
            property.check_sizes(column("n_in"), column("n_out")).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(property.disjuncts.len(), column("n_clauses"), "{name}");
            for disjunct in &property.disjuncts {
                let region = &disjunct.region;
                assert!((0..property.n_inputs).all(|i| region.lower[i] <= region.upper[i]), "{name}");
            }
            seen.insert(instance.vnnlib.canonicalize().unwrap());
        }
    }
    let is_property = |path: &PathBuf| path.to_string_lossy().contains(".vnnlib");
    for path in files_below(&folder).into_iter().filter(is_property) {
        let path = path.canonicalize().unwrap();
        if !seen.contains(&path) {
            vnnlib::read(&path).unwrap();
        }
    }
}

#[test]
fn an_nnet_file_agrees_with_its_onnx_twin() {
    let Some(folder) = data("preimage") else { return };
    let network = nnet::read(&folder.join("models/auto_park_20.nnet")).unwrap();
    // From onnxruntime 2·f((x − 1)/2) + 1, f the ONNX network: it has no normalisation and f32 weights of nine digits, where
    // the text has six.
    let recorded = [
        ([0.5, 1.0], [5.795_805, -4.103_137, 5.825_359, -3.715_804]),
        ([1.0, 1.0], [0.852_876, 0.687_536, 0.956_372, 0.943_733]),
        ([0.0, 0.0], [16.024_882, 0.488_776, 1.014_816, -13.939_530]),
        ([2.0, 2.0], [-13.752_223, -1.223_340, 2.601_239, 15.631_925]),
        ([1.5, 0.25], [2.287_843, 11.666_995, -10.163_151, -1.012_269]),
        ([-3.0, 7.0], [5.585_785, -53.532_993, 55.999_698, -1.509_389]),
    ];
    for (x, expected) in recorded {
        let y = network.evaluate(&x).unwrap();
        assert!(y.iter().zip(expected).all(|(y, e): (&f64, f64)| (y - e).abs() < 1e-3), "{x:?}: {y:?} {expected:?}");
    }
}
