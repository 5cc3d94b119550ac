//! Certificates of what a search proves, written while it searches.
//!
//! What is written is what the checker's own functions have already accepted: a piece counts as decided only then, so that a
//! certificate does not depend on how close the engine's bounds and the checker's are. What they do not accept is split further.

mod context;

use std::io::{self, Write};

use bounds::{Ascent, BoundEngine, Keep, Split, Target};
use checker::certificate::{BoxId, Header, Origin, PieceId, Writer};
use checker::{Lane, Question, Row, SimilarImages};
use network::{Activation, BoxRegion, HalfSpace, Network, Op, Property};
use rayon::prelude::*;

use crate::error::Error;
use crate::search::Objective;

pub use context::{ContextNotes, Draft, LemmaTree, Offered};

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
        let is_accepted = self.offer_optimised(objective, engine, &map, (id, ends), ascent);
        self.writer.release(matches!(is_accepted, Ok(true)));
        is_accepted
    }

    fn offer_optimised(
        &mut self,
        objective: &Objective,
        engine: &BoundEngine,
        map: &ReluMap,
        (id, ends): (BoxId, &[f32]),
        ascent: Ascent,
    ) -> Result<bool, Error> {
        let (lower, upper) = ends.split_at(ends.len() / 2);
        let base = match engine.base((lower, upper), None, &[], ascent) {
            // Optimised in f64, which leaves nothing to be written.
            Err(bounds::Error { kind: bounds::ErrorKind::Magnitude { .. } }) => return Ok(false),
            base => base?,
        };
        let Some(base) = base else { return Ok(false) };
        let (lower, upper) = within(&objective.region, ends);
        let mut draft = Draft::new(self, (&lower, &upper), map, Origin::Box(id), None).with_ascent(ascent);
        draft.advance(self, engine, &base, None)?;
        let notes = draft.finish();
        let rows: Vec<(usize, usize)> = (objective.disjuncts.iter().enumerate())
            .flat_map(|(disjunct, (_, rows))| rows.clone().map(move |row| (disjunct, row)))
            .collect();
        let lanes: Vec<bounds::Lane> = rows
            .iter()
            .map(|&(_, row)| bounds::Lane { neuron: row as u32, is_upper: false, splits: &[], alpha: &[], weight: 0.0 })
            .collect();
        let keep = Keep { proof: true, ..Keep::default() };
        let ascent = Ascent { margin: f64::INFINITY, ..ascent };
        let ended = engine.ascend(&base, Target::Outputs, &lanes, &ascent, keep)?;
        let mut offered = Vec::new();
        for (disjunct, (place, of)) in objective.disjuncts.iter().enumerate() {
            let best = of.clone().max_by(|&a, &b| ended[a].bound.total_cmp(&ended[b].bound));
            let Some(best) = best else { return Ok(false) };
            let alpha = ended[best].proof.as_ref().map_or(Box::default(), |proof| proof.alpha.clone());
            let piece = self.writer.tree(notes.id, *place);
            let (path, beta) = (Vec::new(), Vec::new());
            offered.push(Offered { piece, disjunct, row: best - of.start, path, beta, alpha });
        }
        Ok(self.leaves(objective, &notes, &offered).into_iter().all(|is_accepted| is_accepted))
    }

    /// Writes those leaves that the checker accepts; says which.
    pub(crate) fn leaves(&mut self, objective: &Objective, notes: &ContextNotes<'a>, offered: &[Offered]) -> Vec<bool> {
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
            is_accepted.push(claim > 0.0);
            if claim > 0.0 {
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
