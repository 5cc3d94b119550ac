/// How far something holds, between a size that is proved and a size at which it fails.
///
/// What fails at a size fails at every larger one, what holds at a size at every smaller one. Sizes are compared by their ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bisection {
    /// The smallest size that is asked about.
    pub least: f64,
    /// The first size that is attacked.
    pub first_attack: f64,
    /// Beyond this, everything fails.
    pub most: f64,
    /// The ratio, less one, of the smallest size that is not proved to the largest that is, at which to stop.
    pub tolerance: f64,
}

/// How much work a question is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An attack is enough.
    Attack,
    /// A proof is wanted.
    Proof,
}

/// What one question came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Held {
    /// It holds.
    Holds,
    /// It fails, from this size on.
    Fails(f64),
    /// Neither is known.
    Open,
}

/// Subdomains that one question may take where no limit is given.
pub const STEP_SUBDOMAINS: u64 = 20_000;
/// Share of the time left that one question may take.
pub const STEP_SHARE: f64 = 0.4;
/// How much nearer than the last counterexample the next attack asks for one.
const ATTACK_PACE: f64 = 0.8;

impl Bisection {
    /// Asks until the answer is known to within the tolerance, or `ask` gives `None`. No question is asked twice: what stays open counts
    /// as if it had failed.
    ///
    /// # Errors
    /// Those of `ask`.
    pub fn run<E>(self, mut ask: impl FnMut(f64, Asked) -> Result<Option<Held>, E>) -> Result<(), E> {
        let (mut holds, mut fails) = (self.least, self.most);
        // Attacks first: what is broken needs no proof.
        let mut size = self.first_attack;
        loop {
            match ask(size, Asked::Attack)? {
                Some(Held::Fails(at)) => {
                    fails = at.min(size);
                    size = fails * ATTACK_PACE;
                    if size <= holds {
                        break;
                    }
                }
                Some(Held::Holds) => {
                    holds = holds.max(size);
                    break;
                }
                Some(Held::Open) => break,
                None => return Ok(()),
            }
        }
        while fails > holds * (1.0 + self.tolerance) {
            let middle = (holds * fails).sqrt();
            match ask(middle, Asked::Proof)? {
                Some(Held::Holds) => holds = middle,
                Some(Held::Fails(at)) => fails = at.min(middle),
                Some(Held::Open) => fails = middle,
                None => return Ok(()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: Bisection = Bisection { least: 1e-6, first_attack: 0.5, most: 1.0, tolerance: 0.01 };

    #[test]
    fn the_boundary_is_found_to_within_the_tolerance() {
        for boundary in [3e-6, 0.1, 0.45, 0.7] {
            let (mut proved, mut failed) = (0.0_f64, f64::INFINITY);
            let found: Result<(), ()> = FROM.run(|size, asked| {
                if size > boundary {
                    failed = failed.min(size);
                    return Ok(Some(Held::Fails(size)));
                }
                if asked == Asked::Attack {
                    return Ok(Some(Held::Open));
                }
                proved = proved.max(size);
                Ok(Some(Held::Holds))
            });
            found.unwrap();
            assert!(
                proved <= boundary && boundary <= failed && failed.min(1.0) <= proved * 1.01,
                "{boundary}: {proved}, {failed}"
            );
        }
    }

    #[test]
    fn what_stays_open_is_not_asked_again() {
        let mut sizes = Vec::new();
        let found: Result<(), ()> = FROM.run(|size, asked| {
            sizes.push(size);
            Ok(Some(if asked == Asked::Proof && size < 1e-3 { Held::Holds } else { Held::Open }))
        });
        found.unwrap();
        let proofs = &sizes[1..];
        assert!(proofs.len() < 20 && proofs.iter().enumerate().all(|(i, size)| !proofs[..i].contains(size)));
    }

    #[test]
    fn a_counterexample_nearer_than_asked_counts_as_such_and_the_caller_may_stop() {
        let mut asked_of = Vec::new();
        let found: Result<(), ()> = FROM.run(|size, _| {
            asked_of.push(size);
            Ok(if asked_of.len() < 2 { Some(Held::Fails(0.1)) } else { None })
        });
        found.unwrap();
        assert!(asked_of.len() == 2 && (asked_of[1] - 0.08).abs() < 1e-12);
    }
}
