use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::console;
use crate::draw::panels_as_png;
use crate::patch::heat;
use crate::patch::outcome::{ImageResult, Outcome, place};
use crate::patch::plan::Plan;

/// Most placements that are listed one by one: those that are not verified come first.
const MOST_ROWS: usize = 5_000;

/// How the report looks.
const STYLE: &str = include_str!("report.css");
/// How its tables are sorted.
const SCRIPT: &str = include_str!("report.js");

/// Writes everything that is known of a sweep as one file that any browser opens, without a network.
pub fn write(path: &Path, plan: &Plan, outcome: &Outcome) -> Result<()> {
    let page = page(plan, outcome)?;
    fs::write(path, page).with_context(|| format!("{}: the report cannot be written", path.display()))
}

fn page(plan: &Plan, outcome: &Outcome) -> Result<String> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Patches</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>Patches</h1>\n"
    );
    let network = plan.network_name();
    let _ = writeln!(page, "<p>Network <code>{}</code>. {}</p>", escaped(&network), escaped(&plan.question()));
    let _ = writeln!(page, "<pre>{}</pre>", escaped(&outcome.text(true)));
    page.push_str(
        "<p class=\"legend\"><span class=\"verified\"></span> verified: no contents change the class \
         <span class=\"falsified\"></span> falsified: a counterexample is known \
         <span class=\"unknown\"></span> neither; between blue and red: the certified share of the contents</p>\n",
    );
    images(&mut page, plan, outcome)?;
    placements(&mut page, outcome);
    let _ = write!(page, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    Ok(page)
}

fn images(page: &mut String, plan: &Plan, outcome: &Outcome) -> Result<()> {
    page.push_str("<h2>Images</h2>\n");
    head(page, "images", &["image", "class", "verified", "falsified", "unknown", "left", "certified share", "map"]);
    for (scene, image) in outcome.images.iter().enumerate() {
        let ImageResult { id, class, verified, falsified, unknown, left, certified_share: [low, high], .. } = image;
        let _ = write!(page, "<tr><td>{}</td><td>{class}</td>", escaped(id));
        if image.predicted != image.class {
            let _ = writeln!(page, "<td colspan=\"6\">misclassified as {}</td></tr>", image.predicted);
            continue;
        }
        let _ = write!(
            page,
            "<td>{verified}</td><td>{falsified}</td><td>{unknown}</td><td>{left}</td><td data-value=\"{low}\">{low:.4} to {high:.4}</td>"
        );
        let panels = heat::panels(plan, scene, image)?;
        let labels: Vec<String> = panels.iter().map(|panel| escaped(&panel.label)).collect();
        let png = STANDARD.encode(panels_as_png(&panels));
        let _ = writeln!(
            page,
            "<td><img alt=\"{0}\" title=\"{0}\" src=\"data:image/png;base64,{png}\"></td></tr>",
            labels.join("; ")
        );
    }
    page.push_str("</tbody>\n</table>\n");
    Ok(())
}

fn placements(page: &mut String, outcome: &Outcome) {
    let rank = |verdict: Option<&str>| match verdict {
        Some("falsified") => 0,
        Some("unknown") => 1,
        None => 2,
        _ => 3,
    };
    let all = outcome.images.iter().flat_map(|image| image.placements.iter().map(move |placement| (image, placement)));
    let mut all: Vec<_> = all.collect();
    let n = all.len();
    all.sort_by_key(|(_, placement)| rank(placement.record.as_ref().map(|record| record.verdict.as_str())));
    all.truncate(MOST_ROWS);
    page.push_str("<h2>Placements</h2>\n");
    if n > MOST_ROWS {
        let count = |n: usize| console::count(n as u64);
        let _ = writeln!(page, "<p>{} of {}, those that are not verified first.</p>", count(MOST_ROWS), count(n));
    }
    head(
        page,
        "placements",
        &["image", "place", "verdict", "by", "lower bound", "class", "margin", "certified share", "s"],
    );
    for (image, placement) in all {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td>", escaped(&image.id), place(&placement.at));
        let Some(record) = &placement.record else {
            page.push_str("<td>left</td><td></td><td></td><td></td><td></td><td></td><td></td></tr>\n");
            continue;
        };
        let real = |value: Option<f64>| match value {
            Some(value) => format!("<td data-value=\"{value}\">{}</td>", console::number(value)),
            None => "<td></td>".into(),
        };
        let found = record.counterexample.as_ref();
        let _ = writeln!(
            page,
            "<td class=\"{0}\">{0}</td><td>{1}</td>{2}<td>{3}</td>{4}{5}<td>{6:.4}</td></tr>",
            record.verdict,
            record.stage,
            real(record.lower_bound),
            found.map(|found| found.predicted.to_string()).unwrap_or_default(),
            real(found.map(|found| found.margin)),
            real(record.coverage.map(|share| share.interval[0])),
            record.time_s,
        );
    }
    page.push_str("</tbody>\n</table>\n");
}

fn head(page: &mut String, id: &str, columns: &[&str]) {
    let _ = write!(page, "<table id=\"{id}\">\n<thead><tr>");
    for column in columns {
        let _ = write!(page, "<th><button>{column}</button></th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
