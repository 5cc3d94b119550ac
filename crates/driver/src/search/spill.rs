use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::search::stored::Stored;

/// Sorted runs of items in a temporary file, for what memory has no room for.
///
/// The file has no name while it is used, or loses it when this is dropped.
#[derive(Debug)]
pub struct Spill<T> {
    folder: PathBuf,
    scratch: Option<Scratch>,
    runs: Vec<Run<T>>,
    /// Items that could not be read back.
    n_lost: usize,
}

/// A part of the file, of which the front is in memory.
#[derive(Debug)]
struct Run<T> {
    /// The first item that was not taken.
    head: T,
    /// Items behind it.
    n_behind: usize,
    /// Bytes that were read and not used.
    read: Vec<u8>,
    place: usize,
    /// What is still to be read.
    at: u64,
    end: u64,
}

/// A temporary file.
#[derive(Debug)]
struct Scratch {
    file: File,
    /// Where the file could not lose its name at once.
    path: Option<PathBuf>,
}

/// Bytes that are written or read at once, at least.
const BLOCK: usize = 1 << 16;

impl<T: Stored + Ord> Spill<T> {
    /// Empty; files are made in `folder` once there is something to write.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), scratch: None, runs: Vec::new(), n_lost: 0 }
    }

    /// Number of items, those that cannot be read back inside.
    pub fn len(&self) -> usize {
        self.n_lost + self.runs.iter().map(|run| 1 + run.n_behind).sum::<usize>()
    }

    /// Items that cannot be read back.
    pub fn n_lost(&self) -> usize {
        self.n_lost
    }

    /// The greatest item.
    pub fn peek(&self) -> Option<&T> {
        self.runs.iter().map(|run| &run.head).max()
    }

    /// Writes a run, greatest first.
    ///
    /// # Errors
    /// When the file cannot be written, or not be read back; what was written before is not touched.
    pub fn write(&mut self, items: &[T]) -> io::Result<()> {
        if items.is_empty() {
            return Ok(());
        }
        if self.scratch.is_none() {
            self.scratch = Some(Scratch::new(&self.folder)?);
        }
        let start = self.end();
        let scratch = self.scratch.as_mut().expect("it was just made");
        let run = scratch.write(start, items).and_then(|end| {
            let (mut read, mut place, mut at) = (Vec::new(), 0, start);
            let head = scratch.next(&mut read, &mut place, &mut at, end)?;
            Ok(Run { head, n_behind: items.len() - 1, read, place, at, end })
        });
        match run {
            Ok(run) => {
                self.runs.push(run);
                Ok(())
            }
            Err(error) => {
                // A full disk gets back what it can; where it cannot, the next run overwrites it.
                drop(scratch.file.set_len(start));
                Err(error)
            }
        }
    }

    /// Takes the greatest item.
    pub fn pop(&mut self) -> Option<T> {
        let worst = (0..self.runs.len()).max_by(|&a, &b| self.runs[a].head.cmp(&self.runs[b].head))?;
        let scratch = self.scratch.as_mut().expect("runs are in a file");
        let run = &mut self.runs[worst];
        if run.n_behind > 0 {
            match scratch.next(&mut run.read, &mut run.place, &mut run.at, run.end) {
                Ok(next) => {
                    run.n_behind -= 1;
                    return Some(std::mem::replace(&mut run.head, next));
                }
                Err(_) => self.n_lost += run.n_behind,
            }
        }
        let run = self.runs.swap_remove(worst);
        let end = self.end();
        if end < run.end {
            // Failing costs disk alone.
            drop(self.scratch.as_mut().expect("runs are in a file").file.set_len(end));
        }
        Some(run.head)
    }

    /// Where the last run ends.
    fn end(&self) -> u64 {
        self.runs.iter().map(|run| run.end).max().unwrap_or(0)
    }
}

impl Scratch {
    fn new(folder: &Path) -> io::Result<Self> {
        static N_MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let serial = N_MADE.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("diadem-{}-{serial}.spill", std::process::id()));
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    // Without a name it is gone with the process, however that ends.
                    let path = std::fs::remove_file(&path).is_err().then_some(path);
                    return Ok(Self { file, path });
                }
                // Left by another process of this number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && serial < 1 << 20 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes items, each behind its length; returns where they end.
    fn write<T: Stored>(&mut self, start: u64, items: &[T]) -> io::Result<u64> {
        self.file.seek(SeekFrom::Start(start))?;
        let mut end = start;
        let mut bytes = Vec::with_capacity(2 * BLOCK);
        let mut item_bytes = Vec::new();
        for (i, item) in items.iter().enumerate() {
            item_bytes.clear();
            item.store(&mut item_bytes);
            (item_bytes.len() as u64).store(&mut bytes);
            bytes.extend_from_slice(&item_bytes);
            if bytes.len() >= BLOCK || i + 1 == items.len() {
                self.file.write_all(&bytes)?;
                end += bytes.len() as u64;
                bytes.clear();
            }
        }
        Ok(end)
    }

    /// Reads the next item of a run.
    fn next<T: Stored>(&mut self, read: &mut Vec<u8>, place: &mut usize, at: &mut u64, end: u64) -> io::Result<T> {
        let n_length = size_of::<u64>();
        self.fill(read, place, at, end, n_length)?;
        let broken = || io::Error::from(io::ErrorKind::InvalidData);
        let n = u64::restore(&mut &read[*place..]).ok_or_else(broken)?;
        let n = usize::try_from(n).map_err(|_| broken())?.checked_add(n_length).ok_or_else(broken)?;
        self.fill(read, place, at, end, n)?;
        let mut item = &read[*place + n_length..*place + n];
        *place += n;
        T::restore(&mut item).filter(|_| item.is_empty()).ok_or_else(broken)
    }

    /// Reads on until at least `n` unused bytes are in memory.
    fn fill(&mut self, read: &mut Vec<u8>, place: &mut usize, at: &mut u64, end: u64, n: usize) -> io::Result<()> {
        let n_held = read.len() - *place;
        if n_held >= n {
            return Ok(());
        }
        let more = ((n - n_held).max(BLOCK) as u64).min(end - *at);
        if n_held as u64 + more < n as u64 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.drain(..*place);
        *place = 0;
        read.resize(n_held + more as usize, 0);
        self.file.seek(SeekFrom::Start(*at))?;
        self.file.read_exact(&mut read[n_held..])?;
        *at += more;
        Ok(())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // Windows removes it once it is closed; whoever cleans the folder may have been first.
            drop(std::fs::remove_file(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_come_back_merged_greatest_first() {
        let mut spill = Spill::new(&std::env::temp_dir());
        let items = |k: u64| (0..30_000_u64).rev().map(|i| 7 * i + k).collect::<Vec<u64>>();
        for k in [3, 0, 6] {
            spill.write(&items(k)).unwrap();
        }
        let mut expected: Vec<u64> = [3, 0, 6].into_iter().flat_map(items).collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!((spill.len(), spill.peek()), (90_000, expected.first()));
        let popped: Vec<u64> = std::iter::from_fn(|| spill.pop()).collect();
        assert_eq!(popped, expected);
        assert_eq!((spill.len(), spill.n_lost()), (0, 0));
        assert_eq!(spill.scratch.as_ref().unwrap().file.metadata().unwrap().len(), 0, "space is given back");
    }

    #[test]
    fn a_file_that_loses_its_contents_is_noticed() {
        let mut spill = Spill::new(&std::env::temp_dir());
        spill.write(&(0..100_000_u64).rev().collect::<Vec<u64>>()).unwrap();
        spill.scratch.as_ref().unwrap().file.set_len(100).unwrap();
        let n_popped = std::iter::from_fn(|| spill.pop()).count();
        assert!(n_popped > 0 && spill.n_lost() > 0);
        assert_eq!((n_popped + spill.n_lost(), spill.len()), (100_000, spill.n_lost()));
    }

    #[test]
    fn no_file_is_left_and_none_is_made_where_none_can_be() {
        let folder = std::env::temp_dir().join(format!("diadem-spill-{}", std::process::id()));
        assert!(Spill::new(&folder).write(&[1_u64]).is_err());
        std::fs::create_dir(&folder).unwrap();
        let mut spill = Spill::new(&folder);
        spill.write(&[1_u64]).unwrap();
        drop(spill);
        // Fails where something is left.
        std::fs::remove_dir(&folder).unwrap();
    }
}
