use anyhow::{Context, Result};
use bounds::Device;
use driver::preimage::{PreimageSearch, Round};

use crate::preimage::picture::{Format, Picture};
use crate::preimage::slice::Slice;
use crate::preimage::stored::Stored;
use crate::preimage::task::PlotTask;
use crate::session::Session;
use crate::status::Status;

/// Draws a file's polytopes over the true preimage.
pub fn run(task: &PlotTask, session: &Session) -> Result<Status> {
    Format::of(&task.out)?;
    let place = || task.preimage.display().to_string();
    let stored = Stored::read(&task.preimage)?;
    let problem = stored.problem(task.network.as_deref()).with_context(place)?;
    let slice = Slice::new(task.axes.as_deref(), &task.at, &problem.region, &stored.free_inputs)?;
    let search = PreimageSearch::new(&problem, &Device::Host).with_context(place)?;
    stored.check_free(search.free()).with_context(place)?;
    let rounds: Vec<Round> = stored.rounds();
    let elements = stored.elements();
    let picture = Picture {
        search: &search,
        region: &problem.region,
        slice,
        elements: &elements,
        rounds: &rounds,
        target: stored.coverage_target,
    };
    picture.write(&task.out)?;
    if !session.is_quiet {
        session.print(&format!("picture written to {}\n", task.out.display()));
    }
    Ok(Status::Done)
}
