//! The operations of a pass on the CPU.

use kernels::{Activation, Kernels, KvType, QuantType};
use model::{Matrix, ModelSpec, Norm, Rope};
use store::{Buffer, Ledger, SlabGuard, SlabId, StoreError};

use super::attend::AttendScratch;
use super::kv::cache::KvCache;
use super::kv::spill::KvSpill;
use super::matmul::MatmulScratch;
use super::pool::Pool;
use super::shared::SharedRows;
use super::split::MIN_ELEMENTS_TO_SPLIT;
use super::tensor::CpuTensor;
use crate::ops::{AttendShape, Backend, Device, Ops, Projection};
use crate::placement::Placement;

/// How the CPU backend is set up.
#[derive(Clone)]
pub struct CpuOptions {
    /// The kernels to use.
    pub kernels: &'static Kernels,
    /// Threads, at least 1; see [`auto_threads`](crate::auto_threads).
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
    matmul: MatmulScratch,
    attend: AttendScratch,
    ledger: Ledger,
}

impl CpuBackend {
    /// Starts the threads and takes the memory of the KV cache.
    ///
    /// Errors: the budget does not hold it, or there can be no file for what memory does not hold.
    pub fn new(spec: &ModelSpec, options: CpuOptions) -> Result<(CpuBackend, KvCache), StoreError> {
        let CpuOptions { kernels, threads, kv_type, ctx, n_pages, spill, ledger } = options;
        let kv = KvCache::new(spec, kernels, kv_type, n_pages, spill.as_ref(), &ledger)?;
        let backend = CpuBackend {
            kernels,
            pool: Pool::new(threads),
            matmul: MatmulScratch::new(threads),
            attend: AttendScratch::new(spec, threads, ctx, &ledger)?,
            ledger,
        };
        Ok((backend, kv))
    }

    /// Runs `step` on every row, on several threads where that pays.
    fn for_rows(&self, x: &mut CpuTensor, step: impl Fn(usize, &mut [f32]) + Sync) {
        let (rows, width) = (x.rows, x.width);
        if rows == 1 || rows * width < MIN_ELEMENTS_TO_SPLIT {
            return (0..rows).for_each(|r| step(r, x.row_mut(r)));
        }
        let shared = SharedRows::new(x.values_mut(), width);
        // SAFETY: each task has a row of its own.
        self.pool.run(rows, &|r, _| step(r, unsafe { shared.span(r, 0..width) }));
    }
}

impl Device for CpuBackend {
    type Tensor = CpuTensor;
    type Weights<'a> = SlabGuard<'a>;

    fn tensor(&self, rows: usize, width: usize) -> Result<CpuTensor, StoreError> {
        Ok(CpuTensor::with_room(Buffer::zeroed(&self.ledger, "activations", rows * width)?))
    }

    fn vector(&self, values: Vec<f32>) -> CpuTensor {
        CpuTensor::of_row(values)
    }

    fn read(&self, x: &CpuTensor) -> Result<Buffer<f32>, StoreError> {
        let mut copy = Buffer::zeroed(&self.ledger, "logits", x.values().len())?;
        copy.values_mut().copy_from_slice(x.values());
        Ok(copy)
    }

    fn prepare(&mut self, spec: &ModelSpec, rows: usize) -> Result<(), StoreError> {
        self.matmul.prepare(spec, rows, &self.ledger)
    }

    fn buffer_bytes(&self, spec: &ModelSpec, rows: usize) -> u64 {
        MatmulScratch::bytes(spec, self.pool.threads(), rows)
    }

    fn kept<'a>(&self, _slab: SlabId) -> Option<SlabGuard<'a>> {
        None
    }

    fn n_kept(&self) -> usize {
        0
    }

    fn bring<'a>(&mut self, slab: SlabGuard<'a>) -> Result<SlabGuard<'a>, StoreError> {
        Ok(slab)
    }
}

impl Ops for CpuBackend {
    fn expand(&mut self, matrix: &Matrix, bytes: &[u8], first: usize, n_rows: usize, out: &mut CpuTensor) {
        out.reshape(n_rows, matrix.cols);
        let row_bytes =
            matrix.quant.row_bytes(matrix.cols).expect("the row length was checked when the header was read");
        for (r, bytes) in (first..).zip(bytes.chunks_exact(row_bytes)) {
            self.kernels.dequantise(matrix.quant, bytes, out.row_mut(r));
        }
    }

    fn norm(&mut self, x: &CpuTensor, norm: &Norm, weight: &CpuTensor, out: &mut CpuTensor) {
        out.reshape(x.rows, x.width);
        let kernels = self.kernels;
        self.for_rows(out, |r, out| {
            for (x, out) in x.row(r).chunks_exact(weight.width).zip(out.chunks_exact_mut(weight.width)) {
                kernels.rms_norm(x, weight.row(0), norm.eps, out);
            }
        });
    }

    fn norm_in_place(&mut self, x: &mut CpuTensor, norm: &Norm, weight: &CpuTensor) {
        let kernels = self.kernels;
        self.for_rows(x, |_, x| {
            x.chunks_exact_mut(weight.width).for_each(|x| kernels.rms_norm_in_place(x, weight.row(0), norm.eps));
        });
    }

    fn input(&mut self, x: &CpuTensor, quant: QuantType) {
        self.matmul.input(self.kernels, &self.pool, x, quant.format().activation);
    }

    fn multiply(&mut self, n_few: usize, targets: &mut [Projection<CpuTensor>], weights: &[SlabGuard<'_>]) {
        self.matmul.multiply(self.kernels, &self.pool, n_few, targets, weights);
    }

    fn rope(&mut self, x: &mut CpuTensor, head_dim: usize, rope: &Rope, angles: &[[f32; 2]]) {
        let (kernels, pairs) = (self.kernels, rope.dims / 2);
        self.for_rows(x, |r, row| {
            let angles = &angles[r * pairs..(r + 1) * pairs];
            row.chunks_exact_mut(head_dim).for_each(|head| kernels.rope(head, angles, rope.layout));
        });
    }

    fn gate(&mut self, activation: Activation, gate: &mut CpuTensor, up: &CpuTensor) {
        let kernels = self.kernels;
        self.for_rows(gate, |r, gate| kernels.gate(activation, gate, up.row(r)));
    }

    fn add(&mut self, x: &mut CpuTensor, y: &CpuTensor) {
        let kernels = self.kernels;
        self.for_rows(x, |r, x| kernels.add(x, y.row(r)));
    }

    fn scale(&mut self, x: &mut CpuTensor, factor: f32) {
        let kernels = self.kernels;
        self.for_rows(x, |_, x| kernels.scale(x, factor));
    }

    fn soft_cap(&mut self, x: &mut CpuTensor, cap: f32) {
        let kernels = self.kernels;
        self.for_rows(x, |_, x| kernels.soft_cap(x, cap));
    }

    fn select(&mut self, x: &CpuTensor, indices: &[usize], out: &mut CpuTensor) {
        out.reshape(indices.len(), x.width);
        for (to, &from) in indices.iter().enumerate() {
            out.row_mut(to).copy_from_slice(x.row(from));
        }
    }
}

impl Backend for CpuBackend {
    type Kv = KvCache;

    fn attend(
        &mut self,
        kv: &mut KvCache,
        shape: AttendShape,
        placement: &Placement,
        q: &CpuTensor,
        out: &mut CpuTensor,
    ) -> Result<(), StoreError> {
        let layer = kv.layer(shape.layer)?;
        self.attend.attend(self.kernels, &self.pool, layer, shape, placement, q, out);
        kv.release();
        Ok(())
    }
}
