use network::{Activation, Affine, LinearMap, NodeId, Op};

use super::shapes::{conv_shape, pool_shape};
use super::slots::Slots;
use super::sweep::beta_cap;
use super::{Optimised, Recorder, largest};
use crate::error::Error;
use crate::magnitude::largest_column_sum;
use crate::program::{AffineTerms, BackAffine, BackLines, BackMaxPool, BackMerge, Backward, Concretize, Seed, Walk};
use crate::scalar::Scalar;
use crate::slack::round_up;
use crate::sweep::Onward;

impl<T: Scalar> Recorder<'_, T> {
    /// Records the backward pass from `target` to the input.
    pub(super) fn backward(&mut self, target: NodeId, is_objective: bool) -> Result<Backward, Error> {
        let network = self.network;
        let node = network.node(target);
        let mut slots = Slots::new(network.nodes().len());
        let mut walk = Vec::new();
        let mut coefficient: Vec<f64> = vec![0.0; network.nodes().len()];
        let mut flushed = 0.0;
        let is_optimised =
            self.recipe.optimised >= if is_objective { Optimised::Outputs } else { Optimised::Everything };
        let mut caps = vec![0.0_f32; network.nodes().len()];
        let mut seed = Seed {
            target_len: node.len() as u32,
            gamma_bias: self.arithmetic.gamma(self.room),
            both_ends: u32::from(is_objective && self.recipe.both_ends),
            ..Seed::default()
        };
        let first = match &node.op {
            Op::Affine(affine) if matches!(affine.map, LinearMap::Dense(_)) => {
                let place = self.places[target.0];
                seed.kind = 1;
                seed.n = affine.n_in() as u32;
                seed.weight = place.weight as u32;
                seed.bias = place.bias as u32;
                seed.error = place.extra as u32;
                seed.is_inexact = u32::from(self.is_inexact[target.0]);
                coefficient[node.inputs[0].0] = largest(affine.map.coefficients()).max(1e-30);
                node.inputs[0]
            }
            _ => {
                seed.n = node.len() as u32;
                coefficient[target.0] = 1.0;
                target
            }
        };
        seed.slot = slots.assign(first) as u32;
        for id in (1..=first.0).rev() {
            let Some(slot) = slots.of[id] else { continue };
            let node = network.node(NodeId(id));
            let largest_here = coefficient[id];
            self.check_magnitude(NodeId(id), largest_here)?;
            match &node.op {
                Op::Input => unreachable!("the input is node 0"),
                Op::Affine(affine) => {
                    walk.push(Walk::Terms(AffineTerms {
                        slot: slot as u32,
                        n: affine.n_out() as u32,
                        bias: self.places[id].bias as u32,
                        error: self.places[id].extra as u32,
                    }));
                    flushed += self.flushed(affine, node.inputs[0], largest_here);
                    let to = slots.take();
                    walk.push(self.back_affine(NodeId(id), affine, slot, to));
                    slots.release(NodeId(id));
                    coefficient[node.inputs[0].0] += largest_here * largest_column_sum(affine);
                    self.arrive(&mut slots, &mut walk, node.inputs[0], to);
                }
                Op::Activation(activation) => {
                    walk.push(Walk::Lines(BackLines {
                        slot: slot as u32,
                        n: node.len() as u32,
                        lines: self.places[id].extra as u32,
                        node: id as u32,
                    }));
                    let n = node.len() as f64;
                    let high = self.magnitudes[id].max(self.magnitudes[node.inputs[0].0]);
                    flushed += 4.0 * self.arithmetic.smallest_normal * n * (2.0 + largest_here + high);
                    slots.of[id] = None;
                    coefficient[node.inputs[0].0] += largest_here * steepest(activation);
                    if is_optimised {
                        let cap = beta_cap(activation, largest_here);
                        caps[id] = (cap * (1.0 - 1e-6)) as f32;
                        coefficient[node.inputs[0].0] += cap;
                    }
                    self.arrive(&mut slots, &mut walk, node.inputs[0], slot);
                }
                Op::Add => {
                    slots.of[id] = None;
                    for (i, &input) in node.inputs.iter().enumerate() {
                        coefficient[input.0] += largest_here;
                        if i + 1 == node.inputs.len() {
                            self.arrive(&mut slots, &mut walk, input, slot);
                        } else if let Some(to) = slots.of[input.0] {
                            walk.push(self.merge(slot, to, input, true));
                        } else {
                            let to = slots.assign(input);
                            walk.push(self.merge(slot, to, input, false));
                        }
                    }
                }
                Op::MaxPool(pool) => {
                    let to = slots.take();
                    let source = self.places[node.inputs[0].0].bounds as u32;
                    let windows = pool.kernel[0] * pool.kernel[1];
                    let params = BackMaxPool {
                        from: slot as u32,
                        to: to as u32,
                        n_out: pool.n_out() as u32,
                        n_in: pool.n_in() as u32,
                        bounds: self.places[id].bounds as u32,
                        source,
                        choice: (self.places[id].marks + 1 + node.len()) as u32,
                        gamma: self.pool_gamma(windows, pool.n_out()),
                    };
                    walk.push(Walk::MaxPool(params, pool_shape(pool)));
                    let n = pool.n_out() as f64;
                    flushed += 8.0 * self.arithmetic.smallest_normal * n * (2.0 + largest_here + self.magnitudes[id]);
                    slots.release(NodeId(id));
                    coefficient[node.inputs[0].0] += largest_here * windows as f64;
                    self.arrive(&mut slots, &mut walk, node.inputs[0], to);
                }
            }
        }
        let slot = slots.of[0].expect("every node depends on the input");
        self.check_magnitude(NodeId(0), coefficient[0])?;
        let n = network.n_inputs() as f64;
        flushed += 8.0 * self.arithmetic.smallest_normal * n * (2.0 + coefficient[0] + self.magnitudes[0]);
        seed.underflow = round_up(2.0 * flushed).max(1e-37);
        self.program.n_slots = self.program.n_slots.max(slots.n_used);
        let target_node = network.node(target);
        let gamma_2n =
            f64::from(self.arithmetic.gamma(2 * self.arithmetic.depth(self.longest) + 4 * network.nodes().len() + 8));
        let concretize = Concretize {
            slot: slot as u32,
            n: network.n_inputs() as u32,
            target: self.places[target.0].bounds as u32,
            target_len: target_node.len() as u32,
            keep_interval: u32::from(self.recipe.keep_interval),
            gamma: self.arithmetic.gamma(self.arithmetic.depth(network.n_inputs()) + self.room),
            inflation: round_up(1.0 + 2.0 * gamma_2n),
            padding: 0,
        };
        let backward = Backward { seed, walk, concretize };
        if is_optimised {
            let sweep = self.sweep(target, &backward, caps);
            // Without activations on the way there is nothing to optimise.
            if target == self.network.output() || sweep.onward.iter().any(|step| matches!(step, Onward::Lines(_))) {
                self.program.sweeps[target.0] = Some(sweep);
            }
        }
        Ok(backward)
    }

    /// `γ` of a max-pool: one input collects from up to `windows` outputs one after another, the constants of all outputs are summed
    /// as other sums are.
    pub(super) fn pool_gamma(&self, windows: usize, n_out: usize) -> f32 {
        self.arithmetic.gamma(windows.max(self.arithmetic.depth(n_out)) + self.room)
    }

    /// Gives the coefficients in `slot` to a node, adding them to what it has.
    fn arrive(&self, slots: &mut Slots, walk: &mut Vec<Walk>, node: NodeId, slot: usize) {
        if let Some(to) = slots.of[node.0] {
            walk.push(self.merge(slot, to, node, true));
            slots.free.push(slot);
        } else {
            slots.of[node.0] = Some(slot);
        }
    }

    fn merge(&self, from: usize, to: usize, node: NodeId, adds: bool) -> Walk {
        Walk::Merge(BackMerge {
            from: from as u32,
            to: to as u32,
            n: self.network.node(node).len() as u32,
            adds: u32::from(adds),
            bounds: self.places[node.0].bounds as u32,
            two_units: self.arithmetic.two_units(),
            padding: [0; 2],
        })
    }

    fn back_affine(&self, id: NodeId, affine: &Affine, from: usize, to: usize) -> Walk {
        let place = self.places[id.0];
        let is_sparse = matches!(affine.map, LinearMap::Sparse(_));
        let params = BackAffine {
            from: from as u32,
            to: to as u32,
            n_out: affine.n_out() as u32,
            n_in: affine.n_in() as u32,
            weight: if is_sparse { place.transposed } else { place.weight } as u32,
            transposed: place.transposed as u32,
            columns: place.columns as u32,
            operand: self.network.node(id).inputs[0].0 as u32,
        };
        match &affine.map {
            LinearMap::Dense(_) => Walk::Dense(params),
            LinearMap::Conv(conv) => Walk::Conv(params, conv_shape(conv)),
            LinearMap::Sparse(_) => Walk::Sparse(params),
        }
    }

    /// What flushed subnormals may cost one affine step: `4η[(2n + w₁ + ‖A‖₁)‖H‖₁ + 2(n + ‖A‖₁ + ‖b‖₁)]`.
    fn flushed(&self, affine: &Affine, operand: NodeId, coefficient: f64) -> f64 {
        let n = affine.n_out() as f64;
        let high = self.magnitudes[operand.0] * affine.n_in() as f64;
        let bias: f64 = affine.bias.iter().map(|b| b.abs()).sum();
        let norm = coefficient * n;
        4.0 * self.arithmetic.smallest_normal
            * ((2.0 * n + largest_column_sum(affine) + norm) * high + 2.0 * (n + norm + bias))
    }
}

fn steepest(activation: &Activation) -> f64 {
    match activation {
        Activation::LeakyRelu(slopes) => largest(slopes).max(1.0),
        _ => 1.0,
    }
}
