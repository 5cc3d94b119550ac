use std::fs;
use std::path::Path;

use network::{Network, Property, nnet, onnx, vnnlib};

use crate::certificate::Digest;
use crate::check::Digests;
use crate::error::Error;

/// A question as files hold it.
#[derive(Debug, Clone)]
pub struct Files {
    /// The network, as it was read.
    pub network: Network,
    /// The property.
    pub property: Property,
    /// The digests of both files.
    pub digests: Digests,
}

impl Files {
    /// Reads a network (`NNet` by its extension, else ONNX) and a property (VNN-LIB), either perhaps compressed by gzip.
    ///
    /// Some networks declare an input of a higher rank than the one they compute on; such a network is read for as many inputs as
    /// the property has.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(network: &Path, property: &Path) -> Result<Self, Error> {
        let digests = Digests { network: digest(network)?, property: digest(property)? };
        let has_extension = |path: &Path, name: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(name));
        let inner = if has_extension(network, "gz") { network.file_stem().map_or(network, Path::new) } else { network };
        let is_nnet = has_extension(inner, "nnet");
        let mistake = |error: network::Error| Error::Mismatch(error.to_string());
        let question = vnnlib::read(property).map_err(mistake)?;
        let mut read = if is_nnet { nnet::read(network) } else { onnx::read(network) }.map_err(mistake)?;
        if read.n_inputs() != question.n_inputs && !is_nnet {
            read = onnx::read_with_input_shape(network, &[1, question.n_inputs]).unwrap_or(read);
        }
        Ok(Self { network: read, property: question, digests })
    }
}

/// The digest of a file.
///
/// # Errors
/// When it cannot be read.
pub fn digest(path: &Path) -> Result<Digest, Error> {
    let bytes = fs::read(path).map_err(|error| Error::Mismatch(format!("{}: {error}", path.display())))?;
    Ok(Digest::of(&bytes))
}
