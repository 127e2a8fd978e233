//! Wrong use of the program, which its exit status tells apart from failures.

/// The program was used wrongly; its exit status says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);
