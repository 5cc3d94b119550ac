use network::{Activation, Affine, MaxPool, Network, Op};

use super::Dyadic;
use super::backward::bound_at;
use super::lines::{Lines, is_undecided};
use crate::backward::{Lane, Row};
use crate::product;
use crate::question::Question;
use crate::scope::{NO_SLOPE, Split};

/// Bounds of every node over a part of the input space, as [`crate::Scope`], without rounding.
#[derive(Debug, Clone)]
pub struct ExactScope<'a> {
    pub(super) network: &'a Network,
    /// Per node that is bounded.
    pub(super) nodes: Vec<Known>,
    /// Per `ReLU` node, its place among them.
    pub(super) ordinals: Vec<Option<u32>>,
    /// Per `ReLU`, where each neuron's slope is; empty where no slopes were declared.
    pub(super) slope_places: Vec<Vec<u32>>,
    n_slopes: usize,
    splits: Vec<Split>,
    is_empty: bool,
}

/// What is known of a node's values.
#[derive(Debug, Clone, Default)]
pub struct Known {
    pub lower: Vec<Dyadic>,
    pub upper: Vec<Dyadic>,
    /// Of an activation: its lines.
    pub lines: Vec<Lines>,
}

impl<'a> ExactScope<'a> {
    /// Starts with a box and splits that hold in it; the network's other nodes follow in order.
    pub fn start(question: &Question<'a>, (lower, upper): (&[f64], &[f64]), splits: &[Split]) -> Self {
        let network = question.network;
        let mut n_relus = 0;
        let ordinals: Vec<Option<u32>> = network
            .nodes()
            .iter()
            .map(|node| {
                matches!(node.op, Op::Activation(Activation::Relu)).then(|| {
                    n_relus += 1;
                    n_relus - 1
                })
            })
            .collect();
        let exact = |ends: &[f64]| ends.iter().map(|&end| Dyadic::from(end)).collect();
        let input = Known { lower: exact(lower), upper: exact(upper), lines: Vec::new() };
        let mut scope = Self {
            network,
            nodes: vec![input],
            ordinals,
            slope_places: vec![Vec::new(); n_relus as usize],
            n_slopes: 0,
            splits: splits.to_vec(),
            is_empty: false,
        };
        scope.look_at(0);
        scope
    }

    /// The node that [`Self::settle`] bounds next, if any is left.
    pub fn next(&self) -> Option<usize> {
        (self.nodes.len() < self.network.nodes().len()).then_some(self.nodes.len())
    }

    /// Whether no input lies in it.
    pub fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// The splits that hold in it.
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// Whether a node is bounded.
    pub fn has(&self, node: usize) -> bool {
        node < self.nodes.len()
    }

    /// Exact bounds of a node.
    pub fn bounds(&self, node: usize) -> (&[Dyadic], &[Dyadic]) {
        (&self.nodes[node].lower, &self.nodes[node].upper)
    }

    /// Declares which neurons of a `ReLU` have slopes of their own in rows of this scope; `neurons` rise.
    pub fn declare_slopes(&mut self, relu: usize, neurons: &[u32], n: usize) {
        let mut places = vec![NO_SLOPE; n];
        for &neuron in neurons {
            places[neuron as usize] = self.n_slopes as u32;
            self.n_slopes += 1;
        }
        self.slope_places[relu] = places;
    }

    /// Number of slopes that were declared.
    pub fn n_slopes(&self) -> usize {
        self.n_slopes
    }

    /// Linear bounds of those neurons of the operand of `node`, if that is an activation, that intervals leave undecided; `except`
    /// these, which rise.
    pub fn bound_operand(&mut self, node: usize, except: &[u32]) {
        let Op::Activation(activation) = &self.network.nodes()[node].op else { return };
        let operand = self.network.nodes()[node].inputs[0].0;
        let known = &self.nodes[operand];
        let undecided: Vec<usize> = (0..known.lower.len())
            .filter(|&j| is_undecided(activation, &known.lower[j], &known.upper[j]))
            .filter(|&j| except.binary_search(&(j as u32)).is_err())
            .collect();
        let ends: Vec<[Option<Dyadic>; 2]> = undecided
            .iter()
            .map(|&j| [Row::Lower(j), Row::Upper(j)].map(|row| bound_at(self, operand, &Lane::plain(row))))
            .collect();
        for (&j, [lower, upper]) in undecided.iter().zip(ends) {
            self.tighten(operand, j, lower, upper.map(|upper| -upper));
        }
        self.look_at(operand);
    }

    /// Takes over a bound that was proved: of a neuron, or of its negative for the upper end. One that is infinite was proved by
    /// showing that there is no input.
    pub fn learn(&mut self, node: usize, neuron: usize, is_upper: bool, claim: f32) {
        if claim == f32::INFINITY {
            self.is_empty = true;
        } else if claim.is_finite() {
            let claim = Dyadic::from(f64::from(claim));
            if is_upper {
                self.tighten(node, neuron, None, Some(-claim));
            } else {
                self.tighten(node, neuron, Some(claim), None);
            }
        }
    }

    /// Notices what follows from a node's ends after some were changed.
    pub fn look_at(&mut self, node: usize) {
        let known = &self.nodes[node];
        self.is_empty |= known.lower.iter().zip(&known.upper).any(|(l, u)| l > u);
    }

    fn tighten(&mut self, node: usize, neuron: usize, lower: Option<Dyadic>, upper: Option<Dyadic>) {
        let known = &mut self.nodes[node];
        if let Some(lower) = lower.filter(|lower| *lower > known.lower[neuron]) {
            known.lower[neuron] = lower;
        }
        if let Some(upper) = upper.filter(|upper| *upper < known.upper[neuron]) {
            known.upper[neuron] = upper;
        }
    }

    /// Bounds the next node from those before it, as [`crate::Scope::settle`].
    ///
    /// # Panics
    /// At an activation without exact lines; see [`super::obstacle`].
    pub fn settle(&mut self, node: usize, parent: Option<&Self>) {
        let of = &self.network.nodes()[node];
        if let Some(relu) = self.ordinals[node] {
            let operand = of.inputs[0].0;
            let splits: Vec<Split> = self.splits.iter().copied().filter(|split| split.relu == relu).collect();
            for split in splits {
                let zero = Some(Dyadic::default());
                let (lower, upper) = if split.is_active { (zero, None) } else { (None, zero) };
                self.tighten(operand, split.neuron as usize, lower, upper);
            }
            self.look_at(operand);
        }
        let operand = |i: usize| &self.nodes[of.inputs[i].0];
        let mut known = match &of.op {
            Op::Input => Known::default(),
            Op::Affine(affine) => image(affine, operand(0)),
            Op::Add => {
                let mut sum = Known { lines: Vec::new(), ..operand(0).clone() };
                for i in 1..of.inputs.len() {
                    sum.lower.iter_mut().zip(&operand(i).lower).for_each(|(sum, l)| sum.increase(l));
                    sum.upper.iter_mut().zip(&operand(i).upper).for_each(|(sum, u)| sum.increase(u));
                }
                sum
            }
            Op::Activation(activation) => {
                let mut known = Known::default();
                let from = operand(0);
                for (i, (l, u)) in from.lower.iter().zip(&from.upper).enumerate() {
                    // Ends that have crossed leave no input, which is known by now; any lines will do.
                    let (l, u) = if l <= u { (l, u) } else { (l, l) };
                    let (lines, [low, high]) = Lines::of(activation, i, l, u).expect("refused before: see obstacle");
                    known.lower.push(low);
                    known.upper.push(high);
                    known.lines.push(lines);
                }
                known
            }
            Op::MaxPool(pool) => max_pool(pool, operand(0)),
        };
        if let Some(parent) = parent {
            let outer = &parent.nodes[node];
            for (l, outer) in known.lower.iter_mut().zip(&outer.lower) {
                *l = l.clone().max(outer.clone());
            }
            for (u, outer) in known.upper.iter_mut().zip(&outer.upper) {
                *u = u.clone().min(outer.clone());
            }
        }
        self.nodes.push(known);
        self.look_at(node);
    }
}

/// `W x + b` on intervals.
fn image(affine: &Affine, from: &Known) -> Known {
    let mut known = Known::default();
    for k in 0..affine.n_out() {
        let mut ends = [0, 1].map(|_| Dyadic::from(affine.bias[k]));
        product::row(&affine.map, k, |i, w| {
            let (low, high) =
                if w >= 0.0 { (&from.lower[i], &from.upper[i]) } else { (&from.upper[i], &from.lower[i]) };
            ends[0].increase(&low.times(w));
            ends[1].increase(&high.times(w));
        });
        let [lower, upper] = ends;
        known.lower.push(lower);
        known.upper.push(upper);
    }
    known
}

fn max_pool(pool: &MaxPool, from: &Known) -> Known {
    let of = |o: usize, ends: &[Dyadic]| pool.window(o).map(|i| &ends[i]).max().cloned().unwrap_or_default();
    let ends = |ends: &[Dyadic]| (0..pool.n_out()).map(|o| of(o, ends)).collect();
    Known { lower: ends(&from.lower), upper: ends(&from.upper), lines: Vec::new() }
}
