use sha2::{Digest as _, Sha256};

use super::{Header, MAGIC, Reader, tag};
use crate::error::Error;
use crate::scope::Split;

/// A certificate, taken apart; nothing of it is believed yet. It holds no more than a few times as many bytes as the file.
#[derive(Debug)]
pub struct Tape<'a> {
    /// Disjuncts and the box that is their region.
    pub roots: Vec<(Vec<u32>, u32)>,
    pub boxes: Vec<BoxState>,
    pub contexts: Vec<Context<'a>>,
    pub pieces: Vec<PieceState<'a>>,
}

/// What became of a box; halves have larger numbers than the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BoxState {
    Open,
    Halved { input: u32, value: f64, first: u32 },
    Plain,
    Context(u32),
}

/// What became of a piece.
#[derive(Debug, Clone, Copy)]
pub enum PieceState<'a> {
    Open,
    Decided { relu: u32, neuron: u32, first: u32 },
    Leaf(LeafRecord<'a>),
}

/// What proves a piece.
#[derive(Debug, Clone, Copy)]
pub struct LeafRecord<'a> {
    pub row: u32,
    pub claim: f32,
    pub alpha: &'a [u8],
    pub beta: &'a [u8],
}

/// `ReLU` and neuron of a split, and the contexts of its sides.
pub type Halves = ((u32, u32), [Option<u32>; 2]);

/// A context and what lies in it.
#[derive(Debug, Default)]
pub struct Context<'a> {
    /// Lemmas and slopes, in order.
    pub parts: Vec<Part<'a>>,
    /// Disjunct and root of each tree.
    pub trees: Vec<(u32, u32)>,
    /// The same with more lemmas.
    pub next: Option<u32>,
    /// The split, and the contexts of the sides `≥ 0` and `≤ 0`.
    pub halves: Option<Halves>,
}

/// What a context is told.
#[derive(Debug)]
pub enum Part<'a> {
    Lemma(Lemma<'a>),
    Slopes { relu: u32, neurons: Vec<u32> },
}

/// A bound of a neuron.
#[derive(Debug, Clone, Copy)]
pub struct Lemma<'a> {
    pub relu: u32,
    pub neuron: u32,
    pub is_upper: bool,
    pub claim: f32,
    pub proof: &'a [u8],
}

/// The longest header.
const MOST_HEADER_BYTES: u32 = 1 << 20;

/// The header of a file, and the bytes between it and the digest at the end, which is that of everything before it.
pub fn taken_apart(bytes: &[u8]) -> Result<(Header, &[u8]), Error> {
    let format = |what: &str| Error::Format(what.into());
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len()).ok() != Some(MAGIC) {
        return Err(format("it does not start as one"));
    }
    let n = u32::from_le_bytes(reader.take(4)?.try_into().map_err(|_| format("cut short"))?);
    if n > MOST_HEADER_BYTES {
        return Err(format("its header is too long"));
    }
    let header = Header::read(reader.take(n as usize)?)?;
    let body = bytes.len().checked_sub(32).ok_or_else(|| format("cut short"))?;
    if Sha256::digest(&bytes[..body]).as_slice() != &bytes[body..] {
        return Err(format("its bytes do not have the digest at its end: it is cut short or was changed"));
    }
    let start = MAGIC.len() + 4 + n as usize;
    if start > body {
        return Err(format("cut short"));
    }
    Ok((header, &bytes[start..body]))
}

impl<'a> Tape<'a> {
    /// Takes the records of a certificate apart.
    pub fn read(records: &'a [u8]) -> Result<Self, Error> {
        let format = |what: &str| Error::Format(what.into());
        let mut tape = Self { roots: Vec::new(), boxes: Vec::new(), contexts: Vec::new(), pieces: Vec::new() };
        let mut reader = Reader::new(records);
        let mut n_records = 0;
        loop {
            let tag = reader.byte()?;
            if tag == tag::END {
                let is_all = reader.number()? == n_records && reader.is_at_end();
                return if is_all {
                    Ok(tape)
                } else {
                    Err(format("records are missing, or something follows its end"))
                };
            }
            tape.record(tag, &mut reader).map_err(|error| match error {
                Error::Format(what) => Error::Format(format!("record {n_records}: {what}")),
                other => other,
            })?;
            n_records += 1;
        }
    }

    fn record(&mut self, tag: u8, reader: &mut Reader<'a>) -> Result<(), Error> {
        match tag {
            tag::BOXES => {
                self.roots.push((reader.rising()?, self.boxes.len() as u32));
                self.boxes.push(BoxState::Open);
            }
            tag::HALVE => {
                let (of, input, value) = (reader.number()?, reader.number()?, reader.f64()?);
                if !value.is_finite() {
                    return Err(Error::Format("a box is halved at a value that is not finite".into()));
                }
                let first = self.boxes.len() as u32;
                *self.open_box(of)? = BoxState::Halved { input, value, first };
                self.boxes.extend([BoxState::Open; 2]);
            }
            tag::PLAIN => *self.open_box(reader.number()?)? = BoxState::Plain,
            tag::CONTEXT => self.context(reader)?,
            tag::LEMMA => {
                let lemma = Lemma {
                    relu: reader.number()?,
                    neuron: reader.number()?,
                    is_upper: flag(reader.byte()?)?,
                    claim: reader.f32()?,
                    proof: {
                        let n = reader.number()? as usize;
                        reader.take(n)?
                    },
                };
                self.last_context()?.parts.push(Part::Lemma(lemma));
            }
            tag::SLOPES => {
                let (relu, neurons) = (reader.number()?, reader.rising()?);
                self.last_context()?.parts.push(Part::Slopes { relu, neurons });
            }
            tag::TREE => {
                let (context, disjunct) = (reader.number()?, reader.number()?);
                let piece = self.pieces.len() as u32;
                let context = self.contexts.get_mut(context as usize).ok_or_else(|| no("context", context))?;
                context.trees.push((disjunct, piece));
                self.pieces.push(PieceState::Open);
            }
            tag::DECIDE => {
                let (of, relu, neuron) = (reader.number()?, reader.number()?, reader.number()?);
                let first = self.pieces.len() as u32;
                *self.open_piece(of)? = PieceState::Decided { relu, neuron, first };
                self.pieces.extend([PieceState::Open; 2]);
            }
            tag::LEAF => {
                let (of, row, claim) = (reader.number()?, reader.number()?, reader.f32()?);
                let (alpha, beta) = (reader.halves()?, reader.floats()?);
                *self.open_piece(of)? = PieceState::Leaf(LeafRecord { row, claim, alpha, beta });
            }
            other => return Err(Error::Format(format!("unknown tag {other}"))),
        }
        Ok(())
    }

    fn context(&mut self, reader: &mut Reader) -> Result<(), Error> {
        let (kind, of) = (reader.byte()?, reader.number()?);
        let id = self.contexts.len() as u32;
        let taken = || Error::Format(format!("context {of} has another such context already"));
        if kind == 0 {
            *self.open_box(of)? = BoxState::Context(id);
        } else {
            let parent = self.contexts.get_mut(of as usize).ok_or_else(|| no("context", of))?;
            match kind {
                1 if parent.next.replace(id).is_some() => return Err(taken()),
                1 => {}
                2 | 3 => {
                    let neuron = (reader.number()?, reader.number()?);
                    let (split, sides) = parent.halves.get_or_insert((neuron, [None; 2]));
                    let side = usize::from(kind == 2);
                    if *split != neuron || sides[side].replace(id).is_some() {
                        return Err(taken());
                    }
                }
                _ => return Err(Error::Format(format!("a context of kind {kind}"))),
            }
        }
        self.contexts.push(Context::default());
        Ok(())
    }

    fn open_box(&mut self, id: u32) -> Result<&mut BoxState, Error> {
        match self.boxes.get_mut(id as usize) {
            None => Err(no("box", id)),
            Some(state @ BoxState::Open) => Ok(state),
            Some(_) => Err(Error::Format(format!("box {id} is settled twice"))),
        }
    }

    fn open_piece(&mut self, id: u32) -> Result<&mut PieceState<'a>, Error> {
        match self.pieces.get_mut(id as usize) {
            None => Err(no("piece", id)),
            Some(state @ PieceState::Open) => Ok(state),
            Some(_) => Err(Error::Format(format!("piece {id} is settled twice"))),
        }
    }

    fn last_context(&mut self) -> Result<&mut Context<'a>, Error> {
        self.contexts.last_mut().ok_or_else(|| Error::Format("it belongs to no context".into()))
    }

    /// Of every piece, whether all below it is settled.
    pub fn settled_pieces(&self) -> Vec<bool> {
        let mut is_settled = vec![false; self.pieces.len()];
        for (id, piece) in self.pieces.iter().enumerate().rev() {
            is_settled[id] = match piece {
                PieceState::Open => false,
                PieceState::Decided { first, .. } => is_settled[*first as usize] && is_settled[*first as usize + 1],
                PieceState::Leaf(_) => true,
            };
        }
        is_settled
    }

    /// Of every box, whether all below it is settled, contexts taken on trust.
    pub fn settled_boxes(&self) -> Vec<bool> {
        let mut is_settled = vec![false; self.boxes.len()];
        for (id, of) in self.boxes.iter().enumerate().rev() {
            is_settled[id] = match of {
                BoxState::Open => false,
                BoxState::Halved { first, .. } => is_settled[*first as usize] && is_settled[*first as usize + 1],
                BoxState::Plain | BoxState::Context(_) => true,
            };
        }
        is_settled
    }

    /// The two sides of a `ReLU`, active first.
    pub fn sides(relu: u32, neuron: u32) -> [Split; 2] {
        [true, false].map(|is_active| Split { relu, neuron, is_active })
    }
}

fn flag(byte: u8) -> Result<bool, Error> {
    match byte {
        0 | 1 => Ok(byte == 1),
        other => Err(Error::Format(format!("{other} is neither 0 nor 1"))),
    }
}

fn no(what: &str, id: u32) -> Error {
    Error::Format(format!("there is no {what} {id}"))
}
