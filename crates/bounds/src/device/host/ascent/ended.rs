use crate::device::host::scope::Split;
use crate::logistic::Logistic;

/// What one lane ended with.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended<T> {
    /// The best bound, its slack inside.
    pub bound: T,
    /// That slack.
    pub slack: T,
    /// Whether its splits contradict the scope: no point is in it, and the bound is infinite.
    pub is_empty: bool,
    /// The last `α`, as a lane starts with it, if asked for.
    pub alpha: Box<[u8]>,
    /// The last multipliers, in the order of the start's splits, if asked for.
    pub beta: Box<[f32]>,
    /// The last weight of the neuron where a row is given not to be positive, if multipliers are asked for.
    pub weight: f32,
    /// The undecided neurons whose relaxation costs most at the minimiser, most first: as splits (active), if asked for. Where
    /// none costs anything, those whose relaxation could cost most elsewhere; none are left only where no relaxation matters.
    pub gaps: Vec<(Split, f32)>,
    /// The input that minimises the last linear bound, if asked for.
    pub minimiser: Box<[f32]>,
    /// What gave the best bound, if asked for.
    pub proof: Option<Proof>,
}

/// The multipliers that gave a bound.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Proof {
    /// `α` of every entry of every `ReLU`, in node order.
    pub alpha: Box<[f32]>,
    /// The multipliers, in the order of the start's splits.
    pub beta: Box<[f32]>,
}

impl<T: Logistic> Ended<T> {
    /// Nothing is known.
    pub fn unknown() -> Self {
        Self {
            bound: T::of(f64::NEG_INFINITY),
            slack: T::ZERO,
            is_empty: false,
            alpha: Box::new([]),
            beta: Box::new([]),
            weight: 0.0,
            gaps: Vec::new(),
            minimiser: Box::new([]),
            proof: None,
        }
    }

    /// Orders the gaps, the largest first, and keeps so many of them.
    pub fn order_gaps(&mut self, most: usize) {
        let most_first = |a: &(Split, f32), b: &(Split, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        if self.gaps.len() > most {
            self.gaps.select_nth_unstable_by(most, most_first);
            self.gaps.truncate(most);
        }
        self.gaps.sort_unstable_by(most_first);
    }
}

/// What to return of every lane besides its bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    /// `α`, `β` and the weight.
    pub duals: bool,
    /// How many of the costliest neurons.
    pub gaps: usize,
    /// The minimising input.
    pub minimiser: bool,
    /// What gave the best bound.
    pub proof: bool,
}
