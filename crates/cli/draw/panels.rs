use network::Image;

use crate::draw::{Canvas, Svg, gray};

/// About how many pixels a panel is wide.
const PANEL: usize = 224;

/// Space between panels, pixels.
const GAP: usize = 12;

/// One of the images side by side, all of one size.
#[derive(Debug)]
pub struct Panel {
    /// What it shows.
    pub label: String,
    /// The pixels.
    pub canvas: Canvas,
}

/// Gray of one channel, colours of three; of any other number, the gray of the first.
pub fn shown(image: &Image) -> Canvas {
    let [n_channels, height, width] = image.shape();
    let area = height * width;
    Canvas::painted(height, width, |p| {
        let value = |c: usize| gray(image.pixels()[c * area + p])[0];
        if n_channels == 3 { [value(0), value(1), value(2)] } else { [value(0); 3] }
    })
}

/// How many pixels show one.
fn factor(canvas: &Canvas) -> usize {
    (PANEL / canvas.width().max(canvas.height()).max(1)).max(1)
}

/// Panels side by side, without their labels.
pub fn panels_as_png(panels: &[Panel]) -> Vec<u8> {
    let Some(first) = panels.first().map(|panel| &panel.canvas) else { return Canvas::blank(1, 1).to_png() };
    let factor = factor(first);
    let (height, width) = (first.height() * factor, first.width() * factor);
    let mut sheet = Canvas::blank(height + 2 * GAP, panels.len() * (width + GAP) + GAP);
    for (place, panel) in panels.iter().enumerate() {
        sheet.put(&panel.canvas.enlarged(factor), GAP, GAP + place * (width + GAP));
    }
    sheet.to_png()
}

/// Panels side by side, with their labels below.
pub fn panels_as_svg(panels: &[Panel]) -> String {
    /// Room for a line of text.
    const LINE: f64 = 20.0;
    let Some(first) = panels.first().map(|panel| &panel.canvas) else { return Svg::new(1.0, 1.0).finish() };
    let factor = factor(first);
    let (height, width, gap) = ((first.height() * factor) as f64, (first.width() * factor) as f64, GAP as f64);
    let mut svg = Svg::new(panels.len() as f64 * (width + gap) + gap, height + 2.0 * gap + LINE);
    for (place, panel) in panels.iter().enumerate() {
        let left = gap + place as f64 * (width + gap);
        svg.image(left, gap, &panel.canvas.enlarged(factor));
        svg.text(left + width / 2.0, gap + height + LINE - 4.0, "middle", &panel.label);
    }
    svg.finish()
}
