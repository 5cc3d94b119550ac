use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use driver::preimage::PreimageOutcome;

use crate::draw::{Canvas, Svg, diverging, gray};
use crate::preimage::problem::Question;

/// Pixels along each side of the plane, and of the curve's height.
const SIDE: usize = 360;
const CURVE: f64 = 120.0;

/// What is where: the first polytope that holds a point, and whether the network maps it into the outputs that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pixel {
    polytope: Option<usize>,
    is_inside: bool,
}

/// Draws polytopes over the true preimage, in the plane of two inputs (all others in the middle of the region), as SVG with the curve
/// of coverage over time, or as PNG.
pub fn write(path: &Path, axes: Option<&[usize]>, question: &Question, outcome: &PreimageOutcome) -> Result<()> {
    let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
    let axes = chosen(axes, &outcome.free)?;
    let canvas = canvas(&pixels(axes, question, outcome));
    let bytes = match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("png") => canvas.to_png(),
        Some("svg") => svg(&canvas, axes, question, outcome).into_bytes(),
        _ => bail!("{}: expected a picture's name, ending in .svg or .png", path.display()),
    };
    fs::write(path, bytes).with_context(|| format!("{}: the picture cannot be written", path.display()))
}

/// Places of the two axes among the inputs that vary: those that were asked for, or the first two.
fn chosen(axes: Option<&[usize]>, free: &[usize]) -> Result<[usize; 2]> {
    match axes {
        Some(&[x, y]) if x != y => {
            let place = |input: usize| {
                free.iter().position(|&i| i == input).with_context(|| format!("--axes: input {input} does not vary"))
            };
            Ok([place(x)?, place(y)?])
        }
        Some(_) => bail!("--axes: expected two different inputs, as 0,1"),
        None if free.len() < 2 => bail!("a picture needs two inputs that vary"),
        None => Ok([0, 1]),
    }
}

/// The plane, top row first.
fn pixels(axes: [usize; 2], question: &Question, outcome: &PreimageOutcome) -> Vec<Pixel> {
    let region = &question.problem.region;
    let side = |at: usize, share: f64| {
        let i = outcome.free[at];
        region.lower[i] + share * (region.upper[i] - region.lower[i])
    };
    let one = |pixel: usize| {
        let (row, column) = (pixel / SIDE, pixel % SIDE);
        let mut x: Vec<f64> = (0..outcome.free.len()).map(|at| side(at, 0.5)).collect();
        x[axes[0]] = side(axes[0], (column as f64 + 0.5) / SIDE as f64);
        x[axes[1]] = side(axes[1], 1.0 - (row as f64 + 0.5) / SIDE as f64);
        let mut full = region.lower.clone();
        outcome.free.iter().zip(&x).for_each(|(&i, &x)| full[i] = x);
        let polytope = outcome.elements.iter().position(|element| element.contains(&x));
        Pixel { polytope, is_inside: question.problem.contains(&full) }
    };
    (0..SIDE * SIDE).map(one).collect()
}

/// Blue: in both; red: in the preimage only; light: in the approximation only; edges of polytopes are dark.
fn canvas(pixels: &[Pixel]) -> Canvas {
    Canvas::painted(SIDE, SIDE, |at| {
        let Pixel { polytope, is_inside } = pixels[at];
        let differs = |other: usize| pixels.get(other).is_some_and(|other| other.polytope != polytope);
        let is_edge = (at % SIDE + 1 < SIDE && differs(at + 1)) || differs(at + SIDE);
        match (polytope.is_some(), is_inside) {
            _ if is_edge => gray(0.15),
            (true, true) => diverging(-0.6),
            (true, false) => diverging(-0.2),
            (false, true) => diverging(0.6),
            (false, false) => gray(0.93),
        }
    })
}

fn svg(canvas: &Canvas, axes: [usize; 2], question: &Question, outcome: &PreimageOutcome) -> String {
    let (left, top, side) = (64.0, 16.0, SIDE as f64);
    let mut svg = Svg::new(left + side + 24.0, top + side + CURVE + 110.0);
    svg.image(left, top, canvas);
    let region = &question.problem.region;
    let [x, y] = axes.map(|at| outcome.free[at]);
    for (share, anchor) in [(0.0, "start"), (1.0, "end")] {
        let value = |i: usize| format!("{:.4}", region.lower[i] + share * (region.upper[i] - region.lower[i]));
        svg.text(left + share * side, top + side + 16.0, anchor, &value(x));
        svg.text(left - 6.0, top + 10.0 + (1.0 - share) * (side - 10.0), "end", &value(y));
    }
    svg.text(left + side / 2.0, top + side + 16.0, "middle", &format!("input {x}"));
    svg.text(left - 6.0, top + side / 2.0, "end", &format!("input {y}"));
    let legend = "blue: both; red: preimage only; light blue: approximation only";
    svg.text(left, top + side + 34.0, "start", legend);
    let base = top + side + 54.0 + CURVE;
    svg.line([left, base], [left + side, base], None);
    svg.line([left, base - CURVE], [left, base], None);
    let finite = |coverage: f64| if coverage.is_finite() { coverage } else { 0.0 };
    let end = outcome.rounds.last().map_or(1e-9, |round| round.time_s).max(1e-9);
    let most = outcome.rounds.iter().map(|round| finite(round.coverage)).fold(question.coverage.max(1.0), f64::max);
    let place = |time_s: f64, coverage: f64| [left + side * time_s / end, base - CURVE * finite(coverage) / most];
    for pair in outcome.rounds.windows(2) {
        let [from, to] = [pair[0], pair[1]].map(|round| place(round.time_s, round.coverage));
        svg.line(from, to, Some(diverging(-0.8)));
    }
    svg.line(place(0.0, question.coverage), place(end, question.coverage), Some(gray(0.7)));
    svg.text(left - 6.0, place(0.0, question.coverage)[1] + 4.0, "end", &format!("{}", question.coverage));
    svg.text(left, base + 16.0, "start", "0 s");
    svg.text(left + side, base + 16.0, "end", &format!("{end:.2} s"));
    svg.text(left + side / 2.0, base + 16.0, "middle", "coverage over time; gray: the target");
    svg.finish()
}
