use super::{Rejection, rejection};
use crate::certificate::{BoxState, Tape};

/// A settled box.
#[derive(Debug, Clone)]
pub struct BoxLeaf {
    pub id: u32,
    pub lower: Vec<f64>,
    pub upper: Vec<f64>,
}

/// Visits the leaves below a box, depth first; what it holds is the path, not the boxes on it.
pub struct BoxWalk<'a> {
    tape: &'a Tape<'a>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    steps: Vec<Step>,
}

enum Step {
    /// Look at a box.
    Enter(u32),
    /// Move an end of the current box: which one, and where to.
    Move { input: usize, is_upper: bool, to: f64 },
}

/// Leaves that are handed out together, and their numbers, at most.
const LEAVES: usize = 2048;
const NUMBERS: usize = 1 << 20;

impl BoxLeaf {
    /// Whether no point lies in it.
    pub fn is_empty(&self) -> bool {
        self.lower.iter().zip(&self.upper).any(|(l, u)| l > u)
    }

    /// Its ends, as far as a line takes them.
    pub fn ends(&self) -> String {
        let ends = self.lower.iter().zip(&self.upper).take(8).map(|(l, u)| format!("[{l}, {u}]"));
        let dots = if self.lower.len() > 8 { " × …" } else { "" };
        ends.collect::<Vec<_>>().join(" × ") + dots
    }
}

impl<'a> BoxWalk<'a> {
    pub fn new(tape: &'a Tape<'a>, root: u32, lower: &[f64], upper: &[f64]) -> Self {
        Self { tape, lower: lower.to_vec(), upper: upper.to_vec(), steps: vec![Step::Enter(root)] }
    }

    /// The next leaves; none at the end.
    pub fn next_leaves(&mut self) -> Result<Vec<BoxLeaf>, Rejection> {
        let mut leaves = Vec::new();
        while leaves.len() < LEAVES && leaves.len() * self.lower.len() < NUMBERS {
            let Some(step) = self.steps.pop() else { break };
            let id = match step {
                Step::Move { input, is_upper, to } => {
                    if is_upper {
                        self.upper[input] = to;
                    } else {
                        self.lower[input] = to;
                    }
                    continue;
                }
                Step::Enter(id) => id,
            };
            let BoxState::Halved { input, value, first } = self.tape.boxes[id as usize] else {
                leaves.push(BoxLeaf { id, lower: self.lower.clone(), upper: self.upper.clone() });
                continue;
            };
            let input = input as usize;
            let (Some(&l), Some(&u)) = (self.lower.get(input), self.upper.get(input)) else {
                return Err(rejection(
                    format!("box {id}"),
                    format!("it is halved along an input {input} that there is none"),
                ));
            };
            // In reverse: the half below, back, the half above, back. A value outside leaves one half without points.
            let change = |is_upper, to| Step::Move { input, is_upper, to };
            self.steps.extend([change(false, l), Step::Enter(first + 1), change(false, l.max(value))]);
            self.steps.extend([change(true, u), Step::Enter(first), change(true, u.min(value))]);
        }
        Ok(leaves)
    }
}
