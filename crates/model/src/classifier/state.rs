use super::build::parameter;
use super::forward::floats;
use super::{Classifier, Statistics, Step};
use crate::Error;
use crate::state::{StateDict, StateTensor};

impl Classifier {
    /// What was learnt, under `PyTorch`'s names and in its layout: `sequential.0.weight` for the first layer of an
    /// [`Architecture`](crate::Architecture), `layers.0.weight` for that of a network that was read.
    #[expect(clippy::missing_panics_doc, reason = "layers have different names")]
    pub fn state(&self) -> StateDict {
        let mut tensors = Vec::new();
        let mut push = |name: &str, part: &str, shape: Vec<usize>, values: Vec<f32>| {
            tensors.push(StateTensor { name: format!("{name}.{part}"), shape, values });
        };
        for layer in &self.layers {
            let name = layer.name.as_str();
            let vector = |at: usize| floats(self.weights.vectors[at].val().inner());
            match &layer.step {
                Step::Dense { weight, bias } => {
                    let matrix = self.weights.matrices[*weight].val().inner();
                    let [n_in, n_out] = matrix.dims();
                    push(name, "weight", vec![n_out, n_in], floats(matrix.transpose()));
                    push(name, "bias", vec![n_out], vector(*bias));
                }
                Step::Conv { weight, bias, .. } => {
                    let kernel = self.weights.kernels[*weight].val().inner();
                    push(name, "weight", kernel.dims().to_vec(), floats(kernel));
                    let bias = vector(*bias);
                    push(name, "bias", vec![bias.len()], bias);
                }
                Step::BatchNorm { scale, shift, statistics } => {
                    let Statistics { mean, variance } = &self.statistics[*statistics];
                    let n = vec![mean.len()];
                    push(name, "weight", n.clone(), vector(*scale));
                    push(name, "bias", n.clone(), vector(*shift));
                    push(name, "running_mean", n.clone(), mean.clone());
                    push(name, "running_var", n, variance.clone());
                }
                Step::Fixed(_) | Step::Activation(_) | Step::MaxPool(_) | Step::AveragePool(_) | Step::Add => {}
            }
        }
        StateDict::new(tensors).expect("layers have different names")
    }

    /// Takes over what was learnt elsewhere; `PyTorch`'s counters of batches are ignored.
    ///
    /// # Errors
    /// When a tensor is missing, left over, of another shape, or not finite; the classifier is unchanged then.
    #[expect(clippy::missing_panics_doc, reason = "every tensor is looked up first")]
    pub fn load_state(&mut self, state: &StateDict) -> Result<(), Error> {
        let own = self.state();
        for tensor in own.tensors() {
            let given = state.get(&tensor.name).ok_or_else(|| {
                let names: Vec<&str> = state.tensors().iter().map(|tensor| tensor.name.as_str()).collect();
                Error::invalid(format!("there is no tensor '{}'; there are {}", tensor.name, names.join(", ")))
            })?;
            if given.shape != tensor.shape {
                let (name, expected, got) = (&tensor.name, &tensor.shape, &given.shape);
                return Err(Error::invalid(format!("tensor '{name}': expected shape {expected:?}, got {got:?}")));
            }
            if !given.values.iter().all(|value| value.is_finite()) {
                return Err(Error::invalid(format!("tensor '{}' holds a value that is not finite", tensor.name)));
            }
        }
        let is_known = |name: &str| own.get(name).is_some() || name.ends_with(".num_batches_tracked");
        if let Some(tensor) = state.tensors().iter().find(|tensor| !is_known(&tensor.name)) {
            return Err(Error::invalid(format!("tensor '{}' belongs to no layer of this network", tensor.name)));
        }
        let values = |name: &str, part: &str| {
            state.get(&format!("{name}.{part}")).expect("it was looked up before").values.clone()
        };
        let device = self.training_device();
        for layer in &self.layers {
            let name = layer.name.as_str();
            match &layer.step {
                Step::Dense { weight, bias } => {
                    let [n_in, n_out] = self.weights.matrices[*weight].val().dims();
                    let given = values(name, "weight");
                    let matrix = (0..n_in * n_out).map(|i| given[i % n_out * n_in + i / n_out]).collect();
                    self.weights.matrices[*weight] = parameter(matrix, [n_in, n_out], &device);
                    self.weights.vectors[*bias] = parameter(values(name, "bias"), [n_out], &device);
                }
                Step::Conv { weight, bias, .. } => {
                    let shape = self.weights.kernels[*weight].val().dims();
                    self.weights.kernels[*weight] = parameter(values(name, "weight"), shape, &device);
                    self.weights.vectors[*bias] = parameter(values(name, "bias"), [shape[0]], &device);
                }
                Step::BatchNorm { scale, shift, statistics } => {
                    let n = [self.statistics[*statistics].mean.len()];
                    self.weights.vectors[*scale] = parameter(values(name, "weight"), n, &device);
                    self.weights.vectors[*shift] = parameter(values(name, "bias"), n, &device);
                    self.statistics[*statistics] =
                        Statistics { mean: values(name, "running_mean"), variance: values(name, "running_var") };
                }
                Step::Fixed(_) | Step::Activation(_) | Step::MaxPool(_) | Step::AveragePool(_) | Step::Add => {}
            }
        }
        Ok(())
    }
}
