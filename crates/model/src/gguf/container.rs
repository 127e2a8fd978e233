//! [`Gguf`]: the headers of a model's files as one.
//!
//! [`Gguf::open`] takes the path of a model, or of any file of a split one; [`Gguf::parse`] takes any reader of a whole
//! file. `header` reads each header, `split` finds and joins the files of a split model.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::{GgufFile, OpenedFile};
use super::header::Header;
use super::metadata::Metadata;
use super::split::join;
use super::tensor::TensorInfo;
use crate::error::ModelError;

/// The header of a GGUF model, which is one file or several.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// That of the first file, with the tensors of all.
    header: Header,
    files: Vec<GgufFile>,
}

impl Gguf {
    /// Reads the header of the model at `path`; for a part of a split model, those of all its parts, which must be in the
    /// same directory.
    ///
    /// Errors: a file cannot be read, is not a GGUF file of version 2 or 3, is damaged or truncated, or holds tensors of an
    /// unsupported type; a part is missing, belongs to another model, or is not named like `NAME-00001-of-00003.gguf`.
    /// The message names the file, the place and the cure.
    pub fn open(path: &Path) -> Result<Gguf, ModelError> {
        let given = OpenedFile::open(path)?;
        let (header, files) = match given.header.split {
            None => (given.header, vec![given.file]),
            Some(split) => join(given, split)?,
        };
        Ok(Gguf { header, files })
    }

    /// Reads the header of a file of `file_len` bytes from its start, and no tensor data.
    ///
    /// Errors: as [`Gguf::open`], without the file's name; or the file is a part of a split model.
    pub fn parse(input: impl Read, file_len: u64) -> Result<Gguf, ModelError> {
        let header = Header::read(input, file_len)?;
        match header.split {
            None => Ok(Gguf { header, files: vec![GgufFile { path: PathBuf::new(), len: file_len, stamp: None }] }),
            Some(split) => Err(split.refused_alone()),
        }
    }

    /// The version of the container format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// The key-value table of the first file.
    pub fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    /// All tensors, file by file, in the order of the tensor tables.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.table.tensors
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.table.get(name)
    }

    /// Where tensor data starts in the first file, in bytes; a file without tensors may end before it.
    pub fn data_offset(&self) -> u64 {
        self.header.data_offset
    }

    /// The files of the model in order, at least one; [`TensorInfo::file`] is an index into them.
    pub fn files(&self) -> &[GgufFile] {
        &self.files
    }

    /// The length of all files together.
    pub fn file_len(&self) -> u64 {
        self.files.iter().map(|file| file.len).sum()
    }
}
