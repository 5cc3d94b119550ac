//! What the tests share.

use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use model::{Architecture, Classifier, Course, Dataset, Recipe, Selection, Source, Split, Trainer};

/// Layers out of JSON.
pub fn layers(json: &str) -> Architecture {
    serde_json::from_str(&format!("{{\"layers\": {json}}}")).unwrap()
}

/// A recipe out of JSON.
pub fn recipe(json: &str) -> Recipe {
    serde_json::from_str(json).unwrap()
}

/// Generated shapes.
pub fn shapes(n: usize, seed: u64) -> Dataset {
    Source::Shapes { n, size: 10, seed }.read(Split::Train, &Selection::default()).unwrap()
}

/// Trains without watching.
pub fn train(classifier: &mut Classifier, recipe: &Recipe, data: &Dataset, validation: Option<&Dataset>) -> Course {
    let trainer = Trainer { recipe, train: data, validation, seed: 3 };
    trainer.run(classifier, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// The project's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The reference data, or `None` (said loudly) where they are not.
pub fn reference() -> Option<PathBuf> {
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(|| root().join("../shared/data"), PathBuf::from);
    if folder.join("datasets").is_dir() {
        return Some(folder);
    }
    // Straight to the terminal: the test harness hides what passing tests print.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED: no reference data at {}; set DIADEM_DATA to the folder that has them",
        folder.display()
    );
    None
}

/// Asserts that two rows of scores agree to `1e-5` of their size.
pub fn assert_close(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let size = a.iter().fold(1.0_f32, |size, value| size.max(value.abs()));
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * size), "{a:?} {b:?}");
}
