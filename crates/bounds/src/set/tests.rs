use network::ssim::Similarity;

use super::*;

/// Numbers in `[0, 1)`, the same every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.next()).ln()).sqrt() * (std::f64::consts::TAU * self.next()).cos()
    }
}

fn similarity(x: &[f64], r: &[f64]) -> f64 {
    Similarity::Global.value([1, 1, x.len()], x, r).unwrap()
}

/// A dark image with a few bright values, as digits are.
fn image(n: usize, numbers: &mut Numbers) -> Vec<f64> {
    (0..n).map(|_| if numbers.next() < 0.7 { 0.0 } else { (numbers.next() * 255.0).round() / 255.0 }).collect()
}

fn room_of(a: Vec<f64>) -> Room {
    let n = a.len();
    Room { a, ..Room::within(vec![0.0; n], vec![1.0; n]) }
}

/// The point on the way from the reference to `x` that is just similar enough.
fn pulled(x: &[f64], r: &[f64], threshold: f64) -> Vec<f64> {
    pulled_by(&similarity, x, r, threshold)
}

fn pulled_by(similarity: &dyn Fn(&[f64], &[f64]) -> f64, x: &[f64], r: &[f64], threshold: f64) -> Vec<f64> {
    let at = |t: f64| -> Vec<f64> { r.iter().zip(x).map(|(r, x)| r + t * (x - r)).collect() };
    let (mut inside, mut outside) = (0.0, 1.0);
    if similarity(x, r) >= threshold {
        return x.to_vec();
    }
    for _ in 0..60 {
        let middle = 0.5 * (inside + outside);
        if similarity(&at(middle), r) >= threshold { inside = middle } else { outside = middle }
    }
    at(inside)
}

#[test]
fn the_bound_meets_a_member_of_the_set() {
    // Strong duality: where the set is convex, the bound and the value of a member agree.
    let mut numbers = Numbers(1);
    for (case, n) in [16, 36, 64, 100, 192, 784].into_iter().cycle().take(1000).enumerate() {
        let reference = image(n, &mut numbers);
        let threshold = [0.9999, 0.999, 0.99, 0.95, 0.9, 0.87][(case % 6) ^ (case / 6 % 2)];
        let set = SsimSet::new(&reference, threshold, [0.0, 1.0]);
        let shift = [0.0, 0.5, -0.5, 2.0][case % 4] * numbers.normal();
        let a: Vec<f64> = (0..n).map(|_| numbers.normal() + shift).collect();
        let mut room = room_of(a.clone());
        let bound = set.least(&mut room, f64::INFINITY, Effort::PRECISE);
        let value_at = |x: &[f64]| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
        // Minimisers over slightly smaller sets are nearly always members; the best of them is the reference.
        let mut value = value_at(&pulled(&room.point, &reference, threshold));
        for share in [1e-7, 1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3] {
            let smaller = SsimSet::new(&reference, threshold + share * (1.0 - threshold), [0.0, 1.0]);
            smaller.least(&mut room, f64::INFINITY, Effort::PRECISE);
            value = value.min(value_at(&pulled(&room.point, &reference, threshold)));
        }
        assert!(bound <= value, "{case}: the bound {bound} is above the member's {value}");
        let gap = (value - bound) / value.abs().max(value_at(&reference) - value);
        assert!(gap < 1e-5, "{case}: n {n}, threshold {threshold}: {bound} and {value}, gap {gap:e}");
    }
}

#[test]
fn no_member_is_below_the_bound() {
    let mut numbers = Numbers(2);
    for case in 0..300 {
        let n = [4, 12, 30][case % 3];
        let reference = if case % 10 == 0 { vec![0.25; n] } else { image(n, &mut numbers) };
        let threshold = [0.99, 0.9, 0.7, 0.5, 0.3, 0.05][case / 3 % 6];
        let set = SsimSet::new(&reference, threshold, [0.0, 1.0]);
        let (low, high) = set.enclosure().unwrap();
        let mut found = 0;
        let draw = |numbers: &mut Numbers| -> Option<Vec<f64>> {
            // Members: noise around multiples of the reference, shifted; pulled to the boundary half of the time.
            let (scale, shift, noise) = (2.0 * numbers.next(), 0.3 * numbers.normal(), 0.5 * numbers.next());
            let mut x: Vec<f64> = Vec::with_capacity(n);
            x.extend(reference.iter().map(|r| (r * scale + shift + noise * numbers.normal()).clamp(0.0, 1.0)));
            let x = if numbers.next() < 0.5 { pulled(&x, &reference, threshold) } else { x };
            (similarity(&x, &reference) >= threshold).then_some(x)
        };
        for _ in 0..5 {
            let a: Vec<f64> = (0..n).map(|_| numbers.normal()).collect();
            let mut room = room_of(a.clone());
            let bound = set.least(&mut room, f64::INFINITY, Effort::PRECISE);
            for _ in 0..200 {
                let Some(x) = draw(&mut numbers) else { continue };
                found += 1;
                let value: f64 = a.iter().zip(&x).map(|(a, x)| a * x).sum();
                assert!(bound <= value + 1e-12, "{case}: {bound} above {value} at threshold {threshold}");
                for i in 0..n {
                    assert!(low[i] <= x[i] && x[i] <= high[i], "{case}: {i} {x:?}");
                }
            }
        }
        assert!(found > 0, "{case}: no member was drawn");
    }
}

#[test]
fn a_set_around_a_constant_is_a_shift() {
    // r0 = 0: at mean m the radius squared is n C2 (l/τ − 1).
    let set = SsimSet::new(&[0.5; 4], 0.9, [0.0, 1.0]);
    let mut room = room_of(vec![1.0; 4]);
    let bound = set.least(&mut room, f64::INFINITY, Effort::PRECISE);
    let [lower, _] = set.means().unwrap();
    assert!((bound - 4.0 * lower).abs() < 1e-6, "{bound} {lower}");
}

#[test]
fn means_that_do_not_occur_leave_nothing() {
    assert!(SsimSet::new(&[0.2, 0.4], 0.99, [0.8, 1.0]).is_empty());
    assert!(!SsimSet::new(&[0.2, 0.4], 1.0, [0.0, 1.0]).is_empty());
}

#[test]
fn parts_of_the_means_cover_the_set() {
    let mut numbers = Numbers(3);
    for threshold in [0.95, 0.9, 0.87] {
        let reference = image(16, &mut numbers);
        let whole = SsimSet::new(&reference, threshold, [0.0, 1.0]);
        let [from, to] = whole.means().unwrap();
        for _ in 0..50 {
            let a: Vec<f64> = (0..16).map(|_| numbers.normal()).collect();
            let middle = from + (to - from) * numbers.next();
            let least = |set: &SsimSet| set.least(&mut room_of(a.clone()), f64::INFINITY, Effort::PRECISE);
            let parts = least(&SsimSet::new(&reference, threshold, [from, middle])).min(least(&SsimSet::new(
                &reference,
                threshold,
                [middle, to],
            )));
            assert!(parts >= least(&whole) - 1e-3, "{threshold}: {parts} {}", least(&whole));
        }
    }
}

#[test]
fn a_smaller_box_never_lowers_the_bound() {
    let mut numbers = Numbers(4);
    for _ in 0..100 {
        let reference = image(16, &mut numbers);
        let set = SsimSet::new(&reference, 0.95, [0.0, 1.0]);
        let a: Vec<f64> = (0..16).map(|_| numbers.normal()).collect();
        let mut large = room_of(a.clone());
        let mut small = room_of(a);
        for i in 0..16 {
            small.lower[i] = (reference[i] - 0.1 * numbers.next()).max(0.0);
            small.upper[i] = (reference[i] + 0.1 * numbers.next()).min(1.0);
        }
        let scale = 1e-4;
        let (large, small) = (
            set.least(&mut large, f64::INFINITY, Effort::PRECISE),
            set.least(&mut small, f64::INFINITY, Effort::PRECISE),
        );
        assert!(small >= large - scale, "{small} {large}");
    }
}

/// Members of a set, drawn around its reference and half of them on its boundary, never fall below the bound of a random row.
fn check_members(
    set: &InputSet,
    similarity: Similarity,
    shape: [usize; 3],
    reference: &[f64],
    threshold: f64,
    seed: u64,
) {
    let mut numbers = Numbers(seed);
    let n = reference.len();
    let value = |x: &[f64], r: &[f64]| similarity.value(shape, x, r).unwrap();
    let (low, high) = set.enclosure().unwrap();
    for row in 0..4 {
        let a: Vec<f64> = (0..n).map(|i| if row == 0 { f64::from(i < n / 2) } else { numbers.normal() }).collect();
        let mut room = room_of(a.clone());
        // Half of the rows over a smaller box.
        if row % 2 == 1 {
            for i in 0..n {
                room.lower[i] = (reference[i] - 0.3 * numbers.next()).max(0.0);
                room.upper[i] = (reference[i] + 0.3 * numbers.next()).min(1.0);
            }
        }
        let bound = set.least(&mut room, f64::INFINITY, Effort::default());
        let at_reference: f64 = a.iter().zip(reference).map(|(a, r)| a * r).sum();
        assert!(bound <= at_reference, "{bound} is above the reference's {at_reference}");
        let mut points = vec![room.point.clone()];
        for _ in 0..60 {
            let (scale, shift, noise) = (2.0 * numbers.next(), 0.2 * numbers.normal(), 0.4 * numbers.next());
            let channel = (numbers.next() * shape[0] as f64) as usize;
            let is_own = |i: usize| numbers_channel(i, shape) == channel || noise < 0.2;
            let mut x = reference.to_vec();
            for i in 0..n {
                if is_own(i) {
                    x[i] = (x[i] * scale + shift + noise * numbers.normal()).clamp(room.lower[i], room.upper[i]);
                }
            }
            points.push(x);
        }
        for x in points {
            let x = pulled_by(&value, &x, reference, threshold);
            if value(&x, reference) < threshold {
                continue;
            }
            let at: f64 = a.iter().zip(&x).map(|(a, x)| a * x).sum();
            assert!(bound <= at + 1e-12, "{similarity:?}, threshold {threshold}: {bound} is above a member's {at}");
            assert!((0..n).all(|i| low[i] <= x[i] && x[i] <= high[i]));
        }
    }
}

fn numbers_channel(i: usize, [_, height, width]: [usize; 3]) -> usize {
    i / (height * width)
}

#[test]
fn no_member_of_several_channels_is_below_the_bound() {
    let mut numbers = Numbers(5);
    for (case, threshold) in [0.99, 0.95, 0.8, 0.6, 0.3].into_iter().cycle().take(20).enumerate() {
        let shape = [2 + case % 2, 3, 4];
        let reference = image(shape.iter().product(), &mut numbers);
        let set = InputSet::Ssim(SsimSet::of_channels(&reference, shape[0], threshold));
        check_members(&set, Similarity::ChannelMean, shape, &reference, threshold, case as u64);
    }
}

#[test]
fn no_member_of_many_windows_is_below_the_bound() {
    let mut numbers = Numbers(6);
    for (case, threshold) in [0.9999, 0.999, 0.98, 0.9, 0.6].into_iter().cycle().take(10).enumerate() {
        let shape = [1 + case % 2, 12, 14];
        let reference = image(shape.iter().product(), &mut numbers);
        let set = InputSet::Windowed(WindowedSet::new(shape, &reference, threshold));
        check_members(&set, Similarity::Windowed, shape, &reference, threshold, case as u64);
    }
}

#[test]
fn equal_channels_share_what_is_lacking() {
    // With one channel changed alone it may lack everything; the bound of a row on that channel is that of the smaller threshold.
    let mut numbers = Numbers(7);
    let one = image(16, &mut numbers);
    let both: Vec<f64> = one.iter().chain(&one).copied().collect();
    let a: Vec<f64> = (0..32).map(|i| if i < 16 { numbers.normal() } else { 0.0 }).collect();
    let mean = SsimSet::of_channels(&both, 2, 0.97).least(&mut room_of(a.clone()), f64::INFINITY, Effort::PRECISE);
    let alone =
        SsimSet::new(&one, 0.94, [0.0, 1.0]).least(&mut room_of(a[..16].to_vec()), f64::INFINITY, Effort::PRECISE);
    assert!(mean <= alone + 1e-9 && mean > alone - 0.02 * alone.abs().max(1.0), "{mean} {alone}");
}

#[test]
fn no_threshold_is_too_small() {
    // Balls as large as that overflow; what is not a number must not be taken for a large bound.
    for threshold in [1e-3, 1e-9, 1e-100, 1e-153, 1e-156, 1e-160, 1e-300, f64::MIN_POSITIVE, f64::from_bits(1)] {
        for reference in [vec![0.0; 9], vec![1.0, 0.0, 0.5, 0.0]] {
            for rows in [vec![1.0; reference.len()], (0..reference.len()).map(|i| i as f64 - 1.5).collect()] {
                let set = SsimSet::new(&reference, threshold, [0.0, 1.0]);
                let at_reference: f64 = rows.iter().zip(&reference).map(|(a, r)| a * r).sum();
                let bound = set.least(&mut room_of(rows), f64::INFINITY, Effort::PRECISE);
                // A bound that is not finite says nothing to whoever asks.
                assert!(!bound.is_finite() || bound <= at_reference, "{threshold}: {bound} above {at_reference}");
                let (low, high) = set.enclosure().unwrap();
                assert!(reference.iter().zip(low.iter().zip(&high)).all(|(r, (l, h))| l <= r && r <= h));
            }
        }
    }
}

#[test]
fn no_coefficient_is_too_small_or_too_large() {
    let reference = [0.3, 0.7, 0.6, 0.2];
    for scale in [1e-300, 1e-200, 1e-160, 1e-30, 1.0, 1e30, 1e153, 1e156, 1e160, 1e200, 1e300] {
        for n_channels in [1, 2] {
            let set = SsimSet::of_channels(&reference, n_channels, 0.9);
            let a: Vec<f64> = [1.0, -2.0, 3.0, -1.0].iter().map(|a| a * scale).collect();
            let unit: Vec<f64> = a.iter().map(|a| a / scale).collect();
            let mut room = room_of(a);
            let bound = set.least(&mut room, f64::INFINITY, Effort::PRECISE) / scale;
            let expected = set.least(&mut room_of(unit), f64::INFINITY, Effort::PRECISE);
            // Of coefficients near underflow some digits are lost, of the bound none may be.
            assert!(!bound.is_finite() || bound <= expected + 1e-6, "{scale:e}: {bound} above {expected}");
        }
    }
}

#[test]
fn no_value_of_a_member_leaves_the_box_around_many_windows() {
    let mut numbers = Numbers(12);
    let shape = [1, 14, 13];
    for threshold in [0.9999, 0.999, 0.99, 0.9] {
        // Dark with a stroke: where windows are flat, little is allowed.
        let stroke = |i: usize| if (i % 13).abs_diff(i / 13) < 2 { 0.9 } else { 0.0 };
        let reference: Vec<f64> = (0..182).map(stroke).collect();
        let set = WindowedSet::new(shape, &reference, threshold);
        let (low, high) = set.enclosure();
        let narrow = low.iter().zip(&high).filter(|(low, high)| **high - **low < 0.5).count();
        assert!(threshold < 0.999 || narrow > 20, "{threshold}: {narrow} of 182 values are bounded");
        let value = |x: &[f64], r: &[f64]| Similarity::Windowed.value(shape, x, r).unwrap();
        for case in 0..250 {
            // One value pulls, its neighbours follow by so much, and all may shift.
            let (place, width) = ((numbers.next() * 182.0) as usize, 0.2 + 4.0 * numbers.next().powi(2));
            let push = if case % 2 == 0 { 1.0 } else { -1.0 } * (0.2 + 0.8 * numbers.next());
            let shift = if case % 3 == 0 { 0.1 * numbers.next() } else { 0.0 };
            let moved = |i: usize| {
                let apart = [i / 13, i % 13].into_iter().zip([place / 13, place % 13]);
                let square: f64 = apart.map(|(a, b)| (a.abs_diff(b) as f64).powi(2)).sum();
                (reference[i] + push * ((-square / (width * width)).exp() + shift)).clamp(0.0, 1.0)
            };
            let x: Vec<f64> = (0..182).map(moved).collect();
            let x = pulled_by(&value, &x, &reference, threshold);
            for i in 0..182 {
                assert!(
                    low[i] <= x[i] && x[i] <= high[i],
                    "{threshold}, {case}: {} not in [{}, {}]",
                    x[i],
                    low[i],
                    high[i]
                );
            }
        }
    }
}

#[test]
fn a_room_may_be_shared_by_sets() {
    let shape = [1, 12, 12];
    let reference = image(144, &mut Numbers(8));
    let other = image(144, &mut Numbers(9));
    let a: Vec<f64> = (0..144).map(|i| f64::from(i % 5) - 2.0).collect();
    let sets = [(&reference, 0.9999), (&reference, 0.6), (&other, 0.6), (&other, 0.99)];
    let mut shared = room_of(a.clone());
    for (reference, threshold) in sets {
        let set = WindowedSet::new(shape, reference, threshold);
        let bound = set.least(&mut shared, f64::INFINITY, Effort::default());
        let alone = set.least(&mut room_of(a.clone()), f64::INFINITY, Effort::default());
        assert!(bound == alone, "{threshold}: {bound} is not {alone}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn the_balls_of_a_device_contain_every_slice() {
    use super::slices::Centred;
    let mut numbers = Numbers(11);
    for case in 0..60 {
        let n = [4, 25, 784][case % 3];
        let reference = if case % 10 == 9 { vec![0.25; n] } else { image(n, &mut numbers) };
        let threshold = [0.99999, 0.999, 0.99, 0.9, 0.8661, 0.7, 0.3, 1.0][case % 8];
        let centred = Centred::new(&reference);
        let range = if case % 4 == 3 { [0.1, 0.3] } else { [0.0, 1.0] };
        let Some(slices) = centred.slices(threshold, range) else { continue };
        let balls = slices.balls();
        let [lower, upper] = slices.means();
        let norm_of_reference = centred.energy.sqrt();
        let mut widest = 0.0_f64;
        for _ in 0..200 {
            // Moments of some vector: its product with r0 is at most the norms' product.
            let norm = 10.0_f64.powf(numbers.next() * 4.0 - 2.0);
            let product = norm * norm_of_reference * (2.0 * numbers.next() - 1.0);
            let sum = numbers.normal() * norm * (n as f64).sqrt();
            let value = |ball: [f64; 3]| ball[0] * sum + ball[1] * product - ball[2] * norm;
            let least = balls.iter().map(|ball| value(ball.map(f64::from))).fold(f64::INFINITY, f64::min);
            let mut exact = f64::INFINITY;
            for k in 0..=400 {
                let mean = lower + (upper - lower) * (f64::from(k) / 400.0);
                let ball = slices.ball(mean);
                exact = exact.min(value([mean, ball.quotient, ball.radius]));
            }
            assert!(least <= exact + 1e-15 * exact.abs(), "{case}: {least} above {exact}");
            let size = (upper - lower) * sum.abs() + slices.ball(0.5 * (lower + upper)).radius * norm;
            widest = widest.max((exact - least) / size.max(1e-12));
        }
        let most = if threshold >= 0.8661 { 0.005 } else { 0.05 };
        assert!(threshold == 1.0 || widest < most, "{case}: threshold {threshold}, n {n}: {widest}");
    }
}
