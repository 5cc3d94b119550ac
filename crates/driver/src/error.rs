/// Why a job could not be done: bad input, or a failed device. What a search could not decide is no error.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The question itself.
    #[error("{0}")]
    Question(String),
    /// The network or the property.
    #[error(transparent)]
    Input(#[from] network::Error),
    /// The bounds.
    #[error(transparent)]
    Bounds(#[from] bounds::Error),
    /// The certificate.
    #[error("{0}")]
    Certificate(String),
}

impl Error {
    pub(crate) fn question(message: impl Into<String>) -> Self {
        Self::Question(message.into())
    }
}
