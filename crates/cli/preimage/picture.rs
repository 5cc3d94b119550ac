use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use driver::preimage::{Element, PreimageSearch, Round};
use network::BoxRegion;

use crate::draw::{Canvas, Svg, diverging, gray};
use crate::preimage::slice::Slice;

/// Pixels along each side of the plane, and of the curve's height.
const SIDE: usize = 360;
const CURVE: f64 = 120.0;

/// Polytopes over the true preimage, in the plane of two inputs.
#[derive(Debug)]
pub struct Picture<'a> {
    /// The problem's network, to say what is inside.
    pub search: &'a PreimageSearch<'a>,
    /// The box of all inputs.
    pub region: &'a BoxRegion,
    /// The plane.
    pub slice: Slice,
    /// The polytopes.
    pub elements: &'a [Element],
    /// How the search went.
    pub rounds: &'a [Round],
    /// The coverage at which it could stop; without, no curve is drawn.
    pub target: Option<f64>,
}

/// What a picture is written as.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// Pixels alone.
    Png,
    /// With axes, and the curve of coverage over time.
    Svg,
}

/// What is where: the first polytope that holds a point, and whether the network maps it into the outputs that were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pixel {
    polytope: Option<usize>,
    is_inside: bool,
}

impl Format {
    /// The format that a file's name asks for.
    ///
    /// # Errors
    /// When it ends in neither .svg nor .png.
    pub fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("png") => Ok(Self::Png),
            Some("svg") => Ok(Self::Svg),
            _ => bail!("{}: expected a picture's name, ending in .svg or .png", path.display()),
        }
    }
}

impl Picture<'_> {
    /// Draws it into a file.
    ///
    /// # Errors
    /// When the network cannot be run, or the file not be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let canvas = canvas(&self.pixels()?);
        let bytes = match Format::of(path)? {
            Format::Png => canvas.to_png(),
            Format::Svg => self.svg(&canvas).into_bytes(),
        };
        fs::write(path, bytes).with_context(|| format!("{}: the picture cannot be written", path.display()))
    }

    /// The inputs on the axes.
    fn axes(&self) -> [usize; 2] {
        self.slice.axes.map(|at| self.search.free()[at])
    }

    /// The plane, top row first.
    fn pixels(&self) -> Result<Vec<Pixel>> {
        let side = |i: usize, share: f64| {
            let (lower, upper) = (self.region.lower[i], self.region.upper[i]);
            lower + share * (upper - lower)
        };
        let [x, y] = self.axes();
        let place = |pixel: usize| {
            let (row, column) = ((pixel / SIDE) as f64, (pixel % SIDE) as f64);
            [side(x, (column + 0.5) / SIDE as f64), side(y, 1.0 - (row + 0.5) / SIDE as f64)]
        };
        let points: Vec<f64> = (0..SIDE * SIDE).flat_map(|pixel| self.slice.point(place(pixel))).collect();
        let is_inside = self.search.inside(&points)?;
        let one = |(x, is_inside): (&[f64], bool)| {
            let polytope = self.elements.iter().position(|element| element.contains(x));
            Pixel { polytope, is_inside }
        };
        Ok(points.chunks_exact(self.search.free().len()).zip(is_inside).map(one).collect())
    }

    fn svg(&self, canvas: &Canvas) -> String {
        let (left, top, side) = (64.0, 16.0, SIDE as f64);
        let label = self.slice.label(self.search.free());
        let below = top + side + if label.is_some() { 52.0 } else { 34.0 };
        let mut svg = Svg::new(left + side + 24.0, below + CURVE + 76.0);
        svg.image(left, top, canvas);
        let region = self.region;
        let [x, y] = self.axes();
        for (share, anchor) in [(0.0, "start"), (1.0, "end")] {
            let value = |i: usize| format!("{:.4}", region.lower[i] + share * (region.upper[i] - region.lower[i]));
            svg.text(left + share * side, top + side + 16.0, anchor, &value(x));
            svg.text(left - 6.0, top + 10.0 + (1.0 - share) * (side - 10.0), "end", &value(y));
        }
        svg.text(left + side / 2.0, top + side + 16.0, "middle", &format!("input {x}"));
        svg.text(left - 6.0, top + side / 2.0, "end", &format!("input {y}"));
        let legend = "blue: both; red: preimage only; light blue: approximation only";
        svg.text(left, top + side + 34.0, "start", legend);
        if let Some(label) = label {
            svg.text(left, below, "start", &label);
        }
        if let Some(target) = self.target {
            self.curve(&mut svg, [left, below + 20.0 + CURVE], target);
        }
        svg.finish()
    }

    /// Draws the coverage over time; `left` and `base` are where its axes meet.
    fn curve(&self, svg: &mut Svg, [left, base]: [f64; 2], target: f64) {
        let (side, rounds) = (SIDE as f64, self.rounds);
        svg.line([left, base], [left + side, base], None);
        svg.line([left, base - CURVE], [left, base], None);
        let finite = |coverage: f64| if coverage.is_finite() { coverage } else { 0.0 };
        let end = rounds.last().map_or(1e-9, |round| round.time_s).max(1e-9);
        let most = rounds.iter().map(|round| finite(round.coverage)).fold(target.max(1.0), f64::max);
        let place = |time_s: f64, coverage: f64| [left + side * time_s / end, base - CURVE * finite(coverage) / most];
        for pair in rounds.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|round| place(round.time_s, round.coverage));
            svg.line(from, to, Some(diverging(-0.8)));
        }
        svg.line(place(0.0, target), place(end, target), Some(gray(0.7)));
        svg.text(left - 6.0, place(0.0, target)[1] + 4.0, "end", &format!("{target}"));
        svg.text(left, base + 16.0, "start", "0 s");
        svg.text(left + side, base + 16.0, "end", &format!("{end:.2} s"));
        svg.text(left + side / 2.0, base + 16.0, "middle", "coverage over time; gray: the target");
    }
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
