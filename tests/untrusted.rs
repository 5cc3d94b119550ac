//! What is done with bytes that anybody may have written: one function for each format. None may panic, whatever the bytes.
//!
//! The seeded loops of `fuzz.rs` call them on mutated files, and so do the targets in `fuzz/`, under `cargo fuzz`.

use std::sync::{Arc, OnceLock};

use checker::certificate::{Digest, Evaluation, FORMAT, Header};
use checker::preimage::{Outputs, Part, Preimage};
use checker::{Arithmetic, Digests, Judgement, Progress, Question};
use network::{
    Activation, Affine, BoxRegion, Dense, Disjunct, HalfSpace, Image, LinearMap, Network, NodeId, Op, Property, nnet,
    onnx, vnnlib,
};
use sha2::{Digest as _, Sha256};

/// Networks of more multiply-adds than this are only read.
const MOST_WORK: u64 = 1 << 20;

/// Reads bytes; says whether they were readable.
pub type Target = fn(&[u8]) -> bool;

/// A format: its name, and what is done with its bytes. The result says whether they could be read.
pub const TARGETS: [(&str, Target); 7] = [
    ("onnx", onnx),
    ("vnnlib", vnnlib),
    ("nnet", nnet),
    ("job", job),
    ("certificate", certificate),
    ("polytopes", polytopes),
    ("image", image),
];

/// A network that was read can be evaluated, simplified and bounded; one that was written is read back as the same.
fn use_network(network: &Network) {
    if network.macs() > MOST_WORK || network.nodes().iter().any(|node| node.len() > 1 << 14) {
        return;
    }
    let x = vec![0.5; network.n_inputs()];
    let y: Vec<f64> = network.evaluate(&x).expect("as many inputs as it takes");
    assert_eq!(y.len(), network.n_outputs());
    // Products of huge weights are refused.
    let Ok(simple) = network.simplify() else { return };
    let simple: Vec<f64> = simple.evaluate(&x).expect("as many inputs as it takes");
    for (k, (y, simple)) in y.iter().zip(&simple).enumerate() {
        let both = y.is_finite() && simple.is_finite();
        let scale = 1.0 + largest(network, &x);
        assert!(!both || (y - simple).abs() <= 1e-6 * scale, "output {k} is {y}, simplified {simple}");
    }
    // Some networks have no ONNX form (weights that are not 32-bit); what is written is read.
    if let Ok(bytes) = onnx::to_bytes(network) {
        let again = onnx::from_bytes(&bytes).expect("what was written is read");
        assert_eq!((again.n_inputs(), again.n_outputs()), (network.n_inputs(), network.n_outputs()));
    }
}

/// The largest value inside a network at a point, by any sum of magnitudes: what cancels is relative to that.
fn largest(network: &Network, x: &[f64]) -> f64 {
    let mut most: Vec<f64> = Vec::new();
    for node in network.nodes() {
        let of = |i: usize| most[node.inputs[i].0];
        most.push(match &node.op {
            Op::Input => x.iter().fold(0.0, |most, x| x.abs().max(most)),
            Op::Affine(affine) => {
                let weight = affine.map.coefficients().iter().fold(0.0, |sum, w| sum + w.abs());
                affine.bias.iter().fold(weight * of(0), |most, b| most.max(weight * of(0) + b.abs()))
            }
            Op::Add => (0..node.inputs.len()).map(of).sum(),
            Op::Activation(Activation::LeakyRelu(slopes)) => {
                slopes.iter().fold(of(0), |most, slope| most.max(slope.abs() * of(0)))
            }
            Op::Activation(_) => of(0) + 1.0,
            Op::MaxPool(_) => of(0),
        });
    }
    most.into_iter().fold(0.0, f64::max)
}

/// A model.
pub fn onnx(bytes: &[u8]) -> bool {
    onnx::from_bytes(bytes).map(|network| use_network(&network)).is_ok()
}

/// A property: what is read is well formed.
pub fn vnnlib(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(property) = vnnlib::parse(text) else { return false };
    let is_pair = |pair: [f64; 2]| pair[0] == pair[1] || pair[0].next_up() == pair[1];
    for disjunct in &property.disjuncts {
        let region = &disjunct.region;
        for i in 0..property.n_inputs {
            let [low, inner_low] = [region.lower[i], region.inner_lower[i]];
            let [inner_high, high] = [region.inner_upper[i], region.upper[i]];
            assert!(low.is_finite() && high.is_finite() && low <= high, "{low} {high}");
            assert!(is_pair([low, inner_low]) && is_pair([inner_high, high]));
        }
        for HalfSpace { input, output, constant } in &disjunct.half_spaces {
            assert!(input.len() + output.len() > 0 && is_pair(*constant));
            for (terms, n) in [(input, property.n_inputs), (output, property.n_outputs)] {
                assert!(terms.windows(2).all(|two| two[0].0 < two[1].0));
                assert!(terms.iter().all(|&(i, pair)| i < n && is_pair(pair) && pair != [0.0; 2]));
            }
        }
    }
    let (x, y) = (vec![0.25; property.n_inputs], vec![0.5; property.n_outputs]);
    assert!(property.violated_at(&x, &y).is_none_or(|(_, margin)| margin >= 0.0));
    true
}

/// A network as text.
pub fn nnet(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    nnet::parse(text).map(|network| use_network(&network)).is_ok()
}

/// A job of any kind, a peer's parameters, a preimage problem.
pub fn job(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let readings = [
        diadem::untrusted::job(text),
        diadem::untrusted::peer_params(text),
        diadem::untrusted::preimage_problem(text, &proved().network),
    ];
    for error in readings.iter().filter_map(|reading| reading.as_ref().err()) {
        assert!(!error.is_empty());
    }
    readings.iter().any(Result::is_ok)
}

/// A picture or an array: by what the first byte says, a PNG or JPEG, an `.npy` file, or JSON.
pub fn image(bytes: &[u8]) -> bool {
    let Some((kind, bytes)) = bytes.split_first() else { return false };
    let image = match kind % 3 {
        0 => diadem::untrusted::picture(bytes).ok(),
        1 => Image::parse_npy(bytes).ok(),
        _ => std::str::from_utf8(bytes).ok().and_then(|text| Image::parse_json(text).ok()),
    };
    let Some(image) = image else { return false };
    let [channels, height, width] = image.shape();
    assert_eq!(image.pixels().len(), channels * height * width);
    assert!(image.pixels().iter().all(|pixel| (0.0..=1.0).contains(pixel)));
    if image.pixels().len() < 1 << 12 {
        assert_eq!(Image::parse_npy(&image.to_npy()).expect("what was written is read"), image);
        assert_eq!(Image::parse_json(&image.to_json()).expect("what was written is read"), image);
        let resized = image.resized(3, 5).expect("a small size");
        assert_eq!(resized.shape(), [channels, 3, 5]);
    }
    true
}

/// A network, a property that it has, and one that it has not.
pub struct Proved {
    /// Two inputs, two layers of `ReLU`s, two outputs.
    pub network: Network,
    /// Holds by a small margin.
    pub holds: Property,
    /// Is violated.
    pub fails: Property,
}

/// The question that certificates are read for.
pub fn proved() -> &'static Proved {
    static PROVED: OnceLock<Proved> = OnceLock::new();
    PROVED.get_or_init(|| {
        let mut builder = Network::builder(&[2]).expect("two inputs");
        let mut state = 0x5eed_u64;
        let mut within = |scale: f64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from((scale * ((state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0)) as f32)
        };
        let mut last = NodeId(0);
        for (layer, n_out) in [5, 5, 2].into_iter().enumerate() {
            let n_in = builder.node(last).len();
            let weight = (0..n_out * n_in).map(|_| within(1.5)).collect();
            let bias = (0..n_out).map(|_| within(0.4)).collect();
            let map = LinearMap::Dense(Dense { n_out, n_in, weight });
            let affine = Op::Affine(Arc::new(Affine::exact(map, bias)));
            last = builder.push(format!("z{layer}"), affine, &[last], &[n_out]).expect("sizes fit");
            if layer < 2 {
                let relu = Op::Activation(Activation::Relu);
                last = builder.push(format!("h{layer}"), relu, &[last], &[n_out]).expect("sizes fit");
            }
        }
        let network = builder.build(last).expect("it depends on its input");
        let steps = || (0..=200).map(|k| f64::from(k) / 100.0 - 1.0);
        let least = steps()
            .flat_map(|a| steps().map(move |b| [a, b]))
            .map(|x| network.evaluate(&x).expect("two inputs")[0])
            .fold(f64::INFINITY, f64::min);
        let below = |threshold: f64| {
            let region = BoxRegion::new(vec![-1.0; 2], vec![1.0; 2]).expect("a box");
            let row = HalfSpace { input: vec![], output: vec![(0, [1.0; 2])], constant: [-threshold; 2] };
            Property { n_inputs: 2, n_outputs: 2, disjuncts: vec![Disjunct { region, half_spaces: vec![row] }] }
        };
        Proved { holds: below(least - 0.2), fails: below(least + 1e-3), network }
    })
}

/// The digests that certificates must name.
pub fn digests() -> Digests {
    Digests { network: Digest::of(b"network"), property: Digest::of(b"property") }
}

/// The header of a certificate that this target reads.
pub fn header() -> Header {
    Header {
        format: FORMAT,
        job: "verify".into(),
        tool: "untrusted".into(),
        evaluation: Evaluation::Real,
        device: "host".into(),
        arithmetic: "any".into(),
        network: digests().network,
        property: digests().property,
    }
}

/// A certificate as it is (first byte even), or records that get a header and a digest (odd). None proves what does not hold, in
/// either arithmetic.
pub fn certificate(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else { return false };
    let bytes = if kind % 2 == 0 { rest.to_vec() } else { sealed(rest) };
    let Proved { network, holds, fails } = proved();
    let judge = |property: &Property, arithmetic: Arithmetic| {
        let question = Question::new(network, property).expect("sizes fit");
        checker::check(&question, digests(), &bytes, arithmetic, &Progress::default())
    };
    for arithmetic in [Arithmetic::Outward, Arithmetic::Exact] {
        let judged = judge(fails, arithmetic);
        assert!(!matches!(judged, Ok(Judgement::Accepted(_))), "a certificate of what does not hold is accepted");
    }
    matches!(judge(holds, Arithmetic::Outward), Ok(Judgement::Accepted(_)))
}

/// What is asked of polytopes: where the first output is at least what it is at one point.
pub fn preimage(is_inside: bool) -> (BoxRegion, [Outputs; 1], bool) {
    let region = BoxRegion::new(vec![-1.0; 2], vec![1.0; 2]).expect("a box");
    let y: Vec<f64> = proved().network.evaluate(&[0.2, -0.3]).expect("two inputs");
    (region, [Outputs { rows: vec![vec![1.0, 0.0]], rhs: vec![y[0]] }], is_inside)
}

/// A bundle of polytopes inside (second bit of the first byte 0) or around (1), as it is (first bit 0) or without header and digest (1).
/// What is accepted holds on a grid.
pub fn polytopes(bytes: &[u8]) -> bool {
    let Some((kind, rest)) = bytes.split_first() else { return false };
    let network = &proved().network;
    let (region, targets, is_inside) = preimage(kind & 2 == 0);
    let least = targets[0].rhs[0];
    let asked = Preimage { network, region: &region, targets: &targets, is_inside };
    let header = Header { job: "preimage".into(), property: asked.digest(), ..header() };
    let bytes = if kind & 1 == 0 { rest.to_vec() } else { sealed_with(&header, rest) };
    let judged = asked.check(digests().network, &bytes, Arithmetic::Outward, &Progress::default());
    let Ok((Judgement::Accepted(_), parts)) = judged else { return false };
    let holds = |part: &Part, x: &[f64]| {
        let polytope = &part.polytope;
        let is_in_box = x.iter().zip(polytope.lower.iter().zip(&polytope.upper)).all(|(x, (l, u))| l <= x && x <= u);
        let value = |(a, b): &(Vec<f64>, f64)| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() + b;
        // Clearly, so that the rounding of these sums does not matter.
        let room = if is_inside { 1e-9 } else { -1e-9 };
        !part.is_nothing && is_in_box && polytope.planes.iter().all(|plane| value(plane) >= room)
    };
    for a in -20..=20 {
        for b in -20..=20 {
            let x = [f64::from(a) / 20.0, f64::from(b) / 20.0];
            let y: Vec<f64> = network.evaluate(&x).expect("two inputs");
            let is_held = parts.iter().any(|part| holds(part, &x));
            assert!(!is_inside || !is_held || y[0] >= least - 1e-9, "{x:?} is held inside, and mapped to {}", y[0]);
            assert!(is_inside || is_held || y[0] < least + 1e-9, "{x:?} is not held around, and mapped to {}", y[0]);
        }
    }
    true
}

/// Records as a certificate.
pub fn sealed(records: &[u8]) -> Vec<u8> {
    sealed_with(&header(), records)
}

fn sealed_with(header: &Header, records: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).expect("a header is JSON");
    let mut bytes = b"diadem certificate\n".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend(header);
    bytes.extend(records);
    let digest = Sha256::digest(&bytes);
    bytes.extend(digest);
    bytes
}
