mod peer;
mod safe;
mod torch;

use std::path::Path;

use crate::Error;

pub use peer::PeerName;

/// Named tensors in order: what a classifier has learnt, as files carry it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateDict {
    tensors: Vec<StateTensor>,
}

/// One tensor of a [`StateDict`].
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// Its name, as `PyTorch` has it: `sequential.0.weight`.
    pub name: String,
    /// Its shape, in `PyTorch`'s layout (`[outputs, inputs]` for a matrix).
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

impl StateDict {
    /// Tensors in this order.
    ///
    /// # Errors
    /// When a shape does not fit its values, or a name is used twice.
    pub fn new(tensors: Vec<StateTensor>) -> Result<Self, Error> {
        for (i, tensor) in tensors.iter().enumerate() {
            if tensor.shape.iter().product::<usize>() != tensor.values.len() {
                let (name, shape, n) = (&tensor.name, &tensor.shape, tensor.values.len());
                return Err(Error::invalid(format!("tensor '{name}' of shape {shape:?} has {n} values")));
            }
            if tensors[..i].iter().any(|other| other.name == tensor.name) {
                return Err(Error::invalid(format!("two tensors are named '{}'", tensor.name)));
            }
        }
        Ok(Self { tensors })
    }

    /// The tensors.
    pub fn tensors(&self) -> &[StateTensor] {
        &self.tensors
    }

    /// The tensor with this name.
    pub fn get(&self, name: &str) -> Option<&StateTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Reads a file: safetensors, or `PyTorch` by the endings `pt` and `pth`.
    ///
    /// # Errors
    /// When the file cannot be read, is damaged, or holds anything but 32- or 64-bit floats.
    pub fn read(path: &Path) -> Result<Self, Error> {
        match ending(path)? {
            Ending::Safetensors => safe::read(path),
            Ending::Torch => torch::read(path),
        }
    }

    /// Writes a file: safetensors, or `PyTorch` by the endings `pt` and `pth`.
    ///
    /// # Errors
    /// When the file cannot be written or has another ending.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        match ending(path)? {
            Ending::Safetensors => safe::write(self, path),
            Ending::Torch => torch::write(self, path),
        }
    }
}

impl StateTensor {
    /// The values as little-endian bytes.
    fn to_bytes(&self) -> Vec<u8> {
        self.values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
}

/// The formats, by the endings of file names.
enum Ending {
    Safetensors,
    Torch,
}

fn ending(path: &Path) -> Result<Ending, Error> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => Ok(Ending::Safetensors),
        Some("pt" | "pth") => Ok(Ending::Torch),
        _ => Err(Error::file(path, "weights are in files that end in .safetensors, .pt or .pth")),
    }
}

/// Little-endian floats of 32 or 64 bits.
fn floats_of(bytes: &[u8], is_double: bool) -> Vec<f32> {
    if is_double {
        let value = |b: &[u8]| f64::from_le_bytes(b.try_into().expect("chunks of eight")) as f32;
        bytes.chunks_exact(8).map(value).collect()
    } else {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("chunks of four"))).collect()
    }
}
