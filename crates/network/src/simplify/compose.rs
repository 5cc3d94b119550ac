use super::row_sum::RowSum;
use crate::rounding::{add_up, mul_up, two_product, two_sum};
use crate::{Affine, Conv, Dense, LinearMap, Sparse, WeightError};

/// The most multiplications that a merge may take.
const MAX_PRODUCTS: usize = 1 << 31;

/// A composed linear part, before errors that are absolute in the factors.
struct Composed {
    map: LinearMap,
    /// Relative error of all entries.
    relative: f64,
    /// Absolute error of each row's entries.
    absolute: Vec<f64>,
}

impl LinearMap {
    /// Calls `visit` with (column, coefficient) for every stored entry of row `k`, columns rising.
    pub fn for_each_in_row(&self, k: usize, mut visit: impl FnMut(usize, f64)) {
        match self {
            Self::Dense(dense) => {
                dense.weight[k * dense.n_in..(k + 1) * dense.n_in].iter().enumerate().for_each(|(i, &w)| visit(i, w));
            }
            Self::Conv(conv) => conv.taps(k).for_each(|(i, w)| visit(i, conv.weight[w])),
            Self::Sparse(sparse) => sparse.row(k).for_each(|(i, w)| visit(i, w)),
        }
    }
}

impl Sparse {
    /// The (column, value) pairs of row `k`, columns rising.
    pub fn row(&self, k: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let row = self.offsets[k] as usize..self.offsets[k + 1] as usize;
        row.map(|e| (self.columns[e] as usize, self.values[e]))
    }
}

impl Affine {
    /// The composition `self ∘ inner` as one map, or `None` when that would store more coefficients than both together (or
    /// when the two have no common form).
    ///
    /// With `W₂, b₂` of `self` and `W₁, b₁` of `inner`, the stored `W = W₂ W₁` and `b = W₂ b₁ + b₂` are rounded sums. Let
    /// `D₁ = |W₁* − W₁|`, `D₂` likewise, and `β₁, β₂` the bias errors. Entry by entry,
    ///
    /// ```text
    /// |W* − W| ≤ rounding + |W₂| D₁ + D₂ |W₁| + D₂ D₁
    /// |b* − b| ≤ rounding + |W₂| β₁ + D₂ (|b₁| + β₁) + β₂
    /// ```
    ///
    /// and `D_ki ≤ r |W_ki| + a_k` splits the first line into `(r₁ + r₂ + r₁ r₂) |W₂||W₁|` and, with entries that are not
    /// stored counted too, `a₂ₖ (1 + r₁) max_j Σᵢ |W₁|ᵢⱼ + (1 + r₂) Σᵢ |W₂|ₖᵢ a₁ᵢ + a₂ₖ Σᵢ a₁ᵢ`. The rounding is not estimated
    /// by `γₙ |W₂||W₁|` but measured: the exact residual of each product and sum is added up. All of this is rounded upwards.
    pub fn after(&self, inner: &Affine) -> Option<Affine> {
        if self.n_in() != inner.n_out() {
            return None;
        }
        let (r1, r2) = (inner.error.relative, self.error.relative);
        let carried = add_up(add_up(r1, r2), mul_up(r1, r2));
        let composed = match (&self.map, &inner.map) {
            (LinearMap::Dense(_) | LinearMap::Sparse(_), LinearMap::Dense(_))
            | (LinearMap::Dense(_), LinearMap::Sparse(_)) => {
                to_dense(&self.map, &inner.map, self.n_out(), inner.n_in(), carried)
            }
            (LinearMap::Sparse(outer), LinearMap::Sparse(first)) => to_sparse(outer, first, carried),
            (LinearMap::Sparse(outer), LinearMap::Conv(conv)) => scaled_after(outer, conv, carried),
            (LinearMap::Conv(conv), LinearMap::Sparse(first)) => scaled_before(conv, first, carried),
            _ => None,
        }?;
        let mut absolute = composed.absolute;
        self.add_absolute_parts(inner, &mut absolute);
        let (bias, bias_error) = self.composed_bias(inner);
        let or_empty = |list: Vec<f64>| if list.iter().all(|&e| e == 0.0) { Vec::new() } else { list };
        let error =
            WeightError { relative: composed.relative, absolute: or_empty(absolute), bias: or_empty(bias_error) };
        let is_finite = |values: &[f64]| values.iter().all(|value| value.is_finite());
        let all_finite = is_finite(composed.map.coefficients())
            && is_finite(&bias)
            && is_finite(&error.absolute)
            && is_finite(&error.bias)
            && error.relative.is_finite();
        all_finite.then_some(Affine { map: composed.map, bias, error })
    }

    /// Adds to each row what the absolute errors of the factors' coefficients contribute.
    fn add_absolute_parts(&self, inner: &Affine, absolute: &mut [f64]) {
        let (a1, a2) = (&inner.error.absolute, &self.error.absolute);
        if !a1.is_empty() {
            let growth = add_up(1.0, self.error.relative);
            for (k, row) in absolute.iter_mut().enumerate() {
                let mut sum = 0.0;
                self.map.for_each_in_row(k, |i, w| sum = add_up(sum, mul_up(w.abs(), a1[i])));
                *row = add_up(*row, mul_up(growth, sum));
            }
        }
        if !a2.is_empty() {
            let mut column_sums = vec![0.0; inner.n_in()];
            for i in 0..inner.n_out() {
                inner.map.for_each_in_row(i, |j, w| column_sums[j] = add_up(column_sums[j], w.abs()));
            }
            let largest = mul_up(add_up(1.0, inner.error.relative), column_sums.into_iter().fold(0.0, f64::max));
            let per_entry = add_up(largest, a1.iter().fold(0.0, |sum, &a| add_up(sum, a)));
            for (row, &a) in absolute.iter_mut().zip(a2) {
                *row = add_up(*row, mul_up(a, per_entry));
            }
        }
    }

    /// `W₂ b₁ + b₂` and its error.
    fn composed_bias(&self, inner: &Affine) -> (Vec<f64>, Vec<f64>) {
        let error_of = |list: &[f64], i: usize| list.get(i).copied().unwrap_or(0.0);
        // An absolute error of a row speaks of every entry: Σᵢ (|b₁| + β₁).
        let all_inputs = if self.error.absolute.is_empty() {
            0.0
        } else {
            (0..inner.n_out())
                .fold(0.0, |sum, i| add_up(sum, add_up(inner.bias[i].abs(), error_of(&inner.error.bias, i))))
        };
        (0..self.n_out())
            .map(|k| {
                let mut value = 0.0;
                let mut error = mul_up(error_of(&self.error.absolute, k), all_inputs);
                let mut add = |term: f64, term_error: f64| {
                    let (sum, rounding) = two_sum(value, term);
                    value = sum;
                    error = add_up(error, add_up(rounding, term_error));
                };
                self.map.for_each_in_row(k, |i, w| {
                    let (b, beta) = (inner.bias[i], error_of(&inner.error.bias, i));
                    if w != 0.0 && (b != 0.0 || beta != 0.0) {
                        let (product, rounding) = two_product(w, b);
                        let weight_part = mul_up(self.error.relative, mul_up(w.abs(), add_up(b.abs(), beta)));
                        add(product, add_up(rounding, add_up(mul_up(w.abs(), beta), weight_part)));
                    }
                });
                add(self.bias[k], error_of(&self.error.bias, k));
                (value, error)
            })
            .unzip()
    }
}

/// A dense product, when it is no larger than its factors.
fn to_dense(outer: &LinearMap, inner: &LinearMap, n_out: usize, n_in: usize, carried: f64) -> Option<Composed> {
    let n_stored = outer.coefficients().len() + inner.coefficients().len();
    let n_products = match (outer, inner) {
        (_, LinearMap::Sparse(sparse)) => n_out.checked_mul(sparse.values.len())?,
        _ => outer.coefficients().len().checked_mul(n_in)?,
    };
    if n_out.checked_mul(n_in)? > n_stored || n_products > MAX_PRODUCTS {
        return None;
    }
    let mut weight = vec![0.0; n_out * n_in];
    let mut row_sum = RowSum::new(n_in, carried);
    let (mut relative, mut absolute) = (0f64, Vec::with_capacity(n_out));
    for (k, row) in weight.chunks_exact_mut(n_in).enumerate() {
        outer.for_each_in_row(k, |i, a| {
            if a != 0.0 {
                inner.for_each_in_row(i, |j, b| row_sum.add(j, a, b));
            }
        });
        let error = row_sum.finish(|j, value| row[j] = value);
        relative = relative.max(error.relative);
        absolute.push(error.absolute);
    }
    Some(Composed { map: LinearMap::Dense(Dense { n_out, n_in, weight }), relative, absolute })
}

/// A sparse product, when it is no larger than its factors.
fn to_sparse(outer: &Sparse, inner: &Sparse, carried: f64) -> Option<Composed> {
    let n_stored = outer.values.len() + inner.values.len();
    let row_length = |i: u32| (inner.offsets[i as usize + 1] - inner.offsets[i as usize]) as usize;
    let n_products = outer.columns.iter().try_fold(0usize, |sum, &i| sum.checked_add(row_length(i)))?;
    if n_products > MAX_PRODUCTS {
        return None;
    }
    let n_out = outer.offsets.len() - 1;
    let mut product = Sparse { n_in: inner.n_in, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
    let mut row_sum = RowSum::new(inner.n_in, carried);
    let (mut relative, mut absolute) = (0f64, Vec::with_capacity(n_out));
    for k in 0..n_out {
        outer.row(k).for_each(|(i, a)| inner.row(i).for_each(|(j, b)| row_sum.add(j, a, b)));
        if product.values.len() + row_sum.n_entries() > n_stored {
            return None;
        }
        let error = row_sum.finish(|j, value| {
            product.columns.push(j as u32);
            product.values.push(value);
        });
        product.offsets.push(product.values.len() as u32);
        relative = relative.max(error.relative);
        absolute.push(error.absolute);
    }
    Some(Composed { map: LinearMap::Sparse(product), relative, absolute })
}

/// A convolution whose outputs are scaled, by one factor per channel.
fn scaled_after(scales: &Sparse, conv: &Conv, carried: f64) -> Option<Composed> {
    let scales = per_channel(scales, conv.out_channels, conv.out_height * conv.out_width)?;
    let per_output = conv.weight.len() / conv.out_channels;
    Some(scaled(conv, |w| scales[w / per_output], carried))
}

/// A convolution whose inputs are scaled, by one factor per channel; padding is zero before and after.
fn scaled_before(conv: &Conv, scales: &Sparse, carried: f64) -> Option<Composed> {
    let scales = per_channel(scales, conv.in_channels, conv.in_height * conv.in_width)?;
    let (area, per_group) = (conv.kernel[0] * conv.kernel[1], conv.in_channels / conv.groups);
    let outputs_per_group = conv.out_channels / conv.groups;
    let factor = |w: usize| {
        let (output, in_group) = (w / (area * per_group), w / area % per_group);
        scales[output / outputs_per_group * per_group + in_group]
    };
    Some(scaled(conv, factor, carried))
}

/// The convolution with each weight (by its index) multiplied; every entry is a single product.
fn scaled(conv: &Conv, factor: impl Fn(usize) -> f64, carried: f64) -> Composed {
    let n_out = conv.out_channels * conv.out_height * conv.out_width;
    let per_output = conv.weight.len() / conv.out_channels;
    let mut weight = vec![0.0; conv.weight.len()];
    let (mut relative, mut largest) = (0f64, vec![0f64; conv.out_channels]);
    let mut row_sum = RowSum::new(1, carried);
    for (w, &value) in conv.weight.iter().enumerate() {
        row_sum.add(0, value, factor(w));
        let error = row_sum.finish(|_, product| weight[w] = product);
        relative = relative.max(error.relative);
        largest[w / per_output] = largest[w / per_output].max(error.absolute);
    }
    let absolute = (0..n_out).map(|o| largest[o / (conv.out_height * conv.out_width)]).collect();
    Composed { map: LinearMap::Conv(Conv { weight, ..conv.clone() }), relative, absolute }
}

/// The factor of each channel, when the matrix is diagonal and constant over each channel's pixels.
fn per_channel(sparse: &Sparse, channels: usize, area: usize) -> Option<Vec<f64>> {
    let planes = sparse.diagonal()?.chunks_exact(area);
    if planes.len() != channels {
        return None;
    }
    planes.map(|plane| plane.iter().all(|&scale| scale == plane[0]).then_some(plane[0])).collect()
}
