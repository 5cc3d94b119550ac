use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bounds::Device;
use checker::certificate::{Evaluation, FORMAT, Header};
use checker::{Digests, SimilarImages};
use driver::preimage::PreimageOutcome;
use driver::ssim::{Ssim, SsimOptions, SsimOutcome, SsimVerdict};
use driver::{CertifiedPreimage, Outcome, PreimageCertificate, Recorder, Verdict, Verify, VerifyOptions};

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
    let digests = Digests { network: checker::digest(network)?, property: checker::digest(property)? };
    let header = header("verify", evaluation, verify.device, digests);
    let Some(out) = out else {
        // The checker's functions decide; nobody wants to read what they said.
        let mut recorder = Recorder::new(verify.network, verify.property, io::sink(), &header)?;
        let outcome = verify.run_recorded(options, bar, &mut recorder)?;
        session.note_fallback(outcome.fallback.as_deref());
        return Ok(outcome);
    };
    let growing = Growing::new(out);
    let mut recorder = Recorder::new(verify.network, verify.property, growing.sink()?, &header)?;
    let searched = verify.run_recorded(options, bar, &mut recorder);
    let is_proof = matches!(&searched, Ok(Outcome { verdict: Verdict::Verified, .. }));
    let written = growing.finish(recorder, is_proof);
    let outcome = searched?;
    session.note_fallback(outcome.fallback.as_deref());
    written?;
    Ok(outcome)
}

/// As [`decide`], of all images similar to a reference.
pub fn of_similar(
    ssim: &Ssim,
    threshold: f64,
    options: &SsimOptions,
    (network, out): (&Path, &Path),
    session: &Session,
    bar: &mut SearchBar,
) -> Result<SsimOutcome> {
    ssim.check(threshold)?;
    let set = SimilarImages::new(ssim.reference.pixels(), threshold)?;
    let property = set.misclassified(ssim.class, ssim.network.n_outputs())?;
    let digests = Digests { network: checker::digest(network)?, property: set.digest(ssim.class) };
    let device = options.device.as_ref().unwrap_or(&Device::Host);
    let header = header("ssim", Evaluation::Real, device, digests);
    let growing = Growing::new(out);
    let mut recorder = Recorder::new(ssim.network, &property, growing.sink()?, &header)?.over(&set)?;
    let searched = ssim.verify_recorded(threshold, options, bar, &mut recorder);
    let is_proof = matches!(&searched, Ok(SsimOutcome { verdict: SsimVerdict::Verified, .. }));
    let written = growing.finish(recorder, is_proof);
    let outcome = searched?;
    session.note_fallback(outcome.fallback.as_deref());
    written?;
    Ok(outcome)
}

/// Writes a certificate of the polytopes that were found, as far as the checker accepts them.
pub fn of_preimage(
    certificate: &PreimageCertificate,
    found: &PreimageOutcome,
    (network, out): (&Path, &Path),
    device: &Device,
) -> Result<CertifiedPreimage> {
    let digests = Digests { network: checker::digest(network)?, property: certificate.preimage().digest() };
    let header = header("preimage", Evaluation::Real, device, digests);
    let growing = Growing::new(out);
    let sink = growing.sink()?;
    let certified = certificate.write((&found.elements, &found.free), &header, sink);
    let cannot = growing.cannot();
    growing.name(certified.is_ok())?;
    certified.with_context(|| cannot)
}

/// The header of a certificate of this job.
pub fn header(job: &str, evaluation: Evaluation, device: &Device, digests: Digests) -> Header {
    let device = DeviceFields::of(device);
    Header {
        format: FORMAT,
        job: job.into(),
        evaluation,
        tool: concat!("diadem ", env!("CARGO_PKG_VERSION")).into(),
        device: format!("{} ({})", device.name, device.backend),
        arithmetic: "searched in f32 and f64, accepted in f64 rounded outward".into(),
        network: digests.network,
        property: digests.property,
    }
}

/// A certificate's file while it is written.
pub struct Growing {
    partial: PathBuf,
    out: PathBuf,
}

impl Growing {
    /// Beside the file that it is to become.
    pub fn new(out: &Path) -> Self {
        let mut name = out.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        Self { partial: out.with_file_name(name), out: out.to_owned() }
    }

    /// What to say where it fails.
    pub fn cannot(&self) -> String {
        format!("{}: the certificate cannot be written", self.out.display())
    }

    /// Where to write.
    pub fn sink(&self) -> Result<BufWriter<File>> {
        Ok(BufWriter::new(File::create(&self.partial).with_context(|| self.cannot())?))
    }

    /// Gives it its name if it is a proof, else removes it.
    fn finish(self, recorder: Recorder, is_proof: bool) -> Result<()> {
        let written = recorder.finish();
        let cannot = self.cannot();
        self.name(is_proof && written.is_ok())?;
        if is_proof {
            written.with_context(|| format!("the property is verified, but {cannot}"))?;
        }
        Ok(())
    }

    /// Gives it its name if it is whole, else removes it.
    pub fn name(self, is_whole: bool) -> Result<()> {
        if is_whole {
            return fs::rename(&self.partial, &self.out).with_context(|| self.cannot());
        }
        // What is left of it proves nothing.
        let _ = fs::remove_file(&self.partial);
        Ok(())
    }
}
