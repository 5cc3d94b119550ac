use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use checker::{Census, Digests, Files, Judgement, Progress, Question, SimilarImages};
use serde::Serialize;

use crate::arguments::CheckTask;
use crate::console;
use crate::session::Session;
use crate::status::Status;
use crate::{images, input};

/// What was found, as JSON.
#[derive(Debug, Serialize)]
struct CheckResult {
    /// `accepted` or `rejected`.
    judgement: &'static str,
    /// The part that proves nothing, and why.
    rejection: Option<String>,
    time_s: f64,
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
    let (files, set) = files(task)?;
    let Files { network, property, digests } = &files;
    let mut question = Question::new(network, property)?;
    if let Some(set) = &set {
        question = question.over(set)?;
    }
    let judgement = watched(&question, *digests, &bytes, session.is_quiet).with_context(place)?;
    let (census, rejection) = match judgement {
        Judgement::Accepted(census) => (census, None),
        Judgement::Rejected(rejection) => (Census::default(), Some(rejection.to_string())),
    };
    let result = CheckResult {
        judgement: if rejection.is_none() { "accepted" } else { "rejected" },
        rejection,
        time_s: start.elapsed().as_secs_f64(),
        boxes: census.boxes,
        contexts: census.contexts,
        lemmas: census.lemmas,
        pieces: census.pieces,
        tool: header.tool,
    };
    let what = match &result.rejection {
        Some(rejection) => rejection.clone(),
        None => format!(
            "{} boxes, {} contexts with {} lemmas, {} pieces",
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

/// What the certificate must be about: a property, or images similar to one.
fn files(task: &CheckTask) -> Result<(Files, Option<SimilarImages>)> {
    if let Some(property) = &task.property {
        return Ok((Files::read(&task.network, property)?, None));
    }
    let (Some(image), Some(class), Some(threshold)) = (&task.image, task.class, task.threshold) else {
        bail!("a certificate is about a property (--property) or about similar images (--image, --class, --threshold)");
    };
    let network = input::network(&task.network)?;
    let set = SimilarImages::new(images::read(image)?.pixels(), threshold)?;
    let property = set.misclassified(class, network.n_outputs())?;
    let digests = Digests { network: checker::digest(&task.network)?, property: set.digest(class) };
    Ok((Files { network, property, digests }, Some(set)))
}

/// Checks on another thread, and says on stderr every now and then how far it has come.
fn watched(question: &Question, digests: Digests, bytes: &[u8], is_quiet: bool) -> Result<Judgement> {
    let progress = Progress::default();
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel();
        let check = scope.spawn({
            let progress = &progress;
            move || {
                let judgement = checker::check(question, digests, bytes, progress);
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
        let judgement = check.join().map_err(|_| anyhow!("the check was cut short"))?;
        Ok(judgement?)
    })
}
