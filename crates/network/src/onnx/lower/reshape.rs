use std::rc::Rc;

use super::super::operator::{Computed, Operator, Value};
use super::super::shape::{axis, n_elements};
use super::super::tensor::{Data, Tensor};
use super::Lowering;
use crate::Error;

impl Lowering {
    /// `Flatten`, `Reshape`, `Squeeze` and `Unsqueeze`: the same values in another shape, which takes no node.
    pub(super) fn reshape(&mut self, op: &Operator) -> Result<Value, Error> {
        let value = op.input(0)?;
        let shape = match op.kind() {
            "Flatten" => flatten(op, value.shape())?,
            "Reshape" => reshape(op, value.shape())?,
            "Squeeze" => squeeze(op, value.shape())?,
            _ => unsqueeze(op, value.shape())?,
        };
        if n_elements(&shape) != n_elements(value.shape()) {
            return Err(op.mismatch(format!("a shape for the values of {:?}", value.shape()), format!("{shape:?}")));
        }
        Ok(match value {
            Value::Computed(x) => Value::Computed(Computed { node: x.node, shape }),
            Value::Constant(tensor) => {
                self.charge(op, Some(tensor.len()))?;
                Value::Constant(Rc::new(Tensor { shape, data: tensor.data.clone() }))
            }
        })
    }

    /// `Identity`, and `Dropout` as it is used for inference.
    pub(super) fn identity(op: &Operator) -> Result<Value, Error> {
        if op.kind() == "Identity" {
            op.expect_inputs(1..=1)?;
            return Ok(op.input(0)?.clone());
        }
        op.expect_inputs(1..=3)?;
        let is_training = if op.opset < 7 {
            !op.flag("is_test", false)?
        } else if op.optional(2).is_some() {
            !matches!(&op.constant(2)?.data, Data::Int(values) if values == &[0])
        } else {
            false
        };
        if is_training {
            return Err(op.unsupported("in training mode; export the model for inference"));
        }
        // Neither matters for inference.
        op.float("ratio", 0.5)?;
        op.int("seed", 0)?;
        Ok(op.input(0)?.clone())
    }
}

fn flatten(op: &Operator, from: &[usize]) -> Result<Vec<usize>, Error> {
    op.expect_inputs(1..=1)?;
    let number = op.int("axis", 1)?;
    let rank = from.len();
    let split = if number == rank as i64 { Some(rank) } else { axis(number, rank) };
    let split = split.ok_or_else(|| op.mismatch(format!("an axis of {rank} dimensions"), number.to_string()))?;
    let count =
        |part: &[usize]| n_elements(part).ok_or_else(|| op.mismatch("a shape of sane size", format!("{from:?}")));
    Ok(vec![count(&from[..split])?, count(&from[split..])?])
}

fn reshape(op: &Operator, from: &[usize]) -> Result<Vec<usize>, Error> {
    op.expect_inputs(2..=2)?;
    let target = op.int_list(1)?;
    let zero_copies = !op.flag("allowzero", false)?;
    let wrong = || op.mismatch(format!("a shape for the values of {from:?}"), format!("{target:?}"));
    let mut open = None;
    let mut shape = Vec::with_capacity(target.len());
    for (place, &n) in target.iter().enumerate() {
        shape.push(match n {
            -1 if open.replace(place).is_some() => return Err(wrong()),
            -1 => 1,
            0 if zero_copies => *from.get(place).ok_or_else(wrong)?,
            n => usize::try_from(n).map_err(|_| wrong())?,
        });
    }
    if let Some(place) = open {
        let (all, known) = (n_elements(from).ok_or_else(wrong)?, n_elements(&shape).ok_or_else(wrong)?);
        if known == 0 || !all.is_multiple_of(known) {
            return Err(wrong());
        }
        shape[place] = all / known;
    }
    Ok(shape)
}

fn squeeze(op: &Operator, from: &[usize]) -> Result<Vec<usize>, Error> {
    let Some(axes) = axes(op)? else {
        return Ok(from.iter().copied().filter(|&n| n != 1).collect());
    };
    let is_dropped = marked(op, axes, from.len())?;
    if from.iter().zip(&is_dropped).any(|(&n, &is_dropped)| is_dropped && n != 1) {
        return Err(op.mismatch("axes of size 1", format!("axes {axes:?} of {from:?}")));
    }
    Ok(from.iter().zip(is_dropped).filter(|(_, is_dropped)| !is_dropped).map(|(&n, _)| n).collect())
}

fn unsqueeze(op: &Operator, from: &[usize]) -> Result<Vec<usize>, Error> {
    let axes = axes(op)?.ok_or_else(|| op.mismatch("axes", "none"))?;
    let is_new = marked(op, axes, from.len() + axes.len())?;
    if is_new.iter().filter(|&&is_new| is_new).count() != axes.len() {
        return Err(op.mismatch("different axes", format!("{axes:?}")));
    }
    let mut old = from.iter();
    Ok(is_new.into_iter().map(|is_new| if is_new { 1 } else { *old.next().expect("one per old axis") }).collect())
}

/// The axes, an attribute before operator set 13 and an operand since.
fn axes<'a>(op: &'a Operator) -> Result<Option<&'a [i64]>, Error> {
    op.expect_inputs(1..=if op.opset < 13 { 1 } else { 2 })?;
    if op.opset < 13 { op.ints("axes") } else { op.optional(1).map(|_| op.int_list(1)).transpose() }
}

fn marked(op: &Operator, axes: &[i64], rank: usize) -> Result<Vec<bool>, Error> {
    let mut is_marked = vec![false; rank];
    for &number in axes {
        let axis =
            axis(number, rank).ok_or_else(|| op.mismatch(format!("axes of {rank} dimensions"), number.to_string()))?;
        is_marked[axis] = true;
    }
    Ok(is_marked)
}
