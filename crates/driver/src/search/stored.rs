/// What can be written as bytes and read back exactly.
pub trait Stored: Sized {
    /// Appends the bytes.
    fn store(&self, bytes: &mut Vec<u8>);

    /// Takes back what [`Self::store`] wrote from the front; nothing if these are other bytes.
    fn restore(bytes: &mut &[u8]) -> Option<Self>;
}

impl<T: Stored> Stored for Vec<T> {
    fn store(&self, bytes: &mut Vec<u8>) {
        (self.len() as u64).store(bytes);
        self.iter().for_each(|item| item.store(bytes));
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        // Nothing is reserved for what the bytes cannot hold.
        let n = u64::restore(bytes).filter(|&n| n <= bytes.len() as u64)?;
        (0..n).map(|_| T::restore(bytes)).collect()
    }
}

impl<T: Stored> Stored for Box<[T]> {
    fn store(&self, bytes: &mut Vec<u8>) {
        (self.len() as u64).store(bytes);
        self.iter().for_each(|item| item.store(bytes));
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Vec::restore(bytes).map(Vec::into_boxed_slice)
    }
}

impl Stored for bool {
    fn store(&self, bytes: &mut Vec<u8>) {
        u8::from(*self).store(bytes);
    }

    fn restore(bytes: &mut &[u8]) -> Option<Self> {
        Some(u8::restore(bytes)? != 0)
    }
}

/// Numbers are stored by their bits.
macro_rules! stored_number {
    ($($number:ty),*) => {$(
        impl Stored for $number {
            fn store(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }

            fn restore(bytes: &mut &[u8]) -> Option<Self> {
                let (first, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_le_bytes(*first))
            }
        }
    )*};
}

stored_number!(u8, u32, u64, f32, f64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_comes_back() {
        let ends: Box<[f32]> = [0.0, -0.0, f32::MIN_POSITIVE / 4.0, f32::INFINITY, 0.1, f32::MAX].into();
        let mut bytes = Vec::new();
        ends.store(&mut bytes);
        let mut left = &bytes[..];
        let back = Box::<[f32]>::restore(&mut left).unwrap();
        assert!(left.is_empty());
        assert!(ends.iter().zip(&back).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn bytes_cut_short_are_nothing() {
        let mut bytes = Vec::new();
        vec![1.0_f32, 2.0].store(&mut bytes);
        for n in 0..bytes.len() {
            assert_eq!(Vec::<f32>::restore(&mut &bytes[..n]), None);
        }
        assert_eq!(Vec::<u8>::restore(&mut &u64::MAX.to_le_bytes()[..]), None);
    }
}
