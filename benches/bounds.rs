//! How fast the host bounds batches: one network of the size of ACAS Xu, a wider one, and a convolutional one.
//!
//! Ids are `bounds/METHOD/NETWORK`, as in `diadem bench bounds`; throughput is in subdomains.

use std::path::Path;
use std::sync::Arc;

use bounds::{Batch, BoundEngine, Device, Method, Recipe, Wanted};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use network::{Activation, Affine, BoxRegion, Dense, LinearMap, Network, NodeId, Op, onnx};

/// A fully connected `ReLU` network of these layer sizes with fixed pseudo-random weights of the usual scale.
fn dense(sizes: &[usize]) -> Network {
    let mut state = 1_u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from((state >> 32) as u32) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    let mut builder = Network::builder(&sizes[..1]).expect("a network has inputs");
    let mut last = NodeId(0);
    for (layer, pair) in sizes.windows(2).enumerate() {
        let (n_in, n_out) = (pair[0], pair[1]);
        let scale = (3.0 / n_in as f64).sqrt();
        // Weights as a file would have them: floats of 32 bits.
        let weight = (0..n_in * n_out).map(|_| f64::from((scale * random()) as f32)).collect();
        let bias = (0..n_out).map(|_| f64::from((0.1 * random()) as f32)).collect();
        let affine = Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)));
        last = builder.push(format!("dense {layer}"), affine, &[last], &[n_out]).expect("sizes fit");
        if layer + 2 < sizes.len() {
            let relu = Op::Activation(Activation::Relu);
            last = builder.push(format!("relu {layer}"), relu, &[last], &[n_out]).expect("sizes fit");
        }
    }
    builder.build(last).expect("the output depends on the input")
}

fn bench(criterion: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/networks/digits_conv.onnx");
    let conv = onnx::read(&path).and_then(|network| network.simplify()).expect("the example is sound");
    let cases = [
        ("acas_6x50", dense(&[5, 50, 50, 50, 50, 50, 50, 5]), 0.05, 256),
        ("dense_4x256", dense(&[784, 256, 256, 256, 256, 10]), 0.02, 4),
        ("digits_conv", conv, 0.02, 32),
    ];
    for (name, network, radius, n_boxes) in cases {
        let n = network.n_inputs();
        let network = Arc::new(network);
        let region = BoxRegion::new(vec![0.5 - radius; n], vec![0.5 + radius; n]).expect("a box");
        let batch = Batch::enclosing(&region.lower.repeat(n_boxes), &region.upper.repeat(n_boxes));
        for (method_name, method) in [("ibp", Method::Ibp), ("crown-ibp", Method::CrownIbp), ("crown", Method::Crown)] {
            let recipe = Recipe { method, ..Recipe::default() };
            let engine =
                BoundEngine::new(&Device::Host, Arc::clone(&network), &region, recipe).expect("it is recorded");
            let mut group = criterion.benchmark_group(format!("bounds/{method_name}"));
            group.throughput(Throughput::Elements(n_boxes as u64)).sample_size(20);
            group.bench_function(name, |bencher| {
                bencher.iter(|| engine.bound(&batch, Wanted { split: true, slopes: false }).expect("it is bounded"));
            });
            group.finish();
        }
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
