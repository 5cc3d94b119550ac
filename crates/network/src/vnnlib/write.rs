//! Properties as text, such that reading it gives the same property.

use std::fmt::Write;

use crate::{BoxRegion, Disjunct, Error, HalfSpace, Property};

/// A property as VNN-LIB 1.0; [`super::parse`] gives the same property back.
///
/// A number that is only known to lie between two neighbouring floats is written as a decimal between them.
///
/// # Errors
/// When the property has no disjunct, or one without half-spaces: the text would say nothing of outputs.
pub fn write(property: &Property) -> Result<String, Error> {
    let Some(first) = property.disjuncts.first() else {
        return Err(Error::format("a property without disjuncts cannot be written: nothing violates it"));
    };
    if property.disjuncts.iter().any(|disjunct| disjunct.half_spaces.is_empty()) {
        return Err(Error::format("a property that every input of a box violates cannot be written"));
    }
    let mut text = String::new();
    for i in 0..property.n_inputs {
        let _ = writeln!(text, "(declare-const X_{i} Real)");
    }
    for k in 0..property.n_outputs {
        let _ = writeln!(text, "(declare-const Y_{k} Real)");
    }
    let is_shared = property.disjuncts.iter().all(|disjunct| disjunct.region == first.region);
    if is_shared {
        bounds(&first.region).for_each(|bound| {
            let _ = writeln!(text, "(assert {bound})");
        });
    }
    let _ = writeln!(text, "(assert (or");
    for Disjunct { region, half_spaces } in &property.disjuncts {
        let own = if is_shared { Vec::new() } else { bounds(region).collect() };
        let parts: Vec<String> = own.into_iter().chain(half_spaces.iter().map(comparison)).collect();
        let _ = writeln!(text, "  (and {})", parts.join(" "));
    }
    text.push_str("))\n");
    Ok(text)
}

/// The bounds of every input.
fn bounds(region: &BoxRegion) -> impl Iterator<Item = String> + '_ {
    (0..region.n_inputs()).flat_map(|i| {
        let low = decimal([region.lower[i], region.inner_lower[i]]);
        let high = decimal([region.inner_upper[i], region.upper[i]]);
        [format!("(>= X_{i} {low})"), format!("(<= X_{i} {high})")]
    })
}

/// `Σ a_i x_i + Σ c_j y_j ≤ −d`; the usual short form where one output is compared with another.
fn comparison(half_space: &HalfSpace) -> String {
    let HalfSpace { input, output, constant } = half_space;
    if let (true, [(i, a), (j, b)], [0.0, 0.0]) = (input.is_empty(), output.as_slice(), *constant) {
        match (a, b) {
            ([1.0, 1.0], [-1.0, -1.0]) => return format!("(<= Y_{i} Y_{j})"),
            ([-1.0, -1.0], [1.0, 1.0]) => return format!("(>= Y_{i} Y_{j})"),
            _ => {}
        }
    }
    let terms: Vec<String> = [('X', input), ('Y', output)]
        .into_iter()
        .flat_map(|(letter, terms)| terms.iter().map(move |&(i, pair)| format!("(* {} {letter}_{i})", decimal(pair))))
        .collect();
    let right = decimal([-constant[1], -constant[0]]);
    match terms.as_slice() {
        [] => format!("(<= 0.0 {right})"),
        [one] => format!("(<= {one} {right})"),
        several => format!("(<= (+ {}) {right})", several.join(" ")),
    }
}

/// Digits behind the point that no float needs more of.
const MOST_DIGITS: usize = 1074;

/// Exactly this float, or a decimal strictly between two neighbouring ones.
fn decimal([below, above]: [f64; 2]) -> String {
    let nearer = if below.abs() <= above.abs() { below } else { above };
    let sign = if below < 0.0 { "-" } else { "" };
    let exact = format!("{:.MOST_DIGITS$}", nearer.abs());
    let exact = exact.trim_end_matches('0');
    let n_exact = exact.len() - exact.find('.').unwrap_or(0) - 1;
    if below == above {
        return format!("{sign}{exact}{}", if n_exact == 0 { "0" } else { "" });
    }
    // Farther from zero by less than a tenth of the distance between the two.
    let n_digits = ((1.0 - (above - below).log10()).ceil().max(1.0) as usize).max(n_exact);
    format!("{sign}{:.n_digits$}1", nearer.abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vnnlib::parse;

    #[test]
    fn decimals_are_exact() {
        for value in [0.0, 1.0, 0.1, f64::from(0.3_f32), 5e-324, 1e300, -0.75] {
            let text = decimal([value; 2]);
            assert_eq!(text.parse::<f64>().unwrap().to_bits(), value.to_bits());
            assert!(text.contains('.') && !text.contains('e'));
        }
        assert_eq!((decimal([0.625; 2]), decimal([-2.0; 2])), ("0.625".into(), "-2.0".into()));
        assert!(decimal([0.1; 2]).starts_with("0.1000000000000000055511151231257827"));
        assert_eq!(decimal([0.5, 0.5_f64.next_up()]), "0.500000000000000001");
    }

    #[test]
    fn a_class_is_compared_as_people_write_it() {
        let region = BoxRegion::new(vec![0.25], vec![0.5]).unwrap();
        let text = write(&Property::class_is_kept(&region, 1, 3).unwrap()).unwrap();
        assert!(text.ends_with("(assert (or\n  (and (>= Y_0 Y_1))\n  (and (<= Y_1 Y_2))\n))\n"), "{text}");
    }

    #[test]
    fn what_says_nothing_of_outputs_is_an_error() {
        let region = BoxRegion::new(vec![0.0], vec![1.0]).unwrap();
        let mut property = Property { n_inputs: 1, n_outputs: 1, disjuncts: Vec::new() };
        assert!(write(&property).is_err());
        property.disjuncts.push(Disjunct { region, half_spaces: Vec::new() });
        assert!(write(&property).is_err());
    }

    /// A float, or two neighbouring ones.
    fn pair() -> impl Strategy<Value = [f64; 2]> {
        let value = prop_oneof![Just(0.0), Just(-1.0), Just(5e-324), -4.0..4.0, proptest::num::f64::NORMAL];
        (value, any::<bool>()).prop_map(|(x, is_exact): (f64, bool)| {
            let x = x.clamp(-1e100, 1e100);
            if is_exact { [x, x] } else { [x, x.next_up()] }
        })
    }

    fn disjunct() -> impl Strategy<Value = Disjunct> {
        let coefficient = || pair().prop_map(|pair| if pair[0] * pair[1] <= 0.0 { [1.5; 2] } else { pair });
        (prop::array::uniform2((pair(), pair())), prop::collection::vec((coefficient(), coefficient(), pair()), 1..3))
            .prop_map(|(ends, rows)| {
                let sorted = ends.map(|(a, b)| if a[1] <= b[0] { (a, b) } else { (b, a) });
                let side = |end: fn(&([f64; 2], [f64; 2])) -> f64| sorted.iter().map(end).collect();
                let region = BoxRegion {
                    lower: side(|(low, _)| low[0]),
                    inner_lower: side(|(low, _)| low[1]),
                    inner_upper: side(|(_, high)| high[0]),
                    upper: side(|(_, high)| high[1]),
                };
                let half_space = |(input, output, constant)| HalfSpace {
                    input: vec![(1, input)],
                    output: vec![(0, output)],
                    constant,
                };
                Disjunct { region, half_spaces: rows.into_iter().map(half_space).collect() }
            })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(disjuncts in prop::collection::vec(disjunct(), 1..4)) {
            // Boxes of overlapping ends may be empty.
            let is_box = |disjunct: &Disjunct| {
                let region = &disjunct.region;
                (0..2).all(|i| region.inner_lower[i] <= region.inner_upper[i])
            };
            prop_assume!(disjuncts.iter().all(is_box));
            let property = Property { n_inputs: 2, n_outputs: 1, disjuncts };
            let read = parse(&write(&property).unwrap()).unwrap();
            prop_assert_eq!(read, property);
        }
    }
}
