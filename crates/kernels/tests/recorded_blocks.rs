//! Blocks that another implementation dequantised come out the same here.
//!
//! The files in `tests/data` hold random blocks of every format, extreme scales among them, and the weights that the
//! Python package `gguf` makes of them (`make_vectors.py` records them). Every tier must give the same bits: both sides
//! round once per product and once per sum, in the same order.

use kernels::{Kernels, QuantType};

/// The record of a format, named after it.
fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{}.bin", env!("CARGO_MANIFEST_DIR"), name.to_lowercase());
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_format_dequantises_bit_for_bit() {
    for kernels in Kernels::available() {
        for format in QuantType::formats() {
            let file = recorded(format.name);
            let n_blocks = file.len() / (format.block_bytes + 4 * format.block_len);
            let (blocks, weights) = file.split_at(n_blocks * format.block_bytes);
            let mut out = vec![0.0; n_blocks * format.block_len];
            kernels.dequantise(format.quant, blocks, &mut out);
            assert_eq!(weights.len(), 4 * out.len());
            for (i, (want, got)) in weights.as_chunks::<4>().0.iter().zip(&out).enumerate() {
                let want = f32::from_le_bytes(*want);
                assert_eq!(want.to_bits(), got.to_bits(), "{kernels:?} {} weight {i}: {want} {got}", format.name);
            }
        }
    }
}
