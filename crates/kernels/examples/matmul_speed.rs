//! How fast each tier multiplies each format on this machine, on one thread.
//!
//! Prints, per format and tier, the bytes of weights read per second for one token (decode: slabs of 4 MiB, 64 MiB in
//! turn, more than most caches hold) and the arithmetic for 8 and 512 tokens (a small batch and prefill). A run takes a
//! millisecond or so, and each figure is the best of many, so a machine with other work does little harm. `cargo run --release -p kernels --example matmul_speed [FORMAT|all] [TIER] [COLS]`; the scalar tier is left
//! out unless named, because it is slow.

use std::time::Instant;

use kernels::{Format, Kernels, QuantType};

/// Products per figure.
const RUNS: usize = 64;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |i: usize| args.get(i).map(String::as_str).filter(|&word| word != "all");
    let cols = wanted(2).map_or(4096, |cols| cols.parse().expect("COLS is a number"));
    println!("format  tier    m=1 GB/s   m=1 GFLOP/s   m=8 GFLOP/s  m=512 GFLOP/s");
    for format in QuantType::formats().iter().filter(|f| wanted(0).is_none_or(|name| name == f.name)) {
        for kernels in Kernels::available() {
            if wanted(1).map_or(kernels.name() != "scalar", |name| name == kernels.name()) {
                report(kernels, format, cols);
            }
        }
    }
}

fn report(kernels: &Kernels, format: &'static Format, cols: usize) {
    let row_bytes = format.quant.row_bytes(cols).expect("COLS is a multiple of 256");
    let slab_rows = ((4 << 20) / row_bytes).next_multiple_of(8);
    let weights = weights(format, 16 * slab_rows * cols / format.block_len);
    let decode = seconds(kernels, format, cols, &weights, slab_rows, 1);
    let flops = |n: usize, m: usize, s: f64| 2.0 * (n * cols * m) as f64 / s / 1e9;
    let batch = |n: usize, m: usize| flops(n, m, seconds(kernels, format, cols, &weights[..n * row_bytes], n, m));
    println!(
        "{:7} {:7} {:8.2} {:13.1} {:13.1} {:14.1}",
        format.name,
        kernels.name(),
        (slab_rows * row_bytes) as f64 / decode / 1e9,
        flops(slab_rows, 1, decode),
        batch(256, 8),
        batch(64, 512),
    );
}

/// The least time of a product of `n` rows of `weights` and `m` tokens, over products with all parts of `weights`.
fn seconds(kernels: &Kernels, format: &'static Format, cols: usize, weights: &[u8], n: usize, m: usize) -> f64 {
    let x: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut row = vec![0; format.activation.row_bytes(cols)];
    kernels.quantise(format.activation, &x, &mut row);
    let all = [vec![0; 64], row.repeat(m)].concat();
    let aligned = all.as_ptr().align_offset(64);
    let row_bytes_a = row.len();
    let mut all = all;
    for t in 0..m { all[aligned + t * row_bytes_a..][..row_bytes_a].copy_from_slice(&row); }
    let activations = &all[aligned..][..m * row_bytes_a];
    let mut out = vec![0.0; n * m];
    let row_bytes = format.quant.row_bytes(cols).expect("whole blocks");
    let mut least = f64::INFINITY;
    for slab in weights.chunks_exact(n * row_bytes).cycle().take(RUNS) {
        let start = Instant::now();
        kernels.matmul(format.quant, cols, slab, activations, &mut out);
        least = least.min(start.elapsed().as_secs_f64());
    }
    least
}

/// Blocks of varied bytes without infinities: every byte stays below 0x7C, so every half-precision scale is finite.
fn weights(format: &Format, n_blocks: usize) -> Vec<u8> {
    (0..n_blocks * format.block_bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 % 0x7C).collect()
}
