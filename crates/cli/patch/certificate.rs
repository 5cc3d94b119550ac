//! `patch --certificate`: a bundle with a proof for each verified placement.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use checker::certificate::{Bundle, BundleWriter, Digest, Evaluation};
use checker::{Arithmetic, Census, Digests, Judgement, Progress, Question, Rejection, check_records};
use driver::patch::PatchSweep;
use rayon::prelude::*;

use crate::arguments::Settings;
use crate::certificate::{Growing, header};
use crate::patch::PatchTask;
use crate::patch::plan::{Key, Plan};
use crate::patch::store::Store;
use crate::session::Session;

/// What was found of a bundle.
pub struct Judged {
    /// Accepted, or the first placement of which nothing is proved.
    pub judgement: Judgement,
    /// Placements with an accepted proof, and all that were asked for.
    pub n_placements: [u64; 2],
}

/// Writes proofs of the verified placements; says how many of how many.
pub fn write(plan: &Plan, store: &Store, out: &Path, session: &Session) -> Result<[usize; 2]> {
    let sweep = plan.sweep(session)?;
    let limits = plan.options(session).limits;
    let tasks = plan.tasks.iter().zip(&plan.keys);
    let verified: Vec<_> =
        tasks.filter(|(_, key)| store.get(**key).is_some_and(|record| record.verdict == "verified")).collect();
    let prove = |(task, key): &(&driver::patch::Task, &Key)| -> Result<Option<([u8; 16], Vec<u8>)>> {
        let claim = sweep.claim(&plan.scenes[task.scene], task)?;
        Ok(claim.certified(&limits)?.map(|records| (key.0.to_be_bytes(), records)))
    };
    let digests = Digests { network: checker::digest(plan.network_path()?)?, property: digest(plan) };
    let header = header("patch", Evaluation::Real, session.device()?, digests);
    let growing = Growing::new(out);
    let cannot = growing.cannot();
    let write = |sink| -> Result<usize> {
        let mut writer = BundleWriter::new(sink, &header)?;
        let mut n = 0;
        // Proofs of some at a time are held, then written.
        for chunk in verified.chunks(4096) {
            let proved: Result<Vec<_>> = chunk.par_iter().with_max_len(1).map(prove).collect();
            for (key, records) in proved?.into_iter().flatten() {
                writer.item(&key, &records)?;
                n += 1;
            }
        }
        writer.finish()?;
        Ok(n)
    };
    let written = growing.sink().and_then(write);
    growing.name(written.is_ok())?;
    Ok([written.context(cannot)?, verified.len()])
}

/// Reads the job that a bundle is about.
pub fn asked(job: &Path, session: &Session) -> Result<Plan> {
    let mut settings = Settings { quiet: true, ..Settings::default() };
    let task = PatchTask { file: Some(job.to_owned()), ..PatchTask::default() }.completed(&mut settings)?;
    Plan::read(task, session)
}

/// Checks a bundle against a job.
pub fn check(
    (plan, sweep): (&Plan, &PatchSweep),
    bytes: &[u8],
    arithmetic: Arithmetic,
    progress: &Progress,
) -> Result<Judged> {
    let bundle = Bundle::read(bytes, "patch")?;
    let digests = Digests { network: checker::digest(plan.network_path()?)?, property: digest(plan) };
    digests.are_named_by(&bundle.header)?;
    if bundle.header.evaluation != Evaluation::Real {
        bail!("nothing is certified of patches by evaluations in f32");
    }
    let places: HashMap<Key, usize> = plan.keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
    let judge = |(what, records): &(&[u8], &[u8])| -> Result<(usize, Judgement)> {
        let key = <[u8; 16]>::try_from(*what).ok().map(|bytes| Key(u128::from_be_bytes(bytes)));
        let place =
            key.and_then(|key| places.get(&key)).context("a proof of a placement that the job does not have")?;
        let task = &plan.tasks[*place];
        let claim = sweep.claim(&plan.scenes[task.scene], task)?;
        let question = Question::new(&claim.network, &claim.property)?;
        Ok((*place, check_records(&question, records, arithmetic, progress)?))
    };
    let judged: Vec<Result<(usize, Judgement)>> = bundle.items.par_iter().with_max_len(1).map(judge).collect();
    let mut census = Census::default();
    let mut is_proved = vec![false; plan.tasks.len()];
    for judged in judged {
        match judged? {
            (place, Judgement::Accepted(found)) => {
                is_proved[place] = true;
                census.add(found);
            }
            (place, Judgement::Rejected(Rejection { place: at, problem })) => {
                let task = &plan.tasks[place];
                let at = format!("placement {:?} of image {}, {at}", task.placement, plan.ids[task.scene]);
                let judgement = Judgement::Rejected(Rejection { place: at, problem });
                return Ok(Judged { judgement, n_placements: [0, plan.tasks.len() as u64] });
            }
        }
    }
    let n = is_proved.iter().filter(|is_proved| **is_proved).count() as u64;
    Ok(Judged { judgement: Judgement::Accepted(census), n_placements: [n, plan.tasks.len() as u64] })
}

/// A digest of all questions of a job.
fn digest(plan: &Plan) -> Digest {
    let bytes: Vec<u8> = plan.keys.iter().flat_map(|key| key.0.to_be_bytes()).collect();
    Digest::of(&bytes)
}
