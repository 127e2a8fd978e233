//! The doors refuse operands whose lengths disagree, before any tier's code sees them.
//!
//! The SIMD code behind the doors trusts the lengths, so a missing check could read past a slice. Each case here is one
//! byte, one number or one row off; every tier must panic on it, and run on the right lengths.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kernels::{Activation, ActivationType, AttendArgs, Kernels, KvType, PartLayout, QuantType, RopeLayout};

fn refuses(kernels: &Kernels, what: &str, call: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err(), "{kernels:?} accepted {what}");
}

/// Multiplies buffers of these lengths.
fn multiply(kernels: &Kernels, quant: QuantType, cols: usize, weights: usize, activations: usize, out: usize) {
    kernels.matmul(quant, cols, &vec![0; weights], &vec![0; activations], &mut vec![0.0; out]);
}

#[test]
fn matmul_checks_all_three_matrices() {
    for kernels in Kernels::available() {
        for format in QuantType::formats() {
            let (quant, cols) = (format.quant, 256);
            let w = quant.row_bytes(cols).expect("whole blocks");
            let a = format.activation.row_bytes(cols);
            multiply(kernels, quant, cols, 3 * w, 2 * a, 6);
            multiply(kernels, quant, cols, 0, 2 * a, 0);
            multiply(kernels, quant, cols, 3 * w, 0, 0);
            refuses(kernels, "a cut weight row", || multiply(kernels, quant, cols, 3 * w - 1, 2 * a, 6));
            refuses(kernels, "a cut activation row", || multiply(kernels, quant, cols, 3 * w, 2 * a - 1, 6));
            refuses(kernels, "a short output", || multiply(kernels, quant, cols, 3 * w, 2 * a, 5));
            refuses(kernels, "a long output", || multiply(kernels, quant, cols, 3 * w, 2 * a, 7));
            refuses(kernels, "no columns", || multiply(kernels, quant, 0, 0, 0, 0));
            if format.block_len > 1 {
                refuses(kernels, "a part of a block", || multiply(kernels, quant, 255, w, a, 1));
            }
        }
    }
}

#[test]
fn rows_are_checked_when_packed_and_unpacked() {
    for kernels in Kernels::available() {
        refuses(kernels, "a short block", || kernels.dequantise(QuantType::Q4_0, &[0; 17], &mut [0.0; 32]));
        refuses(kernels, "half a block", || kernels.dequantise(QuantType::Q4_0, &[0; 18], &mut [0.0; 16]));
        for activation in [ActivationType::F32, ActivationType::Q8_1, ActivationType::Q8_K] {
            let bytes = activation.row_bytes(256);
            kernels.quantise(activation, &[1.0; 256], &mut vec![0; bytes]);
            refuses(kernels, "a short row", || kernels.quantise(activation, &[1.0; 256], &mut vec![0; bytes - 1]));
        }
        refuses(kernels, "half a block", || kernels.quantise(ActivationType::Q8_1, &[1.0; 16], &mut [0; 19]));
        for kv_type in [KvType::F16, KvType::F32] {
            let bytes = kv_type.row_bytes(5);
            refuses(kernels, "a long row", || kernels.store_kv(kv_type, &[1.0; 5], &mut vec![0; bytes + 1]));
        }
    }
}

#[test]
fn vectors_must_have_one_length() {
    for kernels in Kernels::available() {
        refuses(kernels, "a short weight", || kernels.rms_norm(&[1.0; 9], &[1.0; 8], 0.0, &mut [0.0; 9]));
        refuses(kernels, "a short output", || kernels.rms_norm(&[1.0; 9], &[1.0; 9], 0.0, &mut [0.0; 8]));
        refuses(kernels, "a long weight", || kernels.rms_norm_in_place(&mut [1.0; 8], &[1.0; 9], 0.0));
        refuses(kernels, "a short gate", || kernels.gate(Activation::Silu, &mut [1.0; 8], &[1.0; 9]));
        refuses(kernels, "a long sum", || kernels.add(&mut [1.0; 9], &[1.0; 8]));
        for layout in [RopeLayout::Interleaved, RopeLayout::Halves] {
            kernels.rope(&mut [1.0; 9], &[[1.0, 0.0]; 4], layout);
            refuses(kernels, "a short head", || kernels.rope(&mut [1.0; 7], &[[1.0, 0.0]; 4], layout));
        }
    }
}

/// The lengths of an attention of two tokens with two heads of five and six numbers over 67 positions, of which the last three are
/// the second tile.
#[derive(Clone, Copy)]
struct Lengths {
    queries: usize,
    keys: usize,
    values: usize,
    n_positions: usize,
    start: usize,
    scratch: usize,
    parts: usize,
}

fn attend(kernels: &Kernels, kv_type: KvType, lengths: Lengths) {
    kernels.attend(AttendArgs {
        kv_type,
        n_rows: 2,
        n_group: 2,
        head_dim: 5,
        value_dim: 6,
        queries: &vec![1.0; lengths.queries],
        query_stride: 11,
        keys: &[&vec![0; 64 * kv_type.row_bytes(5)], &vec![0; lengths.keys]],
        values: &[&vec![0; 64 * kv_type.row_bytes(6)], &vec![0; lengths.values]],
        start: lengths.start,
        n_positions: lengths.n_positions,
        first_row: lengths.start + 65,
        window: usize::MAX,
        n_sinks: 0,
        scale: 1.0,
        soft_cap: None,
        scratch: &mut vec![0.0; lengths.scratch],
        parts: &mut vec![0.0; lengths.parts],
    });
}

#[test]
fn attend_checks_every_slice() {
    for kernels in Kernels::available() {
        for kv_type in [KvType::F16, KvType::F32] {
            let right = Lengths {
                queries: 21,
                keys: 3 * kv_type.row_bytes(5),
                values: 3 * kv_type.row_bytes(6),
                n_positions: 67,
                start: 64,
                scratch: AttendArgs::scratch_len(4, 5, 6),
                parts: 4 * PartLayout::new(6).len(),
            };
            attend(kernels, kv_type, right);
            let check = |what, lengths| refuses(kernels, what, || attend(kernels, kv_type, lengths));
            check("short queries", Lengths { queries: 20, ..right });
            check("short keys", Lengths { keys: right.keys - 1, ..right });
            check("short values", Lengths { values: right.values - 1, ..right });
            check("a run inside a tile", Lengths { start: 63, ..right });
            check("short scratch", Lengths { scratch: right.scratch - 1, ..right });
            check("a short part", Lengths { parts: right.parts - 1, ..right });
            check("a missing tile", Lengths { n_positions: 129, ..right });
            check("positions that overflow", Lengths { n_positions: usize::MAX, ..right });
        }
    }
}

#[test]
fn parts_are_whole_and_of_one_number() {
    let layout = PartLayout::new(6);
    let (mut whole, mut short) = (vec![0.0; layout.len()], vec![0.0; layout.len() - 1]);
    let scalar = Kernels::scalar();
    refuses(scalar, "a short part to clear", || layout.clear(&mut short));
    refuses(scalar, "parts of two lengths", || layout.merge(&mut whole, &vec![0.0; 2 * layout.len()]));
    refuses(scalar, "a short output", || layout.finish(&vec![0.0; layout.len()], &mut [0.0; 5]));
}
