//! The table of architectures.

use super::decoder::{Arch, describe};
use super::{gemma3, llama, qwen2, qwen3};
use crate::error::ModelError;
use crate::gguf::container::Gguf;
use crate::spec::ModelSpec;

const ARCHS: [&Arch; 4] = [&llama::LLAMA, &qwen2::QWEN2, &qwen3::QWEN3, &gemma3::GEMMA3];

impl ModelSpec {
    /// Describes the model in a file.
    ///
    /// Errors: an architecture that is not in the table, a missing or impossible key, a missing, unknown or wrongly
    /// shaped tensor, or a feature that would change the result and that this program does not have. Each names it.
    pub fn from_gguf(gguf: &Gguf) -> Result<ModelSpec, ModelError> {
        let name = gguf.metadata().string("general.architecture")?.ok_or_else(|| ModelError::Metadata {
            key: "general.architecture".to_owned(),
            problem: "is missing, so the file does not say what kind of model it is".to_owned(),
        })?;
        let Some(arch) = ARCHS.iter().find(|a| a.name == name) else {
            let known: Vec<_> = ARCHS.iter().map(|a| a.name).collect();
            return Err(ModelError::Unsupported(format!(
                "architecture {name:?} is not supported; this version runs {}",
                known.join(", ")
            )));
        };
        describe(arch, gguf)
    }
}
