//! Random networks, and certificates taken apart by other code than the checker's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use network::{
    Activation, Affine, BoxRegion, Dense, Disjunct, HalfSpace, LinearMap, Network, NodeId, Op, Property, Sparse,
};
use sha2::{Digest as _, Sha256};

/// A reproducible stream of numbers (splitmix64).
pub struct Stream(pub u64);

impl Stream {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[0, 1)`, an f32.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 40) as f64 / (1_u64 << 24) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

pub fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(path)
}

pub fn dense(n_out: usize, n_in: usize, weight: Vec<f64>, bias: Vec<f64>) -> Op {
    Op::Affine(Arc::new(Affine::exact(LinearMap::Dense(Dense { n_out, n_in, weight }), bias)))
}

pub fn random_dense(stream: &mut Stream, n_out: usize, n_in: usize) -> Op {
    let scale = 4.0 / (n_in as f64).sqrt();
    let weight = (0..n_out * n_in).map(|_| scale * (stream.unit() - 0.5)).collect();
    dense(n_out, n_in, weight, (0..n_out).map(|_| stream.unit() - 0.5).collect())
}

/// Positive scales of each neuron.
pub fn scale(stream: &mut Stream, n: usize) -> Op {
    let scales = (0..n).map(|_| 0.3 + stream.unit()).collect();
    sparse((0..n as u32).collect(), scales)
}

/// The neurons in reverse.
pub fn permutation(n: usize) -> Op {
    sparse((0..n as u32).rev().collect(), vec![1.0; n])
}

fn sparse(columns: Vec<u32>, values: Vec<f64>) -> Op {
    let n = columns.len();
    let map = LinearMap::Sparse(Sparse { n_in: n, offsets: (0..=n as u32).collect(), columns, values });
    Op::Affine(Arc::new(Affine::exact(map, vec![0.0; n])))
}

/// Two inputs, two or three layers, perhaps a residual sum, `ReLU`s and at times a sigmoid.
pub fn random_network(stream: &mut Stream) -> Network {
    let mut builder = Network::builder(&[2]).unwrap();
    let mut last = NodeId(0);
    for layer in 0..2 + stream.below(2) {
        let n = builder.node(last).len();
        let affine = random_dense(stream, 6, n);
        let z = builder.push(format!("z{layer}"), affine, &[last], &[6]).unwrap();
        let activation = if stream.below(6) == 0 { Activation::Sigmoid } else { Activation::Relu };
        let mut h = builder.push(format!("h{layer}"), Op::Activation(activation), &[z], &[6]).unwrap();
        if stream.below(3) == 0 {
            h = builder.push(format!("sum{layer}"), Op::Add, &[h, z], &[6]).unwrap();
        }
        last = h;
    }
    let output = random_dense(stream, 3, 6);
    let output = builder.push("y", output, &[last], &[3]).unwrap();
    builder.build(output).unwrap()
}

/// Half-spaces a little beyond what samples of a box reach, so that they hold or nearly do; and how far beyond.
pub fn random_property(stream: &mut Stream, network: &Network) -> (Property, f64) {
    let (n_inputs, n_outputs) = (network.n_inputs(), network.n_outputs());
    let lower: Vec<f64> = (0..n_inputs).map(|_| stream.unit() - 1.0).collect();
    let upper: Vec<f64> = lower.iter().map(|l| l + 0.25 + stream.unit()).collect();
    let samples: Vec<Vec<f64>> = (0..400)
        .map(|_| lower.iter().zip(&upper).map(|(l, u)| l + (u - l) * stream.unit()).collect::<Vec<f64>>())
        .map(|x| network.evaluate(&x).unwrap())
        .collect();
    let beyond = 0.02 + 0.3 * stream.unit();
    let disjuncts = (0..=stream.below(2))
        .map(|_| {
            let direction: Vec<f64> = (0..n_outputs).map(|_| stream.unit() - 0.5).collect();
            let value = |y: &Vec<f64>| y.iter().zip(&direction).map(|(y, c)| y * c).sum::<f64>();
            let values: Vec<f64> = samples.iter().map(value).collect();
            let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(l, u), v| (l.min(*v), u.max(*v)));
            let constant = -(least - beyond * (most - least));
            let output = direction.iter().enumerate().map(|(k, &c)| (k, [c, c])).collect();
            let half_space = HalfSpace { input: Vec::new(), output, constant: [constant; 2] };
            let region = BoxRegion::new(lower.clone(), upper.clone()).unwrap();
            Disjunct { region, half_spaces: vec![half_space] }
        })
        .collect();
    (Property { n_inputs, n_outputs, disjuncts }, beyond)
}

/// A certificate as a list of records.
pub struct Certificate {
    start: Vec<u8>,
    pub records: Vec<Vec<u8>>,
}

impl Certificate {
    pub fn read(bytes: &[u8]) -> Self {
        let header = u32::from_le_bytes(bytes[19..23].try_into().unwrap()) as usize;
        let (start, mut rest) = bytes[..bytes.len() - 32].split_at(23 + header);
        let mut records = Vec::new();
        while rest[0] != 15 {
            let (record, after) = rest.split_at(length(rest));
            records.push(record.to_vec());
            rest = after;
        }
        Self { start: start.to_vec(), records }
    }

    /// With the right end.
    pub fn sealed(&self) -> Vec<u8> {
        let mut bytes = self.start.clone();
        self.records.iter().for_each(|record| bytes.extend(record));
        bytes.push(15);
        let mut n = self.records.len();
        while n >= 0x80 {
            bytes.push(n as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        sealed(&bytes)
    }

    pub fn of_tags(&self, tags: &[u8]) -> Vec<usize> {
        (0..self.records.len()).filter(|&record| tags.contains(&self.records[record][0])).collect()
    }

    pub fn count(&self, tag: u8) -> usize {
        self.of_tags(&[tag]).len()
    }

    /// Where the claim of a lemma or a leaf is.
    fn claim_at(&self, record: usize) -> usize {
        let bytes = &self.records[record];
        let mut at = 1;
        skip(bytes, &mut at);
        skip(bytes, &mut at);
        // A lemma says which end.
        at + usize::from(bytes[0] == 5)
    }

    pub fn claim(&self, record: usize) -> f32 {
        let at = self.claim_at(record);
        f32::from_le_bytes(self.records[record][at..at + 4].try_into().unwrap())
    }

    pub fn set_claim(&mut self, record: usize, claim: f32) {
        let at = self.claim_at(record);
        self.records[record][at..at + 4].copy_from_slice(&claim.to_le_bytes());
    }

    /// Negates a multiplier of a leaf that is not zero, if it has one.
    pub fn negate_multiplier(&mut self, record: usize, stream: &mut Stream) -> bool {
        let mut at = self.claim_at(record) + 4;
        let bytes = &mut self.records[record];
        let n_alpha = skip(bytes, &mut at);
        at += 2 * n_alpha;
        let n_beta = skip(bytes, &mut at);
        let value = |bytes: &[u8], k: usize| f32::from_le_bytes(bytes[at + 4 * k..at + 4 * k + 4].try_into().unwrap());
        let some: Vec<usize> = (0..n_beta).filter(|&k| value(bytes, k) > 0.0).collect();
        if some.is_empty() {
            return false;
        }
        let k = some[stream.below(some.len())];
        let negated = -value(bytes, k);
        bytes[at + 4 * k..at + 4 * k + 4].copy_from_slice(&negated.to_le_bytes());
        true
    }
}

/// Bytes with their digest.
pub fn sealed(bytes: &[u8]) -> Vec<u8> {
    [bytes, &Sha256::digest(bytes)].concat()
}

/// Reads a varint.
fn skip(bytes: &[u8], at: &mut usize) -> usize {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return value;
        }
    }
}

/// Bytes of the record in front.
fn length(bytes: &[u8]) -> usize {
    let mut at = 1;
    match bytes[0] {
        1 => {
            for _ in 0..skip(bytes, &mut at) {
                skip(bytes, &mut at);
            }
        }
        2 => {
            skip(bytes, &mut at);
            skip(bytes, &mut at);
            at += 8;
        }
        3 => drop(skip(bytes, &mut at)),
        4 => {
            let kind = bytes[at];
            at += 1;
            for _ in 0..if kind >= 2 { 3 } else { 1 } {
                skip(bytes, &mut at);
            }
        }
        5 => {
            skip(bytes, &mut at);
            skip(bytes, &mut at);
            at += 5;
            at += skip(bytes, &mut at);
        }
        6 => {
            skip(bytes, &mut at);
            for _ in 0..skip(bytes, &mut at) {
                skip(bytes, &mut at);
            }
        }
        7 => {
            skip(bytes, &mut at);
            skip(bytes, &mut at);
        }
        8 => (0..3).for_each(|_| _ = skip(bytes, &mut at)),
        9 => {
            skip(bytes, &mut at);
            skip(bytes, &mut at);
            at += 4;
            at += 2 * skip(bytes, &mut at);
            at += 4 * skip(bytes, &mut at);
        }
        other => panic!("tag {other}"),
    }
    at
}

/// `W x + b` in f32: the terms in some order, in sequence or in pairs.
pub fn f32_affine(affine: &Affine, x: &[f32], order: usize, stream: &mut Stream) -> Vec<f32> {
    let LinearMap::Dense(dense) = &affine.map else { panic!("a full matrix") };
    (0..dense.n_out)
        .map(|k| {
            let row = &dense.weight[k * dense.n_in..][..dense.n_in];
            let mut terms: Vec<f32> = row.iter().zip(x).map(|(&w, &x)| w as f32 * x).collect();
            terms.push(affine.bias[k] as f32);
            for i in (1..terms.len()).rev() {
                terms.swap(i, stream.below(i + 1));
            }
            while order % 2 == 1 && terms.len() > 1 {
                terms = terms.chunks(2).map(|pair| pair.iter().sum()).collect();
            }
            terms.iter().sum()
        })
        .collect()
}
