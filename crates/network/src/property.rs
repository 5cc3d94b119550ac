use crate::BoxRegion;

/// A question: may any input of a region be mapped to outputs that violate what is wanted?
///
/// The *violation* is a disjunction; the property holds when no disjunct has a member.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    /// Number of network inputs the property speaks of.
    pub n_inputs: usize,
    /// Number of network outputs the property speaks of.
    pub n_outputs: usize,
    /// The ways to violate; an empty list cannot be violated.
    pub disjuncts: Vec<Disjunct>,
}

/// One way to violate: an input in the box such that every half-space holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Disjunct {
    /// Where the input lies.
    pub region: BoxRegion,
    /// What must all hold; with no half-space, every input of the box violates.
    pub half_spaces: Vec<HalfSpace>,
}

/// The closed half-space `Σ a_i x_i + Σ c_j y_j + d ≤ 0` over inputs and outputs.
///
/// Every real coefficient and constant lies in its pair `[below, above]` of neighbouring floats (equal when it is a float).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HalfSpace {
    /// Input index, coefficient from below, from above; indices strictly increasing, no zero coefficients.
    pub input: Vec<(usize, [f64; 2])>,
    /// Output index, coefficient from below, from above; indices strictly increasing, no zero coefficients.
    pub output: Vec<(usize, [f64; 2])>,
    /// The constant from below and from above.
    pub constant: [f64; 2],
}
