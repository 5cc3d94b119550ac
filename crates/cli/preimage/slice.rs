use anyhow::{Context, Result, bail};
use network::BoxRegion;

/// The plane of two inputs in a region; all others stay at one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// Places of the two axes among the inputs that vary.
    pub axes: [usize; 2],
    /// A point of the plane, in the inputs that vary.
    origin: Vec<f64>,
    /// Places whose value was told; the rest is in the middle of the region.
    told: Vec<usize>,
}

/// Most inputs whose values a label names.
const MOST_NAMED: usize = 4;

impl Slice {
    /// The plane of two inputs that vary, or of the first two, through the middle of the region or the values that are told.
    ///
    /// # Errors
    /// When an input does not vary or is named twice, or a value lies outside the region.
    pub fn new(axes: Option<&[usize]>, at: &[(usize, f64)], region: &BoxRegion, free: &[usize]) -> Result<Self> {
        let place = |option: &str, input: usize| {
            let named = |inputs: &[usize]| inputs.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            let place = free.iter().position(|&i| i == input);
            place.with_context(|| match free.len() {
                0..=16 => format!("{option}: input {input} does not vary; those that do: {}", named(free)),
                n => format!("{option}: input {input} does not vary; those that do: {n}, {}, ...", named(&free[..16])),
            })
        };
        let axes = match axes {
            Some(&[x, y]) if x != y => [place("--axes", x)?, place("--axes", y)?],
            Some(_) => bail!("--axes: expected two different inputs, as 0,1"),
            None if free.len() < 2 => bail!("a picture needs two inputs that vary"),
            None => [0, 1],
        };
        let mut origin: Vec<f64> = free.iter().map(|&i| f64::midpoint(region.lower[i], region.upper[i])).collect();
        let mut told = Vec::new();
        for &(input, value) in at {
            let place = place("--at", input)?;
            let (lower, upper) = (region.inner_lower[input], region.inner_upper[input]);
            if axes.contains(&place) {
                bail!("--at: input {input} is an axis of the picture");
            }
            if told.contains(&place) {
                bail!("--at: input {input} has two values");
            }
            if !(lower..=upper).contains(&value) {
                bail!("--at: input {input} varies in [{lower}, {upper}], and {value} is outside");
            }
            origin[place] = value;
            told.push(place);
        }
        Ok(Self { axes, origin, told })
    }

    /// The point of the plane with these values on the axes.
    pub fn point(&self, [x, y]: [f64; 2]) -> Vec<f64> {
        let mut point = self.origin.clone();
        (point[self.axes[0]], point[self.axes[1]]) = (x, y);
        point
    }

    /// What the inputs off the axes are, for people; none if there are none.
    pub fn label(&self, free: &[usize]) -> Option<String> {
        let others: Vec<usize> = (0..free.len()).filter(|place| !self.axes.contains(place)).collect();
        let are_few = others.len() <= MOST_NAMED;
        let named = if are_few { &others } else { &self.told };
        let value = |&place: &usize| format!("input {}: {:.4}", free[place], self.origin[place]);
        let shown = named.iter().take(MOST_NAMED).map(value).collect::<Vec<_>>().join(", ");
        match others.len() - named.len() {
            0 if others.is_empty() => None,
            _ if named.len() > MOST_NAMED => Some(format!("{shown}, ... ({} told)", named.len())),
            0 => Some(shown),
            n if named.is_empty() => Some(format!("{n} other inputs in the middle of the region")),
            n => Some(format!("{shown}; {n} others in the middle of the region")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_goes_through_what_it_was_told() {
        let region = BoxRegion::new(vec![0.0; 5], vec![1.0, 1.0, 0.0, 2.0, 4.0]).unwrap();
        let free = [0, 1, 3, 4];
        let slice = Slice::new(Some(&[4, 0]), &[(3, 0.5)], &region, &free).unwrap();
        assert_eq!(slice.point([3.0, 0.25]), [0.25, 0.5, 0.5, 3.0]);
        assert_eq!(slice.label(&free).unwrap(), "input 1: 0.5000, input 3: 0.5000");
        assert_eq!(Slice::new(None, &[], &region, &free[..2]).unwrap().label(&free[..2]), None);
        for (axes, at, expected) in [
            (&[0, 2], &[][..], "input 2 does not vary; those that do: 0, 1, 3, 4"),
            (&[0, 0], &[], "two different inputs"),
            (&[0, 1], &[(1, 0.5)], "input 1 is an axis"),
            (&[0, 1], &[(3, 0.5), (3, 0.6)], "two values"),
            (&[0, 1], &[(3, 2.5)], "varies in [0, 2], and 2.5 is outside"),
            (&[0, 1], &[(3, f64::NAN)], "is outside"),
        ] {
            let error = Slice::new(Some(axes), at, &region, &free).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
