use std::io;
use std::path::{Path, PathBuf};

/// What went wrong, with the file and line where there are any.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{}{}: {message}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    File {
        /// Which.
        path: PathBuf,
        /// The line, counted from 1.
        line: Option<usize>,
        /// What was expected, what was found and what to do.
        message: String,
    },
    /// A description that has no meaning: an architecture whose sizes do not fit, a data set without a class, a negative rate.
    #[error("{0}")]
    Invalid(String),
    /// A network that cannot be read, written or built.
    #[error(transparent)]
    Network(#[from] network::Error),
}

impl Error {
    /// A file that cannot be read or written.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// A file that does not hold what it should.
    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), line: None, message: message.into() }
    }

    /// A line (from 1) that does not hold what it should.
    pub(crate) fn line(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), line: Some(line), message: message.into() }
    }

    /// A description without a meaning.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }
}
