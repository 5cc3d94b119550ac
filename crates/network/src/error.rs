use std::path::{Path, PathBuf};

/// What went wrong, with the place where it did.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", place(.file.as_deref(), *.line))]
pub struct Error {
    /// The cause.
    pub kind: ErrorKind,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The line in that file, counted from 1.
    pub line: Option<usize>,
}

/// The causes of an [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// The bytes are not in the format they claim.
    #[error("{0}")]
    Format(String),
    /// A node's operands do not fit.
    #[error("node '{node}': expected {expected}, got {got}")]
    Shape {
        /// The node's name in the file.
        node: String,
        /// What the operator needs.
        expected: String,
        /// What the file gives.
        got: String,
    },
    /// An operator, or a use of it, that has no sound bound here.
    #[error("node '{node}': operator {operator} is not supported{detail}")]
    Unsupported {
        /// The node's name in the file.
        node: String,
        /// The operator's name in its format.
        operator: String,
        /// What exactly is not supported and what to do; empty or starting with a separator.
        detail: String,
    },
    /// A weight or constant that is NaN or infinite.
    #[error("node '{node}': {what} holds a value that is not finite")]
    NotFinite {
        /// The node's name in the file.
        node: String,
        /// Which of its tensors.
        what: String,
    },
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, file: None, line: None }
    }
}

impl Error {
    /// A malformed input, described for the person who has to mend it.
    pub fn format(message: impl Into<String>) -> Self {
        ErrorKind::Format(message.into()).into()
    }

    /// Names the file in which the error lies; a file already named stays.
    #[must_use]
    pub fn in_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.file.get_or_insert_with(|| file.into());
        self
    }

    /// Names the line (from 1) at which the error lies.
    #[must_use]
    pub fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }
}

fn place(file: Option<&Path>, line: Option<usize>) -> String {
    match (file, line) {
        (Some(file), Some(line)) => format!("{}:{line}: ", file.display()),
        (Some(file), None) => format!("{}: ", file.display()),
        (None, Some(line)) => format!("line {line}: "),
        (None, None) => String::new(),
    }
}
