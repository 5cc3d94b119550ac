use burn::tensor::{Device, Tensor, TensorData};

use crate::Error;

/// What is wanted of a network's outputs: in every group, at least one row is positive.
///
/// A group is what denies one way to violate a property: a conjunction of half-spaces is left where one of them is.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Of every group, one row at least.
    pub groups: Vec<Vec<OutputRow>>,
}

/// An affine function of the outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputRow {
    /// One for every output.
    pub coefficients: Vec<f32>,
    /// What is added.
    pub constant: f32,
}

impl Wanted {
    /// A class's output is larger than all others.
    pub fn class(class: usize, n_classes: usize) -> Self {
        let against = |other: usize| {
            let mut coefficients = vec![0.0; n_classes];
            coefficients[class] += 1.0;
            coefficients[other] -= 1.0;
            vec![OutputRow { coefficients, constant: 0.0 }]
        };
        Self { groups: (0..n_classes).filter(|&other| other != class).map(against).collect() }
    }

    /// Checks that it speaks of so many outputs, and can be fulfilled.
    pub(super) fn check(&self, n_outputs: usize) -> Result<(), Error> {
        let rows = || self.groups.iter().flatten();
        let problem = if self.groups.iter().any(Vec::is_empty) {
            "every output violates it, so that no weights can repair it".to_owned()
        } else if rows().any(|row| row.coefficients.len() != n_outputs) {
            format!("expected one coefficient for each of {n_outputs} outputs")
        } else if !rows().all(|row| row.coefficients.iter().chain([&row.constant]).all(|v| v.is_finite())) {
            "its coefficients are not finite".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::invalid(problem))
    }
}

/// What is wanted of each of a batch, filled up to one size.
#[derive(Debug, Clone)]
pub(super) struct WantedBatch {
    /// `[batch, groups · rows, outputs]`.
    pub coefficients: Tensor<3>,
    /// `[batch, groups · rows]`.
    constants: Tensor<2>,
    n_groups: usize,
}

/// A row that is never the largest; its negative, a group that is never the least.
const NEVER: f32 = 1e30;

impl WantedBatch {
    pub(super) fn new(wanted: &[&Wanted], n_outputs: usize, device: &Device) -> Self {
        let n_groups = wanted.iter().map(|wanted| wanted.groups.len()).max().unwrap_or(0).max(1);
        let n_rows = wanted.iter().flat_map(|wanted| &wanted.groups).map(Vec::len).max().unwrap_or(0).max(1);
        let n = wanted.len();
        let mut coefficients = vec![0.0_f32; n * n_groups * n_rows * n_outputs];
        let mut constants = vec![NEVER; n * n_groups * n_rows];
        for (i, wanted) in wanted.iter().enumerate() {
            for (g, group) in wanted.groups.iter().enumerate() {
                for r in 0..n_rows {
                    let at = (i * n_groups + g) * n_rows + r;
                    constants[at] = group.get(r).map_or(-NEVER, |row| row.constant);
                    if let Some(row) = group.get(r) {
                        coefficients[at * n_outputs..][..n_outputs].copy_from_slice(&row.coefficients);
                    }
                }
            }
        }
        let coefficients = TensorData::new(coefficients, [n, n_groups * n_rows, n_outputs]);
        let constants = TensorData::new(constants, [n, n_groups * n_rows]);
        Self {
            coefficients: Tensor::from_data(coefficients, device),
            constants: Tensor::from_data(constants, device),
            n_groups,
        }
    }

    /// By how much what is wanted holds, `[batch]`, given the rows' linear parts, `[batch, groups · rows]`.
    pub(super) fn least(&self, rows: Tensor<2>) -> Tensor<1> {
        let groups = self.groups(rows);
        let [n, _] = groups.dims();
        groups.min_dim(1).reshape([n])
    }

    /// The same for scores, `[batch, outputs]`.
    pub(super) fn margins(&self, scores: Tensor<2>) -> Tensor<1> {
        self.least(self.rows(scores))
    }

    /// By how much every group's largest row is positive, `[batch, groups]`.
    pub(super) fn groups(&self, rows: Tensor<2>) -> Tensor<2> {
        let [n, m] = rows.dims();
        let rows = (rows + self.constants.clone()).reshape([n, self.n_groups, m / self.n_groups]);
        rows.max_dim(2).reshape([n, self.n_groups])
    }

    /// The rows' linear parts at scores, `[batch, groups · rows]`.
    pub(super) fn rows(&self, scores: Tensor<2>) -> Tensor<2> {
        let [n, k] = scores.dims();
        let [_, m, _] = self.coefficients.dims();
        self.coefficients.clone().matmul(scores.reshape([n, k, 1])).reshape([n, m])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{batch_of, floats};

    #[test]
    fn a_margin_is_the_least_group_s_largest_row() {
        let row = |coefficients: [f32; 3], constant| OutputRow { coefficients: coefficients.to_vec(), constant };
        let mixed = Wanted {
            groups: vec![vec![row([1.0, 0.0, 0.0], -5.0), row([0.0, 1.0, 0.0], 0.5)], vec![row([0.0, 0.0, 2.0], 0.0)]],
        };
        let class = Wanted::class(1, 3);
        let device = Device::flex();
        let batch = WantedBatch::new(&[&mixed, &class, &mixed], 3, &device);
        let scores = batch_of(&[&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], &[1.0, -2.0, 3.0]], &device);
        assert_eq!(floats(batch.margins(scores)), [2.5, -1.0, -1.5]);
        assert!(mixed.check(3).is_ok() && class.check(4).is_err());
        assert!(Wanted { groups: vec![vec![]] }.check(3).is_err());
    }
}
