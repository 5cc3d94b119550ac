use crate::Error;

/// A box `lower ≤ x ≤ upper`, known from outside and from inside.
///
/// Decimal bounds are seldom floats: `lower` and `upper` enclose the real box (what a proof must cover), `inner_lower` and
/// `inner_upper` are the floats that still lie in it (where a counterexample must be). They coincide wherever the bound is a float.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxRegion {
    /// Largest floats at or below the real lower bounds.
    pub lower: Vec<f64>,
    /// Smallest floats at or above the real upper bounds.
    pub upper: Vec<f64>,
    /// Smallest floats at or above the real lower bounds.
    pub inner_lower: Vec<f64>,
    /// Largest floats at or below the real upper bounds.
    pub inner_upper: Vec<f64>,
}

impl BoxRegion {
    /// A box whose bounds are exactly these floats.
    ///
    /// # Errors
    /// When the lengths differ, a bound is not finite, or a lower bound lies above its upper bound.
    pub fn new(lower: Vec<f64>, upper: Vec<f64>) -> Result<Self, Error> {
        if lower.len() != upper.len() {
            return Err(Error::format(format!("{} lower bounds but {} upper bounds", lower.len(), upper.len())));
        }
        for (i, (&l, &u)) in lower.iter().zip(&upper).enumerate() {
            if !l.is_finite() || !u.is_finite() {
                return Err(Error::format(format!("input {i}: bounds [{l}, {u}] are not finite")));
            }
            if l > u {
                return Err(Error::format(format!("input {i}: lower bound {l} is above upper bound {u}")));
            }
        }
        Ok(Self { inner_lower: lower.clone(), inner_upper: upper.clone(), lower, upper })
    }

    /// Number of dimensions.
    pub fn n_inputs(&self) -> usize {
        self.lower.len()
    }

    /// Whether the point lies in the real box (the inner bounds decide).
    pub fn contains(&self, x: &[f64]) -> bool {
        x.len() == self.n_inputs()
            && x.iter().zip(self.inner_lower.iter().zip(&self.inner_upper)).all(|(x, (l, u))| l <= x && x <= u)
    }
}
