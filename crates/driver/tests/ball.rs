//! Balls around images, on a network whose radius is known.

use std::sync::Arc;

use bounds::Device;
use driver::ball::Ball;
use driver::patch::PixelScale;
use driver::{Silent, Verdict, Verify, VerifyOptions};
use network::{Activation, Affine, Dense, Image, LinearMap, Network, NodeId, Op};

/// Two outputs of two inputs: `max(x_0 − x_1, 0)` and `max(x_1 − x_0, 0)`.
fn network() -> Network {
    let mut builder = Network::builder(&[2]).unwrap();
    let map = LinearMap::Dense(Dense { n_out: 2, n_in: 2, weight: vec![1.0, -1.0, -1.0, 1.0] });
    let affine = Op::Affine(Arc::new(Affine::exact(map, vec![0.0, 0.0])));
    let affine = builder.push("affine", affine, &[NodeId(0)], &[2]).unwrap();
    let relu = Op::Activation(Activation::Relu);
    let relu = builder.push("relu", relu, &[affine], &[2]).unwrap();
    builder.build(relu).unwrap()
}

#[test]
fn the_radius_of_two_pixels_is_half_their_difference() {
    let network = network();
    let reference = Image::new([1, 1, 2], vec![0.75, 0.25]).unwrap();
    let scale = PixelScale::identity();
    let ball = Ball { network: &network, reference: &reference, class: 0, scale: &scale };
    let found = ball.find_radius(&Device::Host, &VerifyOptions::default(), 0.01, &mut Silent).unwrap();
    let (verified, falsified) = (found.verified.unwrap(), found.falsified.unwrap());
    assert!(verified < 0.25 && 0.25 <= falsified && falsified <= verified * 1.011, "{verified} {falsified}");
    let input = found.counterexample.unwrap().input;
    assert!(ball.distance(&input) >= falsified && input[0] <= input[1]);
    assert!(found.stopped.is_none() && found.misclassified.is_none());
}

#[test]
fn a_scale_changes_inputs_and_not_the_radius() {
    let network = network();
    let reference = Image::new([1, 1, 2], vec![0.75, 0.25]).unwrap();
    let scale = PixelScale::new(vec![0.5], vec![0.25]).unwrap();
    let ball = Ball { network: &network, reference: &reference, class: 0, scale: &scale };
    for (epsilon, is_verified) in [(0.24, true), (0.26, false)] {
        let property = ball.property(epsilon).unwrap();
        let verify = Verify { network: &network, property: &property, device: &Device::Host };
        let verdict = verify.run(&VerifyOptions::default(), &mut Silent).unwrap().verdict;
        assert_eq!(matches!(verdict, Verdict::Verified), is_verified);
        if let Verdict::Falsified(found) = verdict {
            assert!(ball.distance(&found.input) <= 0.26 + 1e-12);
        }
    }
}

#[test]
fn a_misclassified_reference_is_said_at_once() {
    let network = network();
    let reference = Image::new([1, 1, 2], vec![0.25, 0.75]).unwrap();
    let scale = PixelScale::identity();
    let ball = Ball { network: &network, reference: &reference, class: 0, scale: &scale };
    let found = ball.find_radius(&Device::Host, &VerifyOptions::default(), 0.01, &mut Silent).unwrap();
    assert_eq!((found.misclassified, found.verified, found.steps.len()), (Some(1), None, 0));
    let ball = Ball { class: 2, ..ball };
    assert!(ball.property(0.1).unwrap_err().to_string().contains("classes 0 to 1"));
}
