use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::patch::plan::Key;
use crate::patch::record::Record;

/// What is known of questions, in a folder of logs; one writer for each log, any number of readers.
///
/// A log is a text file that only grows: a line for each record, with a checksum in front. A process that is killed leaves at most one
/// line cut off, which the next one drops; a line that was damaged otherwise is as if it were not there, and its question is asked
/// again. Records are found by what their question is, so that logs of other shards, runs and machines can lie in one folder.
#[derive(Debug, Default)]
pub struct Store {
    records: HashMap<Key, Record>,
    /// Lines that could not be read.
    damaged: usize,
}

/// The log that one process writes.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
}

/// One of several about equal parts of a sweep, `1 ≤ index ≤ count`: the questions whose home says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

impl Shard {
    /// From `i/N`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, count)) if 1 <= index && index <= count => Ok(Self { index, count }),
            _ => Err("expected i/N with 1 ≤ i ≤ N, as in 1/2".into()),
        }
    }

    /// Whether a question belongs to it.
    pub fn has(self, home: Key) -> bool {
        (home.0 >> 64) as u64 % self.count == self.index - 1
    }

    /// The name of its log.
    pub fn log_name(self) -> String {
        if self.count == 1 { "results.log".into() } else { format!("results-{}-of-{}.log", self.index, self.count) }
    }
}

impl Store {
    /// Reads every log of a folder; one that does not exist is empty.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut store = Self::default();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(store),
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", folder.display())),
        };
        let mut logs = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| format!("{}: cannot be read", folder.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                logs.push(path);
            }
        }
        // One order everywhere.
        logs.sort();
        for path in logs {
            let text = fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?;
            store.take(&text);
        }
        Ok(store)
    }

    /// Takes the lines of a log; what comes after the last end of a line is being written, or was cut off.
    fn take(&mut self, log: &[u8]) {
        let whole = log.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in log[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            match parsed(line) {
                Some((key, record)) => self.put(key, record),
                None => self.damaged += 1,
            }
        }
    }

    /// Adds what is known of a question.
    pub fn put(&mut self, key: Key, record: Record) {
        let merged = match self.records.remove(&key) {
            Some(own) => own.better(record),
            None => record,
        };
        self.records.insert(key, merged);
    }

    /// What is known of a question.
    pub fn get(&self, key: Key) -> Option<&Record> {
        self.records.get(&key)
    }

    /// How many questions it knows.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Lines that could not be read.
    pub fn damaged(&self) -> usize {
        self.damaged
    }

    /// Adds all that another store knows.
    pub fn merge(&mut self, other: Self) {
        self.damaged += other.damaged;
        let mut records: Vec<(Key, Record)> = other.records.into_iter().collect();
        records.sort_by_key(|(key, _)| *key);
        records.into_iter().for_each(|(key, record)| self.put(key, record));
    }

    /// Writes all that it knows as one log, in the order of the keys: whole, or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut records: Vec<(&Key, &Record)> = self.records.iter().collect();
        records.sort_by_key(|(key, _)| **key);
        let mut text = Vec::new();
        for (key, record) in records {
            text.extend(line(*key, record)?);
        }
        let aside = path.with_extension("tmp");
        let written = File::create(&aside).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        let written = written.and_then(|()| fs::rename(&aside, path));
        written.with_context(|| format!("{}: cannot be written", path.display()))
    }
}

impl Log {
    /// Opens a log to go on with, or starts one; a line that was cut off is dropped.
    pub fn open(folder: &Path, shard: Shard) -> Result<Self> {
        let path = folder.join(shard.log_name());
        let cannot = || format!("{}: cannot be written", path.display());
        fs::create_dir_all(folder).with_context(|| format!("{}: the folder cannot be made", folder.display()))?;
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).read(true).write(true).open(&path).with_context(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("{}: another run is writing it", path.display()),
            // Some file systems of clusters have no locks: shards have logs of their own there.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot),
        }
        let mut old = Vec::new();
        file.read_to_end(&mut old).with_context(cannot)?;
        let whole = old.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).with_context(cannot)?;
        file.seek(SeekFrom::Start(whole as u64)).with_context(cannot)?;
        Ok(Self { path, file })
    }

    /// Appends records: they are on the disk when this returns.
    pub fn append(&mut self, records: &[(Key, Record)]) -> Result<()> {
        let mut text = Vec::new();
        for (key, record) in records {
            text.extend(line(*key, record)?);
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}

/// A checksum, a key and a record.
fn line(key: Key, record: &Record) -> Result<Vec<u8>> {
    let body = format!("{} {}", key.text(), serde_json::to_string(record)?);
    Ok(format!("{} {body}\n", checksum(body.as_bytes())).into_bytes())
}

fn parsed(line: &[u8]) -> Option<(Key, Record)> {
    let text = std::str::from_utf8(line).ok()?;
    let (sum, body) = text.split_once(' ')?;
    if checksum(body.as_bytes()) != sum {
        return None;
    }
    let (key, record) = body.split_once(' ')?;
    Some((Key::parse(key)?, serde_json::from_str(record).ok()?))
}

fn checksum(body: &[u8]) -> String {
    let mut first = [0; 4];
    first.copy_from_slice(&Sha256::digest(body)[..4]);
    format!("{:08x}", u32::from_be_bytes(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verdict: &str) -> Record {
        Record {
            verdict: verdict.into(),
            stage: "bounds".into(),
            reason: None,
            lower_bound: Some(0.1),
            subdomains: 1,
            time_s: 0.5,
            counterexample: None,
            coverage: None,
            effort: String::new(),
        }
    }

    #[test]
    fn a_log_that_was_cut_anywhere_keeps_its_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), Shard::default()).unwrap();
        log.append(&[(Key(1), record("verified")), (Key(2), record("open"))]).unwrap();
        assert!(Log::open(folder.path(), Shard::default()).unwrap_err().to_string().contains("another run"));
        drop(log);
        let path = folder.path().join("results.log");
        let text = fs::read(&path).unwrap();
        let first = text.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        for end in 0..text.len() {
            fs::write(&path, &text[..end]).unwrap();
            let store = Store::read(folder.path()).unwrap();
            assert_eq!((store.len(), store.damaged()), (usize::from(end >= first), 0), "{end}");
            let mut log = Log::open(folder.path(), Shard::default()).unwrap();
            log.append(&[(Key(3), record("verified"))]).unwrap();
            let store = Store::read(folder.path()).unwrap();
            assert_eq!((store.len(), store.damaged()), (1 + usize::from(end >= first), 0), "{end}");
        }
    }

    #[test]
    fn a_damaged_line_is_as_if_it_were_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let records = [(Key(1), record("verified")), (Key(2), record("verified"))];
        Log::open(folder.path(), Shard::default()).unwrap().append(&records).unwrap();
        let path = folder.path().join("results.log");
        let text = fs::read(&path).unwrap();
        let first = text.iter().position(|&byte| byte == b'\n').unwrap();
        for place in 0..first {
            let mut damaged = text.clone();
            damaged[place] ^= 1;
            fs::write(&path, &damaged).unwrap();
            let store = Store::read(folder.path()).unwrap();
            assert_eq!((store.len(), store.get(Key(1)), store.damaged()), (1, None, 1), "{place}");
        }
    }

    #[test]
    fn what_is_merged_again_changes_nothing() {
        let mut store = Store::default();
        store.put(Key(1), record("open"));
        store.put(Key(1), record("verified"));
        store.put(Key(1), record("unknown"));
        assert_eq!(store.get(Key(1)).unwrap().verdict, "verified");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        store.write(&path).unwrap();
        let text = fs::read(&path).unwrap();
        let mut twice = Store::read(folder.path()).unwrap();
        twice.merge(Store::read(folder.path()).unwrap());
        twice.write(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text);
    }

    #[test]
    fn every_question_belongs_to_one_shard() {
        let shards: Vec<Shard> = (1..=3).map(|i| Shard::parse(&format!("{i}/3")).unwrap()).collect();
        for key in (0..100_u128).map(|k| Key(k << 64)) {
            assert_eq!(shards.iter().filter(|shard| shard.has(key)).count(), 1);
        }
        for text in ["0/2", "3/2", "1", "a/b", "1/0"] {
            assert!(Shard::parse(text).is_err(), "{text}");
        }
    }
}
