//! How fast each tier attends on this machine, on one thread.
//!
//! The shape is that of an 8b model: 8 key-value heads of 128 numbers, each shared by 4 query heads. Prints, per type of
//! the cache, context and tier, what one token's attention takes in one layer and how fast it reads keys and values
//! (decode: 128 MiB of caches in turn, more than most processors keep), and the time and arithmetic for the last 64
//! tokens of the context (prefill). Each figure is the best of many, so a machine with other work
//! does little harm. `cargo run --release -p kernels --example attend_speed
//! [f16|q8_0|f32|all] [TIER]`; the scalar tier is left out unless named, because it is slow.

use std::time::Instant;

use kernels::{AttendArgs, Kernels, KvType, PartLayout};

const N_KV_HEADS: usize = 8;
const N_GROUP: usize = 4;
const HEAD_DIM: usize = 128;
const SCALE: f32 = 0.088_388_35;

/// Tokens of a block in prefill: 64 queries.
const BLOCK: usize = 16;

/// Numbers in the keys (or values) of a position.
const KV_WIDTH: usize = N_KV_HEADS * HEAD_DIM;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |i: usize| args.get(i).map(String::as_str).filter(|&word| word != "all");
    println!("cache  context  tier     decode us     GB/s  GFLOP/s   64 tokens us  GFLOP/s");
    for (name, kv_type) in [("f16", KvType::F16), ("q8_0", KvType::Q8_0), ("f32", KvType::F32)] {
        for context in [512, 2048, 8192] {
            for kernels in Kernels::available() {
                if wanted(0).is_none_or(|word| word == name)
                    && wanted(1).map_or(kernels.name() != "scalar", |word| word == kernels.name())
                {
                    report(name, kv_type, context, kernels);
                }
            }
        }
    }
}

fn report(name: &str, kv_type: KvType, context: usize, kernels: &Kernels) {
    let layer_bytes = context * kv_type.row_bytes(KV_WIDTH);
    let n_layers = ((64 << 20) / layer_bytes).max(1);
    let (keys, values) = (cache(kv_type, n_layers * context, 1), cache(kv_type, n_layers * context, 7));
    let mut work = Work::new();
    let mut layer = 0;
    let mut layers = |n_tokens: usize| {
        let at = layer % n_layers * layer_bytes;
        layer += 1;
        work.attend(kernels, kv_type, [&keys[at..][..layer_bytes], &values[at..][..layer_bytes]], n_tokens)
    };
    let decode = least(&mut layers, 1, (n_layers * 3).clamp(60, 300));
    let prefill = least(&mut layers, 64, 20);
    let flops = |n_tokens: usize, s: f64| {
        let pairs: usize = (0..n_tokens).map(|t| context - t).sum();
        (4 * N_KV_HEADS * N_GROUP * HEAD_DIM * pairs) as f64 / s / 1e9
    };
    println!(
        "{name:5} {context:8}  {:7} {:10.1} {:8.2} {:8.1} {:14.1} {:8.1}",
        kernels.name(),
        decode * 1e6,
        2.0 * layer_bytes as f64 / decode / 1e9,
        flops(1, decode),
        prefill * 1e6,
        flops(64, prefill),
    );
}

/// The buffers of a layer's attention.
struct Work {
    queries: Vec<f32>,
    scratch: Vec<f32>,
    parts: Vec<f32>,
    out: Vec<f32>,
}

impl Work {
    fn new() -> Work {
        let n_queries = BLOCK * N_GROUP;
        Work {
            queries: (0..64 * N_GROUP * HEAD_DIM).map(|i| (i as f32 * 0.37).sin()).collect(),
            scratch: vec![0.0; AttendArgs::scratch_len(n_queries, HEAD_DIM, HEAD_DIM)],
            parts: vec![0.0; n_queries * PartLayout::new(HEAD_DIM).len()],
            out: vec![0.0; n_queries * HEAD_DIM],
        }
    }

    /// The seconds that the last `n_tokens` of the context take.
    fn attend(&mut self, kernels: &Kernels, kv_type: KvType, [keys, values]: [&[u8]; 2], n_tokens: usize) -> f64 {
        let head_bytes = keys.len() / N_KV_HEADS;
        let row_bytes = kv_type.row_bytes(HEAD_DIM);
        let context = head_bytes / row_bytes;
        let mut key_tiles: Vec<&[u8]> = Vec::with_capacity(context.div_ceil(AttendArgs::TILE));
        let mut value_tiles = key_tiles.clone();
        let layout = PartLayout::new(HEAD_DIM);
        let start = Instant::now();
        for first in (0..n_tokens).step_by(BLOCK) {
            let n_rows = BLOCK.min(n_tokens - first);
            for head in 0..N_KV_HEADS {
                key_tiles.clear();
                key_tiles.extend(keys[head * head_bytes..][..head_bytes].chunks(AttendArgs::TILE * row_bytes));
                value_tiles.clear();
                value_tiles.extend(values[head * head_bytes..][..head_bytes].chunks(AttendArgs::TILE * row_bytes));
                let parts = &mut self.parts[..n_rows * N_GROUP * layout.len()];
                layout.clear(parts);
                kernels.attend(AttendArgs {
                    kv_type,
                    n_rows,
                    n_group: N_GROUP,
                    head_dim: HEAD_DIM,
                    value_dim: HEAD_DIM,
                    queries: &self.queries[first * N_GROUP * HEAD_DIM..],
                    query_stride: N_GROUP * HEAD_DIM,
                    keys: &key_tiles,
                    values: &value_tiles,
                    start: 0,
                    n_positions: context,
                    first_row: context - n_tokens + first,
                    window: usize::MAX,
                    n_sinks: 0,
                    scale: SCALE,
                    soft_cap: None,
                    scratch: &mut self.scratch,
                    parts,
                });
                layout.finish(parts, &mut self.out[..n_rows * N_GROUP * HEAD_DIM]);
            }
        }
        start.elapsed().as_secs_f64()
    }
}

/// The least time of `n` runs.
fn least(run: &mut impl FnMut(usize) -> f64, n_tokens: usize, n: usize) -> f64 {
    (0..n).map(|_| run(n_tokens)).fold(f64::INFINITY, f64::min)
}

/// Keys or values of `n_positions`, between -1 and 1.
fn cache(kv_type: KvType, n_positions: usize, salt: usize) -> Vec<u8> {
    let mut bytes = vec![0; n_positions * kv_type.row_bytes(KV_WIDTH)];
    let row_bytes = kv_type.row_bytes(KV_WIDTH);
    for (p, row) in bytes.chunks_exact_mut(row_bytes).enumerate() {
        let x: Vec<f32> = (0..KV_WIDTH).map(|i| number(p * KV_WIDTH + i + salt)).collect();
        Kernels::detect().store_kv(kv_type, &x, row);
    }
    bytes
}

/// A number between -1 and 1 that looks random.
fn number(i: usize) -> f32 {
    ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0
}
