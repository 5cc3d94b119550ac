//! SSIM verdicts on small networks: against members of the set drawn at random, against each other, and against what must not matter.

use std::sync::Arc;

use driver::ssim::{Ssim, SsimOptions, SsimVerdict, Ties};
use driver::{Limits, Silent};
use network::ssim::Similarity;
use network::{Activation, Affine, Dense, Image, LinearMap, Network, NodeId, Op};

/// A reproducible stream of numbers (splitmix64).
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `[−scale, scale)`, an f32.
    fn within(&mut self, scale: f64) -> f64 {
        f64::from((scale * (2.0 * self.unit() - 1.0)) as f32)
    }
}

/// Weights `[n_out, n_in]` and biases, layer by layer, with a `ReLU` between any two.
type Layers = Vec<(Vec<f64>, Vec<f64>)>;

fn random_layers(stream: &mut Stream, sizes: &[usize]) -> Layers {
    let layer = |sizes: &[usize]| {
        let scale = 2.5 / (sizes[0] as f64).sqrt();
        let weight = (0..sizes[0] * sizes[1]).map(|_| stream.within(scale)).collect();
        (weight, (0..sizes[1]).map(|_| stream.within(0.3)).collect())
    };
    sizes.windows(2).map(layer).collect()
}

fn network_of(layers: &Layers) -> Network {
    let n_in = layers[0].0.len() / layers[0].1.len();
    let mut builder = Network::builder(&[n_in]).unwrap();
    let mut node = NodeId(0);
    for (k, (weight, bias)) in layers.iter().enumerate() {
        let n_out = bias.len();
        if k > 0 {
            let n = weight.len() / n_out;
            node = builder.push(format!("relu {k}"), Op::Activation(Activation::Relu), &[node], &[n]).unwrap();
        }
        let map = LinearMap::Dense(Dense { n_out, n_in: weight.len() / n_out, weight: weight.clone() });
        let affine = Op::Affine(Arc::new(Affine::exact(map, bias.clone())));
        node = builder.push(format!("affine {k}"), affine, &[node], &[n_out]).unwrap();
    }
    builder.build(node).unwrap()
}

fn image_of(pixels: Vec<f64>, shape: [usize; 3]) -> Image {
    Image::new(shape, pixels).unwrap()
}

fn random_image(stream: &mut Stream, shape: [usize; 3]) -> Image {
    let n = shape.iter().product();
    let pixel = |_| if stream.unit() < 0.4 { 0.0 } else { f64::from((stream.unit() * 255.0).round() as f32 / 255.0) };
    image_of((0..n).map(pixel).collect(), shape)
}

fn class_of(network: &Network, x: &[f64]) -> usize {
    let y = network.evaluate(x).unwrap();
    (0..y.len()).max_by(|&a, &b| y[a].total_cmp(&y[b])).unwrap()
}

fn options() -> SsimOptions {
    SsimOptions { limits: Limits { subdomains: Some(20_000), ..Limits::default() }, ..SsimOptions::default() }
}

/// A member of the set, half of the time on its boundary, with some pixels at the ends of their range; `None` if the draw failed.
fn member(stream: &mut Stream, reference: &Image, similarity: Similarity, threshold: f64) -> Option<Vec<f64>> {
    let r = reference.pixels();
    let value = |x: &[f64]| similarity.value(reference.shape(), x, r).unwrap();
    let (scale, shift) = (1.0 + stream.within(0.5), stream.within(0.1));
    let noise = stream.unit() * stream.unit();
    let mut far: Vec<f64> =
        r.iter().map(|r| (r * scale + shift + noise * stream.within(1.0)).clamp(0.0, 1.0)).collect();
    if stream.unit() < 0.2 {
        for x in &mut far {
            if stream.unit() < 0.3 {
                *x = x.round();
            }
        }
    }
    let at = |share: f64| -> Vec<f64> { r.iter().zip(&far).map(|(r, x)| r + share * (x - r)).collect() };
    let (mut inside, mut outside) = (0.0, 1.0);
    let whole = value(&far) >= threshold;
    if !whole {
        for _ in 0..18 {
            let middle = 0.5 * (inside + outside);
            if value(&at(middle)) >= threshold { inside = middle } else { outside = middle }
        }
    }
    let share = if whole { 1.0 } else { inside };
    let x = at(if stream.unit() < 0.5 { share } else { share * stream.unit() });
    (value(&x) >= threshold).then_some(x)
}

/// Members drawn per verified set; a campaign sets `DIADEM_MEMBERS` (60000 makes a million in all).
fn members_per_set() -> usize {
    std::env::var("DIADEM_MEMBERS").map_or(1500, |value| value.parse().expect("DIADEM_MEMBERS is a number"))
}

#[test]
fn no_member_of_a_verified_set_is_classified_otherwise() {
    let mut stream = Stream(11);
    let (mut n_verified, mut n_falsified, mut n_members) = (0, 0, 0_u64);
    for case in 0..60 {
        let shape = [[1, 3, 3], [1, 4, 4], [2, 2, 3]][case % 3];
        let similarity = if shape[0] == 2 { Similarity::ChannelMean } else { Similarity::Global };
        let n: usize = shape.iter().product();
        let layers = random_layers(&mut stream, &[n, 6, 5, 3]);
        let network = network_of(&layers);
        let reference = random_image(&mut stream, shape);
        let class = class_of(&network, reference.pixels());
        let threshold = [0.999, 0.99, 0.97, 0.93, 0.88, 0.8, 0.65][case % 7];
        let ssim = Ssim { network: &network, reference: &reference, class, similarity };
        let outcome = ssim.verify(threshold, &options(), &mut Silent).unwrap();
        match outcome.verdict {
            SsimVerdict::Verified => {
                n_verified += 1;
                for _ in 0..members_per_set() {
                    let Some(x) = member(&mut stream, &reference, similarity, threshold) else { continue };
                    n_members += 1;
                    assert_eq!(class_of(&network, &x), class, "case {case}, threshold {threshold}: {x:?}");
                }
            }
            SsimVerdict::Falsified(found) => {
                n_falsified += 1;
                assert!(similarity.value(shape, &found.image, reference.pixels()).unwrap() >= threshold);
                assert_eq!(class_of(&network, &found.image), found.predicted);
                assert_ne!(found.predicted, class);
                assert!(found.image.iter().all(|x| (0.0..=1.0).contains(x)));
            }
            other => eprintln!("case {case}, threshold {threshold}, {similarity:?}: {other:?}"),
        }
    }
    eprintln!("{n_verified} verified, {n_falsified} falsified, {n_members} members drawn");
    assert!(n_verified >= 15 && n_falsified >= 10 && n_verified + n_falsified >= 54, "{n_verified} {n_falsified}");
}

#[test]
fn what_is_verified_at_a_threshold_is_verified_above_it() {
    let mut stream = Stream(12);
    for case in 0..12 {
        let layers = random_layers(&mut stream, &[16, 8, 6, 4]);
        let network = network_of(&layers);
        let reference = random_image(&mut stream, [1, 4, 4]);
        let class = class_of(&network, reference.pixels());
        let ssim = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
        let mut worst = "verified";
        for threshold in [0.9999, 0.999, 0.995, 0.99, 0.97, 0.95, 0.9, 0.87] {
            let verdict = ssim.verify(threshold, &options(), &mut Silent).unwrap().verdict.name();
            let rank = |verdict: &str| ["verified", "unknown", "tie", "falsified"].iter().position(|v| *v == verdict);
            // Below a counterexample nothing is verified, above a proof nothing is falsified.
            assert!(rank(verdict) >= rank(worst), "case {case}: {verdict} at {threshold} after {worst}");
            worst = verdict;
        }
    }
}

#[test]
fn the_order_of_pixels_does_not_matter() {
    let mut stream = Stream(13);
    for case in 0..12 {
        let layers = random_layers(&mut stream, &[16, 7, 5, 3]);
        let reference = random_image(&mut stream, [1, 4, 4]);
        let mut order: Vec<usize> = (0..16).collect();
        for i in (1..16).rev() {
            order.swap(i, (stream.next() % (i as u64 + 1)) as usize);
        }
        let mut moved = layers.clone();
        for (row, old) in moved[0].0.chunks_exact_mut(16).zip(layers[0].0.chunks_exact(16)) {
            row.iter_mut().zip(&order).for_each(|(weight, &i)| *weight = old[i]);
        }
        let shuffled = image_of(order.iter().map(|&i| reference.pixels()[i]).collect(), [1, 4, 4]);
        let threshold = [0.999, 0.99, 0.95, 0.9][case % 4];
        let verdict = |layers: &Layers, reference: &Image| {
            let network = network_of(layers);
            let class = class_of(&network, reference.pixels());
            let ssim = Ssim { network: &network, reference, class, similarity: Similarity::Global };
            ssim.verify(threshold, &options(), &mut Silent).unwrap().verdict.name()
        };
        assert_eq!(verdict(&layers, &reference), verdict(&moved, &shuffled), "case {case}");
    }
}

#[test]
fn thresholds_of_proofs_and_of_counterexamples_nearly_meet() {
    // Splitting is complete where the set is convex: what is left between is what attacks and limits leave.
    let mut stream = Stream(14);
    let mut n_near = 0;
    for _ in 0..8 {
        let layers = random_layers(&mut stream, &[9, 6, 4, 3]);
        let network = network_of(&layers);
        let reference = random_image(&mut stream, [1, 3, 3]);
        let class = class_of(&network, reference.pixels());
        let ssim = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
        let found = ssim.find_threshold(&options(), 0.05, &mut Silent).unwrap();
        let verified = found.verified.expect("something is verified near one");
        let Some(falsified) = found.falsified else { continue };
        assert!(verified > falsified, "{verified} {falsified}");
        n_near += usize::from((1.0 - verified) >= 0.85 * (1.0 - falsified));
        eprintln!("verified from {verified}, falsified up to {falsified}");
    }
    assert!(n_near >= 5, "{n_near}");
}

#[test]
fn a_constant_reference_is_legal() {
    let mut stream = Stream(15);
    let layers = random_layers(&mut stream, &[16, 6, 3]);
    let network = network_of(&layers);
    for value in [0.0, 0.5, 1.0] {
        let reference = image_of(vec![value; 16], [1, 4, 4]);
        let class = class_of(&network, reference.pixels());
        let ssim = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
        let verdict = ssim.verify(0.9999, &options(), &mut Silent).unwrap().verdict;
        assert!(matches!(verdict, SsimVerdict::Verified | SsimVerdict::Falsified(_)), "{value}: {verdict:?}");
        assert_eq!(ssim.verify(1.0, &options(), &mut Silent).unwrap().verdict, SsimVerdict::Verified, "{value}");
    }
}

#[test]
fn equal_classes_are_a_tie_and_a_violation_where_asked_for() {
    // Both outputs are the same function of the image.
    let layers = vec![(vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], vec![0.0, 0.0])];
    let network = network_of(&layers);
    let reference = image_of(vec![0.1, 0.5, 0.2, 0.9], [1, 2, 2]);
    let ssim = Ssim { network: &network, reference: &reference, class: 0, similarity: Similarity::Global };
    assert!(matches!(ssim.verify(0.9, &options(), &mut Silent).unwrap().verdict, SsimVerdict::Tie(_)));
    let strict = SsimOptions { ties: Ties::AreViolations, ..options() };
    let verdict = ssim.verify(0.9, &strict, &mut Silent).unwrap().verdict;
    assert!(matches!(verdict, SsimVerdict::Misclassified { predicted: 1 }), "{verdict:?}");
}

#[test]
fn counterexamples_survive_eight_bits_where_asked_for() {
    let mut stream = Stream(16);
    let mut n_found = 0;
    for _ in 0..12 {
        let layers = random_layers(&mut stream, &[16, 8, 3]);
        let network = network_of(&layers);
        let reference = random_image(&mut stream, [1, 4, 4]);
        let class = class_of(&network, reference.pixels());
        let ssim = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
        let safe = SsimOptions { png_safe: true, ..options() };
        let SsimVerdict::Falsified(found) = ssim.verify(0.85, &safe, &mut Silent).unwrap().verdict else { continue };
        n_found += 1;
        let saved = image_of(found.image.clone(), [1, 4, 4]).rounded_to_8_bit();
        assert_eq!(saved.pixels(), &found.image[..]);
        assert!(Similarity::Global.lower_bound([1, 4, 4], saved.pixels(), reference.pixels()).unwrap() >= 0.85);
        assert_ne!(class_of(&network, saved.pixels()), class);
    }
    assert!(n_found >= 4, "{n_found}");
}

#[test]
fn bad_questions_are_errors() {
    let mut stream = Stream(17);
    let network = network_of(&random_layers(&mut stream, &[16, 4, 3]));
    let reference = random_image(&mut stream, [1, 4, 4]);
    let class = class_of(&network, reference.pixels());
    let good = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
    for threshold in [0.0, -0.5, 1.000_001, f64::NAN, f64::INFINITY] {
        let error = good.verify(threshold, &options(), &mut Silent).unwrap_err().to_string();
        assert!(error.contains("threshold"), "{error}");
    }
    let error = Ssim { class: 3, ..good }.verify(0.9, &options(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("class 3"), "{error}");
    let small = random_image(&mut stream, [1, 3, 3]);
    let error = Ssim { reference: &small, ..good }.verify(0.9, &options(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains('9') && error.contains("16"), "{error}");
    let windowed = Ssim { similarity: Similarity::Windowed, ..good };
    let error = windowed.verify(0.9, &options(), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("11"), "{error}");
    let wrong = (class + 1) % 3;
    let verdict = Ssim { class: wrong, ..good }.verify(0.9, &options(), &mut Silent).unwrap().verdict;
    assert!(matches!(verdict, SsimVerdict::Misclassified { predicted } if predicted == class), "{verdict:?}");
}

#[test]
fn outputs_that_are_not_finite_decide_nothing() {
    let layers = vec![(vec![1e300, 1e300], vec![0.0]), (vec![1e300, -1e300], vec![0.0, 0.0])];
    let network = network_of(&layers);
    let reference = image_of(vec![0.5, 0.7], [1, 1, 2]);
    for class in 0..2 {
        let ssim = Ssim { network: &network, reference: &reference, class, similarity: Similarity::Global };
        let verdict = ssim.verify(0.99, &options(), &mut Silent).unwrap().verdict;
        assert!(matches!(verdict, SsimVerdict::Unknown(_)), "{verdict:?}");
    }
}

/// What two independent implementations say of the same rows over the same set and box.
#[test]
fn the_checkers_bounds_over_a_set_are_sound_and_near_the_engines() {
    let mut stream = Stream(21);
    let (mut widest, mut total) = (0.0_f64, 0.0);
    let mut n_rows = 0;
    for case in 0..40 {
        let shape = [[1, 4, 4], [1, 7, 7], [1, 12, 12]][case % 3];
        let n: usize = shape.iter().product();
        let reference = if case % 10 == 9 { image_of(vec![0.25; n], shape) } else { random_image(&mut stream, shape) };
        let threshold = [0.9999, 0.999, 0.99, 0.95, 0.9, 0.8, 0.5, 1.0][case % 8];
        let theirs = checker::SimilarImages::new(reference.pixels(), threshold).unwrap();
        let ours = bounds::InputSet::Ssim(bounds::SsimSet::new(reference.pixels(), threshold, [0.0, 1.0]));
        let (lower, upper) = theirs.enclosure();
        let (inner_lower, inner_upper) = ours.enclosure().unwrap();
        let similarity = Similarity::Global;
        let members: Vec<Vec<f64>> =
            (0..150).filter_map(|_| member(&mut stream, &reference, similarity, threshold)).collect();
        for x in &members {
            assert!((0..n).all(|i| lower[i] <= x[i] && x[i] <= upper[i]), "case {case}");
        }
        for i in 0..n {
            assert!(
                inner_upper[i] - upper[i] <= 0.02 && lower[i] - inner_lower[i] <= 0.02,
                "case {case}: boxes differ"
            );
        }
        for row in 0..6 {
            let scale = 10.0_f64.powi(row - 3);
            let a: Vec<f64> = (0..n).map(|_| stream.within(scale)).collect();
            let theirs = theirs.least(&a, &lower, &upper);
            let mut room = bounds::Room::within(lower.clone(), upper.clone());
            room.a.clone_from(&a);
            let ours = ours.least(&mut room, f64::INFINITY, bounds::Effort::default());
            for x in &members {
                let value: f64 = a.iter().zip(x).map(|(a, x)| a * x).sum();
                assert!(
                    theirs <= value + 1e-12 * scale,
                    "case {case}, {threshold}: {theirs} is above a member's {value}"
                );
            }
            let at_reference: f64 = a.iter().zip(reference.pixels()).map(|(a, r)| a * r).sum();
            let apart = (ours - theirs) / (at_reference - ours).max(1e-9 * scale);
            widest = widest.max(apart);
            total += apart.max(0.0);
            n_rows += 1;
        }
    }
    eprintln!(
        "{n_rows} rows: the checker's bounds lie {:.2e} of the range below the engine's, at most {widest:.2e}",
        total / f64::from(n_rows)
    );
    assert!(total / f64::from(n_rows) < 0.02, "{widest}");
}
