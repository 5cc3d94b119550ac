//! Small pictures: pixels scaled up without smoothing, colours of numbers, and SVG around them.

mod canvas;
mod colour;
mod svg;

pub use canvas::Canvas;
pub use colour::{Colour, diverging, gray, sequential};
pub use svg::Svg;
