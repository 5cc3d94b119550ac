use crate::patch::verdict::{Coverage, PatchVerdict};
use crate::preimage::Interval;

/// What is known of the placements on one image, or on those of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    /// Placements that were asked for.
    pub placements: usize,
    /// Of those, verified.
    pub verified: usize,
    /// With a counterexample.
    pub falsified: usize,
    /// Neither, whatever may be spent is.
    pub unknown: usize,
    /// Sum over placements of the certified share of the contents, from below and from above: 1 where verified, of polytopes where
    /// they were asked for, else `[0, 1]` (0 and less than 1 where falsified).
    certified: (f64, f64),
}

/// What a sweep says of a data set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SweepSummary {
    /// Images, those that are misclassified as they are included.
    pub images: usize,
    /// Images that get another class as they are; their placements are not asked for.
    pub misclassified: usize,
    /// Images all of whose placements are verified.
    pub certified: usize,
    /// Images with a counterexample at some placement.
    pub attacked: usize,
    /// Placements of all images together.
    pub tally: Tally,
}

impl Tally {
    /// Counts a placement; `None` is one that was not looked at.
    pub fn count(&mut self, verdict: Option<&PatchVerdict>, coverage: Option<&Coverage>) {
        self.placements += 1;
        let (low, high) = match (verdict, coverage) {
            (Some(PatchVerdict::Verified), _) => (1.0, 1.0),
            (_, Some(coverage)) => (coverage.interval.lower, coverage.kept_interval.upper),
            _ => (0.0, 1.0),
        };
        self.certified.0 += low;
        self.certified.1 += high;
        match verdict {
            Some(PatchVerdict::Verified) => self.verified += 1,
            Some(PatchVerdict::Falsified(_)) => self.falsified += 1,
            Some(PatchVerdict::Unknown(_)) => self.unknown += 1,
            Some(PatchVerdict::Open) | None => {}
        }
    }

    /// Adds the placements of another image.
    pub fn add(&mut self, other: &Self) {
        self.placements += other.placements;
        self.verified += other.verified;
        self.falsified += other.falsified;
        self.unknown += other.unknown;
        self.certified.0 += other.certified.0;
        self.certified.1 += other.certified.1;
    }

    /// Placements with a verdict or none that can be had.
    pub fn done(&self) -> usize {
        self.verified + self.falsified + self.unknown
    }

    /// Whether every placement is verified, and there is one.
    pub fn is_certified(&self) -> bool {
        self.placements > 0 && self.verified == self.placements
    }

    /// The mean over placements of the share of contents that keeps the class: it is at least the lower end, which is certified
    /// (by proofs, and by polytopes whose volumes are the safe ends of 95 % intervals), and at most the upper one.
    pub fn certified_share(&self) -> Interval {
        if self.placements == 0 {
            return Interval { lower: 0.0, upper: 1.0 };
        }
        let n = self.placements as f64;
        Interval { lower: self.certified.0 / n, upper: self.certified.1 / n }
    }
}

impl SweepSummary {
    /// Counts an image that is classified rightly as it is.
    pub fn count(&mut self, tally: &Tally) {
        self.images += 1;
        self.certified += usize::from(tally.is_certified());
        self.attacked += usize::from(tally.falsified > 0);
        self.tally.add(tally);
    }

    /// Counts an image that gets another class as it is.
    pub fn count_misclassified(&mut self) {
        self.images += 1;
        self.misclassified += 1;
    }

    /// Share of the images that keep their class without a patch.
    pub fn clean_accuracy(&self) -> f64 {
        share(self.images - self.misclassified, self.images)
    }

    /// Share of the images that keep their class whatever a patch holds, wherever it is: proved for every placement.
    pub fn certified_accuracy(&self) -> f64 {
        share(self.certified, self.images)
    }

    /// Share of the rightly classified images with a counterexample at some placement.
    pub fn attack_success_rate(&self) -> f64 {
        share(self.attacked, self.images - self.misclassified)
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::patch::PatchCounterexample;
    use crate::search::StopReason;

    #[test]
    fn an_image_counts_only_if_every_placement_is_verified() {
        let found = PatchCounterexample { inputs: Vec::new(), parameters: Vec::new(), predicted: 1, margin: 0.5 };
        let verdicts = [
            PatchVerdict::Verified,
            PatchVerdict::Falsified(found),
            PatchVerdict::Unknown(StopReason::TimeLimit),
            PatchVerdict::Open,
        ];
        let interval = |lower, upper| Interval { lower, upper };
        let coverage = Coverage {
            certified: 0.5,
            interval: interval(0.4, 0.6),
            kept: 0.8,
            kept_interval: interval(0.7, 0.9),
            polytopes: 3,
        };
        let mut mixed = Tally::default();
        verdicts.iter().for_each(|verdict| mixed.count(Some(verdict), None));
        mixed.count(Some(&verdicts[2]), Some(&coverage));
        mixed.count(None, None);
        assert_eq!((mixed.placements, mixed.verified, mixed.falsified, mixed.unknown, mixed.done()), (6, 1, 1, 2, 4));
        let share = mixed.certified_share();
        assert!((share.lower - 1.4 / 6.0).abs() < 1e-12 && (share.upper - 5.9 / 6.0).abs() < 1e-12);
        let mut good = Tally::default();
        good.count(Some(&verdicts[0]), None);
        let mut summary = SweepSummary::default();
        summary.count(&mixed);
        summary.count(&good);
        summary.count_misclassified();
        summary.count(&Tally::default());
        assert_eq!((summary.images, summary.certified, summary.attacked), (4, 1, 1));
        assert_eq!((summary.clean_accuracy(), summary.certified_accuracy()), (0.75, 0.25));
        assert!((summary.attack_success_rate() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(summary.tally.certified_share().upper, 6.9 / 7.0);
    }
}
