//! One file of a model on disk: its header, read, and what tells it from another that takes its place.
//!
//! [`GgufFile`] is what stays known of a file whose header was read, [`FileStamp`] what it was at that moment: whoever
//! opens it later compares stamps before trusting offsets that the header gave. `OpenedFile` is the two with the header.
//! Which files make a model is `split`'s business.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::header::Header;
use crate::error::ModelError;

/// A file of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufFile {
    /// Where it was opened; empty for what was read without a path.
    pub path: PathBuf,
    /// Its bytes.
    pub len: u64,
    /// What it was when its header was read; `None` for what was read without a path.
    pub stamp: Option<FileStamp>,
}

/// What changes when a file is replaced or written to.
///
/// Stamps of a file that nobody touched are equal. A change is missed only where it leaves the length as it was and
/// comes within the resolution of the file system's clock, or sets the time of modification back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    len: u64,
    modified: SystemTime,
    /// Device and inode.
    #[cfg(unix)]
    identity: (u64, u64),
}

impl FileStamp {
    /// The stamp of an open file, as it is now.
    ///
    /// Errors: what the system says.
    pub fn of(file: &File) -> io::Result<FileStamp> {
        FileStamp::from_metadata(&file.metadata()?)
    }

    /// The stamp of the file that is at a path now.
    ///
    /// Errors: what the system says.
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
        // Looked at before it is opened: opening a named pipe would wait for its writer.
        let about = fs::metadata(path).map_err(io_error)?;
        if !about.is_file() {
            let kind = if about.is_dir() { "a directory" } else { "no regular file" };
            return Err(in_file(path)(ModelError::Gguf(format!("this is {kind}: name a .gguf file"))));
        }
        let file = File::open(path).map_err(io_error)?;
        // Before the header, so that a change while it is read is seen later.
        let stamp = FileStamp::of(&file).map_err(io_error)?;
        let header = Header::read(file, stamp.len).map_err(in_file(path))?;
        Ok(OpenedFile { file: GgufFile { path: path.to_owned(), len: stamp.len, stamp: Some(stamp) }, header })
    }
}

/// Says which file an error is about.
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
