//! The safetensors format.

use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{StateDict, StateTensor, floats_of};
use crate::Error;

pub(super) fn read(path: &Path) -> Result<StateDict, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| Error::file(path, format!("not a safetensors file, or a damaged one ({error})")))?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let is_double = match view.dtype() {
            Dtype::F32 => false,
            Dtype::F64 => true,
            other => return Err(Error::file(path, format!("tensor '{name}' holds {other:?}; expected F32 or F64"))),
        };
        tensors.push(StateTensor { shape: view.shape().to_vec(), values: floats_of(view.data(), is_double), name });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    StateDict::new(tensors).map_err(|error| Error::file(path, error.to_string()))
}

pub(super) fn write(state: &StateDict, path: &Path) -> Result<(), Error> {
    let bytes: Vec<(&StateTensor, Vec<u8>)> =
        state.tensors().iter().map(|tensor| (tensor, tensor.to_bytes())).collect();
    let mut views = Vec::new();
    for (tensor, bytes) in &bytes {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        views.push((tensor.name.as_str(), view.map_err(|error| Error::file(path, error.to_string()))?));
    }
    let bytes = safetensors::serialize(views, None).map_err(|error| Error::file(path, error.to_string()))?;
    std::fs::write(path, bytes).map_err(Error::io(path))
}
