//! Reading the text of a file, compressed or not.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::{Error, ErrorKind};

/// Longest text, after decompression: the largest known property files are a tenth of this.
const MAX_BYTES: u64 = 1 << 28;

/// Reads a UTF-8 text, decompressing it if it starts like a gzip file; a byte-order mark is dropped.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let io = |error: std::io::Error| Error::from(ErrorKind::Io(error)).in_file(path);
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let is_compressed = file.fill_buf().map_err(io)?.starts_with(&[0x1f, 0x8b]);
    let mut bytes = Vec::new();
    if is_compressed {
        MultiGzDecoder::new(file).take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    } else {
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Error::format(format!("the text is longer than {} MiB", MAX_BYTES >> 20)).in_file(path));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.split(|&byte| byte == b'\n').count();
        Error::format("this is not UTF-8 text").at_line(line).in_file(path)
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
