use bounds::Device;
use network::ssim::Similarity;
use network::{BoxRegion, Image, Network, Property};

use crate::error::Error;
use crate::search::{Interrupt, Limits, Observer, Silent, StopReason, Verdict, Verify, VerifyOptions};
use crate::ssim::{Ssim, SsimOptions, SsimVerdict, Ties};

/// Something that must hold of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Requirement {
    /// How people know it.
    pub name: String,
    /// What it says.
    pub question: Question,
}

/// What a requirement says.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Every image at least this similar to a reference gets one class, by a positive margin.
    Similar {
        /// The image that others are compared with.
        reference: Image,
        /// The class, from zero.
        class: usize,
        /// Which similarity is meant.
        similarity: Similarity,
        /// In `(0, 1]`.
        threshold: f64,
    },
    /// No input violates this property.
    Property(Property),
}

/// What is known of a requirement and a network.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// It holds: proved in real arithmetic on the stored weights.
    Verified,
    /// It does not: at these inputs, at least one.
    Falsified(Vec<Violation>),
    /// Neither is known.
    Unknown(StopReason),
}

/// An input at which a requirement does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Which requirement, by its place in the list.
    pub requirement: usize,
    /// The input.
    pub input: Vec<f64>,
    /// The network's output there, in f64.
    pub output: Vec<f64>,
    /// The similarity to the reference, for images.
    pub similarity: Option<f64>,
    /// By how much it is violated, at least.
    pub margin: f64,
}

/// What one answer may cost.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Time and subdomains.
    pub limits: Limits,
    /// Chooses where attacks start.
    pub seed: u64,
    /// Stops it from outside.
    pub interrupt: Interrupt,
    /// Violations to look for besides the first.
    pub more: usize,
}

/// Two violations closer than this, in every value, are the same.
const SAME: f64 = 1e-3;

impl Requirement {
    /// Every input of a box gets one class: its output is larger than all others.
    ///
    /// # Errors
    /// When the class is none of so many outputs.
    pub fn of_class(
        name: impl Into<String>,
        region: &BoxRegion,
        class: usize,
        n_outputs: usize,
    ) -> Result<Self, Error> {
        let question = Question::Property(Property::class_is_kept(region, class, n_outputs)?);
        Ok(Self { name: name.into(), question })
    }

    /// Checks that the requirement speaks of such a network.
    ///
    /// # Errors
    /// When sizes do not fit, or the class or the threshold have no meaning.
    pub fn check(&self, network: &Network) -> Result<(), Error> {
        match &self.question {
            Question::Similar { reference, class, similarity, threshold } => {
                Ssim { network, reference, class: *class, similarity: *similarity }.check(*threshold)
            }
            Question::Property(property) => Ok(property.check_sizes(network.n_inputs(), network.n_outputs())?),
        }
    }

    /// Decides it; `place` is where it stands in its list.
    ///
    /// # Errors
    /// When it does not fit the network, or bounds fail.
    pub fn decide(
        &self,
        place: usize,
        network: &Network,
        device: &Device,
        effort: &Effort,
        observer: &mut dyn Observer,
    ) -> Result<(Answer, Option<f64>, u64), Error> {
        self.check(network)?;
        let (found, bound, subdomains) = match &self.question {
            Question::Similar { threshold, .. } => {
                let options = SsimOptions { device: Some(device.clone()), ..effort.ssim(effort.seed) };
                let outcome = self.ssim(network).verify(*threshold, &options, observer)?;
                (self.of_ssim(place, network, outcome.verdict)?, outcome.lower_bound, outcome.subdomains)
            }
            Question::Property(property) => {
                let outcome = Verify { network, property, device }.run(&effort.verify(effort.seed), observer)?;
                (of_verdict(place, outcome.verdict), outcome.lower_bound, outcome.subdomains)
            }
        };
        let answer = match found {
            Answer::Falsified(mut found) => {
                self.add_more(&mut found, place, network, device, effort)?;
                Answer::Falsified(found)
            }
            other => other,
        };
        Ok((answer, bound, subdomains))
    }

    /// Looks for further violations, unlike those known: from other seeds, and one way to violate after another.
    fn add_more(
        &self,
        found: &mut Vec<Violation>,
        place: usize,
        network: &Network,
        device: &Device,
        effort: &Effort,
    ) -> Result<(), Error> {
        let wanted = found.len() + effort.more;
        let tries = 2 * effort.more;
        for k in 0..tries {
            if found.len() >= wanted || effort.interrupt.is_raised() {
                break;
            }
            let seed = effort.seed.wrapping_add(1 + k as u64);
            let limits = Limits { subdomains: Some(1), ..effort.limits.clone() };
            let quick = Effort { limits, ..effort.clone() };
            let answer = match &self.question {
                Question::Similar { threshold, .. } => {
                    let verdict = self.ssim(network).attack(*threshold, k, &quick.ssim(seed))?;
                    self.of_ssim(place, network, verdict)?
                }
                Question::Property(property) if !property.disjuncts.is_empty() => {
                    let one = k % property.disjuncts.len();
                    let part = Property { disjuncts: vec![property.disjuncts[one].clone()], ..property.clone() };
                    let verify = Verify { network, property: &part, device };
                    of_verdict(place, verify.run(&quick.verify(seed), &mut Silent)?.verdict)
                }
                Question::Property(_) => break,
            };
            if let Answer::Falsified(new) = answer {
                for violation in new {
                    if !found.iter().any(|known| known.is_like(&violation)) {
                        found.push(violation);
                    }
                }
            }
        }
        Ok(())
    }

    fn ssim<'a>(&'a self, network: &'a Network) -> Ssim<'a> {
        let Question::Similar { reference, class, similarity, .. } = &self.question else {
            unreachable!("asked for images alone")
        };
        Ssim { network, reference, class: *class, similarity: *similarity }
    }

    fn of_ssim(&self, place: usize, network: &Network, verdict: SsimVerdict) -> Result<Answer, Error> {
        let violation = |input: Vec<f64>, output: Vec<f64>, similarity: f64, margin: f64| {
            let similarity = Some(similarity);
            Answer::Falsified(vec![Violation { requirement: place, input, output, similarity, margin }])
        };
        Ok(match verdict {
            SsimVerdict::Verified => Answer::Verified,
            SsimVerdict::Falsified(found) | SsimVerdict::Tie(found) => {
                violation(found.image, found.output, found.ssim, found.margin)
            }
            SsimVerdict::Misclassified { predicted } => {
                let Question::Similar { reference, class, .. } = &self.question else {
                    unreachable!("asked for images alone")
                };
                let output = network.evaluate(reference.pixels())?;
                let margin = output[predicted] - output[*class];
                violation(reference.pixels().to_vec(), output, 1.0, margin)
            }
            SsimVerdict::Unknown(reason) => Answer::Unknown(reason),
        })
    }
}

impl Violation {
    fn is_like(&self, other: &Self) -> bool {
        self.input.iter().zip(&other.input).all(|(a, b)| (a - b).abs() <= SAME)
    }
}

impl Effort {
    fn ssim(&self, seed: u64) -> SsimOptions {
        SsimOptions {
            limits: self.limits.clone(),
            seed,
            interrupt: self.interrupt.clone(),
            ties: Ties::AreViolations,
            png_safe: false,
            device: None,
        }
    }

    fn verify(&self, seed: u64) -> VerifyOptions {
        VerifyOptions {
            limits: self.limits.clone(),
            seed,
            interrupt: self.interrupt.clone(),
            ..VerifyOptions::default()
        }
    }
}

impl Answer {
    /// `verified`, `falsified` or `unknown`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Falsified(_) => "falsified",
            Self::Unknown(_) => "unknown",
        }
    }
}

fn of_verdict(place: usize, verdict: Verdict) -> Answer {
    match verdict {
        Verdict::Verified => Answer::Verified,
        Verdict::Falsified(found) => Answer::Falsified(vec![Violation {
            requirement: place,
            input: found.input,
            output: found.output,
            similarity: None,
            margin: found.margin,
        }]),
        Verdict::Unknown(reason) => Answer::Unknown(reason),
    }
}
