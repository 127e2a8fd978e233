//! Architectures as data: one file and one row each.
//!
//! A row of [`ARCHS`] says what a `general.architecture` means where models differ; `decoder.rs` reads the keys and
//! tensors that they share. To add an architecture, write its row; a step that no other has is a new enum variant in
//! `spec.rs` and one match arm in the forward pass.

mod decoder;
mod keys;
mod llama;
mod qwen2;
mod tensors;

use kernels::RopeLayout;

use crate::ModelError;
use crate::gguf::Gguf;
use crate::spec::ModelSpec;

/// What distinguishes one decoder architecture from another.
struct Arch {
    /// `general.architecture`, also the prefix of its keys.
    name: &'static str,
    /// How its query and key rows pair up under RoPE.
    rope_layout: RopeLayout,
    /// Whether query, key and value have biases.
    qkv_bias: Bias,
}

/// Whether a linear step has a bias in an architecture.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bias {
    /// A file without it is damaged.
    Required,
    /// Used where the file has it.
    Optional,
}

const ARCHS: [&Arch; 2] = [&llama::LLAMA, &qwen2::QWEN2];

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
        decoder::describe(arch, gguf)
    }
}
