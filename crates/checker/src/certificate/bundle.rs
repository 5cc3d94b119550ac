use std::io::{self, Write};

use sha2::{Digest as _, Sha256};

use super::tape::taken_apart;
use super::writer::begin;
use super::{Header, Reader};
use crate::error::Error;

/// Certificates of many questions of one job, taken apart; nothing of it is believed yet.
#[derive(Debug)]
pub struct Bundle<'a> {
    /// What it is about.
    pub header: Header,
    /// What each question is, in the job's own bytes, and the records that answer it.
    pub items: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Bundle<'a> {
    /// Takes one apart that must be of this job.
    ///
    /// # Errors
    /// When the bytes are none, or of another job.
    pub fn read(bytes: &'a [u8], job: &str) -> Result<Self, Error> {
        let (header, body) = taken_apart(bytes)?;
        header.is_of(job)?;
        let mut reader = Reader::new(body);
        let mut items = Vec::new();
        loop {
            match reader.byte()? {
                0 => break,
                1 => {
                    let n = reader.number()? as usize;
                    let what = reader.take(n)?;
                    let n = reader.number()? as usize;
                    items.push((what, reader.take(n)?));
                }
                other => return Err(Error::Format(format!("an item of kind {other}"))),
            }
        }
        if reader.number()? as usize == items.len() && reader.is_at_end() {
            Ok(Self { header, items })
        } else {
            Err(Error::Format("items are missing, or something follows its end".into()))
        }
    }
}

/// Writes a bundle, question by question.
#[derive(Debug)]
pub struct BundleWriter<W> {
    sink: W,
    digest: Sha256,
    n_items: u32,
}

impl<W: Write> BundleWriter<W> {
    /// Starts one.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn new(sink: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { sink, digest: Sha256::new(), n_items: 0 };
        writer.write(&begin(header))?;
        Ok(writer)
    }

    /// What a question is, and the records that answer it.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn item(&mut self, what: &[u8], records: &[u8]) -> io::Result<()> {
        let mut bytes = vec![1];
        for part in [what, records] {
            let length = u32::try_from(part.len()).map_err(|_| io::Error::other("a proof of more than 4 GiB"))?;
            super::writer::number(&mut bytes, length);
            bytes.extend_from_slice(part);
        }
        self.n_items += 1;
        self.write(&bytes)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> io::Result<()> {
        let mut bytes = vec![0];
        super::writer::number(&mut bytes, self.n_items);
        self.write(&bytes)?;
        let digest: [u8; 32] = self.digest.finalize().into();
        self.sink.write_all(&digest)?;
        self.sink.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digest.update(bytes);
        self.sink.write_all(bytes)
    }
}
