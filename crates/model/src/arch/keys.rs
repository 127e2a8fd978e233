//! An architecture's metadata keys: each is read, known to be harmless, or an error.

use std::cell::RefCell;
use std::collections::HashSet;

use crate::error::ModelError;
use crate::gguf::container::Gguf;
use crate::gguf::metadata::Metadata;
use crate::gguf::value::Array;

/// Keys under the architecture's prefix that do not change the result: sizes that the tensors state too, and notes of
/// converters. `rope.scaling.*` beyond type and factor speak of kinds that are refused by their type.
const HARMLESS: [&str; 10] = [
    "vocab_size",
    "tensor_data_layout",
    "expert_used_count",
    "attention.layer_norm_epsilon",
    "rope.scaling.original_context_length",
    "rope.scaling.finetuned",
    "rope.scaling.attn_factor",
    "rope.scaling.low_freq_factor",
    "rope.scaling.high_freq_factor",
    "attention.causal",
];

/// Dimensions above this are no real model; the limit keeps products of two of them inside 64 bits.
const MAX_DIMENSION: u64 = 1 << 26;

/// The keys under one architecture's prefix, with a record of which were read.
pub(super) struct Keys<'a> {
    prefix: &'static str,
    metadata: &'a Metadata,
    read: RefCell<HashSet<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(arch: &'static str, gguf: &'a Gguf) -> Keys<'a> {
        Keys { prefix: arch, metadata: gguf.metadata(), read: RefCell::default() }
    }

    /// A positive integer that the model cannot do without.
    pub(super) fn required(&self, name: &str) -> Result<usize, ModelError> {
        self.optional(name)?.ok_or_else(|| self.wrong(name, "is missing"))
    }

    /// A positive integer, if the file has it.
    pub(super) fn optional(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.metadata.integer(&self.key(name))? else { return Ok(None) };
        self.dimension(name, value).map(Some)
    }

    /// A count that may be 0 and is 0 when absent.
    pub(super) fn count(&self, name: &str) -> Result<u64, ModelError> {
        Ok(self.metadata.integer(&self.key(name))?.unwrap_or(0))
    }

    /// One positive integer for every layer: the file has either one for all or an array.
    pub(super) fn per_layer(&self, name: &str, n_layers: usize) -> Result<Option<Vec<usize>>, ModelError> {
        let key = self.key(name);
        let Ok(Some(array)) = self.metadata.array(&key) else {
            return Ok(self.optional(name)?.map(|v| vec![v; n_layers]));
        };
        let values: Vec<u64> = match array {
            Array::U32(v) => v.iter().map(|&x| u64::from(x)).collect(),
            Array::I32(v) => v.iter().map(|&x| u64::try_from(x).unwrap_or(0)).collect(),
            Array::U64(v) => v.clone(),
            _ => return Err(self.wrong(name, "is an array of something other than integers")),
        };
        if values.len() != n_layers {
            return Err(self.wrong(name, &format!("has {} entries for {n_layers} layers", values.len())));
        }
        values.into_iter().map(|v| self.dimension(name, v)).collect::<Result<_, _>>().map(Some)
    }

    /// A positive, finite number, if the file has it.
    pub(super) fn positive(&self, name: &str) -> Result<Option<f32>, ModelError> {
        let Some(value) = self.metadata.float(&self.key(name))? else { return Ok(None) };
        if !value.is_finite() || value <= 0.0 {
            return Err(self.wrong(name, &format!("is {value}, which is not a positive number")));
        }
        Ok(Some(value))
    }

    /// A string, if the file has it.
    pub(super) fn string(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.metadata.string(&self.key(name))
    }

    /// Fails on a key of this architecture that nothing has read and that is not known to be harmless.
    pub(super) fn finish(&self) -> Result<(), ModelError> {
        let read = self.read.borrow();
        for (key, _) in self.metadata.iter() {
            let Some(name) = key.strip_prefix(self.prefix).and_then(|k| k.strip_prefix('.')) else { continue };
            if !read.contains(key) && !HARMLESS.contains(&name) {
                return Err(self.wrong(name, "is not known to this version and could change the result"));
            }
        }
        Ok(())
    }

    /// An error about one key.
    pub(super) fn wrong(&self, name: &str, problem: &str) -> ModelError {
        ModelError::Metadata { key: format!("{}.{name}", self.prefix), problem: problem.to_owned() }
    }

    fn key(&self, name: &str) -> String {
        let key = format!("{}.{name}", self.prefix);
        self.read.borrow_mut().insert(key.clone());
        key
    }

    fn dimension(&self, name: &str, value: u64) -> Result<usize, ModelError> {
        match usize::try_from(value) {
            Ok(v) if (1..=MAX_DIMENSION).contains(&value) => Ok(v),
            _ => Err(self.wrong(name, &format!("is {value}, outside 1..={MAX_DIMENSION}"))),
        }
    }
}
