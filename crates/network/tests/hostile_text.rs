//! Mutated texts give a value or an error, never a panic. `DIADEM_FUZZ_CASES` sets the number of cases.

use std::path::Path;

use network::{HalfSpace, Property, instances, nnet, vnnlib};

const VNNLIB: [&str; 5] = [
    "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(assert (<= X_0 0.1))(assert (>= X_0 -1e-3))
(assert (<= X_1 1))(assert (>= X_1 0)) ; comment\n(assert (or (and (<= Y_0 0.5)) (and (>= (+ Y_0 (* 2 X_1)) 3.25e1))))",
    "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)
(assert (or (and (>= X_0 0) (<= X_0 0.3) (<= Y_0 Y_1)) (and (<= X_0 0.9) (>= X_0 0.6) (>= Y_0 (- Y_1 (* 0.3 Y_0))))))",
    "(declare-const X_0 Real)\r\n(declare-const Y_0 Real)\r\n(assert (and (<= (* 2 X_0) 1) (>= (* -3 X_0) -7e-1) (>= X_0 (- 5))))",
    "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 1e-400 X_0))(assert (< X_0 1.7976931348623157e308))
(assert (or (or (<= Y_0 0) (> Y_0 1)) (<= 2 1) (<= (- (+ Y_0 1 X_0) 0.00000000000000000000000000000000001) 0)))",
    "(assert (<= (+ 1 (* 2 (- 3))) 1e308))(declare-const Y_0 Real)(declare-const X_0 Real)(assert (and (>= 1 X_0) (<= 0 X_0)))",
];
const VNNLIB_TOKENS: [&str; 46] = [
    "(",
    ")",
    " ",
    "\n",
    ";",
    "(or ",
    "(and ",
    "(<= ",
    "(>= ",
    "(+ ",
    "(- ",
    "(* ",
    "X_0",
    "X_1",
    "Y_0",
    "Y_1",
    "X_9",
    "0",
    "-1",
    "1e400",
    "1e-400",
    "-1e-999999",
    "1e999999999999999999",
    "0.1",
    ".",
    "e",
    "-",
    "(assert ",
    "(declare-const ",
    "Real",
    "1",
    "0.25",
    "-1e-3",
    "2.",
    "<=",
    ">=",
    "or",
    "and",
    "+",
    "*",
    "é",
    "\r",
    "\u{feff}",
    "99999999999999999999999999999999",
    "X_18446744073709551615",
    "(<= Y_0 X_0)",
];
const NNET: [&str; 2] = [
    "// a comment\n2,2,1,2,\n2,1,1,\n0,\n0,0,\n1,1,\n1,0,4,\n2,1,8,\n0.5,-1,\n1,\n2,\n-3,\n",
    "1,1,1,1\n1,1\n0\n0\n1\n0.1,0.3\n3,1e-3\n1.5e2\n3\n",
];
const NNET_TOKENS: [&str; 16] = [
    ",",
    "\n",
    "0",
    "1",
    "2",
    "-1",
    "1e400",
    "1e-320",
    "-0",
    "99999999999999999999",
    "18446744073709551615",
    "//",
    " ",
    "x",
    ".",
    "1e308",
];
const LISTS: [&str; 2] =
    ["onnx,vnnlib,timeout,note\na.onnx,b.vnnlib,116,\"x, \"\"y\"\"\"\n\nc,d,,\r\n", "a,b,1\n\"c\",d\n"];
const LIST_TOKENS: [&str; 12] = [",", "\"", "\"\"", "\n", "\r\n", "\r", "onnx", "vnnlib", "timeout", "-1", "nan", "é"];

/// A xorshift generator: the same cases on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn n_cases(default: usize) -> usize {
    std::env::var("DIADEM_FUZZ_CASES").map_or(default, |value| value.parse().expect("a number of cases"))
}

/// Cuts, copies, swaps, replaces and inserts bytes and tokens; the result is made UTF-8 again.
fn mutate(seed: &str, tokens: &[&str], random: &mut Random) -> String {
    let mut bytes = seed.as_bytes().to_vec();
    let n_more = random.below(6);
    for _ in 0..=random.below(1 + n_more) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(12)).min(bytes.len());
        match random.below(12) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, tokens[random.below(tokens.len())].bytes())),
            2 => drop(bytes.splice(at..end, tokens[random.below(tokens.len())].bytes())),
            3 if at < end => bytes[at] = random.below(256) as u8,
            4 if at < end => bytes[at] ^= 1 << random.below(8),
            5 => {
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len() + 1);
                drop(bytes.splice(to..to, piece));
            }
            6 => bytes.truncate(bytes.len() - random.below(bytes.len() / 4 + 1)),
            // A whole word, so that the structure often survives.
            _ => {
                let is_inside = |byte: &u8| !b" \n\r(),;\"".contains(byte);
                let start = at - bytes[..at].iter().rev().take_while(|byte| is_inside(byte)).count();
                let end = at + bytes[at..].iter().take_while(|byte| is_inside(byte)).count();
                drop(bytes.splice(start..end, tokens[random.below(tokens.len())].trim().bytes()));
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn fuzz(seeds: &[&str], tokens: &[&str], n_cases: usize, mut is_read: impl FnMut(&str) -> bool) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut n_read = 0;
    assert!(seeds.iter().all(|seed| is_read(seed)));
    for case in 0..n_cases {
        let text = mutate(seeds[case % seeds.len()], tokens, &mut random);
        n_read += usize::from(is_read(&text));
    }
    eprintln!("{n_read} of {n_cases} mutated texts were still readable");
    assert!(n_read > n_cases / 100 && n_read < n_cases, "the mutations are too strong or too weak");
}

fn check(property: &Property, text: &str) {
    let is_pair = |pair: [f64; 2]| pair[0] == pair[1] || pair[0].next_up() == pair[1];
    for disjunct in &property.disjuncts {
        let region = &disjunct.region;
        for ends in [&region.lower, &region.upper, &region.inner_lower, &region.inner_upper] {
            assert_eq!(ends.len(), property.n_inputs, "{text}");
            assert!(ends.iter().all(|end| end.is_finite()), "{text}");
        }
        for i in 0..property.n_inputs {
            assert!(region.lower[i] <= region.upper[i], "{text}");
            assert!(is_pair([region.lower[i], region.inner_lower[i]]), "{text}");
            assert!(is_pair([region.inner_upper[i], region.upper[i]]), "{text}");
        }
        for HalfSpace { input, output, constant } in &disjunct.half_spaces {
            assert!(input.len() + output.len() > 0 && is_pair(*constant), "{text}");
            for (terms, n) in [(input, property.n_inputs), (output, property.n_outputs)] {
                assert!(terms.windows(2).all(|two| two[0].0 < two[1].0), "{text}");
                assert!(terms.iter().all(|&(i, pair)| i < n && is_pair(pair) && pair != [0.0; 2]), "{text}");
            }
        }
    }
}

#[test]
fn mutated_vnnlib_never_panics_and_what_is_read_is_well_formed() {
    fuzz(&VNNLIB, &VNNLIB_TOKENS, n_cases(20_000), |text| match vnnlib::parse(text) {
        Ok(property) => {
            check(&property, text);
            let (x, y) = (vec![0.25; property.n_inputs], vec![0.5; property.n_outputs]);
            assert!(property.violated_at(&x, &y).is_none_or(|(_, margin)| margin >= 0.0));
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    });
}

#[test]
fn mutated_nnet_never_panics() {
    fuzz(&NNET, &NNET_TOKENS, n_cases(5_000), |text| match nnet::parse(text) {
        Ok(network) => network.evaluate(&vec![0.5; network.n_inputs()]).unwrap().len() == network.n_outputs(),
        Err(_) => false,
    });
}

#[test]
fn mutated_lists_never_panic() {
    fuzz(&LISTS, &LIST_TOKENS, n_cases(5_000), |text| match instances::parse(text, Path::new("folder")) {
        Ok(list) => list.windows(2).all(|two| two[0].line < two[1].line),
        Err(_) => false,
    });
}
