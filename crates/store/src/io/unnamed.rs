//! A file without a name, for reading and writing: it takes room on a disk for as long as somebody has it open.
//!
//! It is made with a name, since not every file system can do without, and loses it at once. A program that is killed just
//! in between leaves an empty file; whoever makes a file in the same folder next removes it.

use std::fs::{self, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::io::open_file::OpenFile;
#[cfg(target_os = "linux")]
use crate::io::open_file::alignment;
use crate::io::span::ALIGNMENT;

/// What the names begin with; the rest is the process and a number.
const PREFIX: &str = "ssd-llm-kv-";

impl OpenFile {
    /// Makes a file without a name in a folder, which is made if it is not there. Nobody but its user may open it while it
    /// has a name. It is read and written past the page cache; where the system refuses that, a warning says so.
    ///
    /// Errors: the folder or the file cannot be made.
    pub(crate) fn unnamed(folder: &Path) -> Result<OpenFile> {
        fs::create_dir_all(folder)?;
        remove_left(folder);
        match create(folder, direct_flags()).and_then(direct) {
            Ok(file) => Ok(OpenFile::of(file, true)),
            Err(refused) if matches!(refused.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
                tracing::warn!("keys and values go through the page cache: {} refuses direct writes", folder.display());
                Ok(OpenFile::of(create(folder, 0)?, false))
            }
            Err(error) => Err(error),
        }
    }
}

/// A new file that has lost its name, opened with flags of the system besides.
fn create(folder: &Path, flags: i32) -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(flags).open(&path);
    // Some systems make the file and refuse the flags then. Whoever has removed it first has done no harm.
    let _ = fs::remove_file(&path);
    file
}

#[cfg(target_os = "linux")]
fn direct_flags() -> i32 {
    i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag of open")
}

#[cfg(not(target_os = "linux"))]
fn direct_flags() -> i32 {
    0
}

/// The file, if it is written past the page cache in blocks of [`ALIGNMENT`]: tries it, since some systems refuse only then.
#[cfg(target_os = "linux")]
fn direct(file: File) -> Result<File> {
    use std::os::unix::fs::FileExt;

    if let Some((memory, offset)) = alignment(&file)
        && (memory == 0 || offset == 0 || !ALIGNMENT.is_multiple_of(memory) || !ALIGNMENT.is_multiple_of(offset))
    {
        return Err(Error::from(ErrorKind::Unsupported));
    }
    file.write_all_at(&memmap2::MmapMut::map_anon(ALIGNMENT)?, 0)?;
    Ok(file)
}

#[cfg(target_os = "macos")]
fn direct(file: File) -> Result<File> {
    rustix::fs::fcntl_nocache(&file, true)?;
    Ok(file)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn direct(_file: File) -> Result<File> {
    Err(Error::from(ErrorKind::Unsupported))
}

/// Removes the files of processes that ended before they could take their names away.
fn remove_left(folder: &Path) {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    paths.filter(|path| is_left(path)).for_each(|path| drop(fs::remove_file(path)));
}

fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
    let process = name.and_then(|rest| rest.split_once('-')?.0.parse().ok());
    process.is_some_and(|process| kill(Pid::from_raw(process), None) == Err(Errno::ESRCH))
}

/// Says so if a folder's files are in memory, which they are meant to save, or would be if it were there.
#[cfg(target_os = "linux")]
pub fn warn_if_in_memory(folder: &Path) {
    /// Of tmpfs and ramfs.
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    let place = folder.ancestors().find_map(|above| rustix::fs::statfs(Path::new(".").join(above)).ok());
    if place.is_some_and(|about| IN_MEMORY.contains(&about.f_type)) {
        tracing::warn!("keys and values that spill to {} stay in memory: name a folder on a disk", folder.display());
    }
}

/// Other systems do not tell.
#[cfg(not(target_os = "linux"))]
pub fn warn_if_in_memory(_folder: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_processes_that_are_gone_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let dead = gone.id();
        gone.wait().unwrap();
        let names = [&format!("{PREFIX}{dead}-0"), &format!("{PREFIX}{}-77", std::process::id()), "notes", PREFIX];
        names.iter().for_each(|name| fs::write(folder.path().join(name), "x").unwrap());
        let file = OpenFile::unnamed(folder.path()).unwrap();
        let is_there = names.map(|name| folder.path().join(name).exists());
        assert_eq!(is_there, [false, true, true, true]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "the new one has no name");
        assert_eq!(std::os::unix::fs::MetadataExt::mode(&file.file().metadata().unwrap()) & 0o777, 0o600);
    }

    #[test]
    fn a_full_disk_is_told() {
        let full = File::options().write(true).read(true).open("/dev/full");
        let Ok(full) = full else { return };
        let error = OpenFile::of(full, true).write(&[0; 4096], 0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
