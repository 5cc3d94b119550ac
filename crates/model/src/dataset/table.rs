//! Tables of numbers: CSV and NPY.

use std::fs;
use std::path::Path;

use super::Dataset;
use super::source::Selection;
use crate::Error;

/// Reads a CSV file whose first line names the columns.
pub(super) fn read_csv(path: &Path, label: Option<&str>, selection: &Selection) -> Result<Dataset, Error> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = lines.next() else { return Err(Error::file(path, "the file is empty")) };
    let names: Vec<&str> = header.split(',').map(str::trim).collect();
    let column = match label {
        None => names.len() - 1,
        Some(label) => names
            .iter()
            .position(|name| *name == label)
            .ok_or_else(|| Error::line(path, 1, format!("there is no column '{label}' among {}", names.join(", "))))?,
    };
    if names.len() < 2 {
        return Err(Error::line(path, 1, "expected columns of numbers and a label, separated by commas"));
    }
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for (i, line) in lines {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        if fields.len() != names.len() {
            return Err(Error::line(path, i + 1, format!("expected {} fields, got {}", names.len(), fields.len())));
        }
        let mut row = Vec::with_capacity(names.len() - 1);
        for (k, field) in fields.iter().enumerate().filter(|&(k, _)| k != column) {
            let value = field.parse::<f32>().ok().filter(|value| value.is_finite());
            row.push(value.ok_or_else(|| {
                Error::line(path, i + 1, format!("column '{}': expected a finite number, got '{field}'", names[k]))
            })?);
        }
        let class = fields[column].parse::<usize>().ok().filter(|&class| class < MAX_CLASSES);
        let class = class.ok_or_else(|| {
            let name = names[column];
            Error::line(
                path,
                i + 1,
                format!("column '{name}': expected a label, a whole number from 0, got '{}'", fields[column]),
            )
        })?;
        if selection.keeps(class) {
            values.extend(row);
            labels.push(class);
        }
    }
    of_rows(path, [1, 1, names.len() - 1], values, labels, selection)
}

/// More classes than this is a column that is no label.
const MAX_CLASSES: usize = 1 << 16;

/// Reads two NPY arrays.
pub(super) fn read_npy(values: &Path, labels: &Path, selection: &Selection) -> Result<Dataset, Error> {
    let (shape, numbers) = npy(values)?;
    let (label_shape, classes) = npy(labels)?;
    let sample = match *shape.as_slice() {
        [_, c] => [1, 1, c],
        [_, h, w] => [1, h, w],
        [_, c, h, w] => [c, h, w],
        _ => return Err(Error::file(values, format!("expected an array [n, …] of rank 2 to 4, got {shape:?}"))),
    };
    if label_shape != [shape[0]] {
        return Err(Error::file(labels, format!("expected {} labels, got an array {label_shape:?}", shape[0])));
    }
    let size: usize = sample.iter().product();
    let (mut kept, mut kept_labels) = (Vec::new(), Vec::new());
    for (i, &class) in classes.iter().enumerate() {
        if !(class >= 0.0 && class.fract() == 0.0 && class < MAX_CLASSES as f64) {
            return Err(Error::file(labels, format!("label {i} is {class}, not a whole number from 0")));
        }
        if selection.keeps(class as usize) {
            kept.extend(numbers[i * size..(i + 1) * size].iter().map(|&value| value as f32));
            kept_labels.push(class as usize);
        }
    }
    of_rows(values, sample, kept, kept_labels, selection)
}

fn of_rows(
    path: &Path,
    shape: [usize; 3],
    values: Vec<f32>,
    labels: Vec<usize>,
    selection: &Selection,
) -> Result<Dataset, Error> {
    if selection.size.is_some_and(|size| size != [shape[1], shape[2]]) {
        return Err(Error::file(path, "tables of numbers cannot be scaled to another size"));
    }
    let Some(&most) = labels.iter().max() else {
        return Err(Error::file(path, "the file holds no sample of a selected class"));
    };
    Dataset::new(shape, values, labels, most + 1).map_err(|error| Error::file(path, error.to_string()))
}

/// The shape and values of an NPY file (versions 1 to 3) of little-endian or one-byte numbers in C order.
fn npy(path: &Path) -> Result<(Vec<usize>, Vec<f64>), Error> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let bad = |message: &str| Error::file(path, format!("{message} (NPY)"));
    let (header, data) = (|| {
        let rest = bytes.strip_prefix(b"\x93NUMPY")?;
        let (&[major, _], rest) = rest.split_first_chunk()?;
        let (length, rest) = if major == 1 {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        } else {
            let (length, rest) = rest.split_first_chunk()?;
            (u32::from_le_bytes(*length) as usize, rest)
        };
        Some((std::str::from_utf8(rest.get(..length)?).ok()?, rest.get(length..)?))
    })()
    .ok_or_else(|| bad("the header is damaged"))?;
    let value_of = |key: &str| header.split(&format!("'{key}':")).nth(1).map(str::trim_start);
    let kind = value_of("descr").and_then(|text| text.split('\'').nth(1)).ok_or_else(|| bad("no element type"))?;
    if value_of("fortran_order").is_none_or(|text| !text.starts_with("False")) {
        return Err(bad("arrays in Fortran order are not read: save a copy in C order"));
    }
    let shape: Option<Vec<usize>> = value_of("shape").and_then(|text| {
        let inside = text.strip_prefix('(')?.split(')').next()?;
        inside.split(',').map(str::trim).filter(|field| !field.is_empty()).map(|field| field.parse().ok()).collect()
    });
    let shape = shape.ok_or_else(|| bad("no shape"))?;
    macro_rules! numbers {
        ($type:ty) => {
            data.chunks_exact(size_of::<$type>())
                .map(|bytes| <$type>::from_le_bytes(bytes.try_into().expect("chunks have this length")) as f64)
                .collect::<Vec<f64>>()
        };
    }
    let (width, values) = match kind {
        "<f4" => (4, numbers!(f32)),
        "<f8" => (8, numbers!(f64)),
        "|u1" => (1, numbers!(u8)),
        "<i4" => (4, numbers!(i32)),
        "<i8" => (8, numbers!(i64)),
        _ => return Err(bad(&format!("elements of type {kind} are not read; use f4, f8, u1, i4 or i8"))),
    };
    let expected = shape.iter().try_fold(1_usize, |product, &d| product.checked_mul(d));
    if expected != Some(values.len()) || data.len() != values.len() * width {
        return Err(bad(&format!("shape {shape:?} does not fit {} bytes of data: the file is truncated", data.len())));
    }
    Ok((shape, values))
}
