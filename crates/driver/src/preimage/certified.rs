use bounds::Device;

use crate::error::Error;
use crate::preimage::cells::Cells;
use crate::preimage::element::Element;
use crate::preimage::options::PreimageOptions;
use crate::preimage::outcome::PreimageOutcome;
use crate::preimage::piece::negated;
use crate::preimage::problem::{Mode, OutputPolytope, PreimageProblem};
use crate::preimage::reduced::Reduced;
use crate::preimage::search::PreimageSearch;
use crate::preimage::volume::{MOST_INPUTS, Volume};

/// A coverage from computed volumes and from polytopes on both sides of the preimage's boundary: no sampling, no confidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Certified {
    /// The coverage is at least this (mode under), or at most (mode over); the volumes' stated errors (the difference of two
    /// ways to compute each, not a proof) are inside.
    pub coverage: f64,
    /// Share of the region that the approximation takes.
    pub approximation: Volume,
    /// Share of the region that the polytopes on the other side take: outside the preimage (mode under), or inside (mode over).
    pub opposite: Volume,
}

impl Certified {
    /// Whether a coverage can be computed: at most six inputs that vary, all uniform, and one output polytope.
    ///
    /// # Errors
    /// When it cannot, with the reason.
    pub fn check(problem: &PreimageProblem) -> Result<(), Error> {
        let n = Reduced::new(problem)?.n_free();
        let reason = if n > MOST_INPUTS {
            format!("{n} inputs vary, and volumes are computed for at most {MOST_INPUTS}")
        } else if !problem.prior.is_uniform() {
            "the prior is not uniform".into()
        } else if problem.targets.len() != 1 {
            format!("there are {} output polytopes, whose preimages may overlap", problem.targets.len())
        } else {
            return Ok(());
        };
        Err(Error::question(format!("the coverage cannot be certified: {reason}")))
    }

    /// Computes the coverage of what was found, by a second search: for polytopes outside the preimage, in whose remainder the preimage
    /// lies (mode under), or inside it (mode over).
    ///
    /// # Errors
    /// As [`Self::check`], and when the bounds fail.
    pub fn of(
        problem: &PreimageProblem,
        found: &PreimageOutcome,
        device: &Device,
        options: &PreimageOptions,
    ) -> Result<Self, Error> {
        Self::check(problem)?;
        // What is counted twice only makes an over-approximation larger.
        if problem.mode == Mode::Under && !found.is_disjoint {
            return Err(Error::question("the coverage cannot be certified: the polytopes overlap"));
        }
        let reduced = Reduced::new(problem)?;
        let (lower, upper): (Vec<f64>, Vec<f64>) = reduced.inner.iter().copied().unzip();
        let region = (lower.as_slice(), upper.as_slice());
        let mut approximation = Volume::default();
        for element in &found.elements {
            approximation = sum(approximation, volume(element, region, &[])?);
        }
        let mut other = problem.clone();
        other.mode = Mode::Under;
        let mut options = options.clone();
        if problem.mode == Mode::Under {
            other.targets = complement(&problem.targets[0]);
            // What is left open outside must be little beside the preimage.
            let (volume, open) = (found.preimage_volume, 0.5 * (1.0 - options.coverage));
            options.coverage = (1.0 - open * volume / (1.0 - volume).max(1e-3)).clamp(0.5, 0.9999);
        } else {
            // As near to the preimage from inside as from outside.
            options.coverage = 0.5 + 0.5 / options.coverage;
        }
        // All cells leave nothing open.
        options.cells = if options.cells == Cells::Never { Cells::Never } else { Cells::Preferred };
        let opposite = PreimageSearch::new(&other, device)?.run(&options, &mut |_| {})?;
        let opposite = if opposite.is_disjoint {
            let add = |total: Volume, element| Ok::<_, Error>(sum(total, volume(element, region, &[])?));
            opposite.elements.iter().try_fold(Volume::default(), add)?
        } else {
            union(&opposite.elements, region)?
        };
        let coverage = match problem.mode {
            Mode::Under => {
                let most = 1.0 - (opposite.value - opposite.error).max(0.0);
                let least = (approximation.value - approximation.error).max(0.0);
                if least <= 0.0 { 0.0 } else { (least / most).min(1.0) }
            }
            Mode::Over => {
                let least = opposite.value - opposite.error;
                let most = approximation.value + approximation.error;
                if least > 0.0 { (most / least).max(1.0) } else { f64::INFINITY }
            }
        };
        Ok(Self { coverage, approximation, opposite })
    }
}

/// The outputs in which some row fails, or is met exactly.
fn complement(target: &OutputPolytope) -> Vec<OutputPolytope> {
    let one = |(row, rhs): (&Vec<f64>, &f64)| OutputPolytope {
        rows: vec![row.iter().map(|c| 0.0 - c).collect()],
        rhs: vec![0.0 - rhs],
    };
    target.rows.iter().zip(&target.rhs).map(one).collect()
}

/// The volume of a union: boxes share none, and what polytopes of one box share is counted once.
fn union(elements: &[Element], region: (&[f64], &[f64])) -> Result<Volume, Error> {
    let is_same_box = |a: &Element, b: &Element| a.lower == b.lower && a.upper == b.upper;
    let mut total = Volume::default();
    for group in elements.chunk_by(is_same_box) {
        if group.iter().all(|element| element.planes.len() <= 1) {
            // Of each only what lies beyond the single plane of every other before it.
            let mut beyond = Vec::new();
            for element in group {
                let more: Vec<&bounds::Plane> = beyond.iter().collect();
                total = sum(total, volume(element, region, &more)?);
                let Some(plane) = element.planes.first() else { break };
                beyond.push(negated(plane));
            }
        } else {
            let mut largest = Volume::default();
            for element in group {
                let own = volume(element, region, &[])?;
                largest = if own.value > largest.value { own } else { largest };
            }
            total = sum(total, largest);
        }
    }
    Ok(total)
}

fn volume(element: &Element, region: (&[f64], &[f64]), more: &[&bounds::Plane]) -> Result<Volume, Error> {
    element.exact_volume(region, more).ok_or_else(|| Error::question("a polytope has too many inputs for its volume"))
}

fn sum(a: Volume, b: Volume) -> Volume {
    Volume { value: a.value + b.value, error: a.error + b.error }
}
