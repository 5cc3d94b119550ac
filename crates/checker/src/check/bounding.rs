use crate::backward::{Lane, bound};
use crate::exact::{self, ExactScope};
use crate::question::Question;
use crate::scope::{Method, Scope, Split};

/// What a certificate is checked by: bounds of nodes and of rows, in one arithmetic or another.
///
/// Every bound holds in real arithmetic; see [`Scope`], of which these are the methods.
pub trait Bounding<'a>: Sized + Sync {
    /// Starts with a box and splits that hold in it.
    fn start(question: &Question<'a>, ends: (&[f64], &[f64]), splits: &[Split]) -> Self;
    /// The node that [`Self::settle`] bounds next, if any is left.
    fn next(&self) -> Option<usize>;
    /// Whether no input lies in it.
    fn is_empty(&self) -> bool;
    /// The splits that hold in it.
    fn splits(&self) -> &[Split];
    /// Whether a node is bounded.
    fn has(&self, node: usize) -> bool;
    /// Declares which neurons of a `ReLU` have slopes of their own.
    fn declare_slopes(&mut self, relu: usize, neurons: &[u32], n: usize);
    /// Number of slopes that were declared.
    fn n_slopes(&self) -> usize;
    /// Linear bounds of undecided neurons of the operand of `node`, `except` these.
    fn bound_operand(&mut self, node: usize, except: &[u32]);
    /// Takes over a bound that was proved.
    fn learn(&mut self, node: usize, neuron: usize, is_upper: bool, claim: f32);
    /// Recomputes what follows from a node's ends after some were changed.
    fn relook(&mut self, node: usize);
    /// Bounds the next node.
    fn settle(&mut self, node: usize, parent: Option<&Self>);
    /// Lower bounds of rows of a node.
    fn bound(&self, node: usize, lanes: &[Lane]) -> Vec<f64>;

    /// Bounds every node that is left.
    fn complete(mut self) -> Self {
        while let Some(node) = self.next() {
            self.bound_operand(node, &[]);
            self.settle(node, None);
        }
        self
    }
}

/// In f64, rounded outward.
impl<'a> Bounding<'a> for Scope<'a> {
    fn start(question: &Question<'a>, (lower, upper): (&[f64], &[f64]), splits: &[Split]) -> Self {
        Scope::start(question.network, lower, upper, splits, question.rounding()).within(question.set)
    }

    fn next(&self) -> Option<usize> {
        self.next()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn splits(&self) -> &[Split] {
        self.splits()
    }

    fn has(&self, node: usize) -> bool {
        self.has(node)
    }

    fn declare_slopes(&mut self, relu: usize, neurons: &[u32], n: usize) {
        self.declare_slopes(relu, neurons, n);
    }

    fn n_slopes(&self) -> usize {
        self.n_slopes()
    }

    fn bound_operand(&mut self, node: usize, except: &[u32]) {
        self.bound_operand(node, Method::Tightest, except);
    }

    fn learn(&mut self, node: usize, neuron: usize, is_upper: bool, claim: f32) {
        self.learn(node, neuron, is_upper, claim);
    }

    fn relook(&mut self, node: usize) {
        self.relook(node);
    }

    fn settle(&mut self, node: usize, parent: Option<&Self>) {
        self.settle(node, parent);
    }

    fn bound(&self, node: usize, lanes: &[Lane]) -> Vec<f64> {
        bound(self, node, lanes)
    }
}

/// In numbers that are not rounded.
impl<'a> Bounding<'a> for ExactScope<'a> {
    fn start(question: &Question<'a>, ends: (&[f64], &[f64]), splits: &[Split]) -> Self {
        ExactScope::start(question, ends, splits)
    }

    fn next(&self) -> Option<usize> {
        self.next()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn splits(&self) -> &[Split] {
        self.splits()
    }

    fn has(&self, node: usize) -> bool {
        self.has(node)
    }

    fn declare_slopes(&mut self, relu: usize, neurons: &[u32], n: usize) {
        self.declare_slopes(relu, neurons, n);
    }

    fn n_slopes(&self) -> usize {
        self.n_slopes()
    }

    fn bound_operand(&mut self, node: usize, except: &[u32]) {
        self.bound_operand(node, except);
    }

    fn learn(&mut self, node: usize, neuron: usize, is_upper: bool, claim: f32) {
        self.learn(node, neuron, is_upper, claim);
    }

    fn relook(&mut self, node: usize) {
        self.look_at(node);
    }

    fn settle(&mut self, node: usize, parent: Option<&Self>) {
        self.settle(node, parent);
    }

    fn bound(&self, node: usize, lanes: &[Lane]) -> Vec<f64> {
        exact::bound(self, node, lanes)
    }
}
