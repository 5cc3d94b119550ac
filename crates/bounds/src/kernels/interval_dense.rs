use crate::kernels::terms::Fold;
use crate::program::IntervalAffine;
use crate::scalar::Scalar;
use crate::slack::SUM_BLOCK;

/// What an interval step reads of its operand: the neurons that are not constant zero, with centre, radius and magnitude; those that
/// are fixed come first.
#[derive(Debug, Clone)]
pub struct Operand<T> {
    /// Neurons, increasing; first the fixed ones, then the others.
    pub neurons: Vec<u32>,
    /// How many of them are fixed.
    pub n_fixed: usize,
    /// `(centre, radius, magnitude)` of each; `[centre − radius, centre + radius]` encloses the bounds.
    pub values: Vec<[T; 3]>,
    /// Position of each neuron in the lists, or `u32::MAX`; filled by whoever needs random access.
    pub places: Vec<u32>,
    /// `Σ magnitude`.
    pub norm: T,
}

impl<T: Scalar> Operand<T> {
    /// An empty operand.
    pub fn new() -> Self {
        Self { neurons: Vec::new(), n_fixed: 0, values: Vec::new(), places: Vec::new(), norm: T::ZERO }
    }

    /// Reads the bounds of `n` values at `source`.
    #[inline(always)]
    pub fn read(&mut self, state: &[T], source: usize, n: usize, fixed: &[bool]) {
        self.neurons.clear();
        self.values.clear();
        self.norm = T::ZERO;
        if fixed.contains(&true) {
            self.add(state, source, n, |i| fixed[i]);
            self.n_fixed = self.neurons.len();
            self.add(state, source, n, |i| !fixed[i]);
        } else {
            self.n_fixed = 0;
            self.add(state, source, n, |_| true);
        }
        // A long sum of its own: rounded up.
        self.norm = self.norm * (T::ONE + T::of(2.0 * n as f64) * T::UNIT);
    }

    #[inline(always)]
    fn add(&mut self, state: &[T], source: usize, n: usize, counts: impl Fn(usize) -> bool) {
        let half = T::of(0.5);
        let inflation = T::ONE + T::of(8.0) * T::UNIT;
        let (lower, upper) = (&state[source..source + n], &state[source + n..source + 2 * n]);
        for (i, (&l, &u)) in lower.iter().zip(upper).enumerate() {
            if (l == T::ZERO && u == T::ZERO) || !counts(i) {
                continue;
            }
            let (centre, radius) = if l == u {
                (l, T::ZERO)
            } else {
                let centre = half * l + half * u;
                (centre, (u - centre).larger(centre - l) * inflation + T::of(1e-37))
            };
            let magnitude = l.magnitude().larger(u.magnitude());
            self.neurons.push(i as u32);
            self.values.push([centre, radius, magnitude]);
            self.norm += magnitude;
        }
    }
}

/// Interval bounds through a full matrix.
#[inline(always)]
pub fn interval_dense<T: Scalar, const LEVEL: u8>(
    params: &IntervalAffine,
    constants: &[T],
    state: &mut [T],
    operand: &mut Operand<T>,
    fold: &mut Fold<T>,
) {
    let (n_out, n_in) = (params.n_out as usize, params.n_in as usize);
    operand.read(state, params.source as usize, n_in, fold.operands);
    fold.reset(n_out, operand.n_fixed == operand.neurons.len());
    let weight = &constants[params.transposed as usize..][..n_out * n_in];
    let mut k = 0;
    while k + 64 <= n_out {
        outputs::<T, LEVEL, 64>(params, constants, weight, operand, k, (state, fold));
        k += 64;
    }
    while k + 16 <= n_out {
        outputs::<T, LEVEL, 16>(params, constants, weight, operand, k, (state, fold));
        k += 16;
    }
    if k < n_out && n_out >= 16 {
        outputs::<T, LEVEL, 16>(params, constants, weight, operand, n_out - 16, (state, fold));
    } else {
        for k in k..n_out {
            outputs::<T, LEVEL, 1>(params, constants, weight, operand, k, (state, fold));
        }
    }
}

/// `K` outputs from `first` on.
#[inline(always)]
fn outputs<T: Scalar, const LEVEL: u8, const K: usize>(
    params: &IntervalAffine,
    constants: &[T],
    weight: &[T],
    operand: &Operand<T>,
    first: usize,
    (state, fold): (&mut [T], &mut Fold<T>),
) {
    let n_out = params.n_out as usize;
    let n_fixed = operand.n_fixed;
    let mut totals = [[T::ZERO; K]; 3];
    let mut fixed = totals;
    for (which, part) in [0..n_fixed, n_fixed..operand.neurons.len()].into_iter().enumerate() {
        let (neurons, values) = (&operand.neurons[part.clone()], &operand.values[part]);
        for (neurons, values) in neurons.chunks(SUM_BLOCK).zip(values.chunks(SUM_BLOCK)) {
            let mut sums = [[T::ZERO; K]; 3];
            for (&i, value) in neurons.iter().zip(values) {
                let w: &[T; K] = weight[i as usize * n_out + first..][..K].try_into().expect("K values");
                accumulate::<T, LEVEL, K>(&mut sums, w, value);
            }
            for (totals, sums) in totals.iter_mut().zip(&sums) {
                totals.iter_mut().zip(sums).for_each(|(total, &sum)| *total += sum);
            }
        }
        if which == 0 {
            fixed = totals;
        }
    }
    let of = |totals: &[[T; K]; 3], k: usize| [totals[0][k], totals[1][k], totals[2][k]];
    for k in 0..K {
        store(
            params,
            constants,
            (state, fold),
            first + k,
            (of(&totals, k), (n_fixed > 0).then(|| of(&fixed, k))),
            operand.norm,
        );
    }
}

/// Adds one operand's part to `[Σ W m, Σ |W| rad, Σ |W| H]` of `K` outputs.
#[inline(always)]
pub fn accumulate<T: Scalar, const LEVEL: u8, const K: usize>(
    sums: &mut [[T; K]; 3],
    w: &[T; K],
    &[centre, radius, magnitude]: &[T; 3],
) {
    for k in 0..K {
        let absolute = w[k].magnitude();
        sums[0][k] = w[k].mul_add_if::<LEVEL>(centre, sums[0][k]);
        sums[1][k] = absolute.mul_add_if::<LEVEL>(radius, sums[1][k]);
        sums[2][k] = absolute.mul_add_if::<LEVEL>(magnitude, sums[2][k]);
    }
}

/// Writes bounds and error coefficient of output `k` from `[Σ W m, Σ |W| rad, Σ |W| H]`, the same of fixed operands alone if there are
/// any, and `Σ H`.
///
/// What fixed operands add lies within `Σ |W| rad` and its own rounding of `Σ W m`: both become part of what a backward step loses.
#[inline(always)]
pub fn store<T: Scalar>(
    params: &IntervalAffine,
    constants: &[T],
    (state, fold): (&mut [T], &mut Fold<T>),
    k: usize,
    ([centre, radius, magnitude], fixed): ([T; 3], Option<[T; 3]>),
    norm: T,
) {
    let bias = constants[params.bias as usize + k];
    let mut inexact = constants[params.bias_error as usize + k];
    if params.has_absolute != 0 {
        inexact += constants[params.absolute as usize + k] * norm;
    }
    let inflation = T::ONE + T::of(16.0) * T::UNIT;
    let of = |value: f32| T::of(f64::from(value));
    let rounding = of(params.gamma_interval) * (magnitude + bias.magnitude()) + inexact + of(params.underflow);
    let radius = (radius + rounding) * inflation;
    let centre = centre + bias;
    let target = params.target as usize;
    state[target + k] = centre - radius;
    state[target + params.n_out as usize + k] = centre + radius;
    let lost = |bias: T| of(params.gamma_column) * magnitude + of(params.gamma_bias) * bias.magnitude() + inexact;
    let error = lost(bias) * inflation;
    state[params.error as usize + k] = error;
    (fold.terms.bias[k], fold.terms.error[k]) = (bias, error);
    // Their magnitude may have been flushed to zero: then the underflow pays for them.
    if let Some(fixed) = fixed {
        let bias_alone = bias.magnitude();
        let bias = bias + fixed[0];
        let of_fixed = fixed[1] + of(params.gamma_interval) * (fixed[2] + bias_alone) + of(params.underflow);
        fold.terms.is_folded = true;
        (fold.terms.bias[k], fold.terms.error[k]) = (bias, (lost(bias) + of_fixed) * inflation);
    }
}
