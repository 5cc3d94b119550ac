use std::io;

/// Why a certificate could not be read or written, or does not belong to the question.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be read or written.
    #[error("the certificate cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Its bytes are no certificate.
    #[error("not a certificate that this version reads: {0}")]
    Format(String),
    /// It speaks of something else.
    #[error("{0}")]
    Mismatch(String),
}
