//! The model's file, opened past the page cache where the system allows it.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::slot::ALIGNMENT;

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoMode {
    /// Direct if the file's system allows it, buffered otherwise.
    Auto,
    /// Past the page cache; an error where that is refused.
    Direct,
    /// Through the page cache, which is told to forget what was read.
    Buffered,
}

/// An open model file.
#[derive(Debug)]
pub(crate) struct ModelFile {
    file: File,
    direct: bool,
}

/// Opens a file for reading slabs.
///
/// Errors: it cannot be opened, or [`IoMode::Direct`] is refused.
pub(crate) fn open(path: &Path, mode: IoMode) -> Result<ModelFile> {
    if mode == IoMode::Buffered {
        return Ok(ModelFile { file: File::open(path)?, direct: false });
    }
    match open_direct(path) {
        Ok(file) => Ok(ModelFile { file, direct: true }),
        Err(refused) if mode == IoMode::Direct => Err(refused),
        Err(_) => Ok(ModelFile { file: File::open(path)?, direct: false }),
    }
}

/// Opens past the page cache and tries a read, since some systems refuse only then.
#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag of open");
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut block = memmap2::MmapMut::map_anon(ALIGNMENT)?;
    file.read_at(&mut block, 0)?;
    Ok(file)
}

#[cfg(target_os = "macos")]
fn open_direct(path: &Path) -> Result<File> {
    let file = File::open(path)?;
    rustix::fs::fcntl_nocache(&file, true)?;
    Ok(file)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn open_direct(_path: &Path) -> Result<File> {
    Err(Error::from(ErrorKind::Unsupported))
}

impl ModelFile {
    /// Whether reads go past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Fills `out` from `offset` on; the file may end once `needed` bytes have arrived.
    ///
    /// Errors: the system says so, or the file ends too early.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64, needed: usize) -> Result<()> {
        let mut done = 0;
        while done < needed {
            match self.file.read_at(&mut out[done..], offset + done as u64) {
                Ok(0) => return Err(Error::new(ErrorKind::UnexpectedEof, "the file ends early: has it been changed?")),
                Ok(n) => done += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.forget(offset, out.len());
        Ok(())
    }

    /// Lets the page cache drop what was read, so that it does not grow at the budget's expense.
    #[cfg(target_os = "linux")]
    fn forget(&self, offset: u64, len: usize) {
        if !self.direct {
            let len = std::num::NonZeroU64::new(len as u64);
            // Advice: where it is not taken, the cache is merely larger.
            let _ = rustix::fs::fadvise(&self.file, offset, len, rustix::fs::Advice::DontNeed);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn forget(&self, _offset: u64, _len: usize) {}
}
