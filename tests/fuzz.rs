//! Mutated files of every format that we read: a value or an error, never a panic, never memory out of proportion.
//!
//! `DIADEM_FUZZ_SECONDS=3600 cargo test --release --test main fuzz::` runs each target for an hour (add `onnx`, … for one alone);
//! `DIADEM_FUZZ_SEED` starts elsewhere. Bytes that fail are left in a file that the message names.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::root;
use crate::untrusted::{self, TARGETS};

/// Counts what each thread holds, and the most that it has held.
struct Metered;

thread_local! {
    static HELD: Cell<[i64; 2]> = const { Cell::new([0; 2]) };
}

#[global_allocator]
static ALLOCATOR: Metered = Metered;

fn count(change: i64) {
    // No count where a thread ends.
    let _ = HELD.try_with(|held| {
        let now = held.get()[0] + change;
        held.set([now, held.get()[1].max(now)]);
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Metered {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// The most bytes that reading a small file may take: the importer's budget of coefficients, twice over.
const MOST_BYTES: i64 = 1 << 30;

/// The longest file that mutations grow.
const LONGEST: usize = 1 << 16;

/// Seconds for each target in the tests that always run.
const SHORT_S: f64 = 2.5;

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What a format's files are made of.
fn tokens(target: &str) -> Vec<Vec<u8>> {
    let words: &[&str] = match target {
        "onnx" => &[
            "Gemm",
            "MatMul",
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Neg",
            "Conv",
            "ConvTranspose",
            "BatchNormalization",
            "Relu",
            "LeakyRelu",
            "PRelu",
            "Clip",
            "Sigmoid",
            "Tanh",
            "MaxPool",
            "AveragePool",
            "GlobalAveragePool",
            "Pad",
            "Flatten",
            "Reshape",
            "Transpose",
            "Squeeze",
            "Unsqueeze",
            "Concat",
            "Slice",
            "Split",
            "Gather",
            "Constant",
            "ConstantOfShape",
            "Shape",
            "Cast",
            "Identity",
            "Dropout",
            "ReduceMean",
            "ReduceSum",
            "axis",
            "axes",
            "alpha",
            "beta",
            "transA",
            "transB",
            "kernel_shape",
            "strides",
            "pads",
            "dilations",
            "group",
            "auto_pad",
            "SAME_UPPER",
            "VALID",
            "ceil_mode",
            "perm",
            "value",
            "x",
            "w",
            "c",
            "y",
        ],
        "vnnlib" => &[
            "(",
            ")",
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
            "-1",
            "1e400",
            "1e-400",
            "-1e-999999",
            "1e999999999999999999",
            "0.1",
            "(assert ",
            "(declare-const ",
            "Real",
            ";",
            "99999999999999999999999999999999",
            "X_18446744073709551615",
            "(<= Y_0 X_0)",
            "\u{feff}",
        ],
        "nnet" => &[
            ",",
            "\n",
            "0",
            "1",
            "-1",
            "1e400",
            "1e-320",
            "-0",
            "99999999999999999999",
            "18446744073709551615",
            "//",
            "4294967296",
            "1e308",
            "nan",
            "inf",
        ],
        "job" | "image" => &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "null",
            "true",
            "false",
            "0",
            "1",
            "-1",
            "1e308",
            "-1e308",
            "1e400",
            "0.5",
            "18446744073709551615",
            "4294967296",
            "9223372036854775808",
            "1e-320",
            "\"job\"",
            "\"verify\"",
            "\"bounds\"",
            "\"preimage\"",
            "\"bench\"",
            "\"ssim\"",
            "\"train\"",
            "\"shape\"",
            "\"pixels\"",
            "\"epsilon\"",
            "\"range\"",
            "\"image_shape\"",
            "\"patch\"",
            "\"mask\"",
            "\"prior\"",
            "\"histogram\"",
            "\"gaussian\"",
            "[]",
            "{}",
            "[1, 0]",
            "\\u0000",
            "é",
            "\"threshold\"",
            "\"timeout_s\"",
            "<f8",
            "|u1",
            ">f4",
            "True",
            "(2, 3)",
            "descr",
        ],
        _ => &["\x01", "\x02", "\x03", "\x04", "\x05", "\x06", "\x07", "\x08", "\x09", "\x0f"],
    };
    let numbers: [&[u8]; 9] = [
        &[0],
        &[0xff],
        &[0x7f],
        &[0xff, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0, 0, 0xc0, 0x7f],
        &[0, 0, 0x80, 0x7f],
        &[0x80, 0x80, 0x80, 0x80, 0x08],
    ];
    words.iter().map(|word| word.as_bytes().to_vec()).chain(numbers.iter().map(|bytes| bytes.to_vec())).collect()
}

/// Cuts, copies, replaces and inserts bytes and tokens, and pieces of another file.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], tokens: &[Vec<u8>], random: &mut Random) {
    let n_more = random.below(6);
    for _ in 0..=random.below(1 + n_more) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(16)).min(bytes.len());
        match random.below(11) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, random.of(tokens).clone())),
            2 => drop(bytes.splice(at..end, random.of(tokens).clone())),
            3 if at < end => bytes[at] = random.next() as u8,
            4 if at < end => bytes[at] ^= 1 << random.below(8),
            5 if at < end => bytes[at] = bytes[at].wrapping_add([1, 0xff][random.below(2)]),
            6 => {
                let from = random.below(bytes.len() + 1);
                let piece = bytes[from..(from + random.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            7 => bytes.truncate(bytes.len() - random.below(bytes.len() / 4 + 1)),
            8 if !other.is_empty() => {
                let from = random.below(other.len());
                bytes.splice(at..end, other[from..(from + random.below(64)).min(other.len())].to_vec());
            }
            // A whole word, or a whole number, so that the structure often survives.
            _ => {
                let is_inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-".contains(byte);
                let start = at - bytes[..at].iter().rev().take_while(|byte| is_inside(byte)).count();
                let end = at + bytes[at..].iter().take_while(|byte| is_inside(byte)).count();
                let same_size: Vec<u8> = random.of(tokens).iter().copied().take((end - start).max(1)).collect();
                let word = if random.below(2) == 0 { same_size } else { random.of(tokens).clone() };
                bytes.splice(start..end, word);
            }
        }
    }
    bytes.truncate(LONGEST);
}

/// The files that mutations start from.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = root().join("fuzz/seeds").join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}: expected a number")))
}

fn fuzz(target: &str) {
    let (_, read) = *TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    let seeds = seeds(target);
    assert!(seeds.iter().any(|seed| read(seed)), "no seed of {target} can be read");
    let tokens = tokens(target);
    let limit = Duration::from_secs_f64(number("DIADEM_FUZZ_SECONDS").unwrap_or(SHORT_S));
    let start = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ number("DIADEM_FUZZ_SEED").unwrap_or(0.0) as u64);
    // Mutants that could still be read are mutated further.
    let mut pool = seeds.clone();
    let (mut n_cases, mut n_read, mut most) = (0_u64, 0_u64, 0);
    while start.elapsed() < limit {
        let mut bytes = random.of(&pool).clone();
        mutate(&mut bytes, &random.of(&seeds).clone(), &tokens, &mut random);
        let before = HELD.with(|held| {
            let [now, _] = held.get();
            held.set([now; 2]);
            now
        });
        let read = panic::catch_unwind(AssertUnwindSafe(|| read(&bytes)));
        let taken = HELD.with(Cell::get)[1] - before;
        most = most.max(taken);
        if read.is_err() || taken > MOST_BYTES {
            let path = std::env::temp_dir().join(format!("diadem_{target}_{n_cases}"));
            fs::write(&path, &bytes).unwrap();
            panic!("{target}: {} fails, or takes {taken} bytes of memory", path.display());
        }
        n_cases += 1;
        if read.unwrap_or(false) {
            n_read += 1;
            let place = seeds.len() + random.below(256);
            if pool.len() <= place { pool.push(bytes) } else { pool[place] = bytes }
        }
    }
    let _ = writeln!(
        std::io::stderr(),
        "{target}: {n_cases} mutated files, {n_read} of them readable, at most {most} bytes of memory, {:.0} s",
        start.elapsed().as_secs_f64()
    );
    assert!(n_cases > 0 && n_read < n_cases, "{target}: {n_read} of {n_cases} can be read");
}

#[test]
fn mutated_onnx_never_panics() {
    fuzz("onnx");
}

#[test]
fn mutated_vnnlib_never_panics() {
    fuzz("vnnlib");
}

#[test]
fn mutated_nnet_never_panics() {
    fuzz("nnet");
}

#[test]
fn mutated_jobs_never_panic() {
    fuzz("job");
}

#[test]
fn mutated_certificates_never_panic_and_never_prove_what_does_not_hold() {
    fuzz("certificate");
}

#[test]
fn mutated_polytopes_never_panic_and_never_prove_what_does_not_hold() {
    fuzz("polytopes");
}

#[test]
fn mutated_images_never_panic() {
    fuzz("image");
}

#[test]
fn every_target_has_a_program_for_cargo_fuzz() {
    for (name, _) in TARGETS {
        let path = root().join(format!("fuzz/fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(&format!("untrusted::{name}(")), "{}", path.display());
    }
}

/// Writes the certificates of `fuzz/seeds`; the models come from `dump_models` in `crates/network`, the rest was written by hand.
#[test]
#[ignore = "regenerates seeds: cargo test --test main write_certificate_seeds -- --ignored"]
fn write_certificate_seeds() {
    use checker::certificate::Header;
    use driver::preimage::{Mode, OutputPolytope, PreimageOptions, PreimageProblem, PreimageSearch};
    use driver::{Interrupt, PreimageCertificate, Recorder, Silent, SplitChoice, Verdict, Verify, VerifyOptions};
    let untrusted::Proved { network, holds, .. } = untrusted::proved();
    let folder = root().join("fuzz/seeds/certificate");
    fs::create_dir_all(&folder).unwrap();
    for (name, split) in [("inputs", SplitChoice::Inputs), ("relus", SplitChoice::Relus)] {
        let mut bytes = Vec::new();
        let mut recorder = Recorder::new(network, holds, &mut bytes, &untrusted::header()).unwrap();
        let verify = Verify { network, property: holds, device: &bounds::Device::Host };
        let options = VerifyOptions { split, ..VerifyOptions::default() };
        let outcome = verify.run_recorded(&options, &mut Silent, &mut recorder).unwrap();
        recorder.finish().unwrap();
        assert_eq!(outcome.verdict, Verdict::Verified);
        let start = untrusted::sealed(&[]).len() - 32;
        fs::write(folder.join(name), [&[1], &bytes[start..bytes.len() - 32]].concat()).unwrap();
        fs::write(folder.join(format!("{name}_sealed")), [&[0], &bytes[..]].concat()).unwrap();
    }
    let folder = root().join("fuzz/seeds/polytopes");
    fs::create_dir_all(&folder).unwrap();
    for (kind, name) in [(0_u8, "inside"), (2, "around")] {
        let (region, [target], is_inside) = untrusted::preimage(kind == 0);
        let target = OutputPolytope { rows: target.rows, rhs: target.rhs };
        let mode = if is_inside { Mode::Under } else { Mode::Over };
        let problem = PreimageProblem::new(network.clone(), region, target, mode);
        let coverage = if is_inside { 0.8 } else { 1.3 };
        let options = PreimageOptions { coverage, n_report: 1 << 12, ..PreimageOptions::default() };
        let search = PreimageSearch::new(&problem, &bounds::Device::Host).unwrap();
        let found = search.run(&options, &mut |_| {}).unwrap();
        let certificate = PreimageCertificate::new(&problem, Interrupt::default()).unwrap();
        let property = certificate.preimage().digest();
        let header = Header { job: "preimage".into(), property, ..untrusted::header() };
        let mut bytes = Vec::new();
        certificate.write((&found.elements, &found.free), &header, &mut bytes).unwrap();
        let start = b"diadem certificate\n".len() + 4 + serde_json::to_vec(&header).unwrap().len();
        for bytes in [[&[kind + 1], &bytes[start..bytes.len() - 32]].concat(), [&[kind], &bytes[..]].concat()] {
            assert!(untrusted::polytopes(&bytes));
            let suffix = if bytes[0] & 1 == 0 { "_sealed" } else { "" };
            fs::write(folder.join(format!("{name}{suffix}")), bytes).unwrap();
        }
    }
}
