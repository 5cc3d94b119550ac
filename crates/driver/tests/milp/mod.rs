//! Piecewise linear networks as mixed-integer programs, and the truth about them by solving these with `HiGHS`.
//!
//! Every element of every node is a column within its interval (by interval arithmetic in f64, a little widened). What bends is
//! `max(z − t, 0)` with a binary that says on which side of `t` an element lies, and big-M constraints from its interval; a pool
//! has one binary for each operand that may be the largest. Nothing here is shared with the engine but the network itself.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

use highs::{Col, HighsModelStatus, HighsSolutionStatus, RowProblem, Sense};
use network::{Activation, Affine, BoxRegion, HalfSpace, LinearMap, Network, Op};

/// What `HiGHS` may violate constraints by, and how far from an integer a binary may be. Its own default: at 1e-9 it calls points
/// optimal that are not (three different ones at seed 577, by presolve and random seed).
const FEASIBILITY: f64 = 1e-6;

/// A search ends when its ends are that close, in absolute terms; no relative gap is allowed.
const GAP: f64 = 1e-7;

/// The least value of something over a box.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    /// What `HiGHS` shows: the least value is no less, up to the tolerance.
    pub below: f64,
    /// The value at the best point that was found, as the network itself computes it: the least value is no larger.
    pub above: f64,
    /// What the solver's tolerances may amount to: a binary that is off by a little frees an element by as much of its interval.
    pub tolerance: f64,
    /// Binaries in the program.
    pub n_binaries: usize,
}

impl Truth {
    /// Whether both ends agree.
    pub fn is_exact(&self) -> bool {
        (self.above - self.below).abs() <= self.tolerance
    }
}

/// `Σ c_i v_i + d` over columns.
type Form = (Vec<(Col, f64)>, f64);

/// A program that grows node by node.
#[derive(Default)]
struct Program {
    problem: RowProblem,
    n_binaries: usize,
    /// The largest coefficient of a binary.
    widest: f64,
}

impl Program {
    fn row<B: RangeBounds<f64>>(&mut self, bounds: B, terms: impl IntoIterator<Item = (Col, f64)>) {
        let mut sums = BTreeMap::new();
        for (column, c) in terms {
            sums.entry(column.index()).or_insert((column, 0.0)).1 += c;
        }
        self.problem.add_row(bounds, sums.into_values());
    }

    fn binary(&mut self, wide: f64) -> Col {
        self.n_binaries += 1;
        self.widest = self.widest.max(wide);
        self.problem.add_integer_column(0.0, 0.0..=1.0)
    }

    /// A column for a form, within a range.
    fn element(&mut self, (mut terms, constant): Form, range: [f64; 2]) -> Element {
        let [lower, upper] = [range[0] - 1e-9 * (1.0 + range[0].abs()), range[1] + 1e-9 * (1.0 + range[1].abs())];
        let column = self.problem.add_column(0.0, lower..=upper);
        terms.push((column, -1.0));
        self.row(-constant..=-constant, terms);
        Element { column, lower, upper }
    }

    /// `max(z − at, 0)`.
    fn positive(&mut self, z: Element, at: f64) -> Form {
        if z.lower >= at {
            return (vec![(z.column, 1.0)], -at);
        }
        if z.upper <= at {
            return (Vec::new(), 0.0);
        }
        let (low, high) = (z.lower - at, z.upper - at);
        let is_active = self.binary(high.max(-low));
        let r = self.problem.add_column(0.0, 0.0..=high);
        self.row(-at.., [(r, 1.0), (z.column, -1.0)]);
        self.row(..=-z.lower, [(r, 1.0), (z.column, -1.0), (is_active, -low)]);
        self.row(..=0.0, [(r, 1.0), (is_active, -high)]);
        (vec![(r, 1.0)], 0.0)
    }

    fn activation(&mut self, f: &Activation, i: usize, z: Element) -> Element {
        // `offset + slope z + Σ c max(z − at, 0)`.
        let (slope, offset, bends) = match f {
            Activation::Relu => (0.0, 0.0, vec![(1.0, 0.0)]),
            Activation::LeakyRelu(slopes) => {
                let slope = slopes[if slopes.len() == 1 { 0 } else { i }];
                (slope, 0.0, vec![(1.0 - slope, 0.0)])
            }
            Activation::Clip { lower, upper } => {
                // An infinite end does not bend.
                let (slope, offset) = if lower.is_finite() { (0.0, *lower) } else { (1.0, 0.0) };
                let ends = [(1.0, *lower), (-1.0, *upper)];
                (slope, offset, ends.into_iter().filter(|(_, at)| at.is_finite()).collect())
            }
            Activation::Sigmoid | Activation::Tanh => unreachable!("piecewise linear networks only"),
        };
        let (mut terms, mut constant) = (vec![(z.column, slope)], offset);
        for (c, at) in bends {
            let (more, d) = self.positive(z, at);
            terms.extend(more.into_iter().map(|(v, a)| (v, c * a)));
            constant += c * d;
        }
        // Monotone on both sides of zero.
        let mut ends = vec![f.evaluate(i, z.lower), f.evaluate(i, z.upper)];
        if z.lower < 0.0 && z.upper > 0.0 {
            ends.push(f.evaluate(i, 0.0));
        }
        self.element((terms, constant), hull(ends))
    }

    fn largest(&mut self, window: &[Element]) -> Element {
        let floor = window.iter().map(|z| z.lower).fold(f64::NEG_INFINITY, f64::max);
        let ceiling = window.iter().map(|z| z.upper).fold(f64::NEG_INFINITY, f64::max);
        let candidates: Vec<Element> = window.iter().copied().filter(|z| z.upper >= floor).collect();
        if let [only] = candidates[..] {
            return only;
        }
        let column = self.problem.add_column(0.0, floor..=ceiling);
        let mut choices = Vec::new();
        for z in candidates {
            let wide = ceiling - z.lower;
            let is_largest = self.binary(wide);
            self.row(0.0.., [(column, 1.0), (z.column, -1.0)]);
            self.row(..=wide, [(column, 1.0), (z.column, -1.0), (is_largest, wide)]);
            choices.push((is_largest, 1.0));
        }
        self.row(1.0..=1.0, choices);
        Element { column, lower: floor, upper: ceiling }
    }

    fn sum(&mut self, terms: &[(Element, f64)], constant: f64) -> Element {
        let end = |is_upper: bool| {
            let at = |(z, c): &(Element, f64)| c * if (*c > 0.0) == is_upper { z.upper } else { z.lower };
            constant + terms.iter().map(at).sum::<f64>()
        };
        let form = (terms.iter().map(|(z, c)| (z.column, *c)).collect(), constant);
        self.element(form, [end(false), end(true)])
    }
}

/// A column and its interval.
#[derive(Clone, Copy)]
struct Element {
    column: Col,
    lower: f64,
    upper: f64,
}

fn hull(values: Vec<f64>) -> [f64; 2] {
    values.into_iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)])
}

/// The coefficients of row `k`, with their columns.
fn coefficients(affine: &Affine, k: usize) -> Vec<(usize, f64)> {
    match &affine.map {
        LinearMap::Dense(dense) => (0..dense.n_in).map(|i| (i, dense.weight[k * dense.n_in + i])).collect(),
        LinearMap::Conv(conv) => conv.taps(k).map(|(i, w)| (i, conv.weight[w])).collect(),
        LinearMap::Sparse(sparse) => (sparse.offsets[k] as usize..sparse.offsets[k + 1] as usize)
            .map(|e| (sparse.columns[e] as usize, sparse.values[e]))
            .collect(),
    }
}

/// The network over a box: its program, and the elements of its nodes.
fn encode(network: &Network, region: &BoxRegion) -> (Program, Vec<Vec<Element>>) {
    let mut program = Program::default();
    let mut nodes: Vec<Vec<Element>> = Vec::new();
    for node in network.nodes() {
        let of = |operand: usize| &nodes[node.inputs[operand].0];
        let elements = match &node.op {
            Op::Input => (0..network.n_inputs())
                .map(|i| {
                    let (lower, upper) = (region.lower[i], region.upper[i]);
                    Element { column: program.problem.add_column(0.0, lower..=upper), lower, upper }
                })
                .collect(),
            Op::Affine(affine) => (0..affine.n_out())
                .map(|k| {
                    let terms = coefficients(affine, k).into_iter().filter(|(_, w)| *w != 0.0);
                    let terms: Vec<(Element, f64)> = terms.map(|(i, w)| (of(0)[i], w)).collect();
                    program.sum(&terms, affine.bias[k])
                })
                .collect(),
            Op::Add => (0..node.len())
                .map(|j| {
                    let terms: Vec<(Element, f64)> = (0..node.inputs.len()).map(|i| (of(i)[j], 1.0)).collect();
                    program.sum(&terms, 0.0)
                })
                .collect(),
            Op::Activation(f) => (0..node.len()).map(|i| program.activation(f, i, of(0)[i])).collect(),
            Op::MaxPool(pool) => (0..node.len())
                .map(|o| {
                    let window: Vec<Element> = pool.window(o).map(|i| of(0)[i]).collect();
                    program.largest(&window)
                })
                .collect(),
        };
        nodes.push(elements);
    }
    (program, nodes)
}

/// `max_k g_k` at a point, as the network computes it.
pub fn margin(network: &Network, half_spaces: &[HalfSpace], x: &[f64]) -> f64 {
    let y: Vec<f64> = network.evaluate(x).unwrap();
    let value = |half_space: &HalfSpace| {
        let inputs = half_space.input.iter().map(|(i, a)| a[0] * x[*i]);
        let outputs = half_space.output.iter().map(|(j, c)| c[0] * y[*j]);
        inputs.chain(outputs).sum::<f64>() + half_space.constant[0]
    };
    half_spaces.iter().map(value).fold(f64::NEG_INFINITY, f64::max)
}

/// The least `max_k g_k` over the box: not positive if and only if the disjunct can be violated. At most so many seconds.
pub fn least_margin(network: &Network, region: &BoxRegion, half_spaces: &[HalfSpace], seconds: f64) -> Truth {
    let (mut program, nodes) = encode(network, region);
    let t = program.problem.add_column(1.0, f64::NEG_INFINITY..=f64::INFINITY);
    for HalfSpace { input, output, constant } in half_spaces {
        let inputs = input.iter().map(|(i, a)| (nodes[0][*i].column, a[0]));
        let outputs = output.iter().map(|(j, c)| (nodes[network.output().0][*j].column, c[0]));
        let row: Vec<(Col, f64)> = inputs.chain(outputs).map(|(v, c)| (v, -c)).chain([(t, 1.0)]).collect();
        program.row(constant[0].., row);
    }
    let (n_binaries, widest) = (program.n_binaries, program.widest);
    let mut model = program.problem.optimise(Sense::Minimise);
    model.make_quiet();
    model.set_option("threads", 1);
    model.set_option("random_seed", 0);
    model.set_option("time_limit", seconds);
    model.set_option("mip_rel_gap", 0.0);
    model.set_option("mip_abs_gap", GAP);
    for name in ["mip_feasibility_tolerance", "primal_feasibility_tolerance", "dual_feasibility_tolerance"] {
        model.set_option(name, FEASIBILITY);
    }
    let solved = model.try_solve().unwrap_or_else(|status| panic!("HiGHS: {status:?}"));
    let status = solved.status();
    // The network has a value everywhere in the box.
    assert!(matches!(status, HighsModelStatus::Optimal | HighsModelStatus::ReachedTimeLimit), "HiGHS: {status:?}");
    let below = match status {
        HighsModelStatus::Optimal if n_binaries == 0 => solved.objective_value(),
        _ if n_binaries == 0 => f64::NEG_INFINITY,
        _ => solved.double_info_value(c"mip_dual_bound").expect("a value of that name"),
    };
    let centre: Vec<f64> = region.lower.iter().zip(&region.upper).map(|(l, u)| l + 0.5 * (u - l)).collect();
    let mut above = margin(network, half_spaces, &centre);
    if solved.primal_solution_status() == HighsSolutionStatus::Feasible {
        let solution = solved.get_solution();
        let ends = region.lower.iter().zip(&region.upper);
        let x: Vec<f64> =
            solution.columns().iter().zip(ends).map(|(x, (&lower, &upper))| x.clamp(lower, upper)).collect();
        above = above.min(margin(network, half_spaces, &x));
    }
    let tolerance = 1e-6 * (1.0 + above.abs()) + 10.0 * FEASIBILITY * widest;
    Truth { below, above, tolerance, n_binaries }
}
