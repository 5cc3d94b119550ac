//! Pillow's bilinear resampling of 8-bit channels.
//!
//! Source: Pillow, `src/libImaging/Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`, the 8-bit passes).

/// Fraction bits of a weight.
const PRECISION_BITS: u32 = 22;

/// The weights with which one output value reads a run of input values.
struct Taps {
    first: usize,
    weights: Vec<i64>,
}

/// Resamples a `[height, width]` channel to another `[height, width]`; a pass that changes no size is left out.
pub(super) fn resample(channel: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let [height, width] = from;
    let [new_height, new_width] = to;
    let mut wide = channel.to_vec();
    if new_width != width {
        let taps = taps(width, new_width);
        wide = channel.chunks(width).flat_map(|row| taps.iter().map(|taps| taps.sum(|i| row[i]))).collect();
    }
    if new_height == height {
        return wide;
    }
    let taps = taps(height, new_height);
    let value = |taps: &Taps, x: usize| taps.sum(|y| wide[y * new_width + x]);
    taps.iter().flat_map(|taps| (0..new_width).map(move |x| value(taps, x))).collect()
}

impl Taps {
    fn sum(&self, value: impl Fn(usize) -> u8) -> u8 {
        let half = 1_i64 << (PRECISION_BITS - 1);
        let products = self.weights.iter().enumerate().map(|(i, weight)| i64::from(value(self.first + i)) * weight);
        ((half + products.sum::<i64>()) >> PRECISION_BITS).clamp(0, 255) as u8
    }
}

/// The triangle filter, stretched by the factor of a reduction, at the half-pixel centre of every output.
fn taps(n_in: usize, n_out: usize) -> Vec<Taps> {
    let scale = n_in as f64 / n_out as f64;
    let stretch = scale.max(1.0);
    let of_output = |o: usize| {
        let centre = (o as f64 + 0.5) * scale;
        let first = (centre - stretch + 0.5).max(0.0) as usize;
        let end = ((centre + stretch + 0.5) as usize).min(n_in);
        let inverse = 1.0 / stretch;
        let triangle = |i: usize| (1.0 - ((i as f64 - centre + 0.5) * inverse).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(triangle).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << PRECISION_BITS)) as i64;
        Taps { first, weights: weights.iter().map(fixed).collect() }
    };
    (0..n_out).map(of_output).collect()
}
