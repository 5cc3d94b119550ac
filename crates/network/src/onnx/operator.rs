use std::cell::RefCell;
use std::rc::Rc;

use super::proto::{self, attribute_type};
use super::tensor::{Data, Tensor};
use crate::{Error, ErrorKind, NodeId};

/// What a name of the graph stands for while it is lowered.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// A constant.
    Constant(Rc<Tensor>),
    /// Something that depends on the network's input.
    Computed(Computed),
}

/// A computed tensor: the node that holds its values and the shape in which they are read (batch dimension included).
#[derive(Debug, Clone)]
pub(super) struct Computed {
    pub node: NodeId,
    pub shape: Vec<usize>,
}

impl Value {
    /// All dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Constant(tensor) => &tensor.shape,
            Self::Computed(computed) => &computed.shape,
        }
    }
}

impl Computed {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A node of the graph with its operands looked up: what a lowering reads from, and what it blames.
#[derive(Debug)]
pub(super) struct Operator<'a> {
    node: &'a proto::Node,
    name: String,
    inputs: Vec<Option<Value>>,
    was_read: RefCell<Vec<bool>>,
    /// The version of the default operator set.
    pub opset: i64,
}

impl<'a> Operator<'a> {
    /// Pairs a node with its operands (`None` for an optional one left out).
    ///
    /// # Errors
    /// When an attribute is given twice or refers to a function's argument.
    pub fn new(node: &'a proto::Node, inputs: Vec<Option<Value>>, opset: i64) -> Result<Self, Error> {
        let was_read = RefCell::new(vec![false; node.attribute.len()]);
        let operator = Self { node, name: display_name(node), inputs, was_read, opset };
        for (i, attribute) in node.attribute.iter().enumerate() {
            if node.attribute[..i].iter().any(|earlier| earlier.name == attribute.name) {
                return Err(Error::format(format!(
                    "node '{}': the attribute '{}' is given twice",
                    operator.name, attribute.name
                )));
            }
            if !attribute.ref_attr_name.is_empty() {
                return Err(operator.unsupported("with attributes of an enclosing function"));
            }
        }
        Ok(operator)
    }

    /// The node's name, or its first output's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator's name.
    pub fn kind(&self) -> &'a str {
        &self.node.op_type
    }

    /// How many results the file asks for.
    pub fn n_outputs(&self) -> usize {
        self.node.output.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
    }

    /// How many operands the file gives, left-out ones in between included.
    pub fn n_inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Operands that do not fit.
    pub fn mismatch(&self, expected: impl Into<String>, got: impl Into<String>) -> Error {
        ErrorKind::Shape { node: self.name.clone(), expected: expected.into(), got: got.into() }.into()
    }

    /// A use of the operator that is not supported; `detail` continues the sentence.
    pub fn unsupported(&self, detail: &str) -> Error {
        let operator = self.kind().to_string();
        let detail = if detail.is_empty() { String::new() } else { format!(" {detail}") };
        ErrorKind::Unsupported { node: self.name.clone(), operator, detail }.into()
    }

    /// Refuses a number of operands outside the range.
    pub fn expect_inputs(&self, range: std::ops::RangeInclusive<usize>) -> Result<(), Error> {
        if range.contains(&self.n_inputs()) {
            return Ok(());
        }
        let (least, most) = (range.start(), range.end());
        let expected = if least == most { format!("{least} operands") } else { format!("{least} to {most} operands") };
        Err(self.mismatch(expected, self.n_inputs().to_string()))
    }

    /// Refuses attributes that no lowering has asked for: ignoring them could change what the node computes.
    pub fn expect_all_attributes_read(&self) -> Result<(), Error> {
        match self.was_read.borrow().iter().position(|&was_read| !was_read) {
            Some(i) => Err(self.unsupported(&format!("with the attribute '{}'", self.node.attribute[i].name))),
            None => Ok(()),
        }
    }

    /// The operand `i`, if it is given.
    pub fn optional(&self, i: usize) -> Option<&Value> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    /// The operand `i`.
    pub fn input(&self, i: usize) -> Result<&Value, Error> {
        self.optional(i).ok_or_else(|| self.mismatch(format!("an operand number {}", i + 1), "none"))
    }

    /// The operand `i`, which must depend on the network's input.
    pub fn computed(&self, i: usize) -> Result<&Computed, Error> {
        match self.input(i)? {
            Value::Computed(computed) => Ok(computed),
            Value::Constant(_) => Err(self.unsupported("on constants alone; fold them when exporting")),
        }
    }

    /// The operand `i`, which must be constant.
    pub fn constant(&self, i: usize) -> Result<&Rc<Tensor>, Error> {
        match self.input(i)? {
            Value::Constant(tensor) => Ok(tensor),
            Value::Computed(_) => Err(self.unsupported(&format!("with a computed operand '{}'", self.operand_name(i)))),
        }
    }

    /// The operand `i` as constant finite floats, with their errors (empty: exact).
    pub fn floats(&self, i: usize) -> Result<Floats<'_>, Error> {
        let floats = self.floats_or_infinite(i)?;
        if floats.values.iter().any(|value| !value.is_finite()) {
            let what = format!("the tensor '{}'", self.operand_name(i));
            return Err(ErrorKind::NotFinite { node: self.name.clone(), what }.into());
        }
        Ok(floats)
    }

    /// The operand `i` as constant finite floats that are exact.
    pub fn exact_floats(&self, i: usize) -> Result<Floats<'_>, Error> {
        let floats = self.floats(i)?;
        if !floats.error.is_empty() {
            return Err(self.unsupported("with constants that were rounded; fold them when exporting"));
        }
        Ok(floats)
    }

    /// The operand `i` as constant floats, infinite ones included (a clip's ends).
    pub fn floats_or_infinite(&self, i: usize) -> Result<Floats<'_>, Error> {
        let tensor = self.constant(i)?;
        match &tensor.data {
            Data::Float { values, error } => Ok(Floats { shape: &tensor.shape, values, error }),
            Data::Int(_) => Err(self.mismatch(format!("floats in the operand '{}'", self.operand_name(i)), "integers")),
        }
    }

    /// The operand `i` as constant integers of at most one dimension.
    pub fn int_list(&self, i: usize) -> Result<&[i64], Error> {
        let tensor = self.constant(i)?;
        match &tensor.data {
            Data::Int(values) if tensor.shape.len() <= 1 => Ok(values),
            _ => Err(self.mismatch(
                format!("a list of integers in the operand '{}'", self.operand_name(i)),
                format!("shape {:?}", tensor.shape),
            )),
        }
    }

    fn operand_name(&self, i: usize) -> &str {
        self.node.input.get(i).map_or("", String::as_str)
    }

    /// The integer attribute, or its default.
    pub fn int(&self, name: &str, default: i64) -> Result<i64, Error> {
        let Some(attribute) = self.attribute(name, attribute_type::INT)? else { return Ok(default) };
        Ok(attribute.i.unwrap_or_default())
    }

    /// The truth value attribute, or its default.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Error> {
        Ok(self.int(name, i64::from(default))? != 0)
    }

    /// The finite float attribute, if it is given.
    pub fn optional_float(&self, name: &str) -> Result<Option<f64>, Error> {
        let Some(attribute) = self.attribute(name, attribute_type::FLOAT)? else { return Ok(None) };
        let value = f64::from(attribute.f.unwrap_or_default());
        if !value.is_finite() {
            let what = format!("the attribute '{name}'");
            return Err(ErrorKind::NotFinite { node: self.name.clone(), what }.into());
        }
        Ok(Some(value))
    }

    /// The finite float attribute, or its default.
    pub fn float(&self, name: &str, default: f64) -> Result<f64, Error> {
        Ok(self.optional_float(name)?.unwrap_or(default))
    }

    /// The list of integers, if it is given.
    pub fn ints(&self, name: &str) -> Result<Option<&'a [i64]>, Error> {
        Ok(self.attribute(name, attribute_type::INTS)?.map(|attribute| attribute.ints.as_slice()))
    }

    /// The list of floats, if it is given.
    pub fn float_list(&self, name: &str) -> Result<Option<&'a [f32]>, Error> {
        Ok(self.attribute(name, attribute_type::FLOATS)?.map(|attribute| attribute.floats.as_slice()))
    }

    /// The text attribute, or its default.
    pub fn text(&self, name: &str, default: &'static str) -> Result<&'a str, Error> {
        let Some(attribute) = self.attribute(name, attribute_type::STRING)? else { return Ok(default) };
        let bytes = attribute.s.as_deref().unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|_| self.mismatch(format!("text in the attribute '{name}'"), "other bytes"))
    }

    /// The tensor attribute, if it is given.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor>, Error> {
        let Some(attribute) = self.attribute(name, attribute_type::TENSOR)? else { return Ok(None) };
        let tensor =
            attribute.t.as_ref().ok_or_else(|| self.mismatch(format!("a tensor in the attribute '{name}'"), "none"))?;
        Tensor::decode(tensor).map(Some)
    }

    fn attribute(&self, name: &str, expected: i32) -> Result<Option<&'a proto::Attribute>, Error> {
        let Some(i) = self.node.attribute.iter().position(|attribute| attribute.name == name) else { return Ok(None) };
        self.was_read.borrow_mut()[i] = true;
        let attribute = &self.node.attribute[i];
        // Files of the first format versions leave the type out.
        if attribute.r#type != 0 && attribute.r#type != expected {
            return Err(self
                .mismatch(format!("an attribute '{name}' of type {expected}"), format!("type {}", attribute.r#type)));
        }
        Ok(Some(attribute))
    }
}

/// Constant floats and how far each may be from the real one (empty: exact).
#[derive(Debug, Clone, Copy)]
pub(super) struct Floats<'a> {
    pub shape: &'a [usize],
    pub values: &'a [f64],
    pub error: &'a [f64],
}

impl Floats<'_> {
    /// The error of value `i`.
    pub fn error_of(&self, i: usize) -> f64 {
        self.error.get(i).copied().unwrap_or(0.0)
    }
}

fn display_name(node: &proto::Node) -> String {
    let first_output = || node.output.first().cloned().unwrap_or_default();
    if node.name.is_empty() { first_output() } else { node.name.clone() }
}
