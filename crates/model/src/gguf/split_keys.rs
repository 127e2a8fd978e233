//! [`Split`]: what the `split.*` keys of a file say of the model that it is a part of.

use super::limits;
use super::metadata::Metadata;
use crate::error::ModelError;

pub(super) const NO: &str = "split.no";
pub(super) const COUNT: &str = "split.count";
pub(super) const N_TENSORS: &str = "split.tensors.count";

/// What a file says of the model that it is a part of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split {
    /// The file's number, from 0 on and below `count`; people and names count from 1.
    pub(super) no: u16,
    /// The number of files, at least 2.
    pub(super) count: u16,
    /// The tensors of all files.
    pub(super) n_tensors: Option<u64>,
}

impl Split {
    /// `None` for a file that is a model of its own.
    ///
    /// Errors: the keys make no sense.
    pub(super) fn of(metadata: &Metadata) -> Result<Option<Split>, ModelError> {
        // gguf-split sets the count of files that it has merged to 0.
        let count = match metadata.integer(COUNT)? {
            None | Some(0 | 1) => return Ok(None),
            Some(count) if count > limits::PARTS => {
                let most = limits::PARTS;
                return Err(ModelError::metadata(
                    COUNT,
                    format!("is {count}, more than {most} files: the file is damaged"),
                ));
            }
            Some(count) => count,
        };
        let Some(no) = metadata.integer(NO)? else {
            return Err(ModelError::metadata(
                NO,
                format!("is missing, but {COUNT} is {count}: the file is damaged; fetch it again"),
            ));
        };
        if no >= count {
            let problem = format!("is {no}, but {count} files are numbered 0 to {}: the file is damaged", count - 1);
            return Err(ModelError::metadata(NO, problem));
        }
        let small = |number| u16::try_from(number).expect("at most PARTS");
        Ok(Some(Split { no: small(no), count: small(count), n_tensors: metadata.integer(N_TENSORS)? }))
    }

    /// The error for a part whose companions cannot be looked for.
    pub(super) fn refused_alone(self) -> ModelError {
        let Split { no, count, .. } = self;
        ModelError::Unsupported(format!(
            "this is part {} of a model that is split into {count} files ({COUNT}), and without a path the others cannot \
             be found: open it by its path, or join the files with llama.cpp's `llama-gguf-split --merge`",
            no + 1
        ))
    }

    /// How the file's name ends.
    pub(super) fn suffix(self) -> String {
        format!("-{:05}-of-{:05}.gguf", self.no + 1, self.count)
    }
}
