use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use checker::certificate::{Evaluation, FORMAT, Header};
use driver::{Outcome, Recorder, Verdict, Verify, VerifyOptions};

use crate::progress::SearchBar;
use crate::session::{DeviceFields, Session};

/// Decides a question by what the checker accepts, and writes the certificate of it, if one is wanted. It appears under its name only
/// once it is whole.
pub fn decide(
    verify: &Verify,
    options: &VerifyOptions,
    (network, property): (&Path, &Path),
    (out, evaluation): (Option<&Path>, Evaluation),
    session: &Session,
    bar: &mut SearchBar,
) -> Result<Outcome> {
    let device = DeviceFields::of(verify.device);
    let header = Header {
        format: FORMAT,
        job: "verify".into(),
        evaluation,
        tool: concat!("diadem ", env!("CARGO_PKG_VERSION")).into(),
        device: format!("{} ({})", device.name, device.backend),
        arithmetic: "searched in f32 and f64, accepted in f64 rounded outward".into(),
        network: checker::digest(network)?,
        property: checker::digest(property)?,
    };
    let Some(out) = out else {
        // The checker's functions decide; nobody wants to read what they said.
        let mut recorder = Recorder::new(verify.network, verify.property, io::sink(), &header)?;
        let outcome = verify.run_recorded(options, bar, &mut recorder)?;
        session.note_fallback(outcome.fallback.as_deref());
        return Ok(outcome);
    };
    let partial = partial(out);
    let cannot = || format!("{}: the certificate cannot be written", out.display());
    let file = File::create(&partial).with_context(cannot)?;
    let mut recorder = Recorder::new(verify.network, verify.property, BufWriter::new(file), &header)?;
    let searched = verify.run_recorded(options, bar, &mut recorder);
    let written = recorder.finish();
    let is_proof = matches!(&searched, Ok(Outcome { verdict: Verdict::Verified, .. }));
    if is_proof && written.is_ok() {
        fs::rename(&partial, out).with_context(cannot)?;
    } else {
        // What is left of it proves nothing.
        let _ = fs::remove_file(&partial);
    }
    let outcome = searched?;
    session.note_fallback(outcome.fallback.as_deref());
    if is_proof {
        written.with_context(|| format!("the property is verified, but {}", cannot()))?;
    }
    Ok(outcome)
}

/// Where a certificate grows.
fn partial(out: &Path) -> PathBuf {
    let mut name = out.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    out.with_file_name(name)
}
