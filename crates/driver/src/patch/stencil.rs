use crate::error::Error;

/// The pixels of a patch, relative to the first row and column that it touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stencil {
    height: usize,
    width: usize,
    /// Rows and columns, in rising order, no pixel twice.
    pixels: Vec<[usize; 2]>,
    /// Where the first row and column were when it was drawn.
    origin: [usize; 2],
}

impl Stencil {
    /// All pixels of `height` rows and `width` columns.
    ///
    /// # Errors
    /// When a side is zero.
    pub fn rectangle(height: usize, width: usize) -> Result<Self, Error> {
        let all = (0..height).flat_map(|row| (0..width).map(move |column| [row, column]));
        Self::of("the rectangle", all.collect())
    }

    /// The marked pixels of an image, row by row.
    ///
    /// # Errors
    /// When the number of marks is not the image's number of pixels, or nothing is marked.
    pub fn mask([height, width]: [usize; 2], marks: &[bool]) -> Result<Self, Error> {
        if marks.len() != height * width {
            let n = marks.len();
            return Err(Error::question(format!("the mask has {n} marks for {height} × {width} pixels")));
        }
        let marked = (0..marks.len()).filter(|&p| marks[p]).map(|p| [p / width, p % width]);
        Self::of("the mask", marked.collect())
    }

    /// The pixels of an image of `size` (height, width) whose centres lie in a polygon, by the even–odd rule.
    ///
    /// Corners are `[row, column]` in pixels; pixel `(r, c)` has its centre at `[r + 0.5, c + 0.5]`. What lies outside of the image
    /// is cut off.
    ///
    /// # Errors
    /// When there are fewer than three corners, one is not finite, or no centre lies inside.
    pub fn polygon(size: [usize; 2], corners: &[[f64; 2]]) -> Result<Self, Error> {
        if corners.len() < 3 {
            let n = corners.len();
            return Err(Error::question(format!("a polygon has at least three corners, got {n}")));
        }
        check_points("polygon", corners)?;
        let is_inside = |[y, x]: [f64; 2]| {
            let mut inside = false;
            for (k, a) in corners.iter().enumerate() {
                let b = corners[(k + 1) % corners.len()];
                if (a[0] > y) != (b[0] > y) && x < a[1] + (y - a[0]) / (b[0] - a[0]) * (b[1] - a[1]) {
                    inside = !inside;
                }
            }
            inside
        };
        Self::painted("the polygon", size, is_inside)
    }

    /// The pixels of an image of `size` (height, width) whose centres a round brush of this width (diameter, pixels) covers on its
    /// way along the points `[row, column]`.
    ///
    /// # Errors
    /// When there is no point, one is not finite, the width is not positive, or no centre is covered.
    pub fn stroke(size: [usize; 2], points: &[[f64; 2]], width: f64) -> Result<Self, Error> {
        if points.is_empty() {
            return Err(Error::question("a brush stroke has at least one point"));
        }
        check_points("brush stroke", points)?;
        if !(width > 0.0 && width.is_finite()) {
            return Err(Error::question(format!(
                "the width of a brush is {width}: expected a positive number of pixels"
            )));
        }
        let is_covered = |at: [f64; 2]| {
            let first = distance_to_segment(at, points[0], points[0]);
            let nearest = points.windows(2).map(|ends| distance_to_segment(at, ends[0], ends[1])).fold(first, f64::min);
            nearest <= 0.5 * width
        };
        Self::painted("the brush stroke", size, is_covered)
    }

    fn painted(what: &str, [height, width]: [usize; 2], is_in: impl Fn([f64; 2]) -> bool) -> Result<Self, Error> {
        let all = (0..height).flat_map(|row| (0..width).map(move |column| [row, column]));
        let centre = |pixel: &[usize; 2]| pixel.map(|place| place as f64 + 0.5);
        Self::of(what, all.filter(|pixel| is_in(centre(pixel))).collect())
    }

    /// From pixels in rising order.
    fn of(what: &str, pixels: Vec<[usize; 2]>) -> Result<Self, Error> {
        let side = |axis: usize| {
            let places = pixels.iter().map(|pixel| pixel[axis]);
            Some((places.clone().min()?, places.max()?))
        };
        let (Some((top, bottom)), Some((left, right))) = (side(0), side(1)) else {
            return Err(Error::question(format!("{what} covers no pixel of the image")));
        };
        let pixels = pixels.into_iter().map(|[row, column]| [row - top, column - left]).collect();
        Ok(Self { height: bottom - top + 1, width: right - left + 1, pixels, origin: [top, left] })
    }

    /// Rows that it spans.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns that it spans.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Its pixels, `[row, column]` from its own first row and column.
    pub fn pixels(&self) -> &[[usize; 2]] {
        &self.pixels
    }

    /// The row and the column at which it was drawn.
    pub fn origin(&self) -> [usize; 2] {
        self.origin
    }
}

fn check_points(what: &str, points: &[[f64; 2]]) -> Result<(), Error> {
    match points.iter().flatten().find(|value| !value.is_finite()) {
        Some(value) => Err(Error::question(format!("a point of the {what} has the coordinate {value}"))),
        None => Ok(()),
    }
}

fn distance_to_segment(at: [f64; 2], from: [f64; 2], to: [f64; 2]) -> f64 {
    let way = [to[0] - from[0], to[1] - from[1]];
    let length = way[0] * way[0] + way[1] * way[1];
    let along = (at[0] - from[0]) * way[0] + (at[1] - from[1]) * way[1];
    let share = if length > 0.0 { (along / length).clamp(0.0, 1.0) } else { 0.0 };
    (at[0] - from[0] - share * way[0]).hypot(at[1] - from[1] - share * way[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_cover_the_pixels_that_one_would_mark_by_hand() {
        let rectangle = Stencil::rectangle(1, 2).unwrap();
        assert_eq!((rectangle.height(), rectangle.width(), rectangle.pixels()), (1, 2, &[[0, 0], [0, 1]][..]));
        // Of a triangle over the lower left half, the diagonal's centres lie on its edge or inside.
        let triangle = Stencil::polygon([3, 3], &[[0.0, 0.0], [3.0, 0.0], [3.0, 3.1]]).unwrap();
        assert_eq!(triangle.pixels(), [[0, 0], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]);
        let stroke = Stencil::stroke([4, 4], &[[1.5, 1.5], [1.5, 3.5]], 1.0).unwrap();
        assert_eq!((stroke.pixels(), stroke.origin()), (&[[0, 0], [0, 1], [0, 2]][..], [1, 1]));
        let mask = Stencil::mask([2, 2], &[false, false, true, false]).unwrap();
        assert_eq!((mask.pixels(), mask.origin()), (&[[0, 0]][..], [1, 0]));
    }

    #[test]
    fn shapes_that_cover_nothing_are_errors() {
        let outside = Stencil::polygon([3, 3], &[[5.0, 5.0], [6.0, 5.0], [6.0, 6.0]]);
        for (error, expected) in [
            (Stencil::rectangle(0, 3), "covers no pixel"),
            (Stencil::mask([2, 2], &[false; 4]), "covers no pixel"),
            (Stencil::mask([2, 2], &[true; 3]), "3 marks for 2 × 2"),
            (outside, "covers no pixel"),
            (Stencil::polygon([3, 3], &[[0.0, 0.0]]), "at least three corners, got 1"),
            (Stencil::polygon([3, 3], &[[0.0, f64::NAN]; 3]), "coordinate NaN"),
            (Stencil::stroke([3, 3], &[], 1.0), "at least one point"),
            (Stencil::stroke([3, 3], &[[1.0, 1.0]], 0.0), "positive number of pixels"),
        ] {
            assert!(error.unwrap_err().to_string().contains(expected));
        }
    }
}
