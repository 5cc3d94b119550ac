use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bounds::{Ascent, BoundEngine, Method, Optimised, Recipe, Wanted};
use network::{BoxRegion, Property};
use serde::Serialize;

use crate::arguments::{BoundsTask, MethodName};
use crate::session::Session;
use crate::status::Status;
use crate::{console, input};

/// Bounds as JSON; an end that could not be bounded is `null`.
#[derive(Debug, Serialize)]
struct BoundsResult {
    reached: bool,
    method: &'static str,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// What rounding may have cost each output's ends (the larger of the two), already inside.
    slack: Vec<f64>,
    time_s: f64,
    n_rows: u64,
    n_unstable: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
}

/// Bounds every output over a box.
pub fn run(task: &BoundsTask, session: &Session) -> Result<Status> {
    let (network, region) = match (&task.property, &task.region) {
        (Some(path), None) => {
            let (network, property) = input::question(&task.network, path)?;
            let regions = regions(&property);
            if regions.len() > 1 && !session.is_quiet {
                eprintln!("note: {}: the first of {} boxes is bounded", path.display(), regions.len());
            }
            let first = regions.first().copied();
            let first = first.cloned().with_context(|| format!("{}: the property has no box", path.display()))?;
            (network, first)
        }
        (None, Some(path)) => input::network_and_region(&task.network, path)?,
        _ => bail!("bounds need either a property or a box"),
    };
    let device = session.device()?;
    let start = Instant::now();
    let is_optimised = task.method == MethodName::AlphaCrown;
    let optimised = if is_optimised { Optimised::Everything } else { Optimised::Nothing };
    let recipe = Recipe { method: task.method.method(), both_ends: true, optimised, ..Recipe::default() };
    let network = Arc::new(network.simplify()?);
    let engine = BoundEngine::new(device, Arc::clone(&network), &region, recipe)?;
    let mut bounds = engine.bound(engine.region(), Wanted::default())?;
    if recipe.method == Method::Crown {
        // Tighter intermediate bounds may turn an adaptive slope and widen an output: the plain pass bounds that one better.
        let plain = BoundEngine::new(device, network, &region, Recipe { keep_interval: false, ..recipe })?;
        bounds = bounds.tightened_by(&plain.bound(plain.region(), Wanted::default())?);
    }
    if is_optimised {
        bounds = bounds.tightened_by(&engine.bound_optimised(engine.region(), Ascent::default())?);
    }
    session.note_fallback(engine.fallback());
    let slack = bounds.lower_slack.iter().zip(&bounds.upper_slack).map(|(lower, upper)| lower.max(*upper)).collect();
    let result = BoundsResult {
        reached: true,
        method: task.method.name(),
        lower: bounds.lower,
        upper: bounds.upper,
        slack,
        time_s: start.elapsed().as_secs_f64(),
        n_rows: bounds.n_rows,
        n_unstable: bounds.n_unstable,
        fallback: engine.fallback().map(str::to_owned),
    };
    session.print(&text(&result, session.is_quiet));
    session.write_json("bounds", &result)?;
    Ok(Status::Done)
}

/// The different boxes of a property, in order.
pub fn regions(property: &Property) -> Vec<&BoxRegion> {
    let mut regions: Vec<&BoxRegion> = Vec::new();
    for disjunct in &property.disjuncts {
        if !regions.contains(&&disjunct.region) {
            regions.push(&disjunct.region);
        }
    }
    regions
}

fn text(result: &BoundsResult, is_quiet: bool) -> String {
    /// More outputs than anybody reads.
    const MOST_LINES: usize = 64;
    let mut text = format!("{:>7}  {:>13}  {:>13}  {:>10}\n", "output", "lower", "upper", "slack");
    let n = result.lower.len();
    for i in 0..n.min(MOST_LINES) {
        let [lower, upper, slack] = [result.lower[i], result.upper[i], result.slack[i]].map(console::number);
        let _ = writeln!(text, "{i:>7}  {lower:>13}  {upper:>13}  {slack:>10}");
    }
    if n > MOST_LINES {
        let _ = writeln!(text, "    ...  {} more: see --json", n - MOST_LINES);
    }
    if !is_quiet {
        let BoundsResult { method, n_rows, n_unstable, time_s, .. } = result;
        let (unstable, rows) = (console::count(*n_unstable), console::count(*n_rows));
        let _ = writeln!(text, "{method}: {unstable} undecided neurons, {rows} backward rows, {time_s:.3} s");
    }
    text
}
