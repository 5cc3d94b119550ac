use bounds::{BoundEngine, Branched, Budget, Piece, Rule};

use crate::error::Error;
use crate::search::area::Area;
use crate::search::frontier::Subdomain;
use crate::search::objective::Objective;

/// What of branch and bound stays on the device: boxes are handed over in numbers that one submission can finish soon, and what is
/// left of them comes back.
///
/// How large a submission is follows from counts alone, never from the time that another took.
#[derive(Debug)]
pub struct Resident {
    rule: Rule,
    /// Multiply-adds of one submission, about; 0 once the device will not branch.
    macs: u64,
    subdomains: u64,
}

/// Multiply-adds of one submission, about: some hundredths of a second on a large GPU, less than a second on a small one.
const SUBMISSION_MACS: u64 = 64_000_000_000;
/// Most boxes of one submission.
const MOST_SUBDOMAINS: u64 = 1 << 20;
/// Boxes of the first submissions; each later one has at most as many as were bounded before, so that none takes longer than
/// the search so far.
const FIRST_SUBDOMAINS: u64 = 1024;
/// Rounds of one submission.
const ROUNDS: u64 = 8;
/// Where handing over fewer boxes still does not help, the device is left alone.
const LEAST_MACS: u64 = SUBMISSION_MACS >> 8;

/// How many boxes to hand over, and when they must come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    pub n_pieces: usize,
    pub budget: Budget,
}

impl Resident {
    /// For one objective; where a disjunct without rows keeps every box open, for nothing.
    pub fn new(objective: &Objective) -> Self {
        let disjuncts: Vec<_> = objective.disjuncts.iter().map(|(_, rows)| rows.clone()).collect();
        let macs = if disjuncts.iter().any(std::ops::Range::is_empty) { 0 } else { SUBMISSION_MACS };
        Self { rule: Rule { disjuncts }, macs, subdomains: 0 }
    }

    /// Subdomains that were bounded by rounds on the device.
    pub fn subdomains(&self) -> u64 {
        self.subdomains
    }

    /// The next submission, if there should be one: after `done` subdomains, of which at most `left` may follow, each of `cost`
    /// multiply-adds.
    pub fn next(&self, done: u64, left: u64, cost: u64) -> Option<Submission> {
        if self.macs < LEAST_MACS || left == 0 {
            return None;
        }
        let affordable = (self.macs / cost.max(1)).clamp(1, MOST_SUBDOMAINS);
        let most = done.max(FIRST_SUBDOMAINS).min(affordable).min(left);
        // A round starts with at most half of the boxes that may be open.
        let open = (2 * most / ROUNDS).max(2);
        let rounds = (2 * most / open).clamp(1, ROUNDS) as u32;
        let budget = Budget { rounds, open: open as usize };
        Some(Submission { n_pieces: (open / 4).max(1) as usize, budget })
    }

    /// Branches on the device; nothing where it cannot, or where it did not start a round: then these boxes need the host's rounds.
    ///
    /// # Errors
    /// As [`BoundEngine::branch`].
    pub fn run(
        &mut self,
        engine: &BoundEngine,
        pieces: &[Subdomain<Area>],
        budget: Budget,
    ) -> Result<Option<Branched>, Error> {
        // The score of a box that was bounded is overwritten; that of others is not returned.
        let piece = |of: &Subdomain<Area>| Piece { ends: of.piece.ends.clone(), depth: of.depth, score: 0.0 };
        let pieces: Vec<Piece> = pieces.iter().map(piece).collect();
        let Some(branched) = engine.branch(&pieces, &self.rule, budget)? else {
            self.macs = 0;
            return Ok(None);
        };
        if branched.rounds == 0 {
            self.macs /= 2;
            return Ok(None);
        }
        self.subdomains += branched.bounded;
        Ok(Some(branched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resident() -> Resident {
        Resident { rule: Rule::default(), macs: SUBMISSION_MACS, subdomains: 0 }
    }

    #[test]
    fn a_submission_never_bounds_more_than_is_left() {
        for left in (1..300).chain([1023, 1024, 5000, 1 << 30]) {
            for (done, cost) in [(0, 0), (1 << 40, 1), (5000, 1_000_000), (5000, u64::MAX)] {
                let Submission { n_pieces, budget } = resident().next(done, left, cost).unwrap();
                assert!(n_pieces > 0 && 2 * n_pieces <= budget.open, "no round could start: {left}");
                let most = u64::from(budget.rounds) * (budget.open as u64 / 2);
                assert!(most <= left && most <= done.max(FIRST_SUBDOMAINS), "{most} of {left} after {done}");
            }
        }
        assert_eq!(resident().next(0, 0, 1), None);
    }

    #[test]
    fn a_device_that_starts_nothing_is_left_alone_in_the_end() {
        let mut resident = resident();
        for _ in 0..9 {
            assert!(resident.next(0, 1, 1).is_some());
            resident.macs /= 2;
        }
        assert_eq!(resident.next(0, 1, 1), None);
    }
}
