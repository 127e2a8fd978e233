//! A file without a name, for reading and writing, which takes disk space only while it is open.
//!
//! It is created with a name, since not all file systems can do without, and unlinked at once. A program that is killed in
//! between leaves an empty file, which is removed when the next file is created in the same folder.

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

/// Prefix of the names; process id and a number follow.
const PREFIX: &str = "ssd-llm-kv-";

impl OpenFile {
    /// Creates a file without a name in a folder, which is created if it does not exist. Only its user may open the file while
    /// it has a name. It is read and written past the page cache; if the system refuses, a warning is logged.
    ///
    /// Errors: the folder or the file cannot be created.
    pub(crate) fn unnamed(folder: &Path) -> Result<OpenFile> {
        fs::create_dir_all(folder)?;
        remove_left(folder);
        match create(folder, direct_flags()).and_then(direct) {
            Ok(file) => Ok(OpenFile::of(file, true)),
            Err(refused) if matches!(refused.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
                tracing::warn!(
                    "{} does not support direct writes; spilled keys and values go through the page cache",
                    folder.display()
                );
                Ok(OpenFile::of(create(folder, 0)?, false))
            }
            Err(error) => Err(error),
        }
    }

    /// A new file, to be written past the page cache where the system allows it.
    ///
    /// Errors: the system's.
    pub(crate) fn written(file: File) -> Result<OpenFile> {
        let same = file.try_clone()?;
        let is_direct = set_direct(&file, true).and_then(|()| direct(file)).is_ok();
        if !is_direct {
            set_direct(&same, false)?;
        }
        Ok(OpenFile::of(same, is_direct))
    }
}

/// Both handles of a file that is open twice have the same flags.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, on: bool) -> Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(file)?;
    flags.set(OFlags::DIRECT, on);
    Ok(fcntl_setfl(file, flags)?)
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_file: &File, _on: bool) -> Result<()> {
    Ok(())
}

/// Creates a file with the given flags for `open`, and unlinks it.
fn create(folder: &Path, flags: i32) -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{PREFIX}{}-{number}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).custom_flags(flags).open(&path);
    // Some systems create the file and then refuse the flags. It may have been removed already.
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

/// Checks that the file can be written directly in blocks of [`ALIGNMENT`], by trying, since some systems refuse only then.
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

/// Removes the files of processes that ended before they could unlink them.
fn remove_left(folder: &Path) {
    let paths = fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.path());
    paths.filter(|path| is_left(path)).for_each(|path| drop(fs::remove_file(path)));
}

fn is_left(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(PREFIX));
    let process = name.and_then(|rest| rest.split_once('-')?.0.parse().ok());
    process.is_some_and(|process| kill(Pid::from_raw(process), None) == Err(Errno::ESRCH))
}

/// Warns if a folder's files are, or would be, in memory, which they are meant to save.
#[cfg(target_os = "linux")]
pub fn warn_if_in_memory(folder: &Path) {
    /// The types of tmpfs and ramfs.
    const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];
    let place = folder.ancestors().find_map(|above| rustix::fs::statfs(Path::new(".").join(above)).ok());
    if place.is_some_and(|about| IN_MEMORY.contains(&about.f_type)) {
        tracing::warn!(
            "{} is in memory, so that spilling keys and values to it saves nothing; use a folder on a disk",
            folder.display()
        );
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
