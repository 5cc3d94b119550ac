//! `diadem-check [--exact] CERTIFICATE NETWORK PROPERTY`: the checker alone.
//!
//! Exit status: 0 accepted, 1 rejected, 2 error.

use std::path::Path;
use std::process::ExitCode;

use checker::{Arithmetic, Files, Judgement, Progress, Question};

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let n = arguments.len();
    arguments.retain(|argument| argument != "--exact");
    let arithmetic = if arguments.len() < n { Arithmetic::Exact } else { Arithmetic::Outward };
    let [certificate, network, property] = arguments.as_slice() else {
        eprintln!("usage: diadem-check [--exact] CERTIFICATE NETWORK PROPERTY");
        return ExitCode::from(2);
    };
    match judge(Path::new(certificate), Path::new(network), Path::new(property), arithmetic) {
        Ok(Judgement::Accepted(census)) => {
            println!(
                "accepted: {} boxes, {} contexts with {} lemmas, {} pieces",
                census.boxes, census.contexts, census.lemmas, census.pieces
            );
            ExitCode::SUCCESS
        }
        Ok(Judgement::Rejected(rejection)) => {
            println!("rejected: {rejection}");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn judge(certificate: &Path, network: &Path, property: &Path, arithmetic: Arithmetic) -> Result<Judgement, String> {
    let bytes = std::fs::read(certificate).map_err(|error| format!("{}: {error}", certificate.display()))?;
    let files = Files::read(network, property).map_err(|error| error.to_string())?;
    let question = Question::new(&files.network, &files.property).map_err(|error| error.to_string())?;
    checker::check(&question, files.digests, &bytes, arithmetic, &Progress::default())
        .map_err(|error| error.to_string())
}
