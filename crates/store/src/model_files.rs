//! A model's files, open: what they were when their headers were read, small reads from them, and errors that name them.

use std::cell::Cell;
use std::io::Error;
use std::path::PathBuf;

use model::gguf::{FileStamp, GgufFile};
use model::{ModelSpec, TensorId};

use crate::error::StoreError;
use crate::io::mode::{Fits, IoMode};
use crate::io::open_files::OpenFiles;

/// The files of a model.
pub(crate) struct ModelFiles {
    pub(crate) open: OpenFiles,
    paths: Vec<PathBuf>,
    /// The state of each file when its header was read.
    stamps: Vec<Option<FileStamp>>,
    /// Whether the user has been told that one of the paths is another file by now.
    is_replaced: Cell<bool>,
    tensor_names: Vec<String>,
}

impl ModelFiles {
    /// Opens the files that `spec` was read from.
    ///
    /// Errors: a file cannot be opened in this mode.
    pub(crate) fn open(
        files: &[GgufFile],
        spec: &ModelSpec,
        mode: IoMode,
        fits: Fits,
    ) -> Result<ModelFiles, StoreError> {
        let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        let open = OpenFiles::open(&paths, mode, fits).map_err(|source| cannot_open(&paths, source))?;
        Ok(ModelFiles {
            open,
            paths,
            stamps: files.iter().map(|file| file.stamp).collect(),
            is_replaced: Cell::new(false),
            tensor_names: spec.tensors.iter().map(|tensor| tensor.name.clone()).collect(),
        })
    }

    /// The same files opened to be read, if these are mapped.
    ///
    /// Errors: they cannot be opened again.
    pub(crate) fn past_mappings(&self) -> Result<Option<OpenFiles>, StoreError> {
        self.open.past_mappings(&self.paths).map_err(|source| cannot_open(&self.paths, source))
    }

    /// Reads a few bytes from each of several places at once.
    ///
    /// Errors: a read failed.
    pub(crate) fn read_few(
        &self,
        tensor: TensorId,
        file: usize,
        wanted: Vec<(u64, &mut [u8])>,
    ) -> Result<(), StoreError> {
        let failed = self.open.read_few(file, wanted);
        failed.map_err(|failed| self.read_error(file, tensor, failed.offset, failed.len, failed.source))
    }

    /// Checks that the files are still those whose headers were read. A path that is another file by now is worth a
    /// warning; the file that was opened is still there.
    ///
    /// Errors: a file has been written to or truncated.
    pub(crate) fn verify(&self) -> Result<(), StoreError> {
        for (file, (path, stamp)) in self.paths.iter().zip(&self.stamps).enumerate() {
            let changed = |what: &str| StoreError::Changed { path: path.display().to_string(), what: what.to_owned() };
            if self.open.was_lost(file) {
                return Err(changed("parts of it could not be read"));
            }
            let Some(stamp) = stamp else { continue };
            match self.open.stamp(file) {
                Ok(now) if now == *stamp => {}
                Ok(_) => return Err(changed("its length or modification time differs")),
                Err(e) => return Err(changed(&e.to_string())),
            }
            if !self.is_replaced.get() && FileStamp::at(path).ok() != Some(*stamp) {
                self.is_replaced.set(true);
                tracing::warn!("{} has been replaced; continuing with the file that was opened", path.display());
            }
        }
        Ok(())
    }

    /// The error for a read that failed.
    pub(crate) fn read_error(
        &self,
        file: usize,
        tensor: TensorId,
        offset: u64,
        len: usize,
        source: Error,
    ) -> StoreError {
        let tensor = self.tensor_names[tensor.0 as usize].clone();
        StoreError::Read { path: self.paths[file].display().to_string(), tensor, offset, len, source }
    }
}

fn cannot_open(paths: &[PathBuf], source: Error) -> StoreError {
    let path = paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
    StoreError::Open { path, source }
}
