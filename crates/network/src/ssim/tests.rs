use proptest::prelude::*;

use super::*;

/// Pixels in 1024ths by a formula, the same as in the script that recorded the values below.
fn image([n_channels, height, width]: [usize; 3], k: usize) -> Vec<f64> {
    let mut pixels = Vec::new();
    for z in 0..n_channels {
        for y in 0..height {
            for x in 0..width {
                let value = z * 211 + y * y * 37 + x * 59 + (x * y) % 13 * 23 + k * (x * x * 7 + y * 29 + z * 5);
                pixels.push((value % 1025) as f64 / 1024.0);
            }
        }
    }
    pixels
}

/// Another image of the shape: unrelated, nearly the same, or the same in its middle and black elsewhere.
fn other(kind: &str, shape: [usize; 3]) -> Vec<f64> {
    let base = image(shape, 0);
    let [_, height, width] = shape;
    match kind {
        "far" => image(shape, 5),
        "near" => base.iter().zip(image(shape, 3)).map(|(a, b)| (a + (b - 0.5) * 0.125).clamp(0.0, 1.0)).collect(),
        _ => {
            let is_middle = |i: usize, n: usize| (n / 3..2 * n / 3).contains(&i);
            let keeps = |p: usize| is_middle(p / width % height, height) && is_middle(p % width, width);
            base.iter().enumerate().map(|(p, &pixel)| if keeps(p) { pixel } else { 0.0 }).collect()
        }
    }
}

/// Global and channel mean from exact rational arithmetic, windowed by scikit-image 0.26.
#[expect(clippy::unreadable_literal, reason = "as recorded")]
const RECORDED: [(&str, [usize; 3], [f64; 3]); 12] = [
    ("far", [1, 11, 11], [0.07589751063577149, 0.07589751063577149, 0.1490684563270948]),
    ("near", [1, 11, 11], [0.9926554384480474, 0.9926554384480474, 0.993434707227505]),
    ("dark", [1, 11, 11], [0.05976910871288309, 0.05976910871288309, 0.5664459595999931]),
    ("far", [1, 28, 28], [0.03698154465037755, 0.03698154465037755, 0.02536903673377987]),
    ("near", [1, 28, 28], [0.9924597215110953, 0.9924597215110953, 0.9917402759576508]),
    ("dark", [1, 28, 28], [0.04021397141441875, 0.04021397141441875, 0.20043607099334704]),
    ("far", [3, 32, 24], [0.02170499036021122, 0.0210799875984573, 0.01587877738495429]),
    ("near", [3, 32, 24], [0.9924644298385139, 0.9924585683140836, 0.9915865966657708]),
    ("dark", [3, 32, 24], [0.03331838994356637, 0.033678611127835545, 0.2092198689622032]),
    ("far", [1, 13, 40], [0.05993166473248589, 0.05993166473248589, 0.040476060773301376]),
    ("near", [1, 13, 40], [0.9923696604414749, 0.9923696604414749, 0.9920142961186491]),
    ("dark", [1, 13, 40], [0.03361946848954722, 0.03361946848954722, 0.23867753443421053]),
];

const ALL_KINDS: [Similarity; 3] = [Similarity::Global, Similarity::ChannelMean, Similarity::Windowed];

#[test]
fn values_are_those_of_other_implementations() {
    for (kind, shape, expected) in RECORDED {
        let (x, r) = (other(kind, shape), image(shape, 0));
        for (similarity, expected) in ALL_KINDS.into_iter().zip(expected) {
            let value = similarity.value(shape, &x, &r).unwrap();
            // scikit-image subtracts squares of means, which costs it some 1e-13.
            assert!((value - expected).abs() <= 1e-12, "{kind} {shape:?} {similarity:?}: {value} and {expected}");
        }
    }
}

#[test]
fn the_lower_bound_lies_just_below_the_exact_value() {
    for (kind, shape, expected) in RECORDED {
        let (x, r) = (other(kind, shape), image(shape, 0));
        for (similarity, exact) in ALL_KINDS.into_iter().zip(expected).take(2) {
            let bound = similarity.lower_bound(shape, &x, &r).unwrap();
            // The recorded value is the float nearest to the exact one.
            assert!(bound < exact.next_up() && bound > exact - 3e-14, "{kind} {shape:?}: {bound} and {exact}");
        }
    }
}

#[test]
fn a_case_by_hand() {
    // Means 1/2 and 1/2, variances 1/4 and 0, covariance 0: the luminance is 1, the rest C2 / (1/4 + C2).
    let value = Similarity::Global.value([1, 1, 2], &[0.0, 1.0], &[0.5, 0.5]).unwrap();
    assert!((value - C2 / (0.25 + C2)).abs() < 1e-16);
    // Two channels: that one, and an equal one.
    let mean = Similarity::ChannelMean.value([2, 1, 2], &[0.0, 1.0, 0.2, 0.3], &[0.5, 0.5, 0.2, 0.3]).unwrap();
    assert!((mean - f64::midpoint(value, 1.0)).abs() < 1e-15);
}

#[test]
fn an_image_is_as_similar_to_itself_as_can_be() {
    for pixels in [image([1, 12, 12], 4), vec![0.0; 144], vec![0.3; 144]] {
        for similarity in ALL_KINDS {
            assert!((similarity.value([1, 12, 12], &pixels, &pixels).unwrap() - 1.0).abs() <= 4e-16);
            assert_eq!(similarity.lower_bound([1, 12, 12], &pixels, &pixels).unwrap(), 1.0);
        }
    }
}

#[test]
fn what_has_no_similarity_is_refused() {
    let message = |similarity: Similarity, shape, x: &[f64], r: &[f64]| {
        let errors = [similarity.value(shape, x, r), similarity.lower_bound(shape, x, r)];
        let [value, bound] = errors.map(|result| result.unwrap_err().to_string());
        assert_eq!(value, bound);
        value
    };
    let square = [0.5; 100];
    let expected = "windowed SSIM needs images of 11×11 pixels or more, got 10×10; the global one takes any";
    assert_eq!(message(Similarity::Windowed, [1, 10, 10], &square, &square), expected);
    let expected = "the image has 99 pixels, but its shape is [1, 10, 10]";
    assert_eq!(message(Similarity::Global, [1, 10, 10], &square[1..], &square), expected);
    let mut broken = square;
    broken[7] = f64::NAN;
    assert_eq!(message(Similarity::Global, [1, 10, 10], &square, &broken), "pixel 7 of the reference is NaN");
    assert_eq!(message(Similarity::Global, [1, 0, 10], &[], &[]), "an image of shape [1, 0, 10] is empty");
}

#[test]
fn the_weights_of_a_window_sum_to_one() {
    let window = Window::<Enclosure>::gaussian();
    let total = number::sum(121, &|i| window.weights[i]);
    assert!(total.below <= 1.0 && total.above >= 1.0 && total.above - total.below < 1e-14, "{total:?}");
}

#[test]
fn the_local_map_holds_the_windows() {
    let shape = [1, 13, 40];
    let (x, r) = (other("near", shape), image(shape, 0));
    let map = local_map(shape, &x, &r).unwrap();
    let inside: Vec<f64> = (5..8).flat_map(|y| (5..35).map(move |x| y * 40 + x)).map(|p| map[p]).collect();
    let mean = inside.iter().sum::<f64>() / inside.len() as f64;
    assert!((mean - Similarity::Windowed.value(shape, &x, &r).unwrap()).abs() < 1e-14);
    // Small images have one too.
    let map = local_map([1, 2, 3], &[0.1; 6], &[0.1; 6]).unwrap();
    assert!(map.len() == 6 && map.iter().all(|similarity| (similarity - 1.0).abs() < 1e-15), "{map:?}");
}

proptest! {
    #[test]
    fn the_bound_encloses_the_value(
        pixels in prop::collection::vec(0.0..=1.0_f64, 2 * 2 * 12 * 13),
        blend in 0.0..1.0_f64,
    ) {
        let shape = [2, 12, 13];
        let (x, r) = pixels.split_at(2 * 12 * 13);
        let x: Vec<f64> = x.iter().zip(r).map(|(x, r)| r + blend * blend * (x - r)).collect();
        for similarity in ALL_KINDS {
            let value = similarity.value(shape, &x, r).unwrap();
            let bound = similarity.lower_bound(shape, &x, r).unwrap();
            prop_assert!(bound <= value + 1e-15 && value - bound < 1e-13, "{} {}", value, bound);
            // Both images play the same part.
            prop_assert!((similarity.value(shape, r, &x).unwrap() - value).abs() < 1e-14);
        }
    }

    #[test]
    fn the_global_value_knows_no_places(pixels in prop::collection::vec((0.0..=1.0_f64, 0.0..=1.0_f64), 2..40), turn in 0usize..40) {
        let (x, r): (Vec<f64>, Vec<f64>) = pixels.iter().copied().unzip();
        let mut turned = pixels.clone();
        turned.rotate_left(turn % pixels.len());
        let (turned_x, turned_r): (Vec<f64>, Vec<f64>) = turned.into_iter().unzip();
        let value = |x: &[f64], r: &[f64]| Similarity::Global.value([1, 1, x.len()], x, r).unwrap();
        prop_assert!((value(&x, &r) - value(&turned_x, &turned_r)).abs() < 1e-14);
    }
}
