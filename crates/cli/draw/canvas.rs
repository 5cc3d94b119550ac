use crate::draw::Colour;
use crate::images;

/// A rectangle of coloured pixels, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Canvas {
    height: usize,
    width: usize,
    pixels: Vec<Colour>,
}

impl Canvas {
    /// A white canvas.
    pub fn blank(height: usize, width: usize) -> Self {
        Self { height, width, pixels: vec![[255; 3]; height * width] }
    }

    /// The canvas whose pixel `p` (row by row) has `colour(p)`.
    pub fn painted(height: usize, width: usize, colour: impl Fn(usize) -> Colour) -> Self {
        Self { height, width, pixels: (0..height * width).map(colour).collect() }
    }

    /// Height, pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width, pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The canvas with every pixel as a square of `factor` pixels.
    #[must_use]
    pub fn enlarged(&self, factor: usize) -> Self {
        let (height, width) = (self.height * factor, self.width * factor);
        Self::painted(height, width, |p| self.pixels[p / width / factor * self.width + p % width / factor])
    }

    /// Puts another canvas on this one, its first pixel at `row` and `column`; what lies outside is cut off.
    pub fn put(&mut self, other: &Self, row: usize, column: usize) {
        for y in 0..other.height.min(self.height.saturating_sub(row)) {
            for x in 0..other.width.min(self.width.saturating_sub(column)) {
                self.pixels[(row + y) * self.width + column + x] = other.pixels[y * other.width + x];
            }
        }
    }

    /// The canvas as a PNG.
    pub fn to_png(&self) -> Vec<u8> {
        images::png(3, [self.height, self.width], self.pixels.concat()).expect("the sizes are those of the pixels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let [a, b] = [[1; 3], [2; 3]];
        let large = Canvas::painted(1, 2, |p| [a, b][p]).enlarged(2);
        assert_eq!((large.height(), large.width(), large.pixels), (2, 4, vec![a, a, b, b, a, a, b, b]));
    }

    #[test]
    fn what_is_put_outside_is_cut_off() {
        let mut canvas = Canvas::blank(2, 2);
        canvas.put(&Canvas::painted(2, 2, |_| [0; 3]), 1, 1);
        canvas.put(&Canvas::painted(2, 2, |_| [0; 3]), 5, 0);
        assert_eq!(canvas.pixels, [[255; 3], [255; 3], [255; 3], [0; 3]]);
    }
}
