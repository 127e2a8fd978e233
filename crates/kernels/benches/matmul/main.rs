//! How fast each tier multiplies each format on this machine, beside what its memory and its instructions allow.
//!
//! `cargo bench -p kernels -- [FORMAT...] [TIER...] [--threads N] [--cols N] [--json]`: names of formats and tiers leave
//! only those, and `--threads N` measures one thread and then N at once, each with weights of its own. For 1 to 16 tokens
//! a product takes slabs of a gibibyte of weights in turn, which no cache holds; for 512 it stays with a few rows, as
//! prefill does. Every figure is the best of many rounds, in turn with rounds that only read, so other work on the machine
//! does little harm. The scalar tier is left out unless it is named, because it is slow.
//!
//! `rounds` keeps threads in step, `limits` measures memory and clock and knows what instructions do in a cycle, `report`
//! prints. Without `--bench`, which `cargo bench` adds, nothing is measured, so that `cargo test` has no work with it.

mod arguments;
mod limits;
mod report;
mod rounds;

use kernels::{Format, Kernels, QuantType};

use arguments::Arguments;
use limits::Limits;
use report::{Product, Report};
use rounds::Lane;

/// Tokens of the products: decoding, small batches, prefill.
pub(crate) const TOKENS: [usize; 6] = [1, 2, 4, 8, 16, 512];

/// Bytes of weights that a thread multiplies in a round of a small batch.
const SLAB_BYTES: usize = 8 << 20;

/// More tokens than this are prefill, whose weights come from a cache.
const MOST_DECODED: usize = 16;

/// Weight rows of a product of prefill.
const PREFILL_ROWS: usize = 64;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return,
        Err(problem) => {
            eprintln!("matmul: {problem}");
            std::process::exit(2);
        }
    };
    let mut report = Report::begin(&arguments);
    for threads in arguments.thread_counts() {
        let mut lanes = Lane::several(threads);
        let limits = Limits::measure(&mut lanes);
        report.limits(&limits);
        for format in QuantType::formats().iter().filter(|format| arguments.wants_format(format)) {
            for kernels in Kernels::available().iter().filter(|kernels| arguments.wants_tier(kernels)) {
                report.products(&products(kernels, format, arguments.cols, &mut lanes), &limits);
            }
        }
    }
    report.end();
}

/// The figures of one format and tier, by number of tokens.
fn products(
    kernels: &'static Kernels,
    format: &'static Format,
    cols: usize,
    lanes: &mut [Lane],
) -> [Product; TOKENS.len()] {
    let row_bytes = format.quant.row_bytes(cols).expect("the arguments are whole blocks");
    let decode_rows = (SLAB_BYTES / row_bytes / 8 * 8).max(8);
    TOKENS.map(|tokens| {
        let is_prefill = tokens > MOST_DECODED;
        let rows = if is_prefill { PREFILL_ROWS } else { decode_rows };
        let activations = activations(kernels, format, cols, tokens);
        lanes.iter_mut().for_each(|lane| lane.out = vec![0.0; rows * tokens]);
        let multiply = |lane: &mut Lane, round: usize| {
            let slab = Lane::slab(&lane.weights, if is_prefill { 0 } else { round }, rows * row_bytes);
            kernels.matmul(format.quant, cols, slab, activations.bytes(), &mut lane.out);
        };
        // Reading in between would put prefill's rows out of the cache.
        let (seconds, bandwidth) = if is_prefill {
            let [seconds] = rounds::fastest(lanes, [&multiply]);
            (seconds, None)
        } else {
            let [seconds, read] = rounds::fastest(lanes, [&multiply, &limits::read_slab]);
            (seconds, Some(limits::read_rate(lanes.len(), read)))
        };
        Product { kernels, format, threads: lanes.len(), tokens, rows, cols, seconds, bandwidth }
    })
}

/// Quantised activations `[tokens, cols]`, at a cache line's beginning as in a pass.
fn activations(kernels: &Kernels, format: &Format, cols: usize, tokens: usize) -> Aligned {
    let x: Vec<f32> = (0..cols).map(|i| (i as f32 * 0.37).sin()).collect();
    let mut row = vec![0; format.activation.row_bytes(cols)];
    kernels.quantise(format.activation, &x, &mut row);
    let mut memory = vec![0; 64 + tokens * row.len()];
    let start = memory.as_ptr().align_offset(64);
    memory[start..][..tokens * row.len()].copy_from_slice(&row.repeat(tokens));
    Aligned { start, len: tokens * row.len(), memory }
}

/// Bytes that begin at a multiple of 64.
struct Aligned {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..][..self.len]
    }
}
