use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::arguments::Settings;
use crate::console;
use crate::patch::outcome::Outcome;
use crate::patch::plan::Plan;
use crate::patch::store::{Shard, Store};
use crate::patch::task::PatchTask;
use crate::patch::{show, sweeping};
use crate::session::Session;
use crate::status::Status;

/// Long sweeps, kept in a folder: they go on where they were stopped, on as many machines as there are.
#[derive(Debug, Clone, Subcommand)]
pub enum SweepCommand {
    /// Answer the questions of a patch job that the store has no answers to yet, or a shard of them
    Run(SweepRun),
    /// Say how far a sweep has come
    Status(SweepStatus),
    /// Bring the answers of several stores into one
    Merge(SweepMerge),
    /// Summarise a sweep: table, pictures, report
    Report(SweepReport),
}

/// A job and where its answers are kept.
#[derive(Debug, Clone, Args)]
pub struct Kept {
    /// The job, as in configs/patch
    #[arg(value_name = "JOB.json")]
    pub job: PathBuf,
    /// The folder of its answers
    #[arg(long, value_name = "STORE")]
    pub store: PathBuf,
    /// The network, instead of the job's
    #[arg(long, value_name = "N")]
    pub network: Option<PathBuf>,
    /// Where the data set is, instead of where the job says
    #[arg(long, visible_alias = "data", value_name = "PATH")]
    pub data_path: Option<PathBuf>,
}

/// Which part to work on.
#[derive(Debug, Clone, Args)]
pub struct SweepRun {
    /// The sweep.
    #[command(flatten)]
    pub kept: Kept,
    /// Only the questions of this part, the i-th of N
    #[arg(long, value_name = "i/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
}

/// Which part to look at.
#[derive(Debug, Clone, Args)]
pub struct SweepStatus {
    /// The sweep.
    #[command(flatten)]
    pub kept: Kept,
    /// Only the questions of this part, the i-th of N
    #[arg(long, value_name = "i/N", value_parser = Shard::parse)]
    pub shard: Option<Shard>,
}

/// Stores.
#[derive(Debug, Clone, Args)]
pub struct SweepMerge {
    /// The folder that gets all answers, its own included
    #[arg(long, value_name = "STORE")]
    pub into: PathBuf,
    /// Folders with answers
    #[arg(value_name = "STORE", required = true)]
    pub stores: Vec<PathBuf>,
}

/// What to make of a sweep.
#[derive(Debug, Clone, Args)]
pub struct SweepReport {
    /// The sweep.
    #[command(flatten)]
    pub kept: Kept,
    /// Where to write a report that any browser opens
    #[arg(long, value_name = "REPORT.html")]
    pub html: Option<PathBuf>,
    /// Where to write every placement as a line of comma-separated values
    #[arg(long, value_name = "TABLE.csv")]
    pub csv: Option<PathBuf>,
    /// Where to draw the map of verdicts and the worst counterexample of every image
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,
}

/// Does one of the commands.
pub fn command(command: SweepCommand, mut settings: Settings) -> Result<Status> {
    match command {
        SweepCommand::Run(SweepRun { kept, shard }) => {
            let (plan, session) = kept.plan(&mut settings)?;
            run(&plan, &kept, shard.unwrap_or_default(), &session)
        }
        SweepCommand::Status(SweepStatus { kept, shard }) => {
            let (plan, session) = kept.plan(&mut settings)?;
            let outcome = kept.outcome(&plan, shard.unwrap_or_default())?;
            session.print(&outcome.text(true));
            session.write_json("sweep status", &outcome)?;
            Ok(if outcome.left() == 0 { Status::Done } else { Status::Unknown })
        }
        SweepCommand::Merge(task) => merge(&task, &Session::new(settings)?),
        SweepCommand::Report(SweepReport { kept, html, csv, pictures }) => {
            let (plan, session) = kept.plan(&mut settings)?;
            let outcome = kept.outcome(&plan, Shard::default())?;
            session.print(&outcome.text(session.is_quiet));
            show(&plan, &outcome, (pictures.as_deref(), html.as_deref()), &session)?;
            if let Some(path) = &csv {
                fs::write(path, outcome.table()).with_context(|| format!("{}: cannot be written", path.display()))?;
                if !session.is_quiet {
                    session.print(&format!("table written to {}\n", path.display()));
                }
            }
            session.write_json("sweep report", &outcome)?;
            Ok(if outcome.left() == 0 { Status::Done } else { Status::Unknown })
        }
    }
}

fn run(plan: &Plan, kept: &Kept, shard: Shard, session: &Session) -> Result<Status> {
    let start = Instant::now();
    let mut store = Store::read(&kept.store)?;
    if store.damaged() > 0 && !session.is_quiet {
        eprintln!("note: {} damaged lines of the store are left out", store.damaged());
    }
    let n = sweeping::run(plan, &mut store, Some(&kept.store), shard, session)?;
    let time_s = start.elapsed().as_secs_f64();
    let outcome = Outcome::new(plan, &store, shard, time_s);
    session.print(&outcome.text(session.is_quiet));
    if !session.is_quiet {
        let rate = n as f64 / time_s.max(1e-9);
        let known = console::count((outcome.placements() - outcome.left()).saturating_sub(n) as u64);
        let n = console::count(n as u64);
        session.print(&format!("{n} placements in this run ({rate:.1}/s), {known} known before\n"));
    }
    session.write_json("sweep run", &outcome)?;
    Ok(if outcome.left() == 0 { Status::Done } else { Status::Unknown })
}

fn merge(task: &SweepMerge, session: &Session) -> Result<Status> {
    let mut all = Store::default();
    for folder in [&task.into].into_iter().chain(&task.stores) {
        if *folder != task.into && !folder.is_dir() {
            bail!("{}: there is no such store", folder.display());
        }
        all.merge(Store::read(folder)?);
    }
    fs::create_dir_all(&task.into).with_context(|| format!("{}: the folder cannot be made", task.into.display()))?;
    let log = crate::patch::store::Log::open(&task.into, Shard::default())?;
    all.write(&task.into.join(Shard::default().log_name()))?;
    drop(log);
    session.print(&format!(
        "{} placements known in {}, {} damaged lines left out\n",
        console::count(all.len() as u64),
        task.into.display(),
        all.damaged()
    ));
    Ok(Status::Done)
}

impl Kept {
    /// The job's questions, and the session.
    fn plan(&self, settings: &mut Settings) -> Result<(Plan, Session)> {
        let task = PatchTask {
            file: Some(self.job.clone()),
            network: self.network.clone(),
            data_path: self.data_path.clone(),
            ..PatchTask::default()
        };
        let task = task.completed(settings)?;
        let session = Session::new(settings.clone())?;
        Ok((Plan::read(task, &session)?, session))
    }

    fn outcome(&self, plan: &Plan, shard: Shard) -> Result<Outcome> {
        Ok(Outcome::new(plan, &Store::read(&self.store)?, shard, 0.0))
    }
}
