use super::{Bounding, Census, Progress, Rejection, rejection};
use crate::backward::{Lane, Row};
use crate::certificate::{LeafRecord, Lemma, Part, PieceState, Reader, Tape, to_floats, to_halves};
use crate::question::Question;
use crate::scope::Split;

/// One context of a certificate.
pub struct ContextCheck<'a, 'r> {
    pub question: &'a Question<'a>,
    pub tape: &'a Tape<'a>,
    pub relus: &'r [usize],
    pub progress: &'a Progress,
    pub id: u32,
}

/// A lane with what it borrows.
struct OwnedLane<'a> {
    row: Row<'a>,
    alpha: Vec<u16>,
    splits: Vec<(Split, f32)>,
}

/// Lanes that are bounded together, at most, and the numbers in them.
const LANES: usize = 1024;
const NUMBERS: usize = 1 << 22;

impl<'a> ContextCheck<'a, '_> {
    /// Bounds every node over the context, with its lemmas; stops where it turns out that no input lies in it.
    pub fn scope<S: Bounding<'a>>(
        &self,
        ends: (&[f64], &[f64]),
        parent: Option<&S>,
        side: Option<Split>,
        census: &mut Census,
    ) -> Result<S, Rejection> {
        let wrong = |problem: String| rejection(format!("context {}", self.id), problem);
        let mut splits = parent.map_or_else(|| self.question.held.to_vec(), |parent| parent.splits().to_vec());
        if let Some(side) = side {
            self.check_split(side).map_err(wrong)?;
            splits.push(side);
        }
        let network = self.question.network;
        let mut scope = S::start(self.question, ends, &splits);
        let mut parts = self.tape.contexts[self.id as usize].parts.iter().peekable();
        census.contexts += 1;
        while let Some(node) = scope.next() {
            if scope.is_empty() {
                return Ok(scope);
            }
            let mut with_lemmas = Vec::new();
            if let Some(relu) = self.relus.iter().position(|&of| of == node) {
                let of_relu = |part: &&Part| matches!(part, Part::Lemma(lemma) if lemma.relu as usize == relu);
                let mut lemmas: Vec<&Lemma> = Vec::new();
                while let Some(Part::Lemma(lemma)) = parts.next_if(|part| of_relu(part)) {
                    lemmas.push(lemma);
                }
                with_lemmas = self.check_lemmas(&mut scope, node, &lemmas)?;
                census.lemmas += lemmas.len() as u64;
                self.progress.add(lemmas.len());
                let n = network.nodes()[node].len();
                if let Some(Part::Slopes { neurons, .. }) =
                    parts.next_if(|part| matches!(part, Part::Slopes { relu: of, .. } if *of as usize == relu))
                {
                    if neurons.last().is_some_and(|&last| last as usize >= n) {
                        return Err(wrong(format!("slopes of neurons that ReLU {relu} does not have")));
                    }
                    scope.declare_slopes(relu, neurons, n);
                    self.progress.add(1);
                }
            }
            if parent.is_none() {
                scope.bound_operand(node, &with_lemmas);
            }
            scope.settle(node, parent.filter(|parent| parent.has(node)));
        }
        if parts.next().is_some() {
            return Err(wrong("its lemmas and slopes are not in the order of the network, or of no ReLU".into()));
        }
        Ok(scope)
    }

    /// Checks the lemmas of one `ReLU` and takes over what they claim; returns the neurons that they speak of.
    fn check_lemmas<S: Bounding<'a>>(
        &self,
        scope: &mut S,
        node: usize,
        lemmas: &[&Lemma],
    ) -> Result<Vec<u32>, Rejection> {
        let operand = self.question.network.nodes()[node].inputs[0].0;
        let n = self.question.network.nodes()[operand].len();
        let mut lanes: Vec<OwnedLane> = Vec::new();
        let mut ends = Vec::new();
        for (place, lemma) in lemmas.iter().enumerate() {
            let wrong = |problem: String| self.lemma_is_wrong(lemma, problem);
            let neuron = lemma.neuron as usize;
            if neuron >= n {
                return Err(wrong("there is no such neuron".into()));
            }
            let row = if lemma.is_upper { Row::Upper(neuron) } else { Row::Lower(neuron) };
            self.lemma_lanes(scope, lemma.proof, row, &mut lanes).map_err(wrong)?;
            ends.push(lanes.len());
            let n_numbers: usize = lanes.iter().map(|lane| lane.alpha.len() + lane.splits.len()).sum();
            if lanes.len() >= 16 * LANES || n_numbers >= NUMBERS || place + 1 == lemmas.len() {
                let bounds = bound_owned(scope, operand, &lanes);
                let of = &lemmas[place + 1 - ends.len()..=place];
                let mut first = 0;
                for (lemma, &end) in of.iter().zip(&ends) {
                    let least = bounds[first..end].iter().copied().fold(f64::INFINITY, f64::min);
                    first = end;
                    // Written so that NaN fails.
                    let is_proved = least >= f64::from(lemma.claim);
                    if !is_proved {
                        let problem = format!("it claims {}, its proof gives {least}", lemma.claim);
                        return Err(self.lemma_is_wrong(lemma, problem));
                    }
                }
                lanes.clear();
                ends.clear();
            }
        }
        for lemma in lemmas {
            scope.learn(operand, lemma.neuron as usize, lemma.is_upper, lemma.claim);
        }
        if !lemmas.is_empty() {
            scope.relook(operand);
        }
        let mut neurons: Vec<u32> = lemmas.iter().map(|lemma| lemma.neuron).collect();
        neurons.sort_unstable();
        neurons.dedup();
        Ok(neurons)
    }

    fn lemma_is_wrong(&self, lemma: &Lemma, problem: String) -> Rejection {
        let end = if lemma.is_upper { "upper" } else { "lower" };
        let place = format!("context {}, {end} bound of neuron {} of ReLU {}", self.id, lemma.neuron, lemma.relu);
        rejection(place, problem)
    }

    /// The leaves of a lemma's proof.
    fn lemma_lanes<'r, S: Bounding<'a>>(
        &self,
        scope: &S,
        proof: &[u8],
        row: Row<'r>,
        lanes: &mut Vec<OwnedLane<'r>>,
    ) -> Result<(), String> {
        let mut reader = Reader::new(proof);
        // Sides still to be read, with the length of the path that they continue.
        let mut path: Vec<Split> = scope.splits().to_vec();
        let mut left: Vec<(usize, Option<Split>)> = vec![(path.len(), None)];
        let text = |error: crate::Error| error.to_string();
        while let Some((length, side)) = left.pop() {
            path.truncate(length);
            path.extend(side);
            match reader.byte().map_err(text)? {
                0 => {
                    let (alpha, beta) = (reader.halves().map_err(text)?, reader.floats().map_err(text)?);
                    lanes.push(owned(scope, row, alpha, beta, &path)?);
                }
                1 => {
                    let (relu, neuron) = (reader.number().map_err(text)?, reader.number().map_err(text)?);
                    let [active, inactive] = Tape::sides(relu, neuron);
                    self.check_split(active)?;
                    left.extend([(path.len(), Some(inactive)), (path.len(), Some(active))]);
                }
                other => return Err(format!("its proof has a part of kind {other}")),
            }
        }
        if reader.is_at_end() { Ok(()) } else { Err("its proof does not end where it should".into()) }
    }

    /// Checks every leaf of a tree of pieces that must exclude a disjunct.
    pub fn check_tree<S: Bounding<'a>>(
        &self,
        scope: &S,
        disjunct: u32,
        root: u32,
        census: &mut Census,
    ) -> Result<(), Rejection> {
        let half_spaces = &self.question.property.disjuncts[disjunct as usize].half_spaces;
        let place = |piece: u32| format!("context {}, disjunct {disjunct}, piece {piece}", self.id);
        let mut lanes: Vec<OwnedLane> = Vec::new();
        let mut leaves: Vec<(u32, f32)> = Vec::new();
        let mut path: Vec<Split> = scope.splits().to_vec();
        let mut left: Vec<(usize, Option<Split>, u32)> = vec![(path.len(), None, root)];
        let mut n_numbers = 0;
        while let Some((length, side, piece)) = left.pop() {
            path.truncate(length);
            path.extend(side);
            match self.tape.pieces[piece as usize] {
                PieceState::Decided { relu, neuron, first } => {
                    let [active, inactive] = Tape::sides(relu, neuron);
                    self.check_split(active).map_err(|problem| rejection(place(piece), problem))?;
                    left.extend([(path.len(), Some(inactive), first + 1), (path.len(), Some(active), first)]);
                }
                PieceState::Leaf(LeafRecord { row, claim, alpha, beta }) => {
                    let wrong = |problem: String| rejection(place(piece), problem);
                    let row = half_spaces.get(row as usize).ok_or_else(|| wrong(format!("there is no row {row}")))?;
                    lanes.push(owned(scope, Row::HalfSpace(row), alpha, beta, &path).map_err(wrong)?);
                    leaves.push((piece, claim));
                    n_numbers += alpha.len() / 2 + beta.len() / 4;
                }
                PieceState::Open => return Err(rejection(place(piece), "nothing settles it")),
            }
            if lanes.len() >= LANES || n_numbers >= NUMBERS || left.is_empty() {
                let bounds = bound_owned(scope, self.question.network.output().0, &lanes);
                for (&(piece, claim), bound) in leaves.iter().zip(bounds) {
                    // Written so that NaN fails.
                    let is_proved = self.question.is_excluded_by(f64::from(claim)) && bound >= f64::from(claim);
                    if !is_proved {
                        let problem = format!("it claims {claim} (positive is needed), its row gives {bound}");
                        return Err(rejection(place(piece), problem));
                    }
                }
                census.pieces += leaves.len() as u64;
                self.progress.add(leaves.len());
                lanes.clear();
                leaves.clear();
                n_numbers = 0;
            }
        }
        Ok(())
    }

    /// A split speaks of a neuron that there is.
    fn check_split(&self, split: Split) -> Result<(), String> {
        let node = self.relus.get(split.relu as usize).map(|&node| &self.question.network.nodes()[node]);
        if node.is_some_and(|node| (split.neuron as usize) < node.len()) {
            Ok(())
        } else {
            Err(format!("there is no neuron {} of a ReLU {}", split.neuron, split.relu))
        }
    }
}

fn bound_owned<'a>(scope: &impl Bounding<'a>, node: usize, lanes: &[OwnedLane]) -> Vec<f64> {
    let lanes: Vec<Lane> =
        lanes.iter().map(|lane| Lane { row: lane.row, alpha: &lane.alpha, splits: &lane.splits }).collect();
    scope.bound(node, &lanes)
}

/// A lane from its bytes: as many multipliers as splits, and all slopes or none.
fn owned<'a, 'r>(
    scope: &impl Bounding<'a>,
    row: Row<'r>,
    alpha: &[u8],
    beta: &[u8],
    path: &[Split],
) -> Result<OwnedLane<'r>, String> {
    if beta.len() / 4 != path.len() {
        return Err(format!("{} multipliers for {} splits", beta.len() / 4, path.len()));
    }
    if !alpha.is_empty() && alpha.len() / 2 != scope.n_slopes() {
        return Err(format!("{} slopes where {} were declared", alpha.len() / 2, scope.n_slopes()));
    }
    let splits = path.iter().copied().zip(to_floats(beta)).collect();
    Ok(OwnedLane { row, alpha: to_halves(alpha), splits })
}
