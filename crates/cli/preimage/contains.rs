use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::input;
use crate::preimage::result::PolytopeFields;
use crate::preimage::task::ContainsTask;
use crate::session::Session;
use crate::status::Status;

/// Which points lie in which polytope, as JSON.
#[derive(Debug, Serialize)]
struct ContainsResult {
    reached: bool,
    contains: Vec<bool>,
    /// The first polytope that holds each point.
    polytope: Vec<Option<usize>>,
    n_contained: usize,
}

/// What is needed of a preimage file.
#[derive(Debug, Deserialize)]
struct PreimageFile {
    polytopes: Vec<PolytopeFields>,
}

/// Points: a list, or an object that has one.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Points {
    List(Vec<Vec<f64>>),
    Object { points: Vec<Vec<f64>> },
}

/// Says which points lie in a preimage's polytopes; no network is needed.
pub fn run(task: &ContainsTask, session: &Session) -> Result<Status> {
    let polytopes = read(&task.preimage)?;
    let place = task.points.display();
    let points: Points = serde_json::from_str(&input::text(&task.points)?)
        .with_context(|| format!("{place}: expected points, [[...], ...] or {{\"points\": [[...], ...]}}"))?;
    let (Points::List(points) | Points::Object { points }) = points;
    let n = polytopes.first().map(|polytope| polytope.lower.len());
    if let Some((p, point)) = points.iter().enumerate().find(|(_, point)| n.is_some_and(|n| point.len() != n)) {
        bail!("{place}: point {p} has {} values, the preimage {} inputs", point.len(), n.unwrap_or(0));
    }
    let polytope: Vec<Option<usize>> =
        points.iter().map(|x| polytopes.iter().position(|polytope| polytope.contains(x))).collect();
    let contains: Vec<bool> = polytope.iter().map(Option::is_some).collect();
    let n_contained = contains.iter().filter(|is_in| **is_in).count();
    session.print(&format!("{n_contained} of {} points are contained\n", points.len()));
    if !session.is_quiet {
        for (p, found) in polytope.iter().enumerate().take(64) {
            let place = found.map_or("outside".into(), |found| format!("in polytope {found}"));
            session.print(&format!("  point {p}: {place}\n"));
        }
    }
    session.write_json("preimage contains", &ContainsResult { reached: true, contains, polytope, n_contained })?;
    Ok(Status::Done)
}

/// Reads the polytopes of a preimage file.
fn read(path: &Path) -> Result<Vec<PolytopeFields>> {
    let place = path.display();
    let file: PreimageFile = serde_json::from_str(&input::text(path)?)
        .with_context(|| format!("{place}: expected a preimage, as `diadem preimage --out` writes it"))?;
    for (k, polytope) in file.polytopes.iter().enumerate() {
        polytope.check(file.polytopes[0].lower.len()).with_context(|| format!("{place}: polytope {k}"))?;
    }
    Ok(file.polytopes)
}

impl PolytopeFields {
    /// Checks that its parts fit each other and so many inputs.
    pub fn check(&self, n: usize) -> Result<()> {
        let is_sane = self.lower.len() == n
            && self.upper.len() == n
            && self.a.len() == self.b.len()
            && self.a.iter().all(|row| row.len() == n);
        if !is_sane {
            bail!("expected as many coefficients as inputs, and a constant for each row");
        }
        Ok(())
    }

    /// Whether the polytope holds the point.
    pub fn contains(&self, x: &[f64]) -> bool {
        let value = |(a, b): (&Vec<f64>, &f64)| a.iter().zip(x).fold(*b, |sum, (a, x)| sum + a * x);
        x.iter().zip(self.lower.iter().zip(&self.upper)).all(|(x, (l, u))| l <= x && x <= u)
            && self.a.iter().zip(&self.b).all(|row| value(row) >= 0.0)
    }
}
