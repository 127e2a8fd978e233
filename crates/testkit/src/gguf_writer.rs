//! Builds GGUF files for tests, valid and invalid ones.
//!
//! [`GgufWriter`] collects metadata and tensors and lays them out as in version 2 or 3, which differ only in the version
//! number. It checks nothing: hostile tests need files that no honest writer makes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use crate::gguf_value::{GgufValue, write_string};

/// The alignment of tensor data in a file that does not name one.
const DEFAULT_ALIGNMENT: u64 = 32;

#[derive(Clone, Debug)]
struct Tensor {
    entry: TensorEntry,
    bytes: Vec<u8>,
    /// Zero bytes after `bytes`: a hole in a file on disk.
    hole: u64,
}

#[derive(Clone, Debug)]
enum TensorEntry {
    Described { name: Vec<u8>, dims: Vec<u64>, type_id: u32, offset: Option<u64> },
    Raw(Vec<u8>),
}

/// Builds a GGUF file.
///
/// The calls that shape an honest file are [`version`](Self::version), [`alignment`](Self::alignment),
/// [`kv`](Self::kv), [`tensor`](Self::tensor), and [`split_at`](Self::split_at) makes several of one; the others write
/// what is wrong.
#[derive(Clone, Debug)]
pub struct GgufWriter {
    magic: [u8; 4],
    version: u32,
    padding: u64,
    metadata: Vec<u8>,
    n_metadata: u64,
    claimed_metadata: Option<u64>,
    tensors: Vec<Tensor>,
    claimed_tensors: Option<u64>,
}

impl Default for GgufWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl GgufWriter {
    /// An empty version 3 file.
    pub fn new() -> Self {
        GgufWriter {
            magic: *b"GGUF",
            version: 3,
            padding: DEFAULT_ALIGNMENT,
            metadata: Vec::new(),
            n_metadata: 0,
            claimed_metadata: None,
            tensors: Vec::new(),
            claimed_tensors: None,
        }
    }

    /// Sets the version number; the layout stays that of versions 2 and 3.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Aligns tensor data to `alignment` bytes and says so under `general.alignment`.
    pub fn alignment(self, alignment: u32) -> Self {
        self.padding(u64::from(alignment)).kv("general.alignment", alignment)
    }

    /// Aligns tensor data to `padding` bytes without a word in the metadata; 0 and 1 mean no padding.
    pub fn padding(mut self, padding: u64) -> Self {
        self.padding = padding.max(1);
        self
    }

    /// Adds a metadata entry.
    pub fn kv(self, key: &str, value: impl Into<GgufValue>) -> Self {
        self.kv_bytes(key.as_bytes(), value)
    }

    /// Adds a metadata entry whose key need not be UTF-8.
    pub fn kv_bytes(self, key: &[u8], value: impl Into<GgufValue>) -> Self {
        let value = value.into();
        let mut entry = Vec::new();
        write_string(&mut entry, key);
        entry.extend(value.type_id().to_le_bytes());
        value.write(&mut entry);
        self.kv_raw(&entry)
    }

    /// Adds bytes that count as one metadata entry.
    pub fn kv_raw(mut self, entry: &[u8]) -> Self {
        self.metadata.extend(entry);
        self.n_metadata += 1;
        self
    }

    /// Adds a tensor: `dims[0]` is the row length, `bytes` its data, whatever size `dims` and `type_id` ask for.
    pub fn tensor(self, name: &str, dims: &[u64], type_id: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.tensor_bytes(name.as_bytes(), dims, type_id, bytes)
    }

    /// Adds a tensor whose name need not be UTF-8.
    pub fn tensor_bytes(mut self, name: &[u8], dims: &[u64], type_id: u32, bytes: impl Into<Vec<u8>>) -> Self {
        let entry = TensorEntry::Described { name: name.to_vec(), dims: dims.to_vec(), type_id, offset: None };
        self.tensors.push(Tensor { entry, bytes: bytes.into(), hole: 0 });
        self
    }

    /// Adds a tensor of `n_bytes` zeros, which [`write`](Self::write) leaves as a hole in the file.
    pub fn tensor_hole(mut self, name: &str, dims: &[u64], type_id: u32, n_bytes: u64) -> Self {
        self = self.tensor(name, dims, type_id, Vec::new());
        self.tensors.last_mut().expect("a tensor was just added").hole = n_bytes;
        self
    }

    /// Adds bytes that count as one entry of the tensor table, without data.
    pub fn tensor_raw(mut self, entry: &[u8]) -> Self {
        self.tensors.push(Tensor { entry: TensorEntry::Raw(entry.to_vec()), bytes: Vec::new(), hole: 0 });
        self
    }

    /// Makes the tensor table claim `offset` for the last tensor; its bytes stay where they were.
    ///
    /// Panics if the last tensor is raw or there is none.
    pub fn claim_offset(mut self, claimed: u64) -> Self {
        match self.tensors.last_mut().map(|t| &mut t.entry) {
            Some(TensorEntry::Described { offset, .. }) => *offset = Some(claimed),
            _ => panic!("claim_offset follows a described tensor"),
        }
        self
    }

    /// Writes `magic` in place of `GGUF`.
    pub fn magic(mut self, magic: [u8; 4]) -> Self {
        self.magic = magic;
        self
    }

    /// Makes the header claim `count` metadata entries.
    pub fn claim_kv_count(mut self, count: u64) -> Self {
        self.claimed_metadata = Some(count);
        self
    }

    /// Makes the header claim `count` tensors.
    pub fn claim_tensor_count(mut self, count: u64) -> Self {
        self.claimed_tensors = Some(count);
        self
    }

    /// Cuts the file into parts as llama.cpp's gguf-split does: the first keeps the metadata, each gets the `split.*` keys
    /// and its tensors. `cuts` has for each part but the first the index of its first tensor, so `[0, ..]` leaves the first
    /// without any.
    ///
    /// Panics if `cuts` is not in order, or goes past the tensors.
    pub fn split_at(&self, cuts: &[usize]) -> Vec<GgufWriter> {
        let (starts, ends) = ([&[0], cuts].concat(), [cuts, &[self.tensors.len()]].concat());
        let small = |number: usize| u16::try_from(number).expect("a test has few parts");
        let n_tensors = i32::try_from(self.tensors.len()).expect("a test has few tensors");
        let part = |no: usize| {
            let whole = if no == 0 { self.clone() } else { GgufWriter::new().version(self.version) };
            GgufWriter { tensors: self.tensors[starts[no]..ends[no]].to_vec(), ..whole }
                .kv("split.no", small(no))
                .kv("split.count", small(starts.len()))
                .kv("split.tensors.count", n_tensors)
        };
        (0..starts.len()).map(part).collect()
    }

    /// The header with its padding: what stands before the first tensor's data.
    pub fn header(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.claimed_tensors.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.claimed_metadata.unwrap_or(self.n_metadata).to_le_bytes());
        out.extend(&self.metadata);
        for (tensor, offset) in self.tensors.iter().zip(self.offsets()) {
            tensor.write_entry(offset, &mut out);
        }
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(self.padding_len()), 0);
        }
        out
    }

    /// The whole file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = io::Cursor::new(Vec::new());
        let len = self.write_to(&mut out).expect("writing to memory does not fail");
        let mut bytes = out.into_inner();
        bytes.resize(usize::try_from(len).expect("a test file fits memory"), 0);
        bytes
    }

    /// Writes the file; holes take no room on disk where the file system has sparse files.
    ///
    /// Errors: what the system says.
    pub fn write(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let mut file = File::create(path)?;
        let len = self.write_to(&mut file)?;
        file.set_len(len)
    }

    /// Writes header and tensor data, seeking over holes; returns the length the file must get.
    fn write_to(&self, out: &mut (impl Write + Seek)) -> io::Result<u64> {
        let header = self.header();
        out.write_all(&header)?;
        let mut end = header.len() as u64;
        for (tensor, offset) in self.tensors.iter().zip(self.offsets()) {
            let start = header.len() as u64 + offset;
            out.seek(SeekFrom::Start(start))?;
            out.write_all(&tensor.bytes)?;
            end = start + tensor.n_bytes();
        }
        Ok(end)
    }

    /// Where each tensor's bytes start, counted from the end of the header.
    fn offsets(&self) -> impl Iterator<Item = u64> {
        let mut next = 0u64;
        self.tensors.iter().map(move |tensor| {
            let start = next.next_multiple_of(self.padding);
            next = start + tensor.n_bytes();
            start
        })
    }

    fn padding_len(&self) -> usize {
        usize::try_from(self.padding).expect("a test's padding fits memory")
    }
}

impl Tensor {
    fn n_bytes(&self) -> u64 {
        self.bytes.len() as u64 + self.hole
    }

    fn write_entry(&self, place: u64, out: &mut Vec<u8>) {
        match &self.entry {
            TensorEntry::Raw(bytes) => out.extend(bytes),
            TensorEntry::Described { name, dims, type_id, offset } => {
                write_string(out, name);
                out.extend(u32::try_from(dims.len()).expect("a test has few dims").to_le_bytes());
                dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
                out.extend(type_id.to_le_bytes());
                out.extend(offset.unwrap_or(place).to_le_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf_value::ggml_type;

    #[test]
    fn a_small_file_has_the_bytes_of_the_specification() {
        let bytes =
            GgufWriter::new().alignment(8).tensor("t", &[2], ggml_type::F32, [1, 2, 3, 4, 5, 6, 7, 8]).to_bytes();
        let mut expected = b"GGUF\x03\0\0\0".to_vec();
        expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend(b"\x11\0\0\0\0\0\0\0general.alignment\x04\0\0\0\x08\0\0\0");
        expected.extend(b"\x01\0\0\0\0\0\0\0t\x01\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        expected.resize(expected.len().next_multiple_of(8), 0);
        expected.extend([1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn each_tensor_starts_at_a_multiple_of_the_alignment() {
        let writer = GgufWriter::new().alignment(16).tensor("a", &[1], 0, [1; 4]).tensor("b", &[1], 0, [2; 4]);
        let (bytes, start) = (writer.to_bytes(), writer.header().len());
        assert_eq!(start % 16, 0);
        assert_eq!(&bytes[start..start + 4], [1; 4]);
        assert_eq!(&bytes[start + 16..], [2; 4]);
    }

    #[test]
    fn parts_have_the_tensors_between_cuts_and_the_first_has_the_metadata() {
        let writer = GgufWriter::new().kv("k", 1u8).tensor("a", &[1], 0, [1; 4]).tensor("b", &[1], 0, [2; 4]);
        let split = |no: u16, part: GgufWriter| {
            part.kv("split.no", no).kv("split.count", 3u16).kv("split.tensors.count", 2i32).to_bytes()
        };
        let parts = writer.split_at(&[0, 1]);
        assert_eq!(parts[0].to_bytes(), split(0, GgufWriter::new().kv("k", 1u8)));
        assert_eq!(parts[1].to_bytes(), split(1, GgufWriter::new().tensor("a", &[1], 0, [1; 4])));
        assert_eq!(parts[2].to_bytes(), split(2, GgufWriter::new().tensor("b", &[1], 0, [2; 4])));
    }

    #[test]
    fn a_hole_counts_as_zeros() {
        let bytes = GgufWriter::new().tensor_hole("a", &[4], 0, 16).to_bytes();
        assert_eq!(bytes[bytes.len() - 16..], [0; 16]);
    }
}
