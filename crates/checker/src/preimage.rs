//! Certificates of preimages: polytopes of inputs inside the preimage of a polytope of outputs, or together around it.
//!
//! Each polytope is a question of its own, whose records are those of any certificate:
//!
//! * *Inside*: no input of its box on whose planes all hold has `row · f(x) < rhs`. The planes become `ReLU`s that are held on one side
//!   ([`restricted`]): a row may then use them with multipliers, as it may use any split.
//! * *Around*: no input of its box that is mapped into the output polytope is beyond a plane: where `a x + b < 0` and all
//!   `row · f(x) ≥ rhs`, also `a x + b − (row · f(x) − rhs) < 0`, for each row. And that the boxes cover the region is looked at as it
//!   is ([`uncovered`]); a box without a polytope is one that is mapped outside altogether.

use std::sync::Arc;

use network::{Affine, BoxRegion, Disjunct, HalfSpace, LinearMap, Network, NodeId, Op, Property, Sparse};
use rayon::prelude::*;

use crate::certificate::{Bundle, Digest, Evaluation, Reader};
use crate::check::{Arithmetic, Census, Digests, Judgement, Progress, Rejection, check_records};
use crate::error::Error;
use crate::question::Question;
use crate::scope::Split;

/// The outputs `{y : rows · y ≥ rhs}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outputs {
    /// One coefficient per output in each row.
    pub rows: Vec<Vec<f64>>,
    /// One value per row.
    pub rhs: Vec<f64>,
}

/// The inputs `{x : lower ≤ x ≤ upper, a x + b ≥ 0 for every plane}`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Polytope {
    /// Lower ends.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
    /// `a` and `b` of each plane.
    pub planes: Vec<(Vec<f64>, f64)>,
}

/// What a certificate says of a box, for one of the output polytopes.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Which output polytope.
    pub target: usize,
    /// Of a box around: whether none of its inputs is mapped into the output polytope; it has no planes then.
    pub is_nothing: bool,
    /// The box, and the polytope in it.
    pub polytope: Polytope,
}

/// The preimage that polytopes approximate.
#[derive(Debug, Clone, Copy)]
pub struct Preimage<'a> {
    /// The network as it was read.
    pub network: &'a Network,
    /// Where inputs lie.
    pub region: &'a BoxRegion,
    /// The outputs that are asked for: the union of these.
    pub targets: &'a [Outputs],
    /// Whether polytopes lie inside; else they are around.
    pub is_inside: bool,
}

/// What must be shown of a part, as a question that any certificate answers.
#[derive(Debug)]
pub struct Claim {
    network: Network,
    property: Property,
    held: Vec<Split>,
    is_open: bool,
}

impl Claim {
    /// The question.
    ///
    /// # Errors
    /// None for a claim of [`Preimage::claim`].
    pub fn question(&self) -> Result<Question<'_>, Error> {
        let question = Question::new(&self.network, &self.property)?;
        Ok(Question { held: &self.held, is_open: self.is_open, ..question })
    }
}

/// The same network on a polytope: `x' = x + W max(z, 0) − W z` with `z = P x + b` in front of it, which is `x` where `z ≥ 0`.
///
/// Its first `ReLU` has a neuron for each plane, which is active on the polytope. Any `W` will do; it is such that the neurons' coefficients
/// are as large as those of the inputs that the planes depend on most.
///
/// # Errors
/// When a plane has another number of coefficients than the network has inputs.
pub fn restricted(network: &Network, planes: &[(Vec<f64>, f64)]) -> Result<Network, Error> {
    let n = network.n_inputs();
    let mistake = |error: network::Error| Error::Mismatch(error.to_string());
    let mut rows = Sparse { n_in: n, offsets: vec![0], columns: Vec::new(), values: Vec::new() };
    let mut steepest = vec![Vec::new(); n];
    for (k, (a, _)) in planes.iter().enumerate() {
        if a.len() != n {
            let given = a.len();
            return Err(Error::Mismatch(format!("a plane of {given} coefficients for a network with {n} inputs")));
        }
        for (i, &a) in a.iter().enumerate().filter(|(_, a)| **a != 0.0) {
            rows.columns.push(i as u32);
            rows.values.push(a);
        }
        rows.offsets.push(rows.columns.len() as u32);
        let largest = |best: usize, i: usize| if a[i].abs() > a[best].abs() { i } else { best };
        let at = (0..n).reduce(largest).unwrap_or(0);
        let weight = 1.0 / a[at].abs();
        steepest[at].push((k as u32, if weight.is_finite() { weight } else { 1.0 }));
    }
    let mut back = Sparse { n_in: planes.len(), offsets: vec![0], columns: Vec::new(), values: Vec::new() };
    for entries in &steepest {
        back.columns.extend(entries.iter().map(|(k, _)| k));
        back.values.extend(entries.iter().map(|(_, weight)| weight));
        back.offsets.push(back.columns.len() as u32);
    }
    let shape = network.nodes()[0].shape.clone();
    let affine = |map, bias| Op::Affine(Arc::new(Affine::exact(LinearMap::Sparse(map), bias)));
    let negative = Sparse { values: back.values.iter().map(|weight| -weight).collect(), ..back.clone() };
    let mut builder = Network::builder(&shape).map_err(mistake)?;
    let bias = planes.iter().map(|(_, b)| *b).collect();
    let mut put =
        |name: &str, op: Op, inputs: &[NodeId], shape: &[usize]| builder.push(name, op, inputs, shape).map_err(mistake);
    let z = put("planes", affine(rows, bias), &[NodeId(0)], &[planes.len()])?;
    let relu = put("above planes", Op::Activation(network::Activation::Relu), &[z], &[planes.len()])?;
    let back = put("back", affine(back, vec![0.0; n]), &[relu], &shape)?;
    let negative = put("back, negative", affine(negative, vec![0.0; n]), &[z], &shape)?;
    let input = put("on the polytope", Op::Add, &[NodeId(0), back, negative], &shape)?;
    for node in &network.nodes()[1..] {
        let now = |of: &NodeId| if of.0 == 0 { input } else { NodeId(of.0 + input.0) };
        let inputs: Vec<NodeId> = node.inputs.iter().map(now).collect();
        put(&node.name, node.op.clone(), &inputs, &node.shape)?;
    }
    let output = network.output();
    builder.build(if output.0 == 0 { input } else { NodeId(output.0 + input.0) }).map_err(mistake)
}

/// `sign (row · y − rhs) + a x + b` as the left side of a half-space; a sum of constants that rounds lies between neighbours.
fn half_space(sign: f64, (row, rhs): (&[f64], f64), (a, b): (&[f64], f64)) -> HalfSpace {
    let terms = |values: &[f64], sign: f64| {
        let kept = values.iter().enumerate().filter(|(_, value)| **value != 0.0);
        kept.map(|(i, &value)| (i, [sign * value; 2])).collect()
    };
    let (first, sum) = (-sign * rhs, b - sign * rhs);
    // Two-sum: the rounding error is exact.
    let part = sum - first;
    let error = (first - (sum - part)) + (b - part);
    let constant = if error == 0.0 { [sum; 2] } else { [sum.next_down(), sum.next_up()] };
    HalfSpace { input: terms(a, 1.0), output: terms(row, sign), constant }
}

impl Preimage<'_> {
    /// The digest of the region and of what is asked.
    pub fn digest(&self) -> Digest {
        let mut bytes = vec![u8::from(self.is_inside)];
        let mut list = |values: &[f64]| {
            bytes.extend_from_slice(&(values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        };
        list(&self.region.lower);
        list(&self.region.upper);
        for target in self.targets {
            list(&target.rhs);
            target.rows.iter().for_each(|row| list(row));
        }
        Digest::of(&bytes)
    }

    /// What must be shown of a part.
    ///
    /// # Errors
    /// When it does not fit the network, or its numbers are none.
    pub fn claim(&self, part: &Part) -> Result<Claim, Error> {
        let Polytope { lower, upper, planes } = &part.polytope;
        let no = |what: &str| Err(Error::Format(format!("a polytope {what}")));
        let (n, n_outputs) = (self.network.n_inputs(), self.network.n_outputs());
        let Some(target) = self.targets.get(part.target) else { return no("of no output polytope") };
        if lower.len() != n || upper.len() != n || planes.iter().any(|(a, _)| a.len() != n) {
            return no("of another number of inputs");
        }
        let mut numbers = planes.iter().flat_map(|(a, b)| a.iter().chain([b])).chain(lower).chain(upper);
        if !numbers.all(|value| value.is_finite()) || lower.iter().zip(upper).any(|(l, u)| l > u) {
            return no("whose ends or planes are none");
        }
        if target.rows.len() != target.rhs.len() || target.rows.iter().any(|row| row.len() != n_outputs) {
            return Err(Error::Mismatch(format!(
                "output rows of {n_outputs} coefficients are needed, with as many values"
            )));
        }
        if part.is_nothing && (self.is_inside || !planes.is_empty()) {
            return no("that is nothing, and has planes or lies inside");
        }
        let region = BoxRegion::new(lower.clone(), upper.clone()).map_err(|error| Error::Format(error.to_string()))?;
        let rows = || target.rows.iter().map(Vec::as_slice).zip(target.rhs.iter().copied());
        let disjunct = |half_spaces| Disjunct { region: region.clone(), half_spaces };
        let none: (&[f64], f64) = (&[], 0.0);
        let (disjuncts, held): (Vec<Disjunct>, Vec<Split>) = if self.is_inside {
            let split = |neuron: usize| Split { relu: 0, neuron: neuron as u32, is_active: true };
            let below = rows().map(|row| disjunct(vec![half_space(1.0, row, none)])).collect();
            (below, (0..planes.len()).map(split).collect())
        } else if part.is_nothing {
            (vec![disjunct(rows().map(|row| half_space(-1.0, row, none)).collect())], Vec::new())
        } else {
            let beyond = |(a, b): &(Vec<f64>, f64)| rows().map(|row| half_space(-1.0, row, (a, *b))).collect();
            (planes.iter().map(|plane| disjunct(beyond(plane))).collect(), Vec::new())
        };
        let network = if held.is_empty() { self.network.clone() } else { restricted(self.network, planes)? };
        let property = Property { n_inputs: n, n_outputs, disjuncts };
        Ok(Claim { network, property, held, is_open: !part.is_nothing })
    }

    /// Checks a bundle; what is accepted are its polytopes.
    ///
    /// # Errors
    /// When the bytes are none, or one of another problem; when there are no exact bounds, or too many are needed.
    pub fn check(
        &self,
        network: Digest,
        bytes: &[u8],
        arithmetic: Arithmetic,
        progress: &Progress,
    ) -> Result<(Judgement, Vec<Part>), Error> {
        let bundle = Bundle::read(bytes, "preimage")?;
        Digests { network, property: self.digest() }.are_named_by(&bundle.header)?;
        if bundle.header.evaluation != Evaluation::Real {
            return Err(Error::Mismatch("nothing is certified of preimages by evaluations in f32".into()));
        }
        let rejected =
            |place: String, problem: String| Ok((Judgement::Rejected(Rejection { place, problem }), Vec::new()));
        let parts =
            bundle.items.iter().map(|(what, _)| Part::from_bytes(what)).collect::<Result<Vec<Part>, Error>>()?;
        for target in 0..if self.is_inside { 0 } else { self.targets.len() } {
            let boxes: Vec<(&[f64], &[f64])> =
                parts.iter().filter(|part| part.target == target).map(Part::ends).collect();
            let gap = uncovered((&self.region.lower, &self.region.upper), &boxes, 1)?;
            if let Some((lower, upper)) = gap.first() {
                let ends: Vec<String> = lower.iter().zip(upper).take(8).map(|(l, u)| format!("[{l}, {u}]")).collect();
                let place = format!("output polytope {target}, {}", ends.join(" × "));
                return rejected(place, "no polytope covers it: a leaf is missing".into());
            }
        }
        let judged: Vec<Result<Judgement, Error>> = parts
            .par_iter()
            .zip(&bundle.items)
            .with_max_len(1)
            .map(|(part, (_, records))| {
                let claim = self.claim(part)?;
                check_records(&claim.question()?, records, arithmetic, progress)
            })
            .collect();
        let mut census = Census::default();
        for (place, judgement) in judged.into_iter().enumerate() {
            match judgement? {
                Judgement::Accepted(found) => census.add(found),
                Judgement::Rejected(Rejection { place: at, problem }) => {
                    return rejected(format!("polytope {place}, {at}"), problem);
                }
            }
        }
        Ok((Judgement::Accepted(census), parts))
    }
}

impl Part {
    fn ends(&self) -> (&[f64], &[f64]) {
        (&self.polytope.lower, &self.polytope.upper)
    }

    /// As it stands in a bundle: output polytope, whether it is nothing, number of planes and of inputs (u32 each), ends, planes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Polytope { lower, upper, planes } = &self.polytope;
        let mut bytes = Vec::new();
        for count in [self.target, usize::from(self.is_nothing), planes.len(), lower.len()] {
            bytes.extend_from_slice(&(count as u32).to_le_bytes());
        }
        let numbers = lower.iter().chain(upper).chain(planes.iter().flat_map(|(a, b)| a.iter().chain([b])));
        numbers.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        let mut counts = [0_usize; 4];
        for count in &mut counts {
            *count = reader.u32()? as usize;
        }
        let [target, is_nothing, n_planes, n] = counts;
        let n_numbers = (n_planes.saturating_mul(n.saturating_add(1))).saturating_add(n.saturating_mul(2));
        if is_nothing > 1 || bytes.len() != n_numbers.saturating_mul(8).saturating_add(16) {
            return Err(Error::Format("a polytope of another length than it says".into()));
        }
        let mut list = |n: usize| (0..n).map(|_| reader.f64()).collect::<Result<Vec<f64>, Error>>();
        let (lower, upper) = (list(n)?, list(n)?);
        let planes = (0..n_planes).map(|_| Ok((list(n)?, list(1)?[0]))).collect::<Result<Vec<_>, Error>>()?;
        Ok(Self { target, is_nothing: is_nothing == 1, polytope: Polytope { lower, upper, planes } })
    }
}

/// The ends of a box.
type Ends = (Vec<f64>, Vec<f64>);

/// Steps of [`uncovered`], at most.
const MOST_STEPS: usize = 10_000_000;

/// Boxes of a region that none of these boxes covers, at most so many; together with those they cover it.
///
/// A box that lies in none of them, but meets one, is cut where a face of that one runs through it. Floats are compared and nothing is
/// computed, so that there is no rounding.
///
/// # Errors
/// When there are too many pieces.
pub fn uncovered(region: (&[f64], &[f64]), boxes: &[(&[f64], &[f64])], most: usize) -> Result<Vec<Ends>, Error> {
    let mut gaps = Vec::new();
    let all: Vec<usize> = (0..boxes.len()).collect();
    let mut stack = vec![(region.0.to_vec(), region.1.to_vec(), all)];
    let mut n_steps = 0;
    while let Some((lower, upper, candidates)) = stack.pop() {
        n_steps += 1 + candidates.len();
        if n_steps > MOST_STEPS {
            return Err(Error::Mismatch("whether the boxes cover the region takes too many cuts to see".into()));
        }
        let n = lower.len();
        let (mut is_covered, mut cut, mut meets) = (false, None, Vec::new());
        for &k in &candidates {
            let (l, u) = boxes[k];
            if l.len() != n || u.len() != n {
                continue;
            }
            // An input that does not vary has no inside.
            let meets_it = |i: usize| {
                if lower[i] < upper[i] {
                    l[i] < upper[i] && lower[i] < u[i]
                } else {
                    l[i] <= lower[i] && lower[i] <= u[i]
                }
            };
            if !(0..n).all(meets_it) {
                continue;
            }
            meets.push(k);
            let face = (0..n).flat_map(|i| [(i, l[i]), (i, u[i])]).find(|&(i, at)| lower[i] < at && at < upper[i]);
            match face {
                None => {
                    is_covered = true;
                    break;
                }
                face => cut = cut.or(face),
            }
        }
        if is_covered {
            continue;
        }
        let Some((i, at)) = cut else {
            gaps.push((lower, upper));
            if gaps.len() >= most {
                return Ok(gaps);
            }
            continue;
        };
        let (mut below, mut above) = (upper.clone(), lower.clone());
        (below[i], above[i]) = (at, at);
        stack.push((above, upper, meets.clone()));
        stack.push((lower, below, meets));
    }
    Ok(gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_no_box_covers() {
        let region: (&[f64], &[f64]) = (&[0.0, 0.0], &[4.0, 4.0]);
        let left: (&[f64], &[f64]) = (&[-1.0, 0.0], &[2.0, 4.0]);
        let below: (&[f64], &[f64]) = (&[1.0, 0.0], &[4.0, 3.0]);
        let gaps = uncovered(region, &[left, below], 9).unwrap();
        assert_eq!(gaps, [(vec![2.0, 3.0], vec![4.0, 4.0])]);
        let corner: (&[f64], &[f64]) = (&[2.0, 3.0], &[4.0, 4.0]);
        assert_eq!(uncovered(region, &[left, below, corner], 9).unwrap(), []);
        assert_eq!(uncovered(region, &[], 9).unwrap(), [(vec![0.0; 2], vec![4.0; 2])]);
        // Faces that only touch cover nothing; an input that does not vary is met as a point.
        let beside: (&[f64], &[f64]) = (&[4.0, 0.0], &[5.0, 4.0]);
        assert_eq!(uncovered(region, &[beside], 9).unwrap().len(), 1);
        let flat: (&[f64], &[f64]) = (&[0.0, 1.0], &[4.0, 1.0]);
        assert_eq!(uncovered(flat, &[left, below], 9).unwrap(), []);
        assert_eq!(uncovered(flat, &[left], 9).unwrap(), [(vec![2.0, 1.0], vec![4.0, 1.0])]);
    }

    #[test]
    fn a_pinwheel_has_no_cut_through_and_is_covered() {
        let boxes: [(&[f64], &[f64]); 5] = [
            (&[0.0, 0.0], &[2.0, 1.0]),
            (&[2.0, 0.0], &[3.0, 2.0]),
            (&[1.0, 2.0], &[3.0, 3.0]),
            (&[0.0, 1.0], &[1.0, 3.0]),
            (&[1.0, 1.0], &[2.0, 2.0]),
        ];
        let region: (&[f64], &[f64]) = (&[0.0, 0.0], &[3.0, 3.0]);
        assert_eq!(uncovered(region, &boxes, 9).unwrap(), []);
        assert_eq!(uncovered(region, &boxes[..4], 9).unwrap(), [(vec![1.0; 2], vec![2.0; 2])]);
    }

    #[test]
    fn a_part_survives_its_bytes() {
        let polytope = Polytope { lower: vec![0.0, 1.0], upper: vec![1.0, 1.0], planes: vec![(vec![0.5, -2.0], 3.0)] };
        let part = Part { target: 3, is_nothing: false, polytope };
        let bytes = part.to_bytes();
        assert_eq!(Part::from_bytes(&bytes).unwrap(), part);
        assert!(Part::from_bytes(&bytes[1..]).is_err());
        assert!(Part::from_bytes(&[255; 16]).is_err());
    }
}
