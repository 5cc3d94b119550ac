//! Accepting or rejecting a certificate.

mod bounding;
mod context;
mod walk;

use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::backward::{Lane, Row};
use crate::certificate::{self, BoxState, Digest, Evaluation, Header, PieceState, Tape};
use crate::error::Error;
use crate::exact::{self, ExactScope};
use crate::question::Question;
use crate::scope::{Scope, Split};
use bounding::Bounding;
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

/// In which numbers a certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Arithmetic {
    /// In f64, rounded outward.
    #[default]
    Outward,
    /// In numbers that are not rounded: for small networks that are piecewise linear.
    Exact,
}

/// Multiplications of exact numbers, at most: several minutes.
const MOST_EXACT: u64 = 2_000_000_000;

/// Contexts inside each other, at most.
const MOST_NESTED: usize = 1024;

/// Reads a certificate's header, without checking anything but its form.
///
/// # Errors
/// When the bytes are no certificate.
pub fn header(bytes: &[u8]) -> Result<Header, Error> {
    Ok(certificate::taken_apart(bytes)?.0)
}

/// Checks a certificate against a question.
///
/// # Errors
/// When the bytes are no certificate, or one of other files; when there are no exact bounds, or too many are needed.
pub fn check(
    question: &Question,
    digests: Digests,
    bytes: &[u8],
    arithmetic: Arithmetic,
    progress: &Progress,
) -> Result<Judgement, Error> {
    let (header, records) = certificate::taken_apart(bytes)?;
    header.is_of(if question.set.is_some() { "ssim" } else { "verify" })?;
    if question.set.is_some() && header.evaluation != Evaluation::Real {
        // A member of a set need not be one any more once its pixels are rounded to f32.
        return Err(Error::Mismatch("nothing is certified of evaluations in f32 of similar images".into()));
    }
    digests.are_named_by(&header)?;
    check_records(&question.of(header.evaluation)?, records, arithmetic, progress)
}

/// Checks the records of a certificate (or of one question of a bundle).
///
/// # Errors
/// When the bytes are no records; when there are no exact bounds, or too many are needed.
pub fn check_records(
    question: &Question,
    records: &[u8],
    arithmetic: Arithmetic,
    progress: &Progress,
) -> Result<Judgement, Error> {
    let tape = Tape::read(records)?;
    let judged = match arithmetic {
        Arithmetic::Outward => Check::<Scope>::new(question, &tape, progress).run(u64::MAX)?,
        Arithmetic::Exact => {
            question.has_exact_bounds()?;
            Check::<ExactScope>::new(question, &tape, progress).run(MOST_EXACT)?
        }
    };
    Ok(match judged {
        Ok(census) => Judgement::Accepted(census),
        Err(rejection) => Judgement::Rejected(rejection),
    })
}

impl Digests {
    /// Checks that a certificate is about these files.
    ///
    /// # Errors
    /// When it is not; the message has both digests.
    pub fn are_named_by(&self, header: &Header) -> Result<(), Error> {
        for (what, named, given) in
            [("network", header.network, self.network), ("property", header.property, self.property)]
        {
            if named != given {
                return Err(Error::Mismatch(format!(
                    "the certificate is about a {what} with the SHA-256 digest {named}, the given one has {given}"
                )));
            }
        }
        Ok(())
    }
}

/// Whether plain bounds exclude each of these disjuncts over a box: some half-space of each is positive there.
///
/// # Errors
/// The first disjunct that is not excluded.
pub fn exclude(question: &Question, disjuncts: &[u32], lower: &[f64], upper: &[f64]) -> Result<(), u32> {
    exclude_by::<Scope>(question, disjuncts, (lower, upper))
}

fn exclude_by<'a, S: Bounding<'a>>(
    question: &Question<'a>,
    disjuncts: &[u32],
    (lower, upper): (&[f64], &[f64]),
) -> Result<(), u32> {
    if lower.iter().zip(upper).any(|(l, u)| l > u) {
        // A box without points.
        return Ok(());
    }
    let scope = S::start(question, (lower, upper), question.held).complete();
    let half_spaces = |disjunct: u32| &question.property.disjuncts[disjunct as usize].half_spaces;
    let rows = disjuncts.iter().flat_map(|&disjunct| half_spaces(disjunct));
    let lanes: Vec<Lane> = rows.map(|row| Lane::plain(Row::HalfSpace(row))).collect();
    let mut bounds = scope.bound(question.network.output().0, &lanes).into_iter();
    for &disjunct in disjuncts {
        let rows: Vec<f64> = bounds.by_ref().take(half_spaces(disjunct).len()).collect();
        if !rows.iter().any(|&bound| question.is_excluded_by(bound)) {
            return Err(disjunct);
        }
    }
    Ok(())
}

/// A certificate being checked.
struct Check<'a, S> {
    question: &'a Question<'a>,
    tape: &'a Tape<'a>,
    relus: Vec<usize>,
    progress: &'a Progress,
    bounds: PhantomData<fn() -> S>,
}

impl<'a, S: Bounding<'a>> Check<'a, S> {
    fn new(question: &'a Question<'a>, tape: &'a Tape<'a>, progress: &'a Progress) -> Self {
        Self { question, tape, relus: question.relus(), progress, bounds: PhantomData }
    }

    /// # Errors
    /// If more multiplications than this may be needed.
    fn run(&self, most: u64) -> Result<Result<Census, Rejection>, Error> {
        let (pieces, roots) = match self.needed() {
            Ok(needed) => needed,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let cost = roots.iter().map(|(disjuncts, root)| self.cost(disjuncts, *root, &pieces));
        let cost = cost.fold(0_u64, u64::saturating_add);
        if cost > most {
            return Err(Error::Mismatch(format!(
                "exact bounds are for small networks: this certificate would take up to {cost} multiplications of long numbers, \
                 more than {most}; check it without them"
            )));
        }
        let n_parts: u64 = roots.iter().map(|(disjuncts, root)| self.n_parts(disjuncts, *root, &pieces)).sum();
        self.progress.total.fetch_add(n_parts, Ordering::Relaxed);
        let mut census = Census::default();
        for (disjuncts, root) in roots {
            if let Err(rejection) = self.check_boxes(disjuncts, root, &pieces, &mut census) {
                return Ok(Err(rejection));
            }
        }
        Ok(Ok(census))
    }

    /// Which pieces are settled, and the roots that settle every disjunct.
    #[expect(clippy::type_complexity, reason = "disjuncts and box of each root")]
    fn needed(&self) -> Result<(Vec<bool>, Vec<(&'a [u32], u32)>), Rejection> {
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
        Ok((pieces, roots))
    }

    /// How many multiplications everything below a box may take.
    fn cost(&self, disjuncts: &[u32], root: u32, pieces: &[bool]) -> u64 {
        let network = self.question.network;
        let (row, scope) = (exact::row_cost(network), exact::scope_cost(network));
        let mut n_boxes = 0_u64;
        let mut boxes = vec![root];
        while let Some(id) = boxes.pop() {
            match self.tape.boxes[id as usize] {
                BoxState::Halved { first, .. } => boxes.extend([first, first + 1]),
                _ => n_boxes += 1,
            }
        }
        let n_rows = self.n_parts(disjuncts, root, pieces).saturating_mul(1 + disjuncts.len() as u64);
        n_boxes.saturating_mul(scope).saturating_add(n_rows.saturating_mul(row))
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
        exclude_by::<S>(self.question, disjuncts, (&leaf.lower, &leaf.upper)).map_err(|disjunct| {
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
        let mut around: Vec<(S, usize)> = Vec::new();
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
            let scope: S = of.scope((&leaf.lower, &leaf.upper), parent, side, &mut census)?;
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
    /// Counts what another part has.
    pub fn add(&mut self, other: Self) {
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
