use std::rc::Rc;

use super::super::operator::{Computed, Floats, Operator, Value};
use super::super::shape::{broadcast, broadcast_offsets};
use super::super::tensor::{Data, Tensor};
use super::Lowering;
use super::rows::{Rows, weight_error};
use crate::rounding::{add_up, div_up, mul_up, two_product, two_quotient, two_sum};
use crate::{Affine, Error, LinearMap, Op};

/// A bound on the relative error of a rounded reciprocal, with room.
const RECIPROCAL: f64 = f64::EPSILON;

/// A result's shape, and for each of its elements the places of its two operands.
type Pairing = (Vec<usize>, Vec<(usize, usize)>);

impl Lowering {
    /// `Add`, `Sub`, `Mul` and `Div` with broadcasting.
    pub(super) fn arithmetic(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=2)?;
        let (a, b) = legacy_broadcast(op)?;
        match (op.kind(), &a, &b) {
            (_, Value::Constant(a), Value::Constant(b)) => self.fold(op, a, b),
            ("Add", Value::Computed(a), Value::Computed(b)) => self.add(op, a, b),
            ("Sub", Value::Computed(a), Value::Computed(b)) => {
                let minus_b = self.scale(op, b, -1.0)?;
                self.add(op, a, &minus_b)
            }
            ("Add" | "Sub", Value::Computed(x), Value::Constant(c)) => {
                let c = Floats { shape: &c.shape, ..op.floats(1)? };
                self.shift(op, x, [1.0, if op.kind() == "Sub" { -1.0 } else { 1.0 }], c)
            }
            ("Add" | "Sub", Value::Constant(c), Value::Computed(x)) => {
                let c = Floats { shape: &c.shape, ..op.floats(0)? };
                self.shift(op, x, [if op.kind() == "Sub" { -1.0 } else { 1.0 }, 1.0], c)
            }
            ("Mul", Value::Computed(x), Value::Constant(c)) => {
                self.multiply(op, x, Floats { shape: &c.shape, ..op.floats(1)? })
            }
            ("Mul", Value::Constant(c), Value::Computed(x)) => {
                self.multiply(op, x, Floats { shape: &c.shape, ..op.floats(0)? })
            }
            ("Div", Value::Computed(x), Value::Constant(c)) => {
                self.divide(op, x, Floats { shape: &c.shape, ..op.exact_floats(1)? })
            }
            ("Div", _, _) => Err(op.unsupported("by a computed divisor")),
            _ => Err(op.unsupported("of two computed operands")),
        }
    }

    /// `Neg`.
    pub(super) fn neg(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=1)?;
        match op.input(0)? {
            Value::Computed(x) => Ok(Value::Computed(self.scale(op, x, -1.0)?)),
            Value::Constant(c) => {
                self.charge_shape(op, &c.shape)?;
                let data = match &c.data {
                    Data::Float { values, error } => {
                        Data::Float { values: values.iter().map(|value| -value).collect(), error: error.clone() }
                    }
                    Data::Int(values) => {
                        let negated: Option<_> = values.iter().map(|value| value.checked_neg()).collect();
                        Data::Int(negated.ok_or_else(|| op.unsupported("beyond 64-bit integers"))?)
                    }
                };
                Ok(Value::Constant(Rc::new(Tensor { shape: c.shape.clone(), data })))
            }
        }
    }

    /// The sum of two computed tensors.
    pub(super) fn add(&mut self, op: &Operator, a: &Computed, b: &Computed) -> Result<Value, Error> {
        let shape = broadcast_shape(op, &a.shape, &b.shape)?;
        if a.node == b.node && a.shape == b.shape {
            return Ok(Value::Computed(self.scale(op, a, 2.0)?));
        }
        let (a, b) = (self.broadcast_to(op, a, &shape)?, self.broadcast_to(op, b, &shape)?);
        self.push(op, Op::Add, &[&a, &b], shape)
    }

    /// The tensor times one exact factor.
    pub(super) fn scale(&mut self, op: &Operator, x: &Computed, factor: f64) -> Result<Computed, Error> {
        let n = self.charge_shape(op, &x.shape)?;
        let map = LinearMap::Sparse(Rows::single(n, (0..n).map(|i| (i, factor))));
        let node = self.builder.push(
            op.name(),
            Op::Affine(Affine::exact(map, vec![0.0; n]).into()),
            &[x.node],
            super::without_batch(&x.shape),
        )?;
        Ok(Computed { node, shape: x.shape.clone() })
    }

    /// `sign · x + c_sign · c`.
    fn shift(&mut self, op: &Operator, x: &Computed, [sign, c_sign]: [f64; 2], c: Floats) -> Result<Value, Error> {
        let (shape, places) = self.broadcast_pair(op, x, c.shape)?;
        let map = Rows::single(x.len(), places.iter().map(|&(column, _)| (column, sign)));
        let bias = places.iter().map(|&(_, i)| c_sign * c.values[i]).collect();
        let bias_error = places.iter().map(|&(_, i)| c.error_of(i)).collect();
        let error = weight_error(0.0, Vec::new(), bias_error);
        self.affine(op, x, Affine { map: LinearMap::Sparse(map), bias, error }, shape)
    }

    fn multiply(&mut self, op: &Operator, x: &Computed, c: Floats) -> Result<Value, Error> {
        let (shape, places) = self.broadcast_pair(op, x, c.shape)?;
        let map = Rows::single(x.len(), places.iter().map(|&(column, i)| (column, c.values[i])));
        let absolute = places.iter().map(|&(_, i)| c.error_of(i)).collect();
        let error = weight_error(0.0, absolute, Vec::new());
        self.affine(op, x, Affine { map: LinearMap::Sparse(map), bias: vec![0.0; places.len()], error }, shape)
    }

    fn divide(&mut self, op: &Operator, x: &Computed, c: Floats) -> Result<Value, Error> {
        let (shape, places) = self.broadcast_pair(op, x, c.shape)?;
        let reciprocals: Vec<(f64, f64)> = c.values.iter().map(|&c| two_quotient(1.0, c)).collect();
        let map = Rows::single(x.len(), places.iter().map(|&(column, i)| (column, reciprocals[i].0)));
        // The relative bound covers every reciprocal that does not underflow.
        let relative = if reciprocals.iter().any(|&(_, error)| error > 0.0) { RECIPROCAL } else { 0.0 };
        let underflow = |i: usize| if reciprocals[i].0.is_normal() { 0.0 } else { reciprocals[i].1 };
        let absolute = places.iter().map(|&(_, i)| underflow(i)).collect();
        let error = weight_error(relative, absolute, Vec::new());
        self.affine(op, x, Affine { map: LinearMap::Sparse(map), bias: vec![0.0; places.len()], error }, shape)
    }

    /// The shape of an elementwise operation, and for each of its elements the places to read in `x` and in the constant.
    fn broadcast_pair(&mut self, op: &Operator, x: &Computed, c_shape: &[usize]) -> Result<Pairing, Error> {
        let shape = broadcast_shape(op, &x.shape, c_shape)?;
        self.charge_shape(op, &shape)?;
        let columns = broadcast_offsets(&x.shape, &shape);
        Ok((shape.clone(), columns.into_iter().zip(broadcast_offsets(c_shape, &shape)).collect()))
    }

    /// Computes on constants: integers as the format has them, floats with a bound on what rounding does.
    fn fold(&mut self, op: &Operator, a: &Tensor, b: &Tensor) -> Result<Value, Error> {
        let shape = broadcast_shape(op, &a.shape, &b.shape)?;
        self.charge_shape(op, &shape)?;
        let places = broadcast_offsets(&a.shape, &shape).into_iter().zip(broadcast_offsets(&b.shape, &shape));
        let data = match (&a.data, &b.data) {
            (Data::Int(a), Data::Int(b)) => {
                let values = places.map(|(i, j)| match op.kind() {
                    "Add" => a[i].checked_add(b[j]),
                    "Sub" => a[i].checked_sub(b[j]),
                    "Mul" => a[i].checked_mul(b[j]),
                    _ => a[i].checked_div(b[j]),
                });
                // Within 32 bits no integer type wraps.
                let values: Option<Vec<i64>> =
                    values.map(|value| value.filter(|&value| i32::try_from(value).is_ok())).collect();
                Data::Int(values.ok_or_else(|| op.unsupported("beyond 32-bit integers"))?)
            }
            (Data::Float { .. }, Data::Float { .. }) => {
                let (a, b) = (op.floats(0)?, op.floats(1)?);
                if op.kind() == "Div" && !b.error.is_empty() {
                    return Err(op.unsupported("by constants that were rounded; fold them when exporting"));
                }
                let (values, error): (Vec<f64>, Vec<f64>) = places
                    .map(|(i, j)| fold_floats(op.kind(), [a.values[i], a.error_of(i)], [b.values[j], b.error_of(j)]))
                    .unzip();
                let is_exact = error.iter().all(|&e| e == 0.0);
                Data::Float { values, error: if is_exact { Vec::new() } else { error } }
            }
            _ => return Err(op.mismatch("constants of one type", "integers and floats")),
        };
        Ok(Value::Constant(Rc::new(Tensor { shape, data })))
    }
}

/// One operation on two values and their errors; a divisor has none.
fn fold_floats(kind: &str, [a, a_error]: [f64; 2], [b, b_error]: [f64; 2]) -> (f64, f64) {
    let (value, rounding, carried) = match kind {
        "Add" | "Sub" => {
            let (sum, rounding) = two_sum(a, if kind == "Sub" { -b } else { b });
            (sum, rounding, add_up(a_error, b_error))
        }
        "Mul" => {
            let (product, rounding) = two_product(a, b);
            let cross = add_up(mul_up(a.abs(), b_error), mul_up(a_error, b.abs()));
            (product, rounding, add_up(cross, mul_up(a_error, b_error)))
        }
        _ => {
            let (quotient, rounding) = two_quotient(a, b);
            (quotient, rounding, div_up(a_error, b.abs()))
        }
    };
    (value, add_up(rounding, carried))
}

fn broadcast_shape(op: &Operator, a: &[usize], b: &[usize]) -> Result<Vec<usize>, Error> {
    broadcast(a, b).ok_or_else(|| op.mismatch("shapes that broadcast", format!("{a:?} and {b:?}")))
}

/// The operands; before operator set 7 the second is aligned by the attributes `broadcast` and `axis`.
fn legacy_broadcast(op: &Operator) -> Result<(Value, Value), Error> {
    let (a, b) = (op.input(0)?.clone(), op.input(1)?.clone());
    if op.opset >= 7 {
        return Ok((a, b));
    }
    let is_broadcast = op.flag("broadcast", false)?;
    let (rank_a, rank_b) = (a.shape().len(), b.shape().len());
    let misaligned =
        || op.mismatch("a second operand inside the first", format!("{:?} and {:?}", a.shape(), b.shape()));
    if !is_broadcast {
        return if a.shape() == b.shape() { Ok((a, b)) } else { Err(misaligned()) };
    }
    let last_fit = rank_a.checked_sub(rank_b).ok_or_else(misaligned)?;
    let axis = match op.int("axis", last_fit as i64)? {
        axis if axis < 0 => axis.checked_add(rank_a as i64),
        axis => Some(axis),
    };
    let axis =
        axis.and_then(|axis| usize::try_from(axis).ok()).filter(|&axis| axis <= last_fit).ok_or_else(misaligned)?;
    let mut shape = vec![1; axis];
    shape.extend_from_slice(b.shape());
    shape.resize(rank_a, 1);
    if broadcast(a.shape(), &shape).as_deref() != Some(a.shape()) {
        return Err(misaligned());
    }
    let b = match b {
        Value::Computed(b) => Value::Computed(Computed { shape, ..b }),
        Value::Constant(b) => Value::Constant(Rc::new(Tensor { shape, ..(*b).clone() })),
    };
    Ok((a, b))
}
