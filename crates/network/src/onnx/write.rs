use std::path::Path;

use prost::Message;

use super::proto::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Shape, Tensor, TensorType, Type, ValueInfo, attribute_type,
};
use crate::{Activation, Affine, Conv, Dense, Error, ErrorKind, LinearMap, MaxPool, Network, Op, Sparse};

/// The version of the format, and of the operators, that is written.
const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 13;
/// Element types of the format.
const FLOAT: i32 = 1;
const INT64: i32 = 7;
/// Most entries of a sparse map that is written as a full matrix.
const MAX_FULL: usize = 1 << 26;

/// Writes a network as an ONNX file (operator set 13, 32-bit floats, a free batch dimension).
///
/// Coefficients are rounded to 32 bits; those that were read from a 32-bit file are what they were. Where they are not (a network read
/// from a 64-bit file, or lowered with a [`WeightError`](crate::WeightError)), what is written is another network: read it again to
/// speak of it.
///
/// # Errors
/// When the file cannot be written, a coefficient does not fit 32 bits, or a sparse map is too large for a full matrix.
pub fn write(network: &Network, path: &Path) -> Result<(), Error> {
    let bytes = to_bytes(network).map_err(|error| error.in_file(path))?;
    std::fs::write(path, bytes).map_err(|error| {
        let error = std::io::Error::new(error.kind(), format!("cannot be written ({error})"));
        Error::from(ErrorKind::Io(error)).in_file(path)
    })
}

/// The bytes of the file that [`write()`] writes.
///
/// # Errors
/// As [`write()`].
pub fn to_bytes(network: &Network) -> Result<Vec<u8>, Error> {
    let mut writer = Writer { graph: Graph { name: "diadem".into(), ..Graph::default() }, values: Vec::new() };
    for node in network.nodes() {
        let name = if node.op == Op::Input { "input".to_owned() } else { format!("value_{}", writer.values.len()) };
        let value = writer.value(node, name)?;
        writer.values.push(value);
    }
    let Writer { mut graph, mut values } = writer;
    let Some(output) = values.pop() else { return Err(Error::format("the network has no nodes")) };
    graph.input = vec![declared("input", &network.nodes()[0].shape)];
    graph.output = vec![declared(&output.name, &output.shape)];
    let opset_import = vec![OperatorSet { domain: String::new(), version: OPERATOR_SET }];
    let model = Model { ir_version: IR_VERSION, graph: Some(graph), opset_import, functions: Vec::new() };
    Ok(model.encode_to_vec())
}

/// The graph so far, and the value of every node of the network so far.
struct Writer {
    graph: Graph,
    values: Vec<Value>,
}

/// A tensor of the file; its shape is without the batch.
#[derive(Debug, Clone)]
struct Value {
    name: String,
    shape: Vec<usize>,
}

impl Writer {
    /// Writes one node of the network as the operator that computes `name`.
    fn value(&mut self, node: &crate::Node, name: String) -> Result<Value, Error> {
        match &node.op {
            Op::Input => Ok(Value { name, shape: node.shape.clone() }),
            Op::Affine(affine) => {
                let operand = self.values[node.inputs[0].0].clone();
                self.affine(affine, &operand, name, &node.name)
            }
            Op::Add => {
                // Operands may differ in shape, but not in length.
                let operands: Vec<String> =
                    node.inputs.iter().map(|input| self.shaped(input.0, &node.shape).name).collect();
                let (first, rest) = operands.split_first().expect("an addition has operands");
                let mut sum = first.clone();
                for (i, operand) in rest.iter().enumerate() {
                    let result = if i + 1 == rest.len() { name.clone() } else { format!("{name}_{i}") };
                    self.operator("Add", &[&sum, operand], &result, Vec::new());
                    sum = result;
                }
                Ok(Value { name, shape: node.shape.clone() })
            }
            Op::Activation(activation) => {
                let operand = self.values[node.inputs[0].0].clone();
                self.activation(activation, &operand, &name, &node.name)?;
                Ok(Value { name, shape: operand.shape })
            }
            Op::MaxPool(pool) => {
                let shape = [pool.channels, pool.in_height, pool.in_width];
                let operand = self.shaped(node.inputs[0].0, &shape).name;
                self.operator("MaxPool", &[&operand], &name, pool_attributes(pool));
                Ok(Value { name, shape: vec![pool.channels, pool.out_height, pool.out_width] })
            }
        }
    }

    fn affine(&mut self, affine: &Affine, operand: &Value, name: String, node: &str) -> Result<Value, Error> {
        match &affine.map {
            LinearMap::Dense(dense) => self.dense(dense, &affine.bias, operand, name, node),
            LinearMap::Conv(conv) => self.conv(conv, &affine.bias, operand, name, node),
            LinearMap::Sparse(sparse) => {
                if let Some(factors) = diagonal(sparse) {
                    let scaled = format!("{name}_scaled");
                    let shape = batched(&operand.shape, 1);
                    let factor = self.floats(&format!("{name}_factor"), &shape, &factors, node)?;
                    let offset = self.floats(&format!("{name}_offset"), &shape, &affine.bias, node)?;
                    self.operator("Mul", &[&operand.name, &factor], &scaled, Vec::new());
                    self.operator("Add", &[&scaled, &offset], &name, Vec::new());
                    return Ok(Value { name, shape: operand.shape.clone() });
                }
                if let Some((columns, factors)) = selection(sparse) {
                    let flat = self.reshaped(operand, &[sparse.n_in]).name;
                    let (chosen, scaled) = (format!("{name}_chosen"), format!("{name}_scaled"));
                    let shape = batched(&[columns.len()], 1);
                    let factor = self.floats(&format!("{name}_factor"), &shape, &factors, node)?;
                    let offset = self.floats(&format!("{name}_offset"), &shape, &affine.bias, node)?;
                    let columns = self.integers(&format!("{name}_columns"), &columns);
                    self.operator("Gather", &[&flat, &columns], &chosen, vec![integer("axis", 1)]);
                    self.operator("Mul", &[&chosen, &factor], &scaled, Vec::new());
                    self.operator("Add", &[&scaled, &offset], &name, Vec::new());
                    return Ok(Value { name, shape: vec![affine.n_out()] });
                }
                let n_out = affine.n_out();
                if n_out.saturating_mul(sparse.n_in) > MAX_FULL {
                    let detail = format!(": a map of {n_out} × {} is too large for a full matrix", sparse.n_in);
                    let operator = "writing a sparse map".to_owned();
                    return Err(ErrorKind::Unsupported { node: node.into(), operator, detail }.into());
                }
                let mut weight = vec![0.0; n_out * sparse.n_in];
                for row in 0..n_out {
                    for entry in sparse.offsets[row] as usize..sparse.offsets[row + 1] as usize {
                        weight[row * sparse.n_in + sparse.columns[entry] as usize] = sparse.values[entry];
                    }
                }
                self.dense(&Dense { n_out, n_in: sparse.n_in, weight }, &affine.bias, operand, name, node)
            }
        }
    }

    fn dense(&mut self, map: &Dense, bias: &[f64], operand: &Value, name: String, node: &str) -> Result<Value, Error> {
        let operand = self.reshaped(operand, &[map.n_in]).name;
        let weight = self.floats(&format!("{name}_weight"), &[map.n_out, map.n_in], &map.weight, node)?;
        let bias = self.floats(&format!("{name}_bias"), &[map.n_out], bias, node)?;
        self.operator("Gemm", &[&operand, &weight, &bias], &name, vec![integer("transB", 1)]);
        Ok(Value { name, shape: vec![map.n_out] })
    }

    fn conv(&mut self, conv: &Conv, bias: &[f64], operand: &Value, name: String, node: &str) -> Result<Value, Error> {
        let image = [conv.in_channels, conv.in_height, conv.in_width];
        let operand = self.reshaped(operand, &image).name;
        let shape = vec![conv.out_channels, conv.out_height, conv.out_width];
        let kernel = [conv.out_channels, conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]];
        let weight = self.floats(&format!("{name}_weight"), &kernel, &conv.weight, node)?;
        let end = |axis: usize, out: usize, size: usize| {
            end_padding(out, conv.kernel[axis], conv.stride[axis], conv.dilation[axis], conv.pad[axis], size)
        };
        let pads =
            [conv.pad[0], conv.pad[1], end(0, conv.out_height, conv.in_height), end(1, conv.out_width, conv.in_width)];
        let attributes = vec![
            integers("kernel_shape", &conv.kernel),
            integers("strides", &conv.stride),
            integers("dilations", &conv.dilation),
            integers("pads", &pads),
            integer("group", conv.groups),
        ];
        let area = conv.out_height * conv.out_width;
        if bias.chunks(area).all(|channel| channel.iter().all(|value| *value == channel[0])) {
            let bias: Vec<f64> = bias.iter().step_by(area).copied().collect();
            let bias = self.floats(&format!("{name}_bias"), &[conv.out_channels], &bias, node)?;
            self.operator("Conv", &[&operand, &weight, &bias], &name, attributes);
        } else {
            let product = format!("{name}_product");
            let bias = self.floats(&format!("{name}_bias"), &batched(&shape, 1), bias, node)?;
            self.operator("Conv", &[&operand, &weight], &product, attributes);
            self.operator("Add", &[&product, &bias], &name, Vec::new());
        }
        Ok(Value { name, shape })
    }

    fn activation(&mut self, activation: &Activation, operand: &Value, name: &str, node: &str) -> Result<(), Error> {
        match activation {
            Activation::Relu => self.operator("Relu", &[&operand.name], name, Vec::new()),
            Activation::Sigmoid => self.operator("Sigmoid", &[&operand.name], name, Vec::new()),
            Activation::Tanh => self.operator("Tanh", &[&operand.name], name, Vec::new()),
            Activation::LeakyRelu(slopes) => {
                let shape = if slopes.len() == 1 { vec![1; operand.shape.len()] } else { operand.shape.clone() };
                let slope = self.floats(&format!("{name}_slope"), &shape, slopes, node)?;
                self.operator("PRelu", &[&operand.name, &slope], name, Vec::new());
            }
            Activation::Clip { lower, upper } => {
                let mut ends = [String::new(), String::new()];
                for (end, (part, value)) in ends.iter_mut().zip([("lower", *lower), ("upper", *upper)]) {
                    if value.is_finite() {
                        *end = self.floats(&format!("{name}_{part}"), &[0_i64; 0], &[value], node)?;
                    }
                }
                self.operator("Clip", &[&operand.name, &ends[0], &ends[1]], name, Vec::new());
            }
        }
        Ok(())
    }

    /// The value of a node of the network in this shape.
    fn shaped(&mut self, node: usize, shape: &[usize]) -> Value {
        let value = self.values[node].clone();
        self.reshaped(&value, shape)
    }

    /// A value in another shape of the same length.
    fn reshaped(&mut self, value: &Value, shape: &[usize]) -> Value {
        if value.shape == shape {
            return value.clone();
        }
        let name = format!("{}_reshaped_{}", value.name, self.graph.node.len());
        if shape.len() == 1 {
            self.operator("Flatten", &[&value.name], &name, vec![integer("axis", 1)]);
        } else {
            let target = self.integers(&format!("{name}_shape"), &batched(shape, -1));
            self.operator("Reshape", &[&value.name, &target], &name, Vec::new());
        }
        Value { name, shape: shape.to_vec() }
    }

    /// Adds a constant vector; returns its name.
    fn integers(&mut self, name: &str, values: &[i64]) -> String {
        self.graph.initializer.push(Tensor {
            dims: vec![values.len() as i64],
            data_type: INT64,
            name: name.to_owned(),
            raw_data: Some(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// Adds a constant; returns its name.
    fn floats<T: Copy + TryInto<i64>>(
        &mut self,
        name: &str,
        shape: &[T],
        values: &[f64],
        node: &str,
    ) -> Result<String, Error> {
        let mut raw_data = Vec::with_capacity(4 * values.len());
        for value in values {
            let single = *value as f32;
            if !single.is_finite() {
                return Err(ErrorKind::NotFinite { node: node.into(), what: "a 32-bit constant".into() }.into());
            }
            raw_data.extend(single.to_le_bytes());
        }
        let dims = shape.iter().map(|&dim| dim.try_into().unwrap_or(i64::MAX)).collect();
        let name = name.to_owned();
        let raw_data = Some(raw_data);
        self.graph.initializer.push(Tensor {
            dims,
            data_type: FLOAT,
            name: name.clone(),
            raw_data,
            ..Tensor::default()
        });
        Ok(name)
    }

    fn operator(&mut self, op_type: &str, inputs: &[&str], output: &str, attribute: Vec<Attribute>) {
        self.graph.node.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: format!("{op_type}_{}", self.graph.node.len()),
            op_type: op_type.to_owned(),
            attribute,
            domain: String::new(),
        });
    }
}

fn pool_attributes(pool: &MaxPool) -> Vec<Attribute> {
    let end = |axis: usize, out: usize, size: usize| {
        end_padding(out, pool.kernel[axis], pool.stride[axis], pool.dilation[axis], pool.pad[axis], size)
    };
    let pads =
        [pool.pad[0], pool.pad[1], end(0, pool.out_height, pool.in_height), end(1, pool.out_width, pool.in_width)];
    vec![
        integers("kernel_shape", &pool.kernel),
        integers("strides", &pool.stride),
        integers("dilations", &pool.dilation),
        integers("pads", &pads),
    ]
}

/// Padding after the last row or column, as the size of the output wants it.
fn end_padding(out: usize, kernel: usize, stride: usize, dilation: usize, pad: usize, size: usize) -> usize {
    ((out - 1) * stride + dilation * (kernel - 1) + 1).saturating_sub(size + pad)
}

/// The diagonal of a map that only scales.
fn diagonal(sparse: &Sparse) -> Option<Vec<f64>> {
    let n_out = sparse.offsets.len() - 1;
    if n_out != sparse.n_in {
        return None;
    }
    let mut factors = vec![0.0; n_out];
    for row in 0..n_out {
        for entry in sparse.offsets[row] as usize..sparse.offsets[row + 1] as usize {
            if sparse.columns[entry] as usize != row {
                return None;
            }
            factors[row] = sparse.values[entry];
        }
    }
    Some(factors)
}

/// Of a map that chooses one column at most for every row, the columns and their factors.
fn selection(sparse: &Sparse) -> Option<(Vec<i64>, Vec<f64>)> {
    let row = |ends: &[u32]| match (ends[1] - ends[0], ends[0] as usize) {
        (0, _) => Some((0, 0.0)),
        (1, entry) => Some((i64::from(sparse.columns[entry]), sparse.values[entry])),
        _ => None,
    };
    sparse.offsets.windows(2).map(row).collect()
}

/// A shape with its batch dimension.
fn batched(shape: &[usize], batch: i64) -> Vec<i64> {
    std::iter::once(batch).chain(shape.iter().map(|&size| size as i64)).collect()
}

fn integer(name: &str, value: usize) -> Attribute {
    Attribute { name: name.into(), i: Some(value as i64), r#type: attribute_type::INT, ..Attribute::default() }
}

fn integers(name: &str, values: &[usize]) -> Attribute {
    let ints = values.iter().map(|&value| value as i64).collect();
    Attribute { name: name.into(), ints, r#type: attribute_type::INTS, ..Attribute::default() }
}

fn declared(name: &str, shape: &[usize]) -> ValueInfo {
    let batch = Dimension { dim_value: None, dim_param: Some("batch".into()) };
    let sizes = shape.iter().map(|&size| Dimension { dim_value: Some(size as i64), dim_param: None });
    let shape = Some(Shape { dim: std::iter::once(batch).chain(sizes).collect() });
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape });
    ValueInfo { name: name.into(), r#type: Some(Type { tensor_type }) }
}
