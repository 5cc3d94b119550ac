//! Small networks for tests: together they use every kernel.

use network::{Activation, Affine, Conv, Dense, LinearMap, MaxPool, Network, NodeId, Op, Sparse, WeightError};

/// A reproducible source of numbers.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        // Source: Marsaglia 2003, xorshift generators.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.next()
    }

    pub fn values(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| self.between(-scale, scale)).collect()
    }
}

/// A network under construction, one node after the other.
pub struct Chain {
    builder: network::NetworkBuilder,
    pub last: NodeId,
    numbers: Numbers,
}

impl Chain {
    pub fn new(shape: &[usize], seed: u64) -> Self {
        let builder = Network::builder(shape).unwrap();
        Self { builder, last: NodeId(0), numbers: Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1) }
    }

    fn push(mut self, op: Op, inputs: &[NodeId], shape: &[usize]) -> Self {
        self.last = self.builder.push("node", op, inputs, shape).unwrap();
        self
    }

    fn len(&self) -> usize {
        self.builder.node(self.last).len()
    }

    pub fn affine(self, map: LinearMap, bias: Vec<f64>, error: WeightError, shape: &[usize]) -> Self {
        let last = self.last;
        self.push(Op::Affine(Affine { map, bias, error }.into()), &[last], shape)
    }

    pub fn dense(mut self, n_out: usize) -> Self {
        let n_in = self.len();
        let weight = self.numbers.values(n_out * n_in, 2.0 / (n_in as f64).sqrt());
        let bias = self.numbers.values(n_out, 0.3);
        self.affine(LinearMap::Dense(Dense { n_out, n_in, weight }), bias, WeightError::default(), &[n_out])
    }

    /// A dense layer whose stored weights are known to be off.
    pub fn folded(mut self, n_out: usize) -> Self {
        let n_in = self.len();
        let weight = self.numbers.values(n_out * n_in, 2.0 / (n_in as f64).sqrt());
        let bias = self.numbers.values(n_out, 0.3);
        let error = WeightError { relative: 1e-6, absolute: vec![1e-6; n_out], bias: vec![2e-6; n_out] };
        self.affine(LinearMap::Dense(Dense { n_out, n_in, weight }), bias, error, &[n_out])
    }

    pub fn conv(mut self, input: [usize; 3], out_channels: usize, conv: ConvOptions) -> Self {
        let ConvOptions { kernel, stride, dilation, pad, groups } = conv;
        let out = |axis: usize| (input[axis + 1] + 2 * pad - dilation * (kernel[axis] - 1) - 1) / stride[axis] + 1;
        let (out_height, out_width) = (out(0), out(1));
        let taps = input[0] / groups * kernel[0] * kernel[1];
        let weight = self.numbers.values(out_channels * taps, 1.5 / (taps as f64).sqrt());
        let per_channel = self.numbers.values(out_channels, 0.2);
        let bias =
            (0..out_channels * out_height * out_width).map(|k| per_channel[k / (out_height * out_width)]).collect();
        let conv = Conv {
            in_channels: input[0],
            in_height: input[1],
            in_width: input[2],
            out_channels,
            out_height,
            out_width,
            kernel,
            stride,
            dilation: [dilation; 2],
            pad: [pad; 2],
            groups,
            weight,
        };
        let shape = [out_channels, out_height, out_width];
        self.affine(LinearMap::Conv(conv), bias, WeightError::default(), &shape)
    }

    /// About four entries per row, some rows and columns empty.
    pub fn sparse(mut self, n_out: usize) -> Self {
        let n_in = self.len();
        let (mut offsets, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
        for row in 0..n_out {
            for column in 1..n_in as u32 {
                if row % 7 != 3 && self.numbers.next() < 4.0 / n_in as f64 {
                    columns.push(column);
                    values.push(self.numbers.between(-1.0, 1.0));
                }
            }
            offsets.push(columns.len() as u32);
        }
        let bias = self.numbers.values(n_out, 0.3);
        self.affine(
            LinearMap::Sparse(Sparse { n_in, offsets, columns, values }),
            bias,
            WeightError::default(),
            &[n_out],
        )
    }

    pub fn activation(self, activation: Activation) -> Self {
        let (last, n) = (self.last, self.len());
        self.push(Op::Activation(activation), &[last], &[n])
    }

    pub fn relu(self) -> Self {
        self.activation(Activation::Relu)
    }

    pub fn plus(self, other: NodeId) -> Self {
        let (last, n) = (self.last, self.len());
        self.push(Op::Add, &[last, other], &[n])
    }

    pub fn max_pool(self, input: [usize; 3], kernel: usize, stride: usize, pad: usize) -> Self {
        let out = |axis: usize| (input[axis] + 2 * pad - kernel) / stride + 1;
        let pool = MaxPool {
            channels: input[0],
            in_height: input[1],
            in_width: input[2],
            out_height: out(1),
            out_width: out(2),
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [pad; 2],
        };
        let (last, shape) = (self.last, [input[0], out(1), out(2)]);
        self.push(Op::MaxPool(pool.into()), &[last], &shape)
    }

    pub fn build(self) -> Network {
        self.builder.build(self.last).unwrap()
    }
}

#[derive(Clone, Copy)]
pub struct ConvOptions {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: usize,
    pub pad: usize,
    pub groups: usize,
}

pub const CONV: ConvOptions = ConvOptions { kernel: [3, 3], stride: [1, 1], dilation: 1, pad: 1, groups: 1 };

/// Networks that together use every kernel, with sizes that are no multiples of anything.
pub fn networks() -> Vec<(&'static str, Network)> {
    let deep = Chain::new(&[5], 1).dense(50).relu().dense(50).relu().dense(23).relu().dense(5).build();
    let folded = Chain::new(&[7], 2).folded(33).relu().folded(18).relu().folded(3).build();
    let conv = Chain::new(&[3, 9, 8], 3)
        .conv([3, 9, 8], 8, ConvOptions { stride: [2, 1], ..CONV })
        .relu()
        .conv([8, 5, 8], 6, ConvOptions { kernel: [2, 3], dilation: 2, pad: 1, groups: 2, ..CONV })
        .relu()
        .dense(11)
        .relu()
        .dense(3)
        .build();
    let depthwise = Chain::new(&[5, 6, 6], 4)
        .conv([5, 6, 6], 5, ConvOptions { groups: 5, ..CONV })
        .relu()
        .conv([5, 6, 6], 4, ConvOptions { stride: [3, 2], ..CONV })
        .relu()
        .dense(2)
        .build();
    let pooled = Chain::new(&[2, 8, 8], 5)
        .conv([2, 8, 8], 5, CONV)
        .relu()
        .max_pool([5, 8, 8], 3, 2, 1)
        .conv([5, 4, 4], 4, CONV)
        .max_pool([4, 4, 4], 2, 2, 0)
        .relu()
        .dense(4)
        .build();
    let residual = Chain::new(&[2, 6, 6], 6).conv([2, 6, 6], 4, CONV).relu();
    let skip = residual.last;
    let residual = residual.conv([4, 6, 6], 4, CONV).relu().conv([4, 6, 6], 4, CONV).plus(skip).relu();
    let skip = residual.last;
    let residual = residual.conv([4, 6, 6], 4, CONV).plus(skip).relu().dense(9).relu().dense(3).build();
    let stacked = Chain::new(&[1, 5, 5], 13)
        .conv([1, 5, 5], 3, CONV)
        .relu()
        .conv([3, 5, 5], 4, CONV)
        .relu()
        .dense(6)
        .dense(3)
        .build();
    let overlapping = Chain::new(&[1, 8, 8], 14)
        .conv([1, 8, 8], 2, CONV)
        .relu()
        .max_pool([2, 8, 8], 3, 1, 1)
        .conv([2, 8, 8], 2, CONV)
        .relu()
        .dense(2)
        .build();
    // The short path, of one pixel, arrives after the long one.
    let mut projected = Chain::new(&[2, 6, 6], 12).conv([2, 6, 6], 4, CONV).relu();
    let start = projected.last;
    projected = projected.conv([4, 6, 6], 3, ConvOptions { kernel: [1, 1], pad: 0, ..CONV });
    let short = projected.last;
    projected.last = start;
    let projected =
        projected.conv([4, 6, 6], 5, CONV).relu().conv([5, 6, 6], 3, CONV).plus(short).relu().dense(2).build();
    let smooth = Chain::new(&[6], 7)
        .dense(21)
        .activation(Activation::Sigmoid)
        .sparse(19)
        .activation(Activation::Tanh)
        .dense(13)
        .activation(Activation::Sigmoid)
        .dense(2)
        .build();
    let slopes: Vec<f64> = (0..17).map(|i| -0.5 + 0.15 * f64::from(i)).collect();
    let kinked = Chain::new(&[6], 8)
        .dense(17)
        .activation(Activation::LeakyRelu(slopes.into()))
        .sparse(26)
        .activation(Activation::Clip { lower: -0.25, upper: 0.75 })
        .sparse(12)
        .activation(Activation::LeakyRelu(vec![0.1].into()))
        .dense(9)
        .activation(Activation::Clip { lower: -0.1, upper: f64::INFINITY })
        .dense(2)
        .build();
    let activation_last = Chain::new(&[4], 9).dense(10).relu().dense(6).relu().build();
    let reshaped =
        Chain::new(&[1, 6, 6], 41).conv([1, 6, 6], 2, CONV).relu().conv([2, 4, 9], 3, CONV).relu().dense(2).build();
    let averaged = Chain::new(&[2, 6, 6], 43)
        .conv([2, 6, 6], 4, CONV)
        .relu()
        .sparse(64)
        .conv([4, 4, 4], 5, CONV)
        .relu()
        .conv([5, 4, 4], 3, CONV)
        .build();
    let generated = Chain::new(&[4], 42).dense(36).relu().conv([1, 6, 6], 2, CONV).relu().dense(2).build();
    vec![
        ("reshaped", reshaped),
        ("averaged", averaged),
        ("generated", generated),
        ("deep", deep),
        ("folded", folded),
        ("conv", conv),
        ("depthwise", depthwise),
        ("pooled", pooled),
        ("stacked", stacked),
        ("overlapping", overlapping),
        ("residual", residual),
        ("projected", projected),
        ("smooth", smooth),
        ("kinked", kinked),
        ("activation last", activation_last),
    ]
}

pub fn named(name: &str) -> Network {
    let found = networks().into_iter().find(|(other, _)| *other == name);
    found.expect("the name is in the list").1
}
