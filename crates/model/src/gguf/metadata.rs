//! The key-value table of a GGUF file, with typed access.
//!
//! [`Metadata`] holds the entries that [`super::Gguf`] has read. Architectures, the tokenizer and the chat template look
//! up keys by name; the getters turn a wrong type into an error that names the key, so callers need no checks.
//! It gives keys neither meanings nor defaults.

use std::collections::HashMap;

use super::value::{Array, StringArray, Value};
use crate::error::ModelError;

/// Metadata in file order, looked up by key.
///
/// The typed getters return `Ok(None)` for an absent key and an error that names the key for a wrong type; integers of
/// any width and sign are accepted where they fit.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    entries: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Adds an entry.
    ///
    /// Errors: the key exists.
    pub fn insert(&mut self, key: String, value: Value) -> Result<(), ModelError> {
        if self.index.contains_key(&key) {
            return Err(ModelError::metadata(&key, "appears twice"));
        }
        self.index.insert(key.clone(), self.entries.len());
        self.entries.push((key, value));
        Ok(())
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.entries[i].1)
    }

    /// All entries in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// A non-negative integer.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, ModelError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match *value {
            Value::U8(v) => Some(u64::from(v)),
            Value::U16(v) => Some(u64::from(v)),
            Value::U32(v) => Some(u64::from(v)),
            Value::U64(v) => Some(v),
            Value::I8(v) => u64::try_from(v).ok(),
            Value::I16(v) => u64::try_from(v).ok(),
            Value::I32(v) => u64::try_from(v).ok(),
            Value::I64(v) => u64::try_from(v).ok(),
            _ => return Err(ModelError::metadata(key, "is not an integer")),
        };
        number.map(Some).ok_or_else(|| ModelError::metadata(key, "is negative"))
    }

    /// A float.
    pub fn float(&self, key: &str) -> Result<Option<f32>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::F32(v)) => Ok(Some(*v)),
            #[expect(clippy::cast_possible_truncation, reason = "f32 is what the arithmetic uses")]
            Some(Value::F64(v)) => Ok(Some(*v as f32)),
            Some(_) => Err(ModelError::metadata(key, "is not a float")),
        }
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(v)) => Ok(Some(*v)),
            Some(_) => Err(ModelError::metadata(key, "is not a boolean")),
        }
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(v)) => Ok(Some(v)),
            Some(_) => Err(ModelError::metadata(key, "is not a string")),
        }
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::String(v))) => Ok(Some(v)),
            Some(_) => Err(ModelError::metadata(key, "is not an array of strings")),
        }
    }

    /// An array.
    pub fn array(&self, key: &str) -> Result<Option<&Array>, ModelError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(v)) => Ok(Some(v)),
            Some(_) => Err(ModelError::metadata(key, "is not an array")),
        }
    }
}
