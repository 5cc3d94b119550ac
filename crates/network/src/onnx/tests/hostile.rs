use super::{A, encode, floats, ints, model, node, weights};
use crate::onnx::proto::{Model, OperatorSet, StringEntry};
use crate::onnx::{decode, from_bytes, lower, read};
use crate::{Error, ErrorKind, Network};

fn error(model: &Model) -> Error {
    from_bytes(&encode(model)).expect_err("the model is not valid")
}

fn assert_message(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "'{message}' does not say {parts:?}");
}

fn small() -> Model {
    let nodes = vec![node("MatMul", &["x", "w"], &["z"], []), node("Relu", &["z"], &["y"], [])];
    model(13, &[1, 3], vec![weights("w", &[3, 2])], nodes)
}

#[test]
fn files_that_are_no_models_are_told_apart() {
    assert_message(&from_bytes(&[]).unwrap_err(), &["empty"]);
    assert_message(&from_bytes(b"<html>not found</html>").unwrap_err(), &["not an ONNX model"]);
    assert_message(&from_bytes(&[0x08, 0x07]).unwrap_err(), &["no graph"]);
    let bytes = encode(&small());
    assert_message(&from_bytes(&bytes[..bytes.len() - 12]).unwrap_err(), &["truncated"]);
    let missing = read(std::path::Path::new("no/such/file.onnx")).unwrap_err();
    assert_message(&missing, &["file.onnx", "cannot be read"]);
    assert!(matches!(missing.kind, ErrorKind::Io(_)));
}

#[test]
fn an_unknown_operator_is_named() {
    let unknown = error(&model(13, &[1, 3], vec![], vec![node("Softmax", &["x"], &["y"], [])]));
    assert_message(&unknown, &["Softmax to y", "operator Softmax is not supported"]);
    assert!(matches!(unknown.kind, ErrorKind::Unsupported { .. }));
    let mut foreign = small();
    foreign.graph.as_mut().unwrap().node[1].domain = "com.example".into();
    assert_message(&error(&foreign), &["Relu", "com.example"]);
}

#[test]
fn an_unknown_attribute_is_not_ignored() {
    let nodes = vec![node("Relu", &["x"], &["y"], [("leak", A::Float(0.5))])];
    assert_message(&error(&model(13, &[1, 3], vec![], nodes)), &["Relu", "attribute 'leak'"]);
}

#[test]
fn an_operand_that_nothing_computes_is_named() {
    let nodes = vec![node("MatMul", &["x", "w"], &["y"], [])];
    assert_message(&error(&model(13, &[1, 3], vec![], nodes)), &["MatMul to y", "'w'", "neither an initializer"]);
}

#[test]
fn shapes_that_do_not_fit_are_reported() {
    let nodes = || vec![node("MatMul", &["x", "w"], &["y"], [])];
    let wrong = error(&model(13, &[1, 3], vec![weights("w", &[4, 2])], nodes()));
    assert!(matches!(wrong.kind, ErrorKind::Shape { .. }));
    assert_message(&wrong, &["MatMul to y", "[1, 3]", "[4, 2]"]);
    let mut short = weights("w", &[3, 2]);
    short.float_data.pop();
    assert_message(&error(&model(13, &[1, 3], vec![short], nodes())), &["'w'", "does not fit its 5 values"]);
}

#[test]
fn a_dynamic_dimension_that_is_no_batch_is_refused() {
    assert_message(&error(&model(13, &[1, -1, 3], vec![], vec![node("Relu", &["x"], &["y"], [])])), &["axis 1"]);
}

#[test]
fn constants_that_are_not_finite_are_named() {
    for value in [f32::NAN, f32::INFINITY] {
        let nodes = vec![node("MatMul", &["x", "w"], &["y"], [])];
        let wrong = error(&model(13, &[1, 1], vec![floats("w", &[1, 1], &[value])], nodes));
        assert!(matches!(wrong.kind, ErrorKind::NotFinite { .. }));
        assert_message(&wrong, &["MatMul to y", "'w'"]);
    }
    let division = vec![node("Div", &["x", "c"], &["y"], [])];
    let by_zero = error(&model(13, &[1, 1], vec![floats("c", &[1], &[0.0])], division));
    assert!(matches!(by_zero.kind, ErrorKind::NotFinite { .. }));
}

#[test]
fn external_weights_are_refused() {
    let mut model = small();
    model.graph.as_mut().unwrap().initializer[0].external_data =
        vec![StringEntry { key: "location".into(), value: "/etc/passwd".into() }];
    assert_message(&error(&model), &["'w'", "another file"]);
}

#[test]
fn inputs_and_outputs_are_counted() {
    let mut two_inputs = small();
    two_inputs.graph.as_mut().unwrap().input.push(super::value_info("x2", &[1]));
    assert_message(&error(&two_inputs), &["2 inputs", "x2"]);
    let mut two_outputs = small();
    two_outputs.graph.as_mut().unwrap().output.push(super::value_info("z", &[1]));
    assert_message(&error(&two_outputs), &["2 outputs"]);
    let mut no_output = small();
    no_output.graph.as_mut().unwrap().output[0].name = "nowhere".into();
    assert_message(&error(&no_output), &["'nowhere'"]);
}

#[test]
fn names_are_defined_once() {
    let mut twice = small();
    twice.graph.as_mut().unwrap().node[1].output[0] = "z".into();
    assert_message(&error(&twice), &["two values", "'z'"]);
    let mut shadowed = small();
    shadowed.graph.as_mut().unwrap().node[0].output[0] = "w".into();
    assert!(from_bytes(&encode(&shadowed)).is_err());
}

#[test]
fn unknown_operator_sets_are_refused() {
    for version in [5, 22] {
        let mut model = small();
        model.opset_import[0].version = version;
        assert_message(&error(&model), &["operator set", "not supported"]);
    }
    let mut contradictory = small();
    contradictory.opset_import.push(OperatorSet { domain: "ai.onnx".into(), version: 12 });
    assert!(from_bytes(&encode(&contradictory)).is_err());
}

#[test]
fn declared_sizes_do_not_allocate() {
    let huge = i64::MAX / 2;
    assert!(from_bytes(&encode(&model(13, &[1, huge], vec![], vec![node("Neg", &["x"], &["y"], [])]))).is_err());
    let shape = vec![ints("s", &[3], &[1 << 40, 1 << 40, 3])];
    let nodes = vec![node("ConstantOfShape", &["s"], &["c"], []), node("Add", &["x", "c"], &["y"], [])];
    assert_message(&error(&model(13, &[1, 3], shape, nodes)), &["coefficients"]);
    let shape = vec![ints("s", &[2], &[1 << 40, 3])];
    assert!(from_bytes(&encode(&model(13, &[1, 3], shape, vec![node("Expand", &["x", "s"], &["y"], [])]))).is_err());
    let pads = vec![ints("p", &[4], &[0, 0, 0, 1 << 50])];
    assert!(from_bytes(&encode(&model(13, &[1, 3], pads, vec![node("Pad", &["x", "p"], &["y"], [])]))).is_err());
    let attributes = [("kernel_shape", A::Ints(&[1 << 20, 1 << 20])), ("pads", A::Ints(&[1 << 20; 4]))];
    assert!(
        from_bytes(&encode(&model(13, &[1, 1, 2, 2], vec![], vec![node("MaxPool", &["x"], &["y"], attributes)])))
            .is_err()
    );
    let attributes = [("strides", A::Ints(&[1 << 28, 1 << 28]))];
    let weight = vec![weights("w", &[1, 1, 1, 1])];
    let nodes = vec![node("ConvTranspose", &["x", "w"], &["y"], attributes)];
    assert!(from_bytes(&encode(&model(13, &[1, 1, 2, 2], weight, nodes))).is_err());
}

/// A generator of bits for mutations (`SplitMix64`).
struct Bits(u64);

impl Bits {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// What must not panic: import within a small budget, and use of what was imported.
fn import_and_use(bytes: &[u8]) -> Result<Network, Error> {
    let network = lower::network(&decode(bytes)?, None, 1 << 16)?;
    let simple = network.simplify()?;
    let x = vec![0.5; network.n_inputs()];
    assert_eq!(network.evaluate(&x)?.len(), simple.evaluate(&x)?.len());
    Ok(network)
}

#[test]
fn damaged_models_do_not_panic() {
    let n_cases = std::env::var("DIADEM_FUZZ_CASES").map_or(6000, |n| n.parse().unwrap());
    let mut seeds = super::operators::models();
    seeds.extend(super::data::small_models());
    let mut bits = Bits(1);
    let mut n_imported = 0;
    for case in 0..n_cases {
        let mut bytes = seeds[case % seeds.len()].clone();
        for _ in 0..=bits.below(3) {
            let place = bits.below(bytes.len());
            match bits.below(6) {
                0 => bytes[place] = bits.next() as u8,
                1 => bytes[place] ^= 1 << bits.below(8),
                2 => bytes[place] = [0, 1, 2, 0x7f, 0x80, 0xff][bits.below(6)],
                3 => bytes.truncate(place + 1),
                4 => {
                    bytes.remove(place);
                }
                _ => {
                    // A short piece from elsewhere: often a whole field.
                    let from = bits.below(bytes.len());
                    let piece = bytes[from..(from + 1 + bits.below(24)).min(bytes.len())].to_vec();
                    bytes.splice(place..place, piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        n_imported += usize::from(import_and_use(&bytes).is_ok());
    }
    // Else the mutations are too rough to reach the lowering.
    assert!(n_imported > n_cases / 50, "{n_imported} of {n_cases}");
}

#[test]
fn damaged_attributes_and_shapes_do_not_panic() {
    let n_cases = std::env::var("DIADEM_FUZZ_CASES").map_or(6000, |n| n.parse().unwrap());
    let numbers = [0, 1, 2, 3, -1, -2, 5, 7, 16, 1 << 20, 1 << 31, 1 << 40, i64::MAX, i64::MIN, i64::MIN + 1];
    let seeds: Vec<Model> = super::operators::models().iter().map(|bytes| decode(bytes).unwrap()).collect();
    let mut bits = Bits(2);
    for case in 0..n_cases {
        let mut model = seeds[case % seeds.len()].clone();
        for _ in 0..=bits.below(2) {
            let graph = model.graph.as_mut().unwrap();
            let n_nodes = graph.node.len();
            match bits.below(6) {
                0 => {
                    let mut lists: Vec<&mut Vec<i64>> =
                        graph.initializer.iter_mut().flat_map(|t| [&mut t.dims, &mut t.int64_data]).collect();
                    lists.extend(graph.node.iter_mut().flat_map(|n| &mut n.attribute).map(|a| &mut a.ints));
                    lists.retain(|list| !list.is_empty());
                    if !lists.is_empty() {
                        let list = bits.below(lists.len());
                        let place = bits.below(lists[list].len());
                        lists[list][place] = numbers[bits.below(numbers.len())];
                    }
                }
                1 => {
                    let mut attributes: Vec<_> = graph.node.iter_mut().flat_map(|n| &mut n.attribute).collect();
                    if !attributes.is_empty() {
                        let attribute = bits.below(attributes.len());
                        attributes[attribute].i = Some(numbers[bits.below(numbers.len())]);
                    }
                }
                2 => {
                    let shape = graph.input[0].r#type.as_mut().unwrap().tensor_type.as_mut().unwrap();
                    let dims = &mut shape.shape.as_mut().unwrap().dim;
                    if !dims.is_empty() {
                        let place = bits.below(dims.len());
                        dims[place].dim_value = Some(numbers[bits.below(numbers.len())]);
                    }
                }
                3 => {
                    let inputs = &mut graph.node[bits.below(n_nodes)].input;
                    if !inputs.is_empty() {
                        let (a, b) = (bits.below(inputs.len()), bits.below(inputs.len()));
                        inputs.swap(a, b);
                    }
                }
                4 => {
                    let inputs = &mut graph.node[bits.below(n_nodes)].input;
                    if bits.below(2) == 0 { drop(inputs.pop()) } else { inputs.push("x".into()) }
                }
                _ => model.opset_import[0].version = 6 + bits.below(16) as i64,
            }
        }
        drop(import_and_use(&encode(&model)));
    }
}
