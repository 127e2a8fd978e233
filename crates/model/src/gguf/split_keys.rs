//! [`Split`]: the `split.*` keys of a file that is a part of a model.

use super::limits;
use super::metadata::Metadata;
use crate::error::ModelError;

pub(super) const NO: &str = "split.no";
pub(super) const COUNT: &str = "split.count";
pub(super) const N_TENSORS: &str = "split.tensors.count";

/// A file's place among the files of its model.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// The file's number, from 0 and below `count`; file names and messages count from 1.
    pub(super) no: u16,
    /// The number of files, at least 2.
    pub(super) count: u16,
    /// The tensors of all files.
    pub(super) n_tensors: Option<u64>,
}

impl Split {
    /// `None` for a file that is a whole model.
    ///
    /// Errors: the keys are inconsistent.
    pub(super) fn of(metadata: &Metadata) -> Result<Option<Split>, ModelError> {
        // gguf-split sets the count to 0 in files that it has merged.
        let count = match metadata.integer(COUNT)? {
            None | Some(0 | 1) => return Ok(None),
            Some(count) if count > limits::PARTS => {
                let most = limits::PARTS;
                return Err(ModelError::metadata(
                    COUNT,
                    format!("is {count}, more than {most} files; the file is damaged"),
                ));
            }
            Some(count) => count,
        };
        let Some(no) = metadata.integer(NO)? else {
            return Err(ModelError::metadata(
                NO,
                format!("is missing, but {COUNT} is {count}; the file is damaged, fetch it again"),
            ));
        };
        if no >= count {
            let problem = format!("is {no}, but {count} files are numbered 0 to {}; the file is damaged", count - 1);
            return Err(ModelError::metadata(NO, problem));
        }
        let small = |number| u16::try_from(number).expect("at most PARTS");
        Ok(Some(Split { no: small(no), count: small(count), n_tensors: metadata.integer(N_TENSORS)? }))
    }

    /// The error for a part that was read without a path.
    pub(super) fn refused_alone(self) -> ModelError {
        let Split { no, count, .. } = self;
        ModelError::Unsupported(format!(
            "this is part {} of a model in {count} files ({COUNT}), and without a path the others cannot be found; \
             open it by its path, or join the files with llama.cpp's `llama-gguf-split --merge`",
            no + 1
        ))
    }

    /// The end of the file's name.
    pub(super) fn suffix(self) -> String {
        format!("-{:05}-of-{:05}.gguf", self.no + 1, self.count)
    }
}
