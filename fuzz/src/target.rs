//! The list of targets.

use crate::targets::{gguf, grammar, http, prompt_cache, template, tokenizer};

/// Something that reads untrusted bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Reads one input. Panics if a promise is broken.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "gguf", seeds: gguf::seeds, run: gguf::run },
    Target { name: "tokenizer", seeds: tokenizer::seeds, run: tokenizer::run },
    Target { name: "template", seeds: template::seeds, run: template::run },
    Target { name: "grammar", seeds: grammar::seeds, run: grammar::run },
    Target { name: "prompt-cache", seeds: prompt_cache::seeds, run: prompt_cache::run },
    Target { name: "http", seeds: http::seeds, run: http::run },
];
