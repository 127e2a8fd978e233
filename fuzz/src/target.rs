//! The functions under test, as a table.
//!
//! A target returns a line of text that names its outcome, so that inputs with new outcomes are kept, and panics where
//! a promise is broken. A new target is a function and a row in [`TARGETS`].

use std::hint::black_box;

use model::gguf::{Gguf, Metadata};

use crate::gguf_seeds::gguf_seeds;

/// Characters of a message; anything longer would bury the terminal.
const MESSAGE_CHARS: usize = 1000;

/// Something that reads untrusted bytes.
#[derive(Debug)]
pub struct Target {
    /// What `--target` calls it.
    pub name: &'static str,
    /// Inputs to start from.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of input that chance would take long to find.
    pub dictionary: &'static [&'static [u8]],
    /// Runs one input; returns its outcome, the numbers in which are ignored.
    pub run: fn(&[u8]) -> String,
}

/// All targets.
pub const TARGETS: &[Target] = &[Target {
    name: "gguf",
    seeds: gguf_seeds,
    dictionary: &[
        b"GGUF\x03\0\0\0",
        b"\x11\0\0\0\0\0\0\0general.alignment\x04\0\0\0\x08\0\0\0",
        b"\x0b\0\0\0\0\0\0\0split.count\x02\0\0\0\x02\0",
        b"\x01\0\0\0\0\0\0\0k\x09\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0",
        b"\x01\0\0\0\0\0\0\0t\x01\0\0\0\x20\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0",
    ],
    run: run_gguf,
}];

/// Reads a header from the whole input, then as the start of a far longer file that ends too early.
fn run_gguf(input: &[u8]) -> String {
    let cut_short = Gguf::parse(input, 1 << 40);
    check_message(&cut_short);
    let parsed = Gguf::parse(input, input.len() as u64);
    check_message(&parsed);
    match parsed {
        Err(error) => error.to_string(),
        Ok(gguf) => {
            check_tensors(&gguf);
            read_values(gguf.metadata());
            "read".to_owned()
        }
    }
}

fn check_message<T>(result: &Result<T, model::ModelError>) {
    if let Err(error) = result {
        let message = error.to_string();
        assert!(!message.contains(char::is_control), "not one plain line: {message:?}");
        assert!(message.chars().count() <= MESSAGE_CHARS, "too long a message: {message}");
    }
}

/// What every reader of tensors relies on.
fn check_tensors(gguf: &Gguf) {
    let mut places = Vec::new();
    for tensor in gguf.tensors() {
        let row_bytes = tensor.quant.row_bytes(tensor.cols()).expect("a row is whole blocks");
        let n_bytes = row_bytes.checked_mul(tensor.rows()).expect("the size of a tensor fits");
        assert_eq!(tensor.len, n_bytes as u64);
        assert!(tensor.offset >= gguf.data_offset() && tensor.offset + tensor.len <= gguf.file_len());
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
        places.push(tensor.offset..tensor.offset + tensor.len);
    }
    places.sort_by_key(|place| place.start);
    assert!(places.windows(2).all(|pair| pair[0].end <= pair[1].start), "tensors overlap: {places:?}");
}

/// Asks for every value by every getter, which may refuse but not panic.
fn read_values(metadata: &Metadata) {
    for (key, _) in metadata.iter() {
        let answered = [
            metadata.integer(key).is_ok(),
            metadata.float(key).is_ok(),
            metadata.boolean(key).is_ok(),
            metadata.string(key).is_ok(),
            metadata.array(key).is_ok(),
            metadata.strings(key).is_ok(),
        ];
        let strings = metadata.strings(key).ok().flatten();
        let n_bytes = strings.map(|strings| strings.iter().map(<[u8]>::len).sum::<usize>());
        black_box((answered, n_bytes));
    }
}
