use std::fmt::Write;

use crate::trainer::{Course, EpochRecord};

/// Sizes of the picture, in pixels.
const WIDTH: f64 = 640.0;
const PANEL: f64 = 200.0;
const MARGIN: f64 = 48.0;

/// Colours of the two curves.
const COLOURS: [&str; 2] = ["#1f6fb4", "#d1661b"];

/// One curve: a value for every epoch that has one.
type Value = fn(&EpochRecord) -> Option<f64>;

impl Course {
    /// Loss and accuracy over epochs as an SVG picture; blue is training, orange is validation.
    pub fn to_svg(&self) -> String {
        let height = 2.0 * (PANEL + MARGIN) + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        let losses: [Value; 2] = [|record| Some(record.loss), |record| record.validation_loss];
        let accuracies: [Value; 2] = [|record| Some(record.accuracy), |record| record.validation_accuracy];
        let values = self.epochs.iter().flat_map(|record| losses.map(|value| value(record))).flatten();
        let most = values.filter(|value| value.is_finite()).fold(1e-9, f64::max);
        self.panel(&mut svg, "loss", MARGIN, most, losses);
        self.panel(&mut svg, "accuracy", 2.0 * MARGIN + PANEL, 1.0, accuracies);
        svg.push_str("</svg>\n");
        svg
    }

    fn panel(&self, svg: &mut String, name: &str, top: f64, most: f64, curves: [Value; 2]) {
        let bottom = top + PANEL;
        let right = WIDTH - MARGIN;
        let last = self.epochs.last().map_or(1, |record| record.epoch);
        let _ = writeln!(
            svg,
            "<path d=\"M{MARGIN} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"black\"/>\n\
             <text x=\"{MARGIN}\" y=\"{}\">{name}</text>\n\
             <text x=\"4\" y=\"{}\">{most:.3}</text>\n<text x=\"4\" y=\"{bottom}\">0</text>\n\
             <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">epoch {last}</text>",
            top - 8.0,
            top + 10.0,
            bottom + 16.0
        );
        for (curve, colour) in curves.iter().zip(COLOURS) {
            let points: Vec<String> = self
                .epochs
                .iter()
                .filter_map(|record| Some((record.epoch, curve(record).filter(|value| value.is_finite())?)))
                .map(|(epoch, value)| {
                    let x = MARGIN + (right - MARGIN) * epoch as f64 / last as f64;
                    format!("{x:.1},{:.1}", bottom - PANEL * (value / most).clamp(0.0, 1.0))
                })
                .collect();
            if !points.is_empty() {
                let points = points.join(" ");
                let _ = writeln!(
                    svg,
                    "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
                );
            }
        }
    }
}
