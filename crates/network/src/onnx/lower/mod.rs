//! From a graph of ONNX operators to a [`Network`].

mod activation;
mod arithmetic;
mod concat;
mod constant;
mod convolution;
mod normalize;
mod pool;
mod product;
mod reduce;
mod reshape;
mod rows;
mod select;
mod transposed;
mod window;

use std::collections::HashMap;
use std::rc::Rc;

use super::operator::{Computed, Operator, Value};
use super::proto;
use super::shape::n_elements;
use super::tensor::{Tensor, data_type};
use crate::{Affine, Error, Network, NetworkBuilder, Op};

/// The most coefficients, biases and folded constants that any model may be lowered to.
const MAX_COEFFICIENTS: usize = 1 << 28;

/// How many of them a model of so many bytes may be lowered to: small files make no huge networks.
pub(super) fn coefficient_budget(n_bytes: usize) -> usize {
    n_bytes.saturating_mul(8).saturating_add(1 << 25).min(MAX_COEFFICIENTS)
}

/// The operator sets whose meaning the lowering knows.
const OPSETS: std::ops::RangeInclusive<i64> = 6..=21;

/// Lowers a model whose input has the declared shape, or the one given here (batch dimension included).
pub(super) fn network(
    model: &proto::Model,
    input_shape: Option<&[usize]>,
    max_coefficients: usize,
) -> Result<Network, Error> {
    let graph = model.graph.as_ref().ok_or_else(|| Error::format("not an ONNX model: it holds no graph"))?;
    let opset = opset(model)?;
    let mut names = Names::new(graph)?;

    let input = names.the_input(graph)?;
    let shape = match input_shape {
        Some(shape) => shape.to_vec(),
        None => declared_shape(input)?,
    };
    let n_inputs = n_elements(&shape).filter(|&n| n <= max_coefficients);
    let n_inputs = n_inputs.ok_or_else(|| Error::format(format!("the input's shape {shape:?} is too large")))?;
    let mut lowering =
        Lowering { builder: Network::builder(without_batch(&shape))?, budget: max_coefficients - n_inputs };
    names.define(&input.name, Value::Computed(Computed { node: crate::NodeId(0), shape }))?;

    for node in &graph.node {
        let inputs = node.input.iter().map(|name| names.look_up(name, node)).collect::<Result<_, _>>()?;
        let operator = Operator::new(node, inputs, opset)?;
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return Err(operator.unsupported(&format!("from the domain '{}'", node.domain)));
        }
        let values = lowering.lower(&operator)?;
        operator.expect_all_attributes_read()?;
        for (name, value) in node.output.iter().zip(values) {
            if !name.is_empty() {
                names.define(name, value)?;
            }
        }
    }

    let [output] = graph.output.as_slice() else {
        return Err(Error::format(format!("the model has {} outputs; exactly one is supported", graph.output.len())));
    };
    match names.values.get(output.name.as_str()) {
        Some(Value::Computed(computed)) => lowering.builder.build(computed.node),
        Some(Value::Constant(_)) => Err(Error::format("the output does not depend on the input")),
        None => Err(Error::format(format!("no node computes the output '{}'", output.name))),
    }
}

/// The network under construction, and how much it may still grow.
#[derive(Debug)]
struct Lowering {
    builder: NetworkBuilder,
    budget: usize,
}

impl Lowering {
    /// Lowers one operator to the values of its results.
    fn lower(&mut self, op: &Operator) -> Result<Vec<Value>, Error> {
        let value = match op.kind() {
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(op),
            "Neg" => self.neg(op),
            "BatchNormalization" => self.batch_normalization(op),
            "Gemm" => self.gemm(op),
            "MatMul" => self.mat_mul(op),
            "Conv" => self.conv(op),
            "ConvTranspose" => self.conv_transpose(op),
            "Relu" | "LeakyRelu" | "PRelu" | "Clip" | "Min" | "Max" | "Sigmoid" | "Tanh" => self.activation(op),
            "MaxPool" => self.max_pool(op),
            "GlobalMaxPool" => self.global_max_pool(op),
            "AveragePool" => self.average_pool(op),
            "GlobalAveragePool" => self.global_average_pool(op),
            "ReduceMean" | "ReduceSum" => self.reduce(op),
            "Flatten" | "Reshape" | "Squeeze" | "Unsqueeze" => self.reshape(op),
            "Identity" | "Dropout" => Self::identity(op),
            "Transpose" => self.transpose(op),
            "Concat" => self.concat(op),
            "Slice" => self.slice(op),
            "Gather" => self.gather(op),
            "Pad" => self.pad(op),
            "Expand" => self.expand(op),
            "Split" => return self.split(op),
            "Constant" => self.constant(op),
            "ConstantOfShape" => self.constant_of_shape(op),
            "Shape" => Self::shape(op),
            "Cast" => self.cast(op),
            _ => Err(op.unsupported("")),
        };
        Ok(vec![value?])
    }

    /// Takes `count` from what may still be created; `None` stands for a count that overflows.
    fn charge(&mut self, op: &Operator, count: Option<usize>) -> Result<(), Error> {
        let left = count.and_then(|count| self.budget.checked_sub(count));
        self.budget = left.ok_or_else(|| {
            op.mismatch(format!("a result of at most {} more coefficients", self.budget), "a larger one")
        })?;
        Ok(())
    }

    /// The number of elements of a shape, taken from what may still be created.
    fn charge_shape(&mut self, op: &Operator, shape: &[usize]) -> Result<usize, Error> {
        let count = n_elements(shape);
        self.charge(op, count)?;
        Ok(count.unwrap_or_default())
    }

    /// Appends a node of which `shape` is the result's shape (batch dimension included).
    fn push(&mut self, op: &Operator, kind: Op, inputs: &[&Computed], shape: Vec<usize>) -> Result<Value, Error> {
        let inputs: Vec<_> = inputs.iter().map(|input| input.node).collect();
        let node = self.builder.push(op.name(), kind, &inputs, without_batch(&shape))?;
        Ok(Value::Computed(Computed { node, shape }))
    }

    /// Appends an affine map of `x`.
    fn affine(&mut self, op: &Operator, x: &Computed, affine: Affine, shape: Vec<usize>) -> Result<Value, Error> {
        self.push(op, Op::Affine(affine.into()), &[x], shape)
    }
}

/// What the names of a graph stand for.
#[derive(Debug)]
struct Names<'a> {
    initializers: HashMap<&'a str, &'a proto::Tensor>,
    values: HashMap<&'a str, Value>,
}

impl<'a> Names<'a> {
    fn new(graph: &'a proto::Graph) -> Result<Self, Error> {
        let mut initializers = HashMap::new();
        for tensor in &graph.initializer {
            if initializers.insert(tensor.name.as_str(), tensor).is_some() {
                return Err(Error::format(format!("two initializers are named '{}'", tensor.name)));
            }
        }
        Ok(Self { initializers, values: HashMap::new() })
    }

    /// The one graph input that is no initializer.
    fn the_input(&self, graph: &'a proto::Graph) -> Result<&'a proto::ValueInfo, Error> {
        let is_free = |input: &&proto::ValueInfo| !self.initializers.contains_key(input.name.as_str());
        let inputs: Vec<_> = graph.input.iter().filter(is_free).collect();
        if let [input] = inputs.as_slice() {
            return Ok(input);
        }
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        Err(Error::format(format!("the model has {} inputs {names:?}; exactly one is supported", names.len())))
    }

    /// The value of an operand; `None` for the empty name of one left out.
    fn look_up(&mut self, name: &'a str, user: &proto::Node) -> Result<Option<Value>, Error> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(value) = self.values.get(name) {
            return Ok(Some(value.clone()));
        }
        let tensor = self.initializers.get(name).ok_or_else(|| {
            Error::format(format!(
                "node '{}': its operand '{name}' is neither an initializer nor computed by an earlier node",
                if user.name.is_empty() { &user.op_type } else { &user.name },
            ))
        })?;
        let value = Value::Constant(Rc::new(Tensor::decode(tensor)?));
        self.values.insert(name, value.clone());
        Ok(Some(value))
    }

    fn define(&mut self, name: &'a str, value: Value) -> Result<(), Error> {
        if self.initializers.contains_key(name) || self.values.insert(name, value).is_some() {
            return Err(Error::format(format!("two values are named '{name}'")));
        }
        Ok(())
    }
}

/// The version of the default operator set.
fn opset(model: &proto::Model) -> Result<i64, Error> {
    let is_default = |domain: &str| matches!(domain, "" | "ai.onnx");
    if let Some(function) = model.functions.iter().find(|function| is_default(&function.domain)) {
        return Err(Error::format(format!("the model redefines the operator {}", function.name)));
    }
    let mut versions = model.opset_import.iter().filter(|set| is_default(&set.domain)).map(|set| set.version);
    let version = versions.next().ok_or_else(|| Error::format("not an ONNX model: it names no operator set"))?;
    if versions.any(|other| other != version) {
        return Err(Error::format("the model names two versions of the operator set"));
    }
    if !OPSETS.contains(&version) {
        return Err(Error::format(format!(
            "operator set {version} is not supported ({} to {} are); convert the model with onnx.version_converter",
            OPSETS.start(),
            OPSETS.end()
        )));
    }
    Ok(version)
}

/// The input's declared shape; a first dimension that is symbolic or missing is 1.
fn declared_shape(input: &proto::ValueInfo) -> Result<Vec<usize>, Error> {
    let error = |message: String| Error::format(format!("the input '{}' {message}", input.name));
    let tensor = input.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| error("is not declared as a tensor".into()))?;
    let is_float = [data_type::FLOAT, data_type::DOUBLE, data_type::FLOAT16, data_type::BFLOAT16];
    if !is_float.contains(&tensor.elem_type) {
        return Err(error("does not hold floats".into()));
    }
    let shape = tensor.shape.as_ref().ok_or_else(|| error("has no declared shape".into()))?;
    let dimension = |(axis, dim): (usize, &proto::Dimension)| match dim.dim_value {
        Some(n) if n > 0 => usize::try_from(n).map_err(|_| error(format!("has a dimension of {n}"))),
        _ if axis == 0 => Ok(1),
        _ => Err(error(format!(
            "has no fixed size along axis {axis}{}; only the batch dimension may be dynamic",
            dim.dim_param.as_ref().map(|name| format!(" ('{name}')")).unwrap_or_default()
        ))),
    };
    shape.dim.iter().enumerate().map(dimension).collect()
}

/// The shape that a node stores: without its first dimension where that is a batch of one.
fn without_batch(shape: &[usize]) -> &[usize] {
    match shape {
        [1, rest @ ..] if !rest.is_empty() => rest,
        all => all,
    }
}
