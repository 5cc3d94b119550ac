//! Accepting or rejecting a certificate.

mod context;
mod walk;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::backward::{Lane, Row, bound};
use crate::certificate::{BoxState, Digest, Evaluation, Header, PieceState, Tape};
use crate::error::Error;
use crate::question::Question;
use crate::scope::{Method, Scope, Split};
use context::ContextCheck;
use walk::{BoxLeaf, BoxWalk};

/// What a certificate was found to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It proves that no input violates the property, for the evaluations that its header names.
    Accepted(Census),
    /// It does not prove that.
    Rejected(Rejection),
}

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Census {
    /// Boxes that plain bounds exclude.
    pub boxes: u64,
    /// Contexts.
    pub contexts: u64,
    /// Lemmas in them.
    pub lemmas: u64,
    /// Pieces that a row excludes.
    pub pieces: u64,
}

/// The first part (in the order of the certificate, as far as it was checked) that proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Which part.
    pub place: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Counts what has been checked so far; shared with whoever shows progress.
#[derive(Debug, Default)]
pub struct Progress {
    checked: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Parts checked, and of how many.
    pub fn so_far(&self) -> (u64, u64) {
        (self.checked.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, n: usize) {
        self.checked.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Files whose digests a certificate must name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Of the network's file.
    pub network: Digest,
    /// Of the property's file.
    pub property: Digest,
}

/// Contexts inside each other, at most.
const MOST_NESTED: usize = 1024;

/// Reads a certificate's header, without checking anything but its form.
///
/// # Errors
/// When the bytes are no certificate.
pub fn header(bytes: &[u8]) -> Result<Header, Error> {
    Ok(Tape::read(bytes)?.header)
}

/// Checks a certificate against a question.
///
/// # Errors
/// When the bytes are no certificate, or one of other files.
pub fn check(question: &Question, digests: Digests, bytes: &[u8], progress: &Progress) -> Result<Judgement, Error> {
    let tape = Tape::read(bytes)?;
    let wanted = if question.set.is_some() { "ssim" } else { "verify" };
    if tape.header.job != wanted {
        return Err(Error::Mismatch(match wanted {
            "ssim" => "the certificate is about a property, not about similar images: give the property".into(),
            _ => "the certificate is about images similar to a reference: give image, class and threshold".into(),
        }));
    }
    if question.set.is_some() && tape.header.evaluation != Evaluation::Real {
        // A member of a set need not be one any more once its pixels are rounded to f32.
        return Err(Error::Mismatch("nothing is certified of evaluations in f32 of similar images".into()));
    }
    for (what, named, given) in
        [("network", tape.header.network, digests.network), ("property", tape.header.property, digests.property)]
    {
        if named != given {
            return Err(Error::Mismatch(format!(
                "the certificate is about a {what} with the SHA-256 digest {named}, the given one has {given}"
            )));
        }
    }
    let question = question.of(tape.header.evaluation)?;
    let check = Check { question: &question, tape: &tape, relus: question.relus(), progress };
    Ok(match check.run() {
        Ok(census) => Judgement::Accepted(census),
        Err(rejection) => Judgement::Rejected(rejection),
    })
}

/// Whether plain bounds exclude each of these disjuncts over a box: some half-space of each is positive there.
///
/// # Errors
/// The first disjunct that is not excluded.
pub fn exclude(question: &Question, disjuncts: &[u32], lower: &[f64], upper: &[f64]) -> Result<(), u32> {
    if lower.iter().zip(upper).any(|(l, u)| l > u) {
        // A box without points.
        return Ok(());
    }
    let scope = Scope::start(question.network, lower, upper, &[], question.rounding());
    let scope = scope.within(question.set).complete(Method::Tightest);
    let half_spaces = |disjunct: u32| &question.property.disjuncts[disjunct as usize].half_spaces;
    let rows = disjuncts.iter().flat_map(|&disjunct| half_spaces(disjunct));
    let lanes: Vec<Lane> = rows.map(|row| Lane::plain(Row::HalfSpace(row))).collect();
    let mut bounds = bound(&scope, question.network.output().0, &lanes).into_iter();
    for &disjunct in disjuncts {
        let rows: Vec<f64> = bounds.by_ref().take(half_spaces(disjunct).len()).collect();
        if !rows.iter().any(|&bound| bound > 0.0) {
            return Err(disjunct);
        }
    }
    Ok(())
}

/// A certificate being checked.
struct Check<'a> {
    question: &'a Question<'a>,
    tape: &'a Tape<'a>,
    relus: Vec<usize>,
    progress: &'a Progress,
}

impl Check<'_> {
    fn run(&self) -> Result<Census, Rejection> {
        let n_disjuncts = self.question.property.disjuncts.len();
        let (is_settled, pieces) = (self.tape.settled_boxes(), self.tape.settled_pieces());
        let mut is_covered = vec![false; n_disjuncts];
        let mut roots: Vec<(&[u32], u32)> = Vec::new();
        for (disjuncts, root) in &self.tape.roots {
            self.check_root(disjuncts, *root)?;
            let is_new = disjuncts.iter().any(|&disjunct| !is_covered[disjunct as usize]);
            if is_new && is_settled[*root as usize] && self.is_settled_within(disjuncts, *root, &pieces) {
                disjuncts.iter().for_each(|&disjunct| is_covered[disjunct as usize] = true);
                roots.push((disjuncts, *root));
            }
        }
        if let Some(open) = is_covered.iter().position(|&is_covered| !is_covered) {
            return Err(self.unsettled(open as u32, &is_settled));
        }
        let mut census = Census::default();
        let n_parts: u64 = roots.iter().map(|(disjuncts, root)| self.n_parts(disjuncts, *root, &pieces)).sum();
        self.progress.total.store(n_parts, Ordering::Relaxed);
        for (disjuncts, root) in roots {
            self.check_boxes(disjuncts, root, &pieces, &mut census)?;
        }
        Ok(census)
    }

    /// A root's disjuncts exist and have one region.
    fn check_root(&self, disjuncts: &[u32], root: u32) -> Result<(), Rejection> {
        let place = || format!("box {root}");
        let all = &self.question.property.disjuncts;
        let Some(first) = disjuncts.first() else {
            return Err(rejection(place(), "it names no disjunct"));
        };
        for &disjunct in disjuncts {
            let Some(found) = all.get(disjunct as usize) else {
                return Err(rejection(place(), format!("the property has no disjunct {disjunct}")));
            };
            let region = &all[*first as usize].region;
            if (&found.region.lower, &found.region.upper) != (&region.lower, &region.upper) {
                return Err(rejection(place(), format!("disjuncts {first} and {disjunct} have different regions")));
            }
        }
        Ok(())
    }

    /// Whether every context that settles a box below `root` settles all of its disjuncts.
    fn is_settled_within(&self, disjuncts: &[u32], root: u32, pieces: &[bool]) -> bool {
        let mut stack = vec![root];
        while let Some(id) = stack.pop() {
            match self.tape.boxes[id as usize] {
                BoxState::Halved { first, .. } => stack.extend([first, first + 1]),
                BoxState::Context(context) => {
                    if !disjuncts.iter().all(|&disjunct| self.settles(context, disjunct, pieces)) {
                        return false;
                    }
                }
                BoxState::Plain => {}
                BoxState::Open => return false,
            }
        }
        true
    }

    /// Whether a context has all the parts that settle a disjunct.
    fn settles(&self, context: u32, disjunct: u32, pieces: &[bool]) -> bool {
        let mut stack = vec![context];
        while let Some(id) = stack.pop() {
            let context = &self.tape.contexts[id as usize];
            if self.tree(id, disjunct, pieces).is_some() {
                continue;
            }
            match (context.next, context.halves) {
                (Some(next), _) => stack.push(next),
                (None, Some((_, [Some(active), Some(inactive)]))) => stack.extend([active, inactive]),
                _ => return false,
            }
        }
        true
    }

    /// The settled tree of a disjunct in a context.
    fn tree(&self, context: u32, disjunct: u32, pieces: &[bool]) -> Option<u32> {
        let trees = &self.tape.contexts[context as usize].trees;
        trees.iter().find(|(of, root)| *of == disjunct && pieces[*root as usize]).map(|(_, root)| *root)
    }

    /// Names something that is open.
    fn unsettled(&self, disjunct: u32, is_settled: &[bool]) -> Rejection {
        let mut roots = self.tape.roots.iter().filter(|(disjuncts, _)| disjuncts.contains(&disjunct));
        let Some((_, root)) = roots.next_back() else {
            return rejection(format!("disjunct {disjunct}"), "no part of the certificate speaks of it");
        };
        let mut id = *root;
        while let BoxState::Halved { first, .. } = self.tape.boxes[id as usize] {
            id = if is_settled[first as usize] { first + 1 } else { first };
        }
        let what = match self.tape.boxes[id as usize] {
            BoxState::Open => "nothing settles it: a leaf is missing",
            _ => "some piece of its contexts is settled by nothing: a leaf is missing",
        };
        rejection(format!("box {id}, of disjunct {disjunct}"), what)
    }

    /// How many leaves and lemmas will be checked, about.
    fn n_parts(&self, disjuncts: &[u32], root: u32, pieces: &[bool]) -> u64 {
        let mut n_parts = 0;
        let mut boxes = vec![root];
        while let Some(id) = boxes.pop() {
            match self.tape.boxes[id as usize] {
                BoxState::Halved { first, .. } => boxes.extend([first, first + 1]),
                BoxState::Plain => n_parts += 1,
                BoxState::Context(context) => n_parts += self.n_parts_within(disjuncts, context, pieces),
                BoxState::Open => {}
            }
        }
        n_parts
    }

    fn n_parts_within(&self, disjuncts: &[u32], context: u32, pieces: &[bool]) -> u64 {
        let mut n_parts = 0;
        let mut stack = vec![context];
        while let Some(id) = stack.pop() {
            let context = &self.tape.contexts[id as usize];
            n_parts += context.parts.len() as u64;
            let mut trees: Vec<u32> =
                disjuncts.iter().filter_map(|&disjunct| self.tree(id, disjunct, pieces)).collect();
            if trees.len() < disjuncts.len() {
                let halves = context.halves.map_or([None; 2], |(_, halves)| halves);
                stack.extend(context.next.into_iter().chain(halves.into_iter().flatten()));
            }
            while let Some(piece) = trees.pop() {
                match self.tape.pieces[piece as usize] {
                    PieceState::Decided { first, .. } => trees.extend([first, first + 1]),
                    _ => n_parts += 1,
                }
            }
        }
        n_parts
    }

    /// Checks every leaf below a box, in parallel.
    fn check_boxes(&self, disjuncts: &[u32], root: u32, pieces: &[bool], census: &mut Census) -> Result<(), Rejection> {
        let region = &self.question.property.disjuncts[disjuncts[0] as usize].region;
        let mut walk = BoxWalk::new(self.tape, root, &region.lower, &region.upper);
        loop {
            let leaves = walk.next_leaves()?;
            if leaves.is_empty() {
                return Ok(());
            }
            let checked: Vec<Result<Census, Rejection>> = leaves
                .par_iter()
                .with_max_len(1)
                .map(|leaf| match self.tape.boxes[leaf.id as usize] {
                    BoxState::Context(context) => self.check_context(disjuncts, context, leaf, pieces),
                    _ => self.check_plain(disjuncts, leaf),
                })
                .collect();
            for checked in checked {
                census.add(checked?);
            }
        }
    }

    fn check_plain(&self, disjuncts: &[u32], leaf: &BoxLeaf) -> Result<Census, Rejection> {
        exclude(self.question, disjuncts, &leaf.lower, &leaf.upper).map_err(|disjunct| {
            let problem = format!("plain bounds do not exclude disjunct {disjunct} there");
            rejection(format!("box {}, {}", leaf.id, leaf.ends()), problem)
        })?;
        self.progress.add(1);
        Ok(Census { boxes: 1, ..Census::default() })
    }

    /// Checks a context of a box and all contexts in it that are needed.
    fn check_context(
        &self,
        disjuncts: &[u32],
        context: u32,
        leaf: &BoxLeaf,
        pieces: &[bool],
    ) -> Result<Census, Rejection> {
        let mut census = Census::default();
        if leaf.is_empty() {
            return Ok(census);
        }
        // Scopes of the contexts around the one that is checked, with the number of contexts below each that are still to come.
        let mut around: Vec<(Scope, usize)> = Vec::new();
        let mut stack: Vec<(u32, Option<Split>, Vec<u32>)> = vec![(context, None, disjuncts.to_vec())];
        while let Some((id, side, disjuncts)) = stack.pop() {
            if around.len() >= MOST_NESTED {
                return Err(rejection(format!("context {id}"), format!("more than {MOST_NESTED} lie around it")));
            }
            let of = ContextCheck {
                question: self.question,
                tape: self.tape,
                relus: &self.relus,
                progress: self.progress,
                id,
            };
            let parent = around.last().map(|(scope, _)| scope);
            let scope = of.scope((&leaf.lower, &leaf.upper), parent, side, &mut census)?;
            if let Some((_, n_left)) = around.last_mut() {
                *n_left -= 1;
            }
            let mut open = Vec::new();
            for disjunct in disjuncts {
                match self.tree(id, disjunct, pieces) {
                    _ if scope.is_empty() => {}
                    Some(root) => of.check_tree(&scope, disjunct, root, &mut census)?,
                    None => open.push(disjunct),
                }
            }
            let context = &self.tape.contexts[id as usize];
            let mut n_below = 0;
            if !open.is_empty() {
                let halves = context.halves.into_iter().flat_map(|((relu, neuron), ids)| {
                    ids.into_iter().zip(Tape::sides(relu, neuron)).map(|(id, side)| (id, Some(side)))
                });
                let below = match context.next {
                    Some(next) => vec![(Some(next), None)],
                    None => halves.collect(),
                };
                for (id, side) in below {
                    let id = id.ok_or_else(|| rejection(format!("context {id:?}"), "a side is missing"))?;
                    stack.push((id, side, open.clone()));
                    n_below += 1;
                }
                if n_below == 0 {
                    return Err(rejection(format!("context {id}"), format!("nothing settles disjunct {}", open[0])));
                }
            }
            around.push((scope, n_below));
            while around.last().is_some_and(|(_, n_left)| *n_left == 0) {
                around.pop();
            }
        }
        Ok(census)
    }
}

impl Census {
    fn add(&mut self, other: Self) {
        self.boxes += other.boxes;
        self.contexts += other.contexts;
        self.lemmas += other.lemmas;
        self.pieces += other.pieces;
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

fn rejection(place: impl Into<String>, problem: impl Into<String>) -> Rejection {
    Rejection { place: place.into(), problem: problem.into() }
}
