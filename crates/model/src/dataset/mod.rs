//! Labelled samples in memory, and the files they come from.

mod folder;
mod gtsrb;
mod idx;
mod picture;
mod shapes;
mod source;
mod table;

use crate::Error;
use crate::random::Random;

pub use source::{Selection, Source, Split};

/// Labelled samples of one shape, in memory.
///
/// Images are `[channels, height, width]` with values of `[0, 1]`; rows of a table are `[1, 1, columns]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    shape: [usize; 3],
    values: Vec<f32>,
    labels: Vec<usize>,
    n_classes: usize,
    is_image: bool,
}

impl Dataset {
    /// Samples of this shape, one after another, with a label below `n_classes` each.
    ///
    /// # Errors
    /// When counts do not fit, a label is no class, or a value is not finite.
    pub fn new(shape: [usize; 3], values: Vec<f32>, labels: Vec<usize>, n_classes: usize) -> Result<Self, Error> {
        let size: usize = shape.iter().product();
        if size == 0 || values.len() != size * labels.len() {
            return Err(Error::invalid(format!(
                "{} labels need {} values of shape {shape:?}, got {}",
                labels.len(),
                size * labels.len(),
                values.len()
            )));
        }
        if let Some(label) = labels.iter().find(|&&label| label >= n_classes) {
            return Err(Error::invalid(format!("label {label} is none of the {n_classes} classes, counted from 0")));
        }
        if let Some(i) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::invalid(format!("sample {} holds a value that is not finite", i / size)));
        }
        let is_image = values.iter().all(|value| (0.0..=1.0).contains(value));
        Ok(Self { shape, values, labels, n_classes, is_image })
    }

    /// The shape of a sample.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Number of values of a sample.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Number of classes, those without samples included.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// Whether all values lie in `[0, 1]`, so that they may be taken for pixels.
    pub fn is_image(&self) -> bool {
        self.is_image
    }

    /// The values of sample `i`.
    pub fn sample(&self, i: usize) -> &[f32] {
        &self.values[i * self.size()..(i + 1) * self.size()]
    }

    /// The labels, each below [`Self::n_classes`].
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Number of samples of every class.
    pub fn class_sizes(&self) -> Vec<usize> {
        let mut sizes = vec![0; self.n_classes];
        self.labels.iter().for_each(|&label| sizes[label] += 1);
        sizes
    }

    /// The samples whose label is listed; label `classes[k]` becomes `k`.
    ///
    /// # Errors
    /// When the list is empty, repeats a class, or names one that has no samples here.
    #[expect(clippy::missing_panics_doc, reason = "only samples of selected classes are kept")]
    pub fn with_classes(&self, classes: &[usize]) -> Result<Self, Error> {
        let sizes = self.class_sizes();
        for (k, &class) in classes.iter().enumerate() {
            if classes[..k].contains(&class) {
                return Err(Error::invalid(format!("class {class} is selected twice")));
            }
            if sizes.get(class).is_none_or(|&size| size == 0) {
                return Err(Error::invalid(format!(
                    "class {class} is empty: the data hold samples of {} classes (labels 0 to {})",
                    sizes.iter().filter(|&&size| size > 0).count(),
                    self.n_classes.saturating_sub(1)
                )));
            }
        }
        if classes.is_empty() {
            return Err(Error::invalid("no class is selected"));
        }
        let place = |label: usize| classes.iter().position(|&class| class == label);
        let kept: Vec<usize> = (0..self.len()).filter(|&i| place(self.labels[i]).is_some()).collect();
        let mut selected = self.subset(&kept);
        selected.labels.iter_mut().for_each(|label| *label = place(*label).expect("only such labels were kept"));
        selected.n_classes = classes.len();
        Ok(selected)
    }

    /// The samples with these indices, in this order.
    #[must_use]
    pub fn subset(&self, indices: &[usize]) -> Self {
        Self {
            shape: self.shape,
            values: indices.iter().flat_map(|&i| self.sample(i)).copied().collect(),
            labels: indices.iter().map(|&i| self.labels[i]).collect(),
            n_classes: self.n_classes,
            is_image: self.is_image,
        }
    }

    /// Two parts, the second with this share of every class (rounded to nearest), chosen by the seed.
    ///
    /// # Errors
    /// When the share is not between 0 and 1, or leaves a part empty.
    pub fn split(&self, share: f64, seed: u64) -> Result<(Self, Self), Error> {
        let mut of_class = vec![Vec::new(); self.n_classes];
        self.labels.iter().enumerate().for_each(|(i, &label)| of_class[label].push(i));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for (class, mut indices) in of_class.into_iter().enumerate() {
            Random::new(seed, class as u64).shuffle(&mut indices);
            let kept = indices.len() - (indices.len() as f64 * share).round() as usize;
            second.extend(indices.split_off(kept.min(indices.len())));
            first.extend(indices);
        }
        if !(share > 0.0 && share < 1.0) || first.is_empty() || second.is_empty() {
            return Err(Error::invalid(format!("a share of {share} of {} samples leaves a part empty", self.len())));
        }
        first.sort_unstable();
        second.sort_unstable();
        Ok((self.subset(&first), self.subset(&second)))
    }

    /// At most so many samples, the first ones.
    #[must_use]
    pub fn truncated(&self, n: usize) -> Self {
        self.subset(&(0..self.len().min(n)).collect::<Vec<_>>())
    }
}
