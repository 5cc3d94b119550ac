use crate::rounding::{add_up, div_up, mul_up, two_product, two_sum};

/// One row of a matrix product under construction: for each column, a sum of products and what rounding did to it.
#[derive(Debug)]
pub(super) struct RowSum {
    terms: Vec<Term>,
    /// The columns that have terms, in order of arrival.
    columns: Vec<u32>,
    /// Relative error bounds of the factors, combined.
    carried: f64,
}

/// How far the entries of a product may be from the real ones: `relative` times an entry, plus its row's `absolute`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct EntryError {
    pub relative: f64,
    pub absolute: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Term {
    value: f64,
    /// How far `value` is from the real sum of products of the stored factors.
    rounding: f64,
    /// At least the sum of the products' magnitudes, in real numbers.
    magnitude: f64,
    n_products: u32,
}

impl RowSum {
    /// An empty row of so many columns; `carried` bounds `|a* b* − a b| / |a b|` for the real factors of each product `a b`.
    pub fn new(n_columns: usize, carried: f64) -> Self {
        Self { terms: vec![Term::default(); n_columns], columns: Vec::new(), carried }
    }

    /// Adds `a · b` to a column.
    pub fn add(&mut self, column: usize, a: f64, b: f64) {
        if a == 0.0 || b == 0.0 {
            return;
        }
        let term = &mut self.terms[column];
        if term.n_products == 0 {
            self.columns.push(column as u32);
        }
        let (product, product_rounding) = two_product(a, b);
        let (value, sum_rounding) = two_sum(term.value, product);
        *term = Term {
            value,
            rounding: add_up(term.rounding, add_up(product_rounding, sum_rounding)),
            magnitude: add_up(term.magnitude, add_up(product.abs(), product_rounding)),
            n_products: term.n_products.saturating_add(1),
        };
    }

    /// Number of columns that have terms.
    pub fn n_entries(&self) -> usize {
        self.columns.len()
    }

    /// Hands every entry to `store`, columns rising, and starts the next row; returns the bound that covers all of them.
    ///
    /// An entry of one product keeps a relative error. Where products are summed there may be cancellation, and the error is
    /// absolute: rounding, plus the factors' relative errors times the sum of magnitudes.
    pub fn finish(&mut self, mut store: impl FnMut(usize, f64)) -> EntryError {
        let mut error = EntryError::default();
        self.columns.sort_unstable();
        for column in self.columns.drain(..) {
            let term = std::mem::take(&mut self.terms[column as usize]);
            store(column as usize, term.value);
            let whole = add_up(term.rounding, mul_up(self.carried, term.magnitude));
            if whole == 0.0 {
                continue;
            }
            // Dividing by a product that underflowed would overflow; such an entry is small, and so is its absolute error.
            if term.n_products == 1 && term.value.is_normal() {
                error.relative = error.relative.max(div_up(whole, term.value.abs()));
            } else {
                error.absolute = error.absolute.max(whole);
            }
        }
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_products_and_sums_have_no_error() {
        let mut row = RowSum::new(3, 0.0);
        row.add(2, 0.5, 3.0);
        row.add(0, -1.0, 0.1);
        row.add(2, 2.0, 0.25);
        let mut entries = Vec::new();
        assert_eq!(row.finish(|column, value| entries.push((column, value))), EntryError::default());
        assert_eq!(entries, [(0, -0.1), (2, 2.0)]);
    }

    #[test]
    fn cancellation_leaves_an_absolute_error() {
        // 1·1 + 1·(−1) = 0, but each factor may be off by 0.25 of itself.
        let mut row = RowSum::new(1, 0.25);
        row.add(0, 1.0, 1.0);
        row.add(0, 1.0, -1.0);
        let error = row.finish(|_, value| assert_eq!(value, 0.0));
        assert_eq!(error.relative, 0.0);
        assert!(error.absolute >= 0.5 && error.absolute < 0.5 + 1e-12);
    }
}
