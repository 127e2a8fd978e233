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
        self.typed(key, "a float", |value| match *value {
            Value::F32(v) => Some(v),
            #[expect(clippy::cast_possible_truncation, reason = "f32 is what the arithmetic uses")]
            Value::F64(v) => Some(v as f32),
            _ => None,
        })
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "a boolean", |value| if let Value::Bool(v) = *value { Some(v) } else { None })
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", |value| if let Value::String(v) = value { Some(v.as_str()) } else { None })
    }

    /// An array of strings.
    pub fn strings(&self, key: &str) -> Result<Option<&StringArray>, ModelError> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(v)) => Some(v),
            _ => None,
        })
    }

    /// An array.
    pub fn array(&self, key: &str) -> Result<Option<&Array>, ModelError> {
        self.typed(key, "an array", |value| if let Value::Array(v) = value { Some(v) } else { None })
    }

    /// The value of `key`, read by `read`, which returns `None` if it is not `what`.
    fn typed<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let wrong = || ModelError::metadata(key, format!("is not {what}"));
        self.get(key).map(|value| read(value).ok_or_else(wrong)).transpose()
    }
}
