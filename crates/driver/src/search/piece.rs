use bounds::Split;

use crate::search::frontier::Footprint;
use crate::search::stored::Stored;

/// A piece and what bounded it.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Which of the objective's disjuncts it must exclude.
    pub disjunct: usize,
    pub splits: Vec<Split>,
    /// Per row of the disjunct.
    pub duals: Vec<Dual>,
    /// The row that came nearest to excluding the disjunct.
    pub nearest: usize,
    /// The `ReLU`s whose relaxation costs most, most first.
    pub candidates: Vec<Split>,
    /// Its number in the certificate, if one is written.
    pub id: u32,
}

/// The multipliers that bound one row.
#[derive(Debug, Clone, Default)]
pub struct Dual {
    pub alpha: Box<[u8]>,
    pub beta: Box<[f32]>,
}

impl Piece {
    /// The splits with their multipliers, for every row.
    pub fn multipliers(&self) -> impl Iterator<Item = Vec<(Split, f32)>> + '_ {
        self.duals.iter().map(|dual| self.splits.iter().copied().zip(dual.beta.iter().copied()).collect())
    }
}

impl Footprint for Piece {
    fn bytes(&self) -> usize {
        let duals: usize = self.duals.iter().map(|dual| dual.alpha.len() + 4 * dual.beta.len() + 32).sum();
        duals + (self.splits.len() + self.candidates.len()) * size_of::<Split>()
    }
}

impl Stored for Piece {
    fn store(&self, bytes: &mut Vec<u8>) {
        let Self { disjunct, splits, duals, nearest, candidates, id } = self;
        (*disjunct as u64).store(bytes);
        splits.store(bytes);
        duals.store(bytes);
        (*nearest as u64).store(bytes);
        candidates.store(bytes);
        id.store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self {
            disjunct: u64::restore(bytes)? as usize,
            splits: Stored::restore(bytes)?,
            duals: Stored::restore(bytes)?,
            nearest: u64::restore(bytes)? as usize,
            candidates: Stored::restore(bytes)?,
            id: u32::restore(bytes)?,
        })
    }
}

impl Stored for Dual {
    fn store(&self, bytes: &mut Vec<u8>) {
        self.alpha.store(bytes);
        self.beta.store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { alpha: Stored::restore(bytes)?, beta: Stored::restore(bytes)? })
    }
}

impl Stored for Split {
    fn store(&self, bytes: &mut Vec<u8>) {
        self.node.store(bytes);
        self.neuron.store(bytes);
        self.is_active.store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { node: u32::restore(bytes)?, neuron: u32::restore(bytes)?, is_active: bool::restore(bytes)? })
    }
}
