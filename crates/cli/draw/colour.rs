/// Red, green and blue.
pub type Colour = [u8; 3];

/// The colour of a signed value: blue at −1, white at 0, red at 1 (Brewer's `RdBu`).
pub fn diverging(value: f64) -> Colour {
    const STOPS: [Colour; 5] = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];
    between(&STOPS, f64::midpoint(value, 1.0))
}

/// The colour of a value in `[0, 1]`, from dark violet to yellow, of even steps in lightness (viridis).
pub fn sequential(value: f64) -> Colour {
    const STOPS: [Colour; 5] = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
    between(&STOPS, value)
}

/// The gray of a value in `[0, 1]`.
pub fn gray(value: f64) -> Colour {
    between(&[[0; 3], [255; 3]], value)
}

/// Interpolates between evenly spaced colours; values outside `[0, 1]` are cut off, NaN counts as 0.
fn between(stops: &[Colour], value: f64) -> Colour {
    let value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
    let place = value * (stops.len() - 1) as f64;
    let first = (place as usize).min(stops.len() - 2);
    let share = place - first as f64;
    let mix = |i: usize| f64::from(stops[first][i]) * (1.0 - share) + f64::from(stops[first + 1][i]) * share;
    [0, 1, 2].map(|i| mix(i).round() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_middles_have_their_colours() {
        assert_eq!([gray(0.0), gray(1.0), gray(7.0), gray(f64::NAN)], [[0; 3], [255; 3], [255; 3], [0; 3]]);
        assert_eq!([diverging(-1.0), diverging(0.0), diverging(1.0)], [[5, 48, 97], [247; 3], [103, 0, 31]]);
        assert_eq!([sequential(0.0), sequential(0.5), sequential(1.0)], [[68, 1, 84], [33, 145, 140], [253, 231, 37]]);
    }
}
