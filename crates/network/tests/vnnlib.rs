//! What VNN-LIB texts mean, and what is said about those that mean nothing.

use std::fmt::Write as _;
use std::io::Write as _;

use network::{Disjunct, HalfSpace, Property, vnnlib};
use proptest::prelude::*;

/// Two inputs in [0, 1] and two outputs.
const BOX: &str =
    "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)
(assert (>= X_0 0)) (assert (<= X_0 1)) (assert (>= X_1 0)) (assert (<= X_1 1))\n";

fn with_box(assertions: &str) -> Property {
    vnnlib::parse(&format!("{BOX}{assertions}")).unwrap()
}

fn message(text: &str) -> String {
    vnnlib::parse(text).unwrap_err().to_string()
}

/// The message about assertions that start in line 6.
fn message_with_box(assertions: &str) -> String {
    message(&format!("{BOX}{assertions}"))
}

fn half_space(input: &[(usize, f64)], output: &[(usize, f64)], constant: f64) -> HalfSpace {
    let pairs = |terms: &[(usize, f64)]| terms.iter().map(|&(i, a)| (i, [a; 2])).collect();
    HalfSpace { input: pairs(input), output: pairs(output), constant: [constant; 2] }
}

fn only_half_space(assertion: &str) -> HalfSpace {
    let property = with_box(&format!("(assert {assertion})"));
    assert_eq!((property.disjuncts.len(), property.disjuncts[0].half_spaces.len()), (1, 1));
    property.disjuncts[0].half_spaces[0].clone()
}

#[test]
fn bounds_become_a_box_and_the_rest_half_spaces() {
    let property = with_box("(assert (<= Y_0 Y_1))");
    assert_eq!((property.n_inputs, property.n_outputs, property.disjuncts.len()), (2, 2, 1));
    let disjunct = &property.disjuncts[0];
    assert_eq!((disjunct.region.lower.as_slice(), disjunct.region.upper.as_slice()), (&[0.0; 2][..], &[1.0; 2][..]));
    assert_eq!(disjunct.half_spaces, [half_space(&[], &[(0, 1.0), (1, -1.0)], 0.0)]);
}

#[test]
fn a_lower_bound_on_an_output_changes_signs() {
    assert_eq!(only_half_space("(>= Y_0 3.5)"), half_space(&[], &[(0, -1.0)], 3.5));
    assert_eq!(only_half_space("(> Y_0 3.5)"), half_space(&[], &[(0, -1.0)], 3.5));
    assert_eq!(only_half_space("(<= 3.5 Y_0)"), half_space(&[], &[(0, -1.0)], 3.5));
    assert_eq!(only_half_space("(< Y_0 -3.5e0)"), half_space(&[], &[(0, 1.0)], 3.5));
}

#[test]
fn linear_terms_are_collected() {
    let expected = half_space(&[(0, 2.0)], &[(0, -1.5), (1, 1.0)], -0.25);
    for text in [
        "(<= (+ (* 2 X_0) (* Y_0 -1.5) Y_1) 0.25)",
        "(<= (+ (* 2.0 X_0) Y_1 -0.25) (* 1.5 Y_0))",
        "(>= (- 0.25 Y_1) (- (* 2 X_0) (* 1.5 Y_0)))",
        "(<= (- (+ X_0 X_0 (* 3 Y_1)) (* 2 Y_1) (* 0.5 (* 3 Y_0)) 0.25) 0)",
        "(>= (- Y_1) (- (+ (* 2 X_0) (- (* 1.5 Y_0))) (* 0.5 0.5)))",
        "(<= (* 0.5 (+ (* 4 X_0) (* 2 Y_1) (- 0.5) (* -3 Y_0))) 0)",
    ] {
        assert_eq!(only_half_space(text), expected, "{text}");
    }
}

#[test]
fn variables_that_cancel_are_gone() {
    assert_eq!(only_half_space("(<= (+ Y_0 (* 0.1 Y_1) (* 0.2 Y_1)) (* 0.3 Y_1))"), half_space(&[], &[(0, 1.0)], 0.0));
    // What is left is a bound, not a half-space.
    let property = with_box("(assert (<= (+ X_0 Y_0) (+ 0.5 Y_0)))");
    assert_eq!(property.disjuncts[0].region.upper, [0.5, 1.0]);
}

#[test]
fn relations_between_inputs_are_half_spaces() {
    assert_eq!(only_half_space("(>= X_0 X_1)"), half_space(&[(0, -1.0), (1, 1.0)], &[], 0.0));
}

#[test]
fn several_bounds_on_one_input_intersect() {
    let property = with_box("(assert (and (>= X_0 0.25) (>= X_0 0.125) (<= X_1 0.5) (<= X_1 0.75)))");
    let region = &property.disjuncts[0].region;
    assert_eq!((region.lower[0], region.upper[1]), (0.25, 0.5));
}

#[test]
fn a_multiple_of_an_input_is_bounded_by_the_quotient() {
    let property = with_box("(assert (<= (* 2 X_0) 1)) (assert (>= 0.3 (* 3 X_1)))");
    let region = &property.disjuncts[0].region;
    assert_eq!((region.upper[0], region.inner_upper[0]), (0.5, 0.5));
    assert_eq!((region.upper[1], region.inner_upper[1]), (0.1, 0.1f64.next_down()));
    let property = with_box("(assert (<= (* -4 X_0) -1))");
    assert_eq!(property.disjuncts[0].region.lower[0], 0.25);
}

#[test]
fn decimal_bounds_are_known_from_both_sides() {
    let region = &with_box("(assert (>= X_0 0.1)) (assert (<= X_0 0.3))").disjuncts[0].region;
    // 0.1 lies below the float nearest to it, 0.3 above.
    assert_eq!((region.lower[0], region.inner_lower[0]), (0.1f64.next_down(), 0.1));
    assert_eq!((region.upper[0], region.inner_upper[0]), (0.3f64.next_up(), 0.3));
}

#[test]
fn a_box_between_two_floats_is_kept_though_no_float_lies_in_it() {
    let region = &with_box("(assert (>= X_0 0.1)) (assert (<= X_0 0.1))").disjuncts[0].region;
    assert_eq!((region.lower[0], region.upper[0]), (0.1f64.next_down(), 0.1));
    assert!(region.inner_lower[0] > region.inner_upper[0]);
    assert!(!region.contains(&[0.1, 0.0]));
}

#[test]
fn tiny_numbers_are_enclosed() {
    let least = f64::from_bits(1);
    let region = &with_box("(assert (>= X_0 1e-400)) (assert (>= X_1 -1e-400))").disjuncts[0].region;
    assert_eq!((region.lower[0], region.inner_lower[0]), (0.0, least));
    assert_eq!((region.lower[1], region.inner_lower[1]), (0.0, 0.0));
    assert_eq!(only_half_space("(<= Y_0 1e-400)").constant, [-least, 0.0]);
}

#[test]
fn disjunctions_over_inputs_and_outputs_multiply() {
    let property = with_box(
        "(assert (or (and (<= X_0 0.5) (>= Y_0 1)) (>= Y_1 1)))
         (assert (or (<= X_1 0.5) (or (>= X_1 0.75) (<= Y_0 (* 2 Y_1)))))",
    );
    assert_eq!(property.disjuncts.len(), 6);
    let first = &property.disjuncts[0];
    assert_eq!(first.region.upper, [0.5, 0.5]);
    assert_eq!(first.half_spaces, [half_space(&[], &[(0, -1.0)], 1.0)]);
    let last = &property.disjuncts[5];
    assert_eq!(last.region.upper, [1.0, 1.0]);
    assert_eq!(last.half_spaces.len(), 2);
}

#[test]
fn an_empty_alternative_is_dropped() {
    let property = with_box("(assert (or (and (>= X_0 0.5) (<= X_0 0.25)) (>= Y_0 1)))");
    assert_eq!(property.disjuncts.len(), 1);
    assert_eq!(property.disjuncts[0].region.upper, [1.0, 1.0]);
}

#[test]
fn comparisons_of_constants_are_decided() {
    assert_eq!(with_box("(assert (<= 0 1e-30))").disjuncts.len(), 1);
    assert_eq!(with_box("(assert (or (<= 1 0.5) (>= 0.1 0.1)))").disjuncts.len(), 1);
    assert_eq!(with_box("(assert (<= (- Y_0 Y_0) -1))").disjuncts, []);
}

#[test]
fn without_half_spaces_every_input_violates() {
    assert_eq!(with_box("").disjuncts[0].half_spaces, []);
}

#[test]
fn layout_does_not_matter() {
    let spread =
        ";; title\r\n( declare-const X_0 Real );x\r(\tdeclare-const\nY_0 ; (\n Real\n)\n\n(assert(and(<= X_0 1)(>=
        X_0 0)(<= Y_0 2.)))";
    let plain =
        "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= X_0 1))(assert (>= X_0 0))(assert (<= Y_0 2))";
    assert_eq!(vnnlib::parse(spread).unwrap(), vnnlib::parse(plain).unwrap());
}

#[test]
fn files_may_be_compressed_and_errors_name_them() {
    let folder = std::env::temp_dir();
    let path = |name: &str| folder.join(format!("diadem-{}-{name}", std::process::id()));
    let (plain, compressed, broken) = (path("a.vnnlib"), path("b.vnnlib.gz"), path("c.vnnlib"));
    std::fs::write(&plain, format!("\u{feff}{BOX}")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(BOX.as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&compressed, &bytes).unwrap();
    assert_eq!(vnnlib::read(&plain).unwrap(), vnnlib::parse(BOX).unwrap());
    assert_eq!(vnnlib::read(&compressed).unwrap(), vnnlib::parse(BOX).unwrap());

    let complaint = || vnnlib::read(&broken).unwrap_err().to_string();
    let start = format!("{}:", broken.display());
    assert!(complaint().starts_with(&format!("{start} cannot be read: ")));
    std::fs::write(&broken, "(assert (<= X_0\n 1x))").unwrap();
    assert_eq!(complaint(), format!("{start}1: 'X_0' is not declared; no X is"));
    std::fs::write(&broken, b"; \n\xff").unwrap();
    assert_eq!(complaint(), format!("{start}2: this is not UTF-8 text"));
    std::fs::write(&broken, &bytes[..bytes.len() / 2]).unwrap();
    assert!(complaint().starts_with(&format!("{start} cannot be read: ")));
    for path in [plain, compressed, broken] {
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_missing_bound_names_the_input_and_its_declaration() {
    let start = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(assert (<= 0 X_0 ))(assert (<= X_0 1))";
    assert_eq!(message(start), "line 2: X_1 is declared here but has neither a lower nor an upper bound");
    assert_eq!(message(&format!("{start}(assert (<= X_1 1))")), "line 2: X_1 is declared here but has no lower bound");
    assert_eq!(
        message(&format!("{start}(assert (>= X_1 0))(assert (<= (+ X_0 X_1) 1))")),
        "line 2: X_1 is declared here but has no upper bound"
    );
    assert_eq!(
        message(&format!("{start}(assert (or (and (>= X_1 0) (<= X_1 1)) (<= Y_0 0)))")),
        "line 2: X_1 is declared here but has neither a lower nor an upper bound"
    );
}

#[test]
fn crossing_bounds_everywhere_are_an_error_with_both_values() {
    assert_eq!(
        message_with_box("(assert\n(>= X_1 2.1))"),
        "line 7: X_1: the lower bound 2.1 (line 7) is above the upper bound 1 (line 5)"
    );
    assert_eq!(
        message_with_box("(assert (or (<= X_0 -0.3)\n(>= X_1 2)))"),
        "line 6: X_0: the lower bound 0 (line 5) is above the upper bound -0.3 (line 6)"
    );
}

#[test]
fn unknown_variables_are_named_with_the_known_ones() {
    assert_eq!(message_with_box("(assert\n (<= X_7 1))"), "line 7: 'X_7' is not declared; X_0 to X_1 are");
    assert_eq!(message_with_box("(assert (<= Y_2 1))"), "line 6: 'Y_2' is not declared; Y_0 to Y_1 are");
    assert_eq!(message_with_box("(assert (<= x_0 1))"), "line 6: 'x_0' is neither a number nor a variable");
    assert_eq!(message_with_box("(assert (<= X_00 1))"), "line 6: 'X_00' is neither a number nor a variable");
    assert_eq!(message_with_box("(assert (<= -X_0 1))"), "line 6: '-X_0' is not a decimal number");
    assert_eq!(message("(assert (<= X_0 1))(declare-const X_0 Real)"), "line 1: 'X_0' is not declared; no X is");
}

#[test]
fn unbalanced_parentheses_are_located() {
    assert_eq!(message_with_box("\n(assert (<= Y_0 1)))"), "line 7: unbalanced parentheses: this ')' closes nothing");
    assert_eq!(
        message_with_box("(assert\n(or (<= Y_0 1)\n\n"),
        "line 7: unbalanced parentheses: the '(' of this line is never closed"
    );
    assert_eq!(
        message_with_box("(assert (<= Y_0 1)\n(assert (<= Y_1 1))"),
        "line 7: expected ')' at the end of 'assert', found '('"
    );
    assert_eq!(
        message_with_box("(assert (and (<= Y_0 1)\n(assert (<= Y_1 1))"),
        "line 7: unbalanced parentheses: 'assert' inside an expression; a ')' is missing before this line"
    );
    assert_eq!(message("("), "line 1: unbalanced parentheses: the '(' of this line is never closed");
}

#[test]
fn garbage_is_quoted() {
    assert_eq!(message_with_box("hello"), "line 6: expected '(' and a command, found 'hello'");
    assert_eq!(
        message_with_box("(check-sat)"),
        "line 6: the command 'check-sat' is not supported; VNN-LIB has 'declare-const' and 'assert'"
    );
    assert_eq!(message_with_box("()"), "line 6: expected a command, found ')'");
    assert_eq!(
        message_with_box("(assert (=> Y_0 1))"),
        "line 6: the operator '=>' is not supported (and or <= >= < > + - *)"
    );
    assert_eq!(message_with_box("(assert ((<= Y_0 1)))"), "line 6: expected an operator, found '('");
    assert_eq!(message_with_box("(assert (<= Y_0 1.2.3))"), "line 6: '1.2.3' is not a decimal number");
    assert_eq!(message_with_box("(assert (<= Y_0 0x1))"), "line 6: '0x1' is not a decimal number");
    let long = "(assert (<= Y_0 ".to_owned() + &"é".repeat(50) + "))";
    assert_eq!(message_with_box(&long), format!("line 6: '{}…' is neither a number nor a variable", "é".repeat(40)));
}

#[test]
fn operators_check_their_operands() {
    assert_eq!(message_with_box("(assert)"), "line 6: this assertion is empty");
    assert_eq!(message_with_box("(assert Y_0)"), "line 6: an assertion needs a formula, not a number or a variable");
    assert_eq!(message_with_box("(assert (<= Y_0))"), "line 6: '<=' needs two operands, got 1");
    assert_eq!(message_with_box("(assert (>= 1 Y_0 0))"), "line 6: '>=' needs two operands, got 3");
    assert_eq!(message_with_box("(assert (or))"), "line 6: 'or' needs an operand, got 0");
    assert_eq!(message_with_box("(assert (<= (+) 0))"), "line 6: '+' needs an operand, got 0");
    assert_eq!(
        message_with_box("(assert (and Y_0 (<= Y_0 1)))"),
        "line 6: 'and' joins formulas, not numbers or variables"
    );
    assert_eq!(
        message_with_box("(assert (<= (<= Y_0 1) 1))"),
        "line 6: '<=' joins numbers and variables, not formulas"
    );
    assert_eq!(message_with_box("(assert (<=\n (* Y_0 X_0)\n 1))"), "line 7: a product of two variables is not linear");
    assert_eq!(
        message_with_box("(assert (<= Y_0 1) (<= Y_1 1))"),
        "line 6: expected ')' at the end of 'assert', found '('"
    );
}

#[test]
fn declarations_are_checked() {
    assert_eq!(message(" ; nothing\n"), "the file is empty: it declares and asserts nothing");
    assert_eq!(message("(declare-const Y_0 Real)"), "no inputs are declared (X_0, X_1, …)");
    assert_eq!(message("(declare-const X_0 Real)"), "no outputs are declared (Y_0, Y_1, …)");
    assert_eq!(message("(declare-const X_1 Real)"), "line 1: X_1 is declared but X_0 is not");
    assert_eq!(message("(declare-const X_4000000000 Real)"), "line 1: X_4000000000 is declared but X_0 is not");
    assert_eq!(message("(declare-const X_0 Int)"), "line 1: X_0 has type 'Int'; only Real is supported");
    assert_eq!(
        message("(declare-const X_0 Real)\n(declare-const X_0 Real)"),
        "line 2: X_0 is declared twice, first in line 1"
    );
    assert_eq!(
        message("(declare-const Z_0 Real)"),
        "line 1: 'Z_0' cannot be declared; inputs are X_0, X_1, … and outputs Y_0, Y_1, …"
    );
    assert_eq!(message("(declare-const (X_0) Real)"), "line 1: expected the name of a variable, found '('");
    assert_eq!(message("(declare-const X_0)"), "line 1: expected the type Real, found ')'");
    assert_eq!(message("(declare-const X_0 Real 5)"), "line 1: expected ')' at the end of 'declare-const', found '5'");
}

#[test]
fn numbers_beyond_the_floats_are_errors() {
    let beyond = "lies beyond the range of 64-bit floats";
    assert_eq!(message_with_box("(assert (<= Y_0 1e400))"), format!("line 6: the number '1e400' {beyond}"));
    assert_eq!(message_with_box("(assert (<= (* 1e200 1e200 Y_0) 1))"), format!("line 6: a number {beyond}"));
    assert_eq!(message_with_box("(assert (<= (* 1e-300 X_0) 1e300))"), format!("line 6: a number {beyond}"));
    assert_eq!(
        message_with_box("(assert (<= (+ Y_0 1) 1e-5000))"),
        "line 6: the exact value of a number here has too many digits"
    );
    assert_eq!(
        message_with_box("(assert (<= Y_0 1e-99999999))"),
        "line 6: '1e-99999999': the exponent is beyond ±1000000"
    );
}

#[test]
fn nesting_is_limited_without_recursion() {
    let nested = |depth: usize| format!("(assert {}(<= Y_0 1){})", "(or ".repeat(depth), ")".repeat(depth));
    assert_eq!(with_box(&nested(999)).disjuncts.len(), 1);
    assert_eq!(message_with_box(&nested(1000)), "line 6: parentheses are nested more than 1000 deep");
    let open = "(assert ".to_owned() + &"(and ".repeat(1_000_000);
    assert_eq!(message_with_box(&open), "line 6: parentheses are nested more than 1000 deep");
    let terms = format!("(assert (<= {}Y_0{} 1))", "(- ".repeat(998), ")".repeat(998));
    assert_eq!(with_box(&terms).disjuncts[0].half_spaces, [half_space(&[], &[(0, 1.0)], -1.0)]);
}

#[test]
fn an_explosion_of_disjuncts_is_refused() {
    let choices = |n| "(assert (or (<= Y_0 1) (<= Y_1 1)))".repeat(n);
    assert_eq!(with_box(&choices(10)).disjuncts.len(), 1024);
    for n in [21, 100] {
        assert_eq!(message_with_box(&choices(n)), "the disjunctive normal form has more than 1048576 disjuncts");
    }
    let wide = format!("(assert (or {0} {0}))", format!("(and {})", "(<= Y_0 1)".repeat(200_000)));
    let both = format!("(assert (or {}))", "(<= Y_0 1) ".repeat(400));
    assert_eq!(
        message_with_box(&format!("{wide}{both}")),
        "the disjunctive normal form has more than 67108864 constraints"
    );
}

#[test]
fn sizes_are_compared_with_the_networks() {
    let property = with_box("");
    property.check_sizes(2, 2).unwrap();
    let message = |n_inputs, n_outputs| property.check_sizes(n_inputs, n_outputs).unwrap_err().to_string();
    assert_eq!(message(5, 2), "the property declares 2 inputs but the network has 5");
    assert_eq!(message(2, 1), "the property declares 2 outputs but the network has 1");
}

/// A sum of thousandths of variables (inputs first) plus thousandths, at most zero.
#[derive(Debug, Clone)]
struct Comparison {
    terms: Vec<(usize, i64)>,
    constant: i64,
}

/// A property in thousandths: per disjunct a box and half-spaces.
#[derive(Debug, Clone)]
struct Meaning {
    n_inputs: usize,
    n_outputs: usize,
    disjuncts: Vec<(Vec<[i64; 2]>, Vec<Comparison>)>,
}

/// Deterministic choices of style.
struct Choice(u64);

impl Choice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// The floats on either side of a number of thousandths.
fn pair(thousandths: i64) -> [f64; 2] {
    let nearest = thousandths as f64 / 1000.0;
    // Exact: the remainder of a quotient is a float.
    let excess = nearest.mul_add(1000.0, -(thousandths as f64));
    if excess == 0.0 {
        [nearest; 2]
    } else if excess < 0.0 {
        [nearest, nearest.next_up()]
    } else {
        [nearest.next_down(), nearest]
    }
}

impl Meaning {
    fn variable(&self, index: usize) -> String {
        if index < self.n_inputs { format!("X_{index}") } else { format!("Y_{}", index - self.n_inputs) }
    }

    fn property(&self) -> Property {
        let disjunct = |(bounds, comparisons): &(Vec<[i64; 2]>, Vec<Comparison>)| {
            let every = |end: usize, side: usize| bounds.iter().map(|bound| pair(bound[end])[side]).collect();
            let region = network::BoxRegion {
                lower: every(0, 0),
                inner_lower: every(0, 1),
                inner_upper: every(1, 0),
                upper: every(1, 1),
            };
            let half_space = |comparison: &Comparison| {
                let mut half_space = HalfSpace { constant: pair(comparison.constant), ..HalfSpace::default() };
                for &(index, factor) in &comparison.terms {
                    if index < self.n_inputs {
                        half_space.input.push((index, pair(factor)));
                    } else {
                        half_space.output.push((index - self.n_inputs, pair(factor)));
                    }
                }
                half_space
            };
            Disjunct { region, half_spaces: comparisons.iter().map(half_space).collect() }
        };
        let disjuncts = self.disjuncts.iter().map(disjunct).collect();
        Property { n_inputs: self.n_inputs, n_outputs: self.n_outputs, disjuncts }
    }

    /// VNN-LIB text in a style of the seed's choosing.
    fn print(&self, seed: u64) -> String {
        let mut choice = Choice(seed | 1);
        let mut text = String::from("; printed\n");
        for index in 0..self.n_inputs + self.n_outputs {
            let blank = [" ", "\n", "\t", " ; why not\n", "\r\n"][choice.below(5) as usize];
            writeln!(text, "(declare-const{blank}{} Real)", self.variable(index)).unwrap();
        }
        let has_common_box = self.disjuncts.iter().all(|(bounds, _)| *bounds == self.disjuncts[0].0);
        let is_box_apart = has_common_box && choice.below(2) == 0;
        if is_box_apart {
            for bound in self.bounds(&self.disjuncts[0].0, &mut choice) {
                writeln!(text, "(assert {bound})").unwrap();
            }
        }
        let mut alternatives: Vec<String> = Vec::new();
        for (bounds, comparisons) in &self.disjuncts {
            let mut parts = if is_box_apart { Vec::new() } else { self.bounds(bounds, &mut choice) };
            parts.extend(comparisons.iter().map(|comparison| self.comparison(comparison, &mut choice)));
            choice.shuffle(&mut parts);
            alternatives.push(nested("and", parts, &mut choice));
        }
        writeln!(text, "(assert {})", nested("or", alternatives, &mut choice)).unwrap();
        text
    }

    fn bounds(&self, bounds: &[[i64; 2]], choice: &mut Choice) -> Vec<String> {
        let mut parts = Vec::new();
        for (i, &[lower, upper]) in bounds.iter().enumerate() {
            for (end, sign) in [(lower, -1), (upper, 1)] {
                let scale = [1, 1, 2, 7][choice.below(4) as usize];
                let terms = vec![(i, sign * 1000 * scale)];
                parts.push(self.comparison(&Comparison { terms, constant: -sign * end * scale }, choice));
                if choice.below(4) == 0 {
                    let looser = Comparison { terms: vec![(i, sign * 1000)], constant: -sign * end - 17 };
                    parts.push(self.comparison(&looser, choice));
                }
            }
        }
        parts
    }

    fn comparison(&self, comparison: &Comparison, choice: &mut Choice) -> String {
        let mut sides: [Vec<String>; 2] = [Vec::new(), Vec::new()];
        let all = comparison.terms.iter().map(|&(index, factor)| (Some(index), factor));
        for (index, factor) in all.chain([(None, comparison.constant)]) {
            // Split in two that may go to different sides.
            let part = if choice.below(3) == 0 { choice.below(4000) as i64 - 2000 } else { 0 };
            for factor in [part, factor - part] {
                if factor == 0 {
                    continue;
                }
                let side = choice.below(2) as usize;
                let factor = if side == 0 { factor } else { -factor };
                let term = match index {
                    None => number(factor, choice),
                    Some(index) => product(factor, &self.variable(index), choice),
                };
                sides[side].push(term);
            }
        }
        let [left, right] = sides.map(|mut side| {
            choice.shuffle(&mut side);
            match side.len() {
                0 => "0.0".to_owned(),
                1 => side.remove(0),
                _ => format!("(+ {})", side.join(" ")),
            }
        });
        match choice.below(4) {
            0 => format!("(<= {left} {right})"),
            1 => format!("(>= {right} {left})"),
            2 => format!("(<= (- {left} {right}) 0)"),
            _ => format!("(>= 0 (- {left}\n{right}))"),
        }
    }
}

fn nested(operator: &str, mut parts: Vec<String>, choice: &mut Choice) -> String {
    if parts.is_empty() {
        return "(<= 0 0.5)".to_owned();
    }
    if parts.len() == 1 && choice.below(2) == 0 {
        return parts.remove(0);
    }
    if parts.len() > 2 && choice.below(2) == 0 {
        let tail = parts.split_off(1 + choice.below(parts.len() as u64 - 1) as usize);
        parts.push(nested(operator, tail, choice));
    }
    format!("({operator} {})", parts.join(" "))
}

fn number(thousandths: i64, choice: &mut Choice) -> String {
    let sign = if thousandths < 0 { "-" } else { "" };
    let size = thousandths.abs();
    match choice.below(6) {
        0 => format!("{thousandths}e-3"),
        1 => format!("{thousandths}000E-06"),
        2 => format!("{sign}{}.{:03}00", size / 1000, size % 1000),
        3 => format!("{sign}.000{size:07}e+7"),
        4 => format!("(- {}{}.{:03})", if thousandths > 0 { "-" } else { "" }, size / 1000, size % 1000),
        _ => format!("(* 0.5 {}e-3)", 2 * thousandths),
    }
}

fn product(thousandths: i64, variable: &str, choice: &mut Choice) -> String {
    match (thousandths, choice.below(3)) {
        (1000, 0 | 1) => variable.to_owned(),
        (-1000, 0 | 1) => format!("(- {variable})"),
        (_, 0) => format!("(* {} {variable})", number(thousandths, choice)),
        (_, 1) => format!("(* {variable} {})", number(thousandths, choice)),
        _ => format!("(- (* {} {variable}))", number(-thousandths, choice)),
    }
}

fn meanings() -> impl Strategy<Value = Meaning> {
    let factor = prop_oneof![Just(1000i64), Just(-1000), 1..9000i64, -9000..-1i64];
    (1..4usize, 1..4usize).prop_flat_map(move |(n_inputs, n_outputs)| {
        let bound = (-5000..5000i64, 0..3000i64).prop_map(|(lower, width)| [lower, lower + width]);
        let factors = proptest::collection::vec(proptest::option::of(factor.clone()), n_inputs + n_outputs);
        let comparison =
            (factors, -5000..5000i64, n_inputs..n_inputs + n_outputs).prop_map(|(factors, constant, j)| {
                let mut terms: Vec<(usize, i64)> =
                    factors.into_iter().enumerate().filter_map(|(i, factor)| Some((i, factor?))).collect();
                if !terms.iter().any(|&(i, _)| i == j) {
                    terms.push((j, 1000));
                    terms.sort_unstable();
                }
                Comparison { terms, constant }
            });
        let bounds = proptest::collection::vec(bound, n_inputs);
        let disjunct = (bounds, proptest::collection::vec(comparison, 0..4));
        let disjuncts = proptest::collection::vec(disjunct, 1..5);
        (disjuncts, any::<bool>()).prop_map(move |(mut disjuncts, share)| {
            if share {
                let bounds = disjuncts[0].0.clone();
                for disjunct in &mut disjuncts {
                    disjunct.0.clone_from(&bounds);
                }
            }
            Meaning { n_inputs, n_outputs, disjuncts }
        })
    })
}

/// The property with the half-spaces of each disjunct in a fixed order.
fn sorted(mut property: Property) -> Property {
    for disjunct in &mut property.disjuncts {
        disjunct.half_spaces.sort_by_key(|half_space| format!("{half_space:?}"));
    }
    property
}

/// A formula over half units of two inputs and one output, and whether it holds.
#[derive(Debug, Clone)]
enum Formula {
    AtMostZero([i64; 3], i64),
    And(Vec<Formula>),
    Or(Vec<Formula>),
}

impl Formula {
    fn holds(&self, point: [i64; 3]) -> bool {
        match self {
            Self::AtMostZero(factors, constant) => {
                factors.iter().zip(point).map(|(a, x)| a * x).sum::<i64>() + constant <= 0
            }
            Self::And(parts) => parts.iter().all(|part| part.holds(point)),
            Self::Or(parts) => parts.iter().any(|part| part.holds(point)),
        }
    }

    fn print(&self) -> String {
        let join = |parts: &[Self]| parts.iter().map(Self::print).collect::<Vec<_>>().join(" ");
        match self {
            Self::AtMostZero([a, b, c], d) => format!("(<= (+ (* {a} X_0) (* {b} X_1) (* {c} Y_0)) {})", -d),
            Self::And(parts) => format!("(and {})", join(parts)),
            Self::Or(parts) => format!("(or {})", join(parts)),
        }
    }
}

fn formulas() -> impl Strategy<Value = Formula> {
    let factor = || -1..2i64;
    let leaf = ([factor(), factor(), factor()], -3..4i64).prop_map(|(factors, d)| Formula::AtMostZero(factors, d));
    leaf.prop_recursive(4, 24, 3, |inner| {
        let parts = proptest::collection::vec(inner, 1..4);
        prop_oneof![parts.clone().prop_map(Formula::And), parts.prop_map(Formula::Or)]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn printed_properties_keep_their_meaning(meaning in meanings(), seed: u64) {
        let text = meaning.print(seed);
        let parsed = vnnlib::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(sorted(parsed), sorted(meaning.property()), "{}", text);
    }

    #[test]
    fn the_normal_form_holds_where_the_formula_does(formula in formulas()) {
        let text = format!(
            "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)
            (assert (and (<= -3 X_0) (<= X_0 3) (<= -3 X_1) (<= X_1 3)))(assert {})", formula.print());
        let property = match vnnlib::parse(&text) {
            Ok(property) => property,
            Err(error) => {
                prop_assert!(error.to_string().contains("is above the upper bound"), "{}\n{}", error, text);
                Property { n_inputs: 2, n_outputs: 1, disjuncts: Vec::new() }
            }
        };
        for point in (0..7 * 7 * 9).map(|i| [i % 7 - 3, i / 7 % 7 - 3, i / 49 - 4]) {
            let [x0, x1, y] = point.map(|value| value as f64);
            prop_assert_eq!(property.violated_at(&[x0, x1], &[y]).is_some(), formula.holds(point), "{:?} {}", point, text);
        }
    }

    #[test]
    fn violation_margins_agree_with_exact_arithmetic(meaning in meanings(), eighths in proptest::collection::vec(-80..80i64, 6)) {
        let property = meaning.property();
        let (x, y) = eighths[..meaning.n_inputs + meaning.n_outputs].split_at(meaning.n_inputs);
        let floats = |values: &[i64]| values.iter().map(|&value| value as f64 / 8.0).collect::<Vec<f64>>();
        for ((bounds, comparisons), disjunct) in meaning.disjuncts.iter().zip(&property.disjuncts) {
            // In eight-thousandths.
            let is_inside = bounds.iter().zip(x).all(|(bound, &x)| 8 * bound[0] <= 1000 * x && 1000 * x <= 8 * bound[1]);
            let value = |c: &Comparison| c.terms.iter().map(|&(i, a)| a * eighths[i]).sum::<i64>() + 8 * c.constant;
            let margin = comparisons.iter().map(|c| -value(c)).min();
            match (disjunct.violated_at(&floats(x), &floats(y)), margin) {
                (Some(found), Some(margin)) => {
                    prop_assert!(is_inside && found >= 0.0);
                    prop_assert!((found - margin as f64 / 8000.0).abs() <= 1e-11);
                    // Rounded down: found ≤ margin, compared exactly (the product is below 2^53 only in its integer part).
                    prop_assert!(found <= (margin as f64 / 8000.0).next_up());
                }
                (Some(found), None) => prop_assert!(is_inside && found == f64::INFINITY),
                (None, margin) => prop_assert!(!is_inside || margin.is_some_and(|margin| margin <= 0)),
            }
        }
    }
}
