//! The reader's limits, each with its reason.
//!
//! Every count and length in a file is first checked against the bytes left, which alone keeps a small hostile file
//! cheap. These limits bound the cost of a large one: some entries take more space in memory than in the file, so their
//! number is limited too. All limits are far above what published models need.

/// Bytes of magic, metadata and tensor table together, in each file; vocabularies of 256k tokens with merges need about 30 MiB.
pub(super) const HEADER_BYTES: u64 = 256 << 20;

/// Metadata entries; models have about 50, and an entry takes several times its 14 bytes in memory.
pub(super) const METADATA_ENTRIES: u64 = 1 << 16;

/// Tensors, in all files of a model together; models have up to a few thousand, or about ten thousand with one tensor per expert and matrix.
pub(super) const TENSORS: u64 = 1 << 17;

/// Files of one model; published ones have a few dozen.
pub(super) const PARTS: u64 = 1000;

/// Bytes of a metadata key, GGUF's limit.
pub(super) const KEY_BYTES: u64 = 65_535;

/// Bytes of a tensor name, GGUF's limit.
pub(super) const TENSOR_NAME_BYTES: u64 = 64;

/// Dimensions of a tensor, ggml's limit.
pub(super) const DIMS: u32 = 4;

/// Arrays around a value; published models have 1, and reading recurses once per level.
pub(super) const ARRAY_DEPTH: u32 = 4;

/// Arrays inside arrays in the whole file; published models have none, and each takes four times its 12 bytes.
pub(super) const NESTED_ARRAYS: u64 = 1 << 16;

/// Alignment of tensor data in bytes: a huge page, more than any device requires.
pub(super) const ALIGNMENT: u64 = 2 << 20;
