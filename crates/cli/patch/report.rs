use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use driver::patch::PatchStage;

use crate::console;
use crate::draw::Panel;
use crate::patch::heat;
use crate::patch::outcome::{ImageResult, Outcome, PlacementResult, SummaryFields, place};
use crate::patch::plan::Plan;

/// Most placements that are listed one by one: those that are not verified come first.
const MOST_ROWS: usize = 5_000;

/// How the report looks.
const STYLE: &str = include_str!("report.css");
/// How its tables are sorted and filtered.
const SCRIPT: &str = include_str!("report.js");
/// What a browser may load for it: nothing but what is inside.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// Writes everything that is known of a sweep as one file that any browser opens, without a network.
pub fn write(path: &Path, plan: &Plan, outcome: &Outcome) -> Result<()> {
    let page = page(plan, outcome)?;
    fs::write(path, page).with_context(|| format!("{}: the report cannot be written", path.display()))
}

fn page(plan: &Plan, outcome: &Outcome) -> Result<String> {
    let network = escaped(&plan.network_name());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <title>Patches on {network}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>Patches on <code>{network}</code></h1>\n"
    );
    let _ = writeln!(page, "<p>{}</p>", escaped(&plan.question()));
    figures(&mut page, &outcome.summary);
    bar(&mut page, &outcome.summary);
    work(&mut page, outcome);
    images(&mut page, plan, outcome)?;
    placements(&mut page, outcome);
    let _ = write!(page, "<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
    Ok(page)
}

/// The figures that a sweep is made for, each with what it means.
fn figures(page: &mut String, summary: &SummaryFields) {
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let SummaryFields { images, misclassified, certified_share: [low, high], .. } = summary;
    let certified = summary.certified_accuracy.map_or("of a shard unknown".to_owned(), percent);
    page.push_str("<dl class=\"figures\">\n");
    for (name, value, meaning) in [
        (
            "accuracy",
            percent(summary.clean_accuracy),
            format!("of {images} images keep their class without a patch, {misclassified} do not"),
        ),
        (
            "certified accuracy",
            certified,
            "of the images keep it whatever a patch holds, wherever it is: proved".into(),
        ),
        (
            "attack success",
            percent(summary.attack_success_rate),
            "of the rightly classified images have a placement with a counterexample".into(),
        ),
        (
            "certified share",
            format!("{low:.4} to {high:.4}"),
            "of a patch’s contents keep the class, mean over the placements: at least the first is proved".into(),
        ),
    ] {
        let _ = writeln!(page, "<div><dt>{name}</dt><dd>{value}</dd><dd class=\"meaning\">{meaning}</dd></div>");
    }
    page.push_str("</dl>\n");
}

/// Placements by verdict, as a bar that explains the colours of the maps.
fn bar(page: &mut String, summary: &SummaryFields) {
    let SummaryFields { placements, verified, falsified, unknown, left, .. } = summary;
    let kinds = [
        ("verified", *verified, "no contents change the class"),
        ("falsified", *falsified, "a counterexample is known"),
        ("unknown", *unknown, "neither, with what might be spent"),
        ("left", *left, "not looked at yet"),
    ];
    let count = |n: usize| console::count(n as u64);
    let _ = write!(page, "<h2>{} placements</h2>\n<div class=\"bar\">", count(*placements));
    for (name, n, _) in kinds.iter().filter(|(_, n, _)| *n > 0) {
        let _ = write!(page, "<span class=\"{name}\" style=\"flex-grow: {n}\" title=\"{} {name}\"></span>", count(*n));
    }
    page.push_str("</div>\n<ul class=\"legend\">\n");
    for (name, n, meaning) in kinds {
        let _ = writeln!(page, "<li><span class=\"{name}\"></span><b>{} {name}</b>: {meaning}</li>", count(n));
    }
    page.push_str("</ul>\n");
}

/// What decided, and how long it took.
fn work(page: &mut String, outcome: &Outcome) {
    let records =
        || outcome.images.iter().flat_map(|image| &image.placements).filter_map(|place| place.record.as_ref());
    let n_by =
        |stage: PatchStage| console::count(records().filter(|record| record.stage == stage.name()).count() as u64);
    let [bounds, attack, refinement] = [PatchStage::Bounds, PatchStage::Attack, PatchStage::Refinement].map(n_by);
    let times = || records().map(|record| record.time_s);
    let (total_s, most_s) = (times().sum::<f64>(), times().fold(0.0, f64::max));
    let _ = writeln!(
        page,
        "<p>Linear bounds of all contents decided {bounds} placements, attacks {attack}; {refinement} were refined. \
         All together took {total_s:.1} s, the longest {most_s:.2} s.</p>"
    );
}

fn images(page: &mut String, plan: &Plan, outcome: &Outcome) -> Result<()> {
    page.push_str("<h2>Images</h2>\n");
    let _ = writeln!(
        page,
        "<p>{} Click on a heading to sort, on a picture for the placements of its image.</p>",
        heat::key(plan, outcome)
    );
    let columns =
        ["image", "class", "verified", "falsified", "unknown", "left", "certified share", "image, map, worst patch"];
    head(page, "images", &columns);
    for (scene, image) in outcome.images.iter().enumerate() {
        let ImageResult { id, class, verified, falsified, unknown, left, certified_share: [low, high], .. } = image;
        let id = escaped(id);
        let _ = write!(page, "<tr><td>{id}</td><td>{class}</td>");
        if image.predicted == image.class {
            let _ = write!(
                page,
                "<td>{verified}</td><td>{falsified}</td><td>{unknown}</td><td>{left}</td>\
                 <td data-value=\"{low}\">{low:.4} to {high:.4}</td>"
            );
        } else {
            let wrong = format!("misclassified as {}: no patch is needed", image.predicted);
            let _ = write!(page, "<td></td><td></td><td></td><td></td><td>{wrong}</td>");
        }
        let _ =
            write!(page, "<td data-value=\"{low}\"><a class=\"pictures\" href=\"#placements\" data-image=\"{id}\">");
        heat::panels(plan, scene, image)?.iter().for_each(|panel| figure(page, panel));
        page.push_str("</a></td></tr>\n");
    }
    page.push_str("</tbody>\n</table>\n");
    Ok(())
}

/// A picture in its own pixels: the page enlarges it.
fn figure(page: &mut String, panel: &Panel) {
    let (label, png) = (escaped(&panel.label), STANDARD.encode(panel.canvas.to_png()));
    let _ = write!(
        page,
        "<figure><img alt=\"{label}\" src=\"data:image/png;base64,{png}\"><figcaption>{label}</figcaption></figure>"
    );
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
    page.push_str("<h2>Placement by placement</h2>\n");
    if n > MOST_ROWS {
        let count = |n: usize| console::count(n as u64);
        let _ = writeln!(
            page,
            "<p>{} of {}: those that are not verified, then as many of the others as fit here; <code>--csv</code> writes all.</p>",
            count(MOST_ROWS),
            count(n)
        );
    }
    page.push_str(
        "<p>A lower bound is the least by which the image’s class leads, whatever the patch holds; a margin is by how much \
         another class leads at the counterexample. Rows and columns count from 0.</p>\n\
         <p><label>Only rows with <input type=\"search\" data-table=\"placements\" placeholder=\"such as: falsified digit_3\"></label> \
         <output></output></p>\n",
    );
    head(
        page,
        "placements",
        &["image", "place", "verdict", "by", "lower bound", "changed to", "margin", "certified share", "seconds"],
    );
    for (image, placement) in all {
        row(page, image, placement);
    }
    page.push_str("</tbody>\n</table>\n");
}

fn row(page: &mut String, image: &ImageResult, placement: &PlacementResult) {
    let _ = write!(page, "<tr><td>{}</td><td>{}</td>", escaped(&image.id), place(&placement.at));
    let Some(record) = &placement.record else {
        page.push_str("<td>left</td><td></td><td></td><td></td><td></td><td></td><td></td></tr>\n");
        return;
    };
    let real = |value: Option<f64>| match value {
        Some(value) => format!("<td data-value=\"{value}\">{}</td>", console::number(value)),
        None => "<td></td>".into(),
    };
    let found = record.counterexample.as_ref();
    let why = record.reason.as_deref().map(|reason| format!(" title=\"{}\"", escaped(reason))).unwrap_or_default();
    let _ = writeln!(
        page,
        "<td class=\"{0}\"{why}>{0}</td><td>{1}</td>{2}<td>{3}</td>{4}{5}<td>{6:.4}</td></tr>",
        record.verdict,
        record.stage,
        real(record.lower_bound),
        found.map(|found| format!("class {}", found.predicted)).unwrap_or_default(),
        real(found.map(|found| found.margin)),
        real(record.coverage.map(|share| share.interval[0])),
        record.time_s,
    );
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
