//! Every cell of a small network: where all `ReLU`s keep their sides, the network is affine and the preimage a polytope.
//!
//! The network is walked in the order of its nodes. A `ReLU` whose side does not follow from the box and from the sides before it makes
//! two cells of one. Behind the last, the rows are affine functions.
//!
//! Soundness: `LinearPiece` says how far the stored affine functions may be from the real ones, on the points that have the sides. So
//! every side has two planes: an *outer* one that no point of the side violates, and an *inner* one that only points of the side satisfy.
//! A side that is not looked at has been excluded over the outer planes by `LinearProgram`, whose bounds are proved; and so is every row
//! that holds, or fails, everywhere. Elements of an under-approximation have the inner planes, those of an over-approximation the outer.

use bounds::Plane;
use network::{Activation, Network, NodeId, Op};

use crate::preimage::element::Element;
use crate::preimage::linear_piece::LinearPiece;
use crate::preimage::linear_program::{Least, LinearProgram};
use crate::preimage::piece::negated;
use crate::preimage::problem::Mode;
use crate::preimage::reduced::Reduced;
use crate::search::Clock;

/// Whether a small network's cells are enumerated, which covers the whole preimage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cells {
    /// Where that should be cheaper than to search.
    #[default]
    Auto,
    /// Wherever it is possible and there are not too many.
    Preferred,
    /// However many there are; where it is impossible, it is an error.
    Always,
    /// Never.
    Never,
}

/// Most inputs that vary, and most `ReLU`s that intervals leave undecided.
pub const MOST_INPUTS: usize = 4;
/// Most undecided `ReLU`s.
pub const MOST_UNDECIDED: usize = 64;

/// What an enumeration found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Enumerated {
    /// Polytopes, one for each cell that the preimage meets; those of neighbours that it holds entirely are one.
    pub elements: Vec<Element>,
    /// Cells that were visited.
    pub n_cells: u64,
}

/// Why an enumeration ended early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp;

/// What is known of a set of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// There is no point in it.
    Nothing,
    /// All of it lies in the preimage of this output polytope; no element has been made yet.
    Inside(usize),
    /// None of it lies in the preimage.
    Outside,
    /// Its elements have been made.
    Made,
}

/// A walk through all cells.
#[derive(Debug)]
pub struct Enumeration<'a> {
    reduced: &'a Reduced,
    mode: Mode,
    /// The box of the inputs, and the largest size of each.
    lower: Vec<f64>,
    upper: Vec<f64>,
    high: Vec<f64>,
    most_cells: u64,
    clock: &'a Clock,
    /// Nodes as functions of the input, up to the one that is visited.
    pieces: Vec<LinearPiece>,
    /// What every point with the sides so far satisfies.
    outer: Vec<Plane>,
    /// What only points with these sides satisfy.
    inner: Vec<Plane>,
    found: Enumerated,
}

/// A side that is narrower than this, relative to the neuron's size, is no loss to an under-approximation.
const SLIVER: f64 = 1e-11;

impl<'a> Enumeration<'a> {
    /// Why a network's cells cannot be enumerated, whatever their number; none if they can.
    pub fn obstacle(reduced: &Reduced) -> Option<String> {
        let n = reduced.n_free();
        if n > MOST_INPUTS {
            return Some(format!("{n} inputs vary, and cells are enumerated for at most {MOST_INPUTS}"));
        }
        let is_bent = |op: &Op| match op {
            Op::MaxPool(_) => true,
            Op::Activation(activation) => !matches!(activation, Activation::Relu),
            _ => false,
        };
        let node = reduced.network.nodes().iter().find(|node| is_bent(&node.op))?;
        Some(format!("node '{}' is no ReLU, and only ReLUs make cells", node.name))
    }

    /// All cells, unless there are more than so many, or time is up.
    ///
    /// # Errors
    /// When it was given up; nothing of it can be used.
    pub fn run(reduced: &'a Reduced, mode: Mode, most_cells: u64, clock: &'a Clock) -> Result<Enumerated, GivenUp> {
        let (lower, upper): (Vec<f64>, Vec<f64>) = reduced.outer.iter().copied().unzip();
        let high = lower.iter().zip(&upper).map(|(l, u)| l.abs().max(u.abs())).collect();
        let pieces = vec![LinearPiece::default(); reduced.network.nodes().len()];
        let (outer, inner, found) = (Vec::new(), Vec::new(), Enumerated::default());
        let mut walk = Self { reduced, mode, lower, upper, high, most_cells, clock, pieces, outer, inner, found };
        walk.pieces[0] = LinearPiece::input(walk.lower.len());
        let whole = walk.node(1)?;
        walk.make(whole, None);
        Ok(walk.found)
    }

    fn network(&self) -> &'a Network {
        &self.reduced.network
    }

    /// Visits the nodes from this one on.
    fn node(&mut self, at: usize) -> Result<Found, GivenUp> {
        let network = self.network();
        if at == network.nodes().len() {
            return self.rows();
        }
        let node = network.node(NodeId(at));
        let operand = |place: usize| node.inputs[place].0;
        match &node.op {
            Op::Affine(affine) => self.pieces[at] = self.pieces[operand(0)].through(affine, &self.high),
            Op::Add => {
                let operands: Vec<&LinearPiece> = node.inputs.iter().map(|input| &self.pieces[input.0]).collect();
                self.pieces[at] = LinearPiece::sum(&operands, &self.high);
            }
            Op::Activation(Activation::Relu) => {
                let mut is_active = vec![false; node.len()];
                return self.neurons((at, operand(0)), 0, &mut is_active);
            }
            // `obstacle` says so beforehand.
            _ => return Err(GivenUp),
        }
        // Comparisons with what is no number would decide something.
        if !self.pieces[at].is_finite() {
            return Err(GivenUp);
        }
        self.node(at + 1)
    }

    /// Decides the `ReLU`s of one node from this one on, then visits what follows.
    fn neurons(
        &mut self,
        (at, operand): (usize, usize),
        from: usize,
        is_active: &mut [bool],
    ) -> Result<Found, GivenUp> {
        for k in from..is_active.len() {
            let below = self.pieces[operand].below(k, false, &self.high);
            let above = self.pieces[operand].below(k, true, &self.high);
            let (least, most) = match (self.least(&below), self.least(&above)) {
                (Least::AtLeast(least), Least::AtLeast(most)) => (least, -most),
                _ => return Ok(Found::Nothing),
            };
            if least >= 0.0 || most <= 0.0 {
                is_active[k] = least >= 0.0;
                continue;
            }
            let sliver = SLIVER * self.pieces[operand].magnitude(k, &self.high);
            let mut sides = [(Found::Made, None), (Found::Made, None)];
            for (place, side) in [true, false].into_iter().enumerate() {
                let is_sliver = if side { most <= sliver } else { -least <= sliver };
                if is_sliver && self.mode == Mode::Under {
                    // Not excluded, only given up: what is left must say on which side it is.
                    continue;
                }
                let (inner, other) = if side { (&below, &above) } else { (&above, &below) };
                let outer = negated(other);
                self.inner.push(inner.clone());
                self.outer.push(outer.clone());
                is_active[k] = side;
                let result = self.neurons((at, operand), k + 1, is_active);
                let planes = self.inner.pop().zip(self.outer.pop());
                sides[place] = (result?, planes);
            }
            return Ok(self.joined(sides));
        }
        self.pieces[at] = self.pieces[operand].rectified(is_active);
        self.node(at + 1)
    }

    /// What two sides are together: what both hold entirely needs no plane between them.
    fn joined(&mut self, sides: [(Found, Option<(Plane, Plane)>); 2]) -> Found {
        let [(first, first_planes), (second, second_planes)] = sides;
        match (first, second) {
            (Found::Nothing, other) | (other, Found::Nothing) if other != Found::Made => return other,
            (Found::Inside(one), Found::Inside(other)) if one == other => return first,
            (Found::Outside, Found::Outside) => return Found::Outside,
            _ => {}
        }
        self.make(first, first_planes);
        self.make(second, second_planes);
        Found::Made
    }

    /// Makes the element of cells that lie in the preimage, behind one more side.
    fn make(&mut self, found: Found, side: Option<(Plane, Plane)>) {
        let Found::Inside(target) = found else { return };
        let (inner, outer) = side.unzip();
        let planes = match self.mode {
            Mode::Under => self.inner.iter().cloned().chain(inner).collect(),
            Mode::Over => self.outer.iter().cloned().chain(outer).collect(),
        };
        self.push(planes, target);
    }

    fn push(&mut self, planes: Vec<Plane>, target: usize) {
        let ends = if self.mode == Mode::Under { &self.reduced.inner } else { &self.reduced.outer };
        let (lower, upper): (Vec<f64>, Vec<f64>) = ends.iter().copied().unzip();
        let planes = self.needed(planes);
        self.found.elements.push(Element { lower, upper, planes, target, volume: 0.0 });
    }

    /// Looks at the rows of a cell.
    fn rows(&mut self) -> Result<Found, GivenUp> {
        self.found.n_cells += 1;
        if self.found.n_cells > self.most_cells || self.clock.stop(0, 0).is_some() {
            return Err(GivenUp);
        }
        let output = self.network().output().0;
        let rows = std::mem::take(&mut self.pieces[output]);
        let found = self.targets(&rows);
        self.pieces[output] = rows;
        Ok(found)
    }

    fn targets(&mut self, rows: &LinearPiece) -> Found {
        // Planes on the other side of polytopes of one row that came before: so elements share no volume.
        let mut beyond: Vec<Plane> = Vec::new();
        let mut open: Vec<(usize, Vec<Plane>)> = Vec::new();
        for (target, range) in self.reduced.targets.iter().enumerate() {
            let mut planes = Vec::new();
            let mut is_outside = false;
            for row in range.clone() {
                let below = rows.below(row, false, &self.high);
                let above = rows.below(row, true, &self.high);
                match (self.least(&below), self.least(&above)) {
                    (Least::Empty, _) | (_, Least::Empty) => return Found::Nothing,
                    (_, Least::AtLeast(least)) if least > 0.0 => is_outside = true,
                    (Least::AtLeast(least), _) if least >= 0.0 => {}
                    _ => planes.push((below, above)),
                }
            }
            if is_outside {
                continue;
            }
            if planes.is_empty() && open.is_empty() {
                return Found::Inside(target);
            }
            let own: Vec<Plane> = match self.mode {
                Mode::Under => planes.iter().map(|(below, _)| below.clone()).chain(beyond.iter().cloned()).collect(),
                Mode::Over => planes.iter().map(|(_, above)| negated(above)).collect(),
            };
            open.push((target, own));
            if planes.is_empty() {
                break;
            }
            if let (1, [(_, above)]) = (range.len(), planes.as_slice()) {
                beyond.push(above.clone());
            }
        }
        if open.is_empty() {
            return Found::Outside;
        }
        for (target, own) in open {
            let sides = if self.mode == Mode::Under { &self.inner } else { &self.outer };
            let planes = sides.iter().cloned().chain(own).collect();
            self.push(planes, target);
        }
        Found::Made
    }

    /// A function's least value where all sides so far hold.
    fn least(&self, function: &Plane) -> Least {
        LinearProgram { lower: &self.lower, upper: &self.upper, planes: &self.outer }.least(function, 0.0)
    }

    /// Without the planes that hold wherever the others do, by proof.
    fn needed(&self, mut planes: Vec<Plane>) -> Vec<Plane> {
        let mut place = 0;
        while place < planes.len() {
            let plane = planes.swap_remove(place);
            // The others hold by an evaluation in f64: in real arithmetic only nearly.
            let others: Vec<Plane> = planes.iter().map(|plane| self.relaxed(plane)).collect();
            let least = LinearProgram { lower: &self.lower, upper: &self.upper, planes: &others }.least(&plane, 0.0);
            let is_implied = matches!(least, Least::Empty) || matches!(least, Least::AtLeast(least) if least > 0.0);
            if !is_implied {
                planes.push(plane);
                let last = planes.len() - 1;
                planes.swap(place, last);
                place += 1;
            }
        }
        planes
    }

    /// A plane raised by what an evaluation in f64 may add.
    fn relaxed(&self, plane: &Plane) -> Plane {
        let size: f64 = plane.a.iter().zip(&self.high).map(|(a, high)| a.abs() * high).sum::<f64>() + plane.b.abs();
        let b = plane.b + 4.0 * (self.high.len() + 4) as f64 * f64::EPSILON * size + f64::MIN_POSITIVE;
        Plane { a: plane.a.clone(), b: b.next_up() }
    }
}
