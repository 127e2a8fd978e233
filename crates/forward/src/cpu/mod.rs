//! The CPU backend: kernels over rows, spread over threads.
//!
//! Every operation splits its rows or heads into tasks for the pool. A task's result does not depend on who runs it or
//! on how the work was cut, so logits are the same bits for any number of threads.

mod attend;
mod cores;
mod matmul;
mod pool;
mod shared;
mod split;

use kernels::{Activation, Kernels, KvType};
use model::{ModelSpec, Rope};
use store::{Buffer, Ledger, ReadStats, StoreError, WeightStore};

use crate::backend::{AttendShape, Backend, Projection};
use crate::kv::KvCache;
use crate::{KvSpill, PAGE_TOKENS, PageId, Placement, Row, Sequences};
pub use cores::auto_threads;
use matmul::MatmulScratch;
use pool::Pool;
use shared::SharedRows;

/// Below this many elements an elementwise step is not worth waking threads for.
const MIN_ELEMENTS_TO_SPLIT: usize = 16 << 10;

/// Bytes of embedding rows that are read at once.
const EMBED_BYTES: usize = 1 << 20;

/// How the CPU backend is set up.
#[derive(Clone)]
pub struct CpuOptions {
    /// The kernels to use.
    pub kernels: &'static Kernels,
    /// Threads, at least 1; see [`auto_threads`].
    pub threads: usize,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Tokens in a sequence's context.
    pub ctx: usize,
    /// Pages in the KV cache.
    pub n_pages: usize,
    /// How many of them memory holds, and where the others go; `None` for all in memory.
    pub spill: Option<KvSpill>,
    /// Where its memory is counted.
    pub ledger: Ledger,
}

/// Runs passes on the CPU.
pub struct CpuBackend {
    kernels: &'static Kernels,
    pool: Pool,
    kv: KvCache,
    matmul: MatmulScratch,
    attend: attend::AttendScratch,
    ledger: Ledger,
}

/// Rows of `f32`, `[rows, width]`.
pub struct CpuTensor {
    values: Buffer<f32>,
    rows: usize,
    width: usize,
}

impl CpuTensor {
    /// Gives the tensor a shape; its contents are then anything. Panics if it has no room for it.
    fn reshape(&mut self, rows: usize, width: usize) {
        let room = self.values.values().len();
        assert!(rows * width <= room, "[{rows}, {width}] in a tensor with room for {room}");
        (self.rows, self.width) = (rows, width);
    }

    fn values(&self) -> &[f32] {
        &self.values.values()[..self.rows * self.width]
    }

    fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values.values_mut()[..self.rows * self.width]
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values.values()[row * self.width..(row + 1) * self.width]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values.values_mut()[row * self.width..(row + 1) * self.width]
    }
}

impl CpuBackend {
    /// Starts the threads and takes the memory of the KV cache.
    ///
    /// Errors: the budget does not hold it, or there can be no file for what memory does not hold.
    pub fn new(spec: &ModelSpec, options: CpuOptions) -> Result<CpuBackend, StoreError> {
        let CpuOptions { kernels, threads, kv_type, ctx, n_pages, spill, ledger } = options;
        Ok(CpuBackend {
            kernels,
            pool: Pool::new(threads),
            kv: KvCache::new(spec, kv_type, n_pages, spill.as_ref(), &ledger)?,
            matmul: MatmulScratch::new(threads),
            attend: attend::AttendScratch::new(spec, threads, ctx, &ledger)?,
            ledger,
        })
    }

    /// Bytes of the buffers that a backend keeps besides its KV cache, ready for batches of up to `rows` tokens.
    pub fn buffer_bytes_for(spec: &ModelSpec, threads: usize, ctx: usize, rows: usize) -> u64 {
        attend::AttendScratch::bytes(spec, threads, ctx) + MatmulScratch::bytes(spec, threads, rows)
    }

    /// Bytes of a page of the KV cache.
    pub fn page_bytes(spec: &ModelSpec, kv_type: KvType) -> u64 {
        KvCache::page_bytes(spec, kv_type) as u64
    }

    /// Bytes in memory of a KV cache of `n_pages`, of which `pages_in_memory` are there at once.
    pub fn kv_bytes(spec: &ModelSpec, kv_type: KvType, n_pages: usize, pages_in_memory: usize) -> u64 {
        KvCache::bytes(spec, kv_type, n_pages, pages_in_memory)
    }

    /// Runs `step` on every row, on several threads where that pays.
    fn for_rows(pool: &Pool, x: &mut CpuTensor, step: impl Fn(usize, &mut [f32]) + Sync) {
        let (rows, width) = (x.rows, x.width);
        if rows == 1 || rows * width < MIN_ELEMENTS_TO_SPLIT {
            return (0..rows).for_each(|r| step(r, x.row_mut(r)));
        }
        let shared = SharedRows::new(x.values_mut(), width);
        // SAFETY: each task has a row of its own.
        pool.run(rows, &|r, _| step(r, unsafe { shared.span(r, 0..width) }));
    }
}

impl Backend for CpuBackend {
    type Tensor = CpuTensor;

    fn tensor(&self, rows: usize, width: usize) -> Result<CpuTensor, StoreError> {
        Ok(CpuTensor { values: Buffer::zeroed(&self.ledger, "activations", rows * width)?, rows: 0, width: 0 })
    }

    fn vector(&self, values: Vec<f32>) -> CpuTensor {
        CpuTensor { rows: 1, width: values.len(), values: values.into() }
    }

    fn prepare(&mut self, spec: &ModelSpec, rows: usize) -> Result<(), StoreError> {
        self.matmul.prepare(spec, rows, &self.ledger)
    }

    fn buffer_bytes(&self, spec: &ModelSpec, rows: usize) -> u64 {
        MatmulScratch::bytes(spec, self.pool.threads(), rows)
    }

    fn read(&self, x: &CpuTensor) -> Result<Buffer<f32>, StoreError> {
        let mut copy = Buffer::zeroed(&self.ledger, "logits", x.values().len())?;
        copy.values_mut().copy_from_slice(x.values());
        Ok(copy)
    }

    fn embed(
        &mut self,
        store: &WeightStore,
        spec: &ModelSpec,
        rows: &[Row],
        out: &mut CpuTensor,
    ) -> Result<(), StoreError> {
        let matrix = spec.embedding;
        let len = matrix.quant.row_bytes(matrix.cols).expect("the header's reader has checked the row length");
        let at_once = (EMBED_BYTES / len).clamp(1, rows.len());
        let mut bytes = vec![0; at_once * len];
        out.reshape(rows.len(), matrix.cols);
        for (first, rows) in (0..).step_by(at_once).zip(rows.chunks(at_once)) {
            let tokens: Vec<usize> = rows.iter().map(|row| row.token as usize).collect();
            store.read_rows(spec, &matrix, &tokens, &mut bytes[..rows.len() * len])?;
            for (r, bytes) in (first..).zip(bytes.chunks_exact(len).take(rows.len())) {
                self.kernels.dequantise(matrix.quant, bytes, out.row_mut(r));
            }
        }
        Ok(())
    }

    fn rms_norm(&mut self, x: &CpuTensor, weight: &CpuTensor, eps: f32, out: &mut CpuTensor) {
        out.reshape(x.rows, x.width);
        let kernels = self.kernels;
        CpuBackend::for_rows(&self.pool, out, |r, out| kernels.rms_norm(x.row(r), weight.row(0), eps, out));
    }

    fn project(
        &mut self,
        store: &WeightStore,
        x: &CpuTensor,
        n_few: usize,
        targets: &mut [Projection<CpuTensor>],
    ) -> Result<(), StoreError> {
        self.matmul.project(self.kernels, &self.pool, store, x, n_few, targets)
    }

    fn rope(&mut self, x: &mut CpuTensor, head_dim: usize, rope: &Rope, angles: &[[f32; 2]]) {
        let (kernels, pairs) = (self.kernels, rope.dims / 2);
        CpuBackend::for_rows(&self.pool, x, |r, row| {
            let angles = &angles[r * pairs..(r + 1) * pairs];
            row.chunks_exact_mut(head_dim).for_each(|head| kernels.rope(head, angles, rope.layout));
        });
    }

    fn begin(&mut self, placement: &Placement, sequences: &Sequences) -> Result<(), StoreError> {
        self.kv.begin(placement, sequences)
    }

    fn append_kv(&mut self, layer: usize, placement: &Placement, k: &CpuTensor, v: &CpuTensor) {
        for (r, row) in placement.rows.iter().enumerate() {
            let page = placement.pages[row.segment][row.position / PAGE_TOKENS];
            self.kv.store(self.kernels, layer, (page, row.position % PAGE_TOKENS), [k.row(r), v.row(r)]);
        }
    }

    fn page_bytes(&self) -> usize {
        self.kv.bytes_of_page()
    }

    fn page(&mut self, page: PageId) -> Result<&[u8], StoreError> {
        self.kv.page(page)
    }

    fn page_mut(&mut self, page: PageId, sequences: &Sequences) -> Result<&mut [u8], StoreError> {
        self.kv.page_mut(page, sequences)
    }

    fn kv_stats(&self) -> ReadStats {
        self.kv.stats()
    }

    fn attend(
        &mut self,
        shape: AttendShape,
        placement: &Placement,
        q: &CpuTensor,
        out: &mut CpuTensor,
    ) -> Result<(), StoreError> {
        self.kv.arrive(shape.layer)?;
        let kv = self.kv.layer(shape.layer);
        self.attend.attend(self.kernels, &self.pool, kv, shape, placement, q, out);
        self.kv.release();
        Ok(())
    }

    fn swiglu(&mut self, gate: &mut CpuTensor, up: &CpuTensor) {
        let kernels = self.kernels;
        CpuBackend::for_rows(&self.pool, gate, |r, gate| kernels.gate(Activation::Silu, gate, up.row(r)));
    }

    fn add(&mut self, x: &mut CpuTensor, y: &CpuTensor) {
        let kernels = self.kernels;
        CpuBackend::for_rows(&self.pool, x, |r, x| kernels.add(x, y.row(r)));
    }

    fn select(&mut self, x: &CpuTensor, indices: &[usize], out: &mut CpuTensor) {
        out.reshape(indices.len(), x.width);
        for (to, &from) in indices.iter().enumerate() {
            out.row_mut(to).copy_from_slice(x.row(from));
        }
    }
}
