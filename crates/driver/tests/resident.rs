//! Branch and bound on a GPU decides what it decides on the host.
#![cfg(feature = "gpu")]

#[path = "../../bounds/tests/it/adapter.rs"]
mod adapter;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bounds::{BoundEngine, Device, DeviceWork, Recipe};
use driver::search::{BranchAndBound, Clock, End, Falsifier, Objective};
use driver::{Interrupt, Limits, Observer, Progress, Silent, StopReason, Verify, VerifyOptions};
use network::{Activation, Affine, Dense, LinearMap, Network, NodeId, Op, Property, vnnlib};

/// How a search ended.
#[derive(Debug, PartialEq)]
struct Searched {
    end: End,
    counts: (u64, u64),
    resident: u64,
    lower_bound: Option<f64>,
    last: Last,
}

/// The last record of a search.
#[derive(Debug, Default, PartialEq)]
struct Last {
    subdomains: u64,
    decided: f64,
    n: usize,
}

impl Observer for Last {
    fn round(&mut self, progress: Progress) {
        assert!(
            progress.subdomains > self.subdomains && progress.decided >= self.decided,
            "{progress:?} after {self:?}"
        );
        *self = Self { subdomains: progress.subdomains, decided: progress.decided, n: self.n + 1 };
    }
}

fn search_within(
    device: &Device,
    network: &Network,
    property: &Property,
    limits: Limits,
    interrupt: Interrupt,
) -> Searched {
    let [objective] = &Objective::of(network, property).unwrap()[..] else { panic!("one region") };
    let engine =
        BoundEngine::new(device, Arc::clone(&objective.network), &objective.region, Recipe::default()).unwrap();
    let falsifier = Falsifier::new(device, network, property, objective).unwrap();
    let mut search = BranchAndBound::new(objective, &engine, &falsifier);
    let mut last = Last::default();
    let end = search.run(&Clock::start(limits, interrupt), &mut last).unwrap();
    assert_eq!(engine.fallback(), None);
    assert_eq!(last.subdomains, search.counts().0);
    let (counts, resident, lower_bound) = (search.counts(), search.resident_subdomains(), search.lower_bound());
    Searched { end, counts, resident, lower_bound, last }
}

fn search(device: &Device, network: &Network, property: &Property, most: u64) -> Searched {
    let limits = Limits { subdomains: Some(most), ..Limits::default() };
    search_within(device, network, property, limits, Interrupt::default())
}

/// Decided or not, and how, without the point.
fn kind(end: &End) -> &'static str {
    match end {
        End::Verified => "verified",
        End::Falsified(_) => "falsified",
        End::Stopped(reason) => reason.name(),
    }
}

fn dense(n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

/// A 2-12-12-1 network of `ReLU`s.
fn random_network(seed: u64) -> Network {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(((state >> 33) as f64 / f64::from(1_u32 << 30) - 1.0) as f32)
    };
    let mut builder = Network::builder(&[2]).unwrap();
    let mut node = NodeId(0);
    for (layer, (n_out, n_in)) in [(12, 2), (12, 12), (1, 12)].into_iter().enumerate() {
        let weight = (0..n_out * n_in).map(|_| next()).collect();
        let bias = (0..n_out).map(|_| 0.5 * next()).collect();
        node = builder.push(format!("z{layer}"), dense(n_out, n_in, weight, bias), &[node], &[n_out]).unwrap();
        if layer < 2 {
            node = builder.push(format!("h{layer}"), Op::Activation(Activation::Relu), &[node], &[n_out]).unwrap();
        }
    }
    builder.build(node).unwrap()
}

/// The least value on a grid of the square.
fn least(network: &Network) -> f64 {
    let at = |i: i32| -1.0 + f64::from(i) / 30.0;
    let all = (0..=60).flat_map(|i| (0..=60).map(move |j| (i, j)));
    all.map(|(i, j)| network.evaluate(&[at(i), at(j)]).unwrap()[0]).fold(f64::INFINITY, f64::min)
}

/// Whether the output is at most this somewhere in the square.
fn at_most(threshold: f64) -> Property {
    let text = format!(
        "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)\
         (assert (>= X_0 -1))(assert (<= X_0 1))(assert (>= X_1 -1))(assert (<= X_1 1))(assert (<= Y_0 {threshold:?}))"
    );
    vnnlib::parse(&text).unwrap()
}

#[test]
fn verdicts_on_random_networks_are_those_of_the_host() {
    let Some(gpu) = adapter::device() else { return };
    let (mut n_verified, mut n_falsified, mut n_rebounded) = (0, 0, 0);
    for seed in 0..8 {
        let network = random_network(seed);
        let least = least(&network);
        // Some of them within what only f64 can tell, or no float at all.
        for offset in [-0.05, -1e-3, -1e-6, 1e-6, 0.1] {
            let property = at_most(least + offset);
            let host = search(&Device::Host, &network, &property, 50_000);
            let got = search(&gpu, &network, &property, 50_000);
            assert_eq!(kind(&got.end), kind(&host.end), "seed {seed}, offset {offset}: {got:?} and {host:?}");
            assert_eq!(host.resident, 0);
            assert_eq!(got.resident, got.counts.0, "everything stays on the device");
            assert_eq!(got, search(&gpu, &network, &property, 50_000), "the same again");
            match got.end {
                End::Verified => {
                    n_verified += 1;
                    assert!(offset < 0.0 && got.lower_bound > Some(0.0) && got.last.decided > 1.0 - 1e-9, "{got:?}");
                }
                End::Falsified(_) => n_falsified += 1,
                End::Stopped(_) => {}
            }
            n_rebounded += got.counts.1;
        }
    }
    assert!(n_verified >= 16 && n_falsified >= 8, "{n_verified} verified, {n_falsified} falsified");
    assert!(n_rebounded > 0, "nothing was bounded in f64");
}

#[test]
fn an_outcome_says_what_the_device_did() {
    let Some(gpu) = adapter::device() else { return };
    let (network, property) = (0..20)
        .map(random_network)
        .map(|network| (at_most(least(&network) - 0.01), network))
        .find_map(|(property, network)| {
            let all = search(&gpu, &network, &property, u64::MAX);
            (all.end == End::Verified && all.counts.0 > 20).then_some((network, property))
        })
        .expect("some network takes a search");
    let verify = |device: &Device| {
        let verify = Verify { network: &network, property: &property, device };
        verify.run(&VerifyOptions::default(), &mut Silent).unwrap()
    };
    assert_eq!(verify(&Device::Host).on_device, DeviceWork::default());
    let outcome = verify(&gpu);
    let DeviceWork { rounds, boxes, lanes, round_trips } = outcome.on_device;
    assert_eq!((boxes, lanes), (outcome.subdomains, 0), "all boxes stay there, and no row is optimised");
    assert!(rounds > 1 && round_trips > 1, "{rounds} rounds, {round_trips} round trips");
    // The device has done more by then; of another search only that is told.
    assert_eq!(verify(&gpu).on_device, outcome.on_device);
    assert_eq!(gpu.work().since(gpu.work()), DeviceWork::default());
}

#[test]
fn limits_hold_on_the_device() {
    let Some(gpu) = adapter::device() else { return };
    let (network, property, all) = (0..20)
        .map(random_network)
        .map(|network| (at_most(least(&network) - 0.01), network))
        .map(|(property, network)| (search(&gpu, &network, &property, u64::MAX), network, property))
        .find_map(|(all, network, property)| {
            (all.end == End::Verified && all.counts.0 > 20).then_some((network, property, all))
        })
        .expect("some network takes a search");
    for most in [1, 2, 3, 7, all.counts.0 - 1] {
        let got = search(&gpu, &network, &property, most);
        assert_eq!((got.end, got.counts.0 <= most), (End::Stopped(StopReason::SubdomainLimit), true));
    }
    // Memory is no reason to stop where there is a disk, and changes nothing.
    for memory_bytes in [0, 1000] {
        let limits = Limits { memory_bytes, ..Limits::default() };
        assert_eq!(search_within(&gpu, &network, &property, limits, Interrupt::default()), all);
    }
    let interrupt = Interrupt::default();
    interrupt.raise();
    let got = search_within(&gpu, &network, &property, Limits::default(), interrupt);
    assert_eq!((got.end, got.counts.0), (End::Stopped(StopReason::Interrupted), 0));
    let limits = Limits { time_s: Some(0.0), ..Limits::default() };
    let got = search_within(&gpu, &network, &property, limits, Interrupt::default());
    assert_eq!((got.end, got.counts.0), (End::Stopped(StopReason::TimeLimit), 0));
}

#[test]
fn what_no_float_decides_ends_as_on_the_host() {
    let Some(gpu) = adapter::device() else { return };
    let mut builder = Network::builder(&[1]).unwrap();
    let z = builder.push("z", dense(1, 1, vec![1.0], vec![0.0]), &[NodeId(0)], &[1]).unwrap();
    let h = builder.push("h", Op::Activation(Activation::Relu), &[z], &[1]).unwrap();
    let y = builder.push("y", dense(1, 1, vec![1.0], vec![0.0]), &[h], &[1]).unwrap();
    let network = builder.build(y).unwrap();
    // Pinned to a decimal that is no float, and touching there.
    let text = "(declare-const X_0 Real)(declare-const Y_0 Real)\
                (assert (>= X_0 0.1))(assert (<= X_0 0.1))(assert (<= Y_0 0.1))";
    let property = vnnlib::parse(text).unwrap();
    for device in [&Device::Host, &gpu] {
        let got = search(device, &network, &property, 1000);
        assert_eq!(got.end, End::Stopped(StopReason::Precision));
        assert!(got.counts.1 > 0);
    }
}

#[test]
fn properties_of_acas_xu_are_decided_as_on_the_host() {
    let Some(gpu) = adapter::device() else { return };
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("DIADEM_DATA").map_or_else(default, PathBuf::from).join("vnncomp/acasxu");
    let Ok(network) = network::onnx::read(&folder.join("onnx/ACASXU_run2a_1_1_batch_2000.onnx")) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no ACAS Xu at {} (set DIADEM_DATA)", folder.display());
        return;
    };
    for (number, most) in [(1, 20_000), (2, 3_000), (3, 20_000), (4, 20_000)] {
        let property = vnnlib::read(&folder.join(format!("vnnlib/prop_{number}.vnnlib"))).unwrap();
        let host = search(&Device::Host, &network, &property, most);
        let got = search(&gpu, &network, &property, most);
        assert_eq!(kind(&got.end), kind(&host.end), "property {number}: {got:?} and {host:?}");
        assert_eq!(got.resident, got.counts.0);
        let _ =
            writeln!(std::io::stderr(), "property {number}: {} {:?}, {:?}", kind(&got.end), got.counts, host.counts);
    }
}
