use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dataset, folder, gtsrb, idx, shapes, table};
use crate::Error;

/// Where samples come from; relative paths start where the program runs.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// A folder with MNIST in IDX files, gzip-compressed or not, under any of their usual names; also below `MNIST/raw`
    Mnist(PathBuf),
    /// A folder with GTSRB: the original PPM images and CSV files as distributed or as torchvision places them, or IDX files
    Gtsrb {
        /// The folder
        folder: PathBuf,
        /// Whether the annotated sign is cut out of the image; the original images have a margin
        #[serde(default)]
        cut: bool,
    },
    /// One pair of IDX files, gzip-compressed or not
    Idx {
        /// Unsigned bytes, `[n, height, width]` or `[n, channels, height, width]`
        images: PathBuf,
        /// Unsigned bytes, `[n]`
        labels: PathBuf,
    },
    /// A folder with one sub-folder of images (PNG, JPEG, PPM) per class, which are numbered in the order of their names
    Images {
        /// The folder
        folder: PathBuf,
        /// 1 (grey) or 3 (colour)
        #[serde(default = "three")]
        channels: usize,
    },
    /// A table of numbers: CSV with a header
    Csv {
        /// The file
        file: PathBuf,
        /// The column of the label, a whole number from 0; the last one unless told
        #[serde(default)]
        label: Option<String>,
    },
    /// Two NPY arrays
    Npy {
        /// Numbers, `[n, …]` with up to three more dimensions
        values: PathBuf,
        /// Whole numbers from 0, `[n]`
        labels: PathBuf,
    },
    /// Generated grey images of discs, squares, triangles and crosses (classes 0 to 3) of random size, place and brightness, with noise
    Shapes {
        /// Number of images
        n: usize,
        /// Height and width in pixels, at least 8
        size: usize,
        /// Where randomness starts
        #[serde(default)]
        seed: u64,
    },
}

/// Which part of a data set that comes in two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// What is trained on.
    Train,
    /// What accuracy is measured on.
    Test,
}

/// What is taken of a source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The classes, by their labels in the files; label `classes[k]` becomes `k`. Empty: all, as they are.
    pub classes: Vec<usize>,
    /// Height and width to which images are scaled (as torchvision does); as they are unless told.
    pub size: Option<[usize; 2]>,
    /// Most samples, counted after the choice of classes.
    pub limit: Option<usize>,
}

impl Selection {
    /// Whether samples with this label are taken.
    pub(super) fn keeps(&self, label: usize) -> bool {
        self.classes.is_empty() || self.classes.contains(&label)
    }
}

impl Source {
    /// Reads what is selected of one part. Sources that come in one part give the same for both.
    ///
    /// # Errors
    /// When files are missing (the message names those to place), damaged, or hold no sample of a selected class.
    pub fn read(&self, split: Split, selection: &Selection) -> Result<Dataset, Error> {
        if selection.size.is_some_and(|size| size.contains(&0)) {
            return Err(Error::invalid("images cannot be scaled to a height or width of 0"));
        }
        let read = match self {
            Self::Mnist(folder) => {
                let [images, labels] = idx_pair(folder, "MNIST", split, &["", "MNIST/raw"], &MNIST_NAMES)?;
                idx::read(&images, &labels, selection)?
            }
            Self::Gtsrb { folder, cut } => read_gtsrb(folder, *cut, split, selection)?,
            Self::Idx { images, labels } => idx::read(images, labels, selection)?,
            Self::Images { folder, channels } => folder::read(folder, *channels, selection)?,
            Self::Csv { file, label } => table::read_csv(file, label.as_deref(), selection)?,
            Self::Npy { values, labels } => table::read_npy(values, labels, selection)?,
            Self::Shapes { n, size, seed } => shapes::generate(*n, *size, *seed, selection)?,
        };
        let read = if selection.classes.is_empty() { read } else { read.with_classes(&selection.classes)? };
        Ok(match selection.limit {
            Some(limit) => read.truncated(limit),
            None => read,
        })
    }

    /// The paths, to be made absolute or replaced.
    pub fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Mnist(folder) | Self::Gtsrb { folder, .. } | Self::Images { folder, .. } => vec![folder],
            Self::Idx { images: a, labels: b } | Self::Npy { values: a, labels: b } => vec![a, b],
            Self::Csv { file, .. } => vec![file],
            Self::Shapes { .. } => Vec::new(),
        }
    }
}

/// Beginnings of the names of image and label files, training part then test part; the endings vary.
const MNIST_NAMES: [[&str; 2]; 2] = [["train", "mnist-train"], ["t10k", "mnist-test"]];
const GTSRB_NAMES: [[&str; 2]; 2] = [["gtsrb32-train", "train"], ["gtsrb32-test", "test"]];

fn read_gtsrb(root: &Path, is_cut: bool, split: Split, selection: &Selection) -> Result<Dataset, Error> {
    let first = |places: &[&str]| places.iter().map(|place| root.join(place)).find(|path| path.exists());
    let training = ["gtsrb/GTSRB/Training", "GTSRB/Training", "GTSRB/Final_Training/Images", "Final_Training/Images"];
    let images = ["gtsrb/GTSRB/Final_Test/Images", "GTSRB/Final_Test/Images", "Final_Test/Images"];
    let tables = ["gtsrb/GT-final_test.csv", "GTSRB/GT-final_test.csv", "GT-final_test.csv"];
    match split {
        Split::Train => {
            if let Some(folder) = first(&training) {
                return gtsrb::read_training(&folder, is_cut, selection);
            }
        }
        Split::Test => {
            if let (Some(images), Some(table)) = (first(&images), first(&tables)) {
                return gtsrb::read_test(&images, &table, is_cut, selection);
            }
        }
    }
    let [images, labels] =
        idx_pair(root, "GTSRB", split, &["", "gtsrb"], &GTSRB_NAMES).map_err(|error| match error {
            Error::File { path, line, message } => {
                let original = match split {
                    Split::Train => "or the original folder GTSRB/Training (or GTSRB/Final_Training/Images)",
                    Split::Test => "or the original folder GTSRB/Final_Test/Images and GT-final_test.csv",
                };
                Error::File { path, line, message: format!("{message}, {original}") }
            }
            other => other,
        })?;
    idx::read(&images, &labels, selection)
}

/// The image and the label file of a part, wherever they are below `root`.
fn idx_pair(
    root: &Path,
    name: &str,
    split: Split,
    folders: &[&str],
    beginnings: &[[&str; 2]; 2],
) -> Result<[PathBuf; 2], Error> {
    let beginnings = beginnings[usize::from(split == Split::Test)];
    let rank = if name == "MNIST" { 3 } else { 4 };
    let names =
        |beginning: &str| [format!("{beginning}-images-idx{rank}-ubyte"), format!("{beginning}-labels-idx1-ubyte")];
    for folder in folders {
        for names in beginnings.map(names) {
            for ending in ["", ".gz"] {
                let pair = names.clone().map(|name| root.join(folder).join(format!("{name}{ending}")));
                if pair.iter().all(|path| path.is_file()) {
                    return Ok(pair);
                }
            }
        }
    }
    let [images, labels] = names(beginnings[0]);
    Err(Error::file(
        root,
        format!("{name} is not here: place {images}.gz and {labels}.gz (or the same without .gz) there"),
    ))
}

fn three() -> usize {
    3
}
