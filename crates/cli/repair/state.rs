use std::path::PathBuf;

use anyhow::{Context, Result};
use driver::repair::Violation;
use serde::{Deserialize, Serialize};

use crate::run_folder::RunFolder;

/// What a run knows, so that it can go on.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Every counterexample that was ever found.
    pub violations: Vec<Violation>,
    /// See the tuner.
    pub pressure: usize,
    /// See the tuner.
    pub n_open: usize,
}

/// The same as JSON.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StateFile {
    pressure: usize,
    n_open: usize,
    violations: Vec<ViolationFields>,
}

/// A counterexample as JSON.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ViolationFields {
    requirement: usize,
    input: Vec<f64>,
    output: Vec<f64>,
    similarity: Option<f64>,
    margin: f64,
}

/// The file's name.
const NAME: &str = "state.json";

impl State {
    /// Writes it into a run's folder; what was there is replaced only once the new file is whole.
    pub fn write(&self, folder: &RunFolder) -> Result<()> {
        let fields = |violation: &Violation| {
            let Violation { requirement, input, output, similarity, margin } = violation.clone();
            ViolationFields { requirement, input, output, similarity, margin }
        };
        let violations = self.violations.iter().map(fields).collect();
        let file = StateFile { pressure: self.pressure, n_open: self.n_open, violations };
        folder.write("state.json.partial", &(serde_json::to_string(&file)? + "\n"))?;
        let path = Self::path(folder);
        std::fs::rename(folder.path("state.json.partial"), &path)
            .with_context(|| format!("{}: cannot be written", path.display()))
    }

    /// Reads it, if there is one.
    pub fn read(folder: &RunFolder) -> Result<Self> {
        let path = Self::path(folder);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = crate::input::text(&path)?;
        let file: StateFile = serde_json::from_str(&text)
            .with_context(|| format!("{}: expected what `diadem repair` left there", path.display()))?;
        let violation = |fields: ViolationFields| {
            let ViolationFields { requirement, input, output, similarity, margin } = fields;
            Violation { requirement, input, output, similarity, margin }
        };
        let violations = file.violations.into_iter().map(violation).collect();
        Ok(Self { violations, pressure: file.pressure, n_open: file.n_open })
    }

    fn path(folder: &RunFolder) -> PathBuf {
        folder.path(NAME)
    }
}
