//! Affine maps, forward on intervals and backward on rows of coefficients: the loops, and nothing else.

use multiversion::multiversion;
use network::{Conv, Dense, LinearMap, Sparse};

/// Rows that walk back together: every coefficient is kept for this many of them.
pub const LANES: usize = 16;

/// One neuron's coefficients in all rows of a block.
pub type Rows = [f64; LANES];

/// Calls `visit` with (input, coefficient) for what output `k` of a convolution reads; padding is zero and left out.
#[inline(always)]
fn taps(conv: &Conv, k: usize, mut visit: impl FnMut(usize, f64)) {
    let area = conv.out_height * conv.out_width;
    let (channel, y, x) = (k / area, k % area / conv.out_width, k % conv.out_width);
    let in_group = conv.in_channels / conv.groups;
    let first = channel / (conv.out_channels / conv.groups) * in_group;
    let [kernel_height, kernel_width] = conv.kernel;
    for c in 0..in_group {
        for ky in 0..kernel_height {
            let row = y * conv.stride[0] + ky * conv.dilation[0];
            if row < conv.pad[0] || row - conv.pad[0] >= conv.in_height {
                continue;
            }
            let input = ((first + c) * conv.in_height + row - conv.pad[0]) * conv.in_width;
            let weight = ((channel * in_group + c) * kernel_height + ky) * kernel_width;
            for kx in 0..kernel_width {
                let column = x * conv.stride[1] + kx * conv.dilation[1];
                if column >= conv.pad[1] && column - conv.pad[1] < conv.in_width {
                    visit(input + column - conv.pad[1], conv.weight[weight + kx]);
                }
            }
        }
    }
}

/// Calls `visit` with (input, coefficient) for row `k` of a map.
#[inline(always)]
pub fn row(map: &LinearMap, k: usize, mut visit: impl FnMut(usize, f64)) {
    match map {
        LinearMap::Dense(Dense { n_in, weight, .. }) => {
            weight[k * n_in..(k + 1) * n_in].iter().enumerate().for_each(|(i, &w)| visit(i, w));
        }
        LinearMap::Conv(conv) => taps(conv, k, visit),
        LinearMap::Sparse(Sparse { offsets, columns, values, .. }) => {
            (offsets[k] as usize..offsets[k + 1] as usize).for_each(|e| visit(columns[e] as usize, values[e]));
        }
    }
}

/// Most products in a row of a map, and at most how many in a column.
pub fn longest(map: &LinearMap, n_out: usize) -> (usize, usize) {
    match map {
        LinearMap::Dense(dense) => (dense.n_in, n_out),
        LinearMap::Conv(conv) => {
            let area = conv.kernel[0] * conv.kernel[1];
            (area * (conv.in_channels / conv.groups), area * (conv.out_channels / conv.groups))
        }
        LinearMap::Sparse(sparse) => (sparse.n_in, n_out),
    }
}

/// What output `k` makes of a box around `centre`: `Σ w·centre`, `Σ |w|·radius` and `Σ |w|·reach`.
#[inline(always)]
pub fn forward(map: &LinearMap, k: usize, centre: &[f64], radius: &[f64], reach: &[f64]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    row(map, k, |i, w| {
        sums[0] += w * centre[i];
        sums[1] += w.abs() * radius[i];
        sums[2] += w.abs() * reach[i];
    });
    sums
}

/// `to_i += Σ_k w_ki from_k` over the outputs `live`, for the inputs `wanted`.
pub fn backward(map: &LinearMap, live: &[u32], wanted: &[u32], from: &[Rows], to: &mut [Rows]) {
    match map {
        LinearMap::Dense(matrix) => dense(matrix, live, wanted, from, to),
        _ => scattered(map, live, from, to),
    }
}

/// Four inputs at a time, so that their sums stay in registers.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn dense(matrix: &Dense, live: &[u32], wanted: &[u32], from: &[Rows], to: &mut [Rows]) {
    for chunk in wanted.chunks(4) {
        let mut inputs = [chunk[0] as usize; 4];
        inputs.iter_mut().zip(chunk).for_each(|(input, &i)| *input = i as usize);
        let mut sums = [[0.0; LANES]; 4];
        for &k in live {
            let weight = &matrix.weight[k as usize * matrix.n_in..][..matrix.n_in];
            let a = &from[k as usize];
            for (sum, &i) in sums.iter_mut().zip(&inputs) {
                let w = weight[i];
                for r in 0..LANES {
                    sum[r] += w * a[r];
                }
            }
        }
        for (sum, &i) in sums.iter().zip(chunk) {
            for r in 0..LANES {
                to[i as usize][r] += sum[r];
            }
        }
    }
}

#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn scattered(map: &LinearMap, live: &[u32], from: &[Rows], to: &mut [Rows]) {
    for &k in live {
        let a = &from[k as usize];
        row(map, k as usize, |i, w| {
            let sum = &mut to[i];
            for r in 0..LANES {
                sum[r] += w * a[r];
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_convolution_are_what_it_computes() {
        let conv = Conv {
            in_channels: 4,
            in_height: 5,
            in_width: 4,
            out_channels: 2,
            out_height: 3,
            out_width: 2,
            kernel: [3, 2],
            stride: [2, 2],
            dilation: [1, 2],
            pad: [1, 1],
            groups: 2,
            weight: (0..2 * 2 * 6).map(|w| f64::from(w) - 10.0).collect(),
        };
        let x: Vec<f64> = (0..80).map(|i| f64::from(i * i % 13)).collect();
        let map = LinearMap::Conv(conv);
        let expected = map.apply(&x, 12, |w| w);
        for k in 0..12 {
            assert_eq!(forward(&map, k, &x, &x, &x)[0], expected[k]);
        }
        // ⟨A, W x⟩ = ⟨Wᵀ A, x⟩, in small integers.
        let from: Vec<Rows> = (0..12).map(|k| std::array::from_fn(|r| (k * r % 5) as f64 - 2.0)).collect();
        let mut to = vec![[0.0; LANES]; 80];
        let all: Vec<u32> = (0..80).collect();
        backward(&map, &all[..12], &all, &from, &mut to);
        for r in 0..LANES {
            let there: f64 = (0..12).map(|k| from[k][r] * expected[k]).sum();
            let back: f64 = (0..80).map(|i| to[i][r] * x[i]).sum();
            assert_eq!(there, back);
        }
    }
}
