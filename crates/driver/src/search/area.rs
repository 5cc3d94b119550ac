use std::ops::Deref;

use crate::search::frontier::Footprint;
use crate::search::stored::Stored;

/// A box of inputs: lower ends, then upper ends, and its number in the certificate, if one is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    pub ends: Box<[f32]>,
    pub id: u32,
}

impl Deref for Area {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.ends
    }
}

impl Footprint for Area {
    fn bytes(&self) -> usize {
        4 * self.ends.len()
    }
}

impl Stored for Area {
    fn store(&self, bytes: &mut Vec<u8>) {
        self.ends.store(bytes);
        self.id.store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(Self { ends: Stored::restore(bytes)?, id: u32::restore(bytes)? })
    }
}
