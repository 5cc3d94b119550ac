use anyhow::{Context, Result};
use driver::preimage::{Audit, AuditOptions};
use serde::Serialize;

use crate::console;
use crate::preimage::stored::Stored;
use crate::preimage::task::CheckPreimageTask;
use crate::session::Session;
use crate::status::Status;

/// What a check saw, as JSON.
#[derive(Debug, Serialize)]
struct CheckResult {
    /// Whether nothing contradicts the polytopes.
    reached: bool,
    points: u64,
    inside: u64,
    facets: u64,
    contradictions: u64,
    /// The first of them, over the inputs that vary.
    contradicting_points: Vec<Vec<f64>>,
}

/// Looks for a point that contradicts the polytopes of a file, with the network itself.
pub fn run(task: &CheckPreimageTask, session: &Session) -> Result<Status> {
    let place = task.preimage.display();
    let stored = Stored::read(&task.preimage)?;
    let problem = stored.problem(task.network.as_deref()).with_context(|| place.to_string())?;
    let options = AuditOptions {
        points: task.points,
        facets: task.facets,
        seed: session.seed,
        interrupt: session.interrupt.clone(),
    };
    let audit = Audit::of(&problem, &stored.elements(), &options).with_context(|| place.to_string())?;
    let is_clean = audit.n_contradictions == 0;
    session.print(&format!(
        "{}  {} points, {} in the preimage, {} on facets: {} contradict the {} polytopes\n",
        if is_clean { "accepted" } else { "rejected" },
        console::count(audit.n_points),
        console::count(audit.n_inside),
        console::count(audit.n_facets),
        console::count(audit.n_contradictions),
        console::count(stored.polytopes.len() as u64),
    ));
    let result = CheckResult {
        reached: is_clean,
        points: audit.n_points,
        inside: audit.n_inside,
        facets: audit.n_facets,
        contradictions: audit.n_contradictions,
        contradicting_points: audit.contradictions,
    };
    session.write_json("preimage check", &result)?;
    Ok(if is_clean { Status::Done } else { Status::Falsified })
}
