//! Matrix products: quantise the input once, then let every slab of every matrix meet it.

use std::sync::Mutex;

use kernels::{ActivationType, Kernels};
use model::ModelSpec;
use store::{Buffer, Ledger, StoreError, WeightStore};

use super::pool::Pool;
use super::shared::SharedRows;
use super::{CpuTensor, MIN_ELEMENTS_TO_SPLIT};
use crate::backend::Projection;

/// Weight rows in a task at most: their products with 512 tokens are 64 KiB, which stay in the second-level cache.
const MAX_TASK_ROWS: usize = 32;

/// Tasks a thread should get of a slab, so that a thread that is held up does not hold up the others for long.
const TASKS_PER_THREAD: usize = 4;

/// Buffers of the matrix products, reused from call to call.
pub(super) struct MatmulScratch {
    /// The quantised input, one row after another.
    activations: Buffer<u8>,
    /// A thread's products, `[task rows, tokens]`.
    tiles: Vec<Mutex<Vec<f32>>>,
}

impl MatmulScratch {
    pub(super) fn new(threads: usize) -> MatmulScratch {
        MatmulScratch { activations: Buffer::default(), tiles: (0..threads).map(|_| Mutex::default()).collect() }
    }

    /// Makes room for inputs of up to `rows` tokens. Errors: the budget has none.
    pub(super) fn prepare(&mut self, spec: &ModelSpec, rows: usize, ledger: &Ledger) -> Result<(), StoreError> {
        // What was there goes first, so that both are never counted at once.
        self.activations = Buffer::default();
        self.tiles.iter_mut().for_each(|tile| *tile.get_mut().expect("no region runs") = Vec::new());
        self.activations = Buffer::zeroed(ledger, "activations", rows * widest_input(spec))?;
        Ok(())
    }

    /// Bytes of the buffers for inputs of up to `rows` tokens.
    pub(super) fn bytes(spec: &ModelSpec, threads: usize, rows: usize) -> u64 {
        (rows * widest_input(spec) + threads * MAX_TASK_ROWS * rows * size_of::<f32>()) as u64
    }

    /// Multiplies every row of `x` with each target's matrix and adds its bias.
    pub(super) fn project(
        &mut self,
        kernels: &Kernels,
        pool: &Pool,
        store: &WeightStore,
        x: &CpuTensor,
        targets: &mut [Projection<CpuTensor>],
    ) -> Result<(), StoreError> {
        let mut quantised = None;
        for target in targets {
            let activation = target.weight.quant.format().activation;
            // Targets of one input nearly always share an activation type; a differing one requantises.
            if quantised != Some(activation) {
                self.quantise(kernels, pool, x, activation);
                quantised = Some(activation);
            }
            target.out.reshape(x.rows, target.weight.rows);
            for slab in store.slabs_of(&target.weight) {
                let slab = store.slab(slab)?;
                self.multiply(kernels, pool, slab.bytes(), slab.first_row(), target);
            }
            if let Some(bias) = target.bias {
                (0..x.rows).for_each(|r| kernels.add(target.out.row_mut(r), bias.row(0)));
            }
        }
        Ok(())
    }

    fn quantise(&mut self, kernels: &Kernels, pool: &Pool, x: &CpuTensor, activation: ActivationType) {
        let row_bytes = activation.row_bytes(x.width);
        let activations = &mut self.activations.values_mut()[..x.rows * row_bytes];
        let quantise = |r: usize, out: &mut [u8]| kernels.quantise(activation, x.row(r), out);
        if x.rows == 1 || x.rows * x.width < MIN_ELEMENTS_TO_SPLIT {
            activations.chunks_exact_mut(row_bytes).enumerate().for_each(|(r, out)| quantise(r, out));
            return;
        }
        let shared = SharedRows::new(activations, row_bytes);
        // SAFETY: each task has a row of its own.
        pool.run(x.rows, &|r, _| quantise(r, unsafe { shared.span(r, 0..row_bytes) }));
    }

    /// Products of the quantised input with the rows of a slab, which become columns `first_row..` of the output.
    fn multiply(
        &self,
        kernels: &Kernels,
        pool: &Pool,
        weights: &[u8],
        first_row: usize,
        target: &mut Projection<CpuTensor>,
    ) {
        let (quant, cols) = (target.weight.quant, target.weight.cols);
        let row_bytes = quant.row_bytes(cols).expect("the header's reader has checked the row length");
        let n_rows = weights.len() / row_bytes;
        let n_tokens = target.out.rows;
        let task_rows = task_rows(n_rows, pool.threads());
        let width = target.out.width;
        let activations = &self.activations.values()[..n_tokens * activation_bytes(target)];
        let out = SharedRows::new(target.out.values_mut(), width);
        pool.run(n_rows.div_ceil(task_rows), &|task, worker| {
            let rows = task * task_rows..n_rows.min((task + 1) * task_rows);
            let weights = &weights[rows.start * row_bytes..rows.end * row_bytes];
            let columns = first_row + rows.start..first_row + rows.end;
            if n_tokens == 1 {
                // SAFETY: each task has columns of its own.
                let out = unsafe { out.span(0, columns) };
                return kernels.matmul(quant, cols, weights, activations, out);
            }
            let mut tile = self.tiles[worker].lock().expect("a worker's tile is its own");
            tile.resize(rows.len() * n_tokens, 0.0);
            kernels.matmul(quant, cols, weights, activations, &mut tile);
            for token in 0..n_tokens {
                // SAFETY: each task has columns of its own.
                let out = unsafe { out.span(token, columns.clone()) };
                out.iter_mut().enumerate().for_each(|(r, out)| *out = tile[r * n_tokens + token]);
            }
        });
    }
}

/// Bytes of a quantised input row of a product.
fn activation_bytes<T>(target: &Projection<T>) -> usize {
    target.weight.quant.format().activation.row_bytes(target.weight.cols)
}

/// Bytes of the widest quantised input row of a pass.
fn widest_input(spec: &ModelSpec) -> usize {
    let matrices = spec.pass_order().into_iter();
    matrices.map(|m| m.quant.format().activation.row_bytes(m.cols)).max().unwrap_or(0)
}

/// Rows of a task: a multiple of 8, which kernels take at once, and enough tasks to balance the threads.
fn task_rows(n_rows: usize, threads: usize) -> usize {
    if threads == 1 {
        return MAX_TASK_ROWS;
    }
    n_rows.div_ceil(threads * TASKS_PER_THREAD).next_multiple_of(8).min(MAX_TASK_ROWS)
}
