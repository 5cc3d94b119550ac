use std::path::Path;

use burn::module::{Module, Param};
use burn::store::ModuleRecord;
use burn::tensor::Tensor;

use super::build::parameter;
use super::forward::floats;
use super::{Classifier, Statistics, Weights};
use crate::Error;

/// A classifier's tensors as burn's records have them.
#[derive(Module, Debug)]
struct Recorded {
    weights: Weights,
    means: Vec<Param<Tensor<1>>>,
    variances: Vec<Param<Tensor<1>>>,
}

impl Classifier {
    /// Writes weights and statistics as a burn record.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_record(&self, path: &Path) -> Result<(), Error> {
        let record = self.recorded().into_record();
        record.save(path).map_err(|error| Error::file(path, error.to_string()))
    }

    /// Takes over the weights and statistics of a burn record.
    ///
    /// # Errors
    /// When the file cannot be read or belongs to another architecture; the classifier is unchanged then.
    pub fn load_record(&mut self, path: &Path) -> Result<(), Error> {
        let damaged = |error: burn::store::RecordError| Error::file(path, error.to_string());
        let record = ModuleRecord::load(path).map_err(damaged)?;
        let Recorded { weights, means, variances } = self.recorded().try_load_record(record).map_err(damaged)?;
        let statistics: Vec<Statistics> = means
            .iter()
            .zip(&variances)
            .map(|(mean, variance)| Statistics {
                mean: floats(mean.val().inner()),
                variance: floats(variance.val().inner()),
            })
            .collect();
        let mut loaded = Self { weights, statistics, ..self.clone() };
        // What fits in shape must also be finite: the path by names checks both.
        loaded.load_state(&self.shaped_like(&loaded, path)?)?;
        *self = loaded;
        Ok(())
    }

    /// The state of `other`, if its tensors have the shapes of this classifier's.
    fn shaped_like(&self, other: &Self, path: &Path) -> Result<crate::StateDict, Error> {
        let state = other.state();
        for (own, given) in self.state().tensors().iter().zip(state.tensors()) {
            if own.shape != given.shape {
                let (name, expected, got) = (&own.name, &own.shape, &given.shape);
                return Err(Error::file(path, format!("tensor '{name}': expected shape {expected:?}, got {got:?}")));
            }
        }
        Ok(state)
    }

    fn recorded(&self) -> Recorded {
        let vector = |values: &Vec<f32>| parameter(values.clone(), [values.len()], &self.training_device());
        Recorded {
            weights: self.weights.clone(),
            means: self.statistics.iter().map(|statistics| vector(&statistics.mean)).collect(),
            variances: self.statistics.iter().map(|statistics| vector(&statistics.variance)).collect(),
        }
    }
}
