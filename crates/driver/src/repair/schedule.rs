use std::sync::Arc;
use std::time::Instant;

use bounds::Device;
use network::Network;

use crate::error::Error;
use crate::repair::{
    Answer, Checked, Effort, RepairOutcome, RepairRound, RepairStop, RepairVerdict, Requirement, Violation,
};
use crate::search::{Interrupt, Limits, Observer, Progress};

/// Changes the weights of a network.
pub trait Tuner {
    /// What goes wrong with files or training.
    type Error: From<Error>;

    /// The network with the weights as they are, as whoever uses it will read it.
    ///
    /// # Errors
    /// When it cannot be written or read back.
    fn network(&mut self) -> Result<Arc<Network>, Self::Error>;

    /// Changes the weights for these violations, all that were ever found, and for the requirements at these places, of which
    /// neither a violation nor a proof was found.
    ///
    /// `attempt` counts calls, from 1: whoever is asked again should try harder.
    ///
    /// # Errors
    /// When training fails.
    fn tune(&mut self, attempt: usize, violations: &[Violation], open: &[usize]) -> Result<Tuned, Self::Error>;
}

/// What became of the weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuned {
    /// Whether they are others than before.
    pub has_changed: bool,
    /// How many of the violations are none any more.
    pub n_repaired: usize,
    /// Epochs.
    pub epochs: usize,
    /// Accuracy on what is held back for it.
    pub accuracy: f64,
    /// Seconds.
    pub time_s: f64,
}

/// Changes a network until all requirements are proved.
#[derive(Debug, Clone, Copy)]
pub struct Repair<'a> {
    /// What must hold, all together.
    pub requirements: &'a [Requirement],
    /// Where bounds are computed.
    pub device: &'a Device,
    /// What it may cost.
    pub limits: &'a RepairLimits,
}

/// What a repair may cost.
#[derive(Debug, Clone)]
pub struct RepairLimits {
    /// Times that the weights may be changed.
    pub rounds: usize,
    /// Seconds in all.
    pub time_s: Option<f64>,
    /// Seconds for one answer.
    pub answer_s: Option<f64>,
    /// Subdomains for one answer.
    pub subdomains: Option<u64>,
    /// Violations to look for besides the first, for every requirement and round.
    pub more: usize,
    /// Chooses where attacks start.
    pub seed: u64,
    /// Stops it from outside.
    pub interrupt: Interrupt,
}

/// What is told while a repair runs.
#[derive(Debug)]
pub enum RepairEvent<'a> {
    /// A requirement is looked at.
    Begins {
        /// The round, from 1.
        round: usize,
        /// Which.
        requirement: &'a Requirement,
    },
    /// An answer was found.
    Answered {
        /// The round, from 1.
        round: usize,
        /// To which requirement.
        requirement: &'a Requirement,
        /// The answer.
        answer: &'a Answer,
        /// In numbers.
        checked: &'a Checked,
    },
    /// The weights were changed.
    Tuned {
        /// The round, from 1.
        round: usize,
        /// Everything known by then.
        violations: &'a [Violation],
        /// In numbers.
        tuned: &'a Tuned,
    },
}

/// Watches a repair, and every search in it.
pub trait RepairObserver: Observer {
    /// Something has happened.
    fn event(&mut self, event: &RepairEvent<'_>);
}

/// Rounds in a row without any gain after which a repair is stuck.
const PATIENCE: usize = 3;

impl Repair<'_> {
    /// Verifies and changes the weights by turns; `violations` are those known from before, and grow.
    ///
    /// Within its limits and but for time, the same seed gives the same answer.
    ///
    /// # Errors
    /// When requirements do not fit the network, bounds fail, or the tuner fails.
    pub fn run<T: Tuner>(
        &self,
        tuner: &mut T,
        violations: &mut Vec<Violation>,
        observer: &mut dyn RepairObserver,
    ) -> Result<RepairOutcome, T::Error> {
        if self.requirements.is_empty() {
            return Err(Error::question("nothing is required: of nothing, everything would be proved").into());
        }
        let start = Instant::now();
        let has_past = !violations.is_empty();
        let mut rounds: Vec<RepairRound> = Vec::new();
        let mut idle = 0;
        loop {
            let round = rounds.len() + 1;
            let begin = Instant::now();
            let network = tuner.network()?;
            let (mut checked, mut found, mut open) = (Vec::new(), Vec::new(), Vec::new());
            for (place, requirement) in self.requirements.iter().enumerate() {
                observer.event(&RepairEvent::Begins { round, requirement });
                let (answer, one) = self.answer(place, &network, start, observer).map_err(T::Error::from)?;
                observer.event(&RepairEvent::Answered { round, requirement, answer: &answer, checked: &one });
                checked.push(one);
                match answer {
                    Answer::Verified => {}
                    Answer::Falsified(new) => found.extend(new),
                    Answer::Unknown(_) => open.push(place),
                }
            }
            let is_proved = found.is_empty() && open.is_empty();
            let n_violations = found.len();
            let verdict = match (is_proved, n_violations) {
                (true, _) if rounds.is_empty() && !has_past => RepairVerdict::Verified,
                (true, _) => RepairVerdict::Repaired,
                (false, 0) => RepairVerdict::Unknown,
                (false, _) => RepairVerdict::Falsified,
            };
            violations.extend(found);
            let is_late = self.limits.time_s.is_some_and(|limit| start.elapsed().as_secs_f64() >= limit);
            let stop = if is_proved {
                None
            } else if self.limits.interrupt.is_raised() {
                Some(RepairStop::Interrupted)
            } else if is_late {
                Some(RepairStop::TimeLimit)
            } else if round > self.limits.rounds {
                Some(RepairStop::RoundLimit)
            } else if idle >= PATIENCE {
                Some(RepairStop::Stuck)
            } else {
                let tuned = tuner.tune(round, violations, &open)?;
                observer.event(&RepairEvent::Tuned { round, violations, tuned: &tuned });
                idle = if tuned.has_changed { 0 } else { idle + 1 };
                let time_s = begin.elapsed().as_secs_f64();
                rounds.push(RepairRound { checked, n_violations, tuned: Some(tuned), time_s });
                continue;
            };
            rounds.push(RepairRound { checked, n_violations, tuned: None, time_s: begin.elapsed().as_secs_f64() });
            return Ok(RepairOutcome { verdict, stop, rounds });
        }
    }

    fn answer(
        &self,
        place: usize,
        network: &Network,
        start: Instant,
        observer: &mut dyn RepairObserver,
    ) -> Result<(Answer, Checked), Error> {
        let begin = Instant::now();
        let left = self.limits.time_s.map(|limit| (limit - start.elapsed().as_secs_f64()).max(0.0));
        let time_s = match (left, self.limits.answer_s) {
            (Some(left), Some(answer)) => Some(left.min(answer)),
            (left, answer) => left.or(answer),
        };
        let effort = Effort {
            limits: Limits { time_s, subdomains: self.limits.subdomains, ..Limits::default() },
            seed: self.limits.seed,
            interrupt: self.limits.interrupt.clone(),
            more: self.limits.more,
        };
        let decided = self.requirements[place].decide(place, network, self.device, &effort, &mut Forward(observer));
        let (answer, lower_bound, subdomains) = decided?;
        let reason = match &answer {
            Answer::Unknown(reason) => Some(*reason),
            _ => None,
        };
        let time_s = begin.elapsed().as_secs_f64();
        let checked = Checked { requirement: place, answer: answer.name(), reason, lower_bound, subdomains, time_s };
        Ok((answer, checked))
    }
}

/// A repair's observer as that of a search.
struct Forward<'a>(&'a mut dyn RepairObserver);

impl Observer for Forward<'_> {
    fn round(&mut self, progress: Progress) {
        self.0.round(progress);
    }
}
