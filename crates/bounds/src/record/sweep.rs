use network::{Activation, Affine, LinearMap, NodeId, Op};

use super::shapes::{conv_shape, pool_shape};
use super::slots::Slots;
use super::{Recorder, largest};
use crate::program::Backward;
use crate::scalar::Scalar;
use crate::sweep::{Onward, OnwardAffine, OnwardLines, OnwardMaxPool, OnwardMerge, Sweep};

/// How many times larger than any coefficient at a neuron its split's multiplier may become.
const BETA_CAP: f64 = 4.0;

/// The largest multiplier of a split at an activation whose coefficients are at most `coefficient`: zero where nothing splits.
pub(super) fn beta_cap(activation: &Activation, coefficient: f64) -> f64 {
    if matches!(activation, Activation::Relu) { BETA_CAP * coefficient } else { 0.0 }
}

impl<T: Scalar> Recorder<'_, T> {
    /// Records the way from the input through the relaxed network to the last activation below `target`.
    pub(super) fn sweep(&mut self, target: NodeId, backward: &Backward, caps: Vec<f32>) -> Sweep {
        let network = self.network;
        let first = if backward.seed.kind == 1 { network.node(target).inputs[0] } else { target };
        let (needed, mut readers) = self.on_the_way(first);
        let mut slots = Slots::new(network.nodes().len());
        slots.assign(NodeId(0));
        let mut onward = Vec::new();
        for id in 1..=first.0 {
            if !needed[id] {
                continue;
            }
            let node = network.node(NodeId(id));
            let operand = node.inputs[0];
            let from = slots.of[operand.0].expect("operands come first");
            match &node.op {
                Op::Input => unreachable!("the input is node 0"),
                Op::Affine(affine) => {
                    let to = slots.assign(NodeId(id));
                    onward.push(self.onward_affine(NodeId(id), affine, (from, to), &needed));
                }
                Op::Activation(_) => {
                    // The last reader takes the slot over.
                    let to = if readers[operand.0] == 1 {
                        slots.of[operand.0] = None;
                        slots.of[id] = Some(from);
                        from
                    } else {
                        slots.assign(NodeId(id))
                    };
                    onward.push(Onward::Lines(OnwardLines {
                        from: from as u32,
                        to: to as u32,
                        n: node.len() as u32,
                        node: id as u32,
                    }));
                }
                Op::Add => {
                    let to = slots.assign(NodeId(id));
                    for (place, input) in node.inputs.iter().enumerate() {
                        let from = slots.of[input.0].expect("operands come first");
                        onward.push(Onward::Merge(OnwardMerge {
                            from: from as u32,
                            to: to as u32,
                            n: node.len() as u32,
                            adds: u32::from(place > 0),
                        }));
                    }
                }
                Op::MaxPool(pool) => {
                    let to = slots.assign(NodeId(id));
                    let params = OnwardMaxPool {
                        from: from as u32,
                        to: to as u32,
                        n_out: pool.n_out() as u32,
                        bounds: self.places[id].bounds as u32,
                        choice: (self.places[id].marks + 1 + node.len()) as u32,
                        node: id as u32,
                        ..OnwardMaxPool::default()
                    };
                    onward.push(Onward::MaxPool(params, pool_shape(pool)));
                }
            }
            for input in &node.inputs {
                readers[input.0] -= 1;
                if readers[input.0] == 0 {
                    slots.release(*input);
                }
            }
        }
        Sweep { onward, n_slots: slots.n_used, caps }
    }

    /// The nodes that lie between the input and some activation that `first` depends on (or is), and how many of these read each.
    fn on_the_way(&self, first: NodeId) -> (Vec<bool>, Vec<usize>) {
        let nodes = self.network.nodes();
        let mut is_below = vec![false; nodes.len()];
        let mut needed = vec![false; nodes.len()];
        is_below[first.0] = true;
        for id in (1..=first.0).rev() {
            if !is_below[id] {
                continue;
            }
            let node = &nodes[id];
            needed[id] |= matches!(node.op, Op::Activation(_));
            for input in &node.inputs {
                is_below[input.0] = true;
                needed[input.0] |= needed[id];
            }
        }
        let mut readers = vec![0; nodes.len()];
        for id in (1..nodes.len()).filter(|&id| needed[id]) {
            nodes[id].inputs.iter().for_each(|input| readers[input.0] += 1);
        }
        (needed, readers)
    }

    fn onward_affine(&self, id: NodeId, affine: &Affine, (from, to): (usize, usize), needed: &[bool]) -> Onward {
        let nodes = self.network.nodes();
        let mut readers = (id.0 + 1..nodes.len()).filter(|&r| needed[r] && nodes[r].inputs.contains(&id));
        let wanted = match (readers.next(), readers.next()) {
            (Some(only), None) if matches!(nodes[only].op, Op::Activation(_)) => only,
            _ => id.0,
        };
        let place = self.places[id.0];
        let is_sparse = matches!(affine.map, LinearMap::Sparse(_));
        let params = OnwardAffine {
            from: from as u32,
            to: to as u32,
            n_out: affine.n_out() as u32,
            n_in: affine.n_in() as u32,
            weight: if is_sparse { place.weight } else { place.transposed } as u32,
            bias: place.bias as u32,
            rows: place.rows as u32,
            wanted: wanted as u32,
        };
        debug_assert!(largest(&affine.bias).is_finite());
        match &affine.map {
            LinearMap::Dense(_) => Onward::Dense(params),
            LinearMap::Conv(conv) => Onward::Conv(params, conv_shape(conv)),
            LinearMap::Sparse(_) => Onward::Sparse(params),
        }
    }
}
