use std::fmt::Write;

use driver::patch::{PatchVerdict, SweepSummary, Tally};
use serde::Serialize;

use crate::console;
use crate::patch::plan::Plan;
use crate::patch::record::Record;
use crate::patch::store::{Shard, Store};
use crate::status::Status;

/// What is known of a job, as JSON.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Of all placements: `verified` if all are, `falsified` if one is, else `unknown`.
    pub verdict: &'static str,
    time_s: f64,
    /// Of all images together.
    pub summary: SummaryFields,
    /// Image by image.
    pub images: Vec<ImageResult>,
}

/// What is known of all images.
#[derive(Debug, Serialize)]
pub struct SummaryFields {
    /// Images, those that are misclassified as they are included.
    pub images: usize,
    /// Images that get another class as they are.
    pub misclassified: usize,
    /// Share of the images that keep their class without a patch.
    pub clean_accuracy: f64,
    /// Share of the images all of whose placements are verified; of a shard nobody can say.
    pub certified_accuracy: Option<f64>,
    /// Share of the rightly classified images with a counterexample.
    pub attack_success_rate: f64,
    /// Placements of the rightly classified images.
    pub placements: usize,
    /// Of those, verified.
    pub verified: usize,
    /// With a counterexample.
    pub falsified: usize,
    /// Neither.
    pub unknown: usize,
    /// Placements that were not reached.
    pub left: usize,
    /// Mean over the placements of the share of contents that keep the class.
    pub certified_share: [f64; 2],
}

/// What is known of an image.
#[derive(Debug, Serialize)]
pub struct ImageResult {
    /// Its name.
    pub id: String,
    /// Its class.
    pub class: usize,
    /// The class that it gets as it is.
    pub predicted: usize,
    /// Whether every placement is verified.
    pub certified: bool,
    /// Placements by verdict.
    pub verified: usize,
    /// With a counterexample.
    pub falsified: usize,
    /// Neither.
    pub unknown: usize,
    /// Not reached.
    pub left: usize,
    /// Mean over the placements of the share of contents that keep the class.
    pub certified_share: [f64; 2],
    /// Every placement.
    pub placements: Vec<PlacementResult>,
}

/// What is known of a placement.
#[derive(Debug, Serialize)]
pub struct PlacementResult {
    /// Row and column of each patch's first.
    pub at: Vec<[usize; 2]>,
    /// What is known; nothing if it was not reached.
    #[serde(flatten)]
    pub record: Option<Record>,
}

impl Outcome {
    /// What a store knows of a shard of a plan.
    pub fn new(plan: &Plan, store: &Store, shard: Shard, time_s: f64) -> Self {
        let mut summary = SweepSummary::default();
        let mut images = Vec::new();
        let mut first = 0;
        for (s, scene) in plan.scenes.iter().enumerate() {
            let n = plan.tasks[first..].iter().take_while(|task| task.scene == s).count();
            let mut tally = Tally::default();
            let mut placements = Vec::new();
            for task in (first..first + n).filter(|&task| shard.has(plan.homes[task])) {
                // A share that another job asked for is none of this one's.
                let record = store.get(plan.keys[task]).filter(|record| !record.is_open()).cloned();
                let verdict = record.as_ref().and_then(Record::as_verdict);
                let coverage = record.as_ref().and_then(Record::as_coverage);
                tally.count(verdict.as_ref(), coverage.as_ref());
                placements.push(PlacementResult { at: plan.tasks[task].placement.corners.clone(), record });
            }
            first += n;
            let is_right = plan.predicted[s] == scene.class;
            if is_right {
                summary.count(&tally);
            } else {
                summary.count_misclassified();
            }
            let share = tally.certified_share();
            images.push(ImageResult {
                id: plan.ids[s].clone(),
                class: scene.class,
                predicted: plan.predicted[s],
                certified: is_right && shard.count == 1 && tally.is_certified(),
                verified: tally.verified,
                falsified: tally.falsified,
                unknown: tally.unknown,
                left: tally.placements - tally.done(),
                certified_share: if is_right { [share.lower, share.upper] } else { [0.0, 0.0] },
                placements,
            });
        }
        let tally = &summary.tally;
        let verdict = if tally.falsified > 0 {
            "falsified"
        } else if tally.is_certified() && summary.misclassified == 0 {
            "verified"
        } else {
            "unknown"
        };
        let share = tally.certified_share();
        let summary = SummaryFields {
            images: summary.images,
            misclassified: summary.misclassified,
            clean_accuracy: summary.clean_accuracy(),
            certified_accuracy: (shard.count == 1).then(|| summary.certified_accuracy()),
            attack_success_rate: summary.attack_success_rate(),
            placements: tally.placements,
            verified: tally.verified,
            falsified: tally.falsified,
            unknown: tally.unknown,
            left: tally.placements - tally.done(),
            certified_share: [share.lower, share.upper],
        };
        Self { verdict, time_s, summary, images }
    }

    /// How many placements have no last verdict.
    pub fn left(&self) -> usize {
        self.summary.left
    }

    /// How many placements it speaks of.
    pub fn placements(&self) -> usize {
        self.summary.placements
    }

    /// How a job about one image ends; one about several ends well if it ends.
    pub fn status(&self) -> Status {
        match self.verdict {
            _ if self.left() > 0 => Status::Unknown,
            _ if self.images.len() > 1 => Status::Done,
            "verified" => Status::Done,
            "falsified" => Status::Falsified,
            _ => Status::Unknown,
        }
    }

    /// For people.
    pub fn text(&self, is_quiet: bool) -> String {
        let mut text = String::new();
        if let [image] = self.images.as_slice() {
            self.one(image, is_quiet, &mut text);
        } else {
            self.several(is_quiet, &mut text);
        }
        text
    }

    fn one(&self, image: &ImageResult, is_quiet: bool, text: &mut String) {
        if image.predicted != image.class {
            let ImageResult { id, class, predicted, .. } = image;
            let _ =
                writeln!(text, "misclassified  {id} is class {predicted} as it is, not {class}: no patch is needed");
            return;
        }
        // Where nothing was computed, there is no time.
        let time = if self.time_s > 0.0 { format!("{:.3} s, ", self.time_s) } else { String::new() };
        let _ = writeln!(text, "{} {time}{}", console::verdict(self.verdict), self.counts());
        if is_quiet {
            return;
        }
        if let Some(worst) = image.worst() {
            let _ = writeln!(text, "worst: {worst}");
        }
        if let Some(map) = image.map() {
            text.push_str(&map);
        }
    }

    fn several(&self, is_quiet: bool, text: &mut String) {
        if !is_quiet {
            let longest = self.images.iter().map(|image| image.id.chars().count()).max().unwrap_or(0).max(5);
            let _ =
                writeln!(text, "{:<longest$}  class  verified  falsified  unknown  certified share  worst", "image");
            for image in &self.images {
                let ImageResult { id, class, verified, falsified, unknown, certified_share: [low, high], .. } = image;
                if image.predicted != *class {
                    let _ = writeln!(text, "{id:<longest$}  {class:>5}  misclassified as {}", image.predicted);
                    continue;
                }
                let share = format!("{low:.4} to {high:.4}");
                let worst = image.worst().unwrap_or_default();
                let _ = writeln!(
                    text,
                    "{id:<longest$}  {class:>5}  {verified:>8}  {falsified:>9}  {unknown:>7}  {share}  {worst}"
                );
            }
        }
        let SummaryFields { images, misclassified, certified_share: [low, high], .. } = &self.summary;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let anywhere = match self.summary.certified_accuracy {
            Some(share) => format!(", certified against a patch anywhere {}", percent(share)),
            None => String::new(),
        };
        let (accuracy, success) = (percent(self.summary.clean_accuracy), percent(self.summary.attack_success_rate));
        let _ = writeln!(
            text,
            "{images} images, {misclassified} misclassified: accuracy {accuracy}{anywhere}, attack success {success}"
        );
        let time = if self.time_s > 0.0 { format!("; {:.1} s", self.time_s) } else { String::new() };
        let _ = writeln!(text, "{}; {low:.4} to {high:.4} of the contents certified{time}", self.counts());
    }

    fn counts(&self) -> String {
        let SummaryFields { placements, verified, falsified, unknown, left, .. } = &self.summary;
        let count = |n: &usize| console::count(*n as u64);
        let mut text = format!(
            "{} placements: {} verified, {} falsified, {} unknown",
            count(placements),
            count(verified),
            count(falsified),
            count(unknown)
        );
        if *left > 0 {
            let _ = write!(text, ", {} left (the same command goes on)", count(left));
        }
        text
    }

    /// One line for each placement, comma-separated, without times: equal for equal answers.
    pub fn table(&self) -> String {
        let mut text = String::from("image,class,at,verdict,reason,lower_bound,predicted,margin,certified_share\n");
        for image in &self.images {
            let id = if image.id.contains([',', '"', '\n']) {
                format!("\"{}\"", image.id.replace('"', "\"\""))
            } else {
                image.id.clone()
            };
            if image.predicted != image.class {
                let _ = writeln!(text, "{id},{},,misclassified,,,{},,", image.class, image.predicted);
            }
            for placement in &image.placements {
                let at: Vec<String> = placement.at.iter().map(|[row, column]| format!("{row} {column}")).collect();
                let _ = write!(text, "{id},{},{},", image.class, at.join("; "));
                let Some(record) = &placement.record else {
                    text.push_str("left,,,,,\n");
                    continue;
                };
                let real = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let found = record.counterexample.as_ref();
                let _ = writeln!(
                    text,
                    "{},{},{},{},{},{}",
                    record.verdict,
                    record.reason.as_deref().unwrap_or_default(),
                    real(record.lower_bound),
                    found.map(|found| found.predicted.to_string()).unwrap_or_default(),
                    real(found.map(|found| found.margin)),
                    real(record.coverage.map(|share| share.interval[0])),
                );
            }
        }
        text
    }
}

impl ImageResult {
    /// The placement whose counterexample changes the class by most.
    pub fn worst_placement(&self) -> Option<&PlacementResult> {
        let margin = |placement: &PlacementResult| Some(placement.record.as_ref()?.counterexample.as_ref()?.margin);
        let found = self.placements.iter().filter_map(|placement| Some((placement, margin(placement)?)));
        found.reduce(|worst, next| if next.1 > worst.1 { next } else { worst }).map(|(placement, _)| placement)
    }

    fn worst(&self) -> Option<String> {
        let placement = self.worst_placement()?;
        let found = placement.record.as_ref()?.counterexample.as_ref()?;
        Some(format!("{}: class {} by {}", place(&placement.at), found.predicted, console::number(found.margin)))
    }

    /// The placements as a field of letters, where they are a grid of one patch that a terminal holds.
    fn map(&self) -> Option<String> {
        const WIDEST: usize = 100;
        let corner = |placement: &PlacementResult| match placement.at[..] {
            [corner] => Some(corner),
            _ => None,
        };
        let corners: Vec<[usize; 2]> = self.placements.iter().map(corner).collect::<Option<_>>()?;
        let width = corners.iter().take_while(|[row, _]| *row == corners[0][0]).count();
        let is_grid = width > 0
            && corners.len().is_multiple_of(width)
            && corners.chunks(width).all(|row| {
                row.iter().zip(&corners[..width]).all(|(corner, first)| corner[0] == row[0][0] && corner[1] == first[1])
            });
        if !is_grid || width > WIDEST || corners.len() < 2 {
            return None;
        }
        let letter = |placement: &PlacementResult| match placement.record.as_ref().and_then(Record::as_verdict) {
            Some(PatchVerdict::Verified) => '.',
            Some(PatchVerdict::Falsified(_)) => 'x',
            _ => '?',
        };
        let mut map = String::new();
        for row in self.placements.chunks(width) {
            map.push_str("  ");
            map.extend(row.iter().map(letter));
            map.push('\n');
        }
        Some(map)
    }
}

/// A placement in words.
pub fn place(corners: &[[usize; 2]]) -> String {
    let corner = |[row, column]: &[usize; 2]| format!("row {row}, column {column}");
    corners.iter().map(corner).collect::<Vec<_>>().join(" and ")
}
