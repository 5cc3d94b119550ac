//! Reading ONNX models (operator sets 6 to 21), and writing them. What is read is lowered to the five operations of a [`Network`].
//!
//! The network means what the file computes in *real* arithmetic. Weights of the file are exact; where the importer itself has
//! to round (averages, divisions, folded normalisations), the affine map's [`WeightError`](crate::WeightError) says by how much.
//!
//! A batch dimension that is symbolic or missing is 1. Shapes that a file declares for anything but its input are ignored.

mod lower;
mod operator;
mod proto;
mod shape;
mod tensor;
mod write;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::{Error, Network};

pub use write::{to_bytes, write};

/// The largest model, decompressed: what the protobuf format itself allows.
const MAX_BYTES: u64 = (1 << 31) - 1;

/// The two bytes with which a gzip file starts.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads a model from a file, gzip-compressed or not.
///
/// # Errors
/// When the file cannot be read, is no ONNX model, or uses an operator that cannot be lowered; the error names the file.
pub fn read(path: &Path) -> Result<Network, Error> {
    file_bytes(path).and_then(|bytes| from_bytes(&bytes)).map_err(|error| error.in_file(path))
}

/// Reads a model from a file as [`read`] does, but takes its input to have this shape (batch dimension included).
///
/// For files whose declared input shape is wrong; every operator must accept the given one.
///
/// # Errors
/// As [`read`].
pub fn read_with_input_shape(path: &Path, shape: &[usize]) -> Result<Network, Error> {
    file_bytes(path).and_then(|bytes| import(&bytes, Some(shape))).map_err(|error| error.in_file(path))
}

/// Reads a model from the bytes of a file, gzip-compressed or not.
///
/// # Errors
/// When the bytes are no ONNX model, or it uses an operator that cannot be lowered.
pub fn from_bytes(bytes: &[u8]) -> Result<Network, Error> {
    if bytes.starts_with(&GZIP_MAGIC) {
        return import(&decompress(bytes)?, None);
    }
    import(bytes, None)
}

fn import(bytes: &[u8], input_shape: Option<&[usize]>) -> Result<Network, Error> {
    lower::network(&decode(bytes)?, input_shape, lower::coefficient_budget(bytes.len()))
}

/// The model in a file, decompressed.
fn file_bytes(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = read_at_most(File::open(path).map_err(crate::ErrorKind::Io)?)?;
    if bytes.starts_with(&GZIP_MAGIC) {
        return decompress(&bytes);
    }
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        return Err(Error::format("it is named .gz but is not gzip-compressed"));
    }
    Ok(bytes)
}

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    read_at_most(MultiGzDecoder::new(bytes))
        .map_err(|error| Error::format(format!("cannot be decompressed: {}", error.kind)))
}

fn read_at_most(reader: impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(crate::ErrorKind::Io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::format(format!("the model is larger than {MAX_BYTES} bytes, the format's own limit")));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<proto::Model, Error> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    proto::Model::decode(bytes).map_err(|error| {
        Error::format(match missing_bytes(bytes) {
            Some(n) => format!("the file is truncated: at least {n} bytes are missing at its end"),
            None => format!("not an ONNX model ({error})"),
        })
    })
}

/// How many bytes the last top-level field of a model lacks; `None` when the bytes do not look like a model cut short.
fn missing_bytes(bytes: &[u8]) -> Option<u64> {
    /// The largest field number of a `ModelProto`.
    const MAX_TAG: u32 = 25;
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok((tag, wire_type)) = decode_key(&mut rest) else { return None };
        if tag > MAX_TAG {
            return None;
        }
        match wire_type {
            WireType::Varint => drop(decode_varint(&mut rest).ok()?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).ok()?;
                if length > rest.len() as u64 {
                    return (length <= MAX_BYTES).then(|| length - rest.len() as u64);
                }
                rest = &rest[length as usize..];
            }
            _ => return None,
        }
    }
    None
}
