//! `diadem preimage`: a union of polytopes inside or around a preimage.

mod check;
mod contains;
mod export;
mod picture;
mod plot;
mod problem;
mod result;
mod slice;
mod stored;
mod task;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use driver::Limits;
use driver::preimage::{Cells, Certified, PreimageOptions, PreimageProblem, PreimageSearch, Round};
use driver::{CertifiedPreimage, PreimageCertificate};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::session::Session;
use crate::status::Status;
use crate::{certificate, console};

use picture::{Format, Picture};
use problem::Question;
pub use problem::{ModeName, ProblemFile};
use result::PreimageResult;
use slice::Slice;
use stored::Stored;
use task::CellsName;
pub use task::{PreimageCommand, PreimageTask};

/// A problem of a file, and the path of its network.
pub fn question(path: &Path, task: &PreimageTask) -> Result<(PreimageProblem, PathBuf)> {
    let Question { problem, network, .. } = Question::read(path, task)?;
    Ok((problem, network))
}

/// Approximates a preimage, or uses one that was found before.
pub fn run(task: &PreimageTask, session: &Session) -> Result<Status> {
    match &task.command {
        Some(PreimageCommand::Contains(task)) => contains::run(task, session),
        Some(PreimageCommand::Plot(task)) => plot::run(task, session),
        Some(PreimageCommand::Check(task)) => check::run(task, session),
        Some(PreimageCommand::Export(task)) => export::run(task, session),
        None => approximate(task, session),
    }
}

fn approximate(task: &PreimageTask, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let path = task.problem.as_deref().context("preimage needs a problem file")?;
    let question = Question::read(path, task)?;
    let default = PreimageOptions::default();
    let known = match &task.resume {
        Some(path) => Stored::read(path)?.elements_of(&question.problem).with_context(|| path.display().to_string())?,
        None => Vec::new(),
    };
    let options = PreimageOptions {
        coverage: question.coverage,
        limits: Limits { time_s: session.timeout_s, subdomains: task.max_subdomains, ..Limits::default() },
        seed: session.seed,
        interrupt: session.interrupt.clone(),
        n_samples: task.search_samples,
        trim: task.trim,
        cells: match task.cells {
            None | Some(CellsName::Auto) => Cells::Auto,
            Some(CellsName::Prefer) => Cells::Preferred,
            Some(CellsName::Always) => Cells::Always,
            Some(CellsName::Never) => Cells::Never,
        },
        n_report: task.report_samples.unwrap_or(default.n_report),
        known,
    };
    if task.certify {
        Certified::check(&question.problem)?;
    }
    let certificate = task.certificate.as_deref().map(|out| {
        let certificate = PreimageCertificate::new(&question.problem, session.interrupt.clone())?;
        anyhow::Ok((out, certificate))
    });
    let certificate = certificate.transpose()?;
    let search = PreimageSearch::new(&question.problem, session.device()?)?;
    // Mistakes are told before the search, not after it.
    let slice = match &task.plot {
        Some(picture) => {
            Format::of(picture)?;
            Some(Slice::new(task.axes.as_deref(), &task.at, &question.problem.region, search.free())?)
        }
        None => None,
    };
    let bar = bar(session.is_quiet);
    let outcome = search.run(&options, &mut |round: Round| {
        let Round { coverage, polytopes, .. } = round;
        bar.set_message(format!("coverage {coverage:.4}, {} polytopes", console::count(polytopes as u64)));
        if session.is_verbose && bar.is_hidden() {
            eprintln!("{:.3} s: coverage {coverage:.4}, {polytopes} polytopes", round.time_s);
        }
    });
    bar.finish_and_clear();
    let mut outcome = outcome?;
    let mut note = String::new();
    if let Some((out, certificate)) = &certificate {
        let certified = certificate::of_preimage(certificate, &outcome, (&question.network, out), session.device()?)?;
        let n_found = outcome.elements.len();
        note = said(&certified, n_found, out);
        outcome = search.measured(outcome, certified.elements, &options)?;
    }
    let mut result = PreimageResult::new(&question, &outcome, session.seed, start.elapsed().as_secs_f64());
    if task.certify {
        result.certify(&Certified::of(&question.problem, &outcome, session.device()?, &options)?);
    }
    session.print(&result.text(session.is_quiet));
    if !session.is_quiet {
        session.print(&note);
    }
    if let Some(out) = &task.out {
        write(out, &result)?;
        if !session.is_quiet {
            session.print(&format!("polytopes written to {}\n", out.display()));
        }
    }
    if let (Some(picture), Some(slice)) = (&task.plot, slice) {
        let drawn = Picture {
            search: &search,
            region: &question.problem.region,
            slice,
            elements: &outcome.elements,
            rounds: &outcome.rounds,
            target: Some(question.coverage),
        };
        drawn.write(picture)?;
        if !session.is_quiet {
            session.print(&format!("picture written to {}\n", picture.display()));
        }
    }
    session.write_json("preimage", &result)?;
    Ok(if outcome.is_reached { Status::Done } else { Status::Unknown })
}

fn said(certified: &CertifiedPreimage, n_found: usize, out: &Path) -> String {
    let n = certified.elements.len().min(n_found);
    let empty = match certified.n_empty {
        0 => String::new(),
        n => format!(", and {} boxes without", console::count(n as u64)),
    };
    let (n, n_found, out) = (console::count(n as u64), console::count(n_found as u64), out.display());
    format!("certificate of {n} of {n_found} polytopes{empty} written to {out}\n")
}

fn write(path: &Path, result: &PreimageResult) -> Result<()> {
    let text = serde_json::to_string(result)? + "\n";
    fs::write(path, text).with_context(|| format!("{}: the polytopes cannot be written", path.display()))
}

fn bar(is_quiet: bool) -> ProgressBar {
    let target = if is_quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is right"));
    bar.enable_steady_tick(std::time::Duration::from_millis(200));
    bar
}
