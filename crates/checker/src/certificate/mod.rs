//! The format of certificates.
//!
//! ```text
//! magic "diadem certificate\n" · header length (u32) · header (JSON) · records · End · SHA-256 of everything before it
//! ```
//!
//! All numbers are little-endian; indices and counts are LEB128 varints. Records come in the order in which a search finds
//! them, so that nothing has to be held back while writing; they number what they create by order of appearance, from zero:
//!
//! | tag | record | fields | creates |
//! |---|---|---|---|
//! | 1 | `Boxes` | disjuncts (of one region) | the box that is their region |
//! | 2 | `Halve` | box, input `i`, value `v` (f64) | the boxes `x_i ≤ v` and `x_i ≥ v` |
//! | 3 | `Plain` | box | nothing: CROWN with its usual slopes excludes every disjunct there |
//! | 4 | `Context` | a box or a context, perhaps a split | a context: bounds of every node over it |
//! | 5 | `Lemma` | `ReLU`, neuron, end, claim (f32), proof | a bound of that neuron in the last context |
//! | 6 | `Slopes` | `ReLU`, neurons | the place of their `α` in later rows of the last context |
//! | 7 | `Tree` | context, disjunct | a piece that is all of the context |
//! | 8 | `Decide` | piece, `ReLU`, neuron | the pieces with that operand `≥ 0` and `≤ 0` |
//! | 9 | `Leaf` | piece, row of the disjunct, claim (f32), `α` (u16), `β` (f32) | nothing: the row is positive there |
//! | 15 | `End` | number of records | |
//!
//! A box is settled by a `Plain`, a `Halve`, or a `Context`; a piece by a `Leaf` or a `Decide`. A context settles a disjunct by a tree
//! whose pieces are all settled, by a context inside it without a split (more lemmas), or by two with the two sides of one `ReLU`.
//! What covers what follows from this alone: nothing is measured. Searches that were given up leave unsettled pieces
//! behind; they count for nothing and cost nothing.
//!
//! A *bundle* holds the records of many questions behind one header: `1`, the length and the bytes of what the question is, and the
//! length and the bytes of its records; then `0` and how many there are.
//!
//! A lemma's proof is a tree in prefix order: `1, ReLU, neuron` and the two subtrees (`≥ 0` first), or `0`, `α` and `β`. `α`s are those of all
//! `Slopes` of the context so far, or none; `β`s those of the splits of the context, outermost first, then of the path.

mod bundle;
mod header;
mod reader;
mod tape;
mod writer;

pub use bundle::{Bundle, BundleWriter};
pub use header::{Digest, Evaluation, Header};
pub(crate) use reader::{Reader, to_floats, to_halves};
pub(crate) use tape::{BoxState, LeafRecord, Lemma, Part, PieceState, Tape, taken_apart};
pub use writer::{BoxId, ContextId, Origin, PieceId, Writer};

/// What a file starts with.
pub(crate) const MAGIC: &[u8] = b"diadem certificate\n";

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// The tags of records.
pub(crate) mod tag {
    pub const BOXES: u8 = 1;
    pub const HALVE: u8 = 2;
    pub const PLAIN: u8 = 3;
    pub const CONTEXT: u8 = 4;
    pub const LEMMA: u8 = 5;
    pub const SLOPES: u8 = 6;
    pub const TREE: u8 = 7;
    pub const DECIDE: u8 = 8;
    pub const LEAF: u8 = 9;
    pub const END: u8 = 15;
}
