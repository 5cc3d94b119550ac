//! Branch and bound by input splits as plain values: what a device that keeps the boxes to itself is asked and answers.

use std::cmp::Ordering;
use std::ops::Range;

/// A box of a search: an undecided part of its region.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Lower ends of the inputs, then upper ends.
    pub ends: Box<[f32]>,
    /// How many splits made it.
    pub depth: u32,
    /// How far the worst disjunct was from being excluded when this box, or the one it is half of, was last bounded.
    pub score: f32,
}

/// Disjuncts over the rows of a program's result: a box is excluded once every disjunct has a row whose lower bound is positive.
///
/// A disjunct without rows can never be excluded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    /// The rows of each disjunct.
    pub disjuncts: Vec<Range<usize>>,
}

/// When to return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// After this many rounds; a round bounds every open box once.
    pub rounds: u32,
    /// Before a round that could leave more boxes than this open.
    pub open: usize,
}

/// What became of some boxes. `open`, `doubtful` and the decided ones together cover them exactly; their order does not depend on
/// the device's.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Branched {
    /// Not bounded yet; halves of bounded boxes, or whatever was asked.
    pub open: Vec<Piece>,
    /// Bounded, and left open by their slack alone, or impossible to split in f32: with the input that they are best split at.
    pub doubtful: Vec<(Piece, usize)>,
    /// Boxes bounded.
    pub bounded: u64,
    /// Backward rows that were computed.
    pub n_rows: u64,
    /// Rounds that were run.
    pub rounds: u32,
    /// Share of the volume that was decided, where a box of depth `d` has `2^-d`.
    pub decided: f64,
    /// The smallest score of a decided box; infinite if none was.
    pub least_decided: f64,
}

impl Piece {
    /// An order by content: by the ends alone, which no two pieces of a search share.
    pub fn by_ends(&self, other: &Self) -> Ordering {
        let ends = self.ends.iter().zip(&other.ends).map(|(a, b)| a.total_cmp(b));
        ends.fold(Ordering::Equal, Ordering::then)
    }
}
