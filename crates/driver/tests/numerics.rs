//! Numbers chosen to break a verifier that trusts its floats: huge biases that cancel, weights from subnormal to 1e30 and beyond,
//! boxes of no width, ties. The truth is known exactly, by construction.
//!
//! Source of the first: Jia and Rinard, *Exploiting Verified Neural Networks via Floating Point Numerical Error* (SAS 2021).

#[cfg(feature = "gpu")]
#[path = "../../bounds/tests/it/adapter.rs"]
mod adapter;

use std::sync::Arc;

use bounds::Device;
use driver::{Limits, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
use network::{Activation, Affine, BoxRegion, Dense, Disjunct, HalfSpace, LinearMap, Network, NodeId, Op, Property};

/// A dense layer, and whether a `ReLU` follows.
struct Layer {
    weight: Vec<f64>,
    bias: Vec<f64>,
    is_activated: bool,
}

fn layer(weight: &[f64], bias: &[f64], is_activated: bool) -> Layer {
    Layer { weight: weight.to_vec(), bias: bias.to_vec(), is_activated }
}

fn network(n_inputs: usize, layers: &[Layer]) -> Network {
    let mut builder = Network::builder(&[n_inputs]).unwrap();
    let mut last = NodeId(0);
    for (k, Layer { weight, bias, is_activated }) in layers.iter().enumerate() {
        let (n_in, n_out) = (builder.node(last).len(), bias.len());
        let map = LinearMap::Dense(Dense { n_out, n_in, weight: weight.clone() });
        let affine = Op::Affine(Arc::new(Affine::exact(map, bias.clone())));
        last = builder.push(format!("z{k}"), affine, &[last], &[n_out]).unwrap();
        if *is_activated {
            last = builder.push(format!("h{k}"), Op::Activation(Activation::Relu), &[last], &[n_out]).unwrap();
        }
    }
    builder.build(last).unwrap()
}

/// `y_0 ≤ threshold` (sign 1) or `y_0 ≥ threshold` (sign −1) over a box.
fn property(network: &Network, ends: &[[f64; 2]], sign: f64, threshold: f64) -> Property {
    let region = BoxRegion::new(ends.iter().map(|e| e[0]).collect(), ends.iter().map(|e| e[1]).collect()).unwrap();
    let row = HalfSpace { input: vec![], output: vec![(0, [sign; 2])], constant: [-sign * threshold; 2] };
    let (n_inputs, n_outputs) = (network.n_inputs(), network.n_outputs());
    Property { n_inputs, n_outputs, disjuncts: vec![Disjunct { region, half_spaces: vec![row] }] }
}

fn devices() -> Vec<Device> {
    let mut devices = vec![Device::Host];
    #[cfg(feature = "gpu")]
    devices.extend(adapter::device());
    devices
}

/// All devices for one exponent of a test, the host alone for others: a software adapter compiles for seconds.
fn some(devices: &[Device], exponent: i32) -> &[Device] {
    let n = if matches!(exponent, 24 | 60) { devices.len() } else { 1 };
    &devices[..n]
}

/// No device and no search verifies what is violated, or proves a violation of what is not. How many were verified.
fn judge(devices: &[Device], network: &Network, property: &Property, is_violated: bool, what: &str) -> usize {
    let mut n_verified = 0;
    for (d, device) in devices.iter().enumerate() {
        for split in [SplitChoice::Auto, SplitChoice::Inputs, SplitChoice::Relus] {
            // A device compiles its kernels for every shape anew.
            if d > 0 && split != SplitChoice::Inputs {
                continue;
            }
            let limits = Limits { subdomains: Some(200), ..Limits::default() };
            let options = VerifyOptions { limits, split, ..VerifyOptions::default() };
            // A question that no arithmetic of ours can carry is an error, and that is an answer too.
            let Ok(outcome) = (Verify { network, property, device }).run(&options, &mut Silent) else { continue };
            match outcome.verdict {
                Verdict::Verified => {
                    assert!(!is_violated, "{what}, {split:?}: verified, but it is violated");
                    n_verified += 1;
                }
                Verdict::Falsified(found) => {
                    assert!(
                        is_violated || !found.is_proved,
                        "{what}, {split:?}: a proved violation where none is: {found:?}"
                    );
                }
                Verdict::Unknown(_) => {}
            }
        }
    }
    n_verified
}

#[test]
fn biases_that_cancel_are_never_verified_wrongly() {
    let all = devices();
    let mut n_verified = 0;
    for exponent in [0, 20, 23, 24, 25, 30, 52, 53, 54, 60, 100, 120, 130, 500, 1000] {
        let devices = some(&all, exponent);
        let huge = 2.0_f64.powi(exponent);
        // y = relu(x + B) − B is x, for x in [0, 1]; floats say 0 once B is large.
        let cancels = network(1, &[layer(&[1.0], &[huge], true), layer(&[1.0], &[-huge], false)]);
        // The same by three neurons whose sum cancels, as in the attack: y = relu(x + B) − relu(x + B) + relu(x).
        let weights = [layer(&[1.0, 1.0, 1.0], &[huge, huge, 0.0], true), layer(&[1.0, -1.0, 1.0], &[0.0], false)];
        let three = network(1, &weights);
        for (name, network) in [("two", &cancels), ("three", &three)] {
            for (ends, sign, threshold, is_violated) in [
                ([0.0, 1.0], -1.0, 0.5, true),
                ([0.0, 1.0], -1.0, 1.0, true),
                ([0.0, 1.0], -1.0, 1.25, false),
                ([0.0, 1.0], 1.0, 0.0, true),
                ([0.5, 1.0], 1.0, 0.25, false),
                ([0.5, 1.0], 1.0, 0.5, true),
                ([0.75, 0.75], -1.0, 0.75, true),
                ([0.75, 0.75], -1.0, 0.8125, false),
            ] {
                let property = property(network, &[ends], sign, threshold);
                let what = format!("{name} neurons, 2^{exponent}, {sign} · y over {ends:?} against {threshold}");
                n_verified += judge(devices, network, &property, is_violated, &what);
            }
        }
    }
    assert!(n_verified > 50, "only {n_verified} were verified at all");
}

#[test]
fn weights_of_any_scale_are_never_verified_wrongly() {
    let all = devices();
    let mut n_verified = 0;
    for exponent in [1, 30, 60, 99, 100, 120, 126, 127, 140, 149, 300, 500, 1022] {
        let devices = some(&all, exponent);
        for scale in [2.0_f64.powi(exponent), 2.0_f64.powi(-exponent)] {
            // y = (1/s) relu(s x) is relu(x), exactly; for huge and tiny s, in no float of 32 bits.
            let there_and_back = network(1, &[layer(&[scale], &[0.0], true), layer(&[1.0 / scale], &[0.0], false)]);
            // y = relu(x + tiny) + …: a subnormal part beside an ordinary one, which no rounding may lose.
            let beside = network(
                2,
                &[layer(&[1.0, 0.0, 0.0, scale.min(1.0)], &[0.0; 2], true), layer(&[1.0, 1.0], &[0.0], false)],
            );
            for (name, network, ends, sign, threshold, is_violated) in [
                ("there and back", &there_and_back, vec![[-1.0, 1.0]], -1.0, 1.0, true),
                ("there and back", &there_and_back, vec![[-1.0, 1.0]], -1.0, 1.125, false),
                ("there and back", &there_and_back, vec![[-1.0, 1.0]], 1.0, 0.0, true),
                ("there and back", &there_and_back, vec![[-1.0, 1.0]], 1.0, -0.125, false),
                ("there and back", &there_and_back, vec![[0.5, 1.0]], 1.0, 0.25, false),
                ("beside", &beside, vec![[-1.0, 1.0], [0.0, 1.0]], -1.0, 1.0, true),
                ("beside", &beside, vec![[-1.0, 1.0], [0.0, 1.0]], -1.0, 2.125, false),
            ] {
                let property = property(network, &ends, sign, threshold);
                let what = format!("{name}, {scale:e}, {sign} · y over {ends:?} against {threshold}");
                n_verified += judge(devices, network, &property, is_violated, &what);
            }
        }
    }
    assert!(n_verified > 50, "only {n_verified} were verified at all");
}

#[test]
fn boxes_without_width_and_ties_are_never_verified_wrongly() {
    let devices = devices();
    let tiny = f64::from(f32::from_bits(1));
    // y_0 = relu(x_0 − x_1) − relu(x_0 − x_1) is 0 everywhere, by two neurons that are equal.
    let equal = network(2, &[layer(&[1.0, -1.0, 1.0, -1.0], &[0.0; 2], true), layer(&[1.0, -1.0], &[0.0], false)]);
    let absolute = network(1, &[layer(&[1.0, -1.0], &[0.0; 2], true), layer(&[1.0, 1.0], &[0.0], false)]);
    let mut n_verified = 0;
    for (network, ends, sign, threshold, is_violated) in [
        (&equal, vec![[-1.0, 1.0]; 2], 1.0, 0.0, true),
        (&equal, vec![[-1.0, 1.0]; 2], -1.0, 0.0, true),
        (&equal, vec![[0.25, 0.25]; 2], 1.0, 0.0, true),
        (&equal, vec![[0.25, 0.25], [0.5, 0.5]], -1.0, 0.0, true),
        (&equal, vec![[-tiny, tiny]; 2], -1.0, 0.0, true),
        (&equal, vec![[-1.0, 1.0]; 2], -1.0, 1e-3, false),
        (&absolute, vec![[-1.0, 1.0]], 1.0, 0.0, true),
        (&absolute, vec![[0.0, 0.0]], 1.0, 0.0, true),
        (&absolute, vec![[-0.0, 0.0]], -1.0, 0.0, true),
        (&absolute, vec![[tiny, tiny]], -1.0, tiny, true),
        (&absolute, vec![[-tiny, 0.0]], -1.0, tiny, true),
        (&absolute, vec![[0.5, 0.5]], -1.0, 0.5, true),
        (&absolute, vec![[0.5, 0.5]], 1.0, 0.25, false),
        (&absolute, vec![[0.5, 1e30]], 1.0, 0.25, false),
        (&absolute, vec![[-1e30, 1e30]], -1.0, 1e30, true),
        (&absolute, vec![[-1e30, 1e30]], 1.0, -1.0, false),
    ] {
        let property = property(network, &ends, sign, threshold);
        let what = format!("{sign} · y over {ends:?} against {threshold}");
        n_verified += judge(&devices, network, &property, is_violated, &what);
    }
    assert!(n_verified >= 5, "only {n_verified} were verified at all");
}
