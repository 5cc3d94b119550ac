use crate::error::Error;

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        let (value, rest) = self.bytes.split_first_chunk().ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(u32::from_le_bytes(*value))
    }

    pub fn f32(&mut self) -> Result<f32, Error> {
        let (value, rest) = self.bytes.split_first_chunk().ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(f32::from_le_bytes(*value))
    }

    pub fn f64(&mut self) -> Result<f64, Error> {
        let (value, rest) = self.bytes.split_first_chunk().ok_or_else(cut_short)?;
        self.bytes = rest;
        Ok(f64::from_le_bytes(*value))
    }

    /// An index or a count below 2³².
    pub fn number(&mut self) -> Result<u32, Error> {
        let mut value = 0_u64;
        for shift in 0..5 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Error::Format("a number beyond 32 bits".into()));
            }
        }
        Err(Error::Format("a number beyond 32 bits".into()))
    }

    /// A list of `u16`, as its bytes.
    pub fn halves(&mut self) -> Result<&'a [u8], Error> {
        let n = self.number()? as usize;
        self.take(n.saturating_mul(2))
    }

    /// A list of `f32`, as its bytes.
    pub fn floats(&mut self) -> Result<&'a [u8], Error> {
        let n = self.number()? as usize;
        self.take(n.saturating_mul(4))
    }

    /// A list of indices that rise, each written as its distance from the one before.
    pub fn rising(&mut self) -> Result<Vec<u32>, Error> {
        let n = self.number()? as usize;
        if n > self.bytes.len() {
            return Err(cut_short());
        }
        let mut last: Option<u32> = None;
        (0..n)
            .map(|_| {
                let step = self.number()?;
                let next = last.map_or(Some(step), |last| last.checked_add(step)?.checked_add(1));
                last = next;
                next.ok_or_else(|| Error::Format("an index beyond 32 bits".into()))
            })
            .collect()
    }
}

/// The values of a list of `u16`.
pub fn to_halves(bytes: &[u8]) -> Vec<u16> {
    bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect()
}

/// The values of a list of `f32`.
pub fn to_floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect()
}

fn cut_short() -> Error {
    Error::Format("it is cut short: more bytes were announced than there are".into())
}
