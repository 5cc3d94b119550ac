//! Certificates of what a search proves, written while it searches.
//!
//! What is written is what the checker's own functions have already accepted: a piece counts as decided only then, so that a
//! certificate does not depend on how close the engine's bounds and the checker's are. What they do not accept is split further.

mod context;
mod preimage;

use std::io::{self, Write};

use bounds::{Ascent, BoundEngine, Keep, Split, Target};
use checker::certificate::{BoxId, Header, Origin, PieceId, Writer};
use checker::{Lane, Question, Row, SimilarImages};
use network::{Activation, BoxRegion, HalfSpace, Network, Op, Property};
use rayon::prelude::*;

use crate::error::Error;
use crate::search::Objective;

pub use context::{ContextNotes, Draft, LemmaTree, Offered};
pub use preimage::{CertifiedPreimage, PreimageCertificate};

/// Writes the certificate of one question.
#[derive(Debug)]
pub struct Recorder<'a> {
    pub(crate) question: Question<'a>,
    pub(crate) writer: Writer<'a>,
    /// The `ReLU` nodes of the network as it was read.
    pub(crate) relus: Vec<usize>,
}

impl<'a> Recorder<'a> {
    /// Starts the certificate of a question; the header says of which evaluations of the network.
    ///
    /// # Errors
    /// When network and property do not fit, or nothing can be said of these evaluations.
    pub fn new(
        network: &'a Network,
        property: &'a Property,
        sink: impl Write + Send + 'a,
        header: &Header,
    ) -> Result<Self, Error> {
        let question = Question::new(network, property).and_then(|question| question.of(header.evaluation));
        let question = question.map_err(|error| Error::Certificate(error.to_string()))?;
        Ok(Self { relus: question.relus(), question, writer: Writer::new(sink, header) })
    }

    /// Starts the records of one question of many, for a bundle.
    pub fn of_question(question: Question<'a>, sink: impl Write + Send + 'a) -> Self {
        Self { relus: question.relus(), question, writer: Writer::records(sink) }
    }

    /// The same certificate, of a question about these images only; the property is [`SimilarImages::misclassified`].
    ///
    /// # Errors
    /// When they do not fit the network.
    pub fn over(self, set: &'a SimilarImages) -> Result<Self, Error> {
        let question = self.question.over(set).map_err(|error| Error::Certificate(error.to_string()))?;
        Ok(Self { question, ..self })
    }

    /// Ends the certificate; it proves something only if everything was verified.
    ///
    /// # Errors
    /// The first failure of the sink, whenever it was.
    pub fn finish(self) -> io::Result<()> {
        self.writer.finish()
    }

    /// The half-spaces of one of an objective's disjuncts.
    pub(crate) fn half_spaces(&self, objective: &Objective, disjunct: usize) -> &'a [HalfSpace] {
        &self.question.property.disjuncts[objective.disjuncts[disjunct].0].half_spaces
    }

    /// Which of these of an objective's disjuncts the checker's plain bounds exclude on the whole region.
    pub(crate) fn excluded(&self, objective: &Objective, disjuncts: &[usize]) -> Vec<usize> {
        let region = &objective.region;
        let is_excluded = |disjunct: &usize| {
            let place = objective.disjuncts[*disjunct].0 as u32;
            checker::exclude(&self.question, &[place], &region.lower, &region.upper).is_ok()
        };
        disjuncts.iter().copied().filter(is_excluded).collect()
    }

    /// Writes that plain bounds exclude these disjuncts on the whole region.
    pub(crate) fn whole(&mut self, objective: &Objective, disjuncts: &[usize]) {
        if !disjuncts.is_empty() {
            let root = self.region(objective, disjuncts);
            self.writer.plain(root);
        }
    }

    /// Writes that plain bounds exclude every disjunct, if the checker sees that; they must have one region.
    pub(crate) fn plainly(&mut self) -> bool {
        let disjuncts = &self.question.property.disjuncts;
        let Some(first) = disjuncts.first() else { return false };
        let all: Vec<u32> = (0..disjuncts.len() as u32).collect();
        let is_one = disjuncts.iter().all(|disjunct| disjunct.region == first.region);
        if !is_one || checker::exclude(&self.question, &all, &first.region.lower, &first.region.upper).is_err() {
            return false;
        }
        let root = self.writer.boxes(&(0..disjuncts.len()).collect::<Vec<_>>());
        self.writer.plain(root);
        true
    }

    /// The region, for these disjuncts.
    pub(crate) fn region(&mut self, objective: &Objective, disjuncts: &[usize]) -> BoxId {
        let places: Vec<usize> = disjuncts.iter().map(|&disjunct| objective.disjuncts[disjunct].0).collect();
        self.writer.boxes(&places)
    }

    /// On which boxes (lower ends, then upper ends) the checker's plain bounds exclude every disjunct.
    pub(crate) fn excludes(&self, objective: &Objective, boxes: &[&[f32]]) -> Vec<bool> {
        let places: Vec<u32> = objective.disjuncts.iter().map(|(place, _)| *place as u32).collect();
        let question = self.question;
        let is_excluded = |ends: &&[f32]| {
            let (lower, upper) = within(&objective.region, ends);
            checker::exclude(&question, &places, &lower, &upper).is_ok()
        };
        boxes.par_iter().with_max_len(1).map(is_excluded).collect()
    }

    /// Writes that optimised bounds exclude every disjunct on a box, with all multipliers that show it; false, and nothing is
    /// written, where the checker does not see it.
    pub(crate) fn optimised(
        &mut self,
        objective: &Objective,
        engine: &BoundEngine,
        (id, ends): (BoxId, &[f32]),
        ascent: Ascent,
    ) -> Result<bool, Error> {
        let Some(map) = ReluMap::new(self.question.network, &objective.network) else { return Ok(false) };
        self.writer.hold();
        let offered = self.offer_optimised(objective, engine, &map, (id, ends), ascent);
        let is_accepted = matches!(&offered, Ok(Some(leaves)) if leaves.iter().all(|leaf| leaf.is_accepted));
        self.writer.release(is_accepted);
        offered.map(|_| is_accepted)
    }

    /// Writes a context of a box and a leaf for each disjunct that the checker accepts; what became of each, or nothing where there are no
    /// optimised bounds.
    fn offer_optimised(
        &mut self,
        objective: &Objective,
        engine: &BoundEngine,
        map: &ReluMap,
        (id, ends): (BoxId, &[f32]),
        ascent: Ascent,
    ) -> Result<Option<Vec<OfferedLeaf>>, Error> {
        let (lower, upper) = ends.split_at(ends.len() / 2);
        let held = map.held(&self.question);
        let base = match engine.base((lower, upper), None, &held, ascent) {
            // Optimised in f64, which leaves nothing to be written.
            Err(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } }) => return Ok(None),
            base => base?,
        };
        let Some(base) = base else { return Ok(None) };
        let (lower, upper) = within(&objective.region, ends);
        let mut draft = Draft::new(self, (&lower, &upper), map, Origin::Box(id), None).with_ascent(ascent);
        draft.advance(self, engine, &base, None)?;
        let base = draft.take_narrowed().unwrap_or(base);
        let notes = draft.finish();
        let rows: Vec<(usize, usize)> = (objective.disjuncts.iter().enumerate())
            .flat_map(|(disjunct, (_, rows))| rows.clone().map(move |row| (disjunct, row)))
            .collect();
        let asked: Vec<(u32, bool)> = rows.iter().map(|&(_, row)| (row as u32, false)).collect();
        let starts = starts(engine, &base, Target::Outputs, &asked, &held)?;
        let lanes: Vec<bounds::Lane> = asked
            .iter()
            .zip(&starts)
            .map(|(&(neuron, is_upper), splits)| bounds::Lane { neuron, is_upper, splits, alpha: &[], weight: 0.0 })
            .collect();
        let keep = Keep { proof: true, ..Keep::default() };
        let ascent = Ascent { margin: f64::INFINITY, ..ascent };
        let ended = engine.ascend(&base, Target::Outputs, &lanes, &ascent, keep)?;
        let mut offered = Vec::new();
        let mut ended = ended.into_iter();
        for (disjunct, (place, of)) in objective.disjuncts.iter().enumerate() {
            let of_rows = ended.by_ref().take(of.len()).enumerate();
            let Some((row, best)) = of_rows.max_by(|(_, a), (_, b)| a.bound.total_cmp(&b.bound)) else {
                return Ok(None);
            };
            let (alpha, beta) = best
                .proof
                .map_or_else(Default::default, |proof| (proof.alpha, held.iter().copied().zip(proof.beta).collect()));
            let piece = self.writer.tree(notes.id, *place);
            offered.push(Offered { piece, disjunct, row, path: Vec::new(), beta, alpha });
        }
        let bounds = self.leaf_bounds(objective, &notes, &offered);
        let leaf = |(leaf, (bound, is_accepted)): (Offered, (f64, bool))| OfferedLeaf {
            is_accepted,
            bound,
            beta: leaf.beta.iter().map(|(_, beta)| *beta).collect(),
        };
        Ok(Some(offered.into_iter().zip(bounds).map(leaf).collect()))
    }

    /// Writes those leaves that the checker accepts; says which.
    pub(crate) fn leaves(&mut self, objective: &Objective, notes: &ContextNotes<'a>, offered: &[Offered]) -> Vec<bool> {
        self.leaf_bounds(objective, notes, offered).into_iter().map(|(_, is_accepted)| is_accepted).collect()
    }

    /// As [`Self::leaves`], with the checker's bounds.
    fn leaf_bounds(
        &mut self,
        objective: &Objective,
        notes: &ContextNotes<'a>,
        offered: &[Offered],
    ) -> Vec<(f64, bool)> {
        let n_slopes = notes.scope.n_slopes();
        let prepared: Vec<_> = offered.iter().map(|leaf| leaf.prepare(notes, n_slopes)).collect();
        let lanes: Vec<Lane> = offered
            .iter()
            .zip(&prepared)
            .map(|(leaf, (alpha, splits))| {
                let half_space = &self.half_spaces(objective, leaf.disjunct)[leaf.row];
                Lane { row: Row::HalfSpace(half_space), alpha, splits }
            })
            .collect();
        let bounds = checker::bound(&notes.scope, self.question.network.output().0, &lanes);
        let mut is_accepted = Vec::new();
        for ((leaf, (alpha, splits)), bound) in offered.iter().zip(&prepared).zip(bounds) {
            let claim = checker::claim(bound);
            let is_proved = self.question.is_excluded_by(f64::from(claim));
            is_accepted.push((bound, is_proved));
            if is_proved {
                let beta: Vec<f32> = splits.iter().map(|(_, beta)| *beta).collect();
                self.writer.leaf(leaf.piece, leaf.row, claim, alpha, &beta);
            }
        }
        is_accepted
    }

    /// Writes that a context holds no input, which settles these disjuncts; false if the checker does not see that.
    pub(crate) fn close_empty(&mut self, objective: &Objective, notes: &ContextNotes, disjuncts: &[usize]) -> bool {
        if notes.scope.is_empty() {
            let beta = vec![0.0; notes.scope.splits().len()];
            for &disjunct in disjuncts {
                let tree = self.writer.tree(notes.id, objective.disjuncts[disjunct].0);
                self.writer.leaf(tree, 0, f32::INFINITY, &[], &beta);
            }
        }
        notes.scope.is_empty()
    }

    /// The pieces of a decision.
    pub(crate) fn decide(&mut self, piece: PieceId, split: checker::Split) -> [PieceId; 2] {
        self.writer.decide(piece, split.relu, split.neuron)
    }
}

/// What the multipliers of held splits start from, for each row (neuron, whether its upper end): one of them alone, or none.
fn starts(
    engine: &BoundEngine,
    base: &bounds::Base,
    target: Target,
    rows: &[(u32, bool)],
    held: &[Split],
) -> Result<Vec<Vec<(Split, f32)>>, Error> {
    /// Rows that are tried together.
    const AT_ONCE: usize = 64;
    let alone = |k: usize| held.iter().enumerate().map(|(at, split)| (*split, f32::from(at == k))).collect();
    let tried: Vec<Vec<(Split, f32)>> = (0..=held.len()).rev().map(alone).collect();
    let mut found = Vec::with_capacity(rows.len());
    for rows in rows.chunks(AT_ONCE) {
        if tried.len() == 1 {
            found.extend(rows.iter().map(|_| Vec::new()));
            continue;
        }
        let lane = |&(neuron, is_upper): &(u32, bool)| {
            tried.iter().map(move |splits| bounds::Lane { neuron, is_upper, splits, alpha: &[], weight: 0.0 })
        };
        let lanes: Vec<bounds::Lane> = rows.iter().flat_map(lane).collect();
        let ascent = Ascent { steps: 0, ..Ascent::default() };
        let ended = engine.ascend(base, target, &lanes, &ascent, Keep::default())?;
        for ended in ended.chunks(tried.len()) {
            let best = (0..tried.len()).reduce(|best, k| if ended[k].bound > ended[best].bound { k } else { best });
            found.push(tried[best.unwrap_or(0)].clone());
        }
    }
    Ok(found)
}

/// What became of a leaf that was offered.
#[derive(Debug)]
struct OfferedLeaf {
    is_accepted: bool,
    /// The checker's bound of its row.
    bound: f64,
    /// The multipliers of what the question holds.
    beta: Vec<f32>,
}

/// Ends of a box as the checker sees them: the region is no wider than its f32 ends.
fn within(region: &BoxRegion, ends: &[f32]) -> (Vec<f64>, Vec<f64>) {
    let (lower, upper) = ends.split_at(ends.len() / 2);
    let lower = lower.iter().zip(&region.lower).map(|(l, least)| f64::from(*l).max(*least)).collect();
    (lower, upper.iter().zip(&region.upper).map(|(u, most)| f64::from(*u).min(*most)).collect())
}

/// How the engine's `ReLU` nodes are those of the network as it was read: their order is the same, whatever was merged around them.
#[derive(Debug, Clone)]
pub struct ReluMap {
    /// Node of the simplified network, per `ReLU`.
    nodes: Vec<u32>,
}

impl ReluMap {
    /// Matches the two lists; nothing where they do not match.
    pub fn new(raw: &Network, simple: &Network) -> Option<Self> {
        let relus = |network: &Network| -> Vec<(u32, usize)> {
            let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu));
            let nodes = network.nodes().iter().enumerate().filter(|(_, node)| is_relu(&node.op));
            nodes.map(|(id, node)| (id as u32, node.len())).collect()
        };
        let (ours, theirs) = (relus(raw), relus(simple));
        let is_same = ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| a.1 == b.1);
        is_same.then(|| Self { nodes: theirs.into_iter().map(|(node, _)| node).collect() })
    }

    /// The splits that hold wherever a question is asked, as the engine names them.
    fn held(&self, question: &Question) -> Vec<Split> {
        let split = |held: &checker::Split| Split {
            node: self.node(held.relu as usize),
            neuron: held.neuron,
            is_active: held.is_active,
        };
        question.held.iter().map(split).collect()
    }

    /// The engine's node of a `ReLU`.
    pub fn node(&self, relu: usize) -> u32 {
        self.nodes[relu]
    }

    /// A split as the certificate names it.
    pub fn split(&self, split: Split) -> checker::Split {
        let relu = self.nodes.iter().position(|&node| node == split.node).unwrap_or(usize::MAX);
        checker::Split { relu: relu as u32, neuron: split.neuron, is_active: split.is_active }
    }
}
