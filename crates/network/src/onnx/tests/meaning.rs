use std::io::Write;

use super::{A, encode, floats, ints, model, node, weights};
use crate::onnx::from_bytes;
use crate::onnx::proto::{Dimension, Model, Tensor};
use crate::onnx::tensor::data_type;
use crate::{Affine, Network, Op, WeightError};

fn import(model: &Model) -> Network {
    from_bytes(&encode(model)).unwrap()
}

/// The only affine map of a network.
fn the_affine(network: &Network) -> &Affine {
    let mut maps = network.nodes().iter().filter_map(|node| match &node.op {
        Op::Affine(affine) => Some(affine.as_ref()),
        _ => None,
    });
    let affine = maps.next().unwrap();
    assert!(maps.next().is_none());
    affine
}

#[test]
fn weights_of_the_file_are_exact() {
    let network = import(&model(
        13,
        &[1, 2],
        vec![floats("w", &[2, 1], &[0.1, 0.3]), floats("b", &[1], &[0.7])],
        vec![node("Gemm", &["x", "w", "b"], &["y"], [])],
    ));
    let affine = the_affine(&network);
    assert_eq!(affine.map.coefficients(), [f64::from(0.1f32), f64::from(0.3f32)]);
    assert_eq!(affine.bias, [f64::from(0.7f32)]);
    assert_eq!(affine.error, WeightError::default());
}

#[test]
fn a_division_admits_the_rounding_of_its_reciprocal() {
    let divided_by = |c: f32| {
        let nodes = vec![node("Div", &["x", "c"], &["y"], [])];
        the_affine(&import(&model(13, &[1, 1], vec![floats("c", &[1], &[c])], nodes))).clone()
    };
    let third = divided_by(3.0);
    // 1 − 3 · fl(1/3), exactly: how far the coefficient is off, times three.
    let residual = 3f64.mul_add(-third.map.coefficients()[0], 1.0).abs();
    assert!(residual > 0.0 && residual / 3.0 <= third.error.relative * third.map.coefficients()[0]);
    assert!(third.error.relative <= f64::EPSILON);
    assert_eq!(divided_by(-4.0).error, WeightError::default());
}

#[test]
fn an_average_over_a_power_of_two_is_exact() {
    let averaged_over = |n: i64| {
        let attributes = [("kernel_shape", A::Ints(&[1, n]))];
        let nodes = vec![node("AveragePool", &["x"], &["y"], attributes)];
        the_affine(&import(&model(13, &[1, 1, 1, n], vec![], nodes))).error.clone()
    };
    assert_eq!(averaged_over(4), WeightError::default());
    assert_eq!(averaged_over(3).relative, f64::EPSILON / 2.0);
}

#[test]
fn a_folded_normalisation_lies_within_its_error() {
    // scale / √(variance + ε) = 3 / √(8 + 1) = 1 and shift − mean · 1 = 0.5 − 0.25, in numbers that a reader can check.
    let channel = |name: &str, value: f32| floats(name, &[1], &[value]);
    let nodes = vec![node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y"], [("epsilon", A::Float(1.0))])];
    let constants = vec![channel("s", 3.0), channel("b", 0.5), channel("m", 0.25), channel("v", 8.0)];
    let network = import(&model(13, &[1, 1, 2], constants, nodes));
    let affine = the_affine(&network);
    assert_eq!((affine.map.coefficients(), &affine.bias), ([1.0, 1.0].as_slice(), &vec![0.25, 0.25]));
    // Three roundings and half of one, of 2⁻⁵³ each, can be no less than what is admitted.
    assert_eq!(affine.error.relative, 4.0 * f64::EPSILON / 2.0);
    assert!(affine.error.bias.iter().all(|&e| e > 0.0 && e <= 1e-15));
    let bad_variance = vec![channel("s", 3.0), channel("b", 0.5), channel("m", 0.25), channel("v", -2.0)];
    let nodes = vec![node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y"], [("epsilon", A::Float(1.0))])];
    assert!(from_bytes(&encode(&model(13, &[1, 1, 2], bad_variance, nodes))).is_err());
}

#[test]
fn a_scaled_product_admits_its_rounding() {
    let nodes = vec![node("Gemm", &["x", "w"], &["y"], [("alpha", A::Float(0.1))])];
    let double = |name: &str, value: f64| Tensor {
        data_type: data_type::DOUBLE,
        float_data: Vec::new(),
        double_data: vec![value],
        ..floats(name, &[1, 1], &[0.0])
    };
    let network = import(&model(13, &[1, 1], vec![double("w", 1.0 / 3.0)], nodes));
    let affine = the_affine(&network);
    let (alpha, stored) = (f64::from(0.1f32), affine.map.coefficients()[0]);
    let residual = alpha.mul_add(1.0 / 3.0, -stored).abs();
    assert!(residual > 0.0 && affine.error.absolute[0] >= residual);
}

#[test]
fn folded_constants_carry_their_error_into_the_weight() {
    // 0.1 + 0.7 in f32 numbers is exact in f64; times 0.3 it is not.
    let nodes = vec![
        node("Add", &["a", "b"], &["ab"], []),
        node("Mul", &["ab", "c"], &["abc"], []),
        node("Mul", &["abc", "abc"], &["d"], []),
        node("Mul", &["x", "d"], &["y"], []),
    ];
    let constants = vec![floats("a", &[1], &[0.1]), floats("b", &[1], &[0.7]), floats("c", &[1], &[0.3])];
    let network = import(&model(13, &[1, 1], constants, nodes));
    let error = &the_affine(&network).error;
    assert!(error.absolute[0] > 0.0 && error.absolute[0] < 1e-16, "{error:?}");
}

#[test]
fn reshapes_and_identities_add_no_nodes() {
    let network = import(&model(
        13,
        &[1, 2, 2],
        vec![ints("s", &[2], &[1, -1])],
        vec![
            node("Identity", &["x"], &["a"], []),
            node("Reshape", &["a", "s"], &["b"], []),
            node("Transpose", &["b"], &["c"], []),
            node("Relu", &["c"], &["y"], []),
        ],
    ));
    assert_eq!(network.nodes().len(), 2);
    assert_eq!(network.nodes()[0].shape, [2, 2]);
}

#[test]
fn a_batch_dimension_that_is_not_fixed_is_one() {
    for dim in [
        Dimension { dim_value: None, dim_param: Some("batch".into()) },
        Dimension { dim_value: None, dim_param: None },
        Dimension { dim_value: Some(0), dim_param: None },
        Dimension { dim_value: Some(-1), dim_param: None },
    ] {
        let mut model = model(13, &[1, 3], vec![weights("w", &[3, 2])], vec![node("MatMul", &["x", "w"], &["y"], [])]);
        let input = &mut model.graph.as_mut().unwrap().input[0];
        input.r#type.as_mut().unwrap().tensor_type.as_mut().unwrap().shape.as_mut().unwrap().dim[0] = dim;
        assert_eq!(import(&model).nodes()[0].shape, [3]);
    }
}

#[test]
fn initializers_listed_as_inputs_are_constants() {
    let mut model = model(13, &[1, 3], vec![weights("w", &[3, 2])], vec![node("MatMul", &["x", "w"], &["y"], [])]);
    model.graph.as_mut().unwrap().input.insert(0, super::value_info("w", &[3, 2]));
    assert_eq!(import(&model).n_outputs(), 2);
}

#[test]
fn a_compressed_model_is_the_same_model() {
    let bytes = encode(&model(13, &[1, 3], vec![weights("w", &[3, 2])], vec![node("MatMul", &["x", "w"], &["y"], [])]));
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&bytes).unwrap();
    let compressed = encoder.finish().unwrap();
    assert_eq!(from_bytes(&compressed).unwrap(), from_bytes(&bytes).unwrap());
    let cut = from_bytes(&compressed[..compressed.len() - 9]).unwrap_err().to_string();
    assert!(cut.contains("cannot be decompressed"), "{cut}");
}

#[test]
fn sixteen_bit_weights_are_exact() {
    let typed = |data_type: i32, bits: i32| Tensor {
        data_type,
        float_data: Vec::new(),
        int32_data: vec![bits],
        ..floats("w", &[1, 1], &[0.0])
    };
    for (tensor, expected) in [(typed(data_type::FLOAT16, 0x3e00), 1.5), (typed(data_type::BFLOAT16, 0xbfc0), -1.5)] {
        let network = import(&model(13, &[1, 1], vec![tensor], vec![node("MatMul", &["x", "w"], &["y"], [])]));
        assert_eq!(the_affine(&network).map.coefficients(), [expected]);
    }
}

#[test]
fn operator_set_6_aligns_the_second_operand_by_axis() {
    let nodes = |attributes: [(&str, A); 2]| vec![node("Add", &["x", "c"], &["y"], attributes)];
    let constants = || vec![floats("c", &[2], &[10.0, 20.0])];
    let per_channel = nodes([("broadcast", A::Int(1)), ("axis", A::Int(1))]);
    let network = import(&model(6, &[1, 2, 2], constants(), per_channel));
    assert_eq!(network.evaluate(&[1.0, 2.0, 3.0, 4.0]).unwrap(), [11.0, 12.0, 23.0, 24.0]);
    let unaligned = nodes([("broadcast", A::Int(0)), ("axis", A::Int(1))]);
    assert!(from_bytes(&encode(&model(6, &[1, 2, 2], constants(), unaligned))).is_err());
}

#[test]
fn operator_set_6_normalises_for_inference_only_when_told_so() {
    let constants = || ["s", "b", "m", "v"].map(|name| floats(name, &[1], &[1.0])).to_vec();
    let nodes = |is_test: i64| {
        vec![node("BatchNormalization", &["x", "s", "b", "m", "v"], &["y"], [("is_test", A::Int(is_test))])]
    };
    assert!(from_bytes(&encode(&model(6, &[1, 1, 2], constants(), nodes(1)))).is_ok());
    let message = from_bytes(&encode(&model(6, &[1, 1, 2], constants(), nodes(0)))).unwrap_err().to_string();
    assert!(message.contains("training mode"), "{message}");
}
