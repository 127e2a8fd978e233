//! Attention on the CPU: one task for every row and KV head.

use std::sync::Mutex;

use kernels::{AttendArgs, Kernels};
use model::ModelSpec;
use store::{Buffer, Ledger, StoreError};

use super::CpuTensor;
use super::pool::Pool;
use super::shared::SharedRows;
use crate::Row;
use crate::backend::AttendShape;
use crate::kv::KvCache;

/// Buffers of the attention step, reused from call to call.
pub(super) struct AttendScratch {
    /// A thread's scores, `[queries that share a head, positions]`.
    scores: Vec<Mutex<Buffer<f32>>>,
}

impl AttendScratch {
    /// Errors: the budget has no room for a whole context's scores.
    pub(super) fn new(
        spec: &ModelSpec,
        threads: usize,
        ctx: usize,
        ledger: &Ledger,
    ) -> Result<AttendScratch, StoreError> {
        let scores = || Buffer::zeroed(ledger, "activations", widest_group(spec) * ctx).map(Mutex::new);
        Ok(AttendScratch { scores: (0..threads).map(|_| scores()).collect::<Result<_, _>>()? })
    }

    /// Bytes of its buffers.
    pub(super) fn bytes(spec: &ModelSpec, threads: usize, ctx: usize) -> u64 {
        (threads * widest_group(spec) * ctx * size_of::<f32>()) as u64
    }

    /// See `Backend::attend`. The query heads `g * n_group..` share KV head `g`, so each is loaded once for all of them.
    #[expect(clippy::too_many_arguments, reason = "the operands of one operation")]
    pub(super) fn attend(
        &self,
        kernels: &Kernels,
        pool: &Pool,
        kv: &KvCache,
        shape: AttendShape,
        rows: &[Row],
        q: &CpuTensor,
        out: &mut CpuTensor,
    ) {
        let AttendShape { layer, n_heads, n_kv_heads, head_dim, value_dim } = shape;
        let n_group = n_heads / n_kv_heads;
        let bytes = kv.kv_type().bytes();
        let scale = 1.0 / (head_dim as f32).sqrt();
        out.reshape(rows.len(), n_heads * value_dim);
        let width = out.width;
        let shared = SharedRows::new(out.values_mut(), width);
        pool.run(rows.len() * n_kv_heads, &|task, worker| {
            let (r, head) = (task / n_kv_heads, task % n_kv_heads);
            let n_positions = rows[r].position + 1;
            let view = kv.view(layer, rows[r].slot, n_positions);
            let mut scores = self.scores[worker].lock().expect("a worker's scores are its own");
            // SAFETY: each task has a row's heads of its own.
            let out = unsafe { shared.span(r, head * n_group * value_dim..(head + 1) * n_group * value_dim) };
            kernels.attend(AttendArgs {
                kv_type: kv.kv_type(),
                n_group,
                head_dim,
                value_dim,
                queries: &q.row(r)[head * n_group * head_dim..(head + 1) * n_group * head_dim],
                keys: &view.keys[head * head_dim * bytes..],
                values: &view.values[head * value_dim * bytes..],
                key_stride: view.key_bytes,
                value_stride: view.value_bytes,
                n_positions,
                scale,
                scores: &mut scores.values_mut()[..n_group * n_positions],
                out,
            });
        });
    }
}

/// The most query heads that share a KV head.
fn widest_group(spec: &ModelSpec) -> usize {
    spec.layers.iter().map(|l| l.attention.n_heads / l.attention.n_kv_heads).max().unwrap_or(0)
}
