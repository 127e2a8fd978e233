//! What the forward pass asks of the machine that does the arithmetic.
//!
//! [`Device`] has memory: tensors, and weights where its operations read them. [`Ops`] are the operations of a pass.
//! [`Backend`] adds the KV pages, which live where attention runs. A tensor is `[rows, width]` of `f32`, one row per token
//! of the batch.
//!
//! Deliberately absent: the order of operations (`pass.rs`), and reading weights: they come from the store slab by slab.

use kernels::{Activation, QuantType};
use model::{Matrix, ModelSpec, Norm, Rope};
use store::{Buffer, SlabGuard, SlabId, StoreError};

use crate::kv::pages::KvPages;
use crate::kv::window::Window;
use crate::placement::Placement;

/// One matrix product of a projection.
pub struct Projection<'a, T> {
    /// `[rows, cols]`, where `cols` is the input's width.
    pub weight: Matrix,
    /// Added to every row of the result, `[1, rows]`.
    pub bias: Option<&'a T>,
    /// Receives `[n, rows]`.
    pub out: &'a mut T,
}

/// Shape of one attention step.
#[derive(Clone, Copy, Debug)]
pub struct AttendShape {
    /// Index of the step among those of the pass, and so into the KV pages.
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
    /// Products of queries and keys are multiplied by this.
    pub scale: f32,
    /// Scores become `cap * tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

impl AttendShape {
    /// Query heads that share a key and value head.
    pub fn n_group(&self) -> usize {
        self.n_heads / self.n_kv_heads
    }
}

/// Memory for tensors and weights.
pub trait Device: Send {
    /// Rows of `f32`, of any shape that its memory has room for.
    type Tensor: Send;

    /// The rows of a slab, where the operations read them: the slab's guard itself, or a copy on the device.
    type Weights<'a>;

    /// A tensor with room for `[rows, width]`.
    ///
    /// Errors: the budget has no memory for it.
    fn tensor(&self, rows: usize, width: usize) -> Result<Self::Tensor, StoreError>;

    /// A tensor of one row with these values.
    fn vector(&self, values: Vec<f32>) -> Self::Tensor;

    /// Copies a tensor out.
    ///
    /// Errors: the budget has no memory for the copy.
    fn read(&self, x: &Self::Tensor) -> Result<Buffer<f32>, StoreError>;

    /// Sizes the device's own buffers for batches of up to `rows` tokens.
    ///
    /// Errors: the budget has no memory for them.
    fn prepare(&mut self, spec: &ModelSpec, rows: usize) -> Result<(), StoreError>;

    /// Bytes that [`Device::prepare`] takes.
    fn buffer_bytes(&self, spec: &ModelSpec, rows: usize) -> u64;

    /// A slab that the device has kept, so that the store need not bring it.
    fn kept<'a>(&self, slab: SlabId) -> Option<Self::Weights<'a>>;

    /// How many slabs the device keeps. The store leaves them out of its cycle.
    fn n_kept(&self) -> usize;

    /// Takes over a slab that the store has brought.
    ///
    /// Errors: the device has no memory for it.
    fn bring<'a>(&mut self, slab: SlabGuard<'a>) -> Result<Self::Weights<'a>, StoreError>;
}

/// The operations of a pass.
pub trait Ops: Device {
    /// Expands rows of a matrix into the rows `first..` of `out`, which becomes `[n_rows, cols]`.
    fn expand(&mut self, matrix: &Matrix, bytes: &[u8], first: usize, n_rows: usize, out: &mut Self::Tensor);

    /// Normalises each row, or each run of the weight's length in it.
    fn norm(&mut self, x: &Self::Tensor, norm: &Norm, weight: &Self::Tensor, out: &mut Self::Tensor);

    /// As [`Ops::norm`], replacing `x`.
    fn norm_in_place(&mut self, x: &mut Self::Tensor, norm: &Norm, weight: &Self::Tensor);

    /// Makes `x` the input of the products that follow, with weights that are multiplied as those of `quant` are.
    fn input(&mut self, x: &Self::Tensor, quant: QuantType);

    /// Multiplies every row of the input with these rows of the targets' matrices, and adds the biases. The first `n_few`
    /// rows are summed as they would be alone, the others as parts of long prompts.
    fn multiply(&mut self, n_few: usize, targets: &mut [Projection<Self::Tensor>], weights: &[Self::Weights<'_>]);

    /// Rotates the heads of each row by the row's angles, `[rows, dims / 2]` of cosine and sine.
    fn rope(&mut self, x: &mut Self::Tensor, head_dim: usize, rope: &Rope, angles: &[[f32; 2]]);

    /// `gate = activation(gate) * up`.
    fn gate(&mut self, activation: Activation, gate: &mut Self::Tensor, up: &Self::Tensor);

    /// `x += y`.
    fn add(&mut self, x: &mut Self::Tensor, y: &Self::Tensor);

    /// `x *= factor`.
    fn scale(&mut self, x: &mut Self::Tensor, factor: f32);

    /// `x = cap * tanh(x / cap)`.
    fn soft_cap(&mut self, x: &mut Self::Tensor, cap: f32);

    /// Copies the rows at `indices`.
    fn select(&mut self, x: &Self::Tensor, indices: &[usize], out: &mut Self::Tensor);
}

/// A machine that runs passes.
pub trait Backend: Ops {
    /// Keys and values, where attention finds them.
    type Kv: KvPages<Tensor = Self::Tensor>;

    /// Causal attention of each row's queries to its sequence up to and including itself.
    ///
    /// Shapes: `q` is `[rows, n_heads * head_dim]`, `out` becomes `[rows, n_heads * value_dim]`. Errors: keys and values
    /// cannot be read.
    fn attend(
        &mut self,
        kv: &mut Self::Kv,
        shape: AttendShape,
        placement: &Placement,
        q: &Self::Tensor,
        out: &mut Self::Tensor,
    ) -> Result<(), StoreError>;
}
