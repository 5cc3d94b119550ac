use bounds::Device;

use crate::ball::Ball;
use crate::error::Error;
use crate::search::bisection::{Asked, Bisection, Held, STEP_SHARE, STEP_SUBDOMAINS};
use crate::search::{Clock, Counterexample, Limits, Observer, Silent, StopReason, Verdict, Verify, VerifyOptions};

/// How far a network is robust around a reference, in pixel values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RadiusOutcome {
    /// The largest distance within which every image is proved to keep the class.
    pub verified: Option<f64>,
    /// A distance within which one does not.
    pub falsified: Option<f64>,
    /// That one.
    pub counterexample: Option<Counterexample>,
    /// The class of the reference, if it is not the wanted one: then no distance holds.
    pub misclassified: Option<usize>,
    /// What was asked, in order.
    pub steps: Vec<RadiusStep>,
    /// Why the search ended before its tolerance, if it did.
    pub stopped: Option<StopReason>,
    /// Why the host computed (some of it) instead of the device that was asked for.
    pub fallback: Option<String>,
}

/// One question on the way.
#[derive(Debug, Clone, PartialEq)]
pub struct RadiusStep {
    /// Its distance.
    pub epsilon: f64,
    /// `verified`, `falsified` or `unknown`.
    pub verdict: &'static str,
    /// Subdomains that it took.
    pub subdomains: u64,
    /// Seconds that it took.
    pub time_s: f64,
}

/// Distances that are tried: from a tenth of what eight bits tell apart to the whole range of pixels.
const FROM: Bisection = Bisection { least: 0.1 / 255.0, first_attack: 0.5, most: 1.0, tolerance: 0.0 };

impl Ball<'_> {
    /// Finds the largest distance that is verified and the smallest that is falsified, by bisection until both are known to within the
    /// factor `1 + tolerance`.
    ///
    /// # Errors
    /// As [`Ball::check`], or when the device fails.
    pub fn find_radius(
        &self,
        device: &Device,
        options: &VerifyOptions,
        tolerance: f64,
        observer: &mut dyn Observer,
    ) -> Result<RadiusOutcome, Error> {
        self.check()?;
        let mut outcome = RadiusOutcome { misclassified: self.misclassified()?, ..RadiusOutcome::default() };
        if outcome.misclassified.is_some() {
            return Ok(outcome);
        }
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let bisection = Bisection { tolerance, ..FROM };
        bisection.run(|epsilon, asked| {
            if let Some(reason) = clock.stop(0, 0) {
                outcome.stopped = Some(reason);
                return Ok(None);
            }
            let left = |limit: f64| (limit - clock.elapsed().as_secs_f64()).max(0.0) * STEP_SHARE;
            let most = if asked == Asked::Attack { 1 } else { STEP_SUBDOMAINS };
            let limits = Limits {
                time_s: options.limits.time_s.map(left),
                subdomains: Some(options.limits.subdomains.map_or(most, |limit| limit.min(most))),
                ..options.limits.clone()
            };
            let mut silent = Silent;
            let observer: &mut dyn Observer = if asked == Asked::Attack { &mut silent } else { &mut *observer };
            self.ask(epsilon, device, &VerifyOptions { limits, ..options.clone() }, (&mut outcome, observer))
        })?;
        Ok(outcome)
    }

    /// Asks one question; `None` when somebody says stop.
    fn ask(
        &self,
        epsilon: f64,
        device: &Device,
        options: &VerifyOptions,
        (outcome, observer): (&mut RadiusOutcome, &mut dyn Observer),
    ) -> Result<Option<Held>, Error> {
        let property = self.property(epsilon)?;
        let clock = Clock::start(options.limits.clone(), options.interrupt.clone());
        let found = Verify { network: self.network, property: &property, device }.run(options, observer)?;
        outcome.fallback = outcome.fallback.take().or(found.fallback);
        outcome.steps.push(RadiusStep {
            epsilon,
            verdict: found.verdict.name(),
            subdomains: found.subdomains,
            time_s: clock.elapsed().as_secs_f64(),
        });
        Ok(match found.verdict {
            Verdict::Verified => {
                outcome.verified = Some(outcome.verified.map_or(epsilon, |known| known.max(epsilon)));
                Some(Held::Holds)
            }
            Verdict::Falsified(found) => {
                // It lies in the ball that was asked about, perhaps far inside.
                let distance = self.distance(&found.input).min(epsilon);
                if outcome.falsified.is_none_or(|known| distance < known) {
                    outcome.falsified = Some(distance);
                    outcome.counterexample = Some(found);
                }
                Some(Held::Fails(distance))
            }
            Verdict::Unknown(StopReason::Interrupted) => {
                outcome.stopped = Some(StopReason::Interrupted);
                None
            }
            Verdict::Unknown(_) => Some(Held::Open),
        })
    }
}
