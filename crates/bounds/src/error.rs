/// Why no bound could be computed.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct Error {
    /// The cause.
    pub kind: ErrorKind,
}

/// The causes of an [`Error`].
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A box of the batch is malformed or leaves the region that the program was recorded for.
    #[error("subproblem {subproblem}: {problem}")]
    Region {
        /// Place in the batch.
        subproblem: usize,
        /// What is wrong.
        problem: String,
    },
    /// Magnitudes come too near to overflow for this arithmetic; a wider one may do.
    #[error("node '{node}': magnitudes up to {magnitude:e} could overflow")]
    Magnitude {
        /// Where.
        node: String,
        /// How large they may become.
        magnitude: f64,
    },
    /// The network is too large for 32-bit offsets.
    #[error("the network needs {needed} values of {what}, more than 2^31")]
    TooLarge {
        /// What of.
        what: &'static str,
        /// How many.
        needed: usize,
    },
    /// The engine's recipe records no optimised bounds.
    #[error("the recipe records no optimised bounds of the outputs")]
    NotOptimised,
    /// No adapter of that description, or none that knows such a program.
    #[error("{0}")]
    NoDevice(String),
    /// A single subproblem exceeds the device's memory or limits.
    #[error("out of device memory: {0}")]
    OutOfMemory(String),
    /// The device was lost or refused a command.
    #[error("the device failed: {0}")]
    Device(String),
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind }
    }
}
