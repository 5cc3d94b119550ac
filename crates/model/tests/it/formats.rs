use model::{Architecture, Classifier, PeerName, StateDict};
use network::onnx;

use crate::support::{assert_close, layers, reference};

const LAYERS: &str = r#"[{"conv": {"channels": 3, "kernel": 2}}, "batch_norm", "relu", {"dense": 4}]"#;

#[test]
fn weights_survive_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let classifier = Classifier::new(&layers(LAYERS), [2, 4, 4], 1).unwrap();
    let x: Vec<f32> = (0..32).map(|i| i as f32 / 32.0).collect();
    for name in ["weights.safetensors", "weights.pt", "weights.pth", "weights.bpk"] {
        let path = folder.path().join(name);
        let mut other = Classifier::new(&layers(LAYERS), [2, 4, 4], 2).unwrap();
        assert_ne!(classifier.scores(&[&x]).unwrap(), other.scores(&[&x]).unwrap());
        if name.ends_with("bpk") {
            classifier.write_record(&path).unwrap();
            other.load_record(&path).unwrap();
        } else {
            classifier.state().write(&path).unwrap();
            other.load_state(&StateDict::read(&path).unwrap()).unwrap();
        }
        assert_eq!(classifier.state(), other.state(), "{name}");
        assert_eq!(classifier.scores(&[&x]).unwrap(), other.scores(&[&x]).unwrap(), "{name}");
    }
}

#[test]
fn names_are_those_of_pytorch() {
    let classifier = Classifier::new(&layers(LAYERS), [2, 4, 4], 1).unwrap();
    let state = classifier.state();
    let names: Vec<(&str, &[usize])> =
        state.tensors().iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    let expected: [(&str, &[usize]); 8] = [
        ("sequential.0.weight", &[3, 2, 2, 2]),
        ("sequential.0.bias", &[3]),
        ("sequential.1.weight", &[3]),
        ("sequential.1.bias", &[3]),
        ("sequential.1.running_mean", &[3]),
        ("sequential.1.running_var", &[3]),
        ("sequential.3.weight", &[4, 27]),
        ("sequential.3.bias", &[4]),
    ];
    assert_eq!(names, expected);
}

#[test]
fn weights_that_do_not_fit_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let classifier = Classifier::new(&layers(LAYERS), [2, 4, 4], 1).unwrap();
    let mut other = Classifier::new(&Architecture::dense(&[5], 4), [2, 4, 4], 2).unwrap();
    let before = other.state();
    assert!(other.load_state(&classifier.state()).unwrap_err().to_string().contains("sequential.0.weight"));
    classifier.write_record(&folder.path().join("weights.bpk")).unwrap();
    assert!(other.load_record(&folder.path().join("weights.bpk")).is_err());
    assert_eq!(other.state(), before);
    for (name, bytes) in
        [("a.pt", &b"PK\x03\x04"[..]), ("a.safetensors", b"\xff\xff\xff\xff\xff\xff\xff\xff"), ("a.txt", b"")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = StateDict::read(&path).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(StateDict::read(&folder.path().join("none.pt")).is_err());
}

#[test]
fn state_dictionaries_of_pytorch_are_read_and_named_as_there() {
    let Some(folder) = reference() else { return };
    for (name, input, hidden, n_classes) in
        [("m4_666", [1, 4, 4], vec![6, 6, 6], 5), ("m28_50x2", [1, 28, 28], vec![50, 50], 10)]
    {
        let folder = folder.join("ssim").join(name);
        let mut classifier = Classifier::new(&Architecture::dense(&hidden, n_classes), input, 0).unwrap();
        classifier.load_state(&StateDict::read(&folder.join("model.pt")).unwrap()).unwrap();
        let network = onnx::read(&folder.join("model.onnx")).unwrap();
        for seed in 0..5 {
            let x: Vec<f32> = (0..classifier.n_inputs()).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 100.0).collect();
            assert_close(&classifier.scores(&[&x]).unwrap()[0], &network.evaluate::<f32>(&x).unwrap());
        }
        let peer = PeerName { input, hidden, n_classes };
        assert!(peer.to_string().starts_with("model_i1x"));
    }
}
