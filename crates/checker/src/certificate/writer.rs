use std::fmt;
use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::{Header, MAGIC, tag};
use crate::scope::Split;

/// A box, by its number in the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxId(pub u32);

/// A context, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextId(pub u32);

/// A piece of a tree of `ReLU` splits, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PieceId(pub u32);

/// What a context bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A box.
    Box(BoxId),
    /// A context again, with more known of it, or with one more split.
    Context(ContextId, Option<Split>),
}

/// Writes a certificate, record by record as they are found.
///
/// The first failure is kept and ends all writing; [`Self::finish`] returns it, so that a search need not look at every record.
pub struct Writer<'a> {
    sink: Box<dyn Write + Send + 'a>,
    /// Of all bytes; records alone have none.
    digest: Option<Sha256>,
    record: Vec<u8>,
    failure: Option<io::Error>,
    n_records: u32,
    n_boxes: u32,
    n_contexts: u32,
    n_pieces: u32,
    /// Records that may still be taken back, and the counts before them.
    held: Option<(Vec<u8>, [u32; 4])>,
}

impl fmt::Debug for Writer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("n_records", &self.n_records)
            .field("failure", &self.failure)
            .finish_non_exhaustive()
    }
}

impl<'a> Writer<'a> {
    /// Starts a certificate.
    pub fn new(sink: impl Write + Send + 'a, header: &Header) -> Self {
        let mut writer = Self { digest: Some(Sha256::new()), ..Self::records(sink) };
        writer.record = begin(header);
        writer.flush();
        writer
    }

    /// Starts the records of one question, for a bundle of many.
    pub fn records(sink: impl Write + Send + 'a) -> Self {
        Self {
            sink: Box::new(sink),
            digest: None,
            record: Vec::new(),
            failure: None,
            n_records: 0,
            n_boxes: 0,
            n_contexts: 0,
            n_pieces: 0,
            held: None,
        }
    }

    /// The region of these disjuncts, which must have one and the same.
    pub fn boxes(&mut self, disjuncts: &[usize]) -> BoxId {
        self.begin(tag::BOXES);
        self.rising(disjuncts.iter().map(|&disjunct| disjunct as u32));
        self.end();
        self.n_boxes += 1;
        BoxId(self.n_boxes - 1)
    }

    /// The halves `x_input ≤ value` and `x_input ≥ value` of a box.
    pub fn halve(&mut self, of: BoxId, input: usize, value: f64) -> [BoxId; 2] {
        self.begin(tag::HALVE);
        self.number(of.0);
        self.number(input as u32);
        self.record.extend_from_slice(&value.to_le_bytes());
        self.end();
        self.n_boxes += 2;
        [BoxId(self.n_boxes - 2), BoxId(self.n_boxes - 1)]
    }

    /// Plain bounds exclude every disjunct on a box.
    pub fn plain(&mut self, of: BoxId) {
        self.begin(tag::PLAIN);
        self.number(of.0);
        self.end();
    }

    /// A context; its lemmas and slopes follow at once.
    pub fn context(&mut self, origin: Origin) -> ContextId {
        self.begin(tag::CONTEXT);
        match origin {
            Origin::Box(of) => {
                self.record.push(0);
                self.number(of.0);
            }
            Origin::Context(of, side) => {
                self.record.push(1 + side.map_or(0, |side| 1 + u8::from(side.is_active)));
                self.number(of.0);
                if let Some(Split { relu, neuron, .. }) = side {
                    self.number(relu);
                    self.number(neuron);
                }
            }
        }
        self.end();
        self.n_contexts += 1;
        ContextId(self.n_contexts - 1)
    }

    /// A bound of a neuron, with the bytes of its proof (see [`Self::lemma_leaf`] and [`Self::lemma_decision`]).
    pub fn lemma(&mut self, relu: u32, neuron: u32, is_upper: bool, claim: f32, proof: &[u8]) {
        self.begin(tag::LEMMA);
        self.number(relu);
        self.number(neuron);
        self.record.push(u8::from(is_upper));
        self.record.extend_from_slice(&claim.to_le_bytes());
        self.number(proof.len() as u32);
        self.record.extend_from_slice(proof);
        self.end();
    }

    /// Appends a leaf to a proof.
    pub fn lemma_leaf(proof: &mut Vec<u8>, alpha: &[u16], beta: &[f32]) {
        proof.push(0);
        multipliers(proof, alpha, beta);
    }

    /// Appends a decision to a proof; the proofs of the side `≥ 0` and of the side `≤ 0` follow.
    pub fn lemma_decision(proof: &mut Vec<u8>, relu: u32, neuron: u32) {
        proof.push(1);
        number(proof, relu);
        number(proof, neuron);
    }

    /// Which neurons of a `ReLU` have slopes of their own; they rise.
    pub fn slopes(&mut self, relu: u32, neurons: &[u32]) {
        self.begin(tag::SLOPES);
        self.number(relu);
        self.rising(neurons.iter().copied());
        self.end();
    }

    /// A tree of pieces that exclude a disjunct in a context.
    pub fn tree(&mut self, context: ContextId, disjunct: usize) -> PieceId {
        self.begin(tag::TREE);
        self.number(context.0);
        self.number(disjunct as u32);
        self.end();
        self.n_pieces += 1;
        PieceId(self.n_pieces - 1)
    }

    /// The two sides of a `ReLU` in a piece: `≥ 0`, then `≤ 0`.
    pub fn decide(&mut self, piece: PieceId, relu: u32, neuron: u32) -> [PieceId; 2] {
        self.begin(tag::DECIDE);
        self.number(piece.0);
        self.number(relu);
        self.number(neuron);
        self.end();
        self.n_pieces += 2;
        [PieceId(self.n_pieces - 2), PieceId(self.n_pieces - 1)]
    }

    /// A row of the disjunct is positive on a piece.
    pub fn leaf(&mut self, piece: PieceId, row: usize, claim: f32, alpha: &[u16], beta: &[f32]) {
        self.begin(tag::LEAF);
        self.number(piece.0);
        self.number(row as u32);
        self.record.extend_from_slice(&claim.to_le_bytes());
        multipliers(&mut self.record, alpha, beta);
        self.end();
    }

    /// Holds back what follows until [`Self::release`] says what becomes of it.
    pub fn hold(&mut self) {
        let counts = [self.n_records, self.n_boxes, self.n_contexts, self.n_pieces];
        self.held.get_or_insert((Vec::new(), counts));
    }

    /// Writes what was held back, or takes it back as if it had never been.
    pub fn release(&mut self, is_kept: bool) {
        let Some((records, counts)) = self.held.take() else { return };
        if is_kept {
            self.record = records;
            self.flush();
        } else {
            [self.n_records, self.n_boxes, self.n_contexts, self.n_pieces] = counts;
        }
    }

    /// Ends the certificate.
    ///
    /// # Errors
    /// The first failure of the sink, whenever it was.
    pub fn finish(mut self) -> io::Result<()> {
        self.release(false);
        let n_records = self.n_records;
        self.begin(tag::END);
        self.number(n_records);
        self.end();
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let Some(digest) = self.digest.take() {
            let digest: [u8; 32] = digest.finalize().into();
            self.sink.write_all(&digest)?;
        }
        self.sink.flush()
    }

    fn begin(&mut self, tag: u8) {
        self.record.clear();
        self.record.push(tag);
    }

    fn end(&mut self) {
        self.n_records = self.n_records.saturating_add(1);
        // Numbers of records and of what they create must fit.
        if self.n_records.max(self.n_boxes).max(self.n_pieces) > u32::MAX - 4 {
            self.failure.get_or_insert_with(|| io::Error::other("more than 2³² records"));
        }
        self.flush();
    }

    fn flush(&mut self) {
        if let Some((records, _)) = &mut self.held {
            records.extend_from_slice(&self.record);
            return;
        }
        if let Some(digest) = &mut self.digest {
            digest.update(&self.record);
        }
        if self.failure.is_none() {
            self.failure = self.sink.write_all(&self.record).err();
        }
    }

    fn number(&mut self, value: u32) {
        number(&mut self.record, value);
    }

    fn rising(&mut self, values: impl ExactSizeIterator<Item = u32>) {
        self.number(values.len() as u32);
        let mut next = 0;
        for value in values {
            debug_assert!(value >= next, "they rise");
            self.number(value.wrapping_sub(next));
            next = value.wrapping_add(1);
        }
    }
}

/// What a file starts with: magic and header.
pub(super) fn begin(header: &Header) -> Vec<u8> {
    let text = serde_json::to_string(header).unwrap_or_default();
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Appends a LEB128 varint.
pub(super) fn number(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn multipliers(bytes: &mut Vec<u8>, alpha: &[u16], beta: &[f32]) {
    number(bytes, alpha.len() as u32);
    alpha.iter().for_each(|alpha| bytes.extend_from_slice(&alpha.to_le_bytes()));
    number(bytes, beta.len() as u32);
    beta.iter().for_each(|beta| bytes.extend_from_slice(&beta.to_le_bytes()));
}
