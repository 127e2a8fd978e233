//! Reads the header's little-endian primitives, in order, from anything that reads.
//!
//! [`Reader`] tracks its position and how much of the file is left, checks every length against that before it allocates,
//! and adds the current [`Place`] to each error, so that its callers only ask for values. It knows nothing of metadata or
//! tensors.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use super::limits;
use super::printable::printable;
use crate::error::ModelError;

/// Bytes per read call: few calls for a 30 MiB header, little memory next to any budget.
const BUFFER_BYTES: usize = 128 << 10;

/// Array elements decoded at once: memory grows with the bytes read, not with the count the file claims.
const CHUNK_ELEMENTS: u64 = 8 << 10;

/// What is being read, for messages.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Magic, version and counts.
    Start,
    /// The key of the metadata entry with this index.
    Key(u64),
    /// The value of this metadata key.
    Value(String),
    /// The name of the tensor with this index.
    TensorName(u64),
    /// The rest of this tensor's entry in the tensor table.
    Tensor(String),
}

impl Place {
    fn error(&self, problem: String) -> ModelError {
        match self {
            Place::Start => ModelError::Gguf(problem),
            Place::Key(index) => ModelError::Gguf(format!("metadata entry {index}: {problem}")),
            Place::Value(key) => ModelError::Metadata { key: printable(key.as_bytes()), problem },
            Place::TensorName(index) => ModelError::Gguf(format!("entry {index} of the tensor table: {problem}")),
            Place::Tensor(name) => ModelError::Tensor { name: printable(name.as_bytes()), problem },
        }
    }
}

/// A forward-only reader of a file's header.
pub(super) struct Reader<R> {
    input: BufReader<R>,
    at: u64,
    /// Where reading must stop: the end of the file or the limit of the header.
    end: u64,
    file_len: u64,
    place: Place,
}

impl<R: Read> Reader<R> {
    /// A reader at the start of a file of `file_len` bytes.
    pub(super) fn new(input: R, file_len: u64) -> Self {
        let capacity = usize::try_from(file_len).unwrap_or(usize::MAX).min(BUFFER_BYTES);
        let (input, end) = (BufReader::with_capacity(capacity, input), file_len.min(limits::HEADER_BYTES));
        Reader { input, at: 0, end, file_len, place: Place::Start }
    }

    /// The offset of the next byte.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The length of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// Sets the place that errors name from here on.
    pub(super) fn enter(&mut self, place: Place) {
        self.place = place;
    }

    /// An error at the current place.
    pub(super) fn error(&self, problem: impl fmt::Display) -> ModelError {
        self.place.error(problem.to_string())
    }

    /// The next `n_bytes` bytes, or as many as the input has.
    pub(super) fn up_to(&mut self, n_bytes: u64) -> Result<Vec<u8>, ModelError> {
        let mut bytes = Vec::new();
        let result = (&mut self.input).take(n_bytes).read_to_end(&mut bytes);
        self.at += result.map_err(|error| self.read_error(&error))? as u64;
        Ok(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ModelError> {
        Ok(u8::from_le_bytes(self.bytes("a byte")?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.bytes("a 32-bit number")?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.bytes("a 64-bit number")?))
    }

    /// `N` bytes of a value, which messages call `what`.
    pub(super) fn bytes<const N: usize>(&mut self, what: &str) -> Result<[u8; N], ModelError> {
        self.need(N as u64, &what)?;
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => self.at += N as u64,
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(self.shrunk()),
            Err(error) => return Err(self.read_error(&error)),
        }
        Ok(bytes)
    }

    /// A length and that many bytes of UTF-8.
    ///
    /// Errors: more than `limit` bytes, or not UTF-8.
    pub(super) fn string(&mut self, limit: u64) -> Result<String, ModelError> {
        let start = self.at;
        let mut bytes = Vec::new();
        self.raw_string(limit, &mut bytes)?;
        String::from_utf8(bytes).map_err(|error| {
            let shown = printable(error.as_bytes());
            self.error(format_args!("the string {shown} at byte {start} is not UTF-8; the file is damaged"))
        })
    }

    /// A length and that many bytes, which are appended to `out`.
    ///
    /// Errors: more than `limit` bytes.
    pub(super) fn raw_string(&mut self, limit: u64, out: &mut Vec<u8>) -> Result<(), ModelError> {
        let start = self.at;
        let len = self.u64()?;
        self.need(len, &format_args!("a string of {len} bytes"))?;
        if len > limit {
            return Err(self.error(format_args!("the string at byte {start} has {len} bytes, more than {limit}")));
        }
        self.append(len, out)
    }

    /// `count` numbers of `N` bytes each.
    pub(super) fn numbers<T, const N: usize>(
        &mut self,
        count: u64,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, ModelError> {
        self.need_elements(count, N as u64)?;
        let (mut numbers, mut bytes, mut left) = (Vec::new(), Vec::new(), count);
        while left > 0 {
            let chunk = left.min(CHUNK_ELEMENTS);
            bytes.clear();
            self.append(chunk * N as u64, &mut bytes)?;
            numbers.extend(bytes.as_chunks().0.iter().map(|&number| decode(number)));
            left -= chunk;
        }
        numbers.shrink_to_fit();
        Ok(numbers)
    }

    /// Fails unless the file has room for `count` array elements of at least `element_bytes` each.
    pub(super) fn need_elements(&self, count: u64, element_bytes: u64) -> Result<(), ModelError> {
        self.need(count.saturating_mul(element_bytes), &format_args!("an array of {count} elements"))
    }

    /// Fails unless `n_bytes` are left, within the limit of the header.
    pub(super) fn need(&self, n_bytes: u64, what: &dyn fmt::Display) -> Result<(), ModelError> {
        if n_bytes <= self.end.saturating_sub(self.at) { Ok(()) } else { Err(self.too_little(n_bytes, what)) }
    }

    #[cold]
    fn too_little(&self, n_bytes: u64, what: &dyn fmt::Display) -> ModelError {
        let (at, len) = (self.at, self.file_len);
        let left = len.saturating_sub(at);
        if n_bytes > left {
            let missing = n_bytes - left;
            return self.error(format_args!(
                "the file ends at byte {len}, {missing} bytes short of {what} at byte {at}; \
                 the download is incomplete or the file is damaged, fetch it again"
            ));
        }
        self.error(format_args!(
            "{what} at byte {at} makes the header longer than {} MiB, more than any model needs; \
             the file is damaged, fetch it again",
            limits::HEADER_BYTES >> 20
        ))
    }

    /// Appends the next `n_bytes` to `out`, which grows with what arrives.
    fn append(&mut self, n_bytes: u64, out: &mut Vec<u8>) -> Result<(), ModelError> {
        if let Some(bytes) = usize::try_from(n_bytes).ok().and_then(|n| self.input.buffer().get(..n)) {
            out.extend_from_slice(bytes);
            self.input.consume(bytes.len());
        } else {
            let result = (&mut self.input).take(n_bytes).read_to_end(out);
            let n_read = result.map_err(|error| self.read_error(&error))? as u64;
            if n_read < n_bytes {
                return Err(self.shrunk());
            }
        }
        self.at += n_bytes;
        Ok(())
    }

    fn read_error(&self, error: &std::io::Error) -> ModelError {
        self.error(format_args!("reading failed at byte {}: {error}", self.at))
    }

    fn shrunk(&self) -> ModelError {
        let (at, len) = (self.at, self.file_len);
        self.error(format_args!("reading ended at byte {at} of {len}; the file was truncated meanwhile"))
    }
}
