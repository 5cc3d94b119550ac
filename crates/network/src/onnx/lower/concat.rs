use std::rc::Rc;

use super::super::operator::{Computed, Operator, Value};
use super::super::shape::{axis, offsets, strides};
use super::super::tensor::{Data, Tensor};
use super::Lowering;
use super::rows::{Rows, weight_error};
use crate::{Affine, Error, LinearMap, Op};

/// An operand and the place that each of its elements takes in the result.
struct Part<'a> {
    value: &'a Value,
    operand: usize,
    places: Vec<usize>,
}

impl Lowering {
    /// `Concat`: constants alone are joined; else every computed part is embedded in zeros, and the embeddings added.
    pub(super) fn concat(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=usize::MAX)?;
        let first = op.input(0)?.shape();
        let number = op.int("axis", 1)?;
        let axis =
            axis(number, first.len()).ok_or_else(|| op.mismatch("an axis of the operands", number.to_string()))?;
        let mut shape = first.to_vec();
        shape[axis] = 0;
        for i in 0..op.n_inputs() {
            let part = op.input(i)?.shape();
            let fits = part.len() == shape.len() && (0..shape.len()).all(|d| d == axis || part[d] == shape[d]);
            let length = if fits { shape[axis].checked_add(part[axis]) } else { None };
            shape[axis] = length.ok_or_else(|| op.mismatch(format!("shapes as {first:?}"), format!("{part:?}")))?;
        }
        let n = self.charge_shape(op, &shape)?;

        let own = strides(&shape);
        let mut start = 0;
        let mut parts = Vec::with_capacity(op.n_inputs());
        for operand in 0..op.n_inputs() {
            let value = op.input(operand)?;
            let offset = start * own[axis];
            let places = offsets(value.shape(), &own).into_iter().map(|place| place + offset).collect();
            start += value.shape()[axis];
            parts.push(Part { value, operand, places });
        }
        let (constants, computed): (Vec<Part>, Vec<Part>) =
            parts.into_iter().partition(|part| matches!(part.value, Value::Constant(_)));
        let is_int = |part: &Part| matches!(part.value, Value::Constant(tensor) if matches!(tensor.data, Data::Int(_)));
        if computed.is_empty() && constants.iter().all(is_int) {
            return Ok(Value::Constant(Rc::new(join_ints(shape, n, &constants))));
        }
        let (bias, bias_error) = join_floats(op, n, &constants)?;
        if computed.is_empty() {
            let error = weight_error(0.0, Vec::new(), bias_error).bias;
            return Ok(Value::Constant(Rc::new(Tensor { shape, data: Data::Float { values: bias, error } })));
        }

        let mut constant = Some((bias, bias_error));
        let mut terms: Vec<Computed> = Vec::with_capacity(computed.len());
        for part in &computed {
            let Value::Computed(x) = part.value else { continue };
            self.charge(op, Some(2 * n))?;
            let (bias, bias_error) = constant.take().unwrap_or_else(|| (vec![0.0; n], Vec::new()));
            let mut column = vec![None; n];
            part.places.iter().enumerate().for_each(|(i, &place)| column[place] = Some(i));
            let mut rows = Rows::new(x.len());
            for source in column {
                rows.entries(source, 1.0);
                rows.end();
            }
            let error = weight_error(0.0, Vec::new(), bias_error);
            let affine = Affine { map: LinearMap::Sparse(rows.finish()), bias, error };
            if let Value::Computed(term) = self.affine(op, x, affine, shape.clone())? {
                terms.push(term);
            }
        }
        if let [only] = terms.as_slice() {
            return Ok(Value::Computed(only.clone()));
        }
        self.push(op, Op::Add, &terms.iter().collect::<Vec<_>>(), shape)
    }
}

fn join_ints(shape: Vec<usize>, n: usize, parts: &[Part]) -> Tensor {
    let mut joined = vec![0; n];
    for part in parts {
        let Value::Constant(tensor) = part.value else { continue };
        let Data::Int(values) = &tensor.data else { continue };
        part.places.iter().zip(values).for_each(|(&place, &value)| joined[place] = value);
    }
    Tensor::ints(shape, joined)
}

/// The values and errors of constant parts in their places; zero elsewhere.
fn join_floats(op: &Operator, n: usize, parts: &[Part]) -> Result<(Vec<f64>, Vec<f64>), Error> {
    let (mut joined, mut error) = (vec![0.0; n], vec![0.0; n]);
    for part in parts {
        let floats = op.floats(part.operand)?;
        for (i, &place) in part.places.iter().enumerate() {
            joined[place] = floats.values[i];
            error[place] = floats.error_of(i);
        }
    }
    Ok((joined, error))
}
