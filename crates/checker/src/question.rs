use network::{Activation, HalfSpace, Network, Op, Property};

use crate::certificate::Evaluation;
use crate::deployed;
use crate::error::Error;
use crate::exact;
use crate::scope::{Rounding, Split};
use crate::similar::SimilarImages;

/// A network as it was read and a property of it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The network; nothing is merged, folded or dropped.
    pub network: &'a Network,
    /// What a violation would be.
    pub property: &'a Property,
    /// Which evaluations of the network are meant.
    pub evaluation: Evaluation,
    /// What inputs lie in besides the property's regions, which contain it.
    pub set: Option<&'a SimilarImages>,
    /// `ReLU`s that are known to be on one side for every input that is meant.
    pub held: &'a [Split],
    /// Whether a disjunct's half-spaces are open: what only touches them violates nothing.
    pub is_open: bool,
}

impl<'a> Question<'a> {
    /// Checks that both speak of the same inputs and outputs; the network is meant in real arithmetic.
    ///
    /// # Errors
    /// When they do not.
    pub fn new(network: &'a Network, property: &'a Property) -> Result<Self, Error> {
        property.check_sizes(network.n_inputs(), network.n_outputs()).map_err(|e| Error::Mismatch(e.to_string()))?;
        Ok(Self { network, property, evaluation: Evaluation::Real, set: None, held: &[], is_open: false })
    }

    /// The same question of these images only.
    ///
    /// # Errors
    /// When they have another number of pixels, or some region does not contain them all.
    pub fn over(self, set: &'a SimilarImages) -> Result<Self, Error> {
        if set.n_inputs() != self.network.n_inputs() {
            let (pixels, inputs) = (set.n_inputs(), self.network.n_inputs());
            return Err(Error::Mismatch(format!("an image of {pixels} pixels for a network with {inputs} inputs")));
        }
        let (lower, upper) = set.enclosure();
        let contains = |region: &network::BoxRegion| {
            (0..lower.len()).all(|i| region.lower[i] <= lower[i] && upper[i] <= region.upper[i])
        };
        if !self.property.disjuncts.iter().all(|disjunct| contains(&disjunct.region)) {
            return Err(Error::Mismatch(
                "a region of the property does not contain all images that are similar enough".into(),
            ));
        }
        Ok(Self { set: Some(set), ..self })
    }

    /// The same question of these evaluations.
    ///
    /// # Errors
    /// When nothing can be said of them: see [`deployed::obstacle`].
    pub fn of(self, evaluation: Evaluation) -> Result<Self, Error> {
        if evaluation == Evaluation::F32
            && let Some(obstacle) = deployed::obstacle(self.network)
        {
            return Err(Error::Mismatch(format!("nothing can be said of evaluations in f32: {obstacle}")));
        }
        Ok(Self { evaluation, ..self })
    }

    /// Whether a lower bound of a half-space's left side excludes it; NaN excludes nothing.
    pub fn is_excluded_by(&self, bound: f64) -> bool {
        bound > 0.0 || (self.is_open && bound == 0.0)
    }

    /// Checks that there are exact bounds.
    ///
    /// # Errors
    /// With what has none.
    pub fn has_exact_bounds(&self) -> Result<(), Error> {
        let obstacle = match (exact::obstacle(self.network), self.set, self.evaluation) {
            (Some(obstacle), ..) => obstacle,
            (_, Some(_), _) => "a set of similar images has square roots in its bounds".into(),
            (_, _, Evaluation::F32) => "evaluations in f32 round".into(),
            (None, None, Evaluation::Real) if self.is_finite() => return Ok(()),
            (None, None, Evaluation::Real) => "a number of the property is not finite".into(),
        };
        Err(Error::Mismatch(format!("there are no exact bounds: {obstacle}")))
    }

    fn is_finite(&self) -> bool {
        let half_space = |half_space: &HalfSpace| {
            let terms = half_space.input.iter().chain(&half_space.output).flat_map(|(_, pair)| pair);
            terms.chain(&half_space.constant).all(|value| value.is_finite())
        };
        self.property.disjuncts.iter().all(|disjunct| {
            let ends = disjunct.region.lower.iter().chain(&disjunct.region.upper);
            ends.into_iter().all(|end| end.is_finite()) && disjunct.half_spaces.iter().all(half_space)
        })
    }

    /// Whose rounding must be paid.
    pub fn rounding(&self) -> Rounding {
        match self.evaluation {
            Evaluation::Real => Rounding::Outward,
            Evaluation::F32 => Rounding::Deployed,
        }
    }

    /// The nodes that are `ReLU`s, in order: certificates count them.
    pub fn relus(&self) -> Vec<usize> {
        let is_relu = |op: &Op| matches!(op, Op::Activation(Activation::Relu));
        let nodes = self.network.nodes().iter().enumerate();
        nodes.filter(|(_, node)| is_relu(&node.op)).map(|(id, _)| id).collect()
    }
}
