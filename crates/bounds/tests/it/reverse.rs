//! Reverse propagation: no point where the splits hold and the outputs are not positive may be cut off, at any node.

use bounds::{Base, BoundEngine, Keep, Lane, Split, Target};
use network::{Network, NodeId};

use crate::lanes::random_ascent;
use crate::random::Stream;

/// What is left of a base where some outputs are not positive, once later nodes have tightened earlier ones.
pub fn check(
    stream: &mut Stream,
    (network, engine): (&Network, &BoundEngine),
    base: &Base,
    held: &[&Vec<Vec<f64>>],
    [n_values, n_tighter, n_gone]: &mut [u64; 3],
    seed: u64,
) {
    let outputs: Vec<u32> = (0..network.n_outputs() as u32).filter(|_| stream.below(2) == 0).collect();
    let is_below = |values: &Vec<Vec<f64>>| outputs.iter().all(|&k| values[values.len() - 1][k as usize] < -1e-11);
    let within: Vec<&&Vec<Vec<f64>>> = held.iter().filter(|values| is_below(values)).collect();
    let Some(part) = engine.reversed(base.clone(), &outputs).unwrap() else {
        *n_gone += 1;
        assert!(within.is_empty(), "seed {seed}: a reversed base holds nothing, but {:?}", within[0][0]);
        return;
    };
    let n = network.n_inputs();
    let mut ends = vec![(0, base.ends(n), part.ends(n))];
    for activation in engine.activations() {
        let operand = network.node(NodeId(activation as usize)).inputs[0].0;
        let bounds = |base| engine.operand_bounds(base, activation).unwrap();
        ends.push((operand, bounds(base), bounds(&part)));
    }
    let mut is_tighter = false;
    for (node, before, (lower, upper)) in ends {
        assert!(
            before.0.iter().zip(lower).all(|(old, new)| old <= new)
                && before.1.iter().zip(upper).all(|(old, new)| new <= old)
        );
        is_tighter |= before != (lower, upper);
        for values in &within {
            for (z, (&l, &u)) in values[node].iter().zip(lower.iter().zip(upper)) {
                *n_values += 1;
                let error = 1e-12 * (1.0 + z.abs());
                let is_inside = f64::from(l) <= z + error && z - error <= f64::from(u);
                assert!(is_inside, "seed {seed}: node {node}: {z} outside [{l}, {u}] where {outputs:?} are negative");
            }
        }
    }
    *n_tighter += u64::from(is_tighter);
    let splits: Vec<(Split, f32)> = base.splits().iter().map(|split| (*split, stream.below(3) as f32 * 0.2)).collect();
    let lane = |neuron| Lane { neuron, is_upper: false, splits: &splits, alpha: &[], weight: 0.0 };
    let lanes: Vec<Lane> = (0..network.n_outputs() as u32).map(lane).collect();
    // It may also be the parent of a wider box.
    let child = engine.base(base.ends(n), Some(&part), base.splits(), random_ascent(stream)).unwrap();
    assert!(child.is_some() || within.is_empty(), "seed {seed}: a child of a reversed base holds nothing");
    for base in std::iter::once(&part).chain(&child) {
        let narrow = engine.ascend(base, Target::Outputs, &lanes, &random_ascent(stream), Keep::default()).unwrap();
        let precise = engine.ascend_precisely(base, &lanes, &random_ascent(stream), Keep::default()).unwrap();
        for values in &within {
            for ((y, narrow), precise) in values[values.len() - 1].iter().zip(&narrow).zip(&precise) {
                let error = 1e-12 * (1.0 + y.abs());
                assert!(f64::from(narrow.bound) <= *y, "seed {seed}: {y} is below {}", narrow.bound);
                assert!(precise.bound <= y + error, "seed {seed}: {y} is below {}", precise.bound);
            }
        }
    }
}
