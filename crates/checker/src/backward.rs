use network::{HalfSpace, MaxPool, Op};
use rayon::prelude::*;

use crate::lines::Lines;
use crate::product::{self, LANES, Rows};
use crate::rounding::{TINY, UNIT, gamma};
use crate::scope::{NO_SLOPE, Rounding, Scope, Split, half_step};

/// What a row bounds from below.
#[derive(Debug, Clone, Copy)]
pub enum Row<'a> {
    /// A neuron of the node.
    Lower(usize),
    /// The negative of a neuron: minus its upper bound.
    Upper(usize),
    /// The left side of a half-space over the network's inputs and outputs; the node is the output.
    HalfSpace(&'a HalfSpace),
}

/// A row with what its bound needs.
#[derive(Debug, Clone, Copy)]
pub struct Lane<'a> {
    /// The row.
    pub row: Row<'a>,
    /// Slopes of the lower lines of undecided `ReLU`s, in 65535ths, in the order in which the scope declared them; missing ones
    /// are chosen as usual.
    pub alpha: &'a [u16],
    /// `ReLU`s that are held on one side in the piece that this row speaks of, with their multipliers `β ≥ 0`.
    pub splits: &'a [(Split, f32)],
}

impl<'a> Lane<'a> {
    /// A row with the usual slopes over the whole scope.
    pub fn plain(row: Row<'a>) -> Self {
        Self { row, alpha: &[], splits: &[] }
    }
}

/// Blocks from which on they are spread over the cores.
const PARALLEL_BLOCKS: usize = 8;

/// What may be claimed of a bound: an f32 at or below it; `−∞` of one that is none.
pub fn claim(bound: f64) -> f32 {
    let nearest = bound as f32;
    if bound.is_nan() {
        f32::NEG_INFINITY
    } else if f64::from(nearest) > bound {
        nearest.next_down()
    } else {
        nearest
    }
}

/// Lower bounds of rows of a node: CROWN, with the slopes and multipliers of each lane.
///
/// A piece that its splits leave empty has the bound `+∞`; a bound that is not known is `−∞`. Slopes beyond `[0, 1]` do not exist, a
/// multiplier that is negative or not a number makes the bound `−∞`.
pub fn bound(scope: &Scope, node: usize, lanes: &[Lane]) -> Vec<f64> {
    if scope.is_broken() || scope.is_empty() {
        let bound = if scope.is_broken() { f64::NEG_INFINITY } else { f64::INFINITY };
        return vec![bound; lanes.len()];
    }
    let of = |block: &[Lane]| {
        let bounds = Pass::new(scope, block).run(node);
        (0..block.len()).map(|r| bounds[r]).collect::<Vec<f64>>()
    };
    if lanes.len() > PARALLEL_BLOCKS * LANES {
        lanes.par_chunks(LANES).flat_map_iter(of).collect()
    } else {
        lanes.chunks(LANES).flat_map(of).collect()
    }
}

/// A block of rows on its way back.
///
/// The invariant, for every lane and every input of its piece, in real arithmetic:
///
/// ```text
/// row(x) ≥ Σ_nodes coefficients · values(x)  +  the real sum that `sum` stands for  −  slack
/// ```
///
/// where `coefficients` are the floats themselves. A step takes one node's coefficients away and puts others on its operands.
struct Pass<'a> {
    scope: &'a Scope<'a>,
    lanes: &'a [Lane<'a>],
    /// Per node.
    coefficients: Vec<Vec<Rows>>,
    sum: Rows,
    magnitude: Rows,
    slack: Rows,
    /// Products in `sum`.
    n_terms: usize,
    /// Of each node, the splits of all lanes: neuron, lane, side, multiplier.
    splits: Vec<Vec<(u32, usize, bool, f64)>>,
    /// Lanes of no piece, and lanes whose multipliers are none.
    is_empty: [bool; LANES],
    is_wrong: [bool; LANES],
}

impl<'a> Pass<'a> {
    fn new(scope: &'a Scope<'a>, lanes: &'a [Lane<'a>]) -> Self {
        let n = scope.network.nodes().len();
        let mut pass = Self {
            scope,
            lanes,
            coefficients: vec![Vec::new(); n],
            sum: [0.0; LANES],
            magnitude: [0.0; LANES],
            slack: [TINY; LANES],
            n_terms: 16,
            splits: vec![Vec::new(); n],
            is_empty: [false; LANES],
            is_wrong: [false; LANES],
        };
        for (r, lane) in lanes.iter().enumerate() {
            for &(split, beta) in lane.splits {
                pass.hold(r, split, f64::from(beta));
            }
        }
        pass.splits.iter_mut().for_each(|splits| splits.sort_by_key(|split| (split.0, split.1)));
        pass
    }

    /// Takes in a split of a lane.
    fn hold(&mut self, r: usize, split: Split, beta: f64) {
        let Some(node) = self.scope.ordinals.iter().position(|&ordinal| ordinal == Some(split.relu)) else {
            self.is_wrong[r] = true;
            return;
        };
        // Written so that NaN fails.
        let is_multiplier = beta >= 0.0 && beta.is_finite();
        self.is_wrong[r] |= !is_multiplier;
        let operand = self.scope.network.nodes()[node].inputs[0].0;
        // A row of an earlier node does not see it, but its piece may be empty.
        let Some(known) = self.scope.nodes.get(operand) else { return };
        let (Some(&l), Some(&u)) = (known.lower.get(split.neuron as usize), known.upper.get(split.neuron as usize))
        else {
            self.is_wrong[r] = true;
            return;
        };
        self.is_empty[r] |= if split.is_active { u < 0.0 } else { l > 0.0 };
        self.splits[node].push((split.neuron, r, split.is_active, beta));
    }

    fn run(mut self, node: usize) -> Rows {
        self.seed(node);
        for id in (0..=node).rev() {
            let rows = std::mem::take(&mut self.coefficients[id]);
            if rows.is_empty() {
                continue;
            }
            let of = &self.scope.network.nodes()[id];
            match &of.op {
                Op::Input => self.concretise(&rows),
                Op::Affine(affine) => self.affine(id, affine, &rows),
                Op::Add => {
                    for (a, error) in rows.iter().zip(&self.scope.nodes[id].errors) {
                        (0..LANES).for_each(|r| self.slack[r] += a[r].abs() * error);
                    }
                    of.inputs.iter().for_each(|input| self.put(input.0, rows.clone()));
                }
                Op::Activation(_) => self.activation(id, &rows),
                Op::MaxPool(pool) => self.max_pool(id, pool, &rows),
            }
        }
        let gamma = gamma(self.n_terms);
        let mut lower = [f64::NEG_INFINITY; LANES];
        for r in 0..self.lanes.len() {
            let pay = 2.0 * (gamma * self.magnitude[r] + self.slack[r]);
            let bound = match self.scope.rounding {
                Rounding::Outward | Rounding::Deployed => (self.sum[r] - pay).next_down(),
                Rounding::Ignored => self.sum[r],
            };
            // What overflowed anywhere is infinite or not a number in `pay`.
            if self.is_wrong[r] {
                continue;
            }
            if self.is_empty[r] {
                lower[r] = f64::INFINITY;
            } else if bound.is_finite() && pay.is_finite() {
                lower[r] = bound;
            }
        }
        lower
    }

    /// Adds a term `a · b` of real numbers that are floats.
    fn add(&mut self, r: usize, a: f64, b: f64) {
        let term = a * b;
        self.sum[r] += term;
        self.magnitude[r] += term.abs();
    }

    /// Adds coefficients to those that a node has already, and pays for one rounding of each: several paths may meet there.
    ///
    /// An overflow is noticed here too: an infinite coefficient makes the slack infinite, or not a number.
    fn put(&mut self, node: usize, mut rows: Vec<Rows>) {
        let before = std::mem::take(&mut self.coefficients[node]);
        rows.iter_mut().zip(&before).for_each(|(sum, a)| (0..LANES).for_each(|r| sum[r] += a[r]));
        let known = &self.scope.nodes[node];
        for (i, a) in rows.iter().enumerate() {
            let high = UNIT * known.high(i);
            (0..LANES).for_each(|r| self.slack[r] += a[r].abs() * high);
        }
        self.coefficients[node] = rows;
    }

    /// No coefficients of a node.
    fn zeros(&self, node: usize) -> Vec<Rows> {
        vec![[0.0; LANES]; self.scope.nodes[node].lower.len()]
    }

    fn seed(&mut self, node: usize) {
        let lanes = self.lanes;
        let mut rows = self.zeros(node);
        for (r, lane) in lanes.iter().enumerate() {
            match lane.row {
                Row::Lower(neuron) => rows[neuron][r] = 1.0,
                Row::Upper(neuron) => rows[neuron][r] = -1.0,
                Row::HalfSpace(half_space) => {
                    half_space.output.iter().for_each(|&(j, [below, _])| rows[j][r] = below);
                }
            }
        }
        self.put(node, rows);
        let mut of_inputs = self.zeros(0);
        let mut has_inputs = false;
        for (r, lane) in lanes.iter().enumerate() {
            let Row::HalfSpace(half_space) = lane.row else { continue };
            self.add(r, half_space.constant[0], 1.0);
            // The real coefficient lies between two neighbouring floats, of which the lower one is used.
            for (values, terms) in [(node, &half_space.output), (0, &half_space.input)] {
                for &(i, [below, above]) in terms {
                    self.slack[r] += (above - below) * self.scope.nodes[values].high(i);
                }
            }
            for &(i, [below, _]) in &half_space.input {
                of_inputs[i][r] = below;
                has_inputs = true;
            }
        }
        if has_inputs {
            self.put(0, of_inputs);
        }
    }

    /// See [`Scope::settle`] for the errors. Coefficients of operands that are constant zero are not needed.
    fn affine(&mut self, id: usize, affine: &network::Affine, rows: &[Rows]) {
        let known = &self.scope.nodes[id];
        let live: Vec<u32> = (0..rows.len() as u32).filter(|&k| rows[k as usize].iter().any(|&a| a != 0.0)).collect();
        for &k in &live {
            let (a, error, bias) = (&rows[k as usize], known.errors[k as usize], affine.bias[k as usize]);
            for r in 0..LANES {
                let term = a[r] * bias;
                self.sum[r] += term;
                self.magnitude[r] += term.abs();
                self.slack[r] += a[r].abs() * error;
            }
        }
        self.n_terms += live.len();
        let operand = self.scope.network.nodes()[id].inputs[0].0;
        let mut to = self.zeros(operand);
        product::backward(&affine.map, &live, &self.scope.nodes[operand].alive, rows, &mut to);
        self.put(operand, to);
        self.slack.iter_mut().for_each(|slack| *slack += TINY * (1.0 + self.scope.nodes[operand].reach));
    }

    /// Replaces every neuron by the line that bounds it from the side that matters.
    fn activation(&mut self, id: usize, rows: &[Rows]) {
        let scope = self.scope;
        let (known, operand) = (&scope.nodes[id], scope.network.nodes()[id].inputs[0].0);
        let before = &scope.nodes[operand];
        let places = scope.ordinals[id].map_or(&[][..], |relu| &scope.slope_places[relu as usize]);
        let mut to = vec![[0.0; LANES]; rows.len()];
        let splits = std::mem::take(&mut self.splits[id]);
        let mut splits = splits.iter().peekable();
        for (j, a) in rows.iter().enumerate() {
            let lines = known.lines[j];
            if splits.peek().is_none_or(|split| split.0 as usize > j) {
                if lines == Lines::ZERO {
                    continue;
                }
                if lines == Lines::IDENTITY {
                    to[j] = *a;
                    continue;
                }
            }
            let mut low = [lines.low; LANES];
            let (mut low_at, mut up, mut up_at) = ([lines.low_at; LANES], [lines.up; LANES], [lines.up_at; LANES]);
            let mut beta = [0.0; LANES];
            if let Some(&place) = places.get(j).filter(|&&place| place != NO_SLOPE) {
                for (r, lane) in self.lanes.iter().enumerate() {
                    if let Some(&alpha) = lane.alpha.get(place as usize) {
                        low[r] = f64::from(alpha) / 65535.0;
                    }
                }
            }
            while let Some(&(_, r, is_active, multiplier)) = splits.next_if(|split| split.0 as usize == j) {
                // Held `z ≥ 0`: the value is `z`, and `−β z ≤ 0` may be added; held `z ≤ 0`: it is zero, and `+β z ≤ 0`.
                let slope = if is_active { 1.0 } else { 0.0 };
                (low[r], low_at[r], up[r], up_at[r]) = (slope, 0.0, slope, 0.0);
                beta[r] += if is_active { -multiplier } else { multiplier };
            }
            let high = before.high(j);
            for r in 0..LANES {
                let (slope, at) = if a[r] >= 0.0 { (low[r], low_at[r]) } else { (up[r], up_at[r]) };
                let (product, term) = (a[r] * slope, a[r] * at);
                to[j][r] = product + beta[r];
                self.sum[r] += term;
                self.magnitude[r] += term.abs();
                self.slack[r] += (half_step(product) + half_step(to[j][r])) * high;
            }
        }
        self.n_terms += rows.len();
        self.put(operand, to);
        self.slack.iter_mut().for_each(|slack| *slack += TINY * (1.0 + before.reach));
    }

    /// Every window is at least its member with the largest lower bound, and at most its largest upper bound; where that member
    /// exceeds all others it is the maximum.
    fn max_pool(&mut self, id: usize, pool: &MaxPool, rows: &[Rows]) {
        let operand = self.scope.network.nodes()[id].inputs[0].0;
        let before = &self.scope.nodes[operand];
        // Overlapping windows add to one coefficient.
        let overlap = gamma(pool.kernel[0] * pool.kernel[1]);
        let mut to = vec![[0.0; LANES]; before.lower.len()];
        for (o, a) in rows.iter().enumerate() {
            let largest = |best: usize, i: usize| if before.lower[i] > before.lower[best] { i } else { best };
            let Some(best) = pool.window(o).reduce(largest) else { continue };
            let others = pool.window(o).filter(|&i| i != best).map(|i| before.upper[i]);
            let is_best = others.fold(f64::NEG_INFINITY, f64::max) <= before.lower[best];
            let most = self.scope.nodes[id].upper[o];
            for r in 0..LANES {
                // Written so that NaN stays.
                let takes_upper = a[r] < 0.0;
                if is_best || !takes_upper {
                    to[best][r] += a[r];
                    self.slack[r] += overlap * a[r].abs() * before.high(best);
                } else {
                    self.add(r, a[r], most);
                }
            }
        }
        self.n_terms += rows.len();
        self.put(operand, to);
    }

    /// The least value of what is left over the box, and over the set where inputs lie in one.
    fn concretise(&mut self, rows: &[Rows]) {
        let input = &self.scope.nodes[0];
        if let Some(set) = self.scope.set {
            for r in 0..self.lanes.len() {
                let a: Vec<f64> = rows.iter().map(|row| row[r]).collect();
                let least = set.least(&a, &input.lower, &input.upper);
                // One term, whose own rounding is inside it.
                self.sum[r] += least;
                self.magnitude[r] += least.abs();
            }
            return;
        }
        for (i, a) in rows.iter().enumerate() {
            let (l, u) = (input.lower[i], input.upper[i]);
            for r in 0..LANES {
                let term = a[r] * if a[r] >= 0.0 { l } else { u };
                self.sum[r] += term;
                self.magnitude[r] += term.abs();
            }
        }
        self.n_terms += rows.len();
    }
}
