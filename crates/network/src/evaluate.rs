//! Running a network on a point, in f32 or f64.

use crate::{Activation, Affine, Error, LinearMap, Network, Op};

/// A float in which a network is evaluated.
pub trait Real:
    Copy + PartialOrd + std::ops::Add<Output = Self> + std::ops::Mul<Output = Self> + std::ops::Neg<Output = Self>
{
    /// Zero.
    const ZERO: Self;
    /// The nearest value.
    fn from_f64(value: f64) -> Self;
    /// The same value.
    fn to_f64(self) -> f64;
    /// The logistic function, by the platform's exponential.
    #[must_use]
    fn sigmoid(self) -> Self;
    /// The hyperbolic tangent.
    #[must_use]
    fn tanh(self) -> Self;
}

macro_rules! real {
    ($float:ty) => {
        impl Real for $float {
            const ZERO: Self = 0.0;
            fn from_f64(value: f64) -> Self {
                value as Self
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sigmoid(self) -> Self {
                1.0 / (1.0 + (-self).exp())
            }
            fn tanh(self) -> Self {
                <$float>::tanh(self)
            }
        }
    };
}
real!(f32);
real!(f64);

impl Network {
    /// Evaluates the network at `x` (flat, row-major) and returns its outputs.
    ///
    /// Sums run in the order of the coefficients, in the precision of `T`: this is one of the network's rounded executions,
    /// what a counterexample is confirmed with, and no bound.
    ///
    /// # Errors
    /// When `x` does not have the input's length.
    pub fn evaluate<T: Real>(&self, x: &[T]) -> Result<Vec<T>, Error> {
        Ok(self.evaluate_all(x)?.pop().unwrap_or_default())
    }

    /// Evaluates every node at `x`; the result is in node order.
    ///
    /// # Errors
    /// When `x` does not have the input's length.
    pub fn evaluate_all<T: Real>(&self, x: &[T]) -> Result<Vec<Vec<T>>, Error> {
        if x.len() != self.n_inputs() {
            return Err(Error::format(format!("the network takes {} inputs, got {}", self.n_inputs(), x.len())));
        }
        let mut values: Vec<Vec<T>> = Vec::with_capacity(self.nodes().len());
        for node in self.nodes() {
            let operand = |i: usize| values[node.inputs[i].0].as_slice();
            let value = match &node.op {
                Op::Input => x.to_vec(),
                Op::Affine(affine) => affine.evaluate(operand(0)),
                Op::Add => {
                    let mut sum = operand(0).to_vec();
                    for i in 1..node.inputs.len() {
                        sum.iter_mut().zip(operand(i)).for_each(|(s, &v)| *s = *s + v);
                    }
                    sum
                }
                Op::Activation(activation) => {
                    operand(0).iter().enumerate().map(|(i, &z)| activation.evaluate(i, z)).collect()
                }
                Op::MaxPool(pool) => {
                    let z = operand(0);
                    // Written so that NaN wins.
                    let max = |a: T, b: T| if a >= b || a.partial_cmp(&a).is_none() { a } else { b };
                    // Windows are not empty: the builder checks.
                    (0..pool.n_out()).map(|o| pool.window(o).map(|i| z[i]).reduce(max).unwrap_or(T::ZERO)).collect()
                }
            };
            values.push(value);
        }
        Ok(values)
    }
}

impl Affine {
    /// `W x + b` in the precision of `T`.
    pub fn evaluate<T: Real>(&self, x: &[T]) -> Vec<T> {
        let mut y = self.map.apply(x, self.n_out(), T::from_f64);
        y.iter_mut().zip(&self.bias).for_each(|(y, &b)| *y = *y + T::from_f64(b));
        y
    }
}

impl LinearMap {
    /// `g(W) x` with `g` applied to each coefficient: `T::from_f64` gives the map itself, `|w| T::from_f64(w.abs())` gives `|W| x`.
    pub fn apply<T: Real>(&self, x: &[T], n_out: usize, g: impl Fn(f64) -> T) -> Vec<T> {
        let dot = |sum: T, (w, x): (f64, T)| sum + g(w) * x;
        match self {
            Self::Dense(dense) => (0..n_out)
                .map(|k| &dense.weight[k * dense.n_in..(k + 1) * dense.n_in])
                .map(|row| row.iter().copied().zip(x.iter().copied()).fold(T::ZERO, dot))
                .collect(),
            Self::Conv(conv) => {
                (0..n_out).map(|o| conv.taps(o).map(|(i, w)| (conv.weight[w], x[i])).fold(T::ZERO, dot)).collect()
            }
            Self::Sparse(sparse) => (0..n_out)
                .map(|k| sparse.offsets[k] as usize..sparse.offsets[k + 1] as usize)
                .map(|row| row.map(|e| (sparse.values[e], x[sparse.columns[e] as usize])).fold(T::ZERO, dot))
                .collect(),
        }
    }
}

impl crate::Conv {
    /// The (input index, weight index) pairs that output `o` reads, padding left out.
    pub fn taps(&self, o: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let area = self.out_height * self.out_width;
        let (channel, y, x) = (o / area, o % area / self.out_width, o % self.out_width);
        let per_group = self.in_channels / self.groups;
        let first = channel / (self.out_channels / self.groups) * per_group;
        let [kh, kw] = self.kernel;
        (0..per_group * kh * kw).filter_map(move |tap| {
            let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let row = (y * self.stride[0] + ky * self.dilation[0]).checked_sub(self.pad[0])?;
            let column = (x * self.stride[1] + kx * self.dilation[1]).checked_sub(self.pad[1])?;
            (row < self.in_height && column < self.in_width).then_some((
                ((first + c) * self.in_height + row) * self.in_width + column,
                channel * per_group * kh * kw + tap,
            ))
        })
    }
}

impl Activation {
    /// The function's value at `z`, for element `i` of its node.
    pub fn evaluate<T: Real>(&self, i: usize, z: T) -> T {
        match self {
            Self::Relu => {
                // Written so that NaN passes through.
                if z <= T::ZERO { T::ZERO } else { z }
            }
            Self::LeakyRelu(slopes) => {
                if z >= T::ZERO {
                    z
                } else {
                    T::from_f64(if slopes.len() == 1 { slopes[0] } else { slopes[i] }) * z
                }
            }
            Self::Clip { lower, upper } => {
                let (lower, upper) = (T::from_f64(*lower), T::from_f64(*upper));
                if z < lower {
                    lower
                } else if z > upper {
                    upper
                } else {
                    z
                }
            }
            Self::Sigmoid => z.sigmoid(),
            Self::Tanh => z.tanh(),
        }
    }
}
