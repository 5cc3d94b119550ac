//! Verdicts that hold for the network as it is deployed in f32.
//!
//! A network that is evaluated in f32 is a real network whose affine outputs and sums are moved by what their rounding costs: of
//! `n` products and a bias by at most `γ_{n+1} (|W| H + |b|)`, `u = 2⁻²⁴`, for every order of summation, fused or not. These moves are added to every
//! interval and to every row (the `errors` of a scope), so that everything else stays as it is. `ReLU`, clips and maxima are exact
//! in floats. Subnormals may be flushed.
//!
//! Not covered: arithmetic that is not f32 rounded to nearest (TF32, bfloat16, half), fast convolutions (Winograd, FFT), and
//! rewrites that round folded weights. Refused ([`obstacle`]): networks with weights that are no f32, with nodes that the file does
//! not have (folded normalisations, averages), with sigmoids, hyperbolic tangents or leaky slopes, whose f32 versions nobody
//! specifies.
//!
//! Source: MATH of the running error term; see also arXiv 2506.01054 on what verifiers miss without it.

use network::{Activation, Network, Op};

/// The unit roundoff of f32.
const UNIT: f64 = f64::from_bits(0x3e70_0000_0000_0000);

/// The smallest normal f32, the most that a flushed number loses.
const SMALLEST: f64 = f32::MIN_POSITIVE as f64;

/// The largest magnitude of a sum that cannot overflow.
const MOST: f64 = 1e38;

/// A magnitude so large that `γ` times it pays for a flushed operand as well: `2⁻²⁴ · 2⁻¹⁰⁰` is more than `2⁻¹²⁶`.
pub(crate) fn reach(reach: f64) -> f64 {
    reach.max(1e-30)
}

/// How far an affine output of `n` products may be from the real one: `magnitude` is `|W| H + |b|`, `total` is `Σ H`. Infinite
/// where it may overflow.
pub(crate) fn affine(n: usize, magnitude: f64, total: f64) -> f64 {
    if magnitude < MOST { gamma(n + 1) * magnitude + SMALLEST * (total + 2.0 * n as f64 + 4.0) } else { f64::INFINITY }
}

/// How far a sum of `n` numbers may be from the real one.
pub(crate) fn sum(n: usize, magnitude: f64) -> f64 {
    if magnitude < MOST { gamma(n) * magnitude + SMALLEST * 4.0 * n as f64 } else { f64::INFINITY }
}

fn gamma(n: usize) -> f64 {
    let nu = n as f64 * UNIT;
    if nu < 0.5 { nu / (1.0 - nu) } else { f64::INFINITY }
}

/// Why nothing can be said of a network's evaluations in f32, if so.
pub fn obstacle(network: &Network) -> Option<String> {
    let is_f32 = |values: &[f64]| values.iter().all(|&value| f64::from(value as f32) == value);
    network.nodes().iter().find_map(|node| {
        let problem = match &node.op {
            Op::Affine(affine) if affine.error != network::WeightError::default() => {
                "it is computed otherwise in the file, and was folded"
            }
            Op::Affine(affine) if !is_f32(affine.map.coefficients()) || !is_f32(&affine.bias) => {
                "it has coefficients that are no f32"
            }
            Op::Activation(Activation::Sigmoid | Activation::Tanh) => "how it rounds in f32 is specified nowhere",
            Op::Activation(Activation::LeakyRelu(_)) => "its products round",
            Op::Activation(Activation::Clip { lower, upper }) if !is_f32(&[*lower, *upper]) => "its ends are no f32",
            _ => return None,
        };
        Some(format!("node {}: {problem}", node.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_half_of_an_epsilon() {
        assert_eq!(UNIT, f64::from(f32::EPSILON) / 2.0);
    }
}
