//! Writes the files of a split model under their standard names.

use std::path::{Path, PathBuf};

use crate::gguf_writer::GgufWriter;

/// Writes `parts` into `folder` as `NAME-00001-of-00003.gguf` and so on; returns the paths in order.
///
/// Panics if the folder cannot be written.
pub fn write_parts(folder: &Path, name: &str, parts: &[GgufWriter]) -> Vec<PathBuf> {
    let path = |no: usize| folder.join(format!("{name}-{:05}-of-{:05}.gguf", no + 1, parts.len()));
    let paths: Vec<_> = (0..parts.len()).map(path).collect();
    for (part, path) in parts.iter().zip(&paths) {
        part.write(path).expect("the folder can be written");
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_gguf_split_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let parts = GgufWriter::new().tensor("a", &[1], 0, [1; 4]).split_at(&[0]);
        let paths = write_parts(folder.path(), "tiny", &parts);
        assert_eq!(paths[0], folder.path().join("tiny-00001-of-00002.gguf"));
        assert_eq!(paths[1], folder.path().join("tiny-00002-of-00002.gguf"));
        assert_eq!(std::fs::read(&paths[1]).unwrap(), parts[1].to_bytes());
    }
}
