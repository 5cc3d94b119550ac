//! Row-major index arithmetic over shapes.

/// The number of elements, unless it overflows.
pub(crate) fn n_elements(shape: &[usize]) -> Option<usize> {
    // A zero anywhere makes the product zero, whatever the others multiply to.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n))
}

/// The row-major strides of a shape; of no meaning when it holds no elements or more than can be counted.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The shape to which both broadcast, aligned at the last axis.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |place| shape[place]);
    (0..rank)
        .map(|axis| match (at(a, axis), at(b, axis)) {
            (m, n) if m == n => Some(m),
            (1, n) => Some(n),
            (m, 1) => Some(m),
            _ => None,
        })
        .collect()
}

/// The strides with which `shape` is read when broadcast to `to`: zero along repeated axes.
pub(crate) fn broadcast_strides(shape: &[usize], to: &[usize]) -> Vec<usize> {
    let own = strides(shape);
    let n_new = to.len() - shape.len();
    (0..to.len()).map(|axis| if axis < n_new || shape[axis - n_new] == 1 { 0 } else { own[axis - n_new] }).collect()
}

/// The flat offset of every element of `shape`, in row-major order, under the given strides.
pub(crate) fn offsets(shape: &[usize], strides: &[usize]) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut offsets = vec![0];
    for (&n, &stride) in shape.iter().zip(strides) {
        if n != 1 {
            offsets = offsets.iter().flat_map(|&start| (0..n).map(move |i| start + i * stride)).collect();
        }
    }
    offsets
}

/// Which element of `shape` every element of `to` reads when `shape` is broadcast.
pub(crate) fn broadcast_offsets(shape: &[usize], to: &[usize]) -> Vec<usize> {
    offsets(to, &broadcast_strides(shape, to))
}

/// The axis that a possibly negative number names.
pub(crate) fn axis(number: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if number < 0 { number.checked_add(rank)? } else { number };
    (0..rank).contains(&axis).then_some(axis as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_and_a_column_broadcast_to_a_matrix() {
        assert_eq!(broadcast(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(broadcast(&[], &[3]), Some(vec![3]));
        assert_eq!(broadcast_offsets(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(broadcast_offsets(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(broadcast_offsets(&[], &[2]), [0, 0]);
    }

    #[test]
    fn a_transposed_read_walks_columns() {
        assert_eq!(offsets(&[3, 2], &[1, 3]), [0, 3, 1, 4, 2, 5]);
    }

    #[test]
    fn counts_do_not_overflow() {
        assert_eq!(n_elements(&[usize::MAX, 2]), None);
        assert_eq!(n_elements(&[usize::MAX, 2, 0]), Some(0));
        assert_eq!(axis(-1, 4), Some(3));
        assert_eq!(axis(4, 4), None);
        assert_eq!(axis(i64::MIN, 4), None);
    }
}
