//! One file of a model on disk, and how to tell whether it was replaced.
//!
//! [`GgufFile`] records a file whose header was read, [`FileStamp`] its state at that moment: code that opens the file
//! later compares stamps before it trusts the header's offsets. `OpenedFile` is both with the header. `split` decides which
//! files make a model.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::header::Header;
use crate::error::ModelError;

/// A file of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufFile {
    /// Its path; empty if it was read without one.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
    /// Its state when its header was read; `None` if it was read without a path.
    pub stamp: Option<FileStamp>,
}

/// Changes when a file is replaced or written to.
///
/// The stamps of an unchanged file are equal. A change goes unnoticed only if it keeps the length and falls within the
/// resolution of the file system's clock, or resets the modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    len: u64,
    modified: SystemTime,
    /// Device and inode.
    #[cfg(unix)]
    identity: (u64, u64),
}

impl FileStamp {
    /// The current stamp of an open file.
    ///
    /// Errors: those of the operating system.
    pub fn of(file: &File) -> io::Result<FileStamp> {
        FileStamp::from_metadata(&file.metadata()?)
    }

    /// The current stamp of the file at a path.
    ///
    /// Errors: those of the operating system.
    pub fn at(path: &Path) -> io::Result<FileStamp> {
        FileStamp::from_metadata(&fs::metadata(path)?)
    }

    fn from_metadata(about: &fs::Metadata) -> io::Result<FileStamp> {
        Ok(FileStamp {
            len: about.len(),
            modified: about.modified()?,
            #[cfg(unix)]
            identity: (std::os::unix::fs::MetadataExt::dev(about), std::os::unix::fs::MetadataExt::ino(about)),
        })
    }
}

/// A file with its header: a whole model or a part of one.
pub(super) struct OpenedFile {
    pub(super) file: GgufFile,
    pub(super) header: Header,
}

impl OpenedFile {
    /// Reads the header of the file at `path`.
    ///
    /// Errors: the file cannot be read, or [`Header::read`] fails; with the path.
    pub(super) fn open(path: &Path) -> Result<OpenedFile, ModelError> {
        let io_error = |source| ModelError::Io { path: path.display().to_string(), source };
        // Checked before it is opened: opening a named pipe would wait for its writer.
        let about = fs::metadata(path).map_err(io_error)?;
        if !about.is_file() {
            let kind = if about.is_dir() { "a directory" } else { "not a regular file" };
            return Err(in_file(path)(ModelError::Gguf(format!("this is {kind}; pass a .gguf file"))));
        }
        let file = File::open(path).map_err(io_error)?;
        // Before the header, so that a change during the read is noticed later.
        let stamp = FileStamp::of(&file).map_err(io_error)?;
        let header = Header::read(file, stamp.len).map_err(in_file(path))?;
        Ok(OpenedFile { file: GgufFile { path: path.to_owned(), len: stamp.len, stamp: Some(stamp) }, header })
    }
}

/// Adds the file to an error.
pub(super) fn in_file(path: &Path) -> impl Fn(ModelError) -> ModelError {
    move |problem| ModelError::File { path: path.display().to_string(), problem: Box::new(problem) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::Duration;

    use super::*;

    fn stamp(path: &Path) -> FileStamp {
        FileStamp::of(&File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_stamp_stays_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "before").unwrap();
        let first = stamp(&path);
        assert_eq!(stamp(&path), first);

        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"!").unwrap();
        file.set_modified(first.modified).unwrap();
        assert_ne!(stamp(&path), first, "another length");

        file.set_len(first.len).unwrap();
        file.set_modified(first.modified).unwrap();
        assert_eq!(stamp(&path), first);
        file.set_modified(first.modified + Duration::from_secs(1)).unwrap();
        assert_ne!(stamp(&path), first, "another time");
    }

    #[cfg(unix)]
    #[test]
    fn another_file_of_the_same_length_and_time_has_another_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&path, "before").unwrap();
        fs::write(&other, "after.").unwrap();
        let first = stamp(&path);
        File::options().append(true).open(&other).unwrap().set_modified(first.modified).unwrap();
        fs::rename(&other, &path).unwrap();
        assert_ne!(stamp(&path), first);
    }
}
