//! The command line of Diadem: words, files, progress and exit statuses; every algorithm is in the libraries.

mod arguments;
mod ball;
mod bench;
mod bounds;
mod certificate;
#[cfg(feature = "train")]
mod certify;
mod check;
mod console;
mod counterexample;
mod devices;
mod draw;
mod images;
mod input;
mod inspect;
mod instances;
mod job;
mod patch;
#[cfg(feature = "train")]
mod peer_params;
mod preimage;
mod progress;
#[cfg(feature = "train")]
mod repair;
mod results;
#[cfg(feature = "train")]
mod run_folder;
#[cfg(feature = "train")]
mod samples;
mod session;
mod ssim;
mod status;
mod tally;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "train")]
mod train_job;
#[doc(hidden)]
pub mod untrusted;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Arguments, Bench, Command, Settings};
use job::Job;
use session::Session;
use status::Status;

/// Does what the command line says.
pub fn main() -> ExitCode {
    status::install_panic_hook();
    quieten_drivers();
    let Arguments { command, settings } = Arguments::parse();
    match run(command, settings) {
        Ok(status) => status.into(),
        Err(error) => {
            console::error(&error);
            Status::Error.into()
        }
    }
}

fn run(command: Command, mut settings: Settings) -> Result<Status> {
    let job = match command {
        Command::Devices => return devices::run(&Session::new(settings)?),
        Command::Inspect(task) => return inspect::run(&task, &Session::new(settings)?),
        Command::Check(task) => return check::run(&task, &Session::new(settings)?),
        Command::Schema(task) => return write_schemas(&task.folder),
        Command::Verify(task) => Job::Verify(task),
        Command::Bounds(task) => Job::Bounds(task),
        Command::Sweep(command) => return patch::command(command, settings),
        Command::Preimage(task) => Job::Preimage(task),
        Command::Patch(task) => Job::Patch(Box::new(task.completed(&mut settings)?)),
        Command::Bench(Bench::Bounds(task)) => Job::Bench(task),
        Command::Ssim(task) => Job::Ssim(task.completed(&mut settings)?),
        #[cfg(feature = "train")]
        Command::Train(task) => Job::Train(Box::new(train::read(&task, &mut settings)?)),
        #[cfg(feature = "train")]
        Command::Repair(task) => {
            let run = repair::read(&task, &mut settings)?;
            return repair::run(run, &Session::new(settings)?);
        }
        Command::Run(task) => Job::read(&task.job, &mut settings)?,
    };
    let session = Session::new(settings)?;
    match job {
        Job::Verify(task) => verify::run(&task, &session),
        Job::Bounds(task) => bounds::run(&task, &session),
        Job::Preimage(task) => preimage::run(&task, &session),
        Job::Patch(task) => patch::run(*task, &session),
        Job::Bench(task) => bench::run(&task, &session),
        Job::Ssim(task) => ssim::run(&task, &session),
        #[cfg(feature = "train")]
        Job::Train(job) => train::run(&job, &session),
        #[cfg(feature = "train")]
        Job::Repair(job) => repair::run(repair::RepairRun { job: *job, folder: None }, &session),
    }
}

/// Names a folder for drivers that complain on stderr, in words that read like ours, where the environment has none.
fn quieten_drivers() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var("XDG_RUNTIME_DIR", std::env::temp_dir()) };
    }
}

/// Writes the schema of every kind of job file.
fn write_schemas(folder: &Path) -> Result<Status> {
    for (name, schema) in job::schemas() {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    }
    Ok(Status::Done)
}
