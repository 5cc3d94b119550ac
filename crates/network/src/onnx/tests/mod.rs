//! Models built with the format's own messages, and what onnxruntime makes of them.

mod data;
mod hostile;
mod meaning;
mod operators;
mod write;

use prost::Message;

use super::proto::attribute_type;
use super::proto::{Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo};
use super::tensor::data_type;

/// The value of an attribute.
enum A<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Text(&'a str),
    Tensor(Box<Tensor>),
}

fn attribute(name: &str, value: A) -> Attribute {
    let mut attribute = Attribute { name: name.into(), ..Default::default() };
    attribute.r#type = match value {
        A::Int(i) => {
            attribute.i = Some(i);
            attribute_type::INT
        }
        A::Float(f) => {
            attribute.f = Some(f);
            attribute_type::FLOAT
        }
        A::Ints(ints) => {
            attribute.ints = ints.to_vec();
            attribute_type::INTS
        }
        A::Text(text) => {
            attribute.s = Some(text.as_bytes().to_vec());
            attribute_type::STRING
        }
        A::Tensor(tensor) => {
            attribute.t = Some(*tensor);
            attribute_type::TENSOR
        }
    };
    attribute
}

fn node<const N: usize>(op: &str, inputs: &[&str], outputs: &[&str], attributes: [(&str, A); N]) -> Node {
    Node {
        name: format!("{op} to {}", outputs[0]),
        op_type: op.into(),
        input: inputs.iter().map(ToString::to_string).collect(),
        output: outputs.iter().map(ToString::to_string).collect(),
        attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        ..Default::default()
    }
}

fn floats(name: &str, shape: &[i64], values: &[f32]) -> Tensor {
    Tensor {
        name: name.into(),
        dims: shape.to_vec(),
        data_type: data_type::FLOAT,
        float_data: values.to_vec(),
        ..Default::default()
    }
}

/// Small multiples of 1/16 of both signs: sums of their products are exact in f32.
fn weights(name: &str, shape: &[i64]) -> Tensor {
    let n = shape.iter().product::<i64>();
    let values: Vec<f32> = (0..n).map(|k| ((k * 29 + 7) % 41 - 20) as f32 / 16.0).collect();
    floats(name, shape, &values)
}

fn ints(name: &str, shape: &[i64], values: &[i64]) -> Tensor {
    Tensor {
        name: name.into(),
        dims: shape.to_vec(),
        data_type: data_type::INT64,
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

fn value_info(name: &str, shape: &[i64]) -> ValueInfo {
    let dim = shape.iter().map(|&n| Dimension { dim_value: (n >= 0).then_some(n), dim_param: None }).collect();
    let tensor_type = TensorType { elem_type: data_type::FLOAT, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type: Some(tensor_type) }) }
}

/// A model from the input `x` of this shape to the output `y`.
fn model(opset: i64, shape: &[i64], initializer: Vec<Tensor>, node: Vec<Node>) -> Model {
    let output = ValueInfo {
        name: "y".into(),
        r#type: Some(Type { tensor_type: Some(TensorType { elem_type: data_type::FLOAT, shape: None }) }),
    };
    Model {
        ir_version: 8,
        graph: Some(Graph {
            node,
            name: "tested".into(),
            initializer,
            input: vec![value_info("x", shape)],
            output: vec![output],
        }),
        opset_import: vec![OperatorSet { domain: String::new(), version: opset }],
        functions: Vec::new(),
    }
}

fn encode(model: &Model) -> Vec<u8> {
    model.encode_to_vec()
}

/// Multiples of 1/16 of both signs.
fn probe(n: usize) -> Vec<f64> {
    (0..n).map(|k| ((k * 37 + 11) % 101) as f64 / 16.0 - 3.0).collect()
}

/// The lines that `record.py` printed: a file, and the outputs of its network at [`probe`].
fn recorded(lines: &str) -> Vec<(String, Vec<f64>)> {
    let parse = |line: &str| {
        let (file, values) = line.split_once(": ").unwrap();
        (file.to_string(), values.split_whitespace().map(|value| value.parse().unwrap()).collect())
    };
    lines.lines().map(parse).collect()
}
