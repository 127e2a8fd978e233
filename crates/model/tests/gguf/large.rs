//! Opening a file far larger than memory reads only its header.
//!
//! The file has a vocabulary of 256k tokens and 100 GB of weights. Opening it must not read the weights, whether they are a
//! hole in a sparse file or an endless stream.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::Instant;

use model::gguf::Gguf;
use testkit::{GgufWriter, ggml_type};

const N_TOKENS: usize = 256 << 10;
const COLS: u64 = 8192;
const ROWS: u64 = 300_000;
const N_TENSORS: u64 = 10;
const TENSOR_BYTES: u64 = COLS * ROWS * 4;

fn large() -> GgufWriter {
    let tokens: Vec<_> = (0..N_TOKENS).map(|i| format!("token{i}")).collect();
    let merges: Vec<_> = (0..N_TOKENS).map(|i| format!("to ken{i}")).collect();
    let writer = GgufWriter::new()
        .kv("tokenizer.ggml.tokens", tokens)
        .kv("tokenizer.ggml.merges", merges)
        .kv("tokenizer.ggml.scores", vec![0.0f32; N_TOKENS])
        .kv("tokenizer.ggml.token_type", vec![1i32; N_TOKENS]);
    let name = |i| format!("blk.{i}.weight");
    (0..N_TENSORS).fold(writer, |file, i| file.tensor_hole(&name(i), &[COLS, ROWS], ggml_type::F32, TENSOR_BYTES))
}

/// Counts the bytes that are read through it.
struct Counted<'a, R> {
    inner: R,
    n_read: &'a Cell<usize>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.n_read.set(self.n_read.get() + n);
        Ok(n)
    }
}

#[test]
fn only_the_header_is_read() {
    let header = large().header();
    let n_read = Cell::new(0);
    let stream = Counted { inner: header.chain(io::repeat(0)), n_read: &n_read };
    let gguf = Gguf::parse(stream, header.len() as u64 + N_TENSORS * TENSOR_BYTES).unwrap();
    assert_eq!(gguf.data_offset(), header.len() as u64);
    assert_eq!(gguf.tensors().len() as u64, N_TENSORS);
    assert!(n_read.get() <= header.len() + (1 << 20), "{} bytes read of a header of {}", n_read.get(), header.len());
}

#[test]
fn a_sparse_file_of_98_gb_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.gguf");
    large().write(&path).unwrap();
    let start = Instant::now();
    let gguf = Gguf::open(&path).unwrap();
    println!("opened {} GB in {:?}", gguf.file_len() / 1_000_000_000, start.elapsed());
    let last = gguf.tensors().last().unwrap();
    assert_eq!(last.offset + last.len, gguf.file_len());
    assert_eq!((last.rows() as u64, last.cols() as u64), (ROWS, COLS));
    assert_eq!(gguf.metadata().strings("tokenizer.ggml.tokens").unwrap().unwrap().get(7), b"token7");
}
