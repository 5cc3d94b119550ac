//! What the command line reads, from bytes and no further than they go: for tests that feed it anything.
//!
//! Every function returns what a user would be told. None opens a file that the bytes name.

use std::io::Cursor;
use std::path::Path;

use network::{Image, Network};
use serde_json::{Map, Value};

use crate::arguments::Settings;
use crate::job::Job;
#[cfg(feature = "train")]
use crate::peer_params::PeerParams;
use crate::preimage::PreimageTask;
use crate::preimage::ProblemFile;
use crate::ssim::peer;
#[cfg(feature = "train")]
use crate::train_job::TrainJob;
use crate::{console, images};

/// Where the bytes pretend to be.
const PLACE: &str = "untrusted";

/// Reads a job file of any kind, and checks what can be checked without the files that it names.
///
/// # Errors
/// With the message for the user.
pub fn job(text: &str) -> Result<(), String> {
    let mut settings = Settings { quiet: true, ..Settings::default() };
    let read = || -> anyhow::Result<()> {
        match Job::parse(text, Path::new(PLACE), &mut settings)? {
            Job::Ssim(task) => {
                for query in task.queries()?.iter().filter(|query| query.is_inline()) {
                    query.image(None)?;
                }
            }
            #[cfg(feature = "train")]
            Job::Train(job) => job.check()?,
            _ => {}
        }
        Ok(())
    };
    told(read)
}

/// Reads a parameter file of *semantic-robustness-verification*, as `ssim` and as `train` do.
///
/// # Errors
/// With the message for the user.
pub fn peer_params(text: &str) -> Result<(), String> {
    let read = || -> anyhow::Result<()> {
        let fields: Map<String, Value> = serde_json::from_str(text)?;
        let mut settings = Settings { quiet: true, ..Settings::default() };
        let as_ssim = peer::task(fields.clone(), Path::new(PLACE), &mut settings);
        #[cfg(feature = "train")]
        TrainJob::of_peer(&PeerParams::of_fields(fields, text, Path::new(PLACE))?)?.check()?;
        as_ssim?.queries()?;
        Ok(())
    };
    told(read)
}

/// Reads a preimage problem and makes it one over `network`, whatever network it names; of a list, the first with the id `1`.
///
/// # Errors
/// With the message for the user.
pub fn preimage_problem(text: &str, network: &Network) -> Result<(), String> {
    let read = || -> anyhow::Result<()> {
        let file = ProblemFile::parse(text, Path::new(PLACE), Some("1"))?;
        file.over(network.clone(), &PreimageTask::default())?;
        Ok(())
    };
    told(read)
}

/// Reads a PNG or JPEG.
///
/// # Errors
/// With the message for the user.
pub fn picture(bytes: &[u8]) -> Result<Image, String> {
    told(|| images::decode(Cursor::new(bytes), Path::new(PLACE)))
}

fn told<T>(read: impl FnOnce() -> anyhow::Result<T>) -> Result<T, String> {
    read().map_err(|error| console::message(&error))
}
