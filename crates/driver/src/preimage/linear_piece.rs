use bounds::Plane;
use network::Affine;

/// A node of a network where every `ReLU` before it has one side: a function `a x + b` of the input, and how far the node may be from it.
///
/// For every input of the box that has these sides, in real arithmetic, `|node_k(x) − (a_k x + b_k)| ≤ error_k`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LinearPiece {
    n_inputs: usize,
    /// Coefficients, `[length, n_inputs]`.
    a: Vec<f64>,
    b: Vec<f64>,
    error: Vec<f64>,
}

/// What rounding errors of errors may add.
const SAFETY: f64 = 1.0 + 1e-9;
/// Products that underflow lose less than this, all together.
const UNDERFLOW: f64 = 1e-290;

impl LinearPiece {
    /// The input itself.
    pub fn input(n_inputs: usize) -> Self {
        let mut a = vec![0.0; n_inputs * n_inputs];
        (0..n_inputs).for_each(|i| a[i * n_inputs + i] = 1.0);
        Self { n_inputs, a, b: vec![0.0; n_inputs], error: vec![0.0; n_inputs] }
    }

    /// Number of neurons.
    pub fn len(&self) -> usize {
        self.b.len()
    }

    /// Whether every number is one: products of huge weights may overflow.
    pub fn is_finite(&self) -> bool {
        [&self.a, &self.b, &self.error].iter().all(|values| values.iter().all(|value| value.is_finite()))
    }

    /// Bounds of `|node_k|` over inputs with `|x_i| ≤ high_i`.
    fn magnitudes(&self, high: &[f64]) -> Vec<f64> {
        let linear = |k: usize| self.coefficients(k).iter().zip(high).map(|(a, high)| a.abs() * high).sum::<f64>();
        (0..self.len()).map(|k| (linear(k) + self.b[k].abs() + self.error[k]) * SAFETY).collect()
    }

    fn coefficients(&self, k: usize) -> &[f64] {
        &self.a[k * self.n_inputs..][..self.n_inputs]
    }

    /// The node behind an affine map.
    ///
    /// A sum of `m` rounded products is off by at most `γ_m` times the sum of their sizes; sizes are bounded over the box, so that one
    /// number pays for all coefficients and the constant.
    pub fn through(&self, affine: &Affine, high: &[f64]) -> Self {
        let n = self.n_inputs;
        let sizes = self.magnitudes(high);
        let total: f64 = sizes.iter().sum();
        let mut next = Self { n_inputs: n, ..Self::default() };
        for (k, &bias) in affine.bias.iter().enumerate() {
            let start = next.a.len();
            next.a.resize(start + n, 0.0);
            let row = &mut next.a[start..];
            let (mut constant, mut known, mut size, mut n_terms) = (bias, 0.0, bias.abs(), 4.0);
            affine.map.for_each_in_row(k, |j, w| {
                row.iter_mut().zip(self.coefficients(j)).for_each(|(sum, a)| *sum += w * a);
                constant += w * self.b[j];
                known += w.abs() * self.error[j];
                size += w.abs() * sizes[j];
                n_terms += 1.0;
            });
            let of = |list: &[f64]| list.get(k).copied().unwrap_or(0.0);
            let weights = affine.error.relative * size + of(&affine.error.absolute) * total + of(&affine.error.bias);
            let rounding = 2.0 * n_terms * f64::EPSILON * size;
            next.b.push(constant);
            next.error.push((known + weights + rounding) * SAFETY + UNDERFLOW);
        }
        next
    }

    /// The sum of nodes of one length.
    pub fn sum(operands: &[&Self], high: &[f64]) -> Self {
        let Some((first, rest)) = operands.split_first() else { return Self::default() };
        let mut total = (*first).clone();
        for other in rest {
            let sizes = (total.magnitudes(high), other.magnitudes(high));
            total.a.iter_mut().zip(&other.a).for_each(|(sum, a)| *sum += a);
            total.b.iter_mut().zip(&other.b).for_each(|(sum, b)| *sum += b);
            for k in 0..total.len() {
                let rounding = 4.0 * f64::EPSILON * (sizes.0[k] + sizes.1[k]);
                total.error[k] = (total.error[k] + other.error[k] + rounding) * SAFETY + UNDERFLOW;
            }
        }
        total
    }

    /// The node behind `ReLU`s with these sides.
    pub fn rectified(&self, is_active: &[bool]) -> Self {
        let mut next = self.clone();
        for (k, _) in is_active.iter().enumerate().filter(|(_, is_active)| !**is_active) {
            next.a[k * self.n_inputs..][..self.n_inputs].fill(0.0);
            (next.b[k], next.error[k]) = (0.0, 0.0);
        }
        next
    }

    /// A plane below a neuron, or below its negative, whose values in f64 keep what it promises.
    pub fn below(&self, k: usize, is_negative: bool, high: &[f64]) -> Plane {
        let sign = if is_negative { -1.0 } else { 1.0 };
        let a = self.coefficients(k).iter().map(|a| sign * a).collect();
        Plane { a, b: (sign * self.b[k] - self.error[k]).next_down() }.after_rounding(high)
    }

    /// How large a neuron may be over the box.
    pub fn magnitude(&self, k: usize, high: &[f64]) -> f64 {
        self.coefficients(k).iter().zip(high).map(|(a, high)| a.abs() * high).sum::<f64>() + self.b[k].abs()
    }
}
