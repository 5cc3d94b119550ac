use network::{Affine, MaxPool, Op};
use rayon::prelude::*;

use super::{Dyadic, ExactScope};
use crate::backward::{Lane, Row};
use crate::product;
use crate::scope::{NO_SLOPE, Split};

/// Lower bounds of rows of a node, as [`crate::bound`]: the largest floats that are not above the exact ones.
pub fn bound(scope: &ExactScope, node: usize, lanes: &[Lane]) -> Vec<f64> {
    let of = |lane: &Lane| {
        if scope.is_empty() {
            return f64::INFINITY;
        }
        match Start::of(scope, lane) {
            Start::Wrong => f64::NEG_INFINITY,
            Start::Empty => f64::INFINITY,
            Start::Pass(pass) => pass.run(node).float_below(),
        }
    };
    lanes.par_iter().with_max_len(1).map(of).collect()
}

/// The exact bound of one row; none where it is not known, or where no input is left.
pub fn bound_at(scope: &ExactScope, node: usize, lane: &Lane) -> Option<Dyadic> {
    match Start::of(scope, lane) {
        Start::Pass(pass) => Some(pass.run(node)),
        Start::Wrong | Start::Empty => None,
    }
}

/// What a lane's splits make of it.
enum Start<'a> {
    /// Its multipliers are none.
    Wrong,
    /// Its piece holds no input.
    Empty,
    Pass(Pass<'a>),
}

/// A row on its way back. For every input of its piece, `row(x) ≥ Σ_nodes coefficients · values(x) + sum`.
struct Pass<'a> {
    scope: &'a ExactScope<'a>,
    lane: &'a Lane<'a>,
    /// Per node.
    coefficients: Vec<Vec<Dyadic>>,
    sum: Dyadic,
    /// Of each node: neuron, side, multiplier.
    splits: Vec<Vec<(u32, bool, f64)>>,
}

impl<'a> Start<'a> {
    fn of(scope: &'a ExactScope<'a>, lane: &'a Lane<'a>) -> Self {
        let n = scope.network.nodes().len();
        let mut splits = vec![Vec::new(); n];
        let mut is_empty = false;
        for &(Split { relu, neuron, is_active }, beta) in lane.splits {
            let beta = f64::from(beta);
            let node = scope.ordinals.iter().position(|&ordinal| ordinal == Some(relu));
            // Written so that NaN fails.
            let is_multiplier = beta >= 0.0 && beta.is_finite();
            let Some(node) = node.filter(|_| is_multiplier) else { return Self::Wrong };
            let operand = scope.network.nodes()[node].inputs[0].0;
            // A row of an earlier node does not see it, but its piece may be empty.
            let Some(known) = scope.nodes.get(operand) else { continue };
            let (Some(l), Some(u)) = (known.lower.get(neuron as usize), known.upper.get(neuron as usize)) else {
                return Self::Wrong;
            };
            is_empty |= if is_active { u.is_negative() } else { l.is_positive() };
            splits[node].push((neuron, is_active, beta));
        }
        if is_empty {
            return Self::Empty;
        }
        Self::Pass(Pass { scope, lane, coefficients: vec![Vec::new(); n], sum: Dyadic::default(), splits })
    }
}

impl Pass<'_> {
    fn run(mut self, node: usize) -> Dyadic {
        self.seed(node);
        for id in (0..=node).rev() {
            let row = std::mem::take(&mut self.coefficients[id]);
            if row.is_empty() {
                continue;
            }
            let of = &self.scope.network.nodes()[id];
            match &of.op {
                Op::Input => self.concretise(&row),
                Op::Affine(affine) => self.affine(id, affine, &row),
                Op::Add => of.inputs.iter().for_each(|input| self.put(input.0, row.clone())),
                Op::Activation(_) => self.activation(id, &row),
                Op::MaxPool(pool) => self.max_pool(id, pool, &row),
            }
        }
        self.sum
    }

    /// Adds coefficients to those that a node has already.
    fn put(&mut self, node: usize, row: Vec<Dyadic>) {
        let before = &mut self.coefficients[node];
        if before.is_empty() {
            *before = row;
        } else {
            before.iter_mut().zip(&row).for_each(|(sum, a)| sum.increase(a));
        }
    }

    fn zeros(&self, node: usize) -> Vec<Dyadic> {
        vec![Dyadic::default(); self.scope.nodes[node].lower.len()]
    }

    fn seed(&mut self, node: usize) {
        let mut row = self.zeros(node);
        let half_space = match self.lane.row {
            Row::Lower(neuron) => {
                row[neuron] = Dyadic::from(1.0);
                None
            }
            Row::Upper(neuron) => {
                row[neuron] = Dyadic::from(-1.0);
                None
            }
            Row::HalfSpace(half_space) => Some(half_space),
        };
        if let Some(half_space) = half_space {
            self.sum.increase(&Dyadic::from(half_space.constant[0]));
            half_space.output.iter().for_each(|&(j, [below, _])| row[j] = Dyadic::from(below));
            let mut of_inputs = self.zeros(0);
            half_space.input.iter().for_each(|&(i, [below, _])| of_inputs[i] = Dyadic::from(below));
            // The real coefficient lies between two neighbouring floats, of which the lower one is used.
            for (values, terms) in [(node, &half_space.output), (0, &half_space.input)] {
                for &(i, [below, above]) in terms {
                    let known = &self.scope.nodes[values];
                    let high = known.lower[i].abs().max(known.upper[i].abs());
                    let apart = Dyadic::from(above) - Dyadic::from(below);
                    self.sum.increase(&-apart.product(&high));
                }
            }
            self.put(0, of_inputs);
        }
        self.put(node, row);
    }

    fn affine(&mut self, id: usize, affine: &Affine, row: &[Dyadic]) {
        let operand = self.scope.network.nodes()[id].inputs[0].0;
        let mut to = self.zeros(operand);
        for (k, a) in row.iter().enumerate().filter(|(_, a)| !a.is_zero()) {
            self.sum.increase(&a.times(affine.bias[k]));
            product::row(&affine.map, k, |i, w| {
                if w != 0.0 {
                    to[i].increase(&a.times(w));
                }
            });
        }
        self.put(operand, to);
    }

    /// Replaces every neuron by the line that bounds it from the side that matters.
    fn activation(&mut self, id: usize, row: &[Dyadic]) {
        let scope = self.scope;
        let operand = scope.network.nodes()[id].inputs[0].0;
        let places = scope.ordinals[id].map_or(&[][..], |relu| &scope.slope_places[relu as usize]);
        let mut to = vec![Dyadic::default(); row.len()];
        let held = std::mem::take(&mut self.splits[id]);
        for (j, a) in row.iter().enumerate() {
            let lines = &scope.nodes[id].lines[j];
            let alpha = places.get(j).filter(|&&place| place != NO_SLOPE);
            let alpha = alpha.and_then(|&place| self.lane.alpha.get(place as usize));
            // Held `z ≥ 0`: the value is `z`, and `−β z ≤ 0` may be added; held `z ≤ 0`: it is zero, and `+β z ≤ 0`.
            let mut side = None;
            for &(_, is_active, beta) in held.iter().filter(|(neuron, ..)| *neuron as usize == j) {
                side = Some(is_active);
                to[j].increase(&Dyadic::from(if is_active { -beta } else { beta }));
            }
            if let Some(is_active) = side {
                if is_active {
                    to[j].increase(a);
                }
            } else if a.is_negative() {
                to[j].increase(&a.times(lines.up));
                self.sum.increase(&a.product(&lines.up_at));
            } else if let Some(&alpha) = alpha.filter(|_| !lines.is_one()) {
                // Any slope in [0, 1] is below a ReLU.
                to[j].increase(&a.times(f64::from(alpha) / 65535.0));
            } else {
                to[j].increase(&a.times(lines.low));
                self.sum.increase(&a.product(&lines.low_at));
            }
        }
        self.put(operand, to);
    }

    /// Every window is at least its member with the largest lower bound, and at most its largest upper bound; where that member
    /// exceeds all others it is the maximum.
    fn max_pool(&mut self, id: usize, pool: &MaxPool, row: &[Dyadic]) {
        let operand = self.scope.network.nodes()[id].inputs[0].0;
        let before = &self.scope.nodes[operand];
        let mut to = vec![Dyadic::default(); before.lower.len()];
        for (o, a) in row.iter().enumerate() {
            let largest = |best: usize, i: usize| if before.lower[i] > before.lower[best] { i } else { best };
            let Some(best) = pool.window(o).reduce(largest) else { continue };
            let is_best = pool.window(o).filter(|&i| i != best).all(|i| before.upper[i] <= before.lower[best]);
            if is_best || !a.is_negative() {
                to[best].increase(a);
            } else {
                self.sum.increase(&a.product(&self.scope.nodes[id].upper[o]));
            }
        }
        self.put(operand, to);
    }

    /// The least value of what is left over the box.
    fn concretise(&mut self, row: &[Dyadic]) {
        let input = &self.scope.nodes[0];
        for (i, a) in row.iter().enumerate() {
            let end = if a.is_negative() { &input.upper[i] } else { &input.lower[i] };
            self.sum.increase(&a.product(end));
        }
    }
}
