use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use network::instances::{self, Instance};

/// The columns of a results file, before those that the list brought along.
const COLUMNS: [&str; 9] =
    ["onnx", "vnnlib", "verdict", "time_s", "subdomains", "lower_bound", "reason", "margin", "message"];

/// What a row may say.
const VERDICTS: [&str; 4] = ["verified", "falsified", "unknown", "error"];

/// A results file that grows row by row, and knows the rows of earlier runs.
#[derive(Debug)]
pub struct Results {
    path: PathBuf,
    file: File,
    /// How often each pair of network and property, as written, has a row already; with what verdicts.
    done: HashMap<(String, String), Vec<String>>,
}

/// What a row says after network and property.
#[derive(Debug, Default, PartialEq)]
pub struct Row {
    /// `verified`, `falsified`, `unknown` or `error`.
    pub verdict: String,
    /// Seconds.
    pub time_s: f64,
    /// Subdomains bounded.
    pub subdomains: u64,
    /// How far the worst piece is from verified.
    pub lower_bound: Option<f64>,
    /// Why it is unknown.
    pub reason: String,
    /// How far inside the violation the counterexample is.
    pub margin: Option<f64>,
    /// Why it is an error.
    pub message: String,
}

impl Results {
    /// Opens a results file to go on with, or starts one, for lists with these extra columns.
    ///
    /// A last line without its end was cut off while it was written: it is dropped, and its row done again.
    pub fn open(path: &Path, extra: &[String]) -> Result<Self> {
        let header = header(extra);
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            bail!("{}: results go to a file; this is something else", path.display());
        }
        let old = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        };
        let whole = old.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        // A header that was cut off while it was written is ours; anything else without a line is not.
        let is_ours = whole > 0 || header.as_bytes().starts_with(&old);
        let text = String::from_utf8_lossy(&old[..whole]);
        if !is_ours || (whole > 0 && text.lines().next() != Some(header.trim_end())) {
            bail!(
                "{}: line 1: these are not results of this list (its columns would be {}); move the file away or name another",
                path.display(),
                header.trim_end()
            );
        }
        let rows = instances::parse(&text, Path::new("")).map_err(|error| error.in_file(path))?;
        let mut done = HashMap::<_, Vec<String>>::new();
        for row in rows {
            let verdict = row.extra.iter().find(|(name, _)| name == "verdict").map(|(_, verdict)| verdict.clone());
            let verdict = verdict.filter(|verdict| VERDICTS.contains(&verdict.as_str())).with_context(|| {
                let (place, verdicts) = (path.display(), VERDICTS.join(", "));
                format!(
                    "{place}:{}: the row has no verdict ({verdicts}); delete the row, and it is done again",
                    row.line
                )
            })?;
            done.entry((row.onnx_as_written, row.vnnlib_as_written)).or_default().push(verdict);
        }
        let cannot_write = || format!("{}: cannot be written", path.display());
        let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(cannot_write)?;
        file.set_len(whole as u64).with_context(cannot_write)?;
        if whole == 0 {
            file.write_all(header.as_bytes()).with_context(cannot_write)?;
        }
        Ok(Self { path: path.to_owned(), file, done })
    }

    /// The verdict of an instance that an earlier run has done; each row of the file counts once.
    pub fn take(&mut self, instance: &Instance) -> Option<String> {
        let key = (instance.onnx_as_written.clone(), instance.vnnlib_as_written.clone());
        let verdicts = self.done.get_mut(&key)?;
        (!verdicts.is_empty()).then(|| verdicts.remove(0))
    }

    /// Appends a row; it is in the file when this returns.
    pub fn write(&mut self, instance: &Instance, row: &Row) -> Result<()> {
        let real = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        let cells = [
            instance.onnx_as_written.clone(),
            instance.vnnlib_as_written.clone(),
            row.verdict.clone(),
            format!("{:.6}", row.time_s),
            row.subdomains.to_string(),
            real(row.lower_bound),
            row.reason.clone(),
            real(row.margin),
            row.message.replace(['\n', '\r'], " "),
        ];
        let line = line(cells.into_iter().chain(instance.extra.iter().map(|(_, value)| value.clone())));
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.flush());
        written.with_context(|| format!("{}: cannot be written", self.path.display()))
    }
}

/// The names of the columns, ours first; a column of the list that is called like one of ours is marked as the list's.
fn header(extra: &[String]) -> String {
    let theirs =
        extra.iter().map(|name| if COLUMNS.contains(&name.as_str()) { format!("list_{name}") } else { name.clone() });
    line(COLUMNS.iter().map(ToString::to_string).chain(theirs))
}

/// A row of comma-separated values, quoted where needed.
fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells
        .map(|cell| {
            let is_plain = !cell.contains(['"', ',', '\n', '\r']) && cell.trim() == cell;
            if is_plain { cell } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
        })
        .collect();
    cells.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(onnx: &str) -> Instance {
        Instance {
            onnx: onnx.into(),
            vnnlib: "p".into(),
            onnx_as_written: onnx.into(),
            vnnlib_as_written: "p".into(),
            timeout_s: None,
            extra: vec![("expected".into(), "sat, surely".into())],
            line: 1,
        }
    }

    fn row(verdict: &str) -> Row {
        Row { verdict: verdict.into(), message: "a \"b\",\nc".into(), ..Row::default() }
    }

    #[test]
    fn rows_survive_and_a_cut_line_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        let extra = ["expected".to_owned()];
        let mut results = Results::open(&path, &extra).unwrap();
        results.write(&instance("a, b"), &row("verified")).unwrap();
        results.write(&instance("c"), &row("error")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut results = Results::open(&path, &extra).unwrap();
        assert_eq!(results.take(&instance("a, b")).as_deref(), Some("verified"));
        assert_eq!(results.take(&instance("a, b")), None);
        assert_eq!(results.take(&instance("c")), None);
        results.write(&instance("c"), &row("error")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_file_with_other_columns_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.csv");
        fs::write(&path, "name,value\n1,2\n").unwrap();
        assert!(Results::open(&path, &[]).unwrap_err().to_string().contains("not results of this list"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "name,value\n1,2\n");
        // Nor is one without a line.
        fs::write(&path, "precious").unwrap();
        assert!(Results::open(&path, &[]).unwrap_err().to_string().contains("not results of this list"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        // A header that was cut off is.
        fs::write(&path, "onnx,vnn").unwrap();
        Results::open(&path, &[]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), header(&[]));
    }

    #[test]
    fn columns_of_the_list_keep_their_names_unless_they_are_ours() {
        assert!(header(&["expected".into(), "verdict".into()]).ends_with(",message,expected,list_verdict\n"));
    }
}
