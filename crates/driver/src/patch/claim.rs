use std::borrow::Cow;

use bounds::Device;
use network::{Network, Property};

use crate::certificate::Recorder;
use crate::error::Error;
use crate::patch::sweep::{PatchSweep, Scene, Task, property};
use crate::search::{Limits, Silent, Verdict, Verify, VerifyOptions};

/// What holds of a placement where no contents change the class, as a network and a property of it.
#[derive(Debug, Clone)]
pub struct PatchClaim<'a> {
    /// The network as it was read; behind a layer that makes its inputs of a few parameters, where these vary together.
    pub network: Cow<'a, Network>,
    /// No other class comes up to the image's own.
    pub property: Property,
}

impl<'a> PatchSweep<'a> {
    /// What holds where a placement is verified.
    ///
    /// # Errors
    /// When scene and placement do not fit.
    pub fn claim(&self, scene: &Scene, task: &Task) -> Result<PatchClaim<'a>, Error> {
        let region = self.region(scene, task);
        let (network, ends) = match region.substitution() {
            Some(substitution) => {
                (Cow::Owned(substitution.applied(region.base(), self.network)?), substitution.region()?)
            }
            None => (Cow::Borrowed(self.network), region.hull()?),
        };
        let property = property(&network, &ends, scene.class, &self.others(scene)?);
        Ok(PatchClaim { network, property })
    }
}

impl PatchClaim<'_> {
    /// Looks for a proof of a placement that is verified, one that the checker accepts, within these limits; its records, for a bundle.
    ///
    /// # Errors
    /// When the bounds fail.
    pub fn certified(&self, limits: &Limits) -> Result<Option<Vec<u8>>, Error> {
        let wrong = |error: checker::Error| Error::Certificate(error.to_string());
        // Of no class at all nothing is proved.
        if self.property.disjuncts.is_empty() {
            return Ok(None);
        }
        let question = checker::Question::new(&self.network, &self.property).map_err(wrong)?;
        let mut records = Vec::new();
        let mut recorder = Recorder::of_question(question, &mut records);
        let is_proved = recorder.plainly() || {
            let verify = Verify { network: &self.network, property: &self.property, device: &Device::Host };
            let options = VerifyOptions { limits: limits.clone(), is_known: true, ..VerifyOptions::default() };
            verify.run_recorded(&options, &mut Silent, &mut recorder)?.verdict == Verdict::Verified
        };
        recorder.finish().map_err(|error| Error::Certificate(error.to_string()))?;
        Ok(is_proved.then_some(records))
    }
}
