//! [`ModelError`], the error type of this crate.

/// Why a file cannot be run as a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file could not be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not a GGUF file or is damaged; the message says where.
    #[error("{0}")]
    Gguf(String),
    /// A metadata key is missing, or its value has the wrong type or is invalid.
    #[error("metadata key {}: {problem}", .key.escape_debug())]
    Metadata {
        /// The key.
        key: String,
        /// The problem.
        problem: String,
    },
    /// A tensor is missing, unknown to the architecture, or has the wrong shape or type.
    #[error("tensor {}: {problem}", .name.escape_debug())]
    Tensor {
        /// The tensor.
        name: String,
        /// The problem.
        problem: String,
    },
    /// The file needs something that this program does not support.
    #[error("{0}")]
    Unsupported(String),
    /// The chat template failed to compile or to render.
    #[error("chat template: {0}")]
    Template(String),
    /// Any of the above, with the file.
    #[error("{path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// The problem.
        problem: Box<ModelError>,
    },
}

impl ModelError {
    /// The error for the metadata key `key`.
    pub(crate) fn metadata(key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::Metadata { key: key.to_owned(), problem: problem.into() }
    }
}
