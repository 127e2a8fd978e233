//! A model file that is deleted at the end of a test.

use std::io::Write;

use tempfile::TempPath;

/// Writes `bytes` to a new file `*.gguf` that is deleted when the returned path is dropped.
///
/// Panics if the directory for temporary files is not writable.
pub fn temp_model(bytes: &[u8]) -> TempPath {
    let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().expect("a temporary file can be made");
    file.write_all(bytes).expect("a temporary file can be written");
    file.into_temp_path()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_bytes_and_goes_with_its_path() {
        let path = temp_model(b"GGUF");
        assert_eq!(std::fs::read(&path).unwrap(), b"GGUF");
        let copy = path.to_path_buf();
        drop(path);
        assert!(!copy.exists());
    }
}
