use super::super::operator::{Operator, Value};
use super::super::shape::{broadcast, broadcast_offsets, n_elements};
use super::Lowering;
use crate::{Activation, Error, ErrorKind, Op};

impl Lowering {
    /// The elementwise functions.
    pub(super) fn activation(&mut self, op: &Operator) -> Result<Value, Error> {
        let activation = match op.kind() {
            "Relu" => Activation::Relu,
            "Sigmoid" => Activation::Sigmoid,
            "Tanh" => Activation::Tanh,
            "LeakyRelu" => Activation::LeakyRelu([op.float("alpha", f64::from(0.01f32))?].into()),
            "PRelu" => self.prelu(op)?,
            "Clip" => clip(op)?,
            _ => return self.scalar_min_max(op),
        };
        if !matches!(op.kind(), "PRelu" | "Clip") {
            op.expect_inputs(1..=1)?;
        }
        let x = op.computed(0)?;
        self.push(op, Op::Activation(activation), &[x], x.shape.clone())
    }

    fn prelu(&mut self, op: &Operator) -> Result<Activation, Error> {
        op.expect_inputs(2..=2)?;
        let (x, slopes) = (op.computed(0)?, op.exact_floats(1)?);
        if slopes.values.len() == 1 {
            return Ok(Activation::LeakyRelu(slopes.values.into()));
        }
        // Before operator set 7 there was no broadcasting: one slope per channel.
        let mut shape = slopes.shape.to_vec();
        if op.opset < 7 && shape.len() == 1 && x.shape.len() > 2 {
            shape.extend(vec![1; x.shape.len() - 2]);
        }
        if broadcast(&shape, &x.shape).as_ref() != Some(&x.shape) {
            return Err(op.mismatch(format!("slopes that broadcast to {:?}", x.shape), format!("shape {shape:?}")));
        }
        self.charge(op, n_elements(&x.shape))?;
        let each: Vec<f64> = broadcast_offsets(&shape, &x.shape).into_iter().map(|i| slopes.values[i]).collect();
        Ok(Activation::LeakyRelu(each.into()))
    }

    /// `Min` and `Max` of one computed tensor and scalar constants: one end of a clip.
    fn scalar_min_max(&mut self, op: &Operator) -> Result<Value, Error> {
        let is_max = op.kind() == "Max";
        let mut x = None;
        let mut end = if is_max { f64::NEG_INFINITY } else { f64::INFINITY };
        for i in 0..op.n_inputs() {
            match op.input(i)? {
                Value::Computed(_) if x.is_some() => return Err(op.unsupported("of two computed operands")),
                Value::Computed(computed) => x = Some(computed),
                Value::Constant(_) => {
                    let value = scalar(op, i)?;
                    end = if is_max { end.max(value) } else { end.min(value) };
                }
            }
        }
        let x = x.ok_or_else(|| op.unsupported("on constants alone; fold them when exporting"))?;
        let (lower, upper) = if is_max { (end, f64::INFINITY) } else { (f64::NEG_INFINITY, end) };
        self.push(op, Op::Activation(Activation::Clip { lower, upper }), &[x], x.shape.clone())
    }
}

fn clip(op: &Operator) -> Result<Activation, Error> {
    let (lower, upper) = if op.opset < 11 {
        op.expect_inputs(1..=1)?;
        (op.optional_float("min")?, op.optional_float("max")?)
    } else {
        op.expect_inputs(1..=3)?;
        let end = |i: usize| op.optional(i).map(|_| scalar(op, i)).transpose();
        (end(1)?, end(2)?)
    };
    Ok(Activation::Clip { lower: lower.unwrap_or(f64::NEG_INFINITY), upper: upper.unwrap_or(f64::INFINITY) })
}

/// The one value of the operand `i`, which may be infinite.
fn scalar(op: &Operator, i: usize) -> Result<f64, Error> {
    let floats = op.floats_or_infinite(i)?;
    let &[value] = floats.values else {
        return Err(op.unsupported("with a constant that is not a scalar"));
    };
    if value.is_nan() {
        return Err(ErrorKind::NotFinite { node: op.name().into(), what: format!("the operand {}", i + 1) }.into());
    }
    if floats.error_of(0) > 0.0 {
        return Err(op.unsupported("with constants that were rounded; fold them when exporting"));
    }
    Ok(value)
}
