//! `PyTorch`'s `.pt` files of a state dictionary: a ZIP archive with a pickle and one entry per tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use pytorch_reader::{DType, PytorchReader};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{StateDict, StateTensor, floats_of};
use crate::Error;

pub(super) fn read(path: &Path) -> Result<StateDict, Error> {
    let reader = PytorchReader::new(path)
        .map_err(|error| Error::file(path, format!("not a PyTorch file of tensors, or a damaged one ({error})")))?;
    let mut tensors = Vec::new();
    for (name, tensor) in reader.into_tensors() {
        if name.ends_with(".num_batches_tracked") {
            continue;
        }
        let is_double = match tensor.dtype() {
            DType::F32 => false,
            DType::F64 => true,
            other => {
                return Err(Error::file(
                    path,
                    format!("tensor '{name}' holds {other:?}; expected 32- or 64-bit floats"),
                ));
            }
        };
        let bytes = tensor.read().map_err(Error::io(path))?;
        tensors.push(StateTensor { shape: tensor.shape().to_vec(), values: floats_of(&bytes, is_double), name });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    StateDict::new(tensors).map_err(|error| Error::file(path, error.to_string()))
}

pub(super) fn write(state: &StateDict, path: &Path) -> Result<(), Error> {
    let file = File::create(path).map_err(Error::io(path))?;
    let mut archive = ZipWriter::new(BufWriter::new(file));
    let mut entries: Vec<(String, Vec<u8>)> = vec![
        ("data.pkl".into(), pickle(state)),
        ("byteorder".into(), b"little".to_vec()),
        ("version".into(), b"3\n".to_vec()),
    ];
    entries.extend(state.tensors().iter().enumerate().map(|(i, tensor)| (format!("data/{i}"), tensor.to_bytes())));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in entries {
        archive
            .start_file(format!("model/{name}"), options)
            .map_err(std::io::Error::from)
            .and_then(|()| archive.write_all(&bytes))
            .map_err(Error::io(path))?;
    }
    let mut file = archive.finish().map_err(std::io::Error::from).map_err(Error::io(path))?;
    file.flush().map_err(Error::io(path))
}

/// `OrderedDict` of name to `_rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict())`, in pickle protocol 2.
fn pickle(state: &StateDict) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    ordered_dict(&mut out);
    out.push(b'(');
    for (i, tensor) in state.tensors().iter().enumerate() {
        text(&mut out, &tensor.name);
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(&mut out, "storage");
        out.extend(b"ctorch\nFloatStorage\n");
        text(&mut out, &i.to_string());
        text(&mut out, "cpu");
        integer(&mut out, tensor.values.len());
        out.extend(b"tQ");
        integer(&mut out, 0);
        tuple(&mut out, &tensor.shape);
        let stride: Vec<usize> =
            (0..tensor.shape.len()).map(|axis| tensor.shape[axis + 1..].iter().product()).collect();
        tuple(&mut out, &stride);
        // NEWFALSE
        out.push(0x89);
        ordered_dict(&mut out);
        out.extend(b"tR");
    }
    out.extend(b"u.");
    out
}

fn ordered_dict(out: &mut Vec<u8>) {
    out.extend(b"ccollections\nOrderedDict\n)R");
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn integer(out: &mut Vec<u8>, value: usize) {
    // LONG1 of nine bytes: never negative, whatever the value.
    out.extend([0x8a, 9]);
    out.extend((value as u64).to_le_bytes());
    out.push(0);
}

fn tuple(out: &mut Vec<u8>, values: &[usize]) {
    out.push(b'(');
    values.iter().for_each(|&value| integer(out, value));
    out.push(b't');
}
