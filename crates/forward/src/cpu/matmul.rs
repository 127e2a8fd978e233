//! Matrix products: quantise the input once, then multiply it with slab after slab.
//!
//! The slabs of one call are one region of the pool: all slabs of a step's matrices where the model fits, a streamed one and
//! the pinned ones behind it where it does not. Their rows are cut into tasks regardless of slab borders, large tasks first
//! and small ones last, so that there are few tasks and all threads still end together.

use std::ops::Range;
use std::sync::Mutex;

use kernels::{ActivationType, FEW_TOKENS, Kernels, QuantType};
use model::{Matrix, ModelSpec, Part};
use store::{Buffer, Ledger, SlabGuard, StoreError};

use super::pool::Pool;
use super::shared::SharedRows;
use super::split::{MIN_ELEMENTS_TO_SPLIT, Split};
use super::tensor::CpuTensor;
use crate::ops::Projection;

/// Weight rows that meet many tokens at once: their products with 512 tokens are 256 KiB, which stay in the second-level
/// cache.
const TILE_ROWS: usize = 128;

/// Rows that tasks are made of; kernels take 8 or 16 at once.
const UNIT_ROWS: usize = 16;

/// As [`UNIT_ROWS`], where many tokens meet: kernels take up to 32 rows at once.
const LONG_UNIT_ROWS: usize = 32;

/// Bytes of a cache line, at a multiple of which activations begin: loads of two lines take twice the time.
const LINE: usize = 64;

/// Bytes of weights in a task at least, about two microseconds' work with one token.
const MIN_TASK_BYTES: usize = 32 << 10;

/// Buffers of the matrix products, reused from call to call.
pub(super) struct MatmulScratch {
    /// The quantised input, one row after another.
    activations: Buffer<u8>,
    n_tokens: usize,
    /// A thread's products, `[tokens, tile rows]`.
    tiles: Vec<Mutex<Vec<f32>>>,
}

impl MatmulScratch {
    pub(super) fn new(threads: usize) -> MatmulScratch {
        MatmulScratch {
            activations: Buffer::default(),
            n_tokens: 0,
            tiles: (0..threads).map(|_| Mutex::default()).collect(),
        }
    }

    /// Makes room for inputs of up to `rows` tokens. Errors: the budget has none.
    pub(super) fn prepare(&mut self, spec: &ModelSpec, rows: usize, ledger: &Ledger) -> Result<(), StoreError> {
        // What was there goes first, so that both are never counted at once.
        self.activations = Buffer::default();
        self.tiles.iter_mut().for_each(|tile| *tile.get_mut().expect("no region runs") = Vec::new());
        self.activations = Buffer::zeroed(ledger, "activations", rows * widest_input(spec) + LINE)?;
        Ok(())
    }

    /// Bytes of the buffers for inputs of up to `rows` tokens.
    pub(super) fn bytes(spec: &ModelSpec, threads: usize, rows: usize) -> u64 {
        (rows * widest_input(spec) + LINE + threads * TILE_ROWS * rows * size_of::<f32>()) as u64
    }

    /// Where the first cache line begins in the buffer of activations.
    fn first_line(&self) -> usize {
        self.activations.values().as_ptr().align_offset(LINE)
    }

    /// Quantises the input of the products that follow.
    pub(super) fn input(&mut self, kernels: &Kernels, pool: &Pool, x: &CpuTensor, activation: ActivationType) {
        self.n_tokens = x.rows;
        let row_bytes = activation.row_bytes(x.width);
        let start = self.first_line();
        let activations = &mut self.activations.values_mut()[start..][..x.rows * row_bytes];
        let quantise = |r: usize, out: &mut [u8]| kernels.quantise(activation, x.row(r), out);
        if x.rows == 1 || x.rows * x.width < MIN_ELEMENTS_TO_SPLIT {
            activations.chunks_exact_mut(row_bytes).enumerate().for_each(|(r, out)| quantise(r, out));
            return;
        }
        let shared = SharedRows::new(activations, row_bytes);
        // SAFETY: each task has a row of its own.
        pool.run(x.rows, &|r, _| quantise(r, unsafe { shared.span(r, 0..row_bytes) }));
    }

    /// Multiplies every row of the input with the slabs' rows and adds the biases; the first `n_few` rows as they would be
    /// alone.
    pub(super) fn multiply(
        &self,
        kernels: &Kernels,
        pool: &Pool,
        n_few: usize,
        targets: &mut [Projection<CpuTensor>],
        slabs: &[SlabGuard<'_>],
    ) {
        let product = |target| Product::new(target, self.n_tokens, n_few);
        let products: Vec<Product> = targets.iter_mut().map(product).collect();
        self.multiply_pieces(kernels, pool, &Pieces::new(&products, slabs));
    }

    /// Products of the input with the rows of some slabs, on all threads.
    fn multiply_pieces(&self, kernels: &Kernels, pool: &Pool, pieces: &Pieces) {
        let split = Split::new(pieces.n_units, pieces.min_units(), pool.threads());
        pool.run(split.n_tasks(), &|task, worker| {
            pieces.within(split.units(task), |piece, rows| self.multiply_rows(kernels, worker, piece, rows));
        });
    }

    /// Products of the input with some rows of a slab.
    fn multiply_rows(&self, kernels: &Kernels, worker: usize, piece: &Piece, rows: Range<usize>) {
        let Product { quant, cols, row_bytes, n_tokens, n_few, bias, out, .. } = piece.product;
        let activations = &self.activations.values()[self.first_line()..];
        let activations = &activations[..n_tokens * quant.format().activation.row_bytes(*cols)];
        let weights = |rows: &Range<usize>| &piece.weights[rows.start * row_bytes..rows.end * row_bytes];
        let columns = |rows: &Range<usize>| piece.first_row + rows.start..piece.first_row + rows.end;
        let add_bias = |out: &mut [f32], columns: Range<usize>| {
            if let Some(bias) = bias {
                kernels.add(out, &bias[columns]);
            }
        };
        if (*n_tokens, *n_few) == (1, 1) {
            // SAFETY: each task has rows of the weights, and so columns of the output, of its own.
            let out = unsafe { out.span(0, columns(&rows)) };
            kernels.matmul(*quant, *cols, weights(&rows), activations, out);
            return add_bias(out, columns(&rows));
        }
        let mut tile = self.tiles[worker].lock().expect("a worker's tile is its own");
        for start in rows.clone().step_by(TILE_ROWS) {
            let rows = start..rows.end.min(start + TILE_ROWS);
            tile.resize(rows.len() * n_tokens, 0.0);
            let (few, many) = activations.split_at(n_few * activations.len() / n_tokens);
            let (few_out, many_out) = tile.split_at_mut(n_few * rows.len());
            // Small batches have the bits of single tokens: larger ones are several, while the weights are in the cache.
            let group = FEW_TOKENS * activations.len() / n_tokens;
            for (few, out) in few.chunks(group).zip(few_out.chunks_mut(FEW_TOKENS * rows.len())) {
                kernels.matmul(*quant, *cols, weights(&rows), few, out);
            }
            kernels.matmul_long(*quant, *cols, weights(&rows), many, many_out);
            for token in 0..*n_tokens {
                // SAFETY: each task has rows of the weights, and so columns of the output, of its own.
                let out = unsafe { out.span(token, columns(&rows)) };
                out.copy_from_slice(&tile[token * rows.len()..][..rows.len()]);
                add_bias(out, columns(&rows));
            }
        }
    }
}

/// A target as the threads see it.
struct Product<'a> {
    part: Part,
    quant: QuantType,
    cols: usize,
    /// Of the weights, in bytes.
    row_bytes: usize,
    n_tokens: usize,
    /// Of the tokens, the first ones, which are computed as a small batch.
    n_few: usize,
    bias: Option<&'a [f32]>,
    out: SharedRows<'a, f32>,
}

/// A slab and what its products belong to.
struct Piece<'a> {
    product: &'a Product<'a>,
    /// Where in the matrix the slab begins.
    first_row: usize,
    n_rows: usize,
    weights: &'a [u8],
    /// The number of its first unit among all pieces.
    first_unit: usize,
}

/// Slabs whose rows are counted through in units.
struct Pieces<'a> {
    pieces: Vec<Piece<'a>>,
    unit_rows: usize,
    n_units: usize,
}

impl<'a> Product<'a> {
    fn new(target: &'a mut Projection<CpuTensor>, n_tokens: usize, n_few: usize) -> Product<'a> {
        let Matrix { part, quant, rows, cols } = target.weight;
        let row_bytes = quant.row_bytes(cols).expect("the row length was checked when the header was read");
        target.out.reshape(n_tokens, rows);
        let out = SharedRows::new(target.out.values_mut(), rows);
        Product { part, quant, cols, row_bytes, n_tokens, n_few, bias: target.bias.map(|bias| bias.row(0)), out }
    }
}

impl<'a> Pieces<'a> {
    /// Slabs of the products' matrices, in the same order.
    fn new(products: &'a [Product<'a>], slabs: &'a [SlabGuard<'_>]) -> Pieces<'a> {
        let (mut n_units, mut p) = (0, 0);
        let is_long = products.iter().any(|product| product.n_tokens > product.n_few);
        let unit_rows = if is_long { LONG_UNIT_ROWS } else { UNIT_ROWS };
        let piece = |slab: &'a SlabGuard<'_>| {
            while products[p].part != slab.part() {
                p += 1;
            }
            let product = &products[p];
            let n_rows = slab.bytes().len() / product.row_bytes;
            let first_unit = n_units;
            n_units += n_rows.div_ceil(unit_rows);
            Piece { product, first_row: slab.first_row(), n_rows, weights: slab.bytes(), first_unit }
        };
        let pieces = slabs.iter().map(piece).collect();
        Pieces { pieces, unit_rows, n_units }
    }

    /// Units that a task should have at least.
    fn min_units(&self) -> usize {
        let unit_bytes = self.pieces.iter().map(|p| p.product.row_bytes * p.product.n_tokens).max().unwrap_or(1);
        MIN_TASK_BYTES.div_ceil(unit_bytes * self.unit_rows)
    }

    /// Calls `work` for each piece that has some of these units, with its rows.
    fn within(&self, units: Range<usize>, mut work: impl FnMut(&Piece, Range<usize>)) {
        let first = self.pieces.partition_point(|p| p.first_unit <= units.start) - 1;
        for piece in self.pieces[first..].iter().take_while(|p| p.first_unit < units.end) {
            let row = |unit: usize| (unit.saturating_sub(piece.first_unit) * self.unit_rows).min(piece.n_rows);
            work(piece, row(units.start)..row(units.end));
        }
    }
}

/// Bytes of the widest quantised input row of a pass.
fn widest_input(spec: &ModelSpec) -> usize {
    let matrices = spec.walk().map(|used| used.matrix);
    matrices.map(|m| m.quant.format().activation.row_bytes(m.cols)).max().unwrap_or(0)
}
