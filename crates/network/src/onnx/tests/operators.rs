use super::{A, encode, floats, ints, model, node, probe, recorded, weights};
use crate::onnx::from_bytes;
use crate::onnx::proto::{Model, Node, Tensor};

/// A small model and the output that onnxruntime 1.31 gives at [`probe`].
struct Case {
    name: &'static str,
    model: Model,
}

impl Case {
    fn file(&self) -> String {
        format!("{}.onnx", self.name)
    }
}

fn case(name: &'static str, opset: i64, shape: &[i64], initializers: Vec<Tensor>, nodes: Vec<Node>) -> Case {
    Case { name, model: model(opset, shape, initializers, nodes) }
}

/// One operator on `x` and constants.
fn single<const N: usize>(
    name: &'static str,
    opset: i64,
    shape: &[i64],
    initializers: Vec<Tensor>,
    op: &str,
    attributes: [(&str, A); N],
) -> Case {
    let names: Vec<String> = initializers.iter().map(|tensor| tensor.name.clone()).collect();
    let inputs: Vec<&str> = std::iter::once("x").chain(names.iter().map(String::as_str)).collect();
    case(name, opset, shape, initializers, vec![node(op, &inputs, &["y"], attributes)])
}

fn linear_cases() -> Vec<Case> {
    let w = weights;
    vec![
        single("gemm", 13, &[1, 3], vec![w("w", &[3, 2]), w("c", &[2])], "Gemm", []),
        single(
            "gemm_attributes",
            13,
            &[3, 2],
            vec![w("w", &[4, 3]), w("c", &[2, 1])],
            "Gemm",
            [("alpha", A::Float(0.5)), ("beta", A::Float(2.0)), ("transA", A::Int(1)), ("transB", A::Int(1))],
        ),
        case(
            "gemm_constant_left",
            11,
            &[2, 3],
            vec![w("w", &[3, 4]), w("c", &[4, 2])],
            vec![node("Gemm", &["w", "x", "c"], &["y"], [("transA", A::Int(1)), ("transB", A::Int(1))])],
        ),
        case(
            "gemm_computed_bias",
            13,
            &[1, 2],
            vec![w("w", &[2, 2])],
            vec![node("Gemm", &["x", "w", "x"], &["y"], [("beta", A::Float(-0.5))])],
        ),
        single("mat_mul_row", 13, &[1, 3], vec![w("w", &[3, 2])], "MatMul", []),
        single("mat_mul_vector", 13, &[3], vec![w("w", &[3, 2])], "MatMul", []),
        single("mat_mul_rows", 13, &[1, 2, 3], vec![w("w", &[3, 2])], "MatMul", []),
        single("mat_mul_stack", 13, &[1, 2, 2, 3], vec![w("w", &[2, 3, 2])], "MatMul", []),
        single("mat_mul_broadcast_input", 13, &[1, 3], vec![w("w", &[2, 3, 2])], "MatMul", []),
        single("mat_mul_by_vector", 13, &[1, 2, 3], vec![w("w", &[3])], "MatMul", []),
        case("mat_mul_left", 13, &[3], vec![w("w", &[2, 3])], vec![node("MatMul", &["w", "x"], &["y"], [])]),
        case(
            "mat_mul_left_stack",
            13,
            &[1, 3, 2],
            vec![w("w", &[2, 2, 3])],
            vec![node("MatMul", &["w", "x"], &["y"], [])],
        ),
        single("conv", 13, &[1, 2, 4, 5], vec![w("w", &[3, 2, 2, 3]), w("b", &[3])], "Conv", []),
        single(
            "conv_all_attributes",
            13,
            &[1, 4, 6, 5],
            vec![w("w", &[4, 2, 2, 3])],
            "Conv",
            [
                ("group", A::Int(2)),
                ("strides", A::Ints(&[2, 1])),
                ("dilations", A::Ints(&[2, 1])),
                ("pads", A::Ints(&[1, 0, 2, 1])),
                ("kernel_shape", A::Ints(&[2, 3])),
            ],
        ),
        single(
            "conv_same_upper",
            13,
            &[1, 1, 5, 4],
            vec![w("w", &[1, 1, 2, 3])],
            "Conv",
            [("auto_pad", A::Text("SAME_UPPER")), ("strides", A::Ints(&[2, 3]))],
        ),
        single(
            "conv_same_lower",
            13,
            &[1, 1, 5, 4],
            vec![w("w", &[1, 1, 2, 4])],
            "Conv",
            [("auto_pad", A::Text("SAME_LOWER")), ("strides", A::Ints(&[2, 1]))],
        ),
        single("conv_valid", 13, &[1, 1, 3, 3], vec![w("w", &[1, 1, 2, 2])], "Conv", [("auto_pad", A::Text("VALID"))]),
        single(
            "conv_signal",
            13,
            &[1, 2, 6],
            vec![w("w", &[2, 2, 3]), w("b", &[2])],
            "Conv",
            [("strides", A::Ints(&[2])), ("pads", A::Ints(&[1, 0]))],
        ),
        single("conv_transpose", 13, &[1, 2, 2, 3], vec![w("w", &[2, 3, 2, 2]), w("b", &[3])], "ConvTranspose", []),
        single(
            "conv_transpose_all_attributes",
            13,
            &[1, 4, 3, 3],
            vec![w("w", &[4, 1, 3, 2])],
            "ConvTranspose",
            [
                ("group", A::Int(2)),
                ("strides", A::Ints(&[2, 3])),
                ("dilations", A::Ints(&[1, 2])),
                ("pads", A::Ints(&[1, 0, 0, 1])),
                ("output_padding", A::Ints(&[1, 0])),
            ],
        ),
        single(
            "conv_transpose_signal",
            13,
            &[1, 2, 3],
            vec![w("w", &[2, 1, 4])],
            "ConvTranspose",
            [("strides", A::Ints(&[2])), ("pads", A::Ints(&[1, 1]))],
        ),
        single(
            "batch_normalization",
            14,
            &[1, 2, 2, 2],
            vec![
                floats("s", &[2], &[1.5, -0.75]),
                floats("b", &[2], &[0.25, 2.0]),
                floats("m", &[2], &[0.5, -1.0]),
                floats("v", &[2], &[0.3, 2.0]),
            ],
            "BatchNormalization",
            [("epsilon", A::Float(1e-3)), ("momentum", A::Float(0.8))],
        ),
    ]
}

fn arithmetic_cases() -> Vec<Case> {
    let w = weights;
    let constant_first =
        |name, op: &str| case(name, 13, &[1, 2, 3], vec![w("c", &[2, 1])], vec![node(op, &["c", "x"], &["y"], [])]);
    vec![
        single("add_broadcast", 13, &[1, 2, 3], vec![w("c", &[2, 1])], "Add", []),
        single("add_grows", 13, &[1, 3], vec![w("c", &[2, 1])], "Add", []),
        single("sub", 13, &[1, 2, 3], vec![w("c", &[3])], "Sub", []),
        constant_first("sub_from_constant", "Sub"),
        constant_first("mul_constant_first", "Mul"),
        single("mul_scalar", 13, &[1, 3], vec![w("c", &[])], "Mul", []),
        single("div", 13, &[1, 2, 3], vec![floats("c", &[3], &[3.0, -0.5, 0.7])], "Div", []),
        single("neg", 13, &[1, 3], vec![], "Neg", []),
        single("double", 13, &[1, 3], vec![], "Identity", []),
        case("add_itself", 13, &[1, 3], vec![], vec![node("Add", &["x", "x"], &["y"], [])]),
        case(
            "sub_of_branches",
            13,
            &[1, 3],
            vec![],
            vec![node("Relu", &["x"], &["r"], []), node("Sub", &["r", "x"], &["y"], [])],
        ),
        case(
            "add_of_broadcast_branches",
            13,
            &[1, 3],
            vec![ints("s", &[2], &[3, 1])],
            vec![node("Reshape", &["x", "s"], &["column"], []), node("Add", &["x", "column"], &["y"], [])],
        ),
        case(
            "folded_constants",
            13,
            &[1, 2],
            vec![floats("a", &[2], &[0.5, 3.0]), floats("b", &[1], &[0.3]), floats("c", &[2], &[-1.5, 0.1])],
            vec![
                node("Mul", &["a", "b"], &["ab"], []),
                node("Sub", &["ab", "c"], &["d"], []),
                node("Div", &["d", "b"], &["e"], []),
                node("Neg", &["e"], &["f"], []),
                node("Mul", &["x", "f"], &["y"], []),
            ],
        ),
    ]
}

fn activation_cases() -> Vec<Case> {
    let w = weights;
    vec![
        single("relu", 13, &[1, 6], vec![], "Relu", []),
        single("leaky_relu", 13, &[1, 6], vec![], "LeakyRelu", [("alpha", A::Float(0.25))]),
        single("leaky_relu_default", 13, &[1, 6], vec![], "LeakyRelu", []),
        single("prelu_per_channel", 13, &[1, 2, 1, 3], vec![w("s", &[2, 1, 1])], "PRelu", []),
        single("prelu_scalar", 13, &[1, 3], vec![floats("s", &[1], &[-0.5])], "PRelu", []),
        single("clip_attributes", 6, &[1, 6], vec![], "Clip", [("min", A::Float(-1.0)), ("max", A::Float(1.5))]),
        single("clip_inputs", 13, &[1, 6], vec![floats("l", &[], &[-1.0]), floats("h", &[], &[1.5])], "Clip", []),
        case(
            "clip_above_only",
            13,
            &[1, 6],
            vec![floats("h", &[], &[0.5])],
            vec![node("Clip", &["x", "", "h"], &["y"], [])],
        ),
        single("min", 13, &[1, 6], vec![floats("c", &[], &[0.25])], "Min", []),
        single("max", 13, &[1, 6], vec![floats("c", &[1], &[0.25])], "Max", []),
        single("sigmoid", 13, &[1, 6], vec![], "Sigmoid", []),
        single("tanh", 13, &[1, 6], vec![], "Tanh", []),
    ]
}

fn pool_cases() -> Vec<Case> {
    let kernel = || ("kernel_shape", A::Ints(&[2, 3]));
    vec![
        single("max_pool", 13, &[1, 2, 4, 6], vec![], "MaxPool", [kernel()]),
        single(
            "max_pool_all_attributes",
            13,
            &[1, 1, 6, 7],
            vec![],
            "MaxPool",
            [
                kernel(),
                ("strides", A::Ints(&[2, 2])),
                ("dilations", A::Ints(&[2, 1])),
                ("pads", A::Ints(&[1, 2, 0, 1])),
                ("ceil_mode", A::Int(1)),
            ],
        ),
        single(
            "max_pool_signal_ceil",
            13,
            &[1, 1, 6],
            vec![],
            "MaxPool",
            [("kernel_shape", A::Ints(&[1])), ("strides", A::Ints(&[4])), ("ceil_mode", A::Int(1))],
        ),
        single(
            "max_pool_same",
            13,
            &[1, 1, 5, 5],
            vec![],
            "MaxPool",
            [kernel(), ("auto_pad", A::Text("SAME_LOWER")), ("strides", A::Ints(&[2, 2]))],
        ),
        single("average_pool", 13, &[1, 2, 4, 6], vec![], "AveragePool", [kernel(), ("strides", A::Ints(&[2, 3]))]),
        single(
            "average_pool_padded",
            13,
            &[1, 1, 4, 5],
            vec![],
            "AveragePool",
            [kernel(), ("pads", A::Ints(&[1, 1, 0, 2]))],
        ),
        single(
            "average_pool_counting_pads",
            13,
            &[1, 1, 4, 5],
            vec![],
            "AveragePool",
            [kernel(), ("pads", A::Ints(&[1, 1, 0, 2])), ("count_include_pad", A::Int(1))],
        ),
        single(
            "average_pool_ceil",
            13,
            &[1, 1, 5, 6],
            vec![],
            "AveragePool",
            [kernel(), ("strides", A::Ints(&[2, 2])), ("ceil_mode", A::Int(1))],
        ),
        single(
            "average_pool_dilated",
            19,
            &[1, 1, 5, 6],
            vec![],
            "AveragePool",
            [kernel(), ("dilations", A::Ints(&[2, 2]))],
        ),
        single("global_average_pool", 13, &[1, 2, 3, 2], vec![], "GlobalAveragePool", []),
        single("global_max_pool", 13, &[1, 2, 3, 2], vec![], "GlobalMaxPool", []),
        single(
            "reduce_mean",
            13,
            &[1, 2, 3, 2],
            vec![],
            "ReduceMean",
            [("axes", A::Ints(&[1, -1])), ("keepdims", A::Int(0))],
        ),
        single("reduce_mean_input", 18, &[1, 2, 3], vec![ints("axes", &[1], &[2])], "ReduceMean", []),
        single("reduce_sum", 13, &[1, 2, 3], vec![ints("axes", &[1], &[1])], "ReduceSum", []),
        single("reduce_sum_all", 11, &[1, 2, 3], vec![], "ReduceSum", []),
    ]
}

/// A weight in row-major order after it, so that a wrong order shows.
fn weighted(name: &'static str, opset: i64, shape: &[i64], initializers: Vec<Tensor>, first: Node, n: i64) -> Case {
    let mut initializers = initializers;
    initializers.extend([weights("weight", &[n, 2]), ints("flat", &[2], &[1, -1])]);
    let nodes = vec![first, node("Reshape", &["z", "flat"], &["f"], []), node("MatMul", &["f", "weight"], &["y"], [])];
    case(name, opset, shape, initializers, nodes)
}

fn shape_cases() -> Vec<Case> {
    let i = ints;
    let w = weights;
    vec![
        weighted(
            "transpose",
            13,
            &[1, 2, 3, 2],
            vec![],
            node("Transpose", &["x"], &["z"], [("perm", A::Ints(&[0, 2, 3, 1]))]),
            12,
        ),
        weighted("transpose_default", 13, &[2, 3], vec![], node("Transpose", &["x"], &["z"], []), 6),
        weighted("flatten", 13, &[1, 2, 3], vec![], node("Flatten", &["x"], &["z"], [("axis", A::Int(-1))]), 6),
        weighted(
            "reshape",
            13,
            &[1, 2, 3],
            vec![i("s", &[3], &[0, -1, 2])],
            node("Reshape", &["x", "s"], &["z"], []),
            6,
        ),
        weighted("squeeze_9", 9, &[1, 2, 1, 3], vec![], node("Squeeze", &["x"], &["z"], [("axes", A::Ints(&[2]))]), 6),
        weighted("squeeze_13", 13, &[1, 2, 1, 3], vec![], node("Squeeze", &["x"], &["z"], []), 6),
        weighted("unsqueeze_9", 9, &[1, 6], vec![], node("Unsqueeze", &["x"], &["z"], [("axes", A::Ints(&[0, 3]))]), 6),
        weighted("unsqueeze_13", 13, &[1, 6], vec![i("a", &[1], &[-1])], node("Unsqueeze", &["x", "a"], &["z"], []), 6),
        weighted(
            "slice_9",
            9,
            &[1, 3, 4],
            vec![],
            node(
                "Slice",
                &["x"],
                &["z"],
                [("starts", A::Ints(&[1, -3])), ("ends", A::Ints(&[9, -1])), ("axes", A::Ints(&[1, 2]))],
            ),
            4,
        ),
        weighted(
            "slice_13",
            13,
            &[1, 3, 5],
            vec![
                i("s", &[2], &[-1, 0]),
                i("e", &[2], &[i64::MIN, i64::MAX]),
                i("a", &[2], &[1, 2]),
                i("d", &[2], &[-2, 2]),
            ],
            node("Slice", &["x", "s", "e", "a", "d"], &["z"], []),
            6,
        ),
        weighted(
            "gather",
            13,
            &[1, 3, 2],
            vec![i("k", &[2], &[2, -3])],
            node("Gather", &["x", "k"], &["z"], [("axis", A::Int(1))]),
            4,
        ),
        weighted(
            "gather_scalar",
            13,
            &[1, 3, 2],
            vec![i("k", &[], &[1])],
            node("Gather", &["x", "k"], &["z"], [("axis", A::Int(2))]),
            3,
        ),
        weighted(
            "pad_attribute",
            9,
            &[1, 1, 2, 2],
            vec![],
            node("Pad", &["x"], &["z"], [("pads", A::Ints(&[0, 0, 1, 0, 0, 0, 0, 2])), ("value", A::Float(0.5))]),
            12,
        ),
        weighted(
            "pad_crops",
            13,
            &[1, 1, 3, 3],
            vec![i("p", &[8], &[0, 0, -1, 1, 0, 0, 0, -1]), floats("v", &[], &[-2.0])],
            node("Pad", &["x", "p", "v"], &["z"], [("mode", A::Text("constant"))]),
            6,
        ),
        weighted("expand", 13, &[1, 2, 1], vec![i("s", &[2], &[2, 3])], node("Expand", &["x", "s"], &["z"], []), 6),
        case(
            "concat_of_branches_and_a_constant",
            13,
            &[1, 2, 2],
            vec![w("c", &[1, 1, 2]), w("weight", &[2, 2])],
            vec![
                node("Relu", &["x"], &["r"], []),
                node("Concat", &["r", "c", "x"], &["z"], [("axis", A::Int(1))]),
                node("MatMul", &["z", "weight"], &["y"], []),
            ],
        ),
        case(
            "concat_along_the_last_axis",
            13,
            &[1, 2, 2],
            vec![],
            vec![node("Neg", &["x"], &["n"], []), node("Concat", &["x", "n", "x"], &["y"], [("axis", A::Int(-1))])],
        ),
        case(
            "split_attribute",
            11,
            &[1, 5],
            vec![w("weight", &[2, 3])],
            vec![
                node("Split", &["x"], &["a", "b"], [("axis", A::Int(1)), ("split", A::Ints(&[2, 3]))]),
                node("MatMul", &["a", "weight"], &["c"], []),
                node("Sub", &["b", "c"], &["y"], []),
            ],
        ),
        case(
            "split_equal",
            13,
            &[1, 6],
            vec![],
            vec![node("Split", &["x"], &["a", "b"], [("axis", A::Int(-1))]), node("Sub", &["a", "b"], &["y"], [])],
        ),
        case(
            "split_uneven",
            18,
            &[1, 5],
            vec![w("weight", &[3, 2])],
            vec![
                node("Split", &["x"], &["a", "b"], [("axis", A::Int(1)), ("num_outputs", A::Int(2))]),
                node("MatMul", &["a", "weight"], &["c"], []),
                node("Sub", &["b", "c"], &["y"], []),
            ],
        ),
        case(
            "reshape_by_a_computed_shape",
            13,
            &[1, 2, 3],
            vec![i("zero", &[1], &[0]), i("axes", &[1], &[0]), i("rest", &[1], &[-1]), w("weight", &[6, 2])],
            vec![
                node("Shape", &["x"], &["shape"], []),
                node("Gather", &["shape", "zero"], &["batch"], []),
                node("Squeeze", &["batch", "axes"], &["scalar"], []),
                node("Unsqueeze", &["scalar", "axes"], &["batch_again"], []),
                node("Concat", &["batch_again", "rest"], &["target"], [("axis", A::Int(0))]),
                node("Reshape", &["x", "target"], &["flat"], []),
                node("MatMul", &["flat", "weight"], &["y"], []),
            ],
        ),
        case(
            "constants_by_operator",
            13,
            &[1, 3],
            vec![i("s", &[1], &[3])],
            vec![
                node("Constant", &[], &["c"], [("value", A::Tensor(w("", &[3]).into()))]),
                node("ConstantOfShape", &["s"], &["d"], [("value", A::Tensor(floats("", &[1], &[0.5]).into()))]),
                node("Constant", &[], &["e"], [("value_int", A::Int(3))]),
                node("Cast", &["e"], &["f"], [("to", A::Int(1))]),
                node("Add", &["x", "c"], &["xc"], []),
                node("Mul", &["xc", "d"], &["xcd"], []),
                node("Mul", &["xcd", "f"], &["y"], []),
            ],
        ),
        case(
            "identity_dropout_cast",
            13,
            &[1, 3],
            vec![floats("ratio", &[], &[0.5])],
            vec![
                node("Identity", &["x"], &["a"], []),
                node("Dropout", &["a", "ratio"], &["b", "mask"], [("seed", A::Int(3))]),
                node("Cast", &["b"], &["y"], [("to", A::Int(1))]),
            ],
        ),
    ]
}

/// All cases, by file.
fn cases() -> Vec<Case> {
    let groups = [linear_cases(), arithmetic_cases(), activation_cases(), pool_cases(), shape_cases()];
    let mut cases: Vec<Case> = groups.into_iter().flatten().collect();
    cases.sort_by_key(Case::file);
    cases
}

/// The bytes of every model.
pub(super) fn models() -> Vec<Vec<u8>> {
    cases().iter().map(|case| encode(&case.model)).collect()
}

#[test]
fn operators_agree_with_onnxruntime() {
    let cases = cases();
    let recorded = recorded(include_str!("recorded_operators.txt"));
    for (case, (file, _)) in cases.iter().zip(&recorded) {
        assert_eq!(case.file(), *file, "record the outputs anew");
    }
    assert_eq!(cases.len(), recorded.len(), "record the outputs anew");
    for (case, (name, expected)) in cases.iter().zip(&recorded) {
        let network = from_bytes(&encode(&case.model)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let x = probe(network.n_inputs());
        for network in [network.clone(), network.simplify().unwrap()] {
            let y: Vec<f64> = network.evaluate(&x).unwrap();
            assert_eq!(y.len(), expected.len(), "{name}");
            // Recorded in f32; most cases are exact in it.
            let is_close = y.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1.0));
            assert!(is_close, "{name}: {y:?} instead of {expected:?}");
        }
    }
}

/// Writes the models for `record.py`, which prints what `recorded_operators.txt` holds.
#[test]
#[ignore = "regenerates goldens: DIADEM_DUMP=<folder> cargo test -p diadem-network dump_models -- --ignored"]
fn dump_models() {
    let folder = std::path::PathBuf::from(std::env::var_os("DIADEM_DUMP").unwrap());
    for case in cases() {
        std::fs::write(folder.join(case.file()), encode(&case.model)).unwrap();
    }
}
