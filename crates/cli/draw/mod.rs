//! Small pictures: pixels scaled up without smoothing, colours of numbers, and SVG around them.

mod canvas;
mod colour;
mod panels;
mod svg;

pub use canvas::Canvas;
pub use colour::{Colour, diverging, gray, sequential};
pub use panels::{Panel, panels_as_png, panels_as_svg, shown};
pub use svg::Svg;
