use std::sync::Arc;

use network::{Affine, Conv, Dense, LinearMap, Network, NetworkBuilder, NodeId, Op, Sparse};

use super::affine::average_as_conv;
use super::forward::floats;
use super::{BATCH_NORM_EPSILON, Classifier, Fixed, Layer, Step};
use crate::Error;

/// Most entries of a matrix that a sparse map becomes.
const MAX_FULL: usize = 1 << 25;

/// A factor and an offset for every channel.
type PerChannel = Vec<(f64, f64)>;

impl Classifier {
    /// The network that this classifier is, its weights rounded to 32 bits.
    ///
    /// Batch normalisations become part of the affine layer before them (or a scale of their own, if something else reads that layer too);
    /// average pools become convolutions.
    ///
    /// # Errors
    /// When a weight is not finite.
    #[expect(clippy::missing_panics_doc, reason = "a classifier has layers")]
    pub fn to_network(&self) -> Result<Network, Error> {
        let mut builder = Network::builder(&self.input)?;
        let mut nodes = vec![NodeId(0)];
        for (k, layer) in self.layers.iter().enumerate() {
            let inputs: Vec<NodeId> = layer.inputs.iter().map(|&input| nodes[input]).collect();
            let folded = self.normalisation_after(k + 1);
            let node = match &layer.step {
                Step::Activation(activation) => {
                    builder.push(&layer.name, Op::Activation(activation.clone()), &inputs, &layer.shape)?
                }
                Step::MaxPool(pool) => {
                    builder.push(&layer.name, Op::MaxPool(Arc::new(pool.clone())), &inputs, &layer.shape)?
                }
                Step::Add => builder.push(&layer.name, Op::Add, &inputs, &layer.shape)?,
                Step::BatchNorm { .. } if self.is_folded(layer) => inputs[0],
                _ => self.push_affine(&mut builder, layer, &inputs, folded)?,
            };
            nodes.push(node);
        }
        let output = *nodes.last().expect("a classifier has layers");
        Ok(builder.build(output)?)
    }

    fn push_affine(
        &self,
        builder: &mut NetworkBuilder,
        layer: &Layer,
        inputs: &[NodeId],
        folded: Option<PerChannel>,
    ) -> Result<NodeId, Error> {
        let n_out: usize = layer.shape.iter().product();
        let (map, bias) = self.affine_map(layer, n_out);
        let (map, bias) = match folded {
            Some(folded) => fold(map, bias, &folded),
            None => (map, bias),
        };
        Ok(builder.push(&layer.name, Op::Affine(Arc::new(Affine::exact(map, bias))), inputs, &layer.shape)?)
    }

    /// The linear part and the bias of an affine layer.
    fn affine_map(&self, layer: &Layer, n_out: usize) -> (LinearMap, Vec<f64>) {
        let n_in = self.value_len(layer.inputs[0]);
        let vector = |at: usize| -> Vec<f64> {
            floats(self.weights.vectors[at].val().inner()).into_iter().map(f64::from).collect()
        };
        match &layer.step {
            Step::Dense { weight, bias } => {
                let matrix = floats(self.weights.matrices[*weight].val().inner());
                (dense(&matrix, n_in, n_out), vector(*bias))
            }
            Step::Conv { weight, bias, sizes } => {
                let kernel = floats(self.weights.kernels[*weight].val().inner());
                let conv = Conv { weight: kernel.into_iter().map(f64::from).collect(), ..sizes.clone() };
                let area = conv.out_height * conv.out_width;
                let bias = vector(*bias).into_iter().flat_map(|b| vec![b; area]).collect();
                (LinearMap::Conv(conv), bias)
            }
            Step::AveragePool(pool) => {
                let share = f64::from(1.0 / (pool.kernel[0] * pool.kernel[1]) as f32);
                let weight = vec![share; pool.channels * pool.kernel[0] * pool.kernel[1]];
                (LinearMap::Conv(Conv { weight, ..average_as_conv(pool) }), vec![0.0; n_out])
            }
            Step::Fixed(at) => match &self.fixed[*at] {
                Fixed::Scale { factor, offset } => {
                    let values: Vec<f64> = factor.iter().map(|&value| f64::from(value)).collect();
                    (scale(values), offset.iter().map(|&value| f64::from(value)).collect())
                }
                Fixed::Matrix { matrix, offset } => {
                    (dense(matrix, n_in, n_out), offset.iter().map(|&value| f64::from(value)).collect())
                }
            },
            Step::BatchNorm { .. } => {
                let area = n_out / layer.shape[0];
                let pairs = self.per_channel(layer);
                let spread = |part: fn(&(f64, f64)) -> f64| -> Vec<f64> {
                    pairs.iter().flat_map(|pair| vec![f64::from(part(pair) as f32); area]).collect()
                };
                (scale(spread(|pair| pair.0)), spread(|pair| pair.1))
            }
            Step::Activation(_) | Step::MaxPool(_) | Step::Add => unreachable!("asked for affine layers alone"),
        }
    }

    /// What a batch normalisation multiplies by and adds outside of training.
    fn per_channel(&self, layer: &Layer) -> PerChannel {
        let Step::BatchNorm { scale, shift, statistics } = &layer.step else {
            unreachable!("asked for batch normalisations alone")
        };
        let [scale, shift] = [scale, shift].map(|&at| floats(self.weights.vectors[at].val().inner()));
        let statistics = &self.statistics[*statistics];
        (0..scale.len())
            .map(|c| {
                let factor = f64::from(scale[c]) / (f64::from(statistics.variance[c]) + BATCH_NORM_EPSILON).sqrt();
                (factor, f64::from(shift[c]) - factor * f64::from(statistics.mean[c]))
            })
            .collect()
    }

    /// The normalisation that is folded into the layer that computes this value.
    fn normalisation_after(&self, value: usize) -> Option<PerChannel> {
        let next = self.layers.iter().find(|layer| layer.inputs.contains(&value))?;
        (matches!(next.step, Step::BatchNorm { .. }) && self.is_folded(next)).then(|| self.per_channel(next))
    }

    /// Whether a batch normalisation becomes part of the layer before it.
    fn is_folded(&self, layer: &Layer) -> bool {
        let value = layer.inputs[0];
        let n_readers = self.layers.iter().flat_map(|layer| &layer.inputs).filter(|&&input| input == value).count();
        value > 0 && n_readers == 1 && matches!(self.layers[value - 1].step, Step::Dense { .. } | Step::Conv { .. })
    }

    /// A classifier that computes what the network does; full matrices and convolutions become trainable, other affine maps do not.
    ///
    /// # Errors
    /// When the network has a sparse map too large to be trained through.
    pub fn from_network(network: &Network) -> Result<Self, Error> {
        let mut classifier = Self::empty(network.nodes()[0].shape.clone());
        for node in &network.nodes()[1..] {
            let inputs: Vec<usize> = node.inputs.iter().map(|input| input.0).collect();
            let step = match &node.op {
                Op::Input => unreachable!("only the first node is an input"),
                Op::Add => Step::Add,
                Op::Activation(activation) => Step::Activation(activation.clone()),
                Op::MaxPool(pool) => Step::MaxPool(pool.as_ref().clone()),
                Op::Affine(affine) => classifier.trainable(affine, &node.name)?,
            };
            let name = format!("layers.{}", classifier.layers.len());
            classifier.push(name, step, inputs, node.shape.clone());
        }
        if classifier.layers.is_empty() {
            return Err(Error::invalid("the network has no layers"));
        }
        Ok(classifier)
    }

    fn trainable(&mut self, affine: &Affine, name: &str) -> Result<Step, Error> {
        let single = |values: &[f64]| -> Vec<f32> { values.iter().map(|&value| value as f32).collect() };
        match &affine.map {
            LinearMap::Dense(map) => {
                let matrix = transpose(&single(&map.weight), map.n_out, map.n_in);
                let weight = self.push_matrix(matrix, [map.n_in, map.n_out]);
                Ok(Step::Dense { weight, bias: self.push_vector(single(&affine.bias)) })
            }
            LinearMap::Conv(conv) if has_bias_per_channel(conv, &affine.bias) => {
                let area = conv.out_height * conv.out_width;
                let shape = [conv.out_channels, conv.in_channels / conv.groups, conv.kernel[0], conv.kernel[1]];
                let weight = self.push_kernel(single(&conv.weight), shape);
                let bias: Vec<f64> = affine.bias.iter().step_by(area).copied().collect();
                let sizes = Conv { weight: Vec::new(), ..conv.clone() };
                Ok(Step::Conv { weight, bias: self.push_vector(single(&bias)), sizes })
            }
            LinearMap::Conv(conv) => {
                let entries = (0..affine.n_out()).flat_map(|o| conv.taps(o).map(move |(i, w)| (o, i, w)));
                let entries: Vec<_> = entries.map(|(o, i, w)| (o, i, conv.weight[w])).collect();
                self.fixed(affine, entries.into_iter(), name)
            }
            LinearMap::Sparse(sparse) => {
                let entries = (0..affine.n_out()).flat_map(|o| {
                    (sparse.offsets[o] as usize..sparse.offsets[o + 1] as usize)
                        .map(move |e| (o, sparse.columns[e] as usize, sparse.values[e]))
                });
                self.fixed(affine, entries, name)
            }
        }
    }

    /// A map that is not trained, from its entries `(output, input, value)`.
    fn fixed(
        &mut self,
        affine: &Affine,
        entries: impl Iterator<Item = (usize, usize, f64)> + Clone,
        name: &str,
    ) -> Result<Step, Error> {
        let (n_in, n_out) = (affine.n_in(), affine.n_out());
        let offset: Vec<f32> = affine.bias.iter().map(|&value| value as f32).collect();
        if n_in == n_out && entries.clone().all(|(o, i, _)| o == i) {
            let mut factor = vec![0.0; n_out];
            entries.for_each(|(o, _, value)| factor[o] = value as f32);
            self.fixed.push(Fixed::Scale { factor, offset });
        } else {
            if n_in.saturating_mul(n_out) > MAX_FULL {
                let message = format!("node '{name}': a sparse map of {n_out} × {n_in} is too large to train through");
                return Err(Error::invalid(message));
            }
            let mut matrix = vec![0.0; n_in * n_out];
            entries.for_each(|(o, i, value)| matrix[i * n_out + o] = value as f32);
            self.fixed.push(Fixed::Matrix { matrix, offset });
        }
        Ok(Step::Fixed(self.fixed.len() - 1))
    }
}

/// Whether all outputs of a channel have one bias, as a trainable convolution needs.
fn has_bias_per_channel(conv: &Conv, bias: &[f64]) -> bool {
    bias.chunks(conv.out_height * conv.out_width).all(|channel| channel.iter().all(|b| *b == channel[0]))
}

/// `[n_in, n_out]` as a row-major `[n_out, n_in]`.
fn dense(matrix: &[f32], n_in: usize, n_out: usize) -> LinearMap {
    let weight = transpose(matrix, n_in, n_out).into_iter().map(f64::from).collect();
    LinearMap::Dense(Dense { n_out, n_in, weight })
}

fn transpose(matrix: &[f32], n_rows: usize, n_columns: usize) -> Vec<f32> {
    (0..n_rows * n_columns).map(|i| matrix[i % n_rows * n_columns + i / n_rows]).collect()
}

fn scale(values: Vec<f64>) -> LinearMap {
    let n = values.len() as u32;
    LinearMap::Sparse(Sparse { n_in: values.len(), offsets: (0..=n).collect(), columns: (0..n).collect(), values })
}

/// An affine map followed by a factor and an offset for every channel, rounded to 32 bits.
fn fold(mut map: LinearMap, mut bias: Vec<f64>, folded: &PerChannel) -> (LinearMap, Vec<f64>) {
    let round = |value: f64| f64::from(value as f32);
    let per_channel = bias.len() / folded.len();
    bias.iter_mut().enumerate().for_each(|(k, b)| {
        let (factor, offset) = folded[k / per_channel];
        *b = round(*b * factor + offset);
    });
    let weight = match &mut map {
        LinearMap::Dense(dense) => &mut dense.weight,
        LinearMap::Conv(conv) => &mut conv.weight,
        LinearMap::Sparse(_) => unreachable!("only full matrices and convolutions are folded into"),
    };
    let per_channel = weight.len() / folded.len();
    weight.iter_mut().enumerate().for_each(|(k, w)| *w = round(*w * folded[k / per_channel].0));
    (map, bias)
}
