use super::super::operator::{Operator, Value};
use super::super::shape::n_elements;
use super::Lowering;
use super::rows::{Rows, weight_error};
use super::window::{Window, channels};
use crate::rounding::UNIT;
use crate::{Affine, Error, LinearMap, MaxPool, Op, Sparse};

impl Lowering {
    /// `MaxPool` without the indices.
    pub(super) fn max_pool(&mut self, op: &Operator) -> Result<Value, Error> {
        if op.n_outputs() > 1 {
            return Err(op.unsupported("with the indices as a second output"));
        }
        // It orders the indices only.
        op.int("storage_order", 0)?;
        let (window, n_channels) = self.pool_window(op)?;
        let x = op.computed(0)?;
        let pool = window.pooling(n_channels);
        self.push(op, Op::MaxPool(pool.into()), &[x], window.result_shape(n_channels))
    }

    /// `AveragePool`.
    pub(super) fn average_pool(&mut self, op: &Operator) -> Result<Value, Error> {
        let counts_padding = op.flag("count_include_pad", false)?;
        let (window, n_channels) = self.pool_window(op)?;
        let x = op.computed(0)?;
        if counts_padding && window.overhangs() {
            return Err(op.unsupported("with count_include_pad where ceil_mode reaches past the padding"));
        }
        let pool = window.pooling(n_channels);
        let fixed_count = counts_padding.then_some(window.kernel[0] * window.kernel[1]);
        let windows = (0..pool.n_out()).map(|o| pool.window(o).collect());
        let (map, relative) = averages(op, pool.n_in(), windows, fixed_count)?;
        let error = weight_error(relative, Vec::new(), Vec::new());
        let affine = Affine { map: LinearMap::Sparse(map), bias: vec![0.0; pool.n_out()], error };
        self.affine(op, x, affine, window.result_shape(n_channels))
    }

    /// `GlobalMaxPool`.
    pub(super) fn global_max_pool(&mut self, op: &Operator) -> Result<Value, Error> {
        let (pool, shape) = self.global_pool(op)?;
        self.push(op, Op::MaxPool(pool.into()), &[op.computed(0)?], shape)
    }

    /// `GlobalAveragePool`.
    pub(super) fn global_average_pool(&mut self, op: &Operator) -> Result<Value, Error> {
        let (pool, shape) = self.global_pool(op)?;
        let windows = (0..pool.n_out()).map(|o| pool.window(o).collect());
        let (map, relative) = averages(op, pool.n_in(), windows, None)?;
        let error = weight_error(relative, Vec::new(), Vec::new());
        let affine = Affine { map: LinearMap::Sparse(map), bias: vec![0.0; pool.n_out()], error };
        self.affine(op, op.computed(0)?, affine, shape)
    }

    /// The windows of a pooling and its number of channels; the budget covers every tap.
    fn pool_window(&mut self, op: &Operator) -> Result<(Window, usize), Error> {
        op.expect_inputs(1..=1)?;
        let (n_channels, spatial) = channels(op, &op.computed(0)?.shape)?;
        let is_ceil = op.flag("ceil_mode", false)?;
        let kernel = op.ints("kernel_shape")?.ok_or_else(|| op.mismatch("a kernel_shape", "none"))?;
        let kernel: Result<Vec<usize>, _> = kernel.iter().map(|&k| usize::try_from(k)).collect();
        let kernel = kernel.ok().filter(|kernel| kernel.len() == spatial.len());
        let kernel = kernel.ok_or_else(|| op.mismatch(format!("a kernel over {} axes", spatial.len()), "another"))?;
        let window = Window::new(op, spatial, &kernel, is_ceil)?;
        let taps = n_elements(&window.result_shape(n_channels))
            .and_then(|n| n.checked_mul(window.kernel[0])?.checked_mul(window.kernel[1]));
        self.charge(op, taps)?;
        Ok((window, n_channels))
    }

    /// One window per channel, which is the whole image, and the shape of the result.
    fn global_pool(&mut self, op: &Operator) -> Result<(MaxPool, Vec<usize>), Error> {
        op.expect_inputs(1..=1)?;
        let x = op.computed(0)?;
        let [1, n_channels, spatial @ ..] = x.shape.as_slice() else {
            return Err(op.mismatch("channels in a batch of one", format!("shape {:?}", x.shape)));
        };
        self.charge_shape(op, &x.shape)?;
        let n_pixels = spatial.iter().product();
        let mut shape = vec![1; x.shape.len()];
        shape[1] = *n_channels;
        let pool = MaxPool {
            channels: *n_channels,
            in_height: 1,
            in_width: n_pixels,
            out_height: 1,
            out_width: 1,
            kernel: [1, n_pixels],
            stride: [1, 1],
            dilation: [1, 1],
            pad: [0, 0],
        };
        Ok((pool, shape))
    }
}

/// The matrix that averages each set of inputs (over `fixed_count` values if given, the rest being zeros), and the relative
/// error of its coefficients.
pub(super) fn averages(
    op: &Operator,
    n_in: usize,
    sets: impl Iterator<Item = Vec<usize>>,
    fixed_count: Option<usize>,
) -> Result<(Sparse, f64), Error> {
    let mut rows = Rows::new(n_in);
    let mut relative = 0.0;
    for set in sets {
        let count = fixed_count.unwrap_or(set.len());
        if count == 0 {
            return Err(op.mismatch("windows that touch the image", "a window of padding alone"));
        }
        if !count.is_power_of_two() {
            // 1 / count is rounded to nearest and far from underflow.
            relative = UNIT;
        }
        rows.entries(set, 1.0 / count as f64);
        rows.end();
    }
    Ok((rows.finish(), relative))
}
