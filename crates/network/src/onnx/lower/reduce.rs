use super::super::operator::{Operator, Value};
use super::super::shape::{axis, n_elements, offsets, strides};
use super::Lowering;
use super::pool::averages;
use super::rows::{Rows, weight_error};
use crate::{Affine, Error, LinearMap};

impl Lowering {
    /// `ReduceMean` and `ReduceSum`.
    pub(super) fn reduce(&mut self, op: &Operator) -> Result<Value, Error> {
        let is_mean = op.kind() == "ReduceMean";
        let takes_axes_as_input = op.opset >= if is_mean { 18 } else { 13 };
        op.expect_inputs(1..=if takes_axes_as_input { 2 } else { 1 })?;
        let keeps_dims = op.flag("keepdims", true)?;
        let x = op.computed(0)?;
        let rank = x.shape.len();
        let axes = match takes_axes_as_input {
            true if op.optional(1).is_some() => op.int_list(1)?,
            true => &[],
            false => op.ints("axes")?.unwrap_or_default(),
        };
        if takes_axes_as_input && op.flag("noop_with_empty_axes", false)? && axes.is_empty() {
            return Ok(Value::Computed(x.clone()));
        }
        let mut is_reduced = vec![axes.is_empty(); rank];
        for &number in axes {
            let axis = axis(number, rank)
                .ok_or_else(|| op.mismatch(format!("axes of {rank} dimensions"), number.to_string()))?;
            is_reduced[axis] = true;
        }
        let part = |reduced: bool| -> (Vec<usize>, Vec<usize>) {
            let all = x.shape.iter().copied().zip(strides(&x.shape));
            all.zip(&is_reduced).filter(|(_, is_reduced)| **is_reduced == reduced).map(|(pair, _)| pair).unzip()
        };
        let ((kept, kept_strides), (lost, lost_strides)) = (part(false), part(true));
        self.charge(op, n_elements(&x.shape).and_then(|n| n.checked_mul(2)))?;
        let starts = offsets(&kept, &kept_strides);
        let n_out = starts.len();
        let members = offsets(&lost, &lost_strides);
        let sets = starts.into_iter().map(|start| members.iter().map(|member| start + member).collect::<Vec<_>>());
        let (map, relative) = if is_mean {
            averages(op, x.len(), sets, None)?
        } else {
            let mut rows = Rows::new(x.len());
            for set in sets {
                rows.entries(set, 1.0);
                rows.end();
            }
            (rows.finish(), 0.0)
        };
        let shape = if keeps_dims {
            x.shape.iter().zip(&is_reduced).map(|(&n, &is_reduced)| if is_reduced { 1 } else { n }).collect()
        } else {
            kept
        };
        let error = weight_error(relative, Vec::new(), Vec::new());
        self.affine(op, x, Affine { map: LinearMap::Sparse(map), bias: vec![0.0; n_out], error }, shape)
    }
}
