//! Computed prompts in files, for the next start of the program.
//!
//! [`PromptFiles`] is a folder of files, each with the KV cache pages of one token sequence. It answers at once which file
//! has the longest prefix of a prompt; reading and writing happen on a thread, past the page cache where the system allows
//! it, in two buffers of one page. Callers copy pages in and out when they get around to it and never wait for the disk.
//!
//! Files are written beside their final name and renamed once they are whole on the disk. What is damaged later is
//! recognized by its checksums and deleted.
//!
//! Deliberately absent: what a page means, and which prompts are worth keeping.

mod entry;
mod files;
mod folder;
#[cfg(test)]
mod tests;
mod transfer;
mod writer;

pub use entry::CacheIdentity;
pub use files::{Arrival, PromptFiles, PromptFilesOptions, Saving};
