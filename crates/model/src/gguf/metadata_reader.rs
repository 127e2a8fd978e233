//! Reads the metadata entries: key, type number, value.
//!
//! Keys and single strings must be UTF-8, because the program compares and prints them. Strings in arrays are kept as
//! bytes: tokens of a vocabulary need not be valid UTF-8 on their own.

use std::io::Read;

use super::limits;
use super::metadata::Metadata;
use super::reader::{Place, Reader};
use super::value::{Array, StringArray, Value};
use crate::error::ModelError;

/// Bytes of the smallest entry: an empty key's length, a type number, a one-byte value.
pub(super) const SMALLEST_ENTRY: u64 = 8 + 4 + 1;

/// Bytes of an array's element type and count.
const ARRAY_HEADER: u64 = 4 + 8;

/// Reads `count` entries.
pub(super) fn read_metadata<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<Metadata, ModelError> {
    let mut metadata = Metadata::default();
    let mut values = ValueReader { reader, n_nested: 0 };
    for index in 0..count {
        let key = values.key(index, &metadata)?;
        let value = values.value()?;
        metadata.insert(key, value)?;
    }
    Ok(metadata)
}

struct ValueReader<'a, R> {
    reader: &'a mut Reader<R>,
    n_nested: u64,
}

impl<R: Read> ValueReader<'_, R> {
    fn key(&mut self, index: u64, earlier: &Metadata) -> Result<String, ModelError> {
        let start = self.reader.at();
        self.reader.enter(Place::Key(index));
        let key = self.reader.string(limits::KEY_BYTES)?;
        self.reader.enter(Place::Value(key.clone()));
        if earlier.get(&key).is_some() {
            return Err(self.reader.error(format_args!("appears a second time at byte {start}; the file is damaged")));
        }
        Ok(key)
    }

    fn value(&mut self) -> Result<Value, ModelError> {
        let start = self.reader.at();
        Ok(match self.reader.u32()? {
            0 => Value::U8(self.reader.u8()?),
            1 => Value::I8(i8::from_le_bytes(self.number()?)),
            2 => Value::U16(u16::from_le_bytes(self.number()?)),
            3 => Value::I16(i16::from_le_bytes(self.number()?)),
            4 => Value::U32(self.reader.u32()?),
            5 => Value::I32(i32::from_le_bytes(self.number()?)),
            6 => Value::F32(f32::from_le_bytes(self.number()?)),
            7 => Value::Bool(self.boolean()?),
            8 => Value::String(self.reader.string(limits::HEADER_BYTES)?),
            9 => Value::Array(self.array(1)?),
            10 => Value::U64(self.reader.u64()?),
            11 => Value::I64(i64::from_le_bytes(self.number()?)),
            12 => Value::F64(f64::from_le_bytes(self.number()?)),
            id => return Err(self.unknown_type(id, start)),
        })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        self.reader.bytes("a number")
    }

    fn boolean(&mut self) -> Result<bool, ModelError> {
        let start = self.reader.at();
        match self.reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(self.not_boolean(byte, start)),
        }
    }

    /// An array inside `depth - 1` others.
    fn array(&mut self, depth: u32) -> Result<Array, ModelError> {
        let start = self.reader.at();
        let element = self.reader.u32()?;
        let count = self.reader.u64()?;
        Ok(match element {
            0 => Array::U8(self.reader.numbers(count, u8::from_le_bytes)?),
            1 => Array::I8(self.reader.numbers(count, i8::from_le_bytes)?),
            2 => Array::U16(self.reader.numbers(count, u16::from_le_bytes)?),
            3 => Array::I16(self.reader.numbers(count, i16::from_le_bytes)?),
            4 => Array::U32(self.reader.numbers(count, u32::from_le_bytes)?),
            5 => Array::I32(self.reader.numbers(count, i32::from_le_bytes)?),
            6 => Array::F32(self.reader.numbers(count, f32::from_le_bytes)?),
            7 => Array::Bool(self.booleans(count)?),
            8 => Array::String(self.strings(count)?),
            9 => Array::Array(self.arrays(count, depth, start)?),
            10 => Array::U64(self.reader.numbers(count, u64::from_le_bytes)?),
            11 => Array::I64(self.reader.numbers(count, i64::from_le_bytes)?),
            12 => Array::F64(self.reader.numbers(count, f64::from_le_bytes)?),
            id => return Err(self.unknown_type(id, start)),
        })
    }

    fn booleans(&mut self, count: u64) -> Result<Vec<bool>, ModelError> {
        let start = self.reader.at();
        let bytes = self.reader.numbers(count, u8::from_le_bytes)?;
        if let Some(index) = bytes.iter().position(|&byte| byte > 1) {
            return Err(self.not_boolean(bytes[index], start + index as u64));
        }
        Ok(bytes.into_iter().map(|byte| byte == 1).collect())
    }

    fn strings(&mut self, count: u64) -> Result<StringArray, ModelError> {
        self.reader.need_elements(count, size_of::<u64>() as u64)?;
        let mut strings = StringArray::default();
        for _ in 0..count {
            strings.push_with(|bytes| self.reader.raw_string(limits::HEADER_BYTES, bytes))?;
        }
        strings.shrink_to_fit();
        Ok(strings)
    }

    fn arrays(&mut self, count: u64, depth: u32, start: u64) -> Result<Vec<Array>, ModelError> {
        self.reader.need_elements(count, ARRAY_HEADER)?;
        self.n_nested = self.n_nested.saturating_add(count);
        if depth >= limits::ARRAY_DEPTH || self.n_nested > limits::NESTED_ARRAYS {
            return Err(self.reader.error(format_args!(
                "the arrays at byte {start} are nested deeper than {} levels or number more than {}; \
                 no known model needs this",
                limits::ARRAY_DEPTH,
                limits::NESTED_ARRAYS
            )));
        }
        (0..count).map(|_| self.array(depth + 1)).collect()
    }

    fn unknown_type(&self, id: u32, at: u64) -> ModelError {
        self.reader.error(format_args!(
            "unknown value type {id} at byte {at} (GGUF has 0 to 12); the file is damaged or newer than this program"
        ))
    }

    fn not_boolean(&self, byte: u8, at: u64) -> ModelError {
        self.reader.error(format_args!("the boolean at byte {at} is {byte}, not 0 or 1; the file is damaged"))
    }
}
