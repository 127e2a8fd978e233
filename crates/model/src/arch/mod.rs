//! Architectures as data: one file and one row each.
//!
//! A row of `table.rs` says what a `general.architecture` means where models differ; `decoder.rs` reads the keys and tensors
//! that they share. To add an architecture, write its file and its row; a step that no other has is a new variant of
//! [`Mixer`](crate::spec::Mixer) and one match arm in the forward pass.

mod decoder;
mod gemma3;
mod keys;
mod llama;
mod qwen2;
mod qwen3;
mod table;
mod tensors;
