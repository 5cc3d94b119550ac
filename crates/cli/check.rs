use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use checker::{Arithmetic, Census, Digests, Files, Judgement, Progress, Question, SimilarImages};
use driver::{Interrupt, PreimageCertificate};
use serde::Serialize;

use crate::arguments::CheckTask;
use crate::console;
use crate::patch::{self, Judged};
use crate::preimage::PreimageTask;
use crate::session::Session;
use crate::status::Status;
use crate::{images, input, preimage};

/// What was found, as JSON.
#[derive(Debug, Serialize)]
struct CheckResult {
    /// `accepted` or `rejected`.
    judgement: &'static str,
    /// The part that proves nothing, and why.
    rejection: Option<String>,
    time_s: f64,
    /// Of a preimage.
    #[serde(skip_serializing_if = "Option::is_none")]
    polytopes: Option<u64>,
    /// Of patches: with a proof, and all of the job.
    #[serde(skip_serializing_if = "Option::is_none")]
    placements: Option<[u64; 2]>,
    boxes: u64,
    contexts: u64,
    lemmas: u64,
    pieces: u64,
    /// What wrote it.
    tool: String,
}

/// Checks a certificate.
pub fn run(task: &CheckTask, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let place = || format!("{}", task.certificate.display());
    let bytes = fs::read(&task.certificate).with_context(place)?;
    let header = checker::header(&bytes).with_context(place)?;
    let arithmetic = if task.exact { Arithmetic::Exact } else { Arithmetic::Outward };
    let (mut polytopes, mut placements) = (None, None);
    let judgement = if let Some(problem) = &task.preimage {
        // How near polytopes come is no question here.
        let coverage = Some(1.0);
        let asked = PreimageTask { id: task.id.clone(), mode: task.mode, coverage, ..PreimageTask::default() };
        let (question, network) = preimage::question(problem, &asked)?;
        let certificate = PreimageCertificate::new(&question, Interrupt::default())?;
        let digest = checker::digest(&network)?;
        let check = |progress: &Progress| Ok(certificate.preimage().check(digest, &bytes, arithmetic, progress)?);
        let (judgement, parts) = watched(check, session.is_quiet).with_context(place)?;
        polytopes = Some(parts.iter().filter(|part| !part.is_nothing).count() as u64);
        judgement
    } else if let Some(job) = &task.patch {
        let plan = patch::asked(job, session)?;
        let sweep = plan.sweep(session)?;
        let check = |progress: &Progress| patch::check((&plan, &sweep), &bytes, arithmetic, progress);
        let Judged { judgement, n_placements } = watched(check, session.is_quiet).with_context(place)?;
        placements = Some(n_placements);
        judgement
    } else {
        let (files, set) = files(task)?;
        let Files { network, property, digests } = &files;
        let mut question = Question::new(network, property)?;
        if let Some(set) = &set {
            question = question.over(set)?;
        }
        let check = |progress: &Progress| Ok(checker::check(&question, *digests, &bytes, arithmetic, progress)?);
        watched(check, session.is_quiet).with_context(place)?
    };
    let (census, rejection) = match judgement {
        Judgement::Accepted(census) => (census, None),
        Judgement::Rejected(rejection) => (Census::default(), Some(rejection.to_string())),
    };
    let is_accepted = rejection.is_none();
    let result = CheckResult {
        judgement: if is_accepted { "accepted" } else { "rejected" },
        rejection,
        time_s: start.elapsed().as_secs_f64(),
        polytopes: polytopes.filter(|_| is_accepted),
        placements: placements.filter(|_| is_accepted),
        boxes: census.boxes,
        contexts: census.contexts,
        lemmas: census.lemmas,
        pieces: census.pieces,
        tool: header.tool,
    };
    let what = match &result.rejection {
        Some(rejection) => rejection.clone(),
        None => format!(
            "{}{} boxes, {} contexts with {} lemmas, {} pieces",
            subject(&result),
            console::count(census.boxes),
            console::count(census.contexts),
            console::count(census.lemmas),
            console::count(census.pieces)
        ),
    };
    session.print(&format!("{}  {:.3} s, {what}\n", result.judgement, result.time_s));
    session.write_json("check", &result)?;
    Ok(if result.rejection.is_none() { Status::Done } else { Status::Falsified })
}

/// How much of what was asked has a proof, where there is more than one question.
fn subject(result: &CheckResult) -> String {
    match (result.polytopes, result.placements) {
        (Some(n), _) => format!("{} polytopes: ", console::count(n)),
        (_, Some([n, all])) => format!("{} of {} placements: ", console::count(n), console::count(all)),
        _ => String::new(),
    }
}

/// What the certificate must be about: a property, or images similar to one.
fn files(task: &CheckTask) -> Result<(Files, Option<SimilarImages>)> {
    let path = task.network.as_deref().context("a certificate is about a network (--network)")?;
    if let Some(property) = &task.property {
        return Ok((Files::read(path, property)?, None));
    }
    let (Some(image), Some(class), Some(threshold)) = (&task.image, task.class, task.threshold) else {
        bail!("a certificate is about a property (--property) or about similar images (--image, --class, --threshold)");
    };
    let network = input::network(path)?;
    let set = SimilarImages::new(images::read(image)?.pixels(), threshold)?;
    let property = set.misclassified(class, network.n_outputs())?;
    let digests = Digests { network: checker::digest(path)?, property: set.digest(class) };
    Ok((Files { network, property, digests }, Some(set)))
}

/// Checks on another thread, and says on stderr every now and then how far it has come.
fn watched<T: Send>(check: impl FnOnce(&Progress) -> Result<T> + Send, is_quiet: bool) -> Result<T> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let checking = scope.spawn({
            let progress = &progress;
            move || {
                let judgement = check(progress);
                // Whoever waits has gone only after a panic, which ends the process.
                let _ = done.send(());
                judgement
            }
        });
        while let Err(RecvTimeoutError::Timeout) = is_done.recv_timeout(Duration::from_secs(5)) {
            let (checked, total) = progress.so_far();
            if !is_quiet {
                eprintln!("checked {} of {} leaves and lemmas", console::count(checked), console::count(total));
            }
        }
        checking.join().map_err(|_| anyhow!("the check was cut short"))?
    })
}
