//! Lists of verification instances as in VNN-COMP: comma-separated values, one instance a row.
//!
//! If the first row has cells `onnx` and `vnnlib` (in any case) it is a header, and columns come in its order; `timeout` may
//! be missing. Otherwise the columns are network, property and, if there is a third, time limit.
//! Cells may be quoted as usual (`"a ""b"", c"`); blanks around an unquoted cell do not count, blank lines neither.

use std::path::{Path, PathBuf};

use crate::decimal::quoted;
use crate::{Error, text};

/// One row: a network, a property and how long it may take.
#[derive(Debug, Clone, PartialEq)]
pub struct Instance {
    /// The network's file; a relative path has been resolved against the folder of the list.
    pub onnx: PathBuf,
    /// The property's file; a relative path has been resolved against the folder of the list.
    pub vnnlib: PathBuf,
    /// The network's path as written.
    pub onnx_as_written: String,
    /// The property's path as written.
    pub vnnlib_as_written: String,
    /// The time limit in seconds, if the list gives one.
    pub timeout_s: Option<f64>,
    /// The other columns in order: name (`column_4`, … without a header) and value.
    pub extra: Vec<(String, String)>,
    /// The line in the list where the row starts, counted from 1.
    pub line: usize,
}

/// A row of cells and the line where it starts.
#[derive(Debug, PartialEq)]
struct Row {
    line: usize,
    cells: Vec<String>,
}

/// What each column holds.
#[derive(Debug)]
struct Columns {
    /// Names of all columns; empty without a header.
    names: Vec<String>,
    onnx: usize,
    vnnlib: usize,
    timeout: Option<usize>,
}

/// Reads a list from a file; paths in it are resolved against its folder.
///
/// # Errors
/// When the file cannot be read, or for the reasons of [`parse`]; the error names the file.
pub fn read(path: &Path) -> Result<Vec<Instance>, Error> {
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text::read(path)?, folder).map_err(|error| error.in_file(path))
}

/// Reads a list from its text; paths in it are resolved against `folder`.
///
/// # Errors
/// When a quotation is malformed, a row has too few or too many cells, a path is empty, or a time limit is not a positive
/// number, with the line.
pub fn parse(text: &str, folder: &Path) -> Result<Vec<Instance>, Error> {
    let mut rows = rows(text)?;
    let header = rows.first().map(Columns::from_header).transpose()?.flatten();
    let columns = match header {
        Some(columns) => {
            rows.remove(0);
            columns
        }
        None => Columns { names: Vec::new(), onnx: 0, vnnlib: 1, timeout: Some(2) },
    };
    rows.into_iter()
        .map(|row| {
            let line = row.line;
            columns.instance(row, folder).map_err(|error| error.at_line(line))
        })
        .collect()
}

impl Columns {
    /// The columns that a row names, unless it is no header.
    fn from_header(row: &Row) -> Result<Option<Self>, Error> {
        let place = |name: &str| {
            let mut places = (0..row.cells.len()).filter(|&i| row.cells[i].eq_ignore_ascii_case(name));
            let first = places.next();
            if places.next().is_some() {
                return Err(Error::format(format!("the header has two columns '{name}'")).at_line(row.line));
            }
            Ok(first)
        };
        let (Some(onnx), Some(vnnlib)) = (place("onnx")?, place("vnnlib")?) else {
            return Ok(None);
        };
        Ok(Some(Self { names: row.cells.clone(), onnx, vnnlib, timeout: place("timeout")? }))
    }

    fn instance(&self, row: Row, folder: &Path) -> Result<Instance, Error> {
        let n_cells = row.cells.len();
        if self.names.is_empty() && n_cells < 2 {
            return Err(Error::format("a row needs a network and a property, separated by a comma"));
        }
        if !self.names.is_empty() && n_cells != self.names.len() {
            let message = format!("expected {} cells as in the header, got {n_cells}", self.names.len());
            return Err(Error::format(message));
        }
        let path = |column: usize, what: &str| match row.cells[column].as_str() {
            "" => Err(Error::format(format!("the path of the {what} is empty"))),
            path => Ok(path.to_owned()),
        };
        let (onnx, vnnlib) = (path(self.onnx, "network")?, path(self.vnnlib, "property")?);
        let timeout = self.timeout.and_then(|column| row.cells.get(column)).filter(|cell| !cell.is_empty());
        let timeout_s = timeout
            .map(|cell| {
                let seconds = cell.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds > 0.0);
                let message = || format!("the timeout {} is not a positive number of seconds", quoted(cell));
                seconds.ok_or_else(|| Error::format(message()))
            })
            .transpose()?;
        let name = |column: usize| match self.names.get(column) {
            Some(name) => name.clone(),
            None => format!("column_{}", column + 1),
        };
        let is_extra = |column: usize| column != self.onnx && column != self.vnnlib && Some(column) != self.timeout;
        let cells = row.cells.into_iter().enumerate();
        let extra = cells.filter(|&(column, _)| is_extra(column)).map(|(column, cell)| (name(column), cell)).collect();
        Ok(Instance {
            onnx: folder.join(&onnx),
            vnnlib: folder.join(&vnnlib),
            onnx_as_written: onnx,
            vnnlib_as_written: vnnlib,
            timeout_s,
            extra,
            line: row.line,
        })
    }
}

/// Splits a text into rows, blank lines left out.
fn rows(text: &str) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let mut rest = text;
    let mut line = 1;
    while !rest.is_empty() {
        let mut row = Row { line, cells: Vec::new() };
        let is_blank = loop {
            let (cell, after) = cell(rest).map_err(|error| error.at_line(line))?;
            line += rest[..rest.len() - after.len()].matches('\n').count();
            let is_blank =
                row.cells.is_empty() && cell.is_empty() && !rest.trim_start_matches([' ', '\t']).starts_with('"');
            row.cells.push(cell);
            rest = after;
            match rest.strip_prefix(',') {
                Some(next) => rest = next,
                None => break is_blank,
            }
        };
        if let Some(next) = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix(['\n', '\r'])) {
            rest = next;
            line += 1;
        }
        if !is_blank {
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Reads a cell; what is left starts with a comma or an end of line, or is empty.
fn cell(text: &str) -> Result<(String, &str), Error> {
    let ends_cell = |character: char| matches!(character, ',' | '\n' | '\r');
    let start = text.trim_start_matches([' ', '\t']);
    let Some(mut rest) = start.strip_prefix('"') else {
        let (cell, after) = start.split_at(start.find(ends_cell).unwrap_or(start.len()));
        if cell.contains('"') {
            return Err(Error::format(format!(
                "a quotation mark inside the unquoted cell {}",
                quoted(cell.trim_end())
            )));
        }
        return Ok((cell.trim_end().to_owned(), after));
    };
    let mut cell = String::new();
    loop {
        let end = rest.find('"').ok_or_else(|| Error::format("the quotation that starts here never ends"))?;
        cell.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                cell.push('"');
                rest = next;
            }
            None => break,
        }
    }
    let after = rest.trim_start_matches([' ', '\t']);
    if !after.is_empty() && !after.starts_with(ends_cell) {
        return Err(Error::format("text follows a closing quotation mark"));
    }
    Ok((cell, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Instance> {
        parse(text, Path::new("lists")).unwrap()
    }

    fn message(text: &str) -> String {
        parse(text, Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn rows_without_a_header_are_network_property_timeout() {
        let instances = list("a.onnx,./b.vnnlib,116\nc.onnx, d.vnnlib\n");
        assert_eq!(instances.len(), 2);
        assert_eq!(instances[0].onnx, Path::new("lists/a.onnx"));
        assert_eq!(instances[0].vnnlib, Path::new("lists/./b.vnnlib"));
        assert_eq!(instances[0].vnnlib_as_written, "./b.vnnlib");
        assert_eq!((instances[0].timeout_s, instances[1].timeout_s), (Some(116.0), None));
        assert_eq!((instances[1].vnnlib_as_written.as_str(), instances[1].line), ("d.vnnlib", 2));
        assert_eq!(list("a,b,1,x,y")[0].extra, [("column_4".into(), "x".into()), ("column_5".into(), "y".into())]);
    }

    #[test]
    fn a_header_names_the_columns_in_any_order() {
        let instances = list("timeout,VNNLIB,expected,onnx\r\n\r\n6.5,p,sat,n\r\n,q,unsat,m");
        assert_eq!((instances[0].onnx_as_written.as_str(), instances[0].vnnlib_as_written.as_str()), ("n", "p"));
        assert_eq!((instances[0].timeout_s, instances[0].line), (Some(6.5), 3));
        assert_eq!(instances[0].extra, [("expected".into(), "sat".into())]);
        assert_eq!((instances[1].timeout_s, instances[1].line), (None, 4));
        assert_eq!(list("onnx,vnnlib\na,b")[0].timeout_s, None);
    }

    #[test]
    fn quoted_cells_hold_commas_quotes_and_line_ends() {
        let instances = list("\"a, b\" , \"say \"\"c\"\"\",\"3\"\n\n\"d\ne\",f\ng,h");
        assert_eq!(instances[0].onnx_as_written, "a, b");
        assert_eq!((instances[0].vnnlib_as_written.as_str(), instances[0].timeout_s), ("say \"c\"", Some(3.0)));
        assert_eq!((instances[1].onnx_as_written.as_str(), instances[1].line), ("d\ne", 3));
        assert_eq!(instances[2].line, 5);
    }

    #[test]
    fn blank_lists_are_empty() {
        assert_eq!(list(""), []);
        assert_eq!(list("\n \r\n\t\n"), []);
        assert_eq!(list("onnx,vnnlib,timeout\n"), []);
    }

    #[test]
    fn absolute_paths_stay() {
        assert_eq!(list("/n.onnx,p")[0].onnx, Path::new("/n.onnx"));
    }

    #[test]
    fn errors_name_their_line() {
        assert_eq!(message("a,b\nc"), "line 2: a row needs a network and a property, separated by a comma");
        assert_eq!(message("onnx,vnnlib\n\na,b,c"), "line 3: expected 2 cells as in the header, got 3");
        assert_eq!(message("a,b,soon"), "line 1: the timeout 'soon' is not a positive number of seconds");
        for timeout in ["0", "-1", "nan", "inf"] {
            assert!(message(&format!("a,b,{timeout}")).contains("is not a positive number of seconds"));
        }
        assert_eq!(message("a,b\n,c"), "line 2: the path of the network is empty");
        assert_eq!(message("a,b\nc,,3"), "line 2: the path of the property is empty");
        assert_eq!(message("a,b\n\"c,d"), "line 2: the quotation that starts here never ends");
        assert_eq!(message("a,b\n\"c\"x,d"), "line 2: text follows a closing quotation mark");
        assert_eq!(message("a\"b,c"), "line 1: a quotation mark inside the unquoted cell 'a\"b'");
        assert_eq!(message("onnx,vnnlib,onnx"), "line 1: the header has two columns 'onnx'");
    }
}
