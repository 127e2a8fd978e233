//! The tokenizer agrees with llama.cpp: the same ids for the same texts, for five real vocabularies, and the text back from
//! the ids. An inconsistent vocabulary gives an error that names the key, or a tokenizer that works.

mod decoding;
mod expected;
mod fixtures;
mod hostile;
mod long_texts;
mod special;
