//! VNN-LIB 1.0: properties of networks as text.
//!
//! A text declares inputs `X_0, X_1, …` and outputs `Y_0, Y_1, …`, and asserts what a *violation* is: comparisons of linear
//! terms joined by `and` and `or` in any nesting. It becomes a [`Property`] in disjunctive normal form:
//!
//! - A comparison of one input with a constant (or of a multiple of it) is a bound of the box; several intersect. Any other
//!   comparison is a half-space. In each disjunct every input needs a lower and an upper bound.
//! - A disjunct whose box is surely empty (a lower bound above an upper bound) has no members and is dropped. If that leaves
//!   none at all, the file is taken for mistaken, and the error names the first such pair.
//! - Numbers are read exactly, and all arithmetic on them (moving terms to one side, adding up repeated variables, multiplying
//!   constants, dividing by a coefficient) is exact; only its results are rounded, to both neighbouring floats.
//! - `<` and `>` are read as `<=` and `>=`. For a proof this is sound (more is excluded); a counterexample to a strict
//!   inequality may lie on its boundary.

use std::path::Path;

use crate::{Error, Property, text};

mod formula;
mod lexer;
mod normalise;
mod parser;
mod write;

pub use write::write;

/// Reads a property from a file, which may be compressed by gzip.
///
/// # Errors
/// When the file cannot be read, or for the reasons of [`parse`]; the error names the file.
pub fn read(path: &Path) -> Result<Property, Error> {
    parse(&text::read(path)?).map_err(|error| error.in_file(path))
}

/// Reads a property from its text.
///
/// # Errors
/// When the text is not VNN-LIB 1.0, an input lacks a bound or has crossing ones, or the normal form is excessively large;
/// the error names the line.
pub fn parse(text: &str) -> Result<Property, Error> {
    normalise::normalise(&parser::parse(text)?)
}

fn decimal_error() -> Error {
    Error::format("the exact value of a number here has too many digits")
}
