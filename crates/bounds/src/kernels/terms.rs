use crate::scalar::Scalar;

/// What a backward pass adds up at an affine node, for each of its neurons.
///
/// Operands that no varying input reaches are as good as constants: what they add to a neuron is found once, going forward, and no
/// row follows them to the input.
#[derive(Debug, Clone)]
pub struct Terms<T> {
    /// The bias, with what fixed operands add to it.
    pub bias: Vec<T>,
    /// What one backward step may lose per unit of `|A_k|`.
    pub error: Vec<T>,
    /// Whether anything but the biases is inside.
    pub is_folded: bool,
}

#[cfg(all(test, feature = "gpu"))]
impl<T: Scalar> Terms<T> {
    /// The first `n` biases and errors as they are.
    pub fn unfolded(bias: &[T], error: &[T], n: u32) -> Self {
        Self { bias: bias[..n as usize].to_vec(), error: error[..n as usize].to_vec(), is_folded: false }
    }
}

impl<T> Terms<T> {
    /// Of no neurons.
    pub fn new() -> Self {
        Self { bias: Vec::new(), error: Vec::new(), is_folded: false }
    }
}

/// What an interval step of an affine node knows of fixed operands, and says of fixed neurons.
#[derive(Debug)]
pub struct Fold<'a, T> {
    /// Which operands are fixed.
    pub operands: &'a [bool],
    /// Which neurons have fixed operands only.
    pub neurons: &'a mut Vec<bool>,
    /// What a backward pass adds up.
    pub terms: &'a mut Terms<T>,
}

impl<T: Scalar> Fold<'_, T> {
    /// Makes room for `n` neurons; all of them count as fixed or none, until it is known better.
    pub fn reset(&mut self, n: usize, is_fixed: bool) {
        self.neurons.clear();
        self.neurons.resize(n, is_fixed);
        self.terms.is_folded = false;
        self.terms.bias.resize(n, T::ZERO);
        self.terms.error.resize(n, T::ZERO);
    }
}
