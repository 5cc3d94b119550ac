use model::Classifier;
use network::{Network, onnx};

use crate::support::{assert_close, layers, recipe, root, shapes, train};

/// Every kind of layer, trained a little so that batch statistics are no longer those at the start.
fn trained() -> (Classifier, model::Dataset) {
    let data = shapes(64, 1);
    let architecture = layers(
        r#"["batch_norm", {"conv": {"channels": 4, "kernel": 3, "padding": 1}}, "batch_norm", "relu",
            {"max_pool": {"size": 3, "stride": 2, "padding": 1}},
            {"residual": {"body": [{"conv": {"channels": 6, "kernel": 3, "stride": 2, "padding": 1}}, "relu",
                                   {"conv": {"channels": 6, "kernel": 3, "padding": 1}}, "batch_norm"],
                          "shortcut": [{"conv": {"channels": 6, "kernel": 1, "stride": 2}}]}},
            {"residual": {"body": ["relu", "batch_norm"]}},
            {"average_pool": {"size": 2, "stride": 1}}, "flatten", {"dropout": 0.2}, {"dense": 9}, "batch_norm", "relu", {"dense": 4}]"#,
    );
    let mut classifier = Classifier::new(&architecture, data.shape(), 5).unwrap();
    let recipe = recipe(r#"{"epochs": 3, "batch_size": 16, "optimizer": {"adam": {"lr": 0.01}}}"#);
    train(&mut classifier, &recipe, &data, None);
    (classifier, data)
}

fn evaluate(network: &Network, x: &[f32]) -> Vec<f32> {
    network.evaluate::<f32>(x).unwrap()
}

#[test]
fn a_network_computes_what_its_classifier_does_and_back() {
    let (classifier, data) = trained();
    let network = classifier.to_network().unwrap();
    let written = onnx::from_bytes(&onnx::to_bytes(&network).unwrap()).unwrap();
    let again = Classifier::from_network(&network).unwrap();
    for i in 0..20 {
        let x = data.sample(i);
        let scores = &classifier.scores(&[x]).unwrap()[0];
        assert_close(scores, &evaluate(&network, x));
        assert_close(scores, &evaluate(&written, x));
        assert_close(scores, &again.scores(&[x]).unwrap()[0]);
        assert_close(scores, &evaluate(&again.to_network().unwrap(), x));
    }
}

#[test]
fn networks_of_the_examples_can_be_trained_further() {
    let images = std::fs::read_to_string(root().join("examples/networks/digits_images.json")).unwrap();
    let images: serde_json::Value = serde_json::from_str(&images).unwrap();
    for name in ["digits_conv", "digits_dense"] {
        let network = onnx::read(&root().join(format!("examples/networks/{name}.onnx"))).unwrap();
        let classifier = Classifier::from_network(&network).unwrap();
        for i in 0..5 {
            let pixels = images["images"][i].as_array().unwrap();
            let x: Vec<f32> = pixels.iter().map(|pixel| pixel.as_f64().unwrap() as f32).collect();
            assert_close(&classifier.scores(&[&x]).unwrap()[0], &evaluate(&network, &x));
        }
    }
}

#[test]
fn layers_that_do_not_fit_are_named() {
    for (json, expected) in [
        (r#"[{"dense": 4}, {"conv": {"channels": 2, "kernel": 3}}, {"dense": 4}]"#, "sequential.1"),
        (r#"[{"conv": {"channels": 2, "kernel": 30}}, {"dense": 4}]"#, "sequential.0"),
        (r#"[{"conv": {"channels": 2, "kernel": 3, "stride": 0}}, {"dense": 4}]"#, "sequential.0"),
        (r#"[{"max_pool": {"size": 2, "padding": 2}}, {"dense": 4}]"#, "sequential.0"),
        (r#"[{"residual": {"body": [{"dense": 3}]}}, {"dense": 4}]"#, "they are added"),
        (r#"[{"dense": 4}, "relu"]"#, "the last layer must be dense"),
        (r#"[{"dense": 0}]"#, "at least one output"),
        ("[]", "the last layer must be dense"),
    ] {
        let error = Classifier::new(&layers(json), [1, 10, 10], 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
}
