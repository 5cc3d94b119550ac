use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use network::{Activation, Affine, LinearMap, Network, Op, Property};
use serde::Serialize;

use crate::arguments::InspectTask;
use crate::bounds::regions;
use crate::session::Session;
use crate::status::Status;
use crate::{console, input};

/// A network as JSON.
#[derive(Debug, Serialize)]
struct InspectResult {
    reached: bool,
    network: String,
    n_inputs: usize,
    n_outputs: usize,
    input_shape: Vec<usize>,
    output_shape: Vec<usize>,
    /// Multiply-adds of one evaluation.
    macs: u64,
    parameters: usize,
    /// How often each operator occurs.
    operators: BTreeMap<&'static str, usize>,
    layers: Vec<Layer>,
    /// Layers after merging what can be merged: what is bounded.
    simplified: Vec<Layer>,
    property: Option<PropertyFields>,
}

/// A node as JSON.
#[derive(Debug, Serialize)]
struct Layer {
    name: String,
    operator: &'static str,
    shape: Vec<usize>,
    parameters: usize,
    macs: usize,
    inputs: Vec<usize>,
}

/// A property as JSON.
#[derive(Debug, Serialize)]
struct PropertyFields {
    file: String,
    n_boxes: usize,
    n_disjuncts: usize,
    n_half_spaces: usize,
    /// Inputs whose interval in the first box is not a point.
    n_free_inputs: usize,
    /// Longest side of the first box.
    largest_width: f64,
}

/// Shows what a network consists of.
pub fn run(task: &InspectTask, session: &Session) -> Result<Status> {
    let (network, property) = match &task.property {
        Some(path) => {
            let (network, property) = input::question(&task.network, path)?;
            (network, Some(PropertyFields::of(&property, path.display().to_string())))
        }
        None => (input::network(&task.network)?, None),
    };
    let layers = layers(&network);
    let mut operators = BTreeMap::new();
    for layer in &layers {
        *operators.entry(layer.operator).or_default() += 1;
    }
    let nodes = network.nodes();
    let result = InspectResult {
        reached: true,
        network: task.network.display().to_string(),
        n_inputs: network.n_inputs(),
        n_outputs: network.n_outputs(),
        input_shape: nodes[0].shape.clone(),
        output_shape: nodes[nodes.len() - 1].shape.clone(),
        macs: network.macs(),
        parameters: layers.iter().map(|layer| layer.parameters).sum(),
        operators,
        layers,
        simplified: self::layers(&network.simplify()?),
        property,
    };
    session.print(&text(&result));
    session.write_json("inspect", &result)?;
    Ok(Status::Done)
}

fn layers(network: &Network) -> Vec<Layer> {
    let layer = |node: &network::Node| {
        let (operator, parameters, macs) = match &node.op {
            Op::Input => ("input", 0, 0),
            Op::Affine(affine) => affine_fields(affine),
            Op::Add => ("add", 0, 0),
            Op::MaxPool(_) => ("max pool", 0, 0),
            Op::Activation(activation) => (activation_name(activation), 0, 0),
        };
        let inputs = node.inputs.iter().map(|input| input.0).collect();
        Layer { name: node.name.clone(), operator, shape: node.shape.clone(), parameters, macs, inputs }
    };
    network.nodes().iter().map(layer).collect()
}

fn affine_fields(affine: &Affine) -> (&'static str, usize, usize) {
    match &affine.map {
        LinearMap::Dense(dense) => ("dense", dense.weight.len() + dense.n_out, dense.weight.len()),
        LinearMap::Conv(conv) => {
            ("conv", conv.weight.len() + conv.out_channels, conv.weight.len() * conv.out_height * conv.out_width)
        }
        LinearMap::Sparse(sparse) => ("sparse", sparse.values.len(), sparse.values.len()),
    }
}

fn activation_name(activation: &Activation) -> &'static str {
    match activation {
        Activation::Relu => "relu",
        Activation::LeakyRelu(_) => "leaky relu",
        Activation::Clip { .. } => "clip",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
    }
}

impl PropertyFields {
    fn of(property: &Property, file: String) -> Self {
        let regions = regions(property);
        let widths: Vec<f64> = regions
            .first()
            .map(|region| region.upper.iter().zip(&region.lower).map(|(upper, lower)| upper - lower).collect())
            .unwrap_or_default();
        Self {
            file,
            n_boxes: regions.len(),
            n_disjuncts: property.disjuncts.len(),
            n_half_spaces: property.disjuncts.iter().map(|disjunct| disjunct.half_spaces.len()).sum(),
            n_free_inputs: widths.iter().filter(|width| **width > 0.0).count(),
            largest_width: widths.iter().copied().fold(0.0, f64::max),
        }
    }
}

fn text(result: &InspectResult) -> String {
    let mut text = format!(
        "{}: {} inputs, {} outputs, {} parameters, {} multiply-adds\n\n",
        result.network,
        result.n_inputs,
        result.n_outputs,
        console::count(result.parameters as u64),
        console::count(result.macs)
    );
    let width = result.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).clamp(4, 40);
    let _ = writeln!(
        text,
        "  # {:width$}  {:10}  {:>14}  {:>11}  {:>13}  from",
        "name", "operator", "shape", "parameters", "multiply-adds"
    );
    for (id, layer) in result.layers.iter().enumerate() {
        let name: String = layer.name.chars().take(width).collect();
        let shape: Vec<String> = layer.shape.iter().map(ToString::to_string).collect();
        let from: Vec<String> = layer.inputs.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            text,
            "{id:>3} {name:width$}  {:10}  {:>14}  {:>11}  {:>13}  {}",
            layer.operator,
            shape.join(" x "),
            console::count(layer.parameters as u64),
            console::count(layer.macs as u64),
            from.join(", "),
        );
    }
    let simplified: Vec<&str> = result.simplified.iter().skip(1).map(|layer| layer.operator).collect();
    let _ = writeln!(text, "\nbounded as: {}", simplified.join(", "));
    if let Some(property) = &result.property {
        let PropertyFields { file, n_boxes, n_disjuncts, n_half_spaces, n_free_inputs, largest_width } = property;
        let _ = writeln!(
            text,
            "{file}: boxes: {n_boxes}, ways to violate: {n_disjuncts}, half-spaces: {n_half_spaces}; \
             free inputs: {n_free_inputs} of {}, the widest by {}",
            result.n_inputs,
            console::number(*largest_width)
        );
    }
    text
}
