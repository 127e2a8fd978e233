//! A model's files, open: which reader serves them, and a warning if it is not the one that was asked for.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use model::gguf::FileStamp;

use crate::error::StoreError;
use crate::io::mapping::Mapping;
use crate::io::mode::{Fits, IoMode};
use crate::io::open_file::OpenFile;
use crate::io::pread::{PreadPool, read_into};
use crate::io::reader::{DISK_PATIENCE, Reader};
#[cfg(target_os = "linux")]
use crate::io::uring::Uring;
use crate::slot::{Arena, Slot};

/// Threads for small reads, whose time is the drive's latency, so that many may wait at once.
const FEW_READERS: usize = 16;

/// What moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// io_uring, past the page cache.
    Uring,
    /// Threads with positioned reads.
    Threads,
    /// Threads that fetch parts of a mapping.
    Mapped,
}

/// Open files and how they are read.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    files: Arc<[OpenFile]>,
    /// The same files mapped, if that is how they are read.
    mappings: Arc<[Mapping]>,
    way: Way,
}

/// A small read that failed.
#[derive(Debug)]
pub(crate) struct FailedRead {
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) source: Error,
}

/// A small read: the offset in the file, and where the bytes go.
type Few<'a> = (u64, &'a mut [u8]);

/// Whether the process's memory comes in huge pages, which a mapped file's does not: decoding was 15 to 25% faster with them
/// (a synthetic 1b in Q4_K_M, two threads).
fn has_huge_pages() -> bool {
    let setting = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    cfg!(target_os = "linux")
        && setting.is_ok_and(|setting| setting.contains("[always]") || setting.contains("[madvise]"))
}

impl OpenFiles {
    /// Opens the files for a mode.
    ///
    /// [`IoMode::Auto`] and [`IoMode::Direct`] log a warning when the system refuses the best way and they take another.
    /// Errors: a file cannot be opened, or a way that was asked for by name is refused.
    pub(crate) fn open(paths: &[PathBuf], mode: IoMode, fits: Fits) -> Result<OpenFiles> {
        match mode {
            IoMode::Mmap => OpenFiles::mapped(paths, fits),
            IoMode::Buffered => Ok(OpenFiles::read(buffered(paths, fits)?, Way::Threads)),
            IoMode::Pread => Ok(OpenFiles::read(direct(paths)?, Way::Threads)),
            IoMode::Uring => {
                let files = direct(paths)?;
                let refused =
                    |e: Error| Err(Error::new(e.kind(), format!("io_uring is not available: {e}; use --io pread")));
                uring_refused().map_or(Ok(OpenFiles::read(files, Way::Uring)), refused)
            }
            IoMode::Direct => Ok(OpenFiles::read(direct(paths)?, best_direct())),
            IoMode::Auto if fits == Fits::Yes && !has_huge_pages() => {
                OpenFiles::mapped(paths, fits).or_else(|_| OpenFiles::streamed(paths))
            }
            IoMode::Auto => OpenFiles::streamed(paths),
        }
    }

    fn streamed(paths: &[PathBuf]) -> Result<OpenFiles> {
        match direct(paths) {
            Ok(files) => Ok(OpenFiles::read(files, best_direct())),
            Err(refused) => {
                let files = buffered(paths, Fits::No)?;
                tracing::warn!("{refused}; reading through the page cache");
                Ok(OpenFiles::read(files, Way::Threads))
            }
        }
    }

    fn read(files: Arc<[OpenFile]>, way: Way) -> OpenFiles {
        OpenFiles { files, mappings: Arc::new([]), way }
    }

    fn mapped(paths: &[PathBuf], fits: Fits) -> Result<OpenFiles> {
        let files = buffered(paths, fits)?;
        let mappings = files.iter().map(Mapping::new).collect::<Result<_>>()?;
        Ok(OpenFiles { files, mappings, way: Way::Mapped })
    }

    /// The same files opened for reads, if these are mapped.
    ///
    /// Errors: they cannot be opened again.
    pub(crate) fn past_mappings(&self, paths: &[PathBuf]) -> Result<Option<OpenFiles>> {
        if self.way == Way::Mapped { OpenFiles::streamed(paths).map(Some) } else { Ok(None) }
    }

    /// Whether zeros have been used in place of bytes of a mapped file that could not be read.
    pub(crate) fn was_lost(&self, file: usize) -> bool {
        self.mappings.get(file).is_some_and(Mapping::was_lost)
    }

    /// The present state of a file.
    ///
    /// Errors: the system refuses to tell.
    pub(crate) fn stamp(&self, file: usize) -> Result<FileStamp> {
        FileStamp::of(self.files[file].file())
    }

    /// Slots for slabs of up to these lengths: windows if the files are mapped.
    ///
    /// Errors: the system has no more address space.
    pub(crate) fn slots(
        &self,
        lens: impl Iterator<Item = usize> + Clone,
    ) -> std::result::Result<Vec<Slot>, StoreError> {
        match self.way {
            Way::Mapped => Ok(lens.map(|_| Slot::window(&self.mappings)).collect()),
            Way::Uring | Way::Threads => Arena::cut(lens),
        }
    }

    /// Starts the reader, with up to `depth` requests in flight at once. `slots` are those that it will fill most often.
    pub(crate) fn reader(&self, depth: usize, slots: &[Slot]) -> Box<dyn Reader> {
        #[cfg(target_os = "linux")]
        if self.way == Way::Uring {
            match Uring::new(&self.files, depth, slots) {
                Ok(ring) => return Box::new(ring),
                Err(refused) => tracing::warn!("io_uring is not available ({refused}); reading with threads"),
            }
        }
        let _ = slots;
        Box::new(PreadPool::new(&self.files, depth))
    }

    /// Reads a few bytes from each of several places at once, and waits at most [`DISK_PATIENCE`].
    ///
    /// Errors: the first read that failed.
    pub(crate) fn read_few(&self, file: usize, wanted: Vec<Few>) -> std::result::Result<(), FailedRead> {
        let n_shares = wanted.len().min(FEW_READERS);
        let mut shares: Vec<Vec<(usize, u64, usize)>> = vec![Vec::new(); n_shares];
        for (i, (offset, out)) in wanted.iter().enumerate() {
            shares[i % n_shares].push((i, *offset, out.len()));
        }
        let (give, done) = channel();
        for share in shares {
            let (source, give) = (self.source(), give.clone());
            let read = move || {
                for (i, offset, len) in share {
                    let read = source.read(file, offset, len).map_err(|source| FailedRead { offset, len, source });
                    if give.send(read.map(|bytes| (i, bytes))).is_err() {
                        return;
                    }
                }
            };
            // They own what they read into, so that a disk that does not respond holds up no one else.
            let started = std::thread::Builder::new().name("read-few".to_owned()).stack_size(128 << 10).spawn(read);
            started.map_err(|source| FailedRead { offset: 0, len: 0, source })?;
        }
        drop(give);
        let mut outs: Vec<Few> = wanted;
        for _ in 0..outs.len() {
            let silent = |_| FailedRead { offset: outs[0].0, len: 0, source: Error::from(ErrorKind::TimedOut) };
            let (i, bytes) = done.recv_timeout(DISK_PATIENCE).map_err(silent)??;
            outs[i].1.copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn source(&self) -> Source {
        let mappings = (self.way == Way::Mapped).then(|| Arc::clone(&self.mappings));
        Source { files: Arc::clone(&self.files), mappings }
    }
}

/// The files, for another thread.
struct Source {
    files: Arc<[OpenFile]>,
    mappings: Option<Arc<[Mapping]>>,
}

impl Source {
    /// Reads through a slot, since direct reads move whole blocks.
    fn read(&self, file: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut slot = match &self.mappings {
            Some(mappings) => Slot::window(mappings),
            None => Slot::new(len).map_err(Error::other)?,
        };
        let span = slot.fill_for(file, offset, len);
        read_into(&mut slot, span, &self.files)?;
        let bytes = slot.slab().to_vec();
        if slot.is_window() {
            slot.release();
        }
        Ok(bytes)
    }
}

fn direct(paths: &[PathBuf]) -> Result<Arc<[OpenFile]>> {
    let open = |path: &PathBuf| match OpenFile::open_direct(path) {
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            Err(Error::new(e.kind(), format!("direct reads are refused: {e}")))
        }
        opened => opened,
    };
    paths.iter().map(open).collect()
}

fn buffered(paths: &[PathBuf], fits: Fits) -> Result<Arc<[OpenFile]>> {
    paths.iter().map(|p| OpenFile::open_buffered(p, fits)).collect()
}

#[cfg(target_os = "linux")]
fn uring_refused() -> Option<Error> {
    Uring::refused()
}

#[cfg(not(target_os = "linux"))]
fn uring_refused() -> Option<Error> {
    Some(Error::new(ErrorKind::Unsupported, "this system does not support io_uring"))
}

/// io_uring if it is available. A system that has it and refuses it is worth a warning.
fn best_direct() -> Way {
    let Some(refused) = uring_refused() else { return Way::Uring };
    if refused.kind() != ErrorKind::Unsupported {
        tracing::warn!("io_uring is not available ({refused}); reading with threads");
    }
    Way::Threads
}
