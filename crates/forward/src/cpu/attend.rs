//! Attention on the CPU: one task for every row and KV head.

use std::sync::Mutex;

use kernels::{AttendArgs, Kernels};

use super::CpuTensor;
use super::pool::Pool;
use super::shared::SharedRows;
use crate::Row;
use crate::backend::AttendShape;
use crate::kv::KvCache;

/// Buffers of the attention step, reused from call to call.
pub(super) struct AttendScratch {
    /// A thread's scores, `[queries that share a head, positions]`.
    scores: Vec<Mutex<Vec<f32>>>,
}

impl AttendScratch {
    pub(super) fn new(threads: usize) -> AttendScratch {
        AttendScratch { scores: (0..threads).map(|_| Mutex::default()).collect() }
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
            scores.resize(n_group * n_positions, 0.0);
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
                scores: &mut scores,
                out,
            });
        });
    }
}
