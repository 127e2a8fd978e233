//! What the forward pass asks of the machine that does the arithmetic: about a dozen operations on tensors.
//!
//! A tensor is `[rows, width]` of `f32`, one row for each token of the batch. A backend owns its tensors, the KV cache
//! and its threads; weights reach it through the store alone.

use model::{Matrix, ModelSpec, Rope};
use store::{Buffer, ReadStats, StoreError, WeightStore};

use crate::{PageId, Placement, Row, Sequences, Window};

/// One matrix product of a [`Backend::project`] call.
pub struct Projection<'a, T> {
    /// `[rows, cols]`, where `cols` is the input's width.
    pub weight: Matrix,
    /// Added to every row of the result, `[1, rows]`.
    pub bias: Option<&'a T>,
    /// Receives `[n, rows]`.
    pub out: &'a mut T,
}

/// Shape of the attention step of a layer.
#[derive(Clone, Copy, Debug)]
pub struct AttendShape {
    /// The layer, an index into the KV cache.
    pub layer: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// What a token sees.
    pub window: Window,
}

impl AttendShape {
    /// Query heads that share a key and value head.
    pub fn n_group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// A machine that runs the steps of a pass.
pub trait Backend: Send {
    /// Rows of `f32`, of any shape that its memory has room for.
    type Tensor: Send;

    /// A tensor with room for `[rows, width]`.
    ///
    /// Errors: the budget has no memory for it.
    fn tensor(&self, rows: usize, width: usize) -> Result<Self::Tensor, StoreError>;

    /// A tensor of one row with these values.
    fn vector(&self, values: Vec<f32>) -> Self::Tensor;

    /// Makes the backend's own buffers large enough for batches of up to `rows` tokens, and no larger.
    ///
    /// Errors: the budget has no memory for them.
    fn prepare(&mut self, spec: &ModelSpec, rows: usize) -> Result<(), StoreError>;

    /// Bytes that [`Backend::prepare`] takes.
    fn buffer_bytes(&self, spec: &ModelSpec, rows: usize) -> u64;

    /// Copies a tensor out.
    ///
    /// Errors: the budget has no memory for the copy.
    fn read(&self, x: &Self::Tensor) -> Result<Buffer<f32>, StoreError>;

    /// `out[r] = embedding[rows[r].token]`.
    ///
    /// Errors: the read failed.
    fn embed(
        &mut self,
        store: &WeightStore,
        spec: &ModelSpec,
        rows: &[Row],
        out: &mut Self::Tensor,
    ) -> Result<(), StoreError>;

    /// Normalises each row by its root mean square and scales it by `weight`.
    fn rms_norm(&mut self, x: &Self::Tensor, weight: &Self::Tensor, eps: f32, out: &mut Self::Tensor);

    /// Multiplies every row of `x` with each of the matrices. The first `n_few` rows are summed as they would be alone, the
    /// others as parts of long prompts.
    ///
    /// Errors: a read failed.
    fn project(
        &mut self,
        store: &WeightStore,
        x: &Self::Tensor,
        n_few: usize,
        targets: &mut [Projection<Self::Tensor>],
    ) -> Result<(), StoreError>;

    /// Rotates the heads of each row by the row's angles, `[rows, dims / 2]` of cosine and sine.
    fn rope(&mut self, x: &mut Self::Tensor, head_dim: usize, rope: &Rope, angles: &[[f32; 2]]);

    /// Begins a pass: makes its copies of pages, and whatever else has to be done before keys and values can be stored.
    ///
    /// Errors: a page cannot be moved. No token is lost, but copies were not made.
    fn begin(&mut self, placement: &Placement, sequences: &Sequences) -> Result<(), StoreError>;

    /// Stores keys and values at the rows' positions.
    fn append_kv(&mut self, layer: usize, placement: &Placement, k: &Self::Tensor, v: &Self::Tensor);

    /// Bytes of a page of the KV cache.
    fn page_bytes(&self) -> usize;

    /// The bytes of a page of the KV cache, all layers.
    ///
    /// Errors: it cannot be read.
    fn page(&mut self, page: PageId) -> Result<&[u8], StoreError>;

    /// The same, to be written whole.
    ///
    /// Errors: there is no place for it.
    fn page_mut(&mut self, page: PageId, sequences: &Sequences) -> Result<&mut [u8], StoreError>;

    /// What was read of keys and values so far, and how long passes waited for it.
    fn kv_stats(&self) -> ReadStats;

    /// Causal attention of each row's queries over its sequence up to and including itself.
    ///
    /// Shapes: `q` is `[rows, n_heads * head_dim]`, `out` becomes `[rows, n_heads * value_dim]`. Errors: keys and values
    /// cannot be read.
    fn attend(
        &mut self,
        shape: AttendShape,
        placement: &Placement,
        q: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<(), StoreError>;

    /// `gate = silu(gate) * up`.
    fn swiglu(&mut self, gate: &mut Self::Tensor, up: &Self::Tensor);

    /// `x += y`.
    fn add(&mut self, x: &mut Self::Tensor, y: &Self::Tensor);

    /// Copies the rows at `indices`.
    fn select(&mut self, x: &Self::Tensor, indices: &[usize], out: &mut Self::Tensor);
}
