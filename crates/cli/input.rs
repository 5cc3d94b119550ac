use std::io;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use network::{BoxRegion, ErrorKind, Network, Property, nnet, onnx, vnnlib};
use serde::Deserialize;

/// Reads a network: `NNet` by its extension, else ONNX.
pub fn network(path: &Path) -> Result<Network> {
    let has_extension =
        |path: &Path, name: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(name));
    let inner = if has_extension(path, "gz") { path.file_stem().map_or(path, Path::new) } else { path };
    let read = if has_extension(inner, "nnet") { nnet::read(path) } else { onnx::read(path) };
    read.map_err(|error| advise(error, "network"))
}

/// Reads a network and a property that must speak of it.
pub fn question(network_path: &Path, property_path: &Path) -> Result<(Network, Property)> {
    let declared = network(network_path)?;
    let property = vnnlib::read(property_path).map_err(|error| advise(error, "property"))?;
    let network = of_inputs(declared, network_path, property.n_inputs);
    property.check_sizes(network.n_inputs(), network.n_outputs()).map_err(|error| {
        let error = error.in_file(property_path);
        anyhow!("{error}; give the property of this network, or the network of this property")
    })?;
    Ok((network, property))
}

/// The network read for this many inputs, if that is how it can be meant: some files declare an input of a higher rank than the one
/// they compute on, such as `[batch, 2, 2]` in front of a product over the last axis.
fn of_inputs(declared: Network, path: &Path, n_inputs: usize) -> Network {
    if declared.n_inputs() == n_inputs {
        return declared;
    }
    onnx::read_with_input_shape(path, &[1, n_inputs]).unwrap_or(declared)
}

/// Reads a network that must take this many inputs.
pub fn network_of_inputs(path: &Path, n_inputs: usize) -> Result<Network> {
    let network = of_inputs(network(path)?, path, n_inputs);
    let found = network.n_inputs();
    if found != n_inputs {
        return Err(anyhow!("{}: the network takes {found} inputs, not {n_inputs}", path.display()));
    }
    Ok(network)
}

/// Reads a list of instances.
pub fn instances(path: &Path) -> Result<Vec<network::instances::Instance>> {
    network::instances::read(path).map_err(|error| advise(error, "list"))
}

/// Reads a network and a box, `{"lower": [...], "upper": [...]}`, of its inputs.
pub fn network_and_region(network_path: &Path, path: &Path) -> Result<(Network, BoxRegion)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ends {
        lower: Vec<f64>,
        upper: Vec<f64>,
    }
    let ends: Ends = serde_json::from_str(&text(path)?).with_context(|| {
        format!("{}: expected a box, {{\"lower\": [...], \"upper\": [...]}} with one number per input", path.display())
    })?;
    let region = BoxRegion::new(ends.lower, ends.upper).map_err(|error| error.in_file(path))?;
    let n = region.n_inputs();
    let network = of_inputs(network(network_path)?, network_path, n);
    let n_inputs = network.n_inputs();
    if n != n_inputs {
        return Err(anyhow!("{}: the box has {n} inputs but the network has {n_inputs}", path.display()));
    }
    Ok((network, region))
}

/// Reads a small text file.
pub fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let error = network::Error::from(ErrorKind::Io(error)).in_file(path);
        advise(error, "file")
    })
}

/// Adds what to do to an error of reading such a thing.
pub fn advise(error: network::Error, what: &str) -> anyhow::Error {
    match &error.kind {
        ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let place = error.file.as_ref().map(|file| format!("{}: ", file.display())).unwrap_or_default();
            anyhow!(
                "{place}there is no such {what}; relative paths start where diadem runs (in a list or job file: where it lies)"
            )
        }
        _ => error.into(),
    }
}
