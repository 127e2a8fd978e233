//! The one error type of this crate.

/// Why a file is not a model that this program can run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a GGUF file, or is damaged; the message names the place.
    #[error("{0}")]
    Gguf(String),
    /// A metadata key is missing, has the wrong type or an impossible value.
    #[error("metadata key {key}: {problem}")]
    Metadata {
        /// The key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor is missing, unknown to the architecture, or has the wrong shape or type.
    #[error("tensor {name}: {problem}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file asks for something that this program does not have.
    #[error("{0}")]
    Unsupported(String),
    /// The chat template failed to compile or to render.
    #[error("chat template: {0}")]
    Template(String),
    /// Any of the above, with the file it is about.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: Box<ModelError>,
    },
}

impl ModelError {
    /// The error for the metadata key `key`.
    pub(crate) fn metadata(key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Metadata { key: key.to_owned(), problem: problem.into() }
    }
}
