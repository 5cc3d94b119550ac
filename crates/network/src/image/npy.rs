//! `NumPy`'s array files: a magic number, a header that is a Python dictionary, raw values.
//!
//! Source: `NumPy` enhancement proposal 1 (versions 1 to 3 of the format).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::image::{Image, MOST_VALUES};
use crate::{Error, ErrorKind};

/// What every file starts with.
const MAGIC: &[u8] = b"\x93NUMPY";

/// Longest header that we read: ours are under 200 bytes.
const LONGEST_HEADER: usize = 1 << 16;

/// How a value is stored.
#[derive(Clone, Copy)]
enum Kind {
    Byte,
    Float32,
    Float64,
}

impl Image {
    /// Reads an array `[channels, height, width]` or `[height, width]` of float32 or float64 in `[0, 1]`, or of uint8 in 0 … 255.
    ///
    /// # Errors
    /// When the file cannot be read, is something else, or holds what is no image ([`Image::new`]).
    pub fn read_npy(path: &Path) -> Result<Self, Error> {
        let most_bytes = (8 * MOST_VALUES + LONGEST_HEADER) as u64;
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(most_bytes).read_to_end(&mut bytes));
        read.map_err(|error| Error::from(ErrorKind::Io(error)).in_file(path))?;
        Self::parse_npy(&bytes).map_err(|error| error.in_file(path))
    }

    /// The image that the bytes of such a file hold.
    ///
    /// # Errors
    /// When the bytes are something else, or hold what is no image ([`Image::new`]).
    pub fn parse_npy(bytes: &[u8]) -> Result<Self, Error> {
        let (header, values) = header_and_values(bytes)?;
        let (kind, is_big_endian) = kind(entry(header, "descr")?)?;
        if entry(header, "fortran_order")? != "False" {
            return Err(Error::format("the array is in Fortran order; save numpy.ascontiguousarray of it"));
        }
        let shape = shape(entry(header, "shape")?)?;
        let n = Image::n_values(shape)?;
        let size = kind.size();
        if values.len() != n * size {
            let got = values.len();
            return Err(Error::format(format!(
                "an array {shape:?} of {size} bytes each needs {}, got {got}",
                n * size
            )));
        }
        let single = |&value: &[u8; 4]| {
            f64::from(if is_big_endian { f32::from_be_bytes(value) } else { f32::from_le_bytes(value) })
        };
        let double =
            |&value: &[u8; 8]| if is_big_endian { f64::from_be_bytes(value) } else { f64::from_le_bytes(value) };
        match kind {
            Kind::Byte => Self::from_8_bit(shape, values),
            Kind::Float32 => Self::new(shape, values.as_chunks().0.iter().map(single).collect()),
            Kind::Float64 => Self::new(shape, values.as_chunks().0.iter().map(double).collect()),
        }
    }

    /// The image as the bytes of a file of float64, `[channels, height, width]`.
    pub fn to_npy(&self) -> Vec<u8> {
        let [c, h, w] = self.shape;
        let mut header = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({c}, {h}, {w}), }}");
        // Values start at a multiple of 64 bytes, after magic number, version and length.
        let padding = 63 - (MAGIC.len() + 4 + header.len()) % 64;
        header.push_str(&" ".repeat(padding));
        header.push('\n');
        let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        self.pixels.iter().for_each(|pixel| bytes.extend(pixel.to_le_bytes()));
        bytes
    }
}

impl Kind {
    fn size(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Float32 => 4,
            Self::Float64 => 8,
        }
    }
}

/// The header's text and the values after it.
fn header_and_values(bytes: &[u8]) -> Result<(&str, &[u8]), Error> {
    let cut = || Error::format("the file ends inside its header");
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| Error::format("this is no .npy file"))?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(cut)?;
    let n_bytes_of_length = match version[0] {
        1 => 2,
        2 | 3 => 4,
        other => return Err(Error::format(format!("version {other} of the .npy format is not known (1 to 3 are)"))),
    };
    let (length, rest) = rest.split_at_checked(n_bytes_of_length).ok_or_else(cut)?;
    let length = length.iter().rev().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    if length > LONGEST_HEADER {
        return Err(Error::format(format!("the header is {length} bytes long, more than {LONGEST_HEADER}")));
    }
    let (header, values) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| Error::format("the header is not UTF-8 text"))?;
    Ok((header, values))
}

/// The value of a key of the header: a quoted text without its quotes, a tuple without its parentheses, or a word.
fn entry<'a>(header: &'a str, key: &str) -> Result<&'a str, Error> {
    let missing = || Error::format(format!("the header has no '{key}' that can be read: {}", header.trim_end()));
    let quoted = [format!("'{key}'"), format!("\"{key}\"")];
    let place = quoted.iter().find_map(|key| Some(header.find(key)? + key.len())).ok_or_else(missing)?;
    let value = header[place..].trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    for (open, close) in [('\'', '\''), ('"', '"'), ('(', ')')] {
        if let Some(inner) = value.strip_prefix(open) {
            return inner.split_once(close).map(|(inner, _)| inner).ok_or_else(missing);
        }
    }
    value.split([',', '}']).next().map(str::trim_end).ok_or_else(missing)
}

/// What a `descr` says, and whether its bytes run from the large end.
fn kind(descr: &str) -> Result<(Kind, bool), Error> {
    let (order, name) = descr.split_at(descr.find(|c: char| !"<>=|".contains(c)).unwrap_or(descr.len()));
    let kind = match name {
        "u1" => Kind::Byte,
        "f4" => Kind::Float32,
        "f8" => Kind::Float64,
        _ => {
            return Err(Error::format(format!(
                "an array of '{descr}' is no image: expected uint8 (u1), float32 (f4) or float64 (f8)"
            )));
        }
    };
    Ok((kind, order == ">"))
}

/// `[C, H, W]` of a tuple of two or three sides.
fn shape(tuple: &str) -> Result<[usize; 3], Error> {
    let sides: Option<Vec<usize>> =
        tuple.split(',').map(str::trim).filter(|side| !side.is_empty()).map(|side| side.parse().ok()).collect();
    match sides.as_deref() {
        Some(&[height, width]) => Ok([1, height, width]),
        Some(&[n_channels, height, width]) => Ok([n_channels, height, width]),
        _ => Err(Error::format(format!(
            "an array of shape ({tuple}) is no image: expected (channels, height, width) or (height, width)"
        ))),
    }
}
