//! Small files of `/proc` and `/sys` that are read repeatedly.
//!
//! A [`Reread`] stays open, and reads with one system call into a buffer on the stack: the kernel generates such a file anew
//! whenever it is read from its start.

use std::borrow::Cow;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Most bytes that are read. The longest file, a group's `memory.stat`, has some 3 KiB on Linux 6.18; of a longer one the
/// start is read.
const MAX_LEN: usize = 8192;

/// An open file whose content changes.
#[derive(Debug)]
pub(crate) struct Reread {
    file: File,
}

impl Reread {
    /// Opens the file; `None` if it does not exist or cannot be read.
    pub(crate) fn open(path: &Path) -> Option<Reread> {
        let opened = Reread { file: File::open(path).ok()? };
        // Some files can be opened but not read, such as those on pressure if the kernel does not measure it.
        opened.look(|_| Some(()))?;
        Some(opened)
    }

    /// What `find` finds in the file now; also `None` if the file cannot be read.
    pub(crate) fn look<T>(&self, find: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let mut buffer = [0; MAX_LEN];
        let len = self.file.read_at(&mut buffer, 0).ok()?;
        // Valid text is borrowed, not copied.
        let text: Cow<str> = String::from_utf8_lossy(&buffer[..len]);
        find(&text)
    }

    /// The number that the file consists of; `None` for words such as `max`.
    pub(crate) fn number(&self) -> Option<u64> {
        self.look(|text| text.trim().parse().ok())
    }
}

/// The number behind `name` in lines of `name number` or `name number unit`.
pub(crate) fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some(name)).then(|| words.next()?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        assert!(Reread::open(&path).is_none());
        std::fs::write(&path, "12\n").unwrap();
        let file = Reread::open(&path).unwrap();
        assert_eq!(file.number(), Some(12));
        std::fs::write(&path, "max\n").unwrap();
        assert_eq!(file.number(), None);
        std::fs::write(&path, "4096\n").unwrap();
        assert_eq!(file.number(), Some(4096));
    }

    #[test]
    fn a_value_stands_behind_its_whole_name() {
        let text = "total_active_file 1\nactive_file 2\nVmSwap:\t  3 kB\nbroken\nalso broken\n";
        assert_eq!(value(text, "active_file"), Some(2));
        assert_eq!(value(text, "VmSwap:"), Some(3));
        assert_eq!(value(text, "broken"), None);
        assert_eq!(value(text, "also"), None);
        assert_eq!(value("", "active_file"), None);
    }
}
