//! A file on its way to the disk: pages in whole blocks, the header last, then its name.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::MmapMut;
use tempfile::NamedTempFile;
use xxhash_rust::xxh3::xxh3_128;

use crate::io::open_file::OpenFile;
use crate::io::span::{ALIGNMENT, Span};
use crate::prompt_cache::entry::{Entry, Format};
use crate::slot::Slot;

pub(super) const EXTENSION: &str = "ssdkv";

/// What the names of files that are being written begin with.
pub(super) const PREFIX: &str = ".writing-";

/// What a file is to hold.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) folder: PathBuf,
    pub(super) format: Format,
    pub(super) tokens: Vec<u32>,
    pub(super) seconds_per_token: f64,
    /// Files that are deleted once this one is whole.
    pub(super) replaces: Vec<PathBuf>,
}

/// A file that has no name yet.
pub(super) struct Writer {
    draft: Draft,
    named: NamedTempFile,
    file: OpenFile,
    checksums: Vec<u128>,
    /// What the next page's first block begins with.
    tail: Vec<u8>,
    /// The block that header and pages share.
    shared: Option<Vec<u8>>,
}

impl Writer {
    /// Errors: the file cannot be created.
    pub(super) fn new(draft: Draft) -> io::Result<Writer> {
        let named = tempfile::Builder::new().prefix(PREFIX).tempfile_in(&draft.folder)?;
        let file = OpenFile::written(named.as_file().try_clone()?)?;
        let before = draft.format.pages_at(draft.tokens.len()) % ALIGNMENT as u64;
        Ok(Writer { draft, named, file, checksums: Vec::new(), tail: vec![0; before as usize], shared: None })
    }

    /// Appends a page. Whole blocks are written; the rest waits for the next page. Errors: the system's.
    pub(super) fn append(&mut self, page: &mut Slot, span: Span) -> io::Result<()> {
        self.checksums.push(xxh3_128(page.slab()));
        let bytes = page.target(span).expect("buffers of pages are memory");
        bytes[..self.tail.len()].copy_from_slice(&self.tail);
        let whole = span.needed / ALIGNMENT * ALIGNMENT;
        if whole > 0 && self.shared.is_none() {
            self.shared = Some(bytes[..ALIGNMENT].to_vec());
        }
        self.file.write(&bytes[..whole], span.offset)?;
        self.tail = bytes[whole..span.needed].to_vec();
        Ok(())
    }

    /// Whether all pages have been appended.
    pub(super) fn is_complete(&self) -> bool {
        self.checksums.len() == self.draft.format.n_pages(self.draft.tokens.len())
    }

    /// Writes the rest and gives the file its name, once all of it is on the disk. Errors: the system's.
    pub(super) fn finish(self) -> io::Result<Entry> {
        let Writer { draft, named, file, checksums, tail, shared } = self;
        let Draft { folder, format, tokens, seconds_per_token, replaces } = draft;
        let (begin, len) = (format.pages_at(tokens.len()) as usize, format.file_bytes(tokens.len()));
        if shared.is_some() && !tail.is_empty() {
            file.write(&aligned(&tail, &[])?, len / ALIGNMENT as u64 * ALIGNMENT as u64)?;
        }
        let header = format.header(&tokens, &checksums, seconds_per_token);
        let rest = &shared.unwrap_or(tail)[begin % ALIGNMENT..];
        file.write(&aligned(&header, rest)?, 0)?;
        named.as_file().set_len(len)?;
        named.as_file().sync_all()?;
        file.forget_written()?;
        let path = folder.join(format!("{:032x}.{EXTENSION}", xxh3_128(&header)));
        named.persist(&path)?;
        sync_folder(&folder);
        replaces.iter().filter(|other| **other != path).for_each(|path| drop(fs::remove_file(path)));
        Ok(Entry { path, tokens, checksums, seconds_per_token, used: SystemTime::now() })
    }
}

/// Two runs of bytes in whole blocks of aligned memory.
fn aligned(first: &[u8], then: &[u8]) -> io::Result<MmapMut> {
    let len = first.len() + then.len();
    let mut memory = MmapMut::map_anon(len.next_multiple_of(ALIGNMENT))?;
    memory[..first.len()].copy_from_slice(first);
    memory[first.len()..len].copy_from_slice(then);
    Ok(memory)
}

/// Makes names durable; where this fails, the system does it in its own time.
fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}
