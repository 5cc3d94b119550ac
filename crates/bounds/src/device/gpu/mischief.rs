//! Devices that hand over something else than their results: none of it may exclude anything.

use std::sync::{Arc, PoisonError};

use network::{BoxRegion, Network};

use super::faults::Faults;
use super::samples::{Chain, named};
use super::tests::gpu;
use super::{AdapterChoice, Gpu};
use crate::{Ascent, Batch, BoundEngine, Budget, Device, Keep, Lane, Optimised, Piece, Recipe, Rule, Target, Wanted};

/// What a faulty device may hand over instead of results.
#[derive(Debug, Clone)]
pub enum Mischief {
    /// Every word is this one.
    Filled(u32),
    /// One word of many is this one.
    Sprinkled(u32),
    /// The second half is missing.
    Truncated,
    /// What was read before, again; the first time, the truth.
    Delayed(Option<Vec<u8>>),
    /// Nothing: the device is lost while its results are awaited.
    Lost,
}

impl Mischief {
    /// What is handed over instead of `bytes`.
    pub fn change(&mut self, mut bytes: Vec<u8>, faults: &Faults) -> Vec<u8> {
        match self {
            Self::Filled(word) => word.to_le_bytes().into_iter().cycle().take(bytes.len()).collect(),
            Self::Sprinkled(word) => {
                bytes.chunks_exact_mut(4).step_by(7).for_each(|place| place.copy_from_slice(&word.to_le_bytes()));
                bytes
            }
            Self::Truncated => bytes[..bytes.len() / 2].to_vec(),
            Self::Delayed(before) => {
                let mut late = before.replace(bytes.clone()).unwrap_or_else(|| bytes.clone());
                late.resize(bytes.len(), 0);
                late
            }
            Self::Lost => {
                faults.note("lost: pretended".into());
                bytes
            }
        }
    }
}

/// NaN, infinities, zeros, ones, and words that are huge as counts.
const WORDS: [u32; 7] = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0000, 0xff80_0000, 0, 1, u32::MAX];

fn kinds() -> Vec<Mischief> {
    let filled = WORDS.into_iter().map(Mischief::Filled);
    let sprinkled = WORDS[..4].iter().copied().map(Mischief::Sprinkled);
    filled.chain(sprinkled).chain([Mischief::Truncated, Mischief::Delayed(None), Mischief::Lost]).collect()
}

/// A device of its own, since a fault is for good.
fn fresh(gpu: &Gpu) -> Gpu {
    Gpu::open(&AdapterChoice::Named(gpu.adapter().name.clone())).unwrap()
}

fn begin(gpu: &Gpu, mischief: Mischief) {
    *gpu.shared.faults.mischief.lock().unwrap_or_else(PoisonError::into_inner) = Some(mischief);
}

/// One network that runs step by step, and one that runs as a whole.
fn samples() -> [(&'static str, Network); 2] {
    [("deep", named("deep")), ("fours", Chain::new(&[4], 53).dense(8).relu().dense(8).relu().dense(4).build())]
}

fn engine(device: &Device, network: &Arc<Network>) -> BoundEngine {
    let n = network.n_inputs();
    let region = BoxRegion::new(vec![-1.0; n], vec![1.0; n]).unwrap();
    BoundEngine::new(device, Arc::clone(network), &region, Recipe::default()).unwrap()
}

#[test]
fn results_that_are_none_never_exclude_anything() {
    let Some(shared) = gpu() else { return };
    for (name, network) in samples() {
        let network = Arc::new(network);
        let n = network.n_inputs();
        let host = engine(&Device::Host, &network);
        let [small, whole] = [0.1, 1.0].map(|r| Batch { lower: vec![-r; n], upper: vec![r; n] });
        let expected = host.bound(&whole, Wanted::default()).unwrap();
        for mischief in kinds() {
            let gpu = fresh(&shared);
            let ours = engine(&Device::Gpu(gpu.clone()), &network);
            begin(&gpu, mischief.clone());
            // Bounds of a smaller box are tighter: handed over late, they would be wrong.
            ours.bound(&small, Wanted::default()).unwrap();
            let bounds = ours.bound(&whole, Wanted::default()).unwrap();
            assert!(ours.fallback().is_some() || matches!(mischief, Mischief::Sprinkled(_)), "{name}, {mischief:?}");
            for (k, (&ours, &host)) in bounds.lower.iter().zip(&expected.lower).enumerate() {
                let room = 1e-2 * (1.0 + host.abs());
                assert!(
                    ours <= host + room,
                    "{name}, {mischief:?}: output {k} is bounded by {ours}, the host says {host}"
                );
            }
        }
    }
}

#[test]
fn lanes_that_are_none_never_exclude_anything() {
    let Some(shared) = gpu() else { return };
    let network = Arc::new(named("deep"));
    let n = network.n_inputs();
    let recipe = Recipe { optimised: Optimised::Everything, ..Recipe::default() };
    let [small, whole] = [0.1, 1.0].map(|r| (vec![-r; n], vec![r; n]));
    let ascent = Ascent { steps: 4, ..Ascent::default() };
    let keep = Keep { duals: true, gaps: 4, minimiser: true, proof: true };
    let rows = 0..network.n_outputs() as u32;
    let lanes: Vec<Lane> =
        rows.map(|neuron| Lane { neuron, is_upper: false, splits: &[], alpha: &[], weight: 0.0 }).collect();
    let bounds = |engine: &BoundEngine, (lower, upper): &(Vec<f32>, Vec<f32>)| -> Vec<f32> {
        let base = engine.base((lower, upper), None, &[], ascent).unwrap().unwrap();
        let ended = engine.ascend(&base, Target::Outputs, &lanes, &ascent, keep).unwrap();
        ended.into_iter().map(|end| end.bound).collect()
    };
    let expected = bounds(&engine(&Device::Host, &network).with_recipe(recipe).unwrap(), &whole);
    for mischief in kinds() {
        let gpu = fresh(&shared);
        let ours = engine(&Device::Gpu(gpu.clone()), &network).with_recipe(recipe).unwrap();
        begin(&gpu, mischief.clone());
        // Bounds of a smaller box are tighter: handed over late, they would be wrong.
        bounds(&ours, &small);
        let found = bounds(&ours, &whole);
        assert!(ours.fallback().is_some(), "{mischief:?}");
        for (k, (&ours, &host)) in found.iter().zip(&expected).enumerate() {
            let room = 2e-2 * (1.0 + host.abs());
            assert!(ours <= host + room, "{mischief:?}: output {k} is bounded by {ours}, the host says {host}");
        }
    }
}

#[test]
fn boxes_that_do_not_come_back_are_not_decided() {
    let Some(shared) = gpu() else { return };
    let [_, (_, network)] = samples();
    let network = Arc::new(network);
    let n = network.n_inputs();
    // Nothing can be decided at first: an output that may be anything.
    let rule = Rule { disjuncts: vec![0..1, 1..2] };
    let whole: Vec<f32> = [vec![-1.0; n], vec![1.0; n]].concat();
    let pieces = [Piece { ends: whole.into(), depth: 0, score: 0.0 }];
    let budget = Budget { rounds: 6, open: 64 };
    let gpu = fresh(&shared);
    let truth = engine(&Device::Gpu(gpu), &network).branch(&pieces, &rule, budget).unwrap();
    assert!(truth.is_some_and(|branched| branched.rounds > 0), "the sample runs on the device");
    for mischief in kinds() {
        let gpu = fresh(&shared);
        let ours = engine(&Device::Gpu(gpu.clone()), &network);
        begin(&gpu, mischief.clone());
        let branched = ours.branch(&pieces, &rule, budget).unwrap();
        // The first answer of a late device is the truth.
        if !matches!(mischief, Mischief::Delayed(_)) {
            assert_eq!(branched, None, "{mischief:?}");
            assert!(ours.fallback().is_some(), "{mischief:?}");
        }
    }
}
