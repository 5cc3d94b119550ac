use std::rc::Rc;

use super::super::operator::{Operator, Value};
use super::super::tensor::{Data, Tensor, data_type};
use super::Lowering;
use super::rows::weight_error;
use crate::Error;

impl Lowering {
    /// `Constant`.
    pub(super) fn constant(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(0..=0)?;
        let tensor = if let Some(tensor) = op.tensor("value")? {
            tensor
        } else if let Some(value) = op.optional_float("value_float")? {
            Tensor::floats(Vec::new(), vec![value])
        } else if let Some(values) = op.float_list("value_floats")? {
            Tensor::floats(vec![values.len()], values.iter().map(|&value| f64::from(value)).collect())
        } else if let Some(values) = op.ints("value_ints")? {
            Tensor::ints(vec![values.len()], values.to_vec())
        } else {
            Tensor::ints(Vec::new(), vec![op.int("value_int", 0)?])
        };
        self.charge(op, Some(tensor.len()))?;
        Ok(Value::Constant(Rc::new(tensor)))
    }

    /// `ConstantOfShape`.
    pub(super) fn constant_of_shape(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=1)?;
        let shape: Option<Vec<usize>> = op.int_list(0)?.iter().map(|&n| usize::try_from(n).ok()).collect();
        let shape = shape.ok_or_else(|| op.mismatch("a shape", "negative numbers"))?;
        let value = op.tensor("value")?.unwrap_or_else(|| Tensor::floats(vec![1], vec![0.0]));
        let n = self.charge_shape(op, &shape)?;
        let tensor = match (value.data, value.shape.as_slice()) {
            (Data::Float { values, .. }, [] | [1]) => Tensor::floats(shape, vec![values[0]; n]),
            (Data::Int(values), [] | [1]) => Tensor::ints(shape, vec![values[0]; n]),
            (_, other) => return Err(op.mismatch("one value", format!("shape {other:?}"))),
        };
        Ok(Value::Constant(Rc::new(tensor)))
    }

    /// `Shape`: known here, since the batch is one and all else is fixed.
    pub(super) fn shape(op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=1)?;
        let shape = op.input(0)?.shape();
        let rank = shape.len() as i64;
        let clamp = |end: i64| (if end < 0 { end.saturating_add(rank) } else { end }).clamp(0, rank) as usize;
        let (start, end) = (clamp(op.int("start", 0)?), clamp(op.int("end", rank)?));
        let dimensions: Vec<i64> = shape[start..end.max(start)].iter().map(|&n| n as i64).collect();
        Ok(Value::Constant(Rc::new(Tensor::ints(vec![dimensions.len()], dimensions))))
    }

    /// `Cast`.
    pub(super) fn cast(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=1)?;
        let to = op.int("to", 0)?;
        // It speaks of casts to 8-bit floats only, which are refused below.
        op.int("saturate", 1)?;
        let to = i32::try_from(to).unwrap_or_default();
        let is_wide_float = matches!(to, data_type::FLOAT | data_type::DOUBLE);
        let tensor = match op.input(0)? {
            Value::Computed(_) if is_wide_float => return Ok(op.input(0)?.clone()),
            Value::Computed(_) => return Err(op.unsupported("of computed values to a type that rounds them")),
            Value::Constant(tensor) => tensor,
        };
        let shape = tensor.shape.clone();
        self.charge(op, Some(tensor.len()))?;
        let cast = match &tensor.data {
            Data::Float { values, error } if error.is_empty() && to == data_type::FLOAT => {
                // The result encloses both the value itself, which is what a cast between equal types leaves, and the rounded one.
                let rounded: Vec<f64> = values.iter().map(|&value| f64::from(value as f32)).collect();
                let off = |(&value, &rounded): (&f64, &f64)| {
                    if value == rounded { 0.0 } else { (value - rounded).abs().next_up() }
                };
                let error: Vec<f64> = values.iter().zip(&rounded).map(off).collect();
                let error = weight_error(0.0, Vec::new(), error).bias;
                Tensor { shape, data: Data::Float { values: rounded, error } }
            }
            Data::Float { .. } if is_wide_float => (**tensor).clone(),
            Data::Float { values, error } if error.is_empty() && is_int(to) => {
                // Others might be truncated to different integers, depending on how they were computed.
                let is_sure = |value: f64| value.abs() < 2f64.powi(31) && value == f64::from(value as f32);
                if !values.iter().all(|&value| is_sure(value)) {
                    return Err(op.unsupported("of these floats to integers"));
                }
                Tensor::ints(shape, values.iter().map(|&value| value as i64).collect())
            }
            Data::Int(values) if is_wide_float && values.iter().all(|value| value.unsigned_abs() <= 1 << 24) => {
                Tensor::floats(shape, values.iter().map(|&value| value as f64).collect())
            }
            Data::Int(values)
                if to == data_type::INT64 || (is_int(to) && values.iter().all(|&v| i32::try_from(v).is_ok())) =>
            {
                Tensor::ints(shape, values.clone())
            }
            _ => return Err(op.unsupported(&format!("of these constants to the element type {to}"))),
        };
        Ok(Value::Constant(Rc::new(cast)))
    }
}

fn is_int(to: i32) -> bool {
    matches!(to, data_type::INT32 | data_type::INT64)
}
