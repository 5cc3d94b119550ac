use std::sync::Arc;

use proptest::prelude::*;

use crate::{Activation, Affine, Conv, Dense, LinearMap, Network, NodeId, Op, Sparse, WeightError};

/// A real number of the tests: all factors are integers below 2⁴⁰, so that sums of their products fit.
type Exact = i128;

fn dense(n_out: usize, n_in: usize, weight: &[f64]) -> LinearMap {
    LinearMap::Dense(Dense { n_out, n_in, weight: weight.to_vec() })
}

fn diagonal(scales: &[f64]) -> LinearMap {
    let n = scales.len() as u32;
    let (offsets, columns) = ((0..=n).collect(), (0..n).collect());
    LinearMap::Sparse(Sparse { n_in: scales.len(), offsets, columns, values: scales.to_vec() })
}

/// A network that is a chain of nodes.
fn chain(n_in: usize, ops: Vec<Op>) -> Network {
    let mut builder = Network::builder(&[n_in]).unwrap();
    let mut last = NodeId(0);
    for op in ops {
        let n = match &op {
            Op::Affine(affine) => affine.n_out(),
            _ => builder.node(last).len(),
        };
        last = builder.push("node", op, &[last], &[n]).unwrap();
    }
    builder.build(last).unwrap()
}

fn affine(map: LinearMap, bias: &[f64]) -> Op {
    Op::Affine(Affine::exact(map, bias.to_vec()).into())
}

fn the_affine(network: &Network) -> &Affine {
    match &network.nodes()[1].op {
        Op::Affine(affine) => affine,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_scale_and_shift_join_the_matrix_before_them() {
    // 2 · (3 x + 1) + 5 = 6 x + 7 and −1 · (4 x + 0) + 0 = −4 x.
    let network =
        chain(1, vec![affine(dense(2, 1, &[3.0, 4.0]), &[1.0, 0.0]), affine(diagonal(&[2.0, -1.0]), &[5.0, 0.0])]);
    let simple = network.simplify().unwrap();
    assert_eq!(simple.nodes().len(), 2);
    assert_eq!(*the_affine(&simple), Affine::exact(dense(2, 1, &[6.0, -4.0]), vec![7.0, 0.0]));
}

#[test]
fn identities_are_dropped_also_at_the_end() {
    let relu = || Op::Activation(Activation::Relu);
    let unit = || affine(diagonal(&[1.0, 1.0]), &[0.0, -0.0]);
    let network = chain(2, vec![unit(), relu(), unit()]);
    assert_eq!(network.simplify().unwrap().nodes().len(), 2);
    let all = chain(2, vec![unit(), affine(dense(2, 2, &[1.0, 0.0, 0.0, 1.0]), &[0.0, 0.0])]);
    assert_eq!(all.simplify().unwrap().nodes().len(), 1);
    let inexact = WeightError { relative: 0.0, absolute: vec![0.5, 0.0], bias: Vec::new() };
    let close = Affine { error: inexact, ..Affine::exact(diagonal(&[1.0, 1.0]), vec![0.0; 2]) };
    assert!(!close.is_identity());
}

#[test]
fn a_map_with_two_readers_stays() {
    let mut builder = Network::builder(&[2]).unwrap();
    let first = builder.push("a", affine(diagonal(&[2.0, 3.0]), &[0.0; 2]), &[NodeId(0)], &[2]).unwrap();
    let second = builder.push("b", affine(diagonal(&[5.0, 7.0]), &[0.0; 2]), &[first], &[2]).unwrap();
    let sum = builder.push("c", Op::Add, &[first, second], &[2]).unwrap();
    let network = builder.build(sum).unwrap();
    assert_eq!(network.simplify().unwrap(), network);
}

#[test]
fn the_output_is_read_by_the_caller() {
    // A dropped identity hands its reader, the caller, on to its operand.
    let mut builder = Network::builder(&[1]).unwrap();
    let first = builder.push("a", affine(diagonal(&[2.0]), &[1.0]), &[NodeId(0)], &[1]).unwrap();
    let unit = builder.push("b", affine(diagonal(&[1.0]), &[0.0]), &[first], &[1]).unwrap();
    let simple = builder.build(unit).unwrap().simplify().unwrap();
    assert_eq!(simple.evaluate(&[3.0]).unwrap(), [7.0]);
}

#[test]
fn a_bottleneck_is_not_multiplied_out() {
    // 3 × 1 times 1 × 3: nine coefficients instead of six.
    let network = chain(3, vec![affine(dense(1, 3, &[1.0; 3]), &[0.0]), affine(dense(3, 1, &[1.0; 3]), &[0.0; 3])]);
    assert_eq!(network.simplify().unwrap(), network);
}

#[test]
fn a_shift_before_a_padded_convolution_respects_the_padding() {
    // Padding is zero after the shift: the border outputs see fewer shifted pixels.
    let conv = conv(1, [1, 3], 1, [1, 3], [1, 1], [0, 1], 1, vec![1.0, 1.0, 1.0]);
    let network = chain(3, vec![affine(diagonal(&[2.0; 3]), &[10.0; 3]), affine(LinearMap::Conv(conv), &[0.0; 3])]);
    let simple = network.simplify().unwrap();
    assert_eq!(simple.nodes().len(), 2);
    let x = [1.0, 2.0, 3.0];
    assert_eq!(simple.evaluate(&x).unwrap(), [26.0, 42.0, 30.0]);
    assert_eq!(network.evaluate(&x).unwrap(), [26.0, 42.0, 30.0]);
}

#[allow(clippy::too_many_arguments, reason = "the sizes of a convolution")]
fn conv(
    in_channels: usize,
    input: [usize; 2],
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    pad: [usize; 2],
    groups: usize,
    weight: Vec<f64>,
) -> Conv {
    let output = [0, 1].map(|axis| (input[axis] + 2 * pad[axis] - kernel[axis]) / stride[axis] + 1);
    Conv {
        in_channels,
        in_height: input[0],
        in_width: input[1],
        out_channels,
        out_height: output[0],
        out_width: output[1],
        kernel,
        stride,
        dilation: [1, 1],
        pad,
        groups,
        weight,
    }
}

/// Integers of both signs that need all 53 bits once multiplied; some are zero.
fn coefficient() -> impl Strategy<Value = f64> {
    prop_oneof![1 => Just(0.0), 6 => (-(1i64 << 40)..1i64 << 40).prop_map(|n| n as f64), 1 => (-3i64..=3).prop_map(|n| n as f64)]
}

fn coefficients(n: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(coefficient(), n)
}

/// Integer errors, or none: absolute up to 2²⁰, relative a power of two.
fn error(n_out: usize) -> impl Strategy<Value = WeightError> {
    let list = || prop_oneof![Just(Vec::new()), prop::collection::vec((0i64..1 << 20).prop_map(|n| n as f64), n_out)];
    (prop_oneof![Just(0.0), (10i32..40).prop_map(|e| 2f64.powi(-e))], list(), list())
        .prop_map(|(relative, absolute, bias)| WeightError { relative, absolute, bias })
}

fn with_bias(map: LinearMap, n_out: usize) -> impl Strategy<Value = Affine> {
    (coefficients(n_out), error(n_out)).prop_map(move |(bias, error)| Affine { map: map.clone(), bias, error })
}

fn dense_of(n_out: usize, n_in: usize) -> BoxedStrategy<Affine> {
    coefficients(n_out * n_in).prop_flat_map(move |w| with_bias(dense(n_out, n_in, &w), n_out)).boxed()
}

fn sparse_of(n_out: usize, n_in: usize) -> BoxedStrategy<Affine> {
    let rows = prop::collection::vec(prop::collection::btree_map(0..n_in as u32, coefficient(), 0..3), n_out);
    rows.prop_flat_map(move |rows| {
        let mut sparse = Sparse { n_in, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        for row in rows {
            sparse.columns.extend(row.keys());
            sparse.values.extend(row.values());
            sparse.offsets.push(sparse.values.len() as u32);
        }
        with_bias(LinearMap::Sparse(sparse), n_out)
    })
    .boxed()
}

/// A grouped, strided, padded convolution of 2 × 3 × 4 images, to 4 × 2 × 3.
fn conv_of() -> BoxedStrategy<Affine> {
    let map = |weight| LinearMap::Conv(conv(2, [3, 4], 4, [2, 2], [2, 2], [1, 1], 2, weight));
    coefficients(4 * 2 * 2).prop_flat_map(move |weight| with_bias(map(weight), 4 * 2 * 3)).boxed()
}

/// One factor per channel.
fn channel_scale(channels: usize, area: usize) -> BoxedStrategy<Affine> {
    coefficients(channels)
        .prop_flat_map(move |scales| {
            let scales: Vec<f64> = scales.into_iter().flat_map(|scale| std::iter::repeat_n(scale, area)).collect();
            with_bias(diagonal(&scales), channels * area)
        })
        .boxed()
}

/// Outer and inner map of every kind of composition.
fn pairs() -> impl Strategy<Value = (Affine, Affine)> {
    prop_oneof![
        (dense_of(2, 5), dense_of(5, 3)),
        (dense_of(3, 4), sparse_of(4, 3)),
        (sparse_of(3, 4), dense_of(4, 2)),
        (sparse_of(4, 4), sparse_of(4, 4)),
        (channel_scale(4, 6), conv_of()),
        (conv_of(), channel_scale(2, 12)),
    ]
}

/// All entries, those not stored included.
fn matrix(affine: &Affine) -> Vec<Vec<f64>> {
    (0..affine.n_out())
        .map(|k| {
            let mut row = vec![0.0; affine.n_in()];
            affine.map.for_each_in_row(k, |i, w| row[i] = w);
            row
        })
        .collect()
}

/// A member of the family that the error bound admits, at its rim: integers, each off by as much as allowed or by nothing.
fn member(affine: &Affine, sign: &mut impl FnMut() -> Exact) -> (Vec<Vec<Exact>>, Vec<Exact>) {
    let at = |list: &[f64], k: usize| list.get(k).copied().unwrap_or(0.0) as Exact;
    let error = &affine.error;
    let weight = matrix(affine).into_iter().enumerate().map(|(k, row)| {
        let off = |w: f64| (error.relative * w.abs()).floor() as Exact + at(&error.absolute, k);
        row.into_iter().map(|w| w as Exact + sign() * off(w)).collect()
    });
    let weight = weight.collect();
    let bias = affine.bias.iter().enumerate().map(|(k, &b)| b as Exact + sign() * at(&error.bias, k)).collect();
    (weight, bias)
}

/// Whether `|exact − stored| ≤ bound`, decided in integers.
fn is_within(exact: Exact, stored: f64, bound: f64) -> bool {
    assert_eq!(stored, stored.trunc());
    (exact - stored as Exact).abs() <= bound.floor() as Exact
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// The definition of [`WeightError`], for the real maps that the factors may stand for.
    #[test]
    fn every_product_of_admitted_factors_is_admitted((outer, inner) in pairs(), seed in any::<u64>()) {
        let Some(merged) = outer.after(&inner) else { return Ok(()) };
        let mut state = seed | 1;
        let mut sign = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Exact::from(state % 3) - 1
        };
        let ((w2, b2), (w1, b1)) = (member(&outer, &mut sign), member(&inner, &mut sign));
        let at = |list: &[f64], k: usize| list.get(k).copied().unwrap_or(0.0);
        let stored = matrix(&merged);
        for k in 0..merged.n_out() {
            for j in 0..merged.n_in() {
                let exact = (0..w1.len()).map(|i| w2[k][i] * w1[i][j]).sum();
                // Rounded down once more in the test: the bound has to hold with room for none.
                let bound = (merged.error.relative * stored[k][j].abs()).next_up() + at(&merged.error.absolute, k);
                prop_assert!(is_within(exact, stored[k][j], bound.next_up()), "entry {k}, {j}");
            }
            let exact = b2[k] + (0..w1.len()).map(|i| w2[k][i] * b1[i]).sum::<Exact>();
            prop_assert!(is_within(exact, merged.bias[k], at(&merged.error.bias, k)), "bias {k}");
        }
    }

    /// Small integers never round.
    #[test]
    fn exact_folding_has_no_error(
        outer in prop::collection::vec(-64i32..64, 6), inner in prop::collection::vec(-64i32..64, 6)
    ) {
        let float = |list: &[i32]| list.iter().map(|&n| f64::from(n)).collect::<Vec<_>>();
        let network = chain(
            2,
            vec![
                affine(dense(3, 2, &float(&inner)), &float(&inner[..3])),
                affine(dense(2, 3, &float(&outer)), &float(&outer[..2])),
            ],
        );
        let simple = network.simplify().unwrap();
        let only = the_affine(&simple);
        prop_assert_eq!(&only.error, &WeightError::default());
        prop_assert_eq!(simple.evaluate(&[1.0, -2.0]).unwrap(), network.evaluate(&[1.0, -2.0]).unwrap());
    }
}

#[test]
fn a_scaled_row_keeps_a_relative_error() {
    // One product per entry: nothing cancels, so a tiny weight stays known to many digits.
    let inner = Affine::exact(dense(1, 2, &[1e-30, 1.0]), vec![0.0]);
    let scale = Affine {
        error: WeightError { relative: f64::EPSILON, absolute: Vec::new(), bias: Vec::new() },
        ..Affine::exact(diagonal(&[1.0 / 3.0]), vec![0.0])
    };
    let merged = scale.after(&inner).unwrap();
    assert!(merged.error.absolute.is_empty());
    assert!(merged.error.relative >= f64::EPSILON && merged.error.relative <= 2.0 * f64::EPSILON);
}

#[test]
fn a_merge_that_overflows_is_left_alone() {
    let big = || affine(dense(1, 1, &[1e200]), &[0.0]);
    let network = chain(1, vec![big(), big()]);
    assert_eq!(network.simplify().unwrap(), network);
}

#[test]
fn a_large_matrix_of_few_entries_becomes_sparse_and_means_the_same() {
    let n = 80;
    let mut weight = vec![0.0; n * n];
    (0..n).for_each(|k| weight[k * n + (7 * k) % n] = k as f64 - 3.0);
    let mut builder = Network::builder(&[n]).unwrap();
    let map = LinearMap::Dense(Dense { n_out: n, n_in: n, weight });
    let y = builder.push("y", Op::Affine(Arc::new(Affine::exact(map, vec![0.5; n]))), &[NodeId(0)], &[n]).unwrap();
    let network = builder.build(y).unwrap();
    let simple = network.simplify().unwrap();
    let Op::Affine(affine) = &simple.node(simple.output()).op else { panic!("an affine node") };
    assert!(matches!(&affine.map, LinearMap::Sparse(sparse) if sparse.values.len() == n - 1));
    let x: Vec<f64> = (0..n).map(|i| i as f64).collect();
    assert_eq!(network.evaluate(&x).unwrap(), simple.evaluate(&x).unwrap());
}
