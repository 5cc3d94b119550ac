use crate::{Sparse, WeightError};

/// A sparse matrix, written row by row.
#[derive(Debug)]
pub(super) struct Rows {
    sparse: Sparse,
}

impl Rows {
    /// No rows yet, over `n_in` columns.
    pub fn new(n_in: usize) -> Self {
        Self { sparse: Sparse { n_in, offsets: vec![0], columns: Vec::new(), values: Vec::new() } }
    }

    /// Adds an entry to the row that is being written; columns must increase.
    pub fn entry(&mut self, column: usize, value: f64) {
        debug_assert!(column < self.sparse.n_in);
        self.sparse.columns.push(column as u32);
        self.sparse.values.push(value);
    }

    /// Adds entries of one value; columns must increase.
    pub fn entries(&mut self, columns: impl IntoIterator<Item = usize>, value: f64) {
        for column in columns {
            self.entry(column, value);
        }
    }

    /// Ends the row. The lowering's budget keeps the number of entries below `u32::MAX`.
    pub fn end(&mut self) {
        self.sparse.offsets.push(self.sparse.values.len() as u32);
    }

    /// A matrix with exactly one entry per row.
    pub fn single(n_in: usize, entries: impl IntoIterator<Item = (usize, f64)>) -> Sparse {
        let mut rows = Self::new(n_in);
        for (column, value) in entries {
            rows.entry(column, value);
            rows.end();
        }
        rows.finish()
    }

    /// The matrix.
    pub fn finish(self) -> Sparse {
        self.sparse
    }
}

/// An error bound in which lists of zeros are left empty, as [`WeightError`] has it.
pub(super) fn weight_error(relative: f64, absolute: Vec<f64>, bias: Vec<f64>) -> WeightError {
    let or_empty = |list: Vec<f64>| if list.iter().all(|&e| e == 0.0) { Vec::new() } else { list };
    WeightError { relative, absolute: or_empty(absolute), bias: or_empty(bias) }
}
