//! The GGUF container, and what is read from it: metadata, tensors, the model's description.

use std::hint::black_box;

use model::ModelSpec;
use model::gguf::{Gguf, Metadata};
use testkit::TinySpec;

use super::gguf_seeds::gguf_seeds;
use crate::messages::checked;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let tiny = ["llama layers=1", "qwen2 layers=1"].map(|line| TinySpec::from_line(line).build().gguf_bytes());
    gguf_seeds().into_iter().chain(tiny).collect()
}

/// Reads a header from the whole input, then as the start of a far longer file that ends too early.
pub(crate) fn run(input: &[u8]) {
    checked(Gguf::parse(input, 1 << 40));
    if let Some(gguf) = checked(Gguf::parse(input, input.len() as u64)) {
        check_tensors(&gguf);
        read_values(gguf.metadata());
        black_box(checked(ModelSpec::from_gguf(&gguf)));
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
        checked(metadata.integer(key));
        checked(metadata.float(key));
        checked(metadata.boolean(key));
        checked(metadata.string(key));
        checked(metadata.array(key));
        let strings = checked(metadata.strings(key)).flatten();
        black_box(strings.map(|strings| strings.iter().map(<[u8]>::len).sum::<usize>()));
    }
}
