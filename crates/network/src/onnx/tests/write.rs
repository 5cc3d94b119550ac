use std::sync::Arc;

use crate::onnx::{from_bytes, to_bytes};
use crate::{Activation, Affine, Conv, Dense, LinearMap, MaxPool, Network, Op, Sparse};

/// Numbers without a pattern, exact in 32 bits.
fn numbers(n: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((state >> 40) as f32) / (1 << 23) as f32 - 1.0)
    };
    (0..n).map(|_| next()).collect()
}

/// A network with every operation that can be written, and some shapes that need a reshape.
fn every_operation() -> Network {
    let mut builder = Network::builder(&[2, 5, 6]).unwrap();
    let conv = Conv {
        in_channels: 2,
        in_height: 5,
        in_width: 6,
        out_channels: 4,
        out_height: 3,
        out_width: 3,
        kernel: [3, 3],
        stride: [2, 2],
        dilation: [1, 1],
        pad: [1, 0],
        groups: 2,
        weight: numbers(36, 1),
    };
    let bias = numbers(4, 2).into_iter().flat_map(|b| [b; 9]).collect();
    let affine = Affine::exact(LinearMap::Conv(conv), bias);
    let mut last = builder.push("conv", Op::Affine(Arc::new(affine)), &[crate::NodeId(0)], &[4, 3, 3]).unwrap();
    let push = |builder: &mut crate::NetworkBuilder, op, inputs: &[crate::NodeId], shape: &[usize]| {
        builder.push("", op, inputs, shape).unwrap()
    };
    last = push(&mut builder, Op::Activation(Activation::Relu), &[last], &[4, 3, 3]);
    let pool = MaxPool {
        channels: 4,
        in_height: 3,
        in_width: 3,
        out_height: 2,
        out_width: 2,
        kernel: [2, 2],
        stride: [1, 2],
        dilation: [1, 1],
        pad: [0, 1],
    };
    last = push(&mut builder, Op::MaxPool(Arc::new(pool)), &[last], &[4, 2, 2]);
    let scale = Sparse { n_in: 16, offsets: (0..=16).collect(), columns: (0..16).collect(), values: numbers(16, 3) };
    let scaled = Affine::exact(LinearMap::Sparse(scale), numbers(16, 4));
    let scaled = push(&mut builder, Op::Affine(Arc::new(scaled)), &[last], &[16]);
    let sum = push(&mut builder, Op::Add, &[last, scaled, last], &[16]);
    let clipped =
        push(&mut builder, Op::Activation(Activation::Clip { lower: -0.5, upper: f64::INFINITY }), &[sum], &[16]);
    let leaky = Activation::LeakyRelu(numbers(16, 5).into());
    let leaky = push(&mut builder, Op::Activation(leaky), &[clipped], &[16]);
    let halves = Sparse {
        n_in: 16,
        offsets: (0..=8).map(|k| 2 * k).collect(),
        columns: (0..16).collect(),
        values: vec![0.5; 16],
    };
    let means = Affine::exact(LinearMap::Sparse(halves), vec![0.25; 8]);
    let means = push(&mut builder, Op::Affine(Arc::new(means)), &[leaky], &[2, 2, 2]);
    let positional = Conv {
        in_channels: 2,
        in_height: 2,
        in_width: 2,
        out_channels: 1,
        out_height: 2,
        out_width: 2,
        kernel: [2, 2],
        stride: [1, 1],
        dilation: [1, 1],
        pad: [0, 0],
        groups: 1,
        weight: numbers(8, 6),
    };
    let positional = Affine::exact(LinearMap::Conv(positional), numbers(4, 7));
    let last = push(&mut builder, Op::Affine(Arc::new(positional)), &[means], &[1, 2, 2]);
    let last = push(&mut builder, Op::Activation(Activation::Tanh), &[last], &[1, 2, 2]);
    let dense = Dense { n_out: 3, n_in: 4, weight: numbers(12, 8) };
    let dense = Affine::exact(LinearMap::Dense(dense), numbers(3, 9));
    let last = push(&mut builder, Op::Affine(Arc::new(dense)), &[last], &[3]);
    let slope = Activation::LeakyRelu(Arc::from([0.125]));
    let last = push(&mut builder, Op::Activation(slope), &[last], &[3]);
    let last = push(&mut builder, Op::Activation(Activation::Sigmoid), &[last], &[3]);
    builder.build(last).unwrap()
}

#[test]
fn what_is_written_is_read_as_the_same_function() {
    let network = every_operation();
    let read = from_bytes(&to_bytes(&network).unwrap()).unwrap();
    for seed in 0..20 {
        let x = numbers(60, 100 + seed);
        let (expected, got) = (network.evaluate::<f64>(&x).unwrap(), read.evaluate::<f64>(&x).unwrap());
        assert!(expected.iter().zip(&got).all(|(a, b)| (a - b).abs() < 1e-12), "{expected:?} {got:?}");
    }
}

/// onnxruntime 1.31.1 on the bytes of [`every_operation`] at `numbers(60, 100)`, in 32 bits.
const RECORDED: [f64; 3] = [0.493_426_322_937_011_7, 0.659_133_195_877_075_2, 0.559_774_041_175_842_3];

#[test]
fn another_runtime_agrees() {
    let network = every_operation();
    if let Some(folder) = std::env::var_os("DIADEM_RECORD") {
        let folder = std::path::PathBuf::from(folder);
        super::super::write(&network, &folder.join("every_operation.onnx")).unwrap();
        let input: Vec<String> = numbers(60, 100).iter().map(ToString::to_string).collect();
        std::fs::write(folder.join("every_operation.txt"), input.join(" ")).unwrap();
    }
    let got = network.evaluate::<f64>(&numbers(60, 100)).unwrap();
    // The runtime sums in 32 bits.
    assert!(got.iter().zip(RECORDED).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
}

#[test]
fn maps_that_choose_are_written_as_such() {
    // Every row one column, some none, one column twice: 9,000 × 10,000 in full would be 360 MB.
    let n_in = 10_000;
    let mut sparse = Sparse { n_in, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
    for row in 0..9_000_u32 {
        if row % 7 != 0 {
            sparse.columns.push(row * 31 % 10_000);
            sparse.values.push(f64::from(row % 5) - 1.5);
        }
        sparse.offsets.push(sparse.columns.len() as u32);
    }
    let mut builder = Network::builder(&[4, 50, 50]).unwrap();
    let affine = Affine::exact(LinearMap::Sparse(sparse), numbers(9_000, 11));
    let last = builder.push("choice", Op::Affine(Arc::new(affine)), &[crate::NodeId(0)], &[9_000]).unwrap();
    let network = builder.build(last).unwrap();
    let bytes = to_bytes(&network).unwrap();
    assert!(bytes.len() < 200_000, "{}", bytes.len());
    let x = numbers(n_in, 12);
    assert_eq!(from_bytes(&bytes).unwrap().evaluate::<f64>(&x).unwrap(), network.evaluate::<f64>(&x).unwrap());
}

#[test]
fn constants_that_do_not_fit_are_refused() {
    let mut builder = Network::builder(&[1]).unwrap();
    let dense = Dense { n_out: 1, n_in: 1, weight: vec![1e300] };
    let affine = Affine::exact(LinearMap::Dense(dense), vec![0.0]);
    let last = builder.push("large", Op::Affine(Arc::new(affine)), &[crate::NodeId(0)], &[1]).unwrap();
    let error = to_bytes(&builder.build(last).unwrap()).unwrap_err().to_string();
    assert!(error.contains("'large'"), "{error}");
}
