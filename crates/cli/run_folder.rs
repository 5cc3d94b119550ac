use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A folder of its own for everything that one run writes; no run overwrites another.
#[derive(Debug)]
pub struct RunFolder {
    root: PathBuf,
}

/// Most runs of one kind in a folder.
const MOST: usize = 9_999;

impl RunFolder {
    /// Makes the first free one of `<parent>/<kind>_001`, `_002`, …, and the folders above it.
    pub fn create(parent: &Path, kind: &str) -> Result<Self> {
        let advice = |path: &Path| format!("{}: the folder cannot be made; choose another with --out", path.display());
        fs::create_dir_all(parent).with_context(|| advice(parent))?;
        for number in 1..=MOST {
            let root = parent.join(format!("{kind}_{number:03}"));
            match fs::create_dir(&root) {
                Ok(()) => return Ok(Self { root }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| advice(&root)),
            }
        }
        bail!("{}: it holds {MOST} runs; choose another with --out", parent.display())
    }

    /// The folder of a run that goes on.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            bail!("{}: there is no such folder of a run", root.display());
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a text into a file in it.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_folder_of_its_own() {
        let parent = tempfile::tempdir().unwrap();
        let first = RunFolder::create(&parent.path().join("a/b"), "train").unwrap();
        let second = RunFolder::create(&parent.path().join("a/b"), "train").unwrap();
        assert!(first.root().ends_with("a/b/train_001") && second.root().ends_with("a/b/train_002"));
        fs::write(parent.path().join("file"), "").unwrap();
        let error = RunFolder::create(&parent.path().join("file"), "train").unwrap_err();
        assert!(format!("{error:#}").contains("--out"), "{error:#}");
    }
}
