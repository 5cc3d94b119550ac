//! A folder with one sub-folder of images per class.

use std::fs;
use std::path::{Path, PathBuf};

use network::Image;

use super::source::Selection;
use super::{Dataset, picture};
use crate::Error;

/// Endings of image files.
const ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "ppm", "pgm", "pnm"];

/// Images and their labels, before they are decoded.
pub(super) type Listed = Vec<(PathBuf, usize)>;

/// Reads a folder whose sub-folders, in the order of their names (numbers by value), are the classes 0, 1, ….
pub(super) fn read(folder: &Path, channels: usize, selection: &Selection) -> Result<Dataset, Error> {
    let mut classes: Vec<PathBuf> = entries(folder)?.into_iter().filter(|path| path.is_dir()).collect();
    classes.sort_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (name.parse::<u64>().unwrap_or(u64::MAX), name)
    });
    if classes.is_empty() {
        return Err(Error::file(folder, "expected one sub-folder of images per class, found none"));
    }
    let mut listed = Listed::new();
    for (label, class) in classes.iter().enumerate() {
        let images = images(class)?;
        if images.is_empty() {
            return Err(Error::file(class, format!("the class is empty: expected images ({})", ENDINGS.join(", "))));
        }
        listed.extend(images.into_iter().map(|path| (path, label)));
    }
    decode(&listed, classes.len(), channels, selection, |_, image| Ok(image))
}

/// The images of a folder, in the order of their names.
pub(super) fn images(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_image = |path: &PathBuf| {
        path.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
    };
    Ok(entries(folder)?.into_iter().filter(is_image).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let read = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut paths =
        read.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(Error::io(folder))?;
    paths.sort();
    Ok(paths)
}

/// Decodes what is selected; `cut` may take a part of an image (by its index in the list).
pub(super) fn decode(
    listed: &Listed,
    n_classes: usize,
    channels: usize,
    selection: &Selection,
    cut: impl Fn(usize, Image) -> Result<Image, Error>,
) -> Result<Dataset, Error> {
    let mut size = selection.size;
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for (i, (path, label)) in listed.iter().enumerate().filter(|(_, (_, label))| selection.keeps(*label)) {
        let image = cut(i, picture::read(path, channels)?)?;
        let [_, own_height, own_width] = image.shape();
        let [height, width] = *size.get_or_insert([own_height, own_width]);
        if selection.size.is_none() && [height, width] != [own_height, own_width] {
            return Err(Error::file(
                path,
                format!(
                    "the image is {own_height}×{own_width} but the first is {height}×{width}: give a size to scale to"
                ),
            ));
        }
        pixels.extend(image.resized(height, width)?.pixels().iter().map(|&pixel| pixel as f32));
        labels.push(*label);
    }
    let Some([height, width]) = size.filter(|_| !labels.is_empty()) else {
        return Err(Error::invalid("no image belongs to a selected class"));
    };
    Dataset::new([channels, height, width], pixels, labels, n_classes)
}
