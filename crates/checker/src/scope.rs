use network::{Activation, Affine, MaxPool, Network, Op};

use crate::backward::{Lane, Row, bound};
use crate::deployed;
use crate::lines::{Lines, is_undecided};
use crate::product;
use crate::rounding::{TINY, UNIT, gamma};
use crate::similar::SimilarImages;

/// Whose rounding bounds are moved outward by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rounding {
    /// The checker's own: the bounds hold for the network in real arithmetic.
    #[default]
    Outward,
    /// That of the network, too: the bounds hold for every evaluation in f32, whatever the order of its sums (see
    /// [`crate::deployed`]).
    Deployed,
    /// Nobody's: such bounds prove nothing, and serve comparisons with other implementations.
    Ignored,
}

/// How bounds of neurons are found that no certificate speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Method {
    /// Intervals everywhere.
    Intervals,
    /// Linear bounds, of neurons that their intervals leave undecided.
    Crown,
    /// The same, intersected with the intervals.
    #[default]
    Tightest,
}

/// A `ReLU` held on one side of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Split {
    /// Which `ReLU` node, in the order of the network.
    pub relu: u32,
    /// Which of its neurons.
    pub neuron: u32,
    /// Whether its operand is held `≥ 0` (else `≤ 0`).
    pub is_active: bool,
}

/// Bounds of every node over a part of the input space: a box, in which perhaps some `ReLU`s are held on one side.
///
/// Every number here holds in real arithmetic for every input of the part. Nodes are bounded in order; a scope may be complete up to
/// some node only.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    pub(crate) network: &'a Network,
    pub(crate) rounding: Rounding,
    /// Per node that is bounded, what is known of its values.
    pub(crate) nodes: Vec<Known>,
    /// Per `ReLU` node, its place among them.
    pub(crate) ordinals: Vec<Option<u32>>,
    /// Per `ReLU`, where each neuron's slope is in a list of them; empty where no slopes were declared.
    pub(crate) slope_places: Vec<Vec<u32>>,
    pub(crate) n_slopes: usize,
    /// What inputs lie in besides the box.
    pub(crate) set: Option<&'a SimilarImages>,
    splits: Vec<Split>,
    is_empty: bool,
    is_broken: bool,
}

/// What is known of a node's values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
    /// `Σ max(|l|, |u|)`.
    pub reach: f64,
    /// Neurons that are not constant zero.
    pub alive: Vec<u32>,
    /// Of an affine node or a sum: what a row loses per unit of its coefficient on each output.
    pub errors: Vec<f64>,
    /// Of an activation: its lines.
    pub lines: Vec<Lines>,
}

/// A neuron that has no slope of its own.
pub(crate) const NO_SLOPE: u32 = u32::MAX;

impl Known {
    fn new(lower: Vec<f64>, upper: Vec<f64>) -> Self {
        let mut known = Self { lower, upper, ..Self::default() };
        known.settle();
        known
    }

    /// Recomputes what follows from the ends.
    fn settle(&mut self) {
        let (lower, upper) = (&self.lower, &self.upper);
        self.reach = lower.iter().zip(upper).map(|(l, u)| l.abs().max(u.abs())).sum();
        self.alive =
            (0..lower.len() as u32).filter(|&i| lower[i as usize] != 0.0 || upper[i as usize] != 0.0).collect();
    }

    /// The largest magnitude of a neuron.
    pub fn high(&self, i: usize) -> f64 {
        self.lower[i].abs().max(self.upper[i].abs())
    }
}

impl<'a> Scope<'a> {
    /// Bounds every node over a box.
    pub fn of(network: &'a Network, lower: &[f64], upper: &[f64], method: Method, rounding: Rounding) -> Self {
        Self::start(network, lower, upper, &[], rounding).complete(method)
    }

    /// The part of it in a set: rows over the inputs are bounded there.
    #[must_use]
    pub fn within(self, set: Option<&'a SimilarImages>) -> Self {
        Self { set, ..self }
    }

    /// Bounds every node that is left.
    pub(crate) fn complete(mut self, method: Method) -> Self {
        let scope = &mut self;
        while let Some(node) = scope.next() {
            scope.bound_operand(node, method, &[]);
            scope.settle(node, None);
        }
        self
    }

    /// Starts with a box and splits that hold in it; the network's other nodes follow in order.
    pub fn start(network: &'a Network, lower: &[f64], upper: &[f64], splits: &[Split], rounding: Rounding) -> Self {
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
        let input = Known::new(lower.to_vec(), upper.to_vec());
        let mut scope = Self {
            network,
            rounding,
            nodes: vec![input],
            ordinals,
            slope_places: vec![Vec::new(); n_relus as usize],
            n_slopes: 0,
            set: None,
            splits: splits.to_vec(),
            is_empty: false,
            is_broken: false,
        };
        scope.look_at(0);
        scope
    }

    /// The node that [`Self::settle`] bounds next, if any is left.
    pub fn next(&self) -> Option<usize> {
        (self.nodes.len() < self.network.nodes().len()).then_some(self.nodes.len())
    }

    /// Whether no input lies in it: some lower bound exceeds the upper bound.
    pub fn is_empty(&self) -> bool {
        self.is_empty && !self.is_broken
    }

    /// The splits that hold in it.
    pub fn splits(&self) -> &[Split] {
        &self.splits
    }

    /// Bounds of a node.
    pub fn bounds(&self, node: usize) -> (&[f64], &[f64]) {
        (&self.nodes[node].lower, &self.nodes[node].upper)
    }

    /// Whether some bound overflowed: then nothing is known at all.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Neurons of the operand of `ReLU` node `node`, the next to be settled, on both sides of zero.
    pub fn undecided(&self, node: usize) -> Vec<u32> {
        let (lower, upper) = self.bounds(self.network.nodes()[node].inputs[0].0);
        (0..lower.len() as u32).filter(|&j| lower[j as usize] < 0.0 && upper[j as usize] > 0.0).collect()
    }

    /// Linear bounds of those neurons of the operand of `node`, if that is an activation, that intervals leave undecided; `except`
    /// these, which rise.
    pub fn bound_operand(&mut self, node: usize, method: Method, except: &[u32]) {
        let Op::Activation(activation) = &self.network.nodes()[node].op else { return };
        let operand = self.network.nodes()[node].inputs[0].0;
        let is_exact = match &self.network.nodes()[operand].op {
            Op::Input => true,
            Op::Affine(_) => self.set.is_none() && self.network.nodes()[operand].inputs[0].0 == 0,
            _ => false,
        };
        if is_exact || method == Method::Intervals || self.is_broken {
            return;
        }
        let known = &self.nodes[operand];
        let is_wanted = |&j: &usize| {
            is_undecided(activation, known.lower[j], known.upper[j]) && except.binary_search(&(j as u32)).is_err()
        };
        let undecided: Vec<usize> = (0..known.lower.len()).filter(is_wanted).collect();
        let lanes: Vec<Lane> =
            undecided.iter().flat_map(|&j| [Row::Lower(j), Row::Upper(j)]).map(Lane::plain).collect();
        let bounds = bound(self, operand, &lanes);
        for (&j, ends) in undecided.iter().zip(bounds.chunks(2)) {
            if method == Method::Tightest {
                self.tighten(operand, j, ends[0], -ends[1]);
            } else {
                (self.nodes[operand].lower[j], self.nodes[operand].upper[j]) = (ends[0], -ends[1]);
            }
        }
        self.relook(operand);
    }

    /// Intersects the bounds of a neuron with others that hold; ends that are NaN say nothing.
    pub fn tighten(&mut self, node: usize, neuron: usize, lower: f64, upper: f64) {
        let known = &mut self.nodes[node];
        if lower > known.lower[neuron] {
            known.lower[neuron] = lower;
        }
        if upper < known.upper[neuron] {
            known.upper[neuron] = upper;
        }
    }

    /// Takes over a bound that was proved: of a neuron, or of its negative for the upper end. One that is infinite was proved by
    /// showing that there is no input.
    pub fn learn(&mut self, node: usize, neuron: usize, is_upper: bool, claim: f32) {
        let claim = f64::from(claim);
        if claim == f64::INFINITY {
            self.is_empty = true;
        } else if is_upper {
            self.tighten(node, neuron, f64::NEG_INFINITY, -claim);
        } else {
            self.tighten(node, neuron, claim, f64::INFINITY);
        }
    }

    /// Recomputes what follows from a node's ends after some were changed.
    pub fn relook(&mut self, node: usize) {
        self.nodes[node].settle();
        self.look_at(node);
    }

    /// Whether a node is bounded.
    pub fn has(&self, node: usize) -> bool {
        node < self.nodes.len()
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

    /// Bounds the next node from those before it; a `ReLU`'s operand is clipped to the sides that splits hold it on, and what a
    /// containing scope knows of the node is taken over.
    pub fn settle(&mut self, node: usize, parent: Option<&Scope>) {
        if let Some(relu) = self.ordinals[node] {
            let operand = self.network.nodes()[node].inputs[0].0;
            let splits: Vec<Split> = self.splits.iter().copied().filter(|split| split.relu == relu).collect();
            for split in splits {
                let (lower, upper) = if split.is_active { (0.0, f64::INFINITY) } else { (f64::NEG_INFINITY, 0.0) };
                self.tighten(operand, split.neuron as usize, lower, upper);
            }
            self.relook(operand);
        }
        let of = &self.network.nodes()[node];
        let operand = |i: usize| &self.nodes[of.inputs[i].0];
        let mut known = match &of.op {
            Op::Input => Known::default(),
            Op::Affine(affine) => self.affine(affine, operand(0)),
            Op::Add => {
                let (mut lower, mut upper) = (operand(0).lower.clone(), operand(0).upper.clone());
                let mut errors = vec![0.0; lower.len()];
                if self.rounding == Rounding::Deployed {
                    let magnitude = |j: usize| (0..of.inputs.len()).map(|i| operand(i).high(j)).sum();
                    (0..errors.len()).for_each(|j| errors[j] = deployed::sum(of.inputs.len(), magnitude(j)));
                }
                for i in 1..of.inputs.len() {
                    lower.iter_mut().zip(&operand(i).lower).for_each(|(sum, l)| *sum = self.down(*sum + l));
                    upper.iter_mut().zip(&operand(i).upper).for_each(|(sum, u)| *sum = self.up(*sum + u));
                }
                if self.rounding == Rounding::Deployed {
                    lower.iter_mut().zip(&errors).for_each(|(l, error)| *l = self.down(*l - 2.0 * error));
                    upper.iter_mut().zip(&errors).for_each(|(u, error)| *u = self.up(*u + 2.0 * error));
                }
                Known { errors, ..Known::new(lower, upper) }
            }
            Op::Activation(activation) => {
                let from = operand(0);
                let relaxed = from.lower.iter().zip(&from.upper).enumerate();
                let (lines, images): (Vec<_>, Vec<_>) =
                    relaxed.map(|(i, (&l, &u))| Lines::of(activation, i, l, u)).unzip();
                let ends = |end: usize| images.iter().map(|image: &[f64; 2]| image[end]).collect();
                Known { lines, ..Known::new(ends(0), ends(1)) }
            }
            Op::MaxPool(pool) => max_pool(pool, operand(0)),
        };
        if let Some(parent) = parent {
            let outer = &parent.nodes[node];
            known.lower.iter_mut().zip(&outer.lower).for_each(|(l, outer)| *l = l.max(*outer));
            known.upper.iter_mut().zip(&outer.upper).for_each(|(u, outer)| *u = u.min(*outer));
            known.settle();
        }
        self.nodes.push(known);
        self.look_at(node);
    }

    /// `W x + b` on intervals, and what a backward row pays for passing.
    ///
    /// With a centre `m` and a radius `ρ` that covers both ends, `z` lies in `W m + b ± |W| ρ`. The sums are off by at most
    /// `γ_{n+2} (|W| (|m| + ρ) + |b|)`; stored coefficients by [`network::WeightError`]. Backwards, `Σ_k A_k z_k` becomes
    /// `Σ_i Â_i h_i` with `Â = fl(A W)`: `|Â_i − Σ_k A_k W_ki| ≤ γ_n Σ_k |A_k| |W_ki|` for every order of summation, so that the row
    /// loses at most `γ_n Σ_k |A_k| (|W| H)_k`, with `H_i ≥ |h_i|`. Underflow costs at most [`TINY`] `Σ H_i`; it is added where
    /// the row is. The factor 2 is that of [`crate::rounding`].
    fn affine(&self, affine: &Affine, from: &Known) -> Known {
        let n = from.lower.len();
        let (mut centre, mut radius, mut reach) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        for i in 0..n {
            let (l, u) = (from.lower[i], from.upper[i]);
            centre[i] = 0.5 * l + 0.5 * u;
            radius[i] = if l == u { 0.0 } else { (u - centre[i]).max(centre[i] - l).next_up() };
            reach[i] = centre[i].abs() + radius[i];
        }
        let (in_row, in_column) = product::longest(&affine.map, affine.n_out());
        let (gamma_row, gamma_column) = (gamma(in_row + 2), gamma(in_column));
        let error = &affine.error;
        let at = |list: &[f64], k: usize| list.get(k).copied().unwrap_or(0.0);
        let total: f64 = reach.iter().sum();
        let is_deployed = self.rounding == Rounding::Deployed;
        if is_deployed {
            reach.iter_mut().for_each(|reach| *reach = deployed::reach(*reach));
        }
        let n_out = affine.n_out();
        let (mut lower, mut upper) = (Vec::with_capacity(n_out), Vec::with_capacity(n_out));
        let mut errors = Vec::with_capacity(n_out);
        for k in 0..n_out {
            let [sum, spread, magnitude] = product::forward(&affine.map, k, &centre, &radius, &reach);
            let b = affine.bias[k];
            let mut wrong = error.relative * magnitude + at(&error.absolute, k) * total + at(&error.bias, k);
            if is_deployed {
                wrong += deployed::affine(in_row, magnitude + b.abs(), total);
            }
            let rounding = 2.0 * (gamma_row * (magnitude + b.abs()) + wrong + TINY);
            let pay = if self.rounding == Rounding::Ignored { 0.0 } else { rounding };
            let z = sum + b;
            lower.push(self.down(self.down(z - spread) - pay));
            upper.push(self.up(self.up(z + spread) + pay));
            errors.push(gamma_column * magnitude + wrong);
        }
        Known { errors, ..Known::new(lower, upper) }
    }

    fn down(&self, value: f64) -> f64 {
        if self.rounding == Rounding::Ignored { value } else { value.next_down() }
    }

    fn up(&self, value: f64) -> f64 {
        if self.rounding == Rounding::Ignored { value } else { value.next_up() }
    }

    /// Notes whether a node's bounds are empty, or not finite.
    fn look_at(&mut self, node: usize) {
        let known = &self.nodes[node];
        self.is_broken |= known.lower.iter().chain(&known.upper).any(|end| !end.is_finite());
        self.is_empty |= known.lower.iter().zip(&known.upper).any(|(l, u)| l > u);
    }
}

fn max_pool(pool: &MaxPool, from: &Known) -> Known {
    let of = |o: usize, ends: &[f64]| pool.window(o).map(|i| ends[i]).fold(f64::NEG_INFINITY, f64::max);
    let ends = |ends: &[f64]| (0..pool.n_out()).map(|o| of(o, ends)).collect();
    Known::new(ends(&from.lower), ends(&from.upper))
}

/// Half of the distance between floats near a value: what one rounding of it may cost.
pub(crate) fn half_step(value: f64) -> f64 {
    UNIT * value.abs()
}
