//! The file format: what is known of a file without its pages.
//!
//! Numbers are little-endian:
//!
//! ```text
//! magic [8] | version u32 | kv type u32 | model u128 | page bytes u64 | tokens u64 | seconds per token f64
//! tokens [u32] | checksums of the pages [u128] | checksum of all so far u128 | pages
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use kernels::KvType;
use xxhash_rust::xxh3::xxh3_128;

const MAGIC: &[u8; 8] = b"ssd-llmK";
const VERSION: u32 = 1;

/// Bytes before the tokens.
const FIXED_BYTES: usize = 56;

/// No model's context is this long.
const MAX_TOKENS: u64 = 1 << 26;

/// What must be the same for pages to mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheIdentity {
    /// Identifies the model's file.
    pub model: u128,
    /// How keys and values are stored.
    pub kv_type: KvType,
}

/// The pages of a model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) identity: CacheIdentity,
    pub(super) page_tokens: usize,
    pub(super) page_bytes: usize,
}

/// A file, without its pages.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) tokens: Vec<u32>,
    pub(super) checksums: Vec<u128>,
    pub(super) seconds_per_token: f64,
    pub(super) used: SystemTime,
}

impl Format {
    pub(super) fn n_pages(&self, n_tokens: usize) -> usize {
        n_tokens.div_ceil(self.page_tokens)
    }

    /// Where the pages of a file begin.
    pub(super) fn pages_at(&self, n_tokens: usize) -> u64 {
        (FIXED_BYTES + 4 * n_tokens + 16 * (self.n_pages(n_tokens) + 1)) as u64
    }

    /// Bytes of a file.
    pub(super) fn file_bytes(&self, n_tokens: usize) -> u64 {
        self.pages_at(n_tokens) + self.n_pages(n_tokens) as u64 * self.page_bytes as u64
    }

    /// Everything before the pages.
    pub(super) fn header(&self, tokens: &[u32], checksums: &[u128], seconds_per_token: f64) -> Vec<u8> {
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(kv_number(self.identity.kv_type).to_le_bytes());
        header.extend(self.identity.model.to_le_bytes());
        header.extend((self.page_bytes as u64).to_le_bytes());
        header.extend((tokens.len() as u64).to_le_bytes());
        header.extend(seconds_per_token.to_le_bytes());
        tokens.iter().for_each(|token| header.extend(token.to_le_bytes()));
        checksums.iter().for_each(|sum| header.extend(sum.to_le_bytes()));
        header.extend(xxh3_128(&header).to_le_bytes());
        header
    }

    /// Reads a file up to its pages; none if it belongs to another model, KV type or version of the format.
    ///
    /// Errors: it is damaged or cannot be read.
    pub(super) fn read_entry(&self, path: &Path) -> io::Result<Option<Entry>> {
        let mut file = open_file(path)?;
        let data = file.metadata()?;
        let mut header = vec![0; FIXED_BYTES];
        file.read_exact(&mut header)?;
        if header[..8] != *MAGIC {
            return Err(damaged("it begins with something else"));
        }
        let number = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("the fixed part has been read"));
        let kind = u64::from(VERSION) | u64::from(kv_number(self.identity.kv_type)) << 32;
        let model = u128::from(number(16)) | u128::from(number(24)) << 64;
        if (number(8), model, number(32)) != (kind, self.identity.model, self.page_bytes as u64) {
            return Ok(None);
        }
        let (n_tokens, seconds_per_token) = (number(40), f64::from_bits(number(48)));
        if n_tokens > MAX_TOKENS {
            return Err(damaged("it claims more tokens than any context has"));
        }
        let n_tokens = n_tokens as usize;
        if data.len() != self.file_bytes(n_tokens) {
            return Err(damaged("its length is wrong"));
        }
        header.resize(self.pages_at(n_tokens) as usize, 0);
        file.read_exact(&mut header[FIXED_BYTES..])?;
        let (summed, sum) = header.split_last_chunk::<16>().expect("the length has been counted");
        if xxh3_128(summed) != u128::from_le_bytes(*sum) {
            return Err(damaged("its checksum is wrong"));
        }
        let (tokens, checksums) = summed[FIXED_BYTES..].split_at(4 * n_tokens);
        Ok(Some(Entry {
            path: path.to_owned(),
            tokens: tokens.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
            checksums: checksums.as_chunks().0.iter().map(|bytes| u128::from_le_bytes(*bytes)).collect(),
            seconds_per_token,
            used: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }))
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn kv_number(kv_type: KvType) -> u32 {
    match kv_type {
        KvType::F16 => 0,
        KvType::F32 => 1,
        KvType::Q8_0 => 2,
    }
}

/// Opens a regular file. Errors: it is something else; opening a pipe, say, would block until something writes to it.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// Deletes a damaged file and says so, unless it begins with something that this program does not write.
pub(super) fn remove_damaged(path: &Path, why: &str) {
    let mut begin = Vec::new();
    let is_read = open_file(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut begin)).is_ok();
    let name = path.display();
    if !is_read || !MAGIC.starts_with(&begin) {
        tracing::warn!("ignoring {name}: not a prompt-cache file ({why})");
    } else if let Err(error) = fs::remove_file(path) {
        tracing::warn!("cannot delete the damaged prompt-cache file {name} ({why}): {error}");
    } else {
        tracing::warn!("deleted the damaged prompt-cache file {name}: {why}");
    }
}
