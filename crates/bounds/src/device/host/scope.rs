use crate::kernels::Terms;
use crate::program::{Forward, Program};
use crate::scalar::Scalar;

/// What is known of one subdomain: bounds of every node, lines of every activation, error coefficients of every affine node.
#[derive(Debug, Clone)]
pub struct Scope<T> {
    /// As [`Program`] lays it out.
    pub state: Vec<T>,
    /// Undecided neurons and choices.
    pub marks: Vec<u32>,
    /// Per node, the neurons that rows follow: all but the fixed ones.
    pub alive: Vec<Vec<u32>>,
    /// Per node, the neurons that are constant zero, or, where that is folded, that no input that varies reaches; never those that a
    /// split of this subdomain has decided.
    pub fixed: Vec<Vec<bool>>,
    /// Per affine node, its biases with what fixed operands add to them.
    pub terms: Vec<Terms<T>>,
    /// Per activation, the neurons that its lines leave undecided, and those that a split of this subdomain has decided.
    pub entries: Vec<Vec<u32>>,
    /// Whether the subdomain holds no point: some neuron's lower bound exceeds its upper bound.
    pub is_empty: bool,
    /// Whether what is fixed becomes part of biases: then nothing is said of coefficients at inputs that do not vary.
    folds: bool,
}

/// One decided `ReLU`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    /// The activation's node.
    pub node: u32,
    /// The neuron.
    pub neuron: u32,
    /// Whether its operand is held `≥ 0` (else `≤ 0`).
    pub is_active: bool,
}

impl<T: Scalar> Scope<T> {
    /// Room for a program's subdomain.
    pub fn new(program: &Program<T>) -> Self {
        Self {
            state: vec![T::ZERO; program.state_stride],
            marks: vec![0; program.mark_stride],
            alive: vec![Vec::new(); program.nodes.len()],
            fixed: vec![Vec::new(); program.nodes.len()],
            terms: vec![Terms::new(); program.nodes.len()],
            entries: vec![Vec::new(); program.nodes.len()],
            is_empty: false,
            folds: true,
        }
    }

    /// Starts with a box; with `folds`, what does not vary over it becomes part of biases.
    pub fn enter(&mut self, program: &Program<T>, lower: &[T], upper: &[T], folds: bool) {
        let n = program.n_inputs;
        self.state[..n].copy_from_slice(lower);
        self.state[n..2 * n].copy_from_slice(upper);
        self.is_empty = false;
        self.folds = folds;
        self.fixed[0].clear();
        self.fixed[0].extend(lower.iter().zip(upper).map(|(lower, upper)| lower == upper));
        self.list(program, 0, &[]);
    }

    /// Intersects a node's bounds with others that are known to hold.
    pub fn intersect(&mut self, program: &Program<T>, node: usize, known: &[T]) {
        let (at, n) = program.nodes[node];
        for j in at..at + n {
            self.state[j] = self.state[j].larger(known[j]);
            self.state[n + j] = self.state[n + j].smaller(known[n + j]);
            self.is_empty |= self.state[j] > self.state[n + j];
        }
    }

    /// Clips the operand of an activation to the sides that splits have chosen; `forward` is the activation's own step.
    pub fn clip(&mut self, forward: &Forward, splits: &[Split]) {
        let Forward::Relax(relax) = forward else { return };
        for split in splits {
            let lower = relax.source as usize + split.neuron as usize;
            let upper = lower + relax.n as usize;
            if split.is_active {
                self.state[lower] = self.state[lower].larger(T::ZERO);
            } else {
                self.state[upper] = self.state[upper].smaller(T::ZERO);
            }
            self.is_empty |= self.state[lower] > self.state[upper];
        }
    }

    /// Refills the lists of a node whose bounds (and lines) are in place, and what an affine node (or the input) found to be fixed;
    /// `splits` are those of the node, by neuron.
    pub fn list(&mut self, program: &Program<T>, node: usize, splits: &[Split]) {
        let (at, n) = program.nodes[node];
        let (lower, upper) = (&self.state[at..at + n], &self.state[at + n..at + 2 * n]);
        let is_split = |j: usize| splits.iter().any(|split| split.neuron as usize == j);
        let mut fixed = std::mem::take(&mut self.fixed[node]);
        if program.activations[node].is_some() {
            fixed.clone_from(&self.fixed[program.operands[node][0]]);
        } else if fixed.len() != n {
            fixed.clear();
            fixed.resize(n, false);
        }
        let folds = self.folds && program.folds[node];
        for (j, is_fixed) in fixed.iter_mut().enumerate() {
            let is_zero = lower[j] == T::ZERO && upper[j] == T::ZERO;
            *is_fixed = (is_zero || (folds && *is_fixed)) && (splits.is_empty() || !is_split(j));
        }
        let alive = &mut self.alive[node];
        alive.clear();
        alive.extend((0..n as u32).filter(|&j| !fixed[j as usize]));
        self.fixed[node] = fixed;
        let entries = &mut self.entries[node];
        entries.clear();
        let (Some(relax), Some(_)) = (&program.activations[node], program.sweeps.iter().flatten().next()) else {
            return;
        };
        let lines = &self.state[relax.lines as usize..][..5 * n];
        entries.extend((0..n as u32).filter(|&j| {
            let j = j as usize;
            let line = [lines[j], lines[n + j], lines[2 * n + j], lines[3 * n + j]];
            let is_zero = line == [T::ZERO; 4];
            let is_identity = line == [T::ONE, T::ZERO, T::ONE, T::ZERO] && lines[4 * n + j] == T::ZERO;
            !(is_zero || is_identity) || (!splits.is_empty() && is_split(j))
        }));
    }
}

impl Scope<f32> {
    /// The same subdomain in another program of the same network: bounds are taken over, lines and errors computed anew.
    pub fn widened(&self, narrow: &Program<f32>, program: &Program<f64>) -> Vec<f64> {
        let mut known = vec![0.0; program.state_stride];
        for (&(from, n), &(to, _)) in narrow.nodes.iter().zip(&program.nodes) {
            for j in 0..2 * n {
                known[to + j] = f64::from(self.state[from + j]);
            }
        }
        known
    }
}
