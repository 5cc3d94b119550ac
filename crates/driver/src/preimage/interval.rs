use crate::preimage::special::incomplete_beta;

/// An interval of real numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end; may be infinite.
    pub upper: f64,
}

/// The exact confidence interval of a proportion, `k` of `n`: each end fails with probability at most `delta / 2`.
///
/// Source: Clopper and Pearson 1934. The ends are quantiles of beta distributions, found by bisection and rounded outward by 1e-12.
pub fn clopper_pearson(k: u64, n: u64, delta: f64) -> Interval {
    let (k, n) = (k.min(n) as f64, n as f64);
    let quantile = |a: f64, b: f64, p: f64| {
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if incomplete_beta(a, b, middle) < p { low = middle } else { high = middle }
        }
        (low, high)
    };
    let lower = if k == 0.0 { 0.0 } else { quantile(k, n - k + 1.0, 0.5 * delta).0 - 1e-12 };
    let upper = if k == n { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - 0.5 * delta).1 + 1e-12 };
    Interval { lower: lower.max(0.0), upper: upper.min(1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_intervals() {
        // The rule of three, exactly: 1 − (δ/2)^(1/n); and a value of the literature (Brown, Cai, DasGupta 2001).
        let none = clopper_pearson(0, 20, 0.05);
        assert_eq!(none.lower, 0.0);
        assert!((none.upper - (1.0 - 0.025_f64.powf(1.0 / 20.0))).abs() < 1e-9);
        let some = clopper_pearson(10, 20, 0.05);
        assert!((some.lower - 0.272_0).abs() < 1e-4 && (some.upper - 0.728_0).abs() < 1e-4, "{some:?}");
        assert_eq!(clopper_pearson(0, 0, 0.05), Interval { lower: 0.0, upper: 1.0 });
    }

    #[test]
    fn the_interval_covers_as_often_as_it_says() {
        // By the exact binomial distribution, not by simulation.
        for p in [0.03, 0.5, 0.81] {
            let n = 40_u64;
            let mut covered = 0.0;
            let mut probability = (1.0_f64 - p).powi(n as i32);
            for k in 0..=n {
                let Interval { lower, upper } = clopper_pearson(k, n, 0.05);
                if lower <= p && p <= upper {
                    covered += probability;
                }
                probability *= (n - k) as f64 / (k + 1) as f64 * p / (1.0 - p);
            }
            assert!(covered >= 0.95, "{p}: {covered}");
        }
    }
}
