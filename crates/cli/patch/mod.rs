//! `diadem patch` and `diadem sweep`: for which placements can no contents of a patch change a class?

mod certificate;
mod heat;
mod outcome;
mod plan;
mod record;
mod report;
mod scenes;
mod store;
mod sweep;
mod sweeping;
mod task;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use crate::console;
use crate::session::Session;
use crate::status::Status;

pub use certificate::{Judged, asked, check};
use outcome::Outcome;
use plan::Plan;
use store::{Shard, Store};
pub use sweep::{SweepCommand, command};
pub use task::PatchTask;

/// Sweeps over the placements of a job; nothing is kept but what is asked for.
pub fn run(task: PatchTask, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let (pictures, report, certificate) = (task.pictures.clone(), task.report.clone(), task.certificate.clone());
    let plan = Plan::read(task, session)?;
    let mut store = Store::default();
    sweeping::run(&plan, &mut store, None, Shard::default(), session)?;
    let outcome = Outcome::new(&plan, &store, Shard::default(), start.elapsed().as_secs_f64());
    session.print(&outcome.text(session.is_quiet));
    if let Some(out) = &certificate {
        let [n, n_verified] = certificate::write(&plan, &store, out, session)?.map(|n| console::count(n as u64));
        if !session.is_quiet {
            session.print(&format!(
                "certificate of {n} of {n_verified} verified placements written to {}\n",
                out.display()
            ));
        }
    }
    show(&plan, &outcome, (pictures.as_deref(), report.as_deref()), session)?;
    session.write_json("patch", &outcome)?;
    Ok(outcome.status())
}

/// Draws and reports where that is asked for.
fn show(
    plan: &Plan,
    outcome: &Outcome,
    (pictures, report): (Option<&Path>, Option<&Path>),
    session: &Session,
) -> Result<()> {
    let mut written: Vec<PathBuf> = Vec::new();
    if let Some(folder) = pictures {
        written.extend(heat::write(folder, plan, outcome)?);
    }
    let mut said: Vec<String> = written.iter().map(|path| format!("picture written to {}\n", path.display())).collect();
    if let Some(path) = report {
        report::write(path, plan, outcome)?;
        said.push(format!("report written to {}\n", path.display()));
    }
    if !session.is_quiet {
        said.iter().for_each(|line| session.print(line));
    }
    Ok(())
}
