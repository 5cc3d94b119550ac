//! Random small networks of every operator, and random boxes.

use std::sync::Arc;

use network::{Activation, Affine, Conv, Dense, LinearMap, MaxPool, Network, NetworkBuilder, NodeId, Op, Sparse};

/// A reproducible stream of numbers (splitmix64).
pub struct Stream(pub u64);

impl Stream {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[low, high)`.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Uniform in `0 .. n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// `n` weights in f32, some of them zero.
    pub fn weights(&mut self, n: usize, scale: f64) -> Vec<f64> {
        (0..n).map(|_| if self.below(8) == 0 { 0.0 } else { f64::from(self.within(-scale, scale) as f32) }).collect()
    }
}

/// A random network on an image of 2×5×4 with an output of 1 to 4 values.
pub fn network(stream: &mut Stream) -> Network {
    let mut builder = Network::builder(&[2, 5, 4]).unwrap();
    let mut node = NodeId(0);
    let mut shape = vec![2, 5, 4];
    for layer in 0..=stream.below(3) {
        (node, shape) = image_layer(&mut builder, stream, node, &shape, layer);
    }
    for layer in 0..=stream.below(3) {
        node = dense_layer(&mut builder, stream, node, &format!("dense{layer}"));
    }
    let n_in = builder.node(node).len();
    let n_out = 1 + stream.below(4);
    let affine = dense(stream, n_out, n_in);
    let output = builder.push("output", affine, &[node], &[n_out]).unwrap();
    builder.build(output).unwrap()
}

/// A random box around a random point, some sides of zero width.
pub fn region(stream: &mut Stream, n: usize) -> (Vec<f64>, Vec<f64>) {
    let radius = [0.0, 1e-4, 0.02, 0.2, 1.0, 5.0][stream.below(6)];
    (0..n)
        .map(|_| {
            let centre = f64::from(stream.within(-1.0, 1.0) as f32);
            let radius = if stream.below(4) == 0 { 0.0 } else { radius };
            (f64::from((centre - radius) as f32), f64::from((centre + radius) as f32))
        })
        .unzip()
}

/// A random point of a box, often on its faces.
pub fn point(stream: &mut Stream, lower: &[f64], upper: &[f64]) -> Vec<f64> {
    lower
        .iter()
        .zip(upper)
        .map(|(&l, &u)| match stream.below(3) {
            0 => l,
            1 => u,
            _ => (l + (u - l) * stream.unit()).clamp(l, u),
        })
        .collect()
}

fn dense(stream: &mut Stream, n_out: usize, n_in: usize) -> Op {
    let weight = stream.weights(n_out * n_in, 2.0 / (n_in as f64).sqrt());
    let bias = stream.weights(n_out, 0.5);
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

fn activation(stream: &mut Stream, n: usize) -> Activation {
    match stream.below(8) {
        0 => Activation::Sigmoid,
        1 => Activation::Tanh,
        2 => Activation::LeakyRelu(Arc::from([f64::from(stream.within(-0.5, 1.5) as f32)])),
        3 => Activation::LeakyRelu(stream.weights(n, 1.2).into()),
        4 => Activation::Clip { lower: f64::from(stream.within(-1.0, 0.0) as f32), upper: stream.within(0.0, 1.0) },
        5 => Activation::Clip { lower: 0.0, upper: f64::INFINITY },
        _ => Activation::Relu,
    }
}

fn dense_layer(builder: &mut NetworkBuilder, stream: &mut Stream, node: NodeId, name: &str) -> NodeId {
    let n_in = builder.node(node).len();
    let n = 3 + stream.below(20);
    let affine = dense(stream, n, n_in);
    let affine = builder.push(name, affine, &[node], &[n]).unwrap();
    let activation = activation(stream, n);
    let node = builder.push(format!("{name}.f"), Op::Activation(activation), &[affine], &[n]).unwrap();
    if stream.below(3) > 0 {
        return node;
    }
    // A residual: the activation's value and another map of it.
    let affine = dense(stream, n, n);
    let branch = builder.push(format!("{name}.branch"), affine, &[node], &[n]).unwrap();
    let branch = builder.push(format!("{name}.g"), Op::Activation(Activation::Relu), &[branch], &[n]).unwrap();
    builder.push(format!("{name}.sum"), Op::Add, &[node, branch], &[n]).unwrap()
}

fn image_layer(
    builder: &mut NetworkBuilder,
    stream: &mut Stream,
    node: NodeId,
    shape: &[usize],
    layer: usize,
) -> (NodeId, Vec<usize>) {
    let (channels, height, width) = (shape[0], shape[1], shape[2]);
    let n = channels * height * width;
    match stream.below(4) {
        0 if height >= 2 && width >= 2 => {
            let stride = [1 + stream.below(2), 1 + stream.below(2)];
            let pool = MaxPool {
                channels,
                in_height: height,
                in_width: width,
                out_height: (height - 2) / stride[0] + 1,
                out_width: (width - 2) / stride[1] + 1,
                kernel: [2, 2],
                stride,
                dilation: [1, 1],
                pad: [0, 0],
            };
            let shape = vec![channels, pool.out_height, pool.out_width];
            (builder.push(format!("pool{layer}"), Op::MaxPool(Arc::new(pool)), &[node], &shape).unwrap(), shape)
        }
        1 => {
            // A random sparse map: a permutation with scales, some columns twice.
            let columns: Vec<u32> = (0..n).map(|_| stream.below(n) as u32).collect();
            let map = Sparse { n_in: n, offsets: (0..=n as u32).collect(), columns, values: stream.weights(n, 1.5) };
            let affine = Affine::exact(LinearMap::Sparse(map), stream.weights(n, 0.3));
            (
                builder.push(format!("sparse{layer}"), Op::Affine(Arc::new(affine)), &[node], shape).unwrap(),
                shape.to_vec(),
            )
        }
        _ => {
            let groups = if channels.is_multiple_of(2) && stream.below(3) == 0 { 2 } else { 1 };
            let out_channels = groups * (1 + stream.below(3));
            let kernel = [1 + stream.below(3), 1 + stream.below(2)];
            let stride = [1 + stream.below(2), 1];
            let (pad, dilation) = ([stream.below(2), stream.below(2)], [1, 1]);
            let size = |axis: usize, n: usize| (n + 2 * pad[axis] - kernel[axis]) / stride[axis] + 1;
            let (out_height, out_width) = (size(0, height.max(kernel[0])), size(1, width.max(kernel[1])));
            let weight = stream.weights(out_channels * (channels / groups) * kernel[0] * kernel[1], 0.7);
            let bias = stream.weights(out_channels, 0.3);
            let bias = (0..out_channels * out_height * out_width).map(|o| bias[o / (out_height * out_width)]).collect();
            let conv = Conv {
                in_channels: channels,
                in_height: height,
                in_width: width,
                out_channels,
                out_height,
                out_width,
                kernel,
                stride,
                dilation,
                pad,
                groups,
                weight,
            };
            let shape = vec![out_channels, out_height, out_width];
            let affine = Affine::exact(LinearMap::Conv(conv), bias);
            let node = builder.push(format!("conv{layer}"), Op::Affine(Arc::new(affine)), &[node], &shape).unwrap();
            let f = activation(stream, shape.iter().product());
            (builder.push(format!("conv{layer}.f"), Op::Activation(f), &[node], &shape).unwrap(), shape)
        }
    }
}
