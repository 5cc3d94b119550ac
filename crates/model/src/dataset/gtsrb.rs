//! The German traffic sign recognition benchmark as it is distributed: folders of PPM images with `;`-separated annotations.

use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{self, Listed};
use super::source::Selection;
use super::{Dataset, picture};
use crate::Error;

/// Number of classes of the benchmark.
const N_CLASSES: usize = 43;

/// One line of an annotation file.
struct Annotation {
    image: PathBuf,
    /// Top left corner and size of the sign, `[row, column]`.
    sign: Option<([usize; 2], [usize; 2])>,
    label: usize,
}

/// Reads the training part: one sub-folder (`00000` …) per class, each with images and perhaps `GT-00000.csv`.
pub(super) fn read_training(root: &Path, is_cut: bool, selection: &Selection) -> Result<Dataset, Error> {
    let mut annotations = Vec::new();
    for label in 0..N_CLASSES {
        let folder = root.join(format!("{label:05}"));
        if !folder.is_dir() || !selection.keeps(label) {
            continue;
        }
        let table = folder.join(format!("GT-{label:05}.csv"));
        if table.is_file() {
            annotations.extend(read_annotations(&table, &folder)?);
        } else {
            let images = folder::images(&folder)?.into_iter();
            annotations.extend(images.map(|image| Annotation { image, sign: None, label }));
        }
    }
    if annotations.is_empty() {
        return Err(Error::file(root, "expected a folder per class (00000, 00001, …) with PPM images"));
    }
    decode(&annotations, is_cut, selection)
}

/// Reads the test part: a folder of images and the file that labels them (`GT-final_test.csv`).
pub(super) fn read_test(images: &Path, table: &Path, is_cut: bool, selection: &Selection) -> Result<Dataset, Error> {
    decode(&read_annotations(table, images)?, is_cut, selection)
}

fn decode(annotations: &[Annotation], is_cut: bool, selection: &Selection) -> Result<Dataset, Error> {
    let listed: Listed = annotations.iter().map(|annotation| (annotation.image.clone(), annotation.label)).collect();
    folder::decode(&listed, N_CLASSES, 3, selection, |i, image| match annotations[i].sign {
        Some((corner, size)) if is_cut => picture::crop(&image, corner, size).ok_or_else(|| {
            Error::file(
                &annotations[i].image,
                format!("the annotated sign ({corner:?}, {size:?}) sticks out of the image"),
            )
        }),
        None if is_cut => {
            Err(Error::file(&annotations[i].image, "to cut out the sign, the folder's GT-*.csv is needed"))
        }
        _ => Ok(image),
    })
}

/// Lines `Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId`, with a header.
fn read_annotations(table: &Path, folder: &Path) -> Result<Vec<Annotation>, Error> {
    let text = fs::read_to_string(table).map_err(Error::io(table))?;
    let mut annotations = Vec::new();
    for (i, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.trim().split(';').collect();
        let number = |k: usize| fields.get(k).and_then(|field| field.parse::<usize>().ok());
        let read = || {
            let (left, top, right, bottom) = (number(3)?, number(4)?, number(5)?, number(6)?);
            let size = [(bottom + 1).checked_sub(top)?, (right + 1).checked_sub(left)?];
            let label = number(7).filter(|&label| label < N_CLASSES)?;
            Some(Annotation { image: folder.join(fields[0]), sign: Some(([top, left], size)), label })
        };
        annotations.push(read().ok_or_else(|| {
            let expected = "expected Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId with a class below 43";
            Error::line(table, i + 1, format!("{expected}, got '{line}'"))
        })?);
    }
    Ok(annotations)
}
