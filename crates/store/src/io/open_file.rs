//! A file that slots are filled from, opened past the page cache where the system allows it.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::io::cached;
use crate::io::mode::Fits;
use crate::io::short_reads::read_whole;
use crate::io::span::ALIGNMENT;

/// An open model file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    direct: bool,
}

impl OpenFile {
    /// Opens a file to be read through the page cache.
    ///
    /// Errors: it cannot be opened.
    pub(crate) fn open_buffered(path: &Path, fits: Fits) -> Result<OpenFile> {
        let file = File::open(path)?;
        if fits == Fits::No {
            read_no_further(&file);
        }
        Ok(OpenFile { file, direct: false })
    }

    /// Opens a file to be read past the page cache, and tries a read, since some systems refuse only then.
    ///
    /// Errors: it cannot be opened, or direct reads are refused; the message says by what.
    pub(crate) fn open_direct(path: &Path) -> Result<OpenFile> {
        // Plain errors, such as a missing file, are told as they are.
        let plain = File::open(path)?;
        let file = direct(path, plain)?;
        Ok(OpenFile { file, direct: true })
    }

    /// A file that is open already; `direct` if it is past the page cache.
    pub(super) fn of(file: File, direct: bool) -> OpenFile {
        OpenFile { file, direct }
    }

    /// The file itself.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `out` from `offset` on; the file may end once `needed` bytes have arrived.
    ///
    /// Errors: the system says so, or the file ends too early.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64, needed: usize) -> Result<()> {
        let step = if self.direct { ALIGNMENT } else { 1 };
        read_whole(out, offset, needed, step, |out, at| self.file.read_at(out, at))?;
        if !self.direct {
            cached::forget_with_what_was_before(&self.file, offset, out.len() as u64);
        }
        Ok(())
    }

    /// Writes whole blocks from an address and at an offset that are multiples of one.
    ///
    /// Errors: the system says so.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Lets the page cache be rid of what was written, if that went through it.
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

/// Asks the system not to read more than it was asked for: what it brought besides would stay in the page cache, at the
/// budget's expense.
#[cfg(target_os = "linux")]
fn read_no_further(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Random);
}

#[cfg(not(target_os = "linux"))]
fn read_no_further(_file: &File) {}

/// What direct reads of a file must be aligned to, as far as the system says: in memory and in the file, in bytes.
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
        Some((0, _) | (_, 0)) => return refuse("its file system has no direct reads".to_owned()),
        Some((memory, offset)) if !ALIGNMENT.is_multiple_of(memory) || !ALIGNMENT.is_multiple_of(offset) => {
            let most = memory.max(offset);
            return refuse(format!("its file system aligns direct reads to {most} bytes, more than {ALIGNMENT}"));
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
    Err(Error::new(ErrorKind::Unsupported, "this system has no direct reads"))
}
