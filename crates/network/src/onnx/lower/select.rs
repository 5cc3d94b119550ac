use std::rc::Rc;

use super::super::operator::{Computed, Operator, Value};
use super::super::shape::{axis, broadcast, broadcast_offsets, offsets, strides};
use super::super::tensor::{Data, Fill};
use super::Lowering;
use super::rows::Rows;
use crate::{Affine, Error, LinearMap};

/// Along one axis of the result, the place that is read along that axis of the operand (`None`: the fill value).
type AxisPlaces = Vec<Option<usize>>;

impl Lowering {
    /// `Transpose`.
    pub(super) fn transpose(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(1..=1)?;
        let from = op.input(0)?.shape();
        let rank = from.len();
        let order: Vec<usize> = match op.ints("perm")? {
            Some(order) => order.iter().filter_map(|&number| axis(number, rank)).collect(),
            None => (0..rank).rev().collect(),
        };
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..rank) {
            return Err(op.mismatch(format!("an order of {rank} axes"), format!("{order:?}")));
        }
        let own = strides(from);
        let shape: Vec<usize> = order.iter().map(|&axis| from[axis]).collect();
        let read: Vec<usize> = order.iter().map(|&axis| own[axis]).collect();
        self.charge_shape(op, &shape)?;
        let sources = offsets(&shape, &read).into_iter().map(|i| Some(i as u32)).collect();
        self.select(op, op.input(0)?, shape, sources, Fill::default())
    }

    /// `Expand`.
    pub(super) fn expand(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=2)?;
        let from = op.input(0)?.shape();
        let target: Option<Vec<usize>> = op.int_list(1)?.iter().map(|&n| usize::try_from(n).ok()).collect();
        let shape = target.and_then(|target| broadcast(from, &target));
        let shape = shape.ok_or_else(|| op.mismatch("shapes that broadcast", format!("{from:?} and another")))?;
        self.charge_shape(op, &shape)?;
        let sources = broadcast_offsets(from, &shape).into_iter().map(|i| Some(i as u32)).collect();
        self.select(op, op.input(0)?, shape, sources, Fill::default())
    }

    /// A computed tensor repeated to a shape that it broadcasts to.
    pub(super) fn broadcast_to(&mut self, op: &Operator, x: &Computed, shape: &[usize]) -> Result<Computed, Error> {
        let length = self.charge_shape(op, shape)?;
        if length == x.len() {
            return Ok(Computed { node: x.node, shape: shape.to_vec() });
        }
        let sources = broadcast_offsets(&x.shape, shape).into_iter().map(|i| Some(i as u32)).collect();
        match self.select(op, &Value::Computed(x.clone()), shape.to_vec(), sources, Fill::default())? {
            Value::Computed(expanded) => Ok(expanded),
            Value::Constant(_) => Err(op.unsupported("on constants alone")),
        }
    }

    /// `Slice`.
    pub(super) fn slice(&mut self, op: &Operator) -> Result<Value, Error> {
        let from = op.input(0)?.shape();
        let rank = from.len();
        let (starts, ends, axes, steps);
        if op.opset < 10 {
            op.expect_inputs(1..=1)?;
            let required =
                |name: &str| op.ints(name)?.ok_or_else(|| op.mismatch(format!("the attribute {name}"), "none"));
            (starts, ends, axes, steps) = (required("starts")?, required("ends")?, op.ints("axes")?, None);
        } else {
            op.expect_inputs(3..=5)?;
            let optional = |i: usize| op.optional(i).map(|_| op.int_list(i)).transpose();
            (starts, ends, axes, steps) = (op.int_list(1)?, op.int_list(2)?, optional(3)?, optional(4)?);
        }
        let default_axes: Vec<i64> = (0..starts.len() as i64).collect();
        let axes = axes.unwrap_or(&default_axes);
        let default_steps = vec![1; starts.len()];
        let steps = steps.unwrap_or(&default_steps);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(op.mismatch("as many starts as ends, axes and steps", "other numbers of them"));
        }
        let mut places = self.whole(op, from)?;
        let mut is_sliced = vec![false; rank];
        for (i, &number) in axes.iter().enumerate() {
            let axis = axis(number, rank).filter(|&axis| !is_sliced[axis] && steps[i] != 0);
            let axis = axis.ok_or_else(|| op.mismatch("different axes and steps other than 0", format!("{axes:?}")))?;
            is_sliced[axis] = true;
            places[axis] = slice_places(from[axis], starts[i], ends[i], steps[i])
                .ok_or_else(|| op.unsupported("backwards between these ends"))?;
        }
        self.select_places(op, op.input(0)?, &places, Fill::default())
    }

    /// `Split`.
    pub(super) fn split(&mut self, op: &Operator) -> Result<Vec<Value>, Error> {
        let from = op.input(0)?.shape();
        op.expect_inputs(1..=if op.opset < 13 { 1 } else { 2 })?;
        let number = op.int("axis", 0)?;
        let axis = axis(number, from.len()).ok_or_else(|| op.mismatch("an axis of the operand", number.to_string()))?;
        let n_parts = op.int("num_outputs", op.n_outputs() as i64)?;
        let n = from[axis];
        let given =
            if op.opset < 13 { op.ints("split")? } else { op.optional(1).map(|_| op.int_list(1)).transpose()? };
        let sizes: Vec<usize> = if let Some(sizes) = given {
            sizes.iter().filter_map(|&size| usize::try_from(size).ok()).collect()
        } else {
            let fits = |&n_parts: &usize| n_parts > 0 && n_parts == op.n_outputs();
            let n_parts = usize::try_from(n_parts).ok().filter(fits);
            let n_parts = n_parts.ok_or_else(|| op.mismatch("a part per output", "another number of parts"))?;
            // Since operator set 18 the last part may be smaller.
            let size = if op.opset < 18 { n / n_parts } else { n.div_ceil(n_parts) };
            (0..n_parts).map(|i| size.min(n.saturating_sub(i * size))).collect()
        };
        let total = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        if total != Some(n) || given.is_some_and(|given| given.len() != sizes.len()) || sizes.len() < op.n_outputs() {
            return Err(op.mismatch(format!("parts of {n} in all, one per output"), format!("{sizes:?}")));
        }
        let mut start = 0;
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let mut places = self.whole(op, from)?;
            places[axis] = (start..start + size).map(Some).collect();
            parts.push(self.select_places(op, op.input(0)?, &places, Fill::default())?);
            start += size;
        }
        Ok(parts)
    }

    /// `Gather` with constant indices.
    pub(super) fn gather(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=2)?;
        let (from, indices) = (op.input(0)?.shape(), op.constant(1)?);
        let number = op.int("axis", 0)?;
        let axis_place =
            axis(number, from.len()).ok_or_else(|| op.mismatch("an axis of the operand", number.to_string()))?;
        let Data::Int(numbers) = &indices.data else {
            return Err(op.mismatch("integer indices", "floats"));
        };
        let n = from[axis_place];
        let read: Option<AxisPlaces> = numbers.iter().map(|&number| axis(number, n).map(Some)).collect();
        let read = read.ok_or_else(|| op.mismatch(format!("indices below {n}"), "others"))?;
        let mut places = self.whole(op, from)?;
        places[axis_place] = read;
        let shape = [&from[..axis_place], &indices.shape, &from[axis_place + 1..]].concat();
        self.charge_shape(op, &shape)?;
        let sources = sources(from, &places);
        self.select(op, op.input(0)?, shape, sources, Fill::default())
    }

    /// `Pad` with a constant; negative pads crop.
    pub(super) fn pad(&mut self, op: &Operator) -> Result<Value, Error> {
        let mode = op.text("mode", "constant")?;
        if mode != "constant" {
            return Err(op.unsupported(&format!("with mode = {mode}")));
        }
        let value = op.input(0)?;
        let from = value.shape();
        let rank = from.len();
        let pads;
        let (mut axes, mut fill) = (None, Fill::default());
        if op.opset < 11 {
            op.expect_inputs(1..=1)?;
            pads = op.ints("pads")?.ok_or_else(|| op.mismatch("the attribute pads", "none"))?;
            fill.float = op.float("value", 0.0)?;
        } else {
            op.expect_inputs(2..=4)?;
            pads = op.int_list(1)?;
            axes = op.optional(3).map(|_| op.int_list(3)).transpose()?;
            if op.optional(2).is_some() {
                fill = pad_value(op)?;
            }
        }
        let all_axes: Vec<i64> = (0..rank as i64).collect();
        let axes = axes.unwrap_or(&all_axes);
        if pads.len() != 2 * axes.len() {
            return Err(op.mismatch(format!("{} pads", 2 * axes.len()), pads.len().to_string()));
        }
        let mut places = self.whole(op, from)?;
        let mut is_padded = vec![false; rank];
        for (i, &number) in axes.iter().enumerate() {
            let axis = axis(number, rank).filter(|&axis| !is_padded[axis]);
            let axis = axis.ok_or_else(|| op.mismatch("different axes of the operand", format!("{axes:?}")))?;
            is_padded[axis] = true;
            let (before, after) = (pads[i], pads[i + axes.len()]);
            let n = from[axis] as i64;
            let length = n.checked_add(before).and_then(|length| length.checked_add(after)).filter(|&n| n >= 0);
            self.charge(op, length.map(|length| length as usize))?;
            let read = |place: i64| usize::try_from(place - before).ok().filter(|&place| place < from[axis]);
            places[axis] = (0..length.unwrap_or_default()).map(read).collect();
        }
        self.select_places(op, value, &places, fill)
    }

    /// The part of the operand that one list of places per axis picks.
    fn select_places(
        &mut self,
        op: &Operator,
        value: &Value,
        places: &[AxisPlaces],
        fill: Fill,
    ) -> Result<Value, Error> {
        let shape: Vec<usize> = places.iter().map(Vec::len).collect();
        self.charge_shape(op, &shape)?;
        let sources = sources(value.shape(), places);
        self.select(op, value, shape, sources, fill)
    }

    /// The tensor whose element `k` is the operand's `sources[k]`, or the fill value: no node where nothing moves.
    fn select(
        &mut self,
        op: &Operator,
        value: &Value,
        shape: Vec<usize>,
        sources: Vec<Option<u32>>,
        fill: Fill,
    ) -> Result<Value, Error> {
        let x = match value {
            Value::Constant(tensor) => return Ok(Value::Constant(Rc::new(tensor.select(shape, &sources, fill)))),
            Value::Computed(x) => x,
        };
        if sources.len() == x.len() && sources.iter().enumerate().all(|(k, &source)| source == Some(k as u32)) {
            return Ok(Value::Computed(Computed { node: x.node, shape }));
        }
        let mut rows = Rows::new(x.len());
        let mut bias = Vec::with_capacity(sources.len());
        for source in sources {
            if let Some(column) = source {
                rows.entry(column as usize, 1.0);
            }
            rows.end();
            bias.push(if source.is_some() { 0.0 } else { fill.float });
        }
        self.affine(op, x, Affine::exact(LinearMap::Sparse(rows.finish()), bias), shape)
    }

    /// Every axis read as it is.
    fn whole(&mut self, op: &Operator, shape: &[usize]) -> Result<Vec<AxisPlaces>, Error> {
        self.charge(op, shape.iter().try_fold(0usize, |sum, &n| sum.checked_add(n)))?;
        Ok(shape.iter().map(|&n| (0..n).map(Some).collect()).collect())
    }
}

/// The flat place in `from` that every element of the result reads.
fn sources(from: &[usize], places: &[AxisPlaces]) -> Vec<Option<u32>> {
    if places.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let mut sources = vec![Some(0usize)];
    for (axis_places, stride) in places.iter().zip(strides(from)) {
        let step = |source: Option<usize>| axis_places.iter().map(move |&place| Some(source? + place? * stride));
        sources = sources.into_iter().flat_map(step).collect();
    }
    sources.into_iter().map(|source| source.map(|source| source as u32)).collect()
}

/// The places of `start:end:step` along an axis of length `n`; `None` where implementations disagree on what they are.
fn slice_places(n: usize, start: i64, end: i64, step: i64) -> Option<AxisPlaces> {
    let n = n as i64;
    let from_end = |place: i64| if place < 0 { place.saturating_add(n) } else { place };
    let (start, end) = (from_end(start), from_end(end));
    let (mut place, end) = if step > 0 {
        (start.clamp(0, n), end.clamp(0, n))
    } else if start < 0 || end == i64::from(i32::MAX) || end == i64::MAX {
        // The format clamps the start to the first element, numpy does not; onnxruntime takes a largest integer as the far end
        // even when counting down.
        return None;
    } else {
        (start.min(n - 1), end.clamp(-1, n.max(1) - 1))
    };
    let mut places = Vec::new();
    while if step > 0 { place < end } else { place > end } {
        places.push(Some(place as usize));
        place = place.checked_add(step)?;
    }
    Some(places)
}

/// The value with which `Pad` fills, its operand 2.
fn pad_value(op: &Operator) -> Result<Fill, Error> {
    let tensor = op.constant(2)?;
    match &tensor.data {
        Data::Int(values) if values.len() == 1 => Ok(Fill { float: 0.0, int: values[0] }),
        Data::Float { .. } if tensor.len() == 1 => Ok(Fill { float: op.exact_floats(2)?.values[0], int: 0 }),
        _ => Err(op.mismatch("one value to pad with", format!("shape {:?}", tensor.shape))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_count_from_both_ends() {
        let places = |n, start, end, step| slice_places(n, start, end, step).map(|p| p.into_iter().flatten().collect());
        assert_eq!(places(5, 1, 4, 2), Some(vec![1, 3]));
        assert_eq!(places(5, -2, i64::MAX, 1), Some(vec![3, 4]));
        assert_eq!(places(5, -1, i64::MIN, -2), Some(vec![4, 2, 0]));
        assert_eq!(places(5, i64::MAX, 1, -1), Some(vec![4, 3, 2]));
        assert_eq!(places(5, 3, 1, 1), Some(vec![]));
        assert_eq!(places(0, 0, 9, 1), Some(vec![]));
        assert_eq!(places(5, -9, -9, -1), None);
        assert_eq!(places(5, 3, i64::MAX, -1), None);
    }

    #[test]
    fn a_padded_axis_leaves_places_open() {
        let rows = vec![Some(1), Some(0)];
        let columns = vec![None, Some(0), Some(1)];
        assert_eq!(sources(&[2, 2], &[rows, columns]), [None, Some(2), Some(3), None, Some(0), Some(1)]);
    }
}
