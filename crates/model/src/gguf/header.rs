//! [`Header`]: one file's header, from the magic to the start of the tensor data.
//!
//! This file has the order: magic and version, counts, metadata, tensor table, then the check that the tensors fit the
//! file. `metadata_reader` and `tensor_table` read the parts, both on top of `reader`. [`super::Gguf`] supplies the bytes.

use std::io::Read;

use super::limits;
use super::metadata::Metadata;
use super::metadata_reader::{self, read_metadata};
use super::not_gguf::{LOOK_BYTES, not_gguf};
use super::reader::Reader;
use super::split_keys::Split;
use super::tensor_table::{self, Layout, TensorTable, read_tensors};
use crate::error::ModelError;

const MAGIC: &[u8] = b"GGUF";

/// GGUF's default alignment.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The header of one file.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) metadata: Metadata,
    /// The model that this file is a part of, if any.
    pub(super) split: Option<Split>,
    pub(super) table: TensorTable,
    /// Where tensor data starts; a file without tensors may end before it.
    pub(super) data_offset: u64,
}

impl Header {
    /// Reads the header of a file of `file_len` bytes from its start, and no tensor data.
    ///
    /// Errors: the bytes cannot be read, are not GGUF of version 2 or 3, are damaged or truncated, or hold tensors of an
    /// unsupported type.
    pub(super) fn read(input: impl Read, file_len: u64) -> Result<Header, ModelError> {
        let mut reader = Reader::new(input, file_len);
        let version = read_version(&mut reader)?;
        let n_tensors = read_count(&mut reader, "tensors", limits::TENSORS)?;
        let n_entries = read_count(&mut reader, "metadata entries", limits::METADATA_ENTRIES)?;
        let smallest = n_tensors * tensor_table::SMALLEST_ENTRY + n_entries * metadata_reader::SMALLEST_ENTRY;
        reader.need(smallest, &format_args!("{n_entries} metadata entries and {n_tensors} tensors"))?;

        let metadata = read_metadata(&mut reader, n_entries)?;
        let split = Split::of(&metadata)?;
        let alignment = alignment(&metadata)?;
        let mut table = read_tensors(&mut reader, n_tensors)?;
        let data_offset = reader.at().next_multiple_of(alignment);
        Layout { data_offset, alignment, file_len }.place(&mut table)?;
        Ok(Header { version, metadata, split, table, data_offset })
    }
}

fn read_version<R: Read>(reader: &mut Reader<R>) -> Result<u32, ModelError> {
    let mut start = reader.up_to(MAGIC.len() as u64)?;
    if start != MAGIC {
        start.extend(reader.up_to(LOOK_BYTES - MAGIC.len() as u64)?);
        return Err(reader.error(not_gguf(&start, reader.file_len())));
    }
    let version = reader.u32()?;
    let problem = match version {
        2 | 3 => return Ok(version),
        1 => "GGUF version 1 (from 2023) is not supported; fetch or convert a current version of the model".to_owned(),
        _ if matches!(version.swap_bytes(), 1..=3) => {
            "the file is big-endian GGUF; fetch the little-endian version".to_owned()
        }
        _ => format!("GGUF version {version} is not supported (only 2 and 3 are); update this program"),
    };
    Err(reader.error(problem))
}

/// Reads the number of entries of a kind.
fn read_count<R: Read>(reader: &mut Reader<R>, what: &str, limit: u64) -> Result<u64, ModelError> {
    let start = reader.at();
    let count = reader.u64()?;
    if count > limit {
        let problem = format_args!("the file claims {count} {what} at byte {start}, more than {limit}; it is damaged");
        return Err(reader.error(problem));
    }
    Ok(count)
}

/// The alignment of tensor data. GGUF requires a multiple of 8; like ggml, this accepts any power of two.
fn alignment(metadata: &Metadata) -> Result<u64, ModelError> {
    const KEY: &str = "general.alignment";
    let alignment = metadata.integer(KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > limits::ALIGNMENT {
        let problem = format!("is {alignment}, not a power of two up to {}; the file is damaged", limits::ALIGNMENT);
        return Err(ModelError::metadata(KEY, problem));
    }
    Ok(alignment)
}
