//! Computed prompts in files, for the next start of the program.
//!
//! A file holds the pages of one sequence, with its tokens and a checksum for each page and for what comes before them:
//! numbers are little-endian,
//!
//! ```text
//! magic [8] | version u32 | kv type u32 | model u128 | page bytes u64 | tokens u64 | seconds a token f64
//! tokens [u32] | checksums of the pages [u128] | checksum of all so far u128 | pages
//! ```
//!
//! Files are written beside their final name and renamed when they are whole on the disk, so that whatever ends the program,
//! a file with that name is whole; and what is damaged later is found by its checksum and deleted, if it begins as files of
//! this program do. Pages are restored only where reading them takes less time than computing them took.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use forward::{KvType, LanguageModel, PAGE_TOKENS, SeqId};
use model::TokenId;
use xxhash_rust::xxh3::xxh3_128;

use crate::prompt_cache::common_prefix as common;

const MAGIC: &[u8; 8] = b"ssd-llmK";
const VERSION: u32 = 1;
const EXTENSION: &str = "ssdkv";

/// Before the tokens.
const FIXED_BYTES: usize = 56;

/// A file with more tokens than any model's context is none of ours.
const MAX_TOKENS: u64 = 1 << 26;

/// Bytes a second that a disk is taken to give before one has been measured.
const FIRST_RATE: f64 = 300e6;

/// A file that is being written grows; one that has not for so long was left by a program that ended.
const ABANDONED: Duration = Duration::from_secs(60);

/// What must be the same for pages to mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheIdentity {
    /// Tells the model's file from others.
    pub model: u128,
    /// How keys and values are stored.
    pub kv_type: KvType,
}

/// A directory of computed prompts.
#[derive(Debug)]
pub struct DiskCache {
    folder: PathBuf,
    identity: CacheIdentity,
    page_bytes: usize,
    max_bytes: u64,
    entries: Vec<Entry>,
    bytes_per_second: f64,
}

/// A file, without its pages.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    tokens: Vec<TokenId>,
    checksums: Vec<u128>,
    seconds_per_token: f64,
    /// Where the pages begin.
    pages_at: u64,
    bytes: u64,
    used: SystemTime,
}

impl DiskCache {
    /// Opens a directory, which is made if it is not there, and reads what its files hold of this model. Files of this
    /// program that are damaged or were left half written are deleted; those of other models stay, and so do those of others.
    ///
    /// `max_bytes` is what the files of this model may take; those that were not used for longest leave first.
    /// Errors: the directory cannot be made or read.
    pub fn open(folder: &Path, identity: CacheIdentity, page_bytes: usize, max_bytes: u64) -> io::Result<DiskCache> {
        fs::create_dir_all(folder)?;
        let mut entries = Vec::new();
        for item in fs::read_dir(folder)? {
            let path = item?.path();
            let is_named = path.extension().is_some_and(|extension| extension == EXTENSION);
            let is_left = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX));
            if is_left && age(&path) > ABANDONED {
                remove_damaged(&path, "it was left half written");
            } else if is_named {
                match read_entry(&path, identity, page_bytes) {
                    Ok(Some(entry)) => entries.push(entry),
                    Ok(None) => {}
                    Err(error) => remove_damaged(&path, &error.to_string()),
                }
            }
        }
        let folder = folder.to_owned();
        let mut cache = DiskCache { folder, identity, page_bytes, max_bytes, entries, bytes_per_second: FIRST_RATE };
        cache.shrink();
        Ok(cache)
    }

    /// The file that begins with most of a prompt, and how much of it.
    pub(crate) fn longest(&self, prompt: &[TokenId]) -> Option<(usize, usize)> {
        let all = self.entries.iter().map(|entry| common(&entry.tokens, prompt)).enumerate();
        all.max_by_key(|(_, len)| *len)
    }

    /// Whether reading the first `len` tokens of a file saves time against computing `n_computed` of them.
    pub(crate) fn is_worth_it(&self, entry: usize, len: usize, n_computed: usize) -> bool {
        let bytes = len.div_ceil(PAGE_TOKENS) * self.page_bytes;
        bytes as f64 / self.bytes_per_second < n_computed as f64 * self.entries[entry].seconds_per_token
    }

    /// Makes the first `len` tokens of a file the sequence `seq`; its tokens, or none if the file is not what it was, and is
    /// gone, or there is no room.
    pub(crate) fn restore(
        &mut self,
        entry: usize,
        len: usize,
        model: &mut dyn LanguageModel,
        seq: SeqId,
    ) -> Option<Vec<TokenId>> {
        let start = Instant::now();
        let found = &self.entries[entry];
        let mut file = File::open(&found.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(found.pages_at))?;
            Ok(file)
        });
        let mut is_damaged = false;
        let mut fill = |i: usize, page: &mut [u8]| {
            let is_read = file.as_mut().is_ok_and(|file| file.read_exact(page).is_ok());
            let is_right = is_read && found.checksums.get(i).is_some_and(|sum| *sum == xxh3_128(page));
            is_damaged |= !is_right;
            is_right
        };
        let is_there = model.insert(seq, len, &mut fill).unwrap_or(false);
        if is_damaged {
            let entry = self.entries.remove(entry);
            remove_damaged(&entry.path, "its pages are not what was written");
        } else if is_there {
            let bytes = len.div_ceil(PAGE_TOKENS) * self.page_bytes;
            self.bytes_per_second = bytes as f64 / start.elapsed().as_secs_f64().max(1e-6);
            self.touch(entry);
            return Some(self.entries[entry].tokens[..len].to_vec());
        }
        None
    }

    /// Writes a sequence of these tokens to a file, unless there is one that begins with them. The files that it begins
    /// with are deleted, and the oldest ones if all would be too large.
    ///
    /// Errors: the file cannot be written; the directory is as it was then.
    pub(crate) fn save(
        &mut self,
        model: &mut dyn LanguageModel,
        seq: SeqId,
        tokens: &[TokenId],
        seconds_per_token: f64,
    ) -> io::Result<()> {
        let n_pages = tokens.len().div_ceil(PAGE_TOKENS);
        let header_bytes = FIXED_BYTES + 4 * tokens.len() + 16 * (n_pages + 1);
        let bytes = (header_bytes + n_pages * self.page_bytes) as u64;
        if bytes > self.max_bytes || self.entries.iter().any(|entry| entry.tokens.starts_with(tokens)) {
            return Ok(());
        }
        let mut checksums = Vec::with_capacity(n_pages);
        for i in 0..n_pages {
            let Some(page) = model.page(seq, i) else { return Ok(()) };
            checksums.push(xxh3_128(page));
        }
        let header = self.header(tokens, &checksums, seconds_per_token);
        let mut file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&self.folder)?;
        file.write_all(&header)?;
        for i in 0..n_pages {
            let Some(page) = model.page(seq, i) else { return Ok(()) };
            file.write_all(page)?;
        }
        file.as_file().sync_all()?;
        let path = self.folder.join(format!("{:032x}.{EXTENSION}", xxh3_128(&header)));
        file.persist(&path)?;
        // The name, too, must be on the disk; systems that cannot do this do it on their own.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        let tokens = tokens.to_vec();
        let pages_at = header.len() as u64;
        let entry = Entry { path, tokens, checksums, seconds_per_token, pages_at, bytes, used: SystemTime::now() };
        self.entries.retain(|other| {
            let goes = entry.tokens.starts_with(&other.tokens);
            if goes && other.path != entry.path {
                let _ = fs::remove_file(&other.path);
            }
            !goes
        });
        self.entries.push(entry);
        self.shrink();
        Ok(())
    }

    fn header(&self, tokens: &[TokenId], checksums: &[u128], seconds_per_token: f64) -> Vec<u8> {
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

    /// Remembers that a file was of use.
    fn touch(&mut self, entry: usize) {
        let entry = &mut self.entries[entry];
        entry.used = SystemTime::now();
        // Only the order in which files leave depends on it.
        let _ = File::options().append(true).open(&entry.path).and_then(|file| file.set_modified(entry.used));
    }

    /// Deletes the files of this model that were not used for longest until the others are small enough.
    fn shrink(&mut self) {
        let mut total: u64 = self.entries.iter().map(|entry| entry.bytes).sum();
        self.entries.sort_by_key(|entry| entry.used);
        while total > self.max_bytes && !self.entries.is_empty() {
            let entry = self.entries.remove(0);
            total -= entry.bytes;
            let _ = fs::remove_file(entry.path);
        }
    }
}

/// What the names of files that are being written begin with.
const PREFIX: &str = ".writing-";

fn age(path: &Path) -> Duration {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default()
}

/// Opens a file. Errors: it is none; a pipe, say, would be waited for until something writes to it.
fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    File::open(path)
}

/// Deletes a file that is of no use, if it begins as this program's files do, as far as it goes, and says so. What somebody
/// else has put there under such a name is let be.
fn remove_damaged(path: &Path, why: &str) {
    let mut begin = Vec::new();
    let is_read = open_file(path).and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut begin)).is_ok();
    let is_ours = is_read && MAGIC.starts_with(&begin);
    let path_shown = path.display();
    match is_ours {
        false => tracing::warn!("{path_shown} is no file of the prompt cache ({why}): it is let be"),
        true => match fs::remove_file(path) {
            Ok(()) => tracing::warn!("{path_shown} of the prompt cache is deleted: {why}"),
            Err(error) => tracing::warn!("{path_shown} of the prompt cache is of no use ({why}), but stays: {error}"),
        },
    }
}

fn kv_number(kv_type: KvType) -> u32 {
    match kv_type {
        KvType::F16 => 0,
        KvType::F32 => 1,
        KvType::Q8_0 => 2,
    }
}

/// Reads a file up to its pages; none if it is of another model, way of storing or version of this format.
///
/// Errors: it is damaged or cannot be read.
fn read_entry(path: &Path, identity: CacheIdentity, page_bytes: usize) -> io::Result<Option<Entry>> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut file = open_file(path)?;
    let data = file.metadata()?;
    let mut header = vec![0; FIXED_BYTES];
    file.read_exact(&mut header)?;
    let number = |at: usize| u64::from_le_bytes(*header[at..].first_chunk().expect("the fixed part has been read"));
    if header[..8] != *MAGIC {
        return Err(damaged("it begins with something else"));
    }
    let kind = u64::from(VERSION) | u64::from(kv_number(identity.kv_type)) << 32;
    let model = u128::from(number(16)) | u128::from(number(24)) << 64;
    if (number(8), model, number(32)) != (kind, identity.model, page_bytes as u64) {
        return Ok(None);
    }
    let (n_tokens, seconds_per_token) = (number(40), f64::from_bits(number(48)));
    if n_tokens > MAX_TOKENS {
        return Err(damaged("it claims more tokens than any context has"));
    }
    let n_tokens = n_tokens as usize;
    let n_pages = n_tokens.div_ceil(PAGE_TOKENS);
    let len = FIXED_BYTES + 4 * n_tokens + 16 * (n_pages + 1);
    if data.len() != (len + n_pages * page_bytes) as u64 {
        return Err(damaged("it is not as long as it says"));
    }
    header.resize(len, 0);
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
        pages_at: len as u64,
        bytes: data.len(),
        used: data.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    }))
}
