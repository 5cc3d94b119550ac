//! Training for robustness: on attacks, or on bounds.

mod attack;
mod bounds;
mod threat;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use attack::Attack;
pub(crate) use bounds::{Depth, relax};
pub use threat::Threat;
pub(crate) use threat::ssim;

use crate::Error;

/// What is trained for besides accuracy.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Robust {
    /// Samples are attacked, and the network is trained on what the attack finds (Madry et al. 2018)
    Adversarial {
        /// The attack
        attack: Attack,
        /// The share of the attacked samples' loss, the rest is that of the samples themselves
        #[serde(default = "one")]
        share: f64,
    },
    /// The network is trained on bounds of its scores over a box around every sample, so that proofs become possible
    Certified(Certified),
}

/// Training on bounds (Gowal et al. 2018, Zhang et al. 2020, Müller et al. 2023).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certified {
    /// Half the side of the box around a sample, in the data's units
    pub epsilon: f64,
    /// How scores are bounded
    #[serde(default)]
    pub method: BoundMethod,
    /// Epochs of ordinary training before
    #[serde(default)]
    pub warm_up: usize,
    /// Epochs over which the box grows to `epsilon` and the share of the bounds' loss to `share`
    #[serde(default = "ten")]
    pub ramp: usize,
    /// The share of the bounds' loss in the end
    #[serde(default = "half")]
    pub share: f64,
    /// The share of every batch whose scores are bounded: bounds cost several times what scores do
    #[serde(default = "one")]
    pub sampled: f64,
    /// Bounds over a smaller box around what an attack finds: its side as a share of the whole box
    #[serde(default)]
    pub small_box: Option<f64>,
    /// Only a rectangle of this height and width changes, at a random place of every sample (Chiang et al. 2020)
    #[serde(default)]
    pub patch: Option<[usize; 2]>,
}

/// How scores are bounded in training. These bounds ignore rounding: they train, they prove nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoundMethod {
    /// Intervals
    #[default]
    Ibp,
    /// Linear bounds of the scores over intervals inside, mixed with intervals as the box grows
    CrownIbp,
}

impl Robust {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        match self {
            Self::Adversarial { attack, share } => {
                attack.check()?;
                if !is_share(*share) {
                    return Err(Error::invalid("training: 'share' is between 0 and 1"));
                }
            }
            Self::Certified(certified) => {
                if !(certified.epsilon > 0.0 && certified.epsilon.is_finite()) {
                    return Err(Error::invalid("training: 'epsilon' is a positive number"));
                }
                if !(is_share(certified.share) && is_share(certified.sampled))
                    || certified.small_box.is_some_and(|share| !(share > 0.0 && share <= 1.0))
                {
                    return Err(Error::invalid(
                        "training: 'share' and 'sampled' are between 0 and 1, 'small_box' above 0 and at most 1",
                    ));
                }
                if certified.patch.is_some_and(|sides| sides.contains(&0)) {
                    return Err(Error::invalid("training: a 'patch' has at least one pixel"));
                }
                if certified.patch.is_some() && certified.small_box.is_some() {
                    return Err(Error::invalid("training: 'patch' and 'small_box' do not go together"));
                }
            }
        }
        Ok(())
    }
}

impl Certified {
    /// How far the ramp has come at this point of training, counted in epochs: 0 to 1.
    pub(crate) fn ramp_at(&self, epochs: f64) -> f64 {
        ((epochs - self.warm_up as f64) / self.ramp.max(1) as f64).clamp(0.0, 1.0)
    }
}

fn one() -> f64 {
    1.0
}

fn half() -> f64 {
    0.5
}

fn ten() -> usize {
    10
}
