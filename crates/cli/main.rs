//! The command line of Diadem: words, files, progress and exit statuses; every algorithm is in the libraries.

mod arguments;
mod console;
mod counterexample;
mod input;
mod instances;
mod progress;
mod results;
mod session;
mod status;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use session::Session;
use status::Status;

fn main() -> ExitCode {
    status::install_panic_hook();
    let Arguments { command, settings } = Arguments::parse();
    match run(command, settings) {
        Ok(status) => status.into(),
        Err(error) => {
            console::error(&error);
            Status::Error.into()
        }
    }
}

fn run(command: Command, settings: arguments::Settings) -> anyhow::Result<Status> {
    match command {
        Command::Verify(task) => verify::run(&task, &Session::new(settings)?),
    }
}
