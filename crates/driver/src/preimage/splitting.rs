use bounds::{Ascent, Plane, Split, least_values};
use network::NodeId;

use crate::error::Error;
use crate::preimage::piece::{Effort, Ground, Piece, Samples, negated};
use crate::preimage::problem::Mode;
use crate::preimage::reverse::reach;
use crate::preimage::slant::{slants, walls};
use crate::preimage::trim::Trim;

/// A way to cut a piece in two.
#[derive(Debug, Clone, PartialEq)]
pub enum Cut {
    /// An input, at a value.
    Input(usize, f32),
    /// A `ReLU`: activation and neuron.
    Relu(u32, u32),
    /// A plane across some direction.
    Slant(Plane),
}

/// How many of each kind of cut are looked ahead at.
#[derive(Debug, Clone, Copy)]
pub struct Breadth {
    /// Inputs.
    pub inputs: usize,
    /// `ReLU`s.
    pub relus: usize,
    /// Planes across directions, of an under-approximation.
    pub slants: usize,
}

/// Optimisation steps of the planes that say where a `ReLU` is decided.
const SIDE_STEPS: usize = 12;

/// The cuts that are worth a look: the inputs that planes depend on most, and the `ReLU`s whose relaxation costs most; and planes across the directions that
/// those lean on.
///
/// # Errors
/// When the bounds fail.
pub fn candidates(ground: &Ground, piece: &Piece, breadth: Breadth) -> Result<Vec<Cut>, Error> {
    let mut cuts = Vec::new();
    let (lower, upper) = piece.sides();
    let mut inputs: Vec<(f64, usize, f32)> = Vec::new();
    for i in 0..lower.len() {
        let middle = 0.5 * lower[i] + 0.5 * upper[i];
        if lower[i] < middle && middle < upper[i] {
            let planes = piece.parts.iter().flat_map(|part| &part.planes);
            let slope: f64 = planes.map(|plane| plane.a[i].abs()).sum();
            let (low, high) = ground.reduced.outer[i];
            let share = f64::from(upper[i] - lower[i]) / (high - low);
            inputs.push(((slope + 1e-9) * f64::from(upper[i] - lower[i]) + 1e-6 * share, i, middle));
        }
    }
    inputs.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    cuts.extend(inputs.iter().take(breadth.inputs).map(|&(_, i, middle)| Cut::Input(i, middle)));
    cuts.extend(piece.gaps().iter().take(breadth.relus).map(|&(_, node, neuron)| Cut::Relu(node, neuron)));
    if ground.mode == Mode::Under {
        cuts.extend(slants(ground, piece, breadth.slants)?.into_iter().map(Cut::Slant));
    }
    Ok(cuts)
}

/// The two sides of a cut, not bounded yet; none if the cut's planes could not be found.
///
/// Samples go to the side on which they are: nothing is lost between two planes but what the children do not win back.
///
/// # Errors
/// When the bounds fail.
pub fn sides(
    ground: &Ground,
    piece: &Piece,
    cut: &Cut,
    operands: &Operands,
    serial: u64,
) -> Result<Option<[Piece; 2]>, Error> {
    let n = ground.reduced.n_free();
    match *cut {
        Cut::Input(i, at) => {
            let side = |is_upper: bool| {
                let mut ends = piece.ends.clone();
                ends[if is_upper { i } else { n + i }] = at;
                let mut samples = piece.samples.filtered(n, |x| (x[i] >= at) == is_upper);
                if ground.mode == Mode::Over {
                    ends = reach(&ends, &piece.held, &piece.parts);
                    samples = within(&samples, &ends);
                }
                let serial = serial + u64::from(is_upper);
                Piece::open(ends, piece.splits.clone(), piece.held.clone(), samples, serial).within(piece.walls.clone())
            };
            Ok(Some([side(false), side(true)]))
        }
        Cut::Slant(ref plane) => {
            let mut serial = serial;
            Ok(Some(walls(plane).map(|wall| {
                let holds = least_values(std::slice::from_ref(&wall), &piece.samples.points, n);
                let samples = piece.samples.chosen(n, |s| holds[s] >= 0.0);
                let side = Piece::open(piece.ends.clone(), piece.splits.clone(), piece.held.clone(), samples, serial);
                serial += 1;
                side.within(piece.walls.iter().cloned().chain([wall]).collect())
            })))
        }
        Cut::Relu(node, neuron) => {
            // An under-approximation finds its planes when it is bounded.
            let planes = match ground.mode {
                Mode::Under => [None, None],
                Mode::Over => match outer_planes(ground, piece, node, neuron)? {
                    Some(planes) => planes.map(Some),
                    None => return Ok(None),
                },
            };
            let operand = operand_of(ground, node);
            let length = ground.engine.network().node(NodeId(operand)).len();
            let Some((_, values)) = operands.iter().find(|(other, _)| *other == operand) else { return Ok(None) };
            let mut made = planes.into_iter().zip([true, false]).map(|(plane, is_active)| {
                let mut splits = piece.splits.clone();
                splits.push(Split { node, neuron, is_active });
                let mut samples =
                    piece.samples.chosen(n, |s| (values[s * length + neuron as usize] >= 0.0) == is_active);
                let (mut ends, mut held) = (piece.ends.clone(), piece.held.clone());
                if let Some(plane) = plane {
                    held.push(plane);
                    ends = reach(&ends, &held, &piece.parts);
                    samples = within(&samples, &ends);
                }
                Piece::open(ends, splits, held, samples, serial + u64::from(!is_active)).within(piece.walls.clone())
            });
            Ok(made.next().zip(made.next()).map(|(active, inactive)| [active, inactive]))
        }
    }
}

/// The samples in a box.
fn within(samples: &Samples, ends: &[f32]) -> Samples {
    let n = ends.len() / 2;
    samples.filtered(n, |x| (0..n).all(|i| ends[i] <= x[i] && x[i] <= ends[n + i]))
}

/// Values of nodes at a piece's samples: node, then `[n_samples, length]`.
pub type Operands = Vec<(usize, Vec<f32>)>;

/// The values that cuts of a piece's `ReLU`s need.
///
/// # Errors
/// When the network cannot be run in f32.
pub fn operands(ground: &Ground, piece: &Piece, cuts: &[Cut]) -> Result<Operands, Error> {
    let of_cut = |cut: &Cut| match cut {
        Cut::Relu(node, _) => Some(operand_of(ground, *node)),
        Cut::Input(..) | Cut::Slant(_) => None,
    };
    let mut nodes: Vec<usize> = cuts.iter().filter_map(of_cut).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let values = ground.engine.evaluate(&piece.samples.points, &nodes)?;
    Ok(nodes.into_iter().zip(values).collect())
}

fn operand_of(ground: &Ground, activation: u32) -> usize {
    ground.engine.network().node(NodeId(activation as usize)).inputs[0].0
}

/// Planes that hold wherever a `ReLU` is active, and wherever it is not.
fn outer_planes(ground: &Ground, piece: &Piece, node: u32, neuron: u32) -> Result<Option<[Plane; 2]>, Error> {
    let exact = |is_upper| ground.engine.affine_plane(node, neuron, is_upper);
    // `z ≤ −p` for a plane `p ≤ −z`: where the operand is not negative, neither is `−p`.
    if let (Some(low), Some(high)) = (exact(false), exact(true)) {
        return Ok(Some([negated(&high), negated(&low)]));
    }
    let Some(base) = &piece.base else { return Ok(None) };
    let mean = piece.mean();
    let ascent = Ascent { steps: SIDE_STEPS, alpha_rate: 0.3, beta_rate: 0.3, decay: 0.9, ..Ascent::default() };
    let mut found = ground.engine.operand_planes(base, node, &[(neuron, true), (neuron, false)], ascent, &mean)?;
    let (second, first) = (found.pop(), found.pop());
    let is_finite = |plane: &Plane| plane.b.is_finite();
    Ok(match (first, second) {
        (Some((high, _)), Some((low, _))) if is_finite(&high) && is_finite(&low) => {
            Some([negated(&high), negated(&low)])
        }
        _ => None,
    })
}

/// How good the children of a cut are: what they win together, or nearly win.
pub fn score(ground: &Ground, children: &[Piece; 2]) -> f64 {
    let total = |of: &dyn Fn(&Piece) -> f64| children.iter().map(of).sum::<f64>();
    let smooth = SMOOTH * total(&|child| child.tally.smooth);
    match ground.mode {
        Mode::Under => smooth + total(&|child| child.tally.both),
        Mode::Over => smooth - total(&|child| child.tally.approximation),
    }
}

/// Weight of samples that are nearly won.
const SMOOTH: f64 = 0.5;

/// The effort of a look ahead.
pub const LOOK: Effort =
    Effort { steps: 4, inner_steps: 0, n_points: 96, fills: false, trim: Trim { share: 0.0, steps: 4 } };
