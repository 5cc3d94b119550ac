use std::sync::Arc;

use bounds::Batch;
use network::{Affine, BoxRegion, LinearMap, Network, NodeId, Op, Sparse, WeightError};

use crate::error::Error;
use crate::patch::scale::Enclosed;
use crate::patch::verdict::{PatchCounterexample, changed};

/// The inputs that the contents of a placement reach.
#[derive(Debug, Clone, PartialEq)]
pub struct PatchRegion {
    /// The image's own inputs.
    base: Vec<f32>,
    /// The inputs that vary, rising, and the box of what they may be.
    varying: Vec<(usize, Ends)>,
    /// Where inputs vary together: how.
    substitution: Option<Substitution>,
}

/// The ends of an interval of reals: floats around it, and floats inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// Enclose it.
    pub outer: [f64; 2],
    /// Lie in it.
    pub inner: [f64; 2],
}

/// Inputs as affine functions of a few parameters, each in an interval: input `i` is `coefficient · parameter`, to which its own value
/// is added where `keeps_base`.
#[derive(Debug, Clone, PartialEq)]
pub struct Substitution {
    /// Of the parameters.
    pub ends: Vec<Ends>,
    /// Input, parameter, coefficient; inputs rising, each once.
    pub terms: Vec<(usize, usize, f64)>,
    /// Whether the image's own values stay below.
    pub keeps_base: bool,
}

impl Ends {
    /// From the lower end, enclosed, to the upper one.
    pub fn between(low: Enclosed, high: Enclosed) -> Self {
        Self { outer: [low.below, high.above], inner: [low.above, high.below] }
    }
}

impl Ends {
    /// The f32 ends from inside; where no f32 lies inside, the nearest one twice.
    fn narrow(&self) -> (f32, f32) {
        // Rounding the inner ends inward: `enclosing` rounds its first list down and its second up.
        let turned = Batch::enclosing(&self.inner[1..], &self.inner[..1]);
        let (low, high) = (turned.upper[0], turned.lower[0]);
        if low <= high { (low, high) } else { (low, low) }
    }
}

impl PatchRegion {
    pub(crate) fn new(base: Vec<f32>, mut varying: Vec<(usize, Ends)>, substitution: Option<Substitution>) -> Self {
        varying.sort_by_key(|(input, _)| *input);
        let substitution = substitution.map(|mut substitution| {
            substitution.terms.sort_by_key(|(input, ..)| *input);
            substitution
        });
        Self { base, varying, substitution }
    }

    /// The image's own inputs.
    pub fn base(&self) -> &[f32] {
        &self.base
    }

    /// The inputs that vary, rising.
    pub fn varying(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.varying.iter().map(|(input, _)| *input)
    }

    /// What the inputs that vary may be, rising by input (around it, where they vary together).
    pub fn ends(&self) -> &[(usize, Ends)] {
        &self.varying
    }

    /// How inputs vary together, if they do.
    pub fn substitution(&self) -> Option<&Substitution> {
        self.substitution.as_ref()
    }

    /// The box of all inputs (around them, where they vary together).
    ///
    /// # Errors
    /// When an end is not finite.
    pub fn hull(&self) -> Result<BoxRegion, Error> {
        let wide: Vec<f64> = self.base.iter().map(|&x| f64::from(x)).collect();
        let mut region = BoxRegion::new(wide.clone(), wide)?;
        for (input, Ends { outer, inner }) in &self.varying {
            if !outer.iter().chain(inner).all(|end| end.is_finite()) {
                return Err(Error::question(format!("input {input} may be {outer:?}: that is not finite")));
            }
            (region.lower[*input], region.upper[*input]) = (outer[0], outer[1]);
            (region.inner_lower[*input], region.inner_upper[*input]) = (inner[0], inner[1]);
        }
        Ok(region)
    }

    /// Appends the box to a batch, rounded outward.
    pub(crate) fn append_to(&self, batch: &mut Batch) {
        let start = batch.lower.len();
        batch.lower.extend_from_slice(&self.base);
        batch.upper.extend_from_slice(&self.base);
        for (input, ends) in &self.varying {
            let end = Batch::enclosing(&ends.outer[..1], &ends.outer[1..]);
            (batch.lower[start + input], batch.upper[start + input]) = (end.lower[0], end.upper[0]);
        }
    }

    /// Appends a part of the box to a batch: this share of every interval, from the image's own value (or the nearest) outward.
    pub(crate) fn append_part_to(&self, batch: &mut Batch, share: f64) {
        let start = batch.lower.len();
        self.append_to(batch);
        for (input, _) in &self.varying {
            let (low, high) = (batch.lower[start + input], batch.upper[start + input]);
            let own = self.base[*input].max(low).min(high);
            let towards = |end: f32| (own + share as f32 * (end - own)).max(low).min(high);
            (batch.lower[start + input], batch.upper[start + input]) = (towards(low), towards(high));
        }
    }

    /// The f32 ends, from inside, of what an attack may choose: the parameters, or the inputs that vary.
    pub(crate) fn coordinate_ends(&self) -> Vec<(f32, f32)> {
        match &self.substitution {
            Some(substitution) => substitution.ends.iter().map(Ends::narrow).collect(),
            None => self.varying.iter().map(|(_, ends)| ends.narrow()).collect(),
        }
    }

    /// The inputs at coordinates.
    pub(crate) fn point(&self, coordinates: &[f32]) -> Vec<f32> {
        if let Some(substitution) = &self.substitution {
            let wide: Vec<f64> = coordinates.iter().map(|&x| f64::from(x)).collect();
            return substitution.inputs(&self.base, &wide).iter().map(|&x| x as f32).collect();
        }
        let mut point = self.base.clone();
        for ((input, _), &x) in self.varying.iter().zip(coordinates) {
            point[*input] = x;
        }
        point
    }

    /// The slopes of a function of the inputs as those of a function of the coordinates.
    pub(crate) fn pull(&self, slopes: &[f64]) -> Vec<f64> {
        let Some(substitution) = &self.substitution else {
            return self.varying.iter().map(|(input, _)| slopes[*input]).collect();
        };
        let mut pull = vec![0.0; substitution.ends.len()];
        for &(input, parameter, coefficient) in &substitution.terms {
            pull[parameter] += coefficient * slopes[input];
        }
        pull
    }

    /// The counterexample at coordinates, if it is one.
    pub(crate) fn confirmed(
        &self,
        network: &Network,
        coordinates: &[f32],
        (class, others): (usize, &[usize]),
    ) -> Option<PatchCounterexample> {
        let wide: Vec<f64> = coordinates.iter().map(|&x| f64::from(x)).collect();
        self.confirmed_at(network, &wide, (class, others))
    }

    /// As [`Self::confirmed`], at coordinates in f64.
    pub(crate) fn confirmed_at(
        &self,
        network: &Network,
        coordinates: &[f64],
        (class, others): (usize, &[usize]),
    ) -> Option<PatchCounterexample> {
        let (wide, parameters) = if let Some(substitution) = &self.substitution {
            let is_inside = |(ends, &x): (&Ends, &f64)| ends.inner[0] <= x && x <= ends.inner[1];
            if !substitution.ends.iter().zip(coordinates).all(is_inside) {
                return None;
            }
            (substitution.inputs(&self.base, coordinates), coordinates.to_vec())
        } else {
            // A point of the real interval need not be an f32; the nearest one inside is as good.
            let inside = |(&x, (_, ends)): (&f64, &(usize, Ends))| {
                let (low, high) = ends.narrow();
                (x as f32).clamp(low, high)
            };
            let narrow: Vec<f32> = coordinates.iter().zip(&self.varying).map(inside).collect();
            let wide: Vec<f64> = self.point(&narrow).iter().map(|&x| f64::from(x)).collect();
            if !self.contains(&wide) {
                return None;
            }
            (wide, Vec::new())
        };
        let narrow: Vec<f32> = wide.iter().map(|&x| x as f32).collect();
        let (predicted, margin) = changed(network, (&wide, &narrow), class, others)?;
        let inputs = self.varying.iter().map(|(input, _)| (*input, narrow[*input])).collect();
        Some(PatchCounterexample { inputs, parameters, predicted, margin })
    }

    /// Whether a point of f32 values is one that the contents reach, where every input varies for itself.
    pub fn contains(&self, point: &[f64]) -> bool {
        let mut varying = self.varying.iter().peekable();
        point.len() == self.base.len()
            && point.iter().enumerate().all(|(i, &x)| match varying.next_if(|(input, _)| *input == i) {
                Some((_, ends)) => ends.inner[0] <= x && x <= ends.inner[1],
                None => x == f64::from(self.base[i]),
            })
    }
}

impl Substitution {
    /// The box of the parameters.
    ///
    /// # Errors
    /// When an end is not finite.
    pub fn region(&self) -> Result<BoxRegion, Error> {
        let ends = |end: usize| self.ends.iter().map(|ends| ends.outer[end]).collect();
        let mut region = BoxRegion::new(ends(0), ends(1))?;
        region.inner_lower = self.ends.iter().map(|ends| ends.inner[0]).collect();
        region.inner_upper = self.ends.iter().map(|ends| ends.inner[1]).collect();
        Ok(region)
    }

    /// The network's inputs at these parameters.
    pub fn inputs(&self, base: &[f32], parameters: &[f64]) -> Vec<f64> {
        let mut inputs: Vec<f64> = base.iter().map(|&x| f64::from(x)).collect();
        for &(input, parameter, coefficient) in &self.terms {
            let own = if self.keeps_base { inputs[input] } else { 0.0 };
            inputs[input] = own + coefficient * parameters[parameter];
        }
        inputs
    }

    /// The network as a function of the parameters: its first layer makes its inputs of them, what rounding may have cost the
    /// coefficients inside its errors.
    ///
    /// # Errors
    /// None for a network of as many inputs as `base`.
    pub fn applied(&self, base: &[f32], network: &Network) -> Result<Network, Error> {
        let n = base.len();
        let mut sparse = Sparse { n_in: self.ends.len(), offsets: vec![0], columns: Vec::new(), values: Vec::new() };
        let mut bias: Vec<f64> = base.iter().map(|&x| f64::from(x)).collect();
        let mut absolute = vec![0.0; n];
        let mut terms = self.terms.iter().peekable();
        for i in 0..n {
            while let Some(&(_, parameter, coefficient)) = terms.next_if(|(input, ..)| *input == i) {
                sparse.columns.push(parameter as u32);
                sparse.values.push(coefficient);
                if self.keeps_base {
                    // The difference of two floats may have been rounded.
                    absolute[i] = f64::EPSILON * coefficient.abs() + f64::MIN_POSITIVE;
                } else {
                    bias[i] = 0.0;
                }
            }
            sparse.offsets.push(sparse.columns.len() as u32);
        }
        let is_exact = absolute.iter().all(|&error| error == 0.0);
        let error =
            WeightError { relative: 0.0, absolute: if is_exact { Vec::new() } else { absolute }, bias: Vec::new() };
        let affine = Affine { map: LinearMap::Sparse(sparse), bias, error };
        let mut builder = Network::builder(&[self.ends.len()])?;
        let own = &network.nodes()[0];
        builder.push("patch", Op::Affine(Arc::new(affine)), &[NodeId(0)], &own.shape)?;
        for node in &network.nodes()[1..] {
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| NodeId(input.0 + 1)).collect();
            builder.push(node.name.clone(), node.op.clone(), &inputs, &node.shape)?;
        }
        Ok(builder.build(NodeId(network.output().0 + 1))?)
    }
}
