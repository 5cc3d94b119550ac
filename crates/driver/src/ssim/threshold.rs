use crate::error::Error;
use crate::search::bisection::{Asked, Bisection, Held, STEP_SHARE, STEP_SUBDOMAINS};
use crate::search::{Clock, Observer, StopReason};
use crate::ssim::{Ssim, SsimCounterexample, SsimOptions, SsimVerdict};

/// How far a network is robust around a reference.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ThresholdOutcome {
    /// The smallest threshold that was verified: so is every larger one.
    pub verified: Option<f64>,
    /// The largest similarity of a counterexample: every threshold up to it is falsified.
    pub falsified: Option<f64>,
    /// That counterexample.
    pub counterexample: Option<SsimCounterexample>,
    /// The class of the reference, if it is not the wanted one: then no threshold holds.
    pub misclassified: Option<usize>,
    /// What was asked, in order.
    pub steps: Vec<ThresholdStep>,
    /// Why the search ended before its tolerance, if it did.
    pub stopped: Option<StopReason>,
}

/// One question on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct ThresholdStep {
    /// Its threshold.
    pub threshold: f64,
    /// `verified`, `falsified`, `tie` or `unknown`.
    pub verdict: &'static str,
    /// Subdomains that it took.
    pub subdomains: u64,
    /// Seconds that it took.
    pub time_s: f64,
}

/// The threshold nearest to one that is tried.
const NEAREST: f64 = 1e-6;
/// The first threshold that is attacked.
const FIRST_ATTACK: f64 = 0.5;

impl Ssim<'_> {
    /// Finds the smallest threshold that is verified and the largest that is falsified, by bisection of `log(1 − τ)` until both are
    /// known to within the factor `1 + tolerance` of `1 − τ`.
    ///
    /// A counterexample falsifies every threshold up to its own similarity, a proof holds for every larger one, and what a
    /// question leaves unknown bounds what further ones try: so no question is asked twice.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn find_threshold(
        &self,
        options: &SsimOptions,
        tolerance: f64,
        observer: &mut dyn Observer,
    ) -> Result<ThresholdOutcome, Error> {
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let mut outcome = ThresholdOutcome::default();
        // In terms of `1 − τ`.
        let bisection = Bisection { least: NEAREST, first_attack: 1.0 - FIRST_ATTACK, most: 1.0, tolerance };
        bisection.run(|size, asked| self.ask((1.0 - size, asked), (&clock, options), &mut outcome, &mut *observer))?;
        Ok(outcome)
    }

    /// Asks one question; `None` when the limits say stop.
    fn ask(
        &self,
        (threshold, asked): (f64, Asked),
        (clock, options): (&Clock, &SsimOptions),
        outcome: &mut ThresholdOutcome,
        observer: &mut dyn Observer,
    ) -> Result<Option<Held>, Error> {
        if outcome.misclassified.is_some() {
            return Ok(None);
        }
        if let Some(reason) = clock.stop(0, 0) {
            outcome.stopped = Some(reason);
            return Ok(None);
        }
        let before = clock.elapsed();
        let is_attack = asked == Asked::Attack;
        let mut limits = options.limits.clone();
        limits.subdomains = limits.subdomains.or(Some(STEP_SUBDOMAINS));
        // No question may take more than its share of the time that is left.
        limits.time_s = limits.time_s.map(|limit| (limit - before.as_secs_f64()).max(0.0) * STEP_SHARE);
        let step_clock = Clock::start(limits, options.interrupt.clone());
        let found = self.decide(threshold, options, &step_clock, (!is_attack).then_some((observer, None)))?;
        if is_attack && matches!(found.verdict, SsimVerdict::Unknown(_)) {
            return Ok(Some(Held::Open));
        }
        outcome.steps.push(ThresholdStep {
            threshold,
            verdict: found.verdict.name(),
            subdomains: found.subdomains,
            time_s: step_clock.elapsed().as_secs_f64(),
        });
        Ok(match found.verdict {
            SsimVerdict::Verified => {
                outcome.verified = Some(outcome.verified.map_or(threshold, |known| known.min(threshold)));
                Some(Held::Holds)
            }
            SsimVerdict::Falsified(image) => {
                // Rounded down: up to here, it is a counterexample in real arithmetic.
                let (shape, pixels) = (self.reference.shape(), self.reference.pixels());
                let similarity = self.similarity.lower_bound(shape, &image.image, pixels)?;
                if outcome.falsified.is_none_or(|known| similarity > known) {
                    outcome.falsified = Some(similarity);
                    outcome.counterexample = Some(image);
                }
                Some(Held::Fails(1.0 - similarity))
            }
            SsimVerdict::Misclassified { predicted } => {
                outcome.misclassified = Some(predicted);
                None
            }
            SsimVerdict::Unknown(StopReason::Interrupted) => {
                outcome.stopped = Some(StopReason::Interrupted);
                None
            }
            SsimVerdict::Tie(_) | SsimVerdict::Unknown(_) => Some(Held::Open),
        })
    }
}
