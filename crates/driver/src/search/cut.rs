use crate::search::objective::Objective;

/// Shrinks a box, given as lower ends and then upper ends, to where a disjunct could hold: `lower` are bounds of the objective's rows
/// over the box, each the least value there of a linear function below its row, and `slopes` those functions' slopes,
/// `[n_rows, n_inputs]`.
///
/// Soundness: with its slack inside, a row's bound `L` gives `r(x) ≥ L + Σ |a_i| d_i` for every `x` of the box, `d_i` being the distance
/// of `x_i` from the end at which `a_i x_i` is least: what rounding took is bounded over the whole box. So `r(x) ≤ 0` leaves
/// `d_i ≤ −L / |a_i|` only. Every quotient and end is rounded outward. A disjunct that a row excludes needs nothing of the box.
///
/// Whether anything was cut off.
pub fn cut(ends: &mut [f32], objective: &Objective, lower: &[f64], slopes: &[f64]) -> bool {
    let n = ends.len() / 2;
    if slopes.len() != lower.len() * n {
        return false;
    }
    let whole = ends.to_vec();
    let mut hull: Option<Vec<f32>> = None;
    for (_, rows) in &objective.disjuncts {
        if rows.clone().any(|row| lower[row] > 0.0) {
            continue;
        }
        let mut left = whole.clone();
        for row in rows.clone() {
            cut_by(&mut left, &whole, lower[row], &slopes[row * n..][..n]);
        }
        match &mut hull {
            None => hull = Some(left),
            Some(hull) => {
                let (low, high) = hull.split_at_mut(n);
                low.iter_mut().zip(&left[..n]).for_each(|(low, &end)| *low = low.min(end));
                high.iter_mut().zip(&left[n..]).for_each(|(high, &end)| *high = high.max(end));
            }
        }
    }
    if let Some(hull) = hull {
        ends.copy_from_slice(&hull);
    }
    *ends != *whole
}

/// What one row leaves of a box. A bound that is no number, or infinite, leaves all of it.
fn cut_by(left: &mut [f32], whole: &[f32], bound: f64, slopes: &[f64]) {
    let n = slopes.len();
    for (i, &slope) in slopes.iter().enumerate() {
        let reach = (-bound / slope.abs()).next_up();
        if slope > 0.0 && reach >= 0.0 {
            let end = above((f64::from(whole[i]) + reach).next_up());
            if end < left[n + i] {
                left[n + i] = end.max(left[i]);
            }
        } else if slope < 0.0 && reach >= 0.0 {
            let end = -above((reach - f64::from(whole[n + i])).next_up());
            if end > left[i] {
                left[i] = end.min(left[n + i]);
            }
        }
    }
}

/// The nearest f32 that is not below.
fn above(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) < value { nearest.next_up() } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::random::Random;

    #[test]
    fn a_row_cuts_what_it_proves_positive() {
        // x₀ − 2 x₁ + 1 over [0, 4] × [0, 1]: at least −1, so that x₀ ≤ 1 and x₁ ≥ ½ where it is not positive.
        let whole = [0.0, 0.0, 4.0, 1.0];
        let mut left = whole;
        cut_by(&mut left, &whole, -1.0, &[1.0, -2.0]);
        let expected = [0.0, 0.5, 1.0, 1.0];
        assert!(
            left.iter().zip(expected).all(|(&end, expected): (&f32, f32)| (end - expected).abs() < 1e-6),
            "{left:?}"
        );
        assert!(left[1] <= 0.5 && left[2] >= 1.0);
    }

    #[test]
    fn nothing_is_cut_by_bounds_that_say_nothing() {
        let whole = [-1.0, 2.0];
        for bound in [f64::NAN, f64::NEG_INFINITY] {
            for slope in [0.0, -0.0, 1e-300, -3.0, f64::NAN, f64::INFINITY] {
                let mut left = whole;
                cut_by(&mut left, &whole, bound, &[slope]);
                assert_eq!(left, whole, "{bound} {slope}");
            }
        }
    }

    #[test]
    fn points_that_no_row_excludes_stay() {
        let mut random = Random::new(5);
        let (mut n_cut, mut n_kept) = (0, 0);
        for _ in 0..3000 {
            let n = 1 + (random.unit() * 4.0) as usize;
            let size = 10.0_f32.powf(random.unit() * 12.0 - 8.0);
            let lower: Vec<f32> = (0..n).map(|_| size * (random.unit() - 0.5)).collect();
            let upper: Vec<f32> = lower.iter().map(|l| l + size * random.unit() * random.unit()).collect();
            let whole = [lower.clone(), upper.clone()].concat();
            let slopes: Vec<f64> = (0..n).map(|_| f64::from(random.unit()) - 0.5).collect();
            let term = |i: usize| (slopes[i] * f64::from(lower[i])).min(slopes[i] * f64::from(upper[i]));
            let least: f64 = (0..n).map(term).sum();
            // The constant puts the zero inside the values of the row.
            let constant = -least - f64::from(random.unit() * random.unit()) * f64::from(size);
            let slack = 1e-12 * f64::from(size) + f64::MIN_POSITIVE;
            let mut left = whole.clone();
            cut_by(&mut left, &whole, least + constant - slack, &slopes);
            n_cut += usize::from(left != whole);
            assert!((0..n).all(|i| whole[i] <= left[i] && left[i] <= left[n + i] && left[n + i] <= whole[n + i]));
            for _ in 0..20 {
                let inside = |i: usize| {
                    let (l, u) = (f64::from(lower[i]), f64::from(upper[i]));
                    // Ends and what lies near them matter most.
                    (l + (u - l) * [0.0, 1.0, 1e-7, 0.5, f64::from(random.unit())][(random.unit() * 5.0) as usize])
                        .clamp(l, u)
                };
                let point: Vec<f64> = (0..n).map(inside).collect();
                let value: f64 = point.iter().zip(&slopes).map(|(x, a)| a * x).sum::<f64>() + constant;
                if value <= 0.0 {
                    n_kept += 1;
                    let is_in = |i: usize| f64::from(left[i]) <= point[i] && point[i] <= f64::from(left[n + i]);
                    assert!((0..n).all(is_in), "{point:?} of {whole:?} is not in {left:?}");
                }
            }
        }
        assert!(n_cut > 500 && n_kept > 5000, "{n_cut} cut, {n_kept} kept");
    }
}
