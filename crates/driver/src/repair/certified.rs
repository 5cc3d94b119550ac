use bounds::Device;
use network::ssim::Similarity;
use network::{Image, Network, Property};

use crate::ball;
use crate::error::Error;
use crate::patch::PixelScale;
use crate::repair::{Answer, Effort, Question, Requirement};
use crate::search::Silent;

/// For how many labelled images it is proved that everything near them gets their label.
#[derive(Debug, Clone, Copy)]
pub struct CertifiedAccuracy<'a> {
    /// A classifier of images.
    pub network: &'a Network,
    /// Where bounds are computed.
    pub device: &'a Device,
    /// What one image may cost.
    pub effort: &'a Effort,
}

/// What was found of so many images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CertifiedCount {
    /// Images.
    pub samples: usize,
    /// Those that are classified correctly.
    pub right: usize,
    /// Those of which it is proved.
    pub verified: usize,
    /// Those of which it is wrong.
    pub falsified: usize,
    /// The others.
    pub unknown: usize,
}

impl CertifiedAccuracy<'_> {
    /// Of all images within this distance in every pixel, cut to `[0, 1]`.
    ///
    /// # Errors
    /// When images do not fit the network, or bounds fail.
    pub fn within(&self, images: &[(Image, usize)], epsilon: f64) -> Result<CertifiedCount, Error> {
        self.count(images, |image, class| {
            let region = ball::region(image, &PixelScale::identity(), epsilon)?;
            Ok(Question::Property(Property::class_is_kept(&region, class, self.network.n_outputs())?))
        })
    }

    /// Of all images at least this similar.
    ///
    /// # Errors
    /// When images do not fit the network, the threshold is not in `(0, 1]`, or bounds fail.
    pub fn similar(
        &self,
        images: &[(Image, usize)],
        similarity: Similarity,
        threshold: f64,
    ) -> Result<CertifiedCount, Error> {
        let question = |reference: &Image, class: usize| Question::Similar {
            reference: reference.clone(),
            class,
            similarity,
            threshold,
        };
        self.count(images, |image, class| Ok(question(image, class)))
    }

    fn count(
        &self,
        images: &[(Image, usize)],
        question: impl Fn(&Image, usize) -> Result<Question, Error>,
    ) -> Result<CertifiedCount, Error> {
        let mut count = CertifiedCount { samples: images.len(), ..CertifiedCount::default() };
        for (place, (image, class)) in images.iter().enumerate() {
            let output = self.network.evaluate(image.pixels())?;
            let is_right =
                *class < output.len() && (0..output.len()).all(|k| k == *class || output[*class] > output[k]);
            if !is_right {
                count.falsified += 1;
                continue;
            }
            count.right += 1;
            let requirement = Requirement { name: place.to_string(), question: question(image, *class)? };
            match requirement.decide(place, self.network, self.device, self.effort, &mut Silent)?.0 {
                Answer::Verified => count.verified += 1,
                Answer::Falsified(_) => count.falsified += 1,
                Answer::Unknown(_) => count.unknown += 1,
            }
        }
        Ok(count)
    }
}
