use std::panic;
use std::process::{self, ExitCode};

/// How the process ends; the numbers are a contract with other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Verified, or done.
    Done = 0,
    /// Falsified.
    Falsified = 1,
    /// Bad input, or a lost device.
    Error = 2,
    /// A limit was reached, or somebody interrupted.
    Unknown = 3,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// A panic, wherever it happens, ends the process with one short message and the status of an error.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let what = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref().copied());
        let what = what.unwrap_or("no message");
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        eprintln!(
            "error: a mistake inside diadem: {what}{place}; no verdict was reached. Please report it with the input"
        );
        process::exit(Status::Error as i32);
    }));
}
