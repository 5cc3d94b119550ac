//! Which images keep their class: one reference, or several.

mod list;
pub mod peer;
mod pictures;
mod plot;
mod result;
mod task;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use driver::Limits;
use driver::ssim::{Ssim, SsimOptions, Ties};
use network::ssim::Similarity;
use network::{Image, Network};

use crate::certificate;
use crate::progress::SearchBar;
use crate::session::Session;
use crate::status::Status;
use crate::{images, input};

use result::{Answer, SsimResult, ThresholdResult};
use task::Query;
pub use task::{SimilarityName, SsimTask};

/// By what share `1 − τ` of the smallest verified threshold may end above the next, unless told.
const TOLERANCE: f64 = 0.01;

/// Answers one question, or one after another.
pub fn run(task: &SsimTask, session: &Session) -> Result<Status> {
    let queries = task.queries()?;
    match queries.as_slice() {
        [query] if !task.is_list() => one(task, query, session),
        _ => list::run(task, &queries, session),
    }
}

fn one(task: &SsimTask, query: &Query, session: &Session) -> Result<Status> {
    let Answered { reference, answer, .. } = answer(task, query, &mut Networks::default(), "", session)?;
    let mut written = Vec::new();
    if let (Some(found), Some(path)) = (answer.counterexample(), &task.counterexample) {
        images::write(path, &found.image(&reference)?)?;
        written.push(format!("counterexample written to {}", path.display()));
    }
    if let (Some(out), Status::Done) = (&task.certificate, answer.status()) {
        written.push(format!("certificate written to {}", out.display()));
    }
    if let Some(folder) = &task.pictures {
        let drawn = pictures::write(folder, &query.id, &reference, &answer)?;
        written.extend(drawn.iter().map(|path| format!("picture written to {}", path.display())));
        if let Some(path) = plot::write(folder, &[(query.id.as_str(), &answer)])? {
            written.push(format!("picture written to {}", path.display()));
        }
    }
    session.print(&answer.text(session.is_quiet));
    written.iter().for_each(|line| session.print(&format!("{line}\n")));
    session.write_json("ssim", &answer)?;
    Ok(answer.status())
}

/// A reference, and what was found.
struct Answered {
    reference: Image,
    answer: Answer,
}

/// Networks that were read, each once.
#[derive(Default)]
struct Networks(HashMap<PathBuf, Arc<Network>>);

fn answer(task: &SsimTask, query: &Query, networks: &mut Networks, label: &str, session: &Session) -> Result<Answered> {
    let similarity = task.similarity();
    // Devices know one window over everything.
    if similarity != Similarity::Global {
        session.use_host();
    }
    let device = session.device()?.clone();
    let start = Instant::now();
    let network = networks.get(&query.network)?;
    let reference = query.image(task.dimension)?;
    check(&network, &reference, query)?;
    similarity.check_shape(reference.shape()).map_err(|error| anyhow!("{}: {error}", query.place()))?;
    let options = SsimOptions {
        limits: Limits { time_s: session.timeout_s, subdomains: task.max_subdomains, ..Limits::default() },
        seed: session.seed,
        interrupt: session.interrupt.clone(),
        ties: if task.ties { Ties::AreViolations } else { Ties::AreTies },
        png_safe: task.png_safe,
        device: Some(device),
    };
    let question = Ssim { network: &network, reference: &reference, class: query.class, similarity };
    let mut bar = SearchBar::new(label, session.timeout_s, session.is_quiet);
    let time_s = || start.elapsed().as_secs_f64();
    let answer = if let Some(threshold) = query.threshold {
        let outcome = match task.certificate_of(&query.id) {
            None => question.verify(threshold, &options, &mut bar).map_err(anyhow::Error::from),
            Some(out) => {
                certificate::of_similar(&question, threshold, &options, (&query.network, &out), session, &mut bar)
            }
        };
        if let Ok(outcome) = &outcome {
            session.note_fallback(outcome.fallback.as_deref());
        }
        outcome.map(|outcome| Answer::Verdict(SsimResult::new(&question, threshold, outcome, time_s())))
    } else {
        let tolerance = task.tolerance.unwrap_or(TOLERANCE);
        let outcome = question.find_threshold(&options, tolerance, &mut bar).map_err(anyhow::Error::from);
        outcome.map(|outcome| Answer::Threshold(ThresholdResult::new(&question, tolerance, outcome, time_s())))
    };
    bar.finish();
    Ok(Answered { reference, answer: answer? })
}

impl Networks {
    fn get(&mut self, path: &Path) -> Result<Arc<Network>> {
        if let Some(network) = self.0.get(path) {
            return Ok(Arc::clone(network));
        }
        let state_dict = path.with_extension("pt");
        if !path.exists() && state_dict.exists() {
            bail!(
                "{}: there is no such network, only the PyTorch model {}: export it as ONNX, or give another with --network",
                path.display(),
                state_dict.display()
            );
        }
        let network = Arc::new(input::network(path)?);
        self.0.insert(path.to_owned(), Arc::clone(&network));
        Ok(network)
    }
}

/// Checks that the network takes such images and has such a class.
fn check(network: &Network, reference: &Image, query: &Query) -> Result<()> {
    let place = query.place();
    images::check_fits(network, reference).map_err(|error| {
        anyhow!("{place}: {error}; give another image, or a job file with `dimension`, which resizes it")
    })?;
    let (class, n) = (query.class, network.n_outputs());
    if n < 2 {
        bail!("{}: a network with one output has no classes", query.network.display());
    }
    if class >= n {
        bail!("{place}: class {class}: the network has the classes 0 to {}", n - 1);
    }
    Ok(())
}
