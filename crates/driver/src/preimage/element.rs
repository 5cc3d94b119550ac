use bounds::Plane;

/// A polytope of inputs: `{x : lower ≤ x ≤ upper, a x + b ≥ 0 for every plane}`, in the inputs that vary.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Element {
    /// Lower ends of the box.
    pub lower: Vec<f64>,
    /// Upper ends.
    pub upper: Vec<f64>,
    /// What else holds.
    pub planes: Vec<Plane>,
    /// Which output polytope it belongs to.
    pub target: usize,
    /// Its share of the region's volume (of the prior's mass), by the reported samples.
    pub volume: f64,
}

impl Element {
    /// Whether the polytope contains a point; no network is needed.
    ///
    /// Of an under-approximation this is a proof that the point lies in the preimage: what the f64 evaluation may lose is inside `b`.
    pub fn contains(&self, x: &[f64]) -> bool {
        x.len() == self.lower.len()
            && x.iter().zip(self.lower.iter().zip(&self.upper)).all(|(x, (l, u))| l <= x && x <= u)
            && self.planes.iter().all(|plane| plane.value(x) >= 0.0)
    }

    /// Drops planes that hold everywhere in the box.
    #[must_use]
    pub fn simplified(mut self) -> Self {
        let (lower, upper) = (&self.lower, &self.upper);
        self.planes.retain(|plane| {
            let ends = lower.iter().zip(upper);
            let least: f64 = plane.a.iter().zip(ends).map(|(&a, (&l, &u))| (a * l).min(a * u)).sum::<f64>() + plane.b;
            // Evaluations may differ by rounding: only what clearly holds is dropped.
            let size: f64 =
                plane.a.iter().zip(lower.iter().zip(upper)).map(|(a, (l, u))| a.abs() * l.abs().max(u.abs())).sum();
            let clearly_holds = least > 1e-12 * (size + plane.b.abs());
            !clearly_holds
        });
        self
    }
}
