//! An open file that slots are filled from, past the page cache if the system allows.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::io::cached;
use crate::io::mode::Fits;
use crate::io::short_reads::read_whole;
use crate::io::span::ALIGNMENT;

/// An open file: a part of a model, or a spill file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    direct: bool,
}

impl OpenFile {
    /// Opens a file for reads through the page cache.
    ///
    /// Errors: it cannot be opened.
    pub(crate) fn open_buffered(path: &Path, fits: Fits) -> Result<OpenFile> {
        let file = File::open(path)?;
        if fits == Fits::No {
            read_no_further(&file);
        }
        Ok(OpenFile { file, direct: false })
    }

    /// Opens a file for direct reads, and tries one, since some systems refuse only then.
    ///
    /// Errors: it cannot be opened, or direct reads are refused; the message says why.
    pub(crate) fn open_direct(path: &Path) -> Result<OpenFile> {
        // Plain errors, such as a missing file, are reported unchanged.
        let plain = File::open(path)?;
        let file = direct(path, plain)?;
        Ok(OpenFile { file, direct: true })
    }

    /// Wraps an open file; `direct` says whether it bypasses the page cache.
    pub(super) fn of(file: File, direct: bool) -> OpenFile {
        OpenFile { file, direct }
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `out` from `offset`; the file may end once `needed` bytes have arrived.
    ///
    /// Errors: the read failed, or the file ends too early.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64, needed: usize) -> Result<()> {
        let step = if self.direct { ALIGNMENT } else { 1 };
        read_whole(out, offset, needed, step, |out, at| self.file.read_at(out, at))?;
        if !self.direct {
            cached::forget_with_what_was_before(&self.file, offset, out.len() as u64);
        }
        Ok(())
    }

    /// Writes whole blocks; address and offset are multiples of [`ALIGNMENT`].
    ///
    /// Errors: the write failed.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Drops what was written from the page cache, if it went through it.
    ///
    /// Errors: it did not reach the disk.
    pub(crate) fn forget_written(&self) -> Result<()> {
        if !self.direct {
            self.file.sync_data()?;
            cached::forget(&self.file, 0, 0);
        }
        Ok(())
    }
}

/// Turns off the system's own read-ahead: what it read besides would stay in the page cache, at the budget's expense.
#[cfg(target_os = "linux")]
fn read_no_further(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
}

#[cfg(not(target_os = "linux"))]
fn read_no_further(_file: &File) {}

/// Alignment that direct reads of a file require, in memory and in the file, in bytes, if the system tells.
#[cfg(target_os = "linux")]
pub(super) fn alignment(file: &File) -> Option<(usize, usize)> {
    use rustix::fs::{AtFlags, StatxFlags};
    let about = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok()?;
    let known = about.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    known.then_some((about.stx_dio_mem_align as usize, about.stx_dio_offset_align as usize))
}

#[cfg(target_os = "linux")]
fn direct(path: &Path, plain: File) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;

    let refuse = |why: String| Err(Error::new(ErrorKind::Unsupported, why));
    match alignment(&plain) {
        Some((0, _) | (_, 0)) => return refuse("its file system does not support direct reads".to_owned()),
        Some((memory, offset)) if !ALIGNMENT.is_multiple_of(memory) || !ALIGNMENT.is_multiple_of(offset) => {
            let most = memory.max(offset);
            return refuse(format!(
                "its file system requires direct reads to be aligned to {most} bytes, more than {ALIGNMENT}"
            ));
        }
        _ => {}
    }
    let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag of open");
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let mut block = memmap2::MmapMut::map_anon(ALIGNMENT)?;
    file.read_at(&mut block, 0)?;
    Ok(file)
}

#[cfg(target_os = "macos")]
fn direct(_path: &Path, plain: File) -> Result<File> {
    rustix::fs::fcntl_nocache(&plain, true)?;
    Ok(plain)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn direct(_path: &Path, _plain: File) -> Result<File> {
    Err(Error::new(ErrorKind::Unsupported, "this system does not support direct reads"))
}
