use super::super::operator::{Computed, Floats, Operator, Value};
use super::super::shape::{broadcast, broadcast_offsets};
use super::Lowering;
use super::rows::{Rows, weight_error};
use crate::rounding::{add_up, mul_up, two_product};
use crate::{Affine, Dense, Error, LinearMap, Op};

/// How a product of stacks of matrices reads its two operands.
#[derive(Debug)]
struct Layout {
    /// Where each pair of matrices starts, in the left and the right operand.
    starts: Vec<[usize; 2]>,
    n_rows: usize,
    n_inner: usize,
    n_columns: usize,
    /// Strides of the left matrix along rows and inner dimension.
    left: [usize; 2],
    /// Strides of the right matrix along inner dimension and columns.
    right: [usize; 2],
}

/// The side on which the computed operand stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl Lowering {
    /// `MatMul`, with numpy's rules for vectors and stacks.
    pub(super) fn mat_mul(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=2)?;
        let (a, b) = (op.input(0)?.shape(), op.input(1)?.shape());
        let mismatch = || op.mismatch("matrices that fit", format!("{a:?} and {b:?}"));
        let left = match a {
            [] => return Err(mismatch()),
            [n] => vec![1, *n],
            _ => a.to_vec(),
        };
        let right = match b {
            [] => return Err(mismatch()),
            [n] => vec![*n, 1],
            _ => b.to_vec(),
        };
        let (left_stack, [n_rows, n_inner]) = left.split_last_chunk::<2>().expect("two dimensions at least");
        let (right_stack, [n_inner_right, n_columns]) = right.split_last_chunk::<2>().expect("two dimensions at least");
        let stack = broadcast(left_stack, right_stack).filter(|_| n_inner == n_inner_right).ok_or_else(mismatch)?;

        let mut shape = stack.clone();
        shape.extend((a.len() > 1).then_some(*n_rows));
        shape.extend((b.len() > 1).then_some(*n_columns));
        self.charge_shape(op, &shape)?;
        let starts_of = |own: &[usize], size: usize| broadcast_offsets(own, &stack).into_iter().map(move |i| i * size);
        let layout = Layout {
            starts: starts_of(left_stack, n_rows * n_inner)
                .zip(starts_of(right_stack, n_inner * n_columns))
                .map(|(left, right)| [left, right])
                .collect(),
            n_rows: *n_rows,
            n_inner: *n_inner,
            n_columns: *n_columns,
            left: [*n_inner, 1],
            right: [*n_columns, 1],
        };
        let (x, side, weight) = operands(op)?;
        let bias = vec![0.0; shape.iter().product()];
        let affine = self.product(op, &layout, (x, side), weight, 1.0, bias)?;
        self.affine(op, x, affine, shape)
    }

    /// `Gemm`: `alpha · A B + beta · C`, either factor transposed if asked.
    pub(super) fn gemm(&mut self, op: &Operator) -> Result<Value, Error> {
        op.expect_inputs(2..=3)?;
        let (alpha, beta) = (op.float("alpha", 1.0)?, op.float("beta", 1.0)?);
        if op.opset < 7 {
            // Says that C broadcasts, which it does whenever it has to.
            op.flag("broadcast", false)?;
        }
        let (a, b) = (op.input(0)?.shape(), op.input(1)?.shape());
        let (&[a0, a1], &[b0, b1]) = (a, b) else {
            return Err(op.mismatch("two matrices", format!("{a:?} and {b:?}")));
        };
        let (n_rows, n_inner, left) = if op.flag("transA", false)? { (a1, a0, [1, a1]) } else { (a0, a1, [a1, 1]) };
        let (n_inner_b, n_columns, right) =
            if op.flag("transB", false)? { (b1, b0, [1, b1]) } else { (b0, b1, [b1, 1]) };
        if n_inner != n_inner_b {
            return Err(op.mismatch("matrices that fit", format!("{a:?} and {b:?}")));
        }
        let shape = vec![n_rows, n_columns];
        let n_out = self.charge_shape(op, &shape)?;
        let layout = Layout { starts: vec![[0, 0]], n_rows, n_inner, n_columns, left, right };
        let (x, side, weight) = operands(op)?;

        let mut bias = vec![0.0; n_out];
        let mut bias_error = Vec::new();
        if let Some(c) = op.optional(2) {
            if broadcast(c.shape(), &shape).as_ref() != Some(&shape) {
                return Err(op.mismatch(format!("a bias that broadcasts to {shape:?}"), format!("{:?}", c.shape())));
            }
            if let Value::Constant(_) = c {
                let c = op.floats(2)?;
                (bias, bias_error) = broadcast_offsets(c.shape, &shape).into_iter().map(|i| times(beta, &c, i)).unzip();
            }
        }
        let mut affine = self.product(op, &layout, (x, side), weight, alpha, bias)?;
        affine.error.bias = weight_error(0.0, Vec::new(), bias_error).bias;
        let product = self.affine(op, x, affine, shape.clone())?;
        match (op.optional(2), product) {
            (Some(Value::Computed(c)), Value::Computed(product)) => {
                let c = if beta == 1.0 { c.clone() } else { self.scale(op, c, beta)? };
                let c = self.broadcast_to(op, &c, &shape)?;
                self.push(op, Op::Add, &[&product, &c], shape)
            }
            (_, product) => Ok(product),
        }
    }

    /// The map `x ↦ alpha · (x times weight) + bias`; dense where every row reads all of `x`, else without its zeros.
    fn product(
        &mut self,
        op: &Operator,
        layout: &Layout,
        (x, side): (&Computed, Side),
        weight: Floats,
        alpha: f64,
        bias: Vec<f64>,
    ) -> Result<Affine, Error> {
        let n_in = x.len();
        let n_out = bias.len();
        self.charge(op, n_out.checked_mul(layout.n_inner))?;
        let is_dense = n_in == layout.n_inner;
        let mut dense = Vec::with_capacity(if is_dense { n_out * n_in } else { 0 });
        let mut rows = Rows::new(n_in);
        let mut absolute = Vec::with_capacity(n_out);
        for [left, right] in &layout.starts {
            for (row, column) in
                (0..layout.n_rows).flat_map(|row| (0..layout.n_columns).map(move |column| (row, column)))
            {
                let mut row_error = 0f64;
                for inner in 0..layout.n_inner {
                    let in_left = left + row * layout.left[0] + inner * layout.left[1];
                    let in_right = right + inner * layout.right[0] + column * layout.right[1];
                    let (place, in_weight) = if side == Side::Left { (in_left, in_right) } else { (in_right, in_left) };
                    let (value, error) = times(alpha, &weight, in_weight);
                    row_error = row_error.max(error);
                    if is_dense {
                        dense.push(value);
                    } else if value != 0.0 {
                        rows.entry(place, value);
                    }
                }
                rows.end();
                absolute.push(row_error);
            }
        }
        let map = if is_dense {
            LinearMap::Dense(Dense { n_out, n_in, weight: dense })
        } else {
            LinearMap::Sparse(rows.finish())
        };
        Ok(Affine { map, bias, error: weight_error(0.0, absolute, Vec::new()) })
    }
}

/// The computed factor, its side, and the constant one.
fn operands<'a>(op: &'a Operator) -> Result<(&'a Computed, Side, Floats<'a>), Error> {
    match (op.input(0)?, op.input(1)?) {
        (Value::Computed(x), Value::Constant(_)) => Ok((x, Side::Left, op.floats(1)?)),
        (Value::Constant(_), Value::Computed(x)) => Ok((x, Side::Right, op.floats(0)?)),
        (Value::Computed(_), Value::Computed(_)) => Err(op.unsupported("of two computed operands")),
        _ => Err(op.unsupported("on constants alone; fold them when exporting")),
    }
}

/// The factor times value `i`, and how far that may be from the real product.
fn times(factor: f64, values: &Floats, i: usize) -> (f64, f64) {
    let (product, rounding) = two_product(factor, values.values[i]);
    (product, add_up(rounding, mul_up(factor.abs(), values.error_of(i))))
}
